package dev.nanopool;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import org.junit.jupiter.api.Test;

/** The coarse clock, which a quiet pool does not wind, and the jumps of the wall clock. */
class ClockTest {
    // While no tick is due, the clock gives the exact time.
    @Test
    void clockThatSleepsMustTellTheExactTime() {
        var clock = new Clock();
        long before = Clock.nanoTime();
        assertThat(clock.coarseNanos()).isBetween(before, Clock.nanoTime());
        clock.tick(7);
        assertThat(clock.coarseNanos()).isEqualTo(7);
        clock.sleep();
        assertThat(clock.coarseNanos()).isGreaterThan(7);
    }

    private static long millis(long millis) {
        return Duration.ofMillis(millis).toNanos();
    }

    // A machine that was asleep shows by its wall clock only. Both directions count, because a clock may be set back.
    @Test
    void jumpOfTheWallClockMustBeSeenOnce() {
        var clock = new Clock();
        assertThat(clock.findJump(millis(0), 1_000_000)).as("first look").isFalse();
        assertThat(clock.findJump(millis(100), 1_000_100)).isFalse();
        assertThat(clock.findJump(millis(90_000), 1_090_000))
                .as("a late housekeeper")
                .isFalse();
        assertThat(clock.findJump(millis(90_100), 1_094_000))
                .as("a clock that is adjusted")
                .isFalse();
        assertThat(clock.findJump(millis(90_200), 1_099_201)).as("asleep").isTrue();
        assertThat(clock.findJump(millis(90_300), 1_099_301)).isFalse();
        assertThat(clock.findJump(millis(90_400), 1_000_000)).as("set back").isTrue();
    }
}
