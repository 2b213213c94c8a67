package dev.nanopool;

import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/** Wakes the housekeeper, which every part of the pool may want before its time. Thread-safe, never blocks. */
final class Alarm {
    private volatile @Nullable Thread housekeeper;
    private volatile boolean sweepWanted;

    /** The thread to wake, once it has started. */
    void wakes(Thread thread) {
        housekeeper = thread;
    }

    /** The housekeeper looks at the line and at what was abandoned. */
    void ring() {
        LockSupport.unpark(housekeeper);
    }

    /** The housekeeper looks at every idle connection, too. */
    void ringForSweep() {
        sweepWanted = true;
        ring();
    }

    /** Whether a sweep is wanted; answers each wish once. For the housekeeper alone. */
    boolean takeSweep() {
        boolean wanted = sweepWanted;
        if (wanted) sweepWanted = false; // before the sweep, so that a later wish gets one of its own
        return wanted;
    }
}
