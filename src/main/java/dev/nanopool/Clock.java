package dev.nanopool;

import java.util.concurrent.atomic.AtomicLong;

/** The pool's time, in nanoseconds since the JVM loaded this class. It is never negative, so that times compare by {@code <}. */
final class Clock {
    private static final long START_NANOS = System.nanoTime();
    private static final long ASLEEP = -1;
    private static final long JUMP_MILLIS = 5_000;

    // Reading the exact time costs more than the rest of a lease. While more than 10,000 leases begin in a second, the
    // housekeeper writes the time here a hundred times a second. Otherwise the readers take the exact time.
    private volatile long coarseNanos = ASLEEP;

    private final AtomicLong wallOffsetMillis = new AtomicLong(Long.MIN_VALUE); // of the wall clock against this one

    static long nanoTime() {
        return System.nanoTime() - START_NANOS;
    }

    /** A time of {@link System#nanoTime} in this time. */
    static long since(long systemNanos) {
        return systemNanos - START_NANOS;
    }

    /** The time to within 10 ms, if nothing delays the housekeeper. */
    long coarseNanos() {
        long now = coarseNanos;
        return now == ASLEEP ? nanoTime() : now;
    }

    /** Whether {@link #coarseNanos} is not exact. */
    boolean isCoarse() {
        return coarseNanos != ASLEEP;
    }

    /** Sets the coarse time. For the housekeeper. */
    void tick(long nanos) {
        coarseNanos = nanos;
    }

    /**
     * Compares the wall clock with this one. Answers whether the wall clock has jumped against this one by more than five
     * seconds since the last call, as it does when the machine was asleep. For the housekeeper.
     */
    boolean findJump(long nanos, long wallMillis) {
        long now = wallMillis - nanos / 1_000_000;
        long before = wallOffsetMillis.getAndSet(now);
        return before != Long.MIN_VALUE && Math.abs(now - before) > JUMP_MILLIS;
    }

    /** Shifts the wall clock. For tests, between two checks of the housekeeper. */
    void shiftWallClock(long millis) {
        wallOffsetMillis.addAndGet(-millis);
    }

    /** Stops the coarse time, because the housekeeper will not tick soon. */
    void sleep() {
        coarseNanos = ASLEEP;
    }
}
