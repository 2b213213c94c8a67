package dev.nanopool;

import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/**
 * A caller that waits in the line of {@link LeaseQueue}. Its value is its one answer, an item or a {@link Refused.Reason}:
 * who sets it first wins, and whoever loses keeps what it offered.
 */
final class Waiter extends AtomicReference<@Nullable Object> {
    private static final long serialVersionUID = 1;

    final transient Thread thread = Thread.currentThread();
    final long enqueuedNanos;
    final long deadlineNanos;

    Waiter(long enqueuedNanos, long deadlineNanos) {
        this.enqueuedNanos = enqueuedNanos;
        this.deadlineNanos = deadlineNanos;
    }

    /** Answers and wakes the caller. False: it has its answer already. */
    boolean answer(Object answer) {
        boolean first = compareAndSet(null, answer);
        if (first) LockSupport.unpark(thread);
        return first;
    }
}
