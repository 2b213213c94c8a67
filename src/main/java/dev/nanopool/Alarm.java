package dev.nanopool;

import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/** Wakes the housekeeper before its time. Every part of the pool may ring it. Thread-safe, never blocks. */
final class Alarm {
    private volatile @Nullable Thread housekeeper;
    private volatile boolean sweepWanted;

    /** Sets the thread to wake, which has started. */
    void wakes(Thread thread) {
        housekeeper = thread;
    }

    /** Wakes the housekeeper, so that it checks the line and what threads have abandoned. */
    void ring() {
        LockSupport.unpark(housekeeper);
    }

    /** Wakes the housekeeper, so that it inspects every idle connection, too. */
    void ringForSweep() {
        sweepWanted = true;
        ring();
    }

    /** Answers whether a sweep is wanted, and forgets the wish. For the housekeeper alone. */
    boolean takeSweep() {
        boolean wanted = sweepWanted;
        if (wanted) sweepWanted = false; // before the sweep, so that a later wish gets one of its own
        return wanted;
    }
}
