package dev.nanopool;

import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Consumer;

/** The permits that threads of the pool have in hand. Thread-safe. */
final class Permits {
    private final Set<Permit> inHand = ConcurrentHashMap.newKeySet();

    enum State {
        IN_HAND,
        ABANDONED,
        USED
    }

    /**
     * The right to hold one connection, in the hand of a thread that has no connection for it. The thread uses it exactly once.
     * Then the permit goes with a new connection, back to the queue, or out of circulation. A permit that its thread has not
     * used is <em>abandoned</em>, and the housekeeper takes it over.
     */
    static final class Permit extends AtomicReference<State> implements AutoCloseable {
        private static final long serialVersionUID = 1;

        private Permit() {
            super(State.IN_HAND);
        }

        boolean isUsed() {
            return get() == State.USED;
        }

        /** Abandons the permit if no thread has used it. */
        @Override
        public void close() {
            compareAndSet(State.IN_HAND, State.ABANDONED);
        }
    }

    Permit hold() {
        var permit = new Permit();
        inHand.add(permit);
        return permit;
    }

    /** Uses the permit. The thread calls this when it passes the permit on. */
    void use(Permit permit) {
        if (!permit.compareAndSet(State.IN_HAND, State.USED)) {
            throw new IllegalStateException("bug: a permit is " + permit.get() + " when a thread uses it");
        }
        inHand.remove(permit);
    }

    int count() {
        return (int) inHand.stream().filter(permit -> !permit.isUsed()).count();
    }

    /** Takes each abandoned permit in hand, and passes it to {@code next}. */
    void recover(Consumer<Permit> next) {
        if (inHand.isEmpty()) return;
        inHand.removeIf(Permit::isUsed);
        for (Permit permit : inHand) {
            if (permit.compareAndSet(State.ABANDONED, State.IN_HAND)) next.accept(permit);
        }
    }
}
