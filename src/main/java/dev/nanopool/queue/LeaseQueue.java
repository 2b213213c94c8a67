package dev.nanopool.queue;

import dev.nanopool.queue.RefusedException.Reason;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;
import java.util.function.LongSupplier;
import org.jspecify.annotations.Nullable;

/**
 * Decides which caller gets which item, and when. Waiting callers stand in one line and are served in the order of their
 * arrival. They park without a timer, and a returned item goes straight to the oldest. Thread-safe. Only {@link #take}
 * blocks. No error loses an item, a permit or a waiter, because {@link #expire} finishes what an error left half done.
 *
 * <p><i>Memory effects:</i> what a thread did before {@link #give} happens-before what the next holder of the item does with
 * it, by the compare-and-set on the stripe or on the waiter's answer, or by the idle queue.
 */
public final class LeaseQueue<T> {
    /** What {@link #deadlineOf} answers for a thread that does not wait. */
    public static final long NOT_WAITING = -1;

    // A permit is the right to hold one item. Each permit is in one place. It is idle in `items`, with a holder (a
    // lease, an open in progress, a check of an idle item), or in a waiter together with the item that is its answer.
    //
    // waiters: served oldest first, with one answer each. An item that meets an answered waiter goes to the next one. A
    //   caller that leaves without its item answers itself, or, if the item was faster, gives the item back.
    // wake-ups: a giving thread puts the item or the permit into `items`, THEN looks for waiters. A waiting thread
    //   joins the line, THEN looks for items. All four accesses are volatile, so at least one of two such threads sees
    //   the other.
    // errors: an error that strikes after the item has its place must not reach the giver, else it gives it twice.
    private final Unfinished unfinished = new Unfinished();
    private final IdleItems<T> items;
    final WaitingLine waiters;
    private final Pairing<T> pairing;
    private final AtomicInteger pending = new AtomicInteger(); // callers inside take
    private volatile boolean closed;
    private final Runnable fillForLater;
    private final Runnable putBack = this::release;

    /** What the queue asks of its owner. */
    public interface Owner {
        /** Takes over a permit that has no idle item, for a waiting caller. If it throws, the queue keeps the permit. */
        void fillForWaiter();

        /** As {@link #fillForWaiter}, for a caller that does not wait and may come again. */
        void fillForLater();

        /** Wakes the housekeeper, because a deadline is earlier than its next check. */
        void wake();

        /** How many callers wait before one may be hopeless: as many as there are items. {@code MAX_VALUE} if items may come. */
        int hopeful();
    }

    /** Makes the queue of so many items, as far as is known. */
    public LeaseQueue(int size, int maxWaiters, LongSupplier clock, Owner owner) {
        this.items = new IdleItems<>(size, unfinished);
        this.fillForLater = owner::fillForLater;
        this.waiters = new WaitingLine(maxWaiters, clock, owner::hopeful, owner::wake);
        this.pairing = new Pairing<>(waiters, items, unfinished, owner::fillForWaiter);
    }

    /** Returns an idle item at once, or null. Never overtakes a waiter. {@link #take} asks the owner for a new item. */
    public @Nullable T tryTake() {
        return waiters.isEmpty() ? takeIdle() : null;
    }

    /** As {@link #tryTake}, for a caller that will not wait. {@link Owner#fillForLater} gets a permit that has no item. */
    public @Nullable T tryTakeOrFill() {
        return waiters.isEmpty() ? items.take(fillForLater) : null;
    }

    /** Waits in the line until the deadline, unless that is hopeless. {@code maxWaiters} does not count {@code uncounted}. */
    public T take(long deadlineNanos, int uncounted) throws InterruptedException, RefusedException {
        StackReserve.require(); // for `finally`, before there is something to undo
        int place = pending.incrementAndGet();
        Waiter waiter = null;
        boolean isServed = false;
        try {
            if (closed) throw new RefusedException(Reason.CLOSED, place);
            waiter = waiters.admit(place, uncounted, deadlineNanos);
            join(waiter);
            waiter.await();
            if (waiter.get() instanceof Reason reason) throw new RefusedException(reason, place);
            T item = waiter.item();
            isServed = true;
            return item;
        } finally {
            if (!isServed && waiter != null) leave(waiter);
            pending.decrementAndGet();
        }
    }

    /** Gives an item with its permit back. If this throws for lack of stack or memory, the caller still has the item. */
    public void give(T item) {
        try {
            if (waiters.handOver(item)) return;
        } catch (RuntimeException | Error e) {
            unfinished.isAny = true; // the oldest waiter has its answer and cannot be woken; the item waits for expire
        }
        place(item);
    }

    /** Gives back a permit without an item, or adds one. Throws as {@link #give}. */
    public void release() {
        place(null);
    }

    /** Takes out an idle item with its permit, so that the caller checks it and gives it back. Null if none is idle. */
    public @Nullable T takeIdle() {
        return items.take(putBack);
    }

    /** Takes a free permit out for good, and passes its idle item, if there is one, to {@code closing}. */
    public boolean withdraw(Consumer<? super T> closing) {
        boolean[] isVacant = {false};
        T item = items.take(() -> isVacant[0] = true);
        if (item == null) return isVacant[0];
        try {
            closing.accept(item);
        } catch (RuntimeException | Error e) {
            give(item);
            throw e;
        }
        return true;
    }

    /** Refuses present and future waiters. Items can still be given back and withdrawn. */
    public void close() {
        closed = true; // THEN answer, because a later caller sees it
        refuse(Reason.CLOSED, Long.MAX_VALUE);
    }

    /** Refuses all callers that have waited since before {@code nanos}. */
    public void refuse(Reason reason, long nanos) {
        waiters.refuse(reason, nanos);
    }

    /** Refuses the caller that waits on that thread. False if no caller does, or if it has its answer already. */
    public boolean refuse(Reason reason, Thread thread) {
        return waiters.refuse(reason, thread);
    }

    /** Answers waiters whose deadline has passed, and says when to look again. Called twice a minute at least. */
    public long expire(long nowNanos) {
        if (unfinished.isAny) {
            unfinished.finish(this::leave);
            pairing.matchUpTo(pending.get());
        }
        if (closed) refuse(Reason.CLOSED, Long.MAX_VALUE); // those that an error has spared in close
        return waiters.expire(nowNanos);
    }

    /** The deadline of the caller that waits on that thread. {@link #NOT_WAITING} if there is none. Walks the line. */
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

    /** The part of {@link #take} before the caller parks. The stress tests end it here. */
    void join(Waiter waiter) {
        waiters.add(waiter); // THEN look: whether the queue is closed, and for items
        if (closed) waiter.answer(Reason.CLOSED);
        pairing.match();
        waiters.scheduleCheck(waiter.deadlineNanos);
    }

    /** Ends the wait of a caller that goes without its item. If this fails, expire does it again. */
    private void leave(Waiter waiter) {
        try {
            if (waiter.answer(Reason.INTERRUPTED)) waiters.scheduleCheck(0); // the housekeeper removes it from the line
            else if (!(waiter.get() instanceof Reason)) give(waiter.item());
        } catch (RuntimeException | Error e) {
            unfinished.add(waiter);
        }
    }

    private void place(@Nullable T item) {
        items.put(item); // THEN look for waiters
        try {
            pairing.match();
        } catch (StackOverflowError e) { // the call itself
            unfinished.isAny = true;
        }
    }
}
