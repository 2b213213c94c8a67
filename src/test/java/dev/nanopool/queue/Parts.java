package dev.nanopool.queue;

/** The owner of a queue under test. */
record Parts(Runnable filling, Runnable waking, int hopeful) implements LeaseQueue.Owner {
    Parts(Runnable filling, Runnable waking) {
        this(filling, waking, 0);
    }

    /** A line under test, whose clock stands still. */
    static WaitingLine line(Runnable waking) {
        return new WaitingLine(Integer.MAX_VALUE, () -> 0, () -> 0, waking);
    }

    @Override
    public void fillForWaiter() {
        filling.run();
    }

    @Override
    public void fillForLater() {
        filling.run();
    }

    @Override
    public void wake() {
        waking.run();
    }
}
