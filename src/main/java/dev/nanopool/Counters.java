package dev.nanopool;

import java.time.Duration;
import java.util.concurrent.atomic.AtomicLongArray;
import java.util.concurrent.atomic.AtomicReference;
import org.jspecify.annotations.Nullable;

/** The pool's counters and histograms, which {@link PoolStats} reads. Thread-safe. */
final class Counters implements Event.Sink {
    private static final int OPENED = 0;
    private static final int CLOSED = 1;
    private static final int LOST = 2;
    private static final int CANCELLED = 3;
    private static final int LEAKED = 4;
    private static final int TIMEOUTS = 5;
    private static final int REJECTED = 6;
    private static final int LEFT_OPEN = 7;
    private static final int BUGS = 8;

    private final AtomicLongArray counts = new AtomicLongArray(BUGS + 1); // small, because pools may be many
    private final AtomicReference<@Nullable SharedHistogram> connects = new AtomicReference<>(); // made at first use
    private final AtomicReference<@Nullable SharedHistogram> resets = new AtomicReference<>();

    @Override
    public void accept(Event event) {
        switch (event) {
            case Event.Opened open -> {
                record(connects, open.took());
                count(OPENED);
            }
            case Event.Closed unused -> count(CLOSED);
            case Event.Lost unused -> count(LOST);
            case Event.Cancelled unused -> count(CANCELLED);
            case Event.Leaked leak -> {
                if (!leak.isKnown()) count(LEAKED);
            }
            case Event.Exhausted refused -> count(refused.isTimeout() ? TIMEOUTS : REJECTED);
            case Event.RefusedClosed unused -> count(REJECTED);
            case Event.Reset reset -> record(resets, reset.took());
            case Event.TransactionLeftOpen unused -> count(LEFT_OPEN);
            case Event.Bug unused -> count(BUGS);
            default -> {} // not counted
        }
    }

    private static void record(AtomicReference<@Nullable SharedHistogram> histogram, Duration took) {
        SharedHistogram made = histogram.get();
        if (made == null) {
            made = new SharedHistogram();
            SharedHistogram other = histogram.compareAndExchange(null, made);
            if (other != null) made = other;
        }
        made.record(took.toNanos());
    }

    private static PoolStats.Durations snapshot(AtomicReference<@Nullable SharedHistogram> histogram) {
        SharedHistogram made = histogram.get();
        return made == null ? PoolStats.Durations.NONE : made.snapshot();
    }

    private void count(int what) {
        counts.incrementAndGet(what);
    }

    private long get(int what) {
        return counts.get(what);
    }

    long opened() {
        return get(OPENED);
    }

    long closed() {
        return get(CLOSED);
    }

    long lost() {
        return get(LOST);
    }

    long cancelled() {
        return get(CANCELLED);
    }

    long leaked() {
        return get(LEAKED);
    }

    long timeouts() {
        return get(TIMEOUTS);
    }

    long rejected() {
        return get(REJECTED);
    }

    long resets() {
        return snapshot(resets).count();
    }

    long leftOpen() {
        return get(LEFT_OPEN);
    }

    /** Faults of its own that the pool has noticed. */
    long bugs() {
        return get(BUGS);
    }

    /** All of them, for a snapshot. */
    PoolStats.Totals totals(Histogram waits, Histogram uses) {
        return new PoolStats.Totals(
                timeouts(),
                rejected(),
                opened(),
                closed(),
                lost(),
                cancelled(),
                leaked(),
                leftOpen(),
                waits.snapshot(),
                uses.snapshot(),
                snapshot(connects),
                snapshot(resets));
    }
}
