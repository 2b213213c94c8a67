package dev.nanopool;

import java.util.Arrays;

/**
 * Counts durations in the buckets of {@link PoolStats.Durations}, with their sum and the longest. One thread at a time may
 * write. All threads may read.
 */
final class Histogram {
    private static final long[] BOUNDS = PoolStats.Durations.BOUNDS;
    private static final int SUM = BOUNDS.length + 1; // after the bucket of what is longer than all bounds
    private static final int MAX = SUM + 1;

    private final long[] cells = new long[MAX + 1];

    /** Answers the bucket. */
    int record(long nanos) {
        int bucket = bucket(nanos);
        repeat(bucket, nanos);
        if (nanos > cells[MAX]) cells[MAX] = nanos;
        return bucket;
    }

    /** Records a duration whose bucket is known, and which is not the longest. */
    void repeat(int bucket, long nanos) {
        cells[bucket]++;
        cells[SUM] += nanos;
    }

    /** Adds all that the other one has counted so far. */
    void add(Histogram other) {
        for (int i = 0; i < MAX; i++) cells[i] += other.cells[i];
        cells[MAX] = Math.max(cells[MAX], other.cells[MAX]);
    }

    /** Adds durations of zero. */
    void addZeros(long count) {
        cells[0] += count;
    }

    PoolStats.Durations snapshot() {
        return new PoolStats.Durations(Arrays.copyOf(cells, SUM), cells[SUM], cells[MAX]);
    }

    /** The bucket of a duration. */
    static int bucket(long nanos) {
        int found = Arrays.binarySearch(BOUNDS, nanos);
        return found >= 0 ? found : -found - 1;
    }
}
