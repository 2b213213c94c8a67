package dev.nanopool;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class HousekeeperTest {
    private static final long SECOND = Duration.ofSeconds(1).toNanos();

    /** The sweeps of a minute and a half after that time, if nothing happens any longer. */
    private static long[] sweeps(long busyNanos) {
        return Stream.iterate(busyNanos, now -> Housekeeper.nextSweep(now, busyNanos))
                .skip(1)
                .takeWhile(now -> now < busyNanos + 90 * SECOND)
                .mapToLong(now -> now)
                .toArray();
    }

    @ParameterizedTest
    @ValueSource(longs = {0, 1, 300_000_000, 600_000_000, 999_999_999})
    void sweepsMustBeSeldomOnlyInAPoolThatIsQuietForLong(long fraction) {
        long busyNanos = 12 * SECOND + fraction;
        long[] sweeps = sweeps(busyNanos);
        assertThat(sweeps[0] - busyNanos).isBetween(SECOND / 2, 3 * SECOND / 2);
        for (int i = 1; i < sweeps.length; i++) {
            boolean isLongQuiet = sweeps[i - 1] - busyNanos >= 30 * SECOND;
            assertThat(sweeps[i] % SECOND).as("all pools at the same moment").isZero();
            if (isLongQuiet) assertThat(sweeps[i] - sweeps[i - 1]).isBetween(5 * SECOND / 2, 15 * SECOND / 2);
            else assertThat(sweeps[i] - sweeps[i - 1]).isEqualTo(SECOND);
        }
        assertThat(sweeps[sweeps.length - 1] - sweeps[sweeps.length - 2]).isEqualTo(5 * SECOND);
    }
}
