package dev.nanopool;

/** Why a caller leaves the line without a connection. Without a stack: users see the pool's exception. */
final class Refused extends Exception {
    enum Reason {
        TIMED_OUT,
        QUEUE_FULL,
        CLOSED,
        DATABASE_DOWN,
        DEADLOCK,
        INTERRUPTED
    }

    private static final long serialVersionUID = 1;

    final Reason reason;

    /** Which place in the line the caller had when it came, from 1. */
    final int place;

    Refused(Reason reason, int place) {
        super(reason.name(), null, false, false);
        this.reason = reason;
        this.place = place;
    }
}
