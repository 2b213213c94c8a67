package dev.nanopool;

/** The pool's time, in nanoseconds since the JVM loaded this class: never negative, so that times compare by {@code <}. */
final class Clock {
    private static final long START_NANOS = System.nanoTime();

    // Reading the exact time costs more than the rest of a lease: where 0.1 s will do, this one is read.
    private volatile long coarseNanos;

    static long nanoTime() {
        return System.nanoTime() - START_NANOS;
    }

    /** The time to within 0.1 s. */
    long coarseNanos() {
        return coarseNanos;
    }

    /** For the housekeeper, ten times a second. */
    void tick(long nanos) {
        coarseNanos = nanos;
    }
}
