package dev.nanopool.queue;

import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * Remembers what an error has left half done in a {@link LeaseQueue}. It has a flag, and the waiters that could not leave. It needs
 * no memory, because the waiters themselves form a stack. Thread-safe, never blocks.
 */
final class Unfinished {
    /** Whether something is half done. A mere write sets it, as after an error there may be no stack or memory for a call. */
    volatile boolean isAny;

    private final AtomicReference<@Nullable Waiter> newest = new AtomicReference<>();

    void add(Waiter waiter) {
        do waiter.nextUnfinished = newest.get();
        while (!newest.compareAndSet(waiter.nextUnfinished, waiter));
        isAny = true;
    }

    /** Passes each waiter to {@code leave}, which adds it again if it fails again. */
    void finish(Consumer<Waiter> leave) {
        isAny = false; // first, because what fails from now on sets it again
        for (Waiter waiter = newest.getAndSet(null), next; waiter != null; waiter = next) {
            next = waiter.nextUnfinished;
            leave.accept(waiter);
        }
    }
}
