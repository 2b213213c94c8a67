package dev.nanopool;

import java.time.Duration;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicLongArray;

/**
 * Counts durations in buckets that are 1/16 of their value wide, so a percentile is right to 6 %. Thread-safe, never blocks.
 */
final class Histogram {
    private static final int BITS = 4; // 16 buckets for each power of two
    private final AtomicLongArray counts = new AtomicLongArray((64 - BITS + 1) << BITS);
    private final AtomicLong max = new AtomicLong();

    void record(long nanos) {
        counts.getAndIncrement(bucket(Math.max(0, nanos)));
        if (nanos > max.get()) max.accumulateAndGet(nanos, Math::max);
    }

    /** The percentile of the recorded durations and of {@code zeros} more durations of zero. */
    Duration percentile(double percent, long zeros) {
        long total = zeros;
        for (int i = 0; i < counts.length(); i++) total += counts.get(i);
        long rank = (long) Math.ceil(total * percent / 100) - zeros;
        for (int i = 0; i < counts.length() && rank > 0; i++) {
            rank -= counts.get(i);
            if (rank <= 0) return Duration.ofNanos(Math.min(upperBound(i), max.get()));
        }
        return Duration.ZERO;
    }

    Duration max() {
        return Duration.ofNanos(max.get());
    }

    /** Values below 16 have a bucket each; above, the four bits after the leading one count. */
    private static int bucket(long nanos) {
        int shift = Math.max(0, 63 - BITS - Long.numberOfLeadingZeros(nanos | 1));
        return (shift << BITS) + (int) (nanos >>> shift);
    }

    private static long upperBound(int bucket) {
        int shift = Math.max(0, (bucket >> BITS) - 1);
        return ((long) (bucket - (shift << BITS) + 1) << shift) - 1;
    }
}
