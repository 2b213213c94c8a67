package dev.nanopool.queue;

/** Says why a caller leaves the line without an item. It has no stack trace, because users see the pool's exception. */
public final class RefusedException extends Exception {
    /** Why a caller got no item. */
    public enum Reason {
        TIMED_OUT,
        QUEUE_FULL,
        HOPELESS,
        CLOSED,
        DATABASE_DOWN,
        DEADLOCK,
        INTERRUPTED
    }

    private static final long serialVersionUID = 1;

    private final Reason reason;
    private final int place;
    private final long expectedNanos;

    /** A refusal of the caller that came as number {@code place} of those that wait; zero if it does not wait. */
    public RefusedException(Reason reason, int place) {
        this(reason, place, 0);
    }

    RefusedException(Reason reason, int place, long expectedNanos) {
        super(reason.name(), null, false, false);
        this.reason = reason;
        this.place = place;
        this.expectedNanos = expectedNanos;
    }

    public Reason reason() {
        return reason;
    }

    /** Which place in the line the caller had when it came, from 1; zero if it did not join the line. */
    public int place() {
        return place;
    }

    /** How long a {@linkplain Reason#HOPELESS hopeless} caller would have waited at that place; else zero. */
    public long expectedNanos() {
        return expectedNanos;
    }
}
