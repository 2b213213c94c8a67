package dev.nanopool;

import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;

/**
 * The actions that end connection attempts and services when the pool closes. A registered action runs at most once, whether it
 * is registered before or after the pool closes. Thread-safe, never blocks.
 */
final class Closing {
    // A thread registers its action, THEN checks `closed`; close() sets `closed`, THEN takes the actions. So at least
    // one of the two sees the other, and the removal from the queue decides which one runs the action.
    private final Queue<Runnable> actions = new ConcurrentLinkedQueue<>();
    private volatile boolean closed;

    /** A registered action. Closing the registration removes the action. */
    interface Registration extends AutoCloseable {
        @Override
        void close();
    }

    /** Runs {@code action}, which must not block, when the pool closes, or at once if it is closed. */
    Registration onClose(Runnable action) {
        actions.add(action);
        if (closed) run(action);
        return () -> actions.remove(action);
    }

    boolean isClosed() {
        return closed;
    }

    /** Runs all registered actions, also if one of them throws. Then it throws what the first one threw. */
    void close() {
        closed = true;
        Throwable first = null;
        for (Runnable action : actions) {
            try {
                run(action);
            } catch (RuntimeException | Error e) {
                if (first == null) first = e;
                else first.addSuppressed(e);
            }
        }
        if (first instanceof RuntimeException e) throw e;
        if (first instanceof Error e) throw e;
    }

    private void run(Runnable action) {
        if (actions.remove(action)) action.run();
    }
}
