package dev.nanopool;

import static org.assertj.core.api.Assertions.assertThat;

import dev.nanopool.testkit.Threads;
import java.time.Duration;
import java.util.Arrays;
import java.util.concurrent.CountDownLatch;
import org.junit.jupiter.api.Test;

/** The histogram that many threads write counts as the one of a single thread. */
class SharedHistogramTest {
    private static final long WRITERS = 4;

    private final SharedHistogram shared = new SharedHistogram();

    // Each bound, and the durations next to it, so that each bucket and each part is met.
    @Test
    void eachDurationMustBeCountedAsByOneThread() {
        var expected = new Histogram();
        for (long bound : PoolStats.Durations.BOUNDS) {
            for (long nanos = Math.max(0, bound - 1); nanos <= bound + 1; nanos++) {
                shared.record(nanos);
                expected.record(nanos);
            }
        }
        assertThat(shared.snapshot().counts()).isEqualTo(expected.snapshot().counts());
        assertThat(shared.snapshot().sum()).isEqualTo(expected.snapshot().sum());
        assertThat(shared.snapshot().max()).isEqualTo(expected.snapshot().max());
        assertThat(shared.snapshot().counts()).doesNotContain(0);
    }

    @Test
    void histogramWithoutDurationsMustBeEmpty() {
        assertThat(shared.snapshot().count()).isZero();
        assertThat(shared.snapshot().max()).isEqualTo(Duration.ZERO);
    }

    // All threads need the same new parts at the same moment.
    @Test
    void noThreadMayLoseADuration() throws Exception {
        int buckets = PoolStats.Durations.BOUNDS.length;
        for (int round = 0; round < 500; round++) {
            var histogram = new SharedHistogram();
            var start = new CountDownLatch(1);
            var threads = new Threads();
            for (int writer = 0; writer < WRITERS; writer++) {
                threads.start(() -> {
                    start.await();
                    for (long bound : PoolStats.Durations.BOUNDS) histogram.record(bound);
                });
            }
            start.countDown();
            threads.join();
            assertThat(Arrays.copyOf(histogram.snapshot().counts(), buckets)).containsOnly(WRITERS);
            assertThat(histogram.snapshot().max()).isEqualTo(Duration.ofNanos(PoolStats.Durations.BOUNDS[buckets - 1]));
        }
    }
}
