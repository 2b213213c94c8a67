package dev.nanopool.queue;

import dev.nanopool.queue.RefusedException.Reason;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Consumer;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;

/**
 * Decides which caller gets which item, and when. Waiting callers stand in one line and are served in the order of their
 * arrival. They park without a timer, and a returned item goes straight to the oldest. Thread-safe. Only {@link #take}
 * blocks.
 *
 * <p>No error loses an item, a permit or a waiter: a full stack, no memory, an owner that throws. What such an error leaves
 * half done, the next {@link #expire} finishes.
 *
 * <p><i>Memory effects:</i> what a thread did before {@link #give} happens-before what the next holder of the item does with
 * it, by the compare-and-set on the stripe or on the waiter's answer, or by the idle queue.
 */
public final class LeaseQueue<T> {
    /** What {@link #deadlineOf} answers for a thread that does not wait. */
    public static final long NOT_WAITING = -1;

    // A permit is the right to hold one item. Each permit is in one place: idle in `items`, with a holder (a lease, an
    // open in progress, a check of an idle item), or in a waiter together with the item that is its answer.
    //
    // waiters: served oldest first. An item that meets an answered waiter goes to the next one.
    // answers: a waiter gets exactly one. An item that is an answer belongs to the waiter. A caller that leaves without
    // its
    //          item answers itself, or, if the item was faster, gives the item back.
    //
    // No wake-up is lost. A giving thread puts the item or the permit into `items`, THEN looks for waiters. A waiting
    // thread joins the line, THEN looks for items. All four are volatile accesses, so at least one of two such threads
    // sees the other.
    //
    // An error that strikes after the item has its place must not reach the giver, which would give it twice. It sets
    // `hasUnfinished` by a mere write, because there may be neither stack nor memory for a call.
    private final IdleItems<T> items = new IdleItems<>();
    private final WaitingLine waiters;
    private final AtomicInteger pending = new AtomicInteger(); // callers inside take
    private final AtomicReference<@Nullable Waiter> unfinished =
            new AtomicReference<>(); // a stack: leave must run again
    private volatile boolean hasUnfinished;
    private volatile boolean closed;
    private final int maxWaiters;
    private final LongSupplier clock; // nanoseconds, never negative, so that < compares
    private final Runnable fillForWaiter;
    private final Runnable fillForLater;
    private final Runnable putBack = this::release;

    /** What the queue asks of its owner. */
    public interface Owner {
        /** Takes over a permit that has no idle item, for a waiting caller. If it throws, the permit stays with the queue. */
        void fillForWaiter();

        /** As {@link #fillForWaiter}, for a caller that does not wait and may come again. */
        void fillForLater();

        /** Wakes the housekeeper, because a deadline is earlier than its next look. */
        void wake();
    }

    public LeaseQueue(int maxWaiters, LongSupplier clock, Owner owner) {
        this.maxWaiters = maxWaiters;
        this.clock = clock;
        this.fillForWaiter = owner::fillForWaiter;
        this.fillForLater = owner::fillForLater;
        this.waiters = new WaitingLine(owner::wake);
    }

    /** Returns an idle item at once, or null. Never overtakes a waiter. {@link #take} asks the owner for a new item. */
    public @Nullable T tryTake() {
        return waiters.isEmpty() ? takeIdle() : null;
    }

    /** As {@link #tryTake}, for a caller that will not wait: {@link Owner#fillForLater} gets a permit without an item. */
    public @Nullable T tryTakeOrFill() {
        return waiters.isEmpty() ? available(fillForLater) : null;
    }

    /**
     * Waits in the line for an item. The housekeeper keeps the deadline.
     *
     * @param uncounted how many of the callers inside this method do not count against {@code maxWaiters}
     */
    public T take(long deadlineNanos, int uncounted) throws InterruptedException, RefusedException {
        StackReserve.require(); // for `finally`, before there is something to undo
        int place = pending.incrementAndGet();
        Waiter waiter = null;
        boolean isServed = false;
        try {
            if (place - uncounted > maxWaiters) throw new RefusedException(Reason.QUEUE_FULL, place);
            if (closed) throw new RefusedException(Reason.CLOSED, place); // a closed queue answers no new waiter
            waiter = new Waiter(clock.getAsLong(), deadlineNanos);
            join(waiter);
            while (waiter.get() == null) {
                LockSupport.park(this);
                if (Thread.interrupted()) throw new InterruptedException();
            }
            Object answer = waiter.get();
            if (answer instanceof Reason reason) throw new RefusedException(reason, place);
            T item = item(answer);
            isServed = true;
            return item;
        } finally {
            if (!isServed && waiter != null) leave(waiter);
            pending.decrementAndGet();
        }
    }

    /**
     * Gives an item back with its permit, to the oldest waiter if there is one. Returns normally if and only if the item was
     * given back. Throws only an {@code Error} for want of stack or memory; then the caller still has the item.
     */
    public void give(T item) {
        boolean isHandedOver = false;
        try {
            isHandedOver = waiters.handOver(item);
        } catch (RuntimeException | Error e) {
            hasUnfinished = true; // a waiter could not be woken; the item waits for expire
        }
        if (isHandedOver) return;
        items.put(item);
        try {
            match();
        } catch (RuntimeException | Error e) {
            hasUnfinished = true;
        }
    }

    /** Gives back a permit without an item, or adds one. Returns and throws as {@link #give}. */
    public void release() {
        items.putPermit();
        try {
            match();
        } catch (RuntimeException | Error e) {
            hasUnfinished = true;
        }
    }

    /** Takes out an idle item with its permit, to check it and give it back. Null if none is idle. */
    public @Nullable T takeIdle() {
        return available(putBack);
    }

    /** Takes a free permit out for good, and passes its idle item, if there is one, to {@code closing}. */
    public boolean withdraw(Consumer<? super T> closing) {
        boolean[] isVacant = {false};
        T item = items.take(() -> isVacant[0] = true);
        if (item == null) return isVacant[0];
        boolean isClosing = false;
        try {
            closing.accept(item);
            isClosing = true;
        } finally {
            if (!isClosing) give(item);
        }
        return true;
    }

    /** Refuses present and future waiters. Items can still be given back and withdrawn. */
    public void close() {
        closed = true; // THEN answer, because a later caller sees it
        hasUnfinished = true; // expire answers those that an error spares here
        refuse(Reason.CLOSED, Long.MAX_VALUE);
    }

    /** Refuses all callers that have waited since before {@code nanos}. */
    public void refuse(Reason reason, long nanos) {
        waiters.refuse(reason, nanos);
    }

    /** Refuses the caller that waits on that thread. False if none does, or if it has its answer already. */
    public boolean refuse(Reason reason, Thread thread) {
        return waiters.refuse(reason, thread);
    }

    /**
     * Answers the waiters whose deadline has passed, and finishes what an error has left half done. Only the housekeeper
     * calls this, ten times a second or more often.
     *
     * @return when to look again
     */
    public long expire(long nowNanos) {
        if (hasUnfinished) finish();
        return waiters.expire(nowNanos);
    }

    /** The deadline of the caller that waits on that thread, else {@link #NOT_WAITING}. Walks the line. */
    public long deadlineOf(Thread thread) {
        return waiters.deadlineOf(thread);
    }

    /** How many callers have their answer and are about to leave {@link #take}. Walks the line. */
    public int inTransit() {
        return Math.max(0, pending.get() - waiters.size());
    }

    /** How many callers are inside {@link #take}. */
    public int pending() {
        return pending.get();
    }

    /** How many permits are free, with or without an item. */
    public int free() {
        return items.free();
    }

    /** The part of {@link #take} before the caller parks; the stress tests end it here. */
    void join(Waiter waiter) {
        waiters.add(waiter); // THEN look: whether the queue is closed, and for items
        if (closed) waiter.answer(Reason.CLOSED);
        try {
            match();
        } catch (RuntimeException | Error e) {
            hasUnfinished = true; // the owner has failed; another thread or expire may serve this caller
        }
        waiters.lookAt(waiter.deadlineNanos);
    }

    /** Pairs waiters with idle items until one of the two runs out; then the owner gets a permit, if one is free. */
    private void match() {
        while (!waiters.isEmpty() && items.free() > 0) {
            StackReserve.require(); // for `finally`
            var keeper = new Waiter(0, 0);
            T item = items.take(fillForWaiter);
            if (item == null) return;
            boolean isPlaced = false;
            try {
                if (!waiters.handOver(item)) items.put(item); // the last waiter has left meanwhile
                isPlaced = true;
            } finally {
                if (!isPlaced) {
                    keeper.set(item);
                    postpone(keeper);
                }
            }
        }
    }

    private @Nullable T available(Runnable vacancy) {
        boolean isDone = false;
        try {
            T item = items.take(vacancy);
            isDone = true;
            return item;
        } finally {
            if (!isDone) hasUnfinished = true; // while the permit was out, a new waiter may have looked for it in vain
        }
    }

    /** Ends the wait of a caller that goes without its item. If this fails, expire does it again. */
    private void leave(Waiter waiter) {
        try {
            boolean isFirst = waiter.answer(Reason.INTERRUPTED);
            Object answer = waiter.get();
            if (isFirst) waiters.lookAt(0); // the housekeeper removes the waiter from the line
            else if (!(answer instanceof Reason)) give(item(answer));
        } catch (RuntimeException | Error e) {
            postpone(waiter);
        }
    }

    private void postpone(Waiter waiter) {
        do waiter.nextUnfinished = unfinished.get();
        while (!unfinished.compareAndSet(waiter.nextUnfinished, waiter));
        hasUnfinished = true;
    }

    private void finish() {
        hasUnfinished = false; // first, because what fails from now on sets it again
        for (Waiter waiter = unfinished.getAndSet(null), next; waiter != null; waiter = next) {
            next = waiter.nextUnfinished;
            leave(waiter);
        }
        if (closed) refuse(Reason.CLOSED, Long.MAX_VALUE);
        try {
            for (int i = pending.get(); i > 0 && items.free() > 0; i--)
                match(); // each may give one permit to the owner
        } catch (RuntimeException | Error e) {
            hasUnfinished = true; // the owner has failed again
        }
    }

    @SuppressWarnings("unchecked") // an answer is an item or a Reason, and the callers have excluded those
    private T item(@Nullable Object answer) {
        return (T) Objects.requireNonNull(answer);
    }
}
