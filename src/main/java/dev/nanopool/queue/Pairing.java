package dev.nanopool.queue;

/** Brings the waiters and the idle items of a {@link LeaseQueue} together. Thread-safe, never blocks. */
final class Pairing<T> {
    private final WaitingLine waiters;
    private final IdleItems<T> items;
    private final Unfinished unfinished;
    private final Runnable fillForWaiter;

    Pairing(WaitingLine waiters, IdleItems<T> items, Unfinished unfinished, Runnable fillForWaiter) {
        this.waiters = waiters;
        this.items = items;
        this.unfinished = unfinished;
        this.fillForWaiter = fillForWaiter;
    }

    /** Pairs waiters with idle items until one of the two runs out. Then the owner gets a permit, if one is free. */
    void match() {
        try {
            boolean isPaired = true;
            while (isPaired && !waiters.isEmpty() && items.free() > 0) isPaired = pair();
        } catch (RuntimeException | Error e) {
            unfinished.isAny = true; // another thread or expire serves the waiters
        }
    }

    /** Tries again after an error, so that the owner gets a permit for each of so many waiters. */
    void matchUpTo(int waiting) {
        for (int i = waiting; i > 0 && items.free() > 0 && !unfinished.isAny; i--) match();
    }

    private boolean pair() {
        StackReserve.require(); // for `catch`
        var keeper = new Waiter(0, 0); // made before anything is taken, because there may be no memory afterwards
        T item = items.take(fillForWaiter);
        if (item == null) return false;
        try {
            if (!waiters.handOver(item)) items.put(item); // the last waiter has left meanwhile
        } catch (RuntimeException | Error e) {
            keeper.set(item);
            unfinished.add(keeper);
            throw e;
        }
        return true;
    }
}
