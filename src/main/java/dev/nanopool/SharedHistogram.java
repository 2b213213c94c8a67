package dev.nanopool;

import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicLongArray;
import java.util.concurrent.atomic.AtomicReferenceArray;
import org.jspecify.annotations.Nullable;

/**
 * Counts durations as {@link Histogram} does, for many writing threads. It is small as long as the durations are alike, because
 * it makes its buckets in parts, each for its first duration. Thread-safe.
 */
final class SharedHistogram {
    private static final int PART = 8; // buckets
    private static final int BUCKETS = PoolStats.Durations.BOUNDS.length + 1;

    private final AtomicReferenceArray<@Nullable AtomicLongArray> parts =
            new AtomicReferenceArray<>(Math.ceilDiv(BUCKETS, PART));
    private final AtomicLong sumNanos = new AtomicLong();
    private final AtomicLong maxNanos = new AtomicLong();

    void record(long nanos) {
        int bucket = Histogram.bucket(nanos);
        part(bucket / PART).incrementAndGet(bucket % PART);
        sumNanos.addAndGet(nanos);
        if (nanos > maxNanos.get()) maxNanos.accumulateAndGet(nanos, Math::max);
    }

    private AtomicLongArray part(int index) {
        AtomicLongArray part = parts.get(index);
        if (part != null) return part;
        var made = new AtomicLongArray(PART);
        AtomicLongArray other = parts.compareAndExchange(index, null, made);
        return other == null ? made : other;
    }

    PoolStats.Durations snapshot() {
        long[] counts = new long[BUCKETS];
        for (int i = 0; i < BUCKETS; i++) {
            AtomicLongArray part = parts.get(i / PART);
            if (part != null) counts[i] = part.get(i % PART);
        }
        return new PoolStats.Durations(counts, sumNanos.get(), maxNanos.get());
    }
}
