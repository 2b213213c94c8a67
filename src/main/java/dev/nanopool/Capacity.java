package dev.nanopool;

import dev.nanopool.Fate.Fact;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.UnaryOperator;

/** Counts how many permits there are and how many there shall be. It holds numbers only. Thread-safe, never blocks. */
final class Capacity {
    // circulating: permits that stay, and are free in the queue, with an open connection, or in a thread's hand.
    // leaving:     permits of connections that the pool closes for good. They vanish with their connections.
    // withheld:    permits that the server refused (53300). They come back one by one.
    // aim:         what the pool wants; its target is the size, or 0 when the pool is suspended or closed.
    //
    // filled:      the circulating permits that have an open connection. The others leave first if there are too many,
    //              so that the pool closes no sound connection for a permit without one.
    //
    // There is a surplus of connections while filled > target. A thread first claims one permit of it by
    // compare-and-set, and only then closes a connection, so exactly as many are closed as must be.
    // A permit is counted in its new place, THEN leaves its old one. So the sum is never too small, and no connection
    // is opened that is one too many. The sum may be too large for a moment, so a thread that moved a permit checks
    // again.
    private final AtomicInteger circulating = new AtomicInteger();
    private final AtomicInteger leaving = new AtomicInteger();
    private final AtomicInteger withheld = new AtomicInteger();
    private final AtomicInteger filled = new AtomicInteger();
    private final AtomicReference<Aim> aim;

    private enum State {
        OPEN,
        SUSPENDED,
        CLOSED
    }

    /** What the pool aims at; {@code target} follows from the other two. */
    private record Aim(State state, int size, int target) {
        Aim(State state, int size) {
            this(state, size, state == State.OPEN ? size : 0);
        }
    }

    Capacity(int size) {
        aim = new AtomicReference<>(new Aim(State.OPEN, size));
    }

    // What the pool wants

    void resize(int newSize) {
        change(old -> new Aim(old.state, newSize));
    }

    void suspend() {
        change(old -> old.state == State.OPEN ? new Aim(State.SUSPENDED, old.size) : old);
    }

    void resume() {
        change(old -> old.state == State.SUSPENDED ? new Aim(State.OPEN, old.size) : old);
    }

    void close() {
        change(old -> new Aim(State.CLOSED, old.size));
    }

    private void change(UnaryOperator<Aim> change) {
        int target = aim.updateAndGet(change).target;
        withheld.updateAndGet(now -> Math.clamp((long) target - circulating.get() - leaving.get(), 0, now));
    }

    int size() {
        return aim.get().size;
    }

    /** How many connections there may be now. The number is below the size while the server accepts no more. */
    int effectiveSize() {
        return Math.max(0, size() - withheld.get());
    }

    boolean isSuspended() {
        return aim.get().state == State.SUSPENDED;
    }

    boolean isClosed() {
        return aim.get().state == State.CLOSED;
    }

    // Too many

    /** Whether there are too many connections. */
    boolean hasSurplus() {
        return filled.get() > aim.get().target;
    }

    /** Why the pool closes a surplus. */
    Fact surplus() {
        return switch (aim.get().state) {
            case OPEN -> Fact.SURPLUS;
            case SUSPENDED -> Fact.SUSPENDED;
            case CLOSED -> Fact.POOL_CLOSED;
        };
    }

    /** Claims one permit of the surplus for a connection that the caller closes for good. False if there is no surplus. */
    boolean claim() {
        leaving.incrementAndGet();
        int now = filled.get();
        while (now > aim.get().target) {
            if (filled.compareAndSet(now, now - 1)) {
                circulating.decrementAndGet();
                return true;
            }
            now = filled.get();
        }
        leaving.decrementAndGet();
        return false;
    }

    /** Records that the connection of a claimed permit is closed. */
    void left() {
        leaving.decrementAndGet();
    }

    /** Takes a permit without a connection out of circulation if there are too many. */
    boolean withdraw() {
        int now = circulating.get();
        while (now > Math.max(aim.get().target, filled.get())) {
            if (circulating.compareAndSet(now, now - 1)) return true;
            now = circulating.get();
        }
        return false;
    }

    /** Whether there are too many permits without a connection. */
    boolean hasSurplusWithoutConnection() {
        return circulating.get() > Math.max(aim.get().target, filled.get());
    }

    /** Whether as many permits circulate as shall. */
    boolean isAtRest() {
        return circulating.get() == aim.get().target && leaving.get() == 0 && withheld.get() == 0;
    }

    // Connections

    /** Records that a permit has got its connection. */
    void fill() {
        filled.incrementAndGet();
    }

    /** Records that a connection is closed and that its permit stays. */
    void empty() {
        filled.decrementAndGet();
    }

    // Too few

    /** Brings one more permit into circulation if one is missing. */
    boolean add() {
        int now = circulating.get();
        while (now + leaving.get() + withheld.get() < aim.get().target) {
            if (circulating.compareAndSet(now, now + 1)) return true;
            now = circulating.get();
        }
        return false;
    }

    // As many as the server lets in

    /** Takes out of circulation the permit of a connection that the server has refused, unless it is the only permit. */
    boolean withhold() {
        withheld.incrementAndGet();
        int now = circulating.get();
        while (now > 1) {
            if (circulating.compareAndSet(now, now - 1)) return true;
            now = circulating.get();
        }
        withheld.updateAndGet(counted -> Math.max(0, counted - 1)); // a change of the aim may have cleared it meanwhile
        return false;
    }

    boolean isWithholding() {
        return withheld.get() > 0;
    }

    /** Brings one withheld permit back. False if none is withheld. */
    boolean readmit() {
        circulating.incrementAndGet();
        if (withheld.getAndUpdate(now -> Math.max(0, now - 1)) > 0) return true;
        circulating.decrementAndGet();
        return false;
    }

    // The account

    /** How many permits must be found somewhere. */
    int expected() {
        return circulating.get() + leaving.get();
    }

    /** Counts permits that exist although they should not. The surplus then leaves in order. */
    void admitSurplus(int permits) {
        circulating.addAndGet(permits);
    }

    @Override
    public String toString() {
        return "circulating %d, leaving %d, withheld %d, target %d"
                .formatted(circulating.get(), leaving.get(), withheld.get(), aim.get().target);
    }
}
