package dev.nanopool;

import java.util.List;
import java.util.Objects;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CopyOnWriteArrayList;
import org.jspecify.annotations.Nullable;

/**
 * What the leases of a connection add up to, and of those before it in its place. Only the thread that has the connection in
 * its hand writes, so no counter is contended; all threads may read, perhaps a moment late. Nothing here ever decreases.
 */
final class Ledger {
    // From that length on, each lease counts with its own duration, which the coarse clock tells to within 10 %.
    private static final long LONG_NANOS = 100_000_000;

    private long unwaited; // leases whose callers did not wait
    private long waited;
    // The first lease makes them when it begins, because its end must not need memory.
    private @Nullable Histogram waits;
    private @Nullable Histogram uses;
    private int bucket; // of the last lease below LONG_NANOS that was timed exactly
    private long nanos;

    /** All ledgers of a pool. A ledger outlives its connection, and the next connection continues it. */
    static final class Book {
        private final List<Ledger> all = new CopyOnWriteArrayList<>();
        private final Queue<Ledger> free = new ConcurrentLinkedQueue<>();

        Ledger take() {
            Ledger used = free.poll();
            if (used != null) return used;
            var ledger = new Ledger();
            all.add(ledger);
            return ledger;
        }

        /** The connection of that ledger is closed. */
        void release(Ledger ledger) {
            free.add(ledger);
        }

        /** How long callers waited that got a connection: one for each lease. */
        Histogram waits() {
            var sum = new Histogram();
            for (Ledger ledger : all) {
                Histogram waits = ledger.waits;
                if (waits != null) sum.add(waits);
                sum.addZeros(ledger.unwaited);
            }
            return sum;
        }

        /** How long leases lasted: one for each lease that has ended. */
        Histogram uses() {
            var sum = new Histogram();
            for (Ledger ledger : all) {
                Histogram uses = ledger.uses;
                if (uses != null) sum.add(uses);
            }
            return sum;
        }
    }

    /** Leases that have begun. */
    long leases() {
        return unwaited + waited;
    }

    /** A lease begins; zero: its caller did not wait. */
    void lent(long waitNanos) {
        if (uses == null) uses = new Histogram();
        if (waitNanos == 0) {
            unwaited++;
        } else {
            if (waits == null) waits = new Histogram(); // THEN count, because this may fail
            waited++;
            waits.record(waitNanos);
        }
    }

    /**
     * A lease has ended. Where leases are so many that a clock would cost too much, one in 64 is timed, and stands for the
     * short ones after it.
     */
    void used(long forNanos, boolean isExact) {
        Histogram histogram = Objects.requireNonNull(uses, "a lease ends that has not begun");
        if (!isExact && forNanos < LONG_NANOS) {
            histogram.repeat(bucket, nanos);
            return;
        }
        int found = histogram.record(Math.max(0, forNanos));
        if (forNanos >= LONG_NANOS) return;
        bucket = found;
        nanos = Math.max(0, forNanos);
    }
}
