package dev.nanopool;

/** Wakes the housekeeper before its time. Every part of the pool may ring it. Thread-safe, never blocks. */
final class Alarm {
    private volatile boolean rung;
    private volatile boolean sweepWanted;
    private volatile boolean quiet; // nothing happens in the pool, so the housekeeper looks seldom

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

    /** Tells that something happens after which the housekeeper must look more often. */
    void ringIfQuiet() {
        if (quiet) ring();
    }

    /** Says whether such a thing must ring from now on. The housekeeper says so, THEN looks whether anything happens. */
    void quiet(boolean isQuiet) {
        quiet = isQuiet;
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
