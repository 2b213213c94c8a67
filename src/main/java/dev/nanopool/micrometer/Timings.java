package dev.nanopool.micrometer;

import dev.nanopool.PoolStats.Durations;
import io.micrometer.core.instrument.Timer;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;

/**
 * Hands the durations that a pool has counted on to a timer. The pool counts in buckets, so that a lease costs nothing more
 * when metrics are attached: each duration is recorded as one inside its bucket, and all of them have the right sum.
 */
final class Timings {
    /** The buckets of the timers. Each is a bound of the pool's own buckets, so that no duration changes its bucket. */
    static final Duration[] BUCKETS = {
        Duration.ofNanos(100_000),
        Duration.ofMillis(1),
        Duration.ofMillis(5),
        Duration.ofMillis(10),
        Duration.ofMillis(25),
        Duration.ofMillis(50),
        Duration.ofMillis(100),
        Duration.ofMillis(250),
        Duration.ofMillis(500),
        Duration.ofSeconds(1),
        Duration.ofMillis(2_500),
        Duration.ofSeconds(5),
        Duration.ofSeconds(10),
        Duration.ofSeconds(30),
        Duration.ofSeconds(60)
    };

    private static final List<Duration> BOUNDS = Durations.buckets();

    private final List<Timer> timers;
    private long[] recorded = new long[BOUNDS.size() + 1];
    private long recordedNanos;

    Timings(List<Timer> timers) {
        this.timers = timers;
    }

    /** Records what has happened since the last call. For one thread at a time. */
    void record(Durations all) {
        long[] counts = all.counts();
        long[] added = counts.clone();
        Arrays.setAll(added, i -> counts[i] - recorded[i]);
        double share = share(added, all.sum().toNanos() - recordedNanos);
        for (int i = 0; i < added.length; i++) {
            long nanos = lower(i) + (long) Math.ceil(share * (upper(i) - lower(i)));
            for (long n = added[i]; n > 0; n--) {
                for (Timer timer : timers) timer.record(nanos, TimeUnit.NANOSECONDS);
            }
        }
        recorded = counts;
        recordedNanos = all.sum().toNanos();
    }

    /** How far above the lower end of their buckets the durations are, in the mean. */
    private static double share(long[] counts, long sumNanos) {
        double least = 0;
        double width = 0;
        for (int i = 0; i < counts.length; i++) {
            least += (double) counts[i] * lower(i);
            width += (double) counts[i] * (upper(i) - lower(i));
        }
        return width == 0 ? 1 : Math.clamp((sumNanos - least) / width, 0.01, 1);
    }

    private static long lower(int bucket) {
        return bucket == 0 ? 0 : BOUNDS.get(bucket - 1).toNanos();
    }

    private static long upper(int bucket) {
        return BOUNDS.get(Math.min(bucket, BOUNDS.size() - 1)).toNanos();
    }
}
