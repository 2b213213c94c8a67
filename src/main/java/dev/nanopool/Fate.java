package dev.nanopool;

import org.jspecify.annotations.Nullable;

/**
 * What becomes of a connection that a thread has in its hand: one table, without side effects. A set of facts is an int with
 * one bit for each {@link Fact}; the empty set is the usual one.
 */
enum Fate {
    REQUEUE,
    VALIDATE,
    RESET,
    CLOSE;

    /** What may be true of a connection, the most important fact first: of those that are true, the first one decides. */
    enum Fact {
        // The lease has ended by force, or a thread is still inside it: no other fact can be read safely.
        CUT(CloseReason.CUT),
        ABORTED(CloseReason.ABORTED),
        BUSY(CloseReason.BUSY),
        // The pool is closed, so nothing about the connection is news.
        POOL_CLOSED(CloseReason.POOL_CLOSED),
        FORGOTTEN(CloseReason.LEAKED),
        // The session is gone, or its state is unknown.
        RESET_LATE(CloseReason.RESET_FAILED),
        INTERRUPTED(CloseReason.INTERRUPTED),
        WRONG_ROLE(CloseReason.WRONG_ROLE),
        SERVER_TIMEOUT(CloseReason.SERVER_TIMEOUT),
        LOST(CloseReason.LOST),
        UNFINISHED(CloseReason.UNFINISHED),
        RESET_FAILED(CloseReason.RESET_FAILED),
        IRREVERSIBLE(CloseReason.IRREVERSIBLE),
        STALE_CACHE(CloseReason.STALE_CACHE),
        // The session is sound, but the pool wants it no longer.
        SUSPENDED(CloseReason.SUSPENDED),
        SURPLUS(CloseReason.RESIZED),
        RETIRED(CloseReason.RETIRED),
        OUTDATED(CloseReason.RETIRED),
        EXPIRED(CloseReason.MAX_LIFETIME),
        UNNEEDED(CloseReason.IDLE_TIMEOUT),
        // The pool keeps it, and has something to do first.
        CHANGED(RESET),
        SUSPECT(VALIDATE);

        private static final Fact[] ALL = values();

        private final Fate fate;
        private final @Nullable CloseReason reason;

        Fact(CloseReason reason) {
            this.fate = CLOSE;
            this.reason = reason;
        }

        Fact(Fate fate) {
            this.fate = fate;
            this.reason = null;
        }

        /** This fact as a set of facts. */
        @SuppressWarnings("EnumOrdinal") // the order is the table's, and nothing is stored
        int bit() {
            return 1 << ordinal();
        }

        boolean isIn(int facts) {
            return (facts & bit()) != 0;
        }

        /** The fact that decides; {@code facts} is not empty. */
        static Fact first(int facts) {
            return ALL[Integer.numberOfTrailingZeros(facts)];
        }

        /** Why the connection is closed; null if this fact does not close it. */
        @Nullable
        CloseReason reason() {
            return reason;
        }
    }

    static Fate of(int facts) {
        return facts == 0 ? REQUEUE : Fact.first(facts).fate;
    }
}
