package dev.nanopool.queue;

import java.util.Objects;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/**
 * A caller in the line of {@link LeaseQueue}. Its value is its one answer, an item or a {@link RefusedException.Reason}. The
 * first thread that sets the answer wins; the others keep what they offered.
 */
class Waiter extends AtomicReference<@Nullable Object> {
    private static final long serialVersionUID = 1;

    final transient Thread thread = Thread.currentThread();
    final long enqueuedNanos;
    final long deadlineNanos;

    /** The next one of the waiters that the housekeeper must finish. Written before the waiter is published there. */
    transient @Nullable Waiter nextUnfinished;

    Waiter(long enqueuedNanos, long deadlineNanos) {
        this.enqueuedNanos = enqueuedNanos;
        this.deadlineNanos = deadlineNanos;
    }

    /** Answers, and wakes no thread. False if the waiter has its answer already. */
    boolean answer(Object answer) {
        return compareAndSet(null, answer);
    }

    /** Parks the calling thread, whose waiter this is, until it has its answer. */
    void await() throws InterruptedException {
        while (get() == null) {
            LockSupport.park(this);
            if (Thread.interrupted()) throw new InterruptedException();
        }
    }

    /** Wakes the thread. More than one call does no harm, because a parked thread looks for its answer again. */
    void wake() {
        LockSupport.unpark(thread);
    }

    /** The answer, if the caller knows that it is an item of its queue. */
    @SuppressWarnings({"unchecked", "TypeParameterUnusedInFormals"}) // a type parameter would be the line's, too
    <T> T item() {
        return (T) Objects.requireNonNull(get());
    }
}
