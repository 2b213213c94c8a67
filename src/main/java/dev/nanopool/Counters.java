package dev.nanopool;

import java.util.concurrent.atomic.LongAdder;

/** The pool's counters and histograms, which {@link PoolStats} reads. Thread-safe. */
final class Counters implements Event.Sink {
    private final LongAdder opened = new LongAdder();
    private final LongAdder closed = new LongAdder();
    private final LongAdder lost = new LongAdder();
    private final LongAdder cancelled = new LongAdder();
    private final LongAdder leaked = new LongAdder();
    private final LongAdder timeouts = new LongAdder();
    private final LongAdder rejected = new LongAdder();
    private final LongAdder resets = new LongAdder();
    private final LongAdder leftOpen = new LongAdder();
    private final LongAdder bugs = new LongAdder();
    private final LongAdder waited = new LongAdder();
    private final LongAdder pastLeases = new LongAdder(); // of connections that are closed
    private final Histogram waits = new Histogram();
    private final Histogram uses = new Histogram();

    @Override
    public void accept(Event event) {
        switch (event) {
            case Event.Opened unused -> opened.increment();
            case Event.Closed end -> {
                pastLeases.add(end.leases());
                closed.increment();
            }
            case Event.Lost unused -> lost.increment();
            case Event.Cancelled unused -> cancelled.increment();
            case Event.Leaked leak -> leaked.add(leak.isKnown() ? 0 : 1);
            case Event.Exhausted refused -> (refused.isTimeout() ? timeouts : rejected).increment();
            case Event.RefusedClosed unused -> rejected.increment();
            case Event.Reset unused -> resets.increment();
            case Event.TransactionLeftOpen unused -> leftOpen.increment();
            case Event.Bug unused -> bugs.increment();
            default -> {} // not counted
        }
    }

    /** A caller got its connection after it had waited. */
    void waited(long nanos) {
        waited.increment();
        waits.record(nanos);
    }

    /** A lease ended. */
    void used(long nanos) {
        uses.record(nanos);
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
        return resets.sum();
    }

    long leftOpen() {
        return leftOpen.sum();
    }

    /** Faults of its own that the pool has noticed. */
    long bugs() {
        return bugs.sum();
    }

    long hasWaited() {
        return waited.sum();
    }

    long pastLeases() {
        return pastLeases.sum();
    }

    Histogram waits() {
        return waits;
    }

    Histogram uses() {
        return uses;
    }

    /** All of them, for a snapshot. */
    PoolStats.Totals totals(long leasesGranted) {
        long unwaited = Math.max(0, leasesGranted - hasWaited());
        return new PoolStats.Totals(
                leasesGranted,
                timeouts(),
                rejected(),
                opened(),
                closed(),
                lost(),
                cancelled(),
                leaked(),
                resets(),
                leftOpen(),
                waits.percentile(50, unwaited),
                waits.percentile(99, unwaited),
                waits.percentile(99.9, unwaited),
                waits.max(),
                uses.percentile(50, 0),
                uses.percentile(99, 0));
    }
}
