package dev.nanopool;

import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/** The permits that threads of the pool have in hand. Thread-safe. */
final class Permits {
    private final Set<Permit> inHand = ConcurrentHashMap.newKeySet(1); // small at first

    enum State {
        IN_HAND,
        /** It waits for a unit of the budget, and no thread has it in hand. */
        PARKED,
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

        // Null while the permit is parked or on its way to the thread that will open its connection.
        private transient volatile @Nullable Thread holder = Thread.currentThread();
        private transient volatile boolean unit; // of the budget; only the thread that has the permit in hand writes it

        private Permit() {
            super(State.IN_HAND);
        }

        boolean hasUnit() {
            return unit;
        }

        void putUnit() {
            unit = true;
        }

        /** Answers whether it has a unit, and takes it away. */
        boolean takeUnit() {
            boolean had = unit;
            unit = false;
            return had;
        }

        void park() {
            holder = null;
            if (!compareAndSet(State.IN_HAND, State.PARKED)) {
                throw new IllegalStateException("bug: a permit is " + get() + " when a thread parks it");
            }
        }

        /** Takes the permit out of the parked ones. False if another thread has done so. */
        boolean unpark() {
            return compareAndSet(State.PARKED, State.IN_HAND);
        }

        boolean isUsed() {
            return get() == State.USED;
        }

        /** The calling thread has the permit in hand from now on. */
        void takeInHand() {
            holder = Thread.currentThread();
        }

        /** Abandons the permit if the calling thread has it in hand and has not used it. */
        @Override
        public void close() {
            if (holder == Thread.currentThread()) abandon();
        }

        void abandon() {
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

    boolean isEmpty() {
        return inHand.isEmpty();
    }

    int count() {
        int count = 0;
        for (Permit permit : inHand) count += permit.isUsed() ? 0 : 1;
        return count;
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
