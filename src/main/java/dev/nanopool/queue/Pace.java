package dev.nanopool.queue;

import java.time.Duration;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;

/**
 * Measures how fast the line of waiting callers moves. It knows nothing unless callers have waited without a gap for two windows
 * of time, and forgets what it knows when the line stands still. Thread-safe, never blocks.
 */
final class Pace {
    // A window begins and ends with a hand-over. The interval changes only if two windows in a row say so, because one
    // alone may have met a standstill, or the pause between two bursts. It moves to the nearer one of the two. So it
    // adapts after one window and two whole ones, which is within a second, and chance moves it little.
    private static final int STEP = 16; // hand-overs for each look at the clock, because it costs more than a count
    private static final long WINDOW_NANOS = Duration.ofMillis(300).toNanos(); // at least
    private static final long STANDSTILL_NANOS = Duration.ofSeconds(1).toNanos();

    private final AtomicLong handOvers = new AtomicLong();
    private final AtomicReference<@Nullable Window> window = new AtomicReference<>();

    /**
     * The window that lasts.
     *
     * @param count how many hand-overs there had been at its begin
     * @param tookNanos how long the window before took
     * @param latest the nanoseconds from one hand-over to the next in the window before; 0 if there was none
     * @param interval the same, as far as the pace is known; else 0
     */
    private record Window(long beganNanos, long count, long tookNanos, long latest, long interval) {
        Window next(long nanos, long newCount) {
            long took = nanos - beganNanos;
            long measured = took / (newCount - count);
            long median = Math.clamp(interval, Math.min(measured, latest), Math.max(measured, latest));
            return new Window(nanos, newCount, took, measured, median);
        }
    }

    /** Counts a hand-over to a waiting caller. */
    void handedOver(LongSupplier clock) {
        if (handOvers.incrementAndGet() % STEP != 0) return;
        Window now = window.get();
        long nanos = clock.getAsLong();
        long count = handOvers.get();
        if (now == null) window.compareAndSet(null, new Window(nanos, count, 0, 0, 0));
        else if (nanos - now.beganNanos >= WINDOW_NANOS && count - now.count >= STEP)
            window.compareAndSet(now, now.next(nanos, count));
    }

    /** Forgets the pace, because the line was empty. */
    void forget() {
        if (window.get() != null) window.set(null);
    }

    /** The nanoseconds from one hand-over to the next; 0 if the pace is not known. */
    long intervalNanos(long nowNanos) {
        Window now = window.get();
        if (now == null) return 0;
        boolean isStill = nowNanos - now.beganNanos > Math.max(STANDSTILL_NANOS, 2 * now.tookNanos);
        return isStill ? 0 : now.interval;
    }
}
