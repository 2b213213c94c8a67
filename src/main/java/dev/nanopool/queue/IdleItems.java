package dev.nanopool.queue;

import java.util.concurrent.LinkedTransferQueue;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicReferenceArray;
import org.jspecify.annotations.Nullable;

/**
 * The idle items and the free permits. Thread-safe, never blocks. A method that throws, also an {@code Error}, has changed
 * nothing.
 */
final class IdleItems<T> {
    // permits: one per free right that is in no stripe. If there are more permits than items in `idle`, the owner may
    //          open a connection.
    // idle:    polled only by a thread that holds a permit. A thread queues an item BEFORE it releases the permit. In
    //          the reverse order the next holder of that permit finds no item and opens one connection too many.
    // stripes: one idle item each, with its permit. One compare-and-set fills or empties a stripe. The stripes keep
    //          threads that need not wait off each other's cache lines. A single item has one, which is small.
    private static final int MOST_STRIPES = 2;
    private static final int SHIFT = 5; // 32 references, so that neither stripes nor the length share a cache line
    private final int mask; // of a thread's number, for its stripe
    private final int first; // stripe
    private final AtomicReferenceArray<@Nullable T> stripes;
    private final LinkedTransferQueue<T> idle = new LinkedTransferQueue<>();
    private final Semaphore permits = new Semaphore(0);
    private final Unfinished unfinished;

    /** @param items how many there will be, as far as is known */
    IdleItems(int items, Unfinished unfinished) {
        this.mask = items == 1 ? 0 : MOST_STRIPES - 1;
        this.first = items == 1 ? 0 : 1;
        this.stripes = new AtomicReferenceArray<>(items == 1 ? 1 : (MOST_STRIPES + 1) << SHIFT);
        this.unfinished = unfinished;
    }

    /** Adds a permit, with its item if there is one. */
    void put(@Nullable T item) {
        int stripe = stripe(0);
        if (item != null && stripes.get(stripe) == null && stripes.compareAndSet(stripe, null, item)) return;
        StackReserve.require();
        if (item != null) idle.add(item);
        permits.release();
    }

    /** Takes an item from its own stripe, the other stripes or the idle queue. {@code vacancy} gets a permit without item. */
    @Nullable
    T take(Runnable vacancy) {
        for (int i = 0; i <= mask; i++) {
            int stripe = stripe(i);
            T item = stripes.get(stripe);
            if (item != null && stripes.compareAndSet(stripe, item, null)) return item;
        }
        if (permits.availablePermits() == 0) return null;
        StackReserve.require();
        if (!permits.tryAcquire()) return null;
        T item = idle.poll();
        if (item == null) hand(vacancy);
        return item;
    }

    private void hand(Runnable vacancy) {
        boolean isTaken = false;
        try {
            vacancy.run();
            isTaken = true;
        } finally {
            if (!isTaken) {
                permits.release(); // it stays here, but meanwhile a new waiter may have looked for it in vain
                unfinished.isAny = true;
            }
        }
    }

    /** How many permits are free, with or without an item. */
    int free() {
        int filled = 0;
        for (int i = 0; i <= mask; i++) filled += stripes.get((first + i) << SHIFT) == null ? 0 : 1;
        return permits.availablePermits() + filled;
    }

    private int stripe(int offset) {
        return ((((int) Thread.currentThread().threadId() + offset) & mask) + first) << SHIFT;
    }
}
