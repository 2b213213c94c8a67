package dev.nanopool.queue;

/** The owner of a queue under test. */
record Parts(Runnable filling, Runnable waking) implements LeaseQueue.Owner {
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
