package dev.nanopool;

import java.time.Duration;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.atomic.LongAdder;
import org.jspecify.annotations.Nullable;

/** The pool's counters and histograms, which {@link PoolStats} reads. Thread-safe. */
final class Counters implements Event.Sink {
    private final LongAdder opened = new LongAdder();
    private final LongAdder closed = new LongAdder();
    private final LongAdder lost = new LongAdder();
    private final LongAdder cancelled = new LongAdder();
    private final LongAdder leaked = new LongAdder();
    private final LongAdder timeouts = new LongAdder();
    private final LongAdder rejected = new LongAdder();
    private final LongAdder leftOpen = new LongAdder();
    private final LongAdder bugs = new LongAdder();
    private final AtomicReference<@Nullable Histogram> connects =
            new AtomicReference<>(); // made at first use, as the other
    private final AtomicReference<@Nullable Histogram> resets = new AtomicReference<>();

    @Override
    public void accept(Event event) {
        switch (event) {
            case Event.Opened open -> {
                record(connects, open.took());
                opened.increment();
            }
            case Event.Closed unused -> closed.increment();
            case Event.Lost unused -> lost.increment();
            case Event.Cancelled unused -> cancelled.increment();
            case Event.Leaked leak -> leaked.add(leak.isKnown() ? 0 : 1);
            case Event.Exhausted refused -> (refused.isTimeout() ? timeouts : rejected).increment();
            case Event.RefusedClosed unused -> rejected.increment();
            case Event.Reset reset -> record(resets, reset.took());
            case Event.TransactionLeftOpen unused -> leftOpen.increment();
            case Event.Bug unused -> bugs.increment();
            default -> {} // not counted
        }
    }

    private static void record(AtomicReference<@Nullable Histogram> histogram, Duration took) {
        Histogram made = histogram.get();
        if (made == null) {
            made = new Histogram();
            Histogram other = histogram.compareAndExchange(null, made);
            if (other != null) made = other;
        }
        made.recordShared(took.toNanos());
    }

    private static PoolStats.Durations snapshot(AtomicReference<@Nullable Histogram> histogram) {
        Histogram made = histogram.get();
        return made == null ? PoolStats.Durations.NONE : made.snapshot();
    }

    long opened() {
        return opened.sum();
    }

    long closed() {
        return closed.sum();
    }

    long lost() {
        return lost.sum();
    }

    long cancelled() {
        return cancelled.sum();
    }

    long leaked() {
        return leaked.sum();
    }

    long timeouts() {
        return timeouts.sum();
    }

    long rejected() {
        return rejected.sum();
    }

    long resets() {
        return snapshot(resets).count();
    }

    long leftOpen() {
        return leftOpen.sum();
    }

    /** Faults of its own that the pool has noticed. */
    long bugs() {
        return bugs.sum();
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
