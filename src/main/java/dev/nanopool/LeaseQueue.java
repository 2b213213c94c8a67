package dev.nanopool;

import dev.nanopool.Refused.Reason;
import java.util.Objects;
import java.util.concurrent.LinkedTransferQueue;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReferenceArray;
import java.util.concurrent.locks.LockSupport;
import java.util.function.BooleanSupplier;
import java.util.function.Consumer;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;

/**
 * Who gets which connection when. Callers that must wait stand in one line, first come first served, and park without a
 * timer; a returned connection goes straight to the oldest. Thread-safe, blocks in {@link #take} only, and knows no JDBC:
 * the pooled thing is a {@code T}.
 *
 * <p><i>Memory effects:</i> what a thread did before {@link #give} happens-before what the next lessee of the item does
 * with it, by the compare-and-set on the stripe or on the waiter's answer, or by the idle queue.
 */
final class LeaseQueue<T> {
    // A permit is the right to hold one connection. Each is in one place: free in `permits`, in a stripe together with
    // an idle item, or with a holder (a lease, an open in progress, a check of an idle item). Taken first, given back
    // last.
    //
    // permits: one per free right. More permits than idle items means: something may be opened.
    // idle:    polled only with a permit in hand; an item is queued BEFORE its permit is released. In the reverse order
    //          the next holder of that permit finds nothing and opens one connection too many.
    // stripes: one idle item each, its permit included; filled and emptied by one compare-and-set. They keep threads
    //          that need not wait off each other's cache lines.
    // waiters: served oldest first. An item that meets a waiter with an answer (it has left) goes to the next one.
    //
    // No wake-up is lost: who gives fills a stripe or releases a permit, THEN looks for waiters; who waits joins the
    // line, THEN looks for items. All four are volatile accesses, so of two such threads at least one sees the other.
    private static final int STRIPES = 2;
    private static final int SHIFT = 5; // 32 references: neither stripes nor the array's length share a cache line
    private final AtomicReferenceArray<@Nullable T> stripes = new AtomicReferenceArray<>((STRIPES + 2) << SHIFT);
    private final LinkedTransferQueue<T> idle = new LinkedTransferQueue<>();
    private final Semaphore permits = new Semaphore(0);
    private final WaitingLine waiters;
    private final AtomicInteger pending = new AtomicInteger(); // callers inside take
    private volatile boolean closed;
    private final int maxWaiters;
    private final LongSupplier clock; // nanoseconds since the pool began: never negative, so that < compares
    private final Runnable vacancy; // takes over a permit to which nothing idle belongs
    private final Runnable putBack = this::release; // what else can be done with such a permit
    private final BooleanSupplier deadlock; // whether the calling thread, which is in the line, waits for itself

    LeaseQueue(int maxWaiters, LongSupplier clock, Runnable vacancy, Runnable alarm, BooleanSupplier deadlock) {
        this.maxWaiters = maxWaiters;
        this.clock = clock;
        this.vacancy = vacancy;
        this.deadlock = deadlock;
        this.waiters = new WaitingLine(alarm);
    }

    /** An idle item at once, or null. Never overtakes a waiter. Who is going to wait has one opened by {@link #take}. */
    @Nullable
    T tryTake() {
        return waiters.isEmpty() ? takeIdle() : null;
    }

    /** As {@link #tryTake}, for who does not wait: a permit to which nothing idle belongs goes to {@code opening}. */
    @Nullable
    T tryTakeOrOpen(Runnable opening) {
        return waiters.isEmpty() ? available(opening) : null;
    }

    /** Waits in the line until an item, a refusal or an interrupt comes. The housekeeper keeps the deadline. */
    T take(long deadlineNanos) throws InterruptedException, Refused {
        int place = pending.incrementAndGet();
        try {
            if (place > maxWaiters) throw new Refused(Reason.QUEUE_FULL, place);
            if (closed) throw new Refused(Reason.CLOSED, place); // nobody would take it out of the line again
            var waiter = new Waiter(clock.getAsLong(), deadlineNanos);
            waiters.add(waiter); // THEN look: whether the queue is closed, and for items
            if (closed) waiter.answer(Reason.CLOSED);
            match();
            if (deadlock.getAsBoolean()) waiter.answer(Reason.DEADLOCK);
            waiters.lookAt(deadlineNanos);
            while (waiter.get() == null) {
                LockSupport.park(this);
                if (Thread.interrupted()) {
                    // Who answers first wins. An item that had come already goes on to the next waiter.
                    if (!waiter.answer(Reason.INTERRUPTED) && !(waiter.get() instanceof Reason)) give(item(waiter));
                    waiters.lookAt(0); // which removes the spent waiter from the line
                    throw new InterruptedException();
                }
            }
            if (waiter.get() instanceof Reason reason) throw new Refused(reason, place);
            return item(waiter);
        } finally {
            pending.decrementAndGet();
        }
    }

    /** Gives an item back, its permit with it: to the oldest waiter, else it is idle. */
    void give(T item) {
        if (waiters.handOver(item)) return;
        int stripe = stripe(0);
        if (stripes.get(stripe) != null || !stripes.compareAndSet(stripe, null, item)) {
            idle.add(item);
            permits.release();
        }
        match();
    }

    /** Gives back a permit without an item, or adds one. */
    void release() {
        permits.release();
        match();
    }

    /** Takes out an idle item with its permit, to look at it and give it back; null: none is idle. */
    @Nullable
    T takeIdle() {
        return available(putBack);
    }

    /** Takes a free permit out, and with it an idle item if there is one. False: no permit is free. */
    boolean withdraw(Consumer<? super T> closing) {
        T item = takeIdle();
        if (item != null) closing.accept(item);
        return item != null || permits.tryAcquire();
    }

    /** Refuses all who wait and who will. Items can still be given back and withdrawn. */
    void close() {
        closed = true; // THEN answer: who enqueues later sees it
        refuse(Reason.CLOSED, Long.MAX_VALUE);
    }

    /** Refuses all who have waited since before {@code nanos}. */
    void refuse(Reason reason, long nanos) {
        waiters.refuse(reason, nanos);
    }

    /** Answers the waiters whose deadline has passed; returns when to look again. For the housekeeper alone. */
    long expire(long nowNanos) {
        return waiters.expire(nowNanos);
    }

    /** Whether that thread waits here; walks the line. */
    boolean hasWaiting(Thread thread) {
        return waiters.hasWaiting(thread);
    }

    int pending() {
        return pending.get();
    }

    /** How many permits nobody holds. */
    int free() {
        int filled = 0;
        for (int i = 1; i <= STRIPES; i++) filled += stripes.get(i << SHIFT) == null ? 0 : 1;
        return permits.availablePermits() + filled;
    }

    /** Pairs waiters with what is available, until one of the two runs out. */
    private void match() {
        while (!waiters.isEmpty()) {
            T item = available(vacancy);
            if (item == null) return;
            if (!waiters.handOver(item)) { // the last waiter has left meanwhile
                idle.add(item);
                permits.release();
            }
        }
    }

    /** Own stripe, other stripes, idle queue. A permit that finds nothing idle goes to {@code otherwise}. */
    private @Nullable T available(Runnable otherwise) {
        for (int i = 0; i < STRIPES; i++) {
            int stripe = stripe(i);
            T item = stripes.get(stripe);
            if (item != null && stripes.compareAndSet(stripe, item, null)) return item;
        }
        if (!permits.tryAcquire()) return null;
        T item = idle.poll();
        if (item == null) otherwise.run();
        return item;
    }

    private static int stripe(int offset) {
        return ((((int) Thread.currentThread().threadId() + offset) & (STRIPES - 1)) + 1) << SHIFT;
    }

    @SuppressWarnings("unchecked") // an answer is an item or a Reason, and the callers have excluded those
    private T item(Waiter waiter) {
        return (T) Objects.requireNonNull(waiter.get());
    }
}
