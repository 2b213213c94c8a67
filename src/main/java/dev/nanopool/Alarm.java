package dev.nanopool;

/** Wakes the housekeeper before its time. Every part of the pool may ring it. Thread-safe, never blocks. */
final class Alarm {
    private volatile boolean rung;
    private volatile boolean sweepWanted;

    /** Wakes the housekeeper, so that it checks the line and what threads have abandoned. */
    void ring() {
        rung = true; // THEN wake the clock, which asks for it
        JvmClock.wake();
    }

    /** Wakes the housekeeper, so that it inspects every idle connection, too. */
    void ringForSweep() {
        sweepWanted = true;
        ring();
    }

    /** Answers whether the housekeeper shall look, and forgets that. For the clock alone. */
    boolean takeRing() {
        boolean wanted = rung;
        if (wanted) rung = false; // before the look, so that a later ring gets one of its own
        return wanted;
    }

    /** Answers whether a sweep is wanted, and forgets the wish. For the housekeeper alone. */
    boolean takeSweep() {
        boolean wanted = sweepWanted;
        if (wanted) sweepWanted = false; // before the sweep, so that a later wish gets one of its own
        return wanted;
    }
}
