package dev.nanopool.queue;

import dev.nanopool.queue.RefusedException.Reason;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.jetbrains.lincheck.datastructures.Operation;
import org.jetbrains.lincheck.datastructures.Validate;
import org.jspecify.annotations.Nullable;

/**
 * What a thread may do with a {@link LeaseQueue}, one method each, for the model checker of {@link LeaseQueueModelTest}.
 * It runs them in every order of their steps that it has time for. None of them hangs unless the queue has lost a wake-up,
 * an item or a permit.
 */
public class LeaseQueueModel {
    private static final long NEVER = Long.MAX_VALUE / 2;
    private static final long DEADLINE = 10;

    private static final class Item {
        final AtomicBoolean leased = new AtomicBoolean();
    }

    private final AtomicLong clock = new AtomicLong();
    private final AtomicInteger items = new AtomicInteger();
    private final AtomicInteger permits = new AtomicInteger();
    private final AtomicBoolean alarmed = new AtomicBoolean();
    private final AtomicInteger left = new AtomicInteger(); // callers that were told that time is up
    private volatile @Nullable Thread first;
    private @Nullable Thread sleeper; // guarded by this
    private volatile @Nullable Thread doomed;
    private final LeaseQueue<Item> queue =
            new LeaseQueue<>(2, Integer.MAX_VALUE, clock::get, new Parts(this::opened, () -> alarmed.set(true), -100));

    /** The opener of the queue. A permit has no item, so it makes one. */
    private void opened() {
        if (items.incrementAndGet() > permits.get()) throw new AssertionError("one opened too many");
        queue.give(new Item());
    }

    private void use(Item item) {
        if (!item.leased.compareAndSet(false, true)) throw new AssertionError("lent to two callers");
        item.leased.set(false);
        queue.give(item);
    }

    // What users do

    /** Waits as long as it takes. */
    @Operation
    public void borrow() throws Exception {
        Item item = queue.tryTake();
        use(item != null ? item : queue.take(NEVER, 0));
    }

    /** Leaves when its time is up. */
    @Operation
    public void borrowInTime() throws Exception {
        try {
            use(queue.take(DEADLINE, 0));
        } catch (RefusedException e) {
            if (e.reason() != Reason.TIMED_OUT) throw e;
            left.incrementAndGet();
        }
    }

    /** Leaves when the queue is closed. */
    @Operation
    public void borrowUnlessClosed() throws Exception {
        try {
            use(queue.take(NEVER, 0));
        } catch (RefusedException e) {
            if (e.reason() != Reason.CLOSED) throw e;
        }
    }

    /** Leaves at once if the line has moved slowly and is not empty. */
    @Operation
    public void borrowUnlessHopeless() throws Exception {
        try {
            use(queue.take(clock.get() + 1, 0));
        } catch (RefusedException e) {
            if (e.reason() != Reason.HOPELESS) throw e;
        }
    }

    /** The line has moved once in 20 ms so far. */
    @Operation
    public void moveSlowly() {
        for (int i = 0; i < 48; i++) {
            clock.addAndGet(20_000_000);
            queue.waiters.pace.handedOver(clock::get);
        }
    }

    /** An item comes for a caller that has waited, and comes back. */
    @Operation
    public void serve() {
        permits.incrementAndGet();
        items.incrementAndGet();
        var item = new Item();
        var waiter = new Waiter(0, NEVER);
        queue.join(waiter);
        queue.give(item);
        while (waiter.get() == null) Thread.onSpinWait();
        use(waiter.item());
    }

    /** Leaves when {@link #findDeadlock} has met it. */
    @Operation
    public void borrowUnlessDeadlocked() throws Exception {
        doomed = Thread.currentThread();
        try {
            use(queue.take(NEVER, 0));
        } catch (RefusedException e) {
            if (e.reason() != Reason.DEADLOCK) throw e;
        }
        doomed = null;
    }

    /** Refuses one caller by its thread. */
    @Operation
    public void findDeadlock() {
        Thread thread = doomed;
        if (thread != null) queue.refuse(Reason.DEADLOCK, thread);
    }

    /** Leaves when {@link #interrupt} comes. */
    @Operation
    public void borrowUnlessInterrupted() throws Exception {
        var unused = Thread.interrupted(); // the checker's threads live longer than one run
        synchronized (this) {
            sleeper = Thread.currentThread();
        }
        try {
            use(queue.take(NEVER, 0));
        } catch (InterruptedException e) {
            // what may happen
        }
        synchronized (this) {
            sleeper = null;
        }
        unused = Thread.interrupted();
    }

    /** Never waits. */
    @Operation
    public void borrowIfIdle() {
        Item item = queue.tryTakeOrFill();
        if (item != null) use(item);
    }

    /** As many as there are, at the same time. */
    @Operation
    public void borrowAll() {
        List<Item> all = new ArrayList<>();
        for (Item item = queue.tryTakeOrFill(); item != null; item = queue.tryTakeOrFill()) all.add(item);
        all.forEach(this::use);
    }

    // What the pool does

    /** A new item, with its permit. */
    @Operation
    public void give() {
        permits.incrementAndGet();
        opened();
    }

    /** A permit, for which the opener makes an item as soon as a caller wants one. */
    @Operation
    public void release() {
        permits.incrementAndGet();
        queue.release();
    }

    /** Takes an idle item out, looks at it and gives it back. */
    @Operation
    public void inspect() {
        Item item = queue.takeIdle();
        if (item != null) use(item);
    }

    /** Takes a permit out and brings one back. */
    @Operation
    public void replace() {
        if (queue.withdraw(item -> items.decrementAndGet())) queue.release();
    }

    /** Late enough for every deadline. */
    @Operation
    public void expire() {
        queue.expire(DEADLINE);
    }

    @Operation
    public void close() {
        queue.close();
    }

    @Operation
    public synchronized void interrupt() {
        if (sleeper != null) sleeper.interrupt();
    }

    /** The housekeeper sleeps until the time that it got, or until the alarm, and ends when one caller has left. */
    @Operation
    public void keepDeadline() {
        keepDeadlines(1);
    }

    @Operation
    public void keepBothDeadlines() {
        keepDeadlines(2);
    }

    private void keepDeadlines(int count) {
        long now = 0;
        while (left.get() < count) {
            alarmed.set(false);
            long next = queue.expire(now);
            if (next < NEVER) now = Math.max(now, next);
            else while (!alarmed.get() && left.get() < count) Thread.onSpinWait();
        }
    }

    // The thread that came first

    @Operation
    public void comeFirst() throws Exception {
        first = Thread.currentThread();
        Item item = queue.take(NEVER, 0);
        first = null;
        use(item);
    }

    /** A thread that sees another one wait must not be served while that one waits. */
    @Operation
    public void comeSecond() throws Exception {
        Thread other = first;
        boolean isSecond = isWaiting(other);
        Item item = queue.take(NEVER, 0);
        if (isSecond && isWaiting(other)) throw new AssertionError("served before an older waiter");
        use(item);
    }

    @Operation
    public void passBy() {
        Thread other = first;
        boolean isSecond = isWaiting(other);
        Item item = queue.tryTake();
        if (item == null) return;
        if (isSecond && isWaiting(other)) throw new AssertionError("a waiter was overtaken");
        use(item);
    }

    private boolean isWaiting(@Nullable Thread thread) {
        return thread != null && queue.deadlineOf(thread) != LeaseQueue.NOT_WAITING;
    }

    // What must hold in the end

    /** All permits are free, every item is there once, and the queue believes that no caller waits. */
    @Validate
    public void nothingMustBeLost() {
        if (queue.pending() != 0) throw new AssertionError("pending: " + queue.pending());
        if (queue.free() != permits.get())
            throw new AssertionError("permits: " + queue.free() + " of " + permits.get());
        Set<Item> idle = new HashSet<>();
        for (Item item = queue.takeIdle(); item != null; item = queue.takeIdle()) {
            if (!idle.add(item)) throw new AssertionError("an item is there twice");
        }
        if (idle.size() != items.get()) throw new AssertionError("items: " + idle.size() + " of " + items.get());
    }
}
