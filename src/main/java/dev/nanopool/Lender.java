package dev.nanopool;

import org.jspecify.annotations.Nullable;

/**
 * What a client knows of its pool. Thread-safe.
 *
 * @param <C> the connections, whose class this interface does not know
 */
interface Lender<C> {
    /** The pool's name. */
    String name();

    /** Whether {@code commit()} of a failed transaction throws. */
    boolean isStrictCommit();

    /** What executing this text may change in its session. */
    int changes(String sql, boolean standardStrings);

    /** Where a lease that begins now is leased, if the pool traces leases; else null. */
    @Nullable
    Throwable trace();

    /**
     * A lease has ended, and its connection is in the hand of the calling thread, which passes it on here. No I/O; throws
     * nothing that a listener or a log handler throws. If this throws, the caller still has the connection.
     *
     * @param forced facts by which the lease was ended, as {@linkplain Fate.Fact#bit facts}; 0: the client was closed
     * @return what is to be reported afterwards; null: nothing
     */
    @Nullable
    Runnable ended(C connection, Lease lease, int forced);
}
