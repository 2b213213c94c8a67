package dev.nanopool;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.util.Arrays;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class HousekeeperTest {
    private static final long SECOND = Duration.ofSeconds(1).toNanos();

    /** The sweeps of three minutes after that time, if nothing happens any longer and one thing is due. */
    private static long[] sweeps(long busyNanos, long dueNanos) {
        return Stream.iterate(
                        busyNanos,
                        now -> Housekeeper.nextSweep(now, busyNanos, now < dueNanos ? dueNanos : Long.MAX_VALUE))
                .skip(1)
                .takeWhile(now -> now < busyNanos + 180 * SECOND)
                .mapToLong(now -> now)
                .toArray();
    }

    @ParameterizedTest
    @ValueSource(longs = {0, 1, 300_000_000, 600_000_000, 999_999_999})
    void sweepsMustBeSeldomOnlyInAPoolThatIsQuietForLong(long fraction) {
        long busyNanos = 12 * SECOND + fraction;
        long[] sweeps = sweeps(busyNanos, Long.MAX_VALUE);
        assertThat(sweeps[0] - busyNanos).isBetween(SECOND / 2, 3 * SECOND / 2);
        for (int i = 1; i < sweeps.length; i++) {
            boolean isLongQuiet = sweeps[i - 1] - busyNanos >= 30 * SECOND;
            assertThat(sweeps[i] % SECOND).as("all pools at the same moment").isZero();
            assertThat(sweeps[i] - sweeps[i - 1]).isEqualTo((isLongQuiet ? 30 : 1) * SECOND);
        }
        assertThat(sweeps[sweeps.length - 1] - sweeps[sweeps.length - 2]).isEqualTo(30 * SECOND);
    }

    // An idle connection is asked, replaced or closed at its time.
    @ParameterizedTest
    @ValueSource(longs = {1, 29, 31, 42, 59, 61, 100})
    void whatIsDueMustNotWaitForTheNextSeldomSweep(long seconds) {
        long busyNanos = 7 * SECOND;
        long dueNanos = busyNanos + seconds * SECOND + SECOND / 3;
        assertThat(Arrays.stream(sweeps(busyNanos, dueNanos))
                        .anyMatch(sweep -> sweep >= dueNanos && sweep < dueNanos + SECOND))
                .isTrue();
    }

    // What cannot be done is tried again once a second.
    @ParameterizedTest
    @ValueSource(longs = {0, 31, 45})
    void whatIsOverdueMustBeTriedOnceASecond(long seconds) {
        long now = (100 + seconds) * SECOND;
        assertThat(Housekeeper.nextSweep(now, 100 * SECOND, now - SECOND) - now).isEqualTo(SECOND);
    }
}
