package dev.nanopool.queue;

import dev.nanopool.queue.RefusedException.Reason;
import java.util.Iterator;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Consumer;
import java.util.function.IntSupplier;
import java.util.function.LongSupplier;

/**
 * The callers that wait, oldest first, and their deadlines. No waiter has a timer, because the housekeeper calls
 * {@link #expire}. Thread-safe, never blocks.
 */
final class WaitingLine {
    // A waiter in the line has no answer, or has one and must still be woken. Three steps, in this order: a thread
    // answers the waiter, wakes it, and removes it. Another thread that meets an answered waiter does the last two
    // again, because the first thread may have failed between them. So each waiter that leaves the line has been woken.
    private final ConcurrentLinkedQueue<Waiter> waiters = new ConcurrentLinkedQueue<>();
    private final AtomicLong earliestNanos = new AtomicLong(Long.MAX_VALUE); // no waiter's deadline is before it
    private volatile boolean hasUnwoken; // waking or removing an answered waiter has failed; expire does it again
    final Pace pace = new Pace();
    private final int maxWaiters;
    private final LongSupplier clock; // nanoseconds, never negative, so that < compares
    private final IntSupplier hopeful; // how many wait before one may be hopeless
    private final Runnable alarm; // wakes the housekeeper for a deadline earlier than its next check

    WaitingLine(int maxWaiters, LongSupplier clock, IntSupplier hopeful, Runnable alarm) {
        this.maxWaiters = maxWaiters;
        this.clock = clock;
        this.hopeful = hopeful;
        this.alarm = alarm;
    }

    boolean isEmpty() {
        return waiters.isEmpty();
    }

    /** Makes a waiter of the caller at that place. Refuses it if the line is too long for {@code maxWaiters} or its deadline. */
    Waiter admit(int place, int uncounted, long deadlineNanos) throws RefusedException {
        if (place - uncounted > maxWaiters) throw new RefusedException(Reason.QUEUE_FULL, place);
        long now = clock.getAsLong();
        if (waiters.isEmpty()) pace.forget(); // the items had no caller to go to
        long interval = pace.intervalNanos(now);
        if (interval > 0) {
            // As many callers as there are items may be served at any moment. Three deviations are left to chance.
            double before = Math.max(0.0, (double) place - uncounted - hopeful.getAsInt());
            if ((before - 3 * Math.sqrt(before)) * interval > deadlineNanos - now)
                throw new RefusedException(Reason.HOPELESS, place, place * interval);
        }
        return new Waiter(now, deadlineNanos);
    }

    void add(Waiter waiter) {
        waiters.add(waiter);
    }

    /** The deadline of the waiter of that thread. {@link LeaseQueue#NOT_WAITING} if it does not wait. */
    long deadlineOf(Thread thread) {
        for (Waiter waiter : waiters) {
            if (waiter.thread == thread && waiter.get() == null) return waiter.deadlineNanos;
        }
        return LeaseQueue.NOT_WAITING;
    }

    /** When the caller came that has so many others before it. {@link Arrivals#NONE} if so many do not wait. */
    long arrivalNanos(int ahead) {
        int left = ahead;
        for (Waiter waiter : waiters) {
            if (waiter.get() == null && left-- == 0) return waiter.enqueuedNanos;
        }
        return Arrivals.NONE;
    }

    /** How many callers still wait for their answer. */
    int size() {
        int size = 0;
        for (Waiter waiter : waiters) size += waiter.get() == null ? 1 : 0;
        return size;
    }

    /**
     * Gives the item to the oldest waiter that still waits. False if there is none. If it answers false or throws, the caller
     * keeps the item.
     */
    boolean handOver(Object item) {
        if (waiters.isEmpty()) return false;
        StackReserve.require(); // a virtual thread that is woken on a full stack may never run again
        for (Iterator<Waiter> line = waiters.iterator(); line.hasNext(); ) {
            Waiter waiter = line.next();
            boolean isAnswered = waiter.answer(item);
            try {
                waiter.wake();
                line.remove(); // for free; remove(waiter) walks the whole line if another thread was faster
                if (isAnswered) pace.handedOver(clock);
            } catch (RuntimeException | Error e) {
                if (!isAnswered) throw e;
                hasUnwoken = true; // a mere write, because there may be neither stack nor memory for a call
            }
            if (isAnswered) return true;
        }
        return false;
    }

    /** Wakes the housekeeper if its next check of the line would come after this time. Zero means at once. */
    void scheduleCheck(long nanos) {
        if (lowerEarliest(nanos)) alarm.run();
    }

    /** Refuses all callers that have waited since before {@code nanos}. */
    void refuse(Reason reason, long nanos) {
        forEach(waiter -> {
            if (waiter.enqueuedNanos < nanos) waiter.answer(reason);
        });
    }

    /** Refuses the waiter of that thread. False if it has none, or has its answer already. */
    boolean refuse(Reason reason, Thread thread) {
        boolean[] isRefused = {false};
        forEach(waiter -> {
            if (waiter.thread == thread) isRefused[0] |= waiter.answer(reason);
        });
        return isRefused[0];
    }

    /** Answers the waiters whose deadline has passed, and wakes them. Returns when to check again. */
    long expire(long nowNanos) {
        if (hasUnwoken || earliestNanos.get() <= nowNanos) {
            hasUnwoken = false; // first, because what fails from now on sets it again
            earliestNanos.set(Long.MAX_VALUE); // first: a later caller lowers it, and the loop meets all earlier ones
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
        boolean isDone = false;
        try {
            Iterator<Waiter> line = waiters.iterator();
            if (line.hasNext()) StackReserve.require(); // as in handOver
            while (line.hasNext()) {
                Waiter waiter = line.next();
                action.accept(waiter);
                if (waiter.get() != null) {
                    waiter.wake();
                    line.remove();
                }
            }
            isDone = true;
        } finally {
            if (!isDone) hasUnwoken = true;
        }
    }
}
