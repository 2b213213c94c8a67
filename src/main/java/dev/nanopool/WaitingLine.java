package dev.nanopool;

import dev.nanopool.Refused.Reason;
import java.util.Iterator;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Consumer;

/**
 * The callers that wait, oldest first, and their deadlines. No waiter has a timer: the housekeeper asks {@link #expire}.
 * Thread-safe, never blocks.
 */
final class WaitingLine {
    // A waiter with an answer has left, or is about to: it stays in the line until somebody passes it.
    private final ConcurrentLinkedQueue<Waiter> waiters = new ConcurrentLinkedQueue<>();
    private final AtomicLong earliestNanos = new AtomicLong(Long.MAX_VALUE); // no waiter's deadline is before it
    private final Runnable alarm; // told that there is something to look at sooner than was known

    WaitingLine(Runnable alarm) {
        this.alarm = alarm;
    }

    boolean isEmpty() {
        return waiters.isEmpty();
    }

    void add(Waiter waiter) {
        waiters.add(waiter);
    }

    boolean hasWaiting(Thread thread) {
        for (Waiter waiter : waiters) {
            if (waiter.thread == thread && waiter.get() == null) return true;
        }
        return false;
    }

    /** Gives the item to the oldest waiter that still waits. False: there is none, and the caller keeps it. */
    boolean handOver(Object item) {
        for (Waiter waiter = waiters.poll(); waiter != null; waiter = waiters.poll()) {
            if (waiter.answer(item)) return true;
        }
        return false;
    }

    /** Has the housekeeper look at the line when that time has come; zero: at once. */
    void lookAt(long nanos) {
        if (lowerEarliest(nanos)) alarm.run();
    }

    /** Refuses all who have waited since before {@code nanos}. */
    void refuse(Reason reason, long nanos) {
        forEach(waiter -> {
            if (waiter.enqueuedNanos < nanos) waiter.answer(reason);
        });
    }

    /** Answers the waiters whose deadline has passed; returns when to look again. For the housekeeper alone. */
    long expire(long nowNanos) {
        if (earliestNanos.get() <= nowNanos) {
            earliestNanos.set(Long.MAX_VALUE); // first: who comes from now on lowers it, all others are met below
            forEach(waiter -> {
                if (waiter.deadlineNanos <= nowNanos) waiter.answer(Reason.TIMED_OUT);
                else if (waiter.get() == null) lowerEarliest(waiter.deadlineNanos);
            });
        }
        return earliestNanos.get();
    }

    private boolean lowerEarliest(long nanos) {
        return nanos < earliestNanos.get() && nanos < earliestNanos.getAndAccumulate(nanos, Math::min);
    }

    private void forEach(Consumer<Waiter> action) {
        for (Iterator<Waiter> line = waiters.iterator(); line.hasNext(); ) {
            Waiter waiter = line.next();
            action.accept(waiter);
            if (waiter.get() != null) line.remove();
        }
    }
}
