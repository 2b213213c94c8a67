package dev.nanopool;

import org.jspecify.annotations.Nullable;

/**
 * Decides what becomes of a connection that a thread has in its hand. The table has no side effects. A set of facts is an int
 * with one bit for each {@link Fact}. The usual set is empty.
 */
enum Fate {
    REQUEUE,
    VALIDATE,
    RESET,
    CLOSE;

    /** What may be true of a connection. The most important fact stands first, and the first fact that is true decides. */
    enum Fact {
        // The lease has ended by force, or a thread is still inside it, so no other fact can be read safely.
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
        // The session is sound, but the pool does not want it.
        SUSPENDED(CloseReason.SUSPENDED),
        SURPLUS(CloseReason.RESIZED),
        RETIRED(CloseReason.RETIRED),
        OUTDATED(CloseReason.RETIRED),
        EXPIRED(CloseReason.MAX_LIFETIME),
        UNNEEDED(CloseReason.IDLE_TIMEOUT),
        BUDGET(CloseReason.BUDGET),
        // The pool keeps the session, but must do something first.
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
        @SuppressWarnings("EnumOrdinal") // the order is the table, and no number is stored
        int bit() {
            return 1 << ordinal();
        }

        boolean isIn(int facts) {
            return (facts & bit()) != 0;
        }

        /** The fact that decides. The set {@code facts} is not empty. */
        static Fact first(int facts) {
            return ALL[Integer.numberOfTrailingZeros(facts)];
        }

        /** Why the pool closes the connection. Null if this fact does not close it. */
        @Nullable
        CloseReason reason() {
            return reason;
        }
    }

    static Fate of(int facts) {
        return facts == 0 ? REQUEUE : Fact.first(facts).fate;
    }
}
