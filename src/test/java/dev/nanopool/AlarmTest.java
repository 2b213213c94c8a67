package dev.nanopool;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import org.junit.jupiter.api.Test;

class AlarmTest {
    private final Alarm alarm = new Alarm();
    private final Events events = new Events("pool", new PoolListener() {});
    private final PoolThreads threads = new PoolThreads("pool", events, alarm);

    @Test
    void ringMustBeTakenOnce() {
        alarm.ringForSweep();
        assertThat(alarm.takeRing()).isTrue();
        assertThat(alarm.takeRing()).isFalse();
        assertThat(alarm.takeSweep()).isTrue();
        assertThat(alarm.takeSweep()).isFalse();
    }

    // In a quiet pool the housekeeper looks seldom, so each thread that starts tells it. In a busy one none has to.
    @Test
    void threadThatStartsMustRingInAQuietPoolOnly() {
        for (boolean isQuiet : new boolean[] {true, false}) {
            alarm.quiet(isQuiet);
            threads.start("test", () -> {});
            assertThat(alarm.takeRing()).isEqualTo(isQuiet);
            threads.start(threads.platformThread("test", () -> {}));
            assertThat(alarm.takeRing()).isEqualTo(isQuiet);
        }
        assertThat(threads.awaitEnd(Duration.ofSeconds(10))).isNull();
        assertThat(threads.isAtRest())
                .as("also the platform threads are forgotten")
                .isTrue();
    }
}
