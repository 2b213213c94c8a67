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

    /** The place that begins a lease now, if the pool traces leases; else null. */
    @Nullable
    Throwable trace();

    /**
     * Takes over a connection from the hand of the calling thread, because its lease has ended. Does no I/O, and throws nothing
     * that a listener or a log handler throws. If this throws, the caller still has the connection.
     *
     * @param forced the {@linkplain Fate.Fact#bit facts} that ended the lease; 0 if the client was closed
     * @return the report that the caller runs afterwards; null if there is none
     */
    @Nullable
    Runnable ended(C connection, Lease lease, int forced);
}
