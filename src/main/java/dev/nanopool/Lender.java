package dev.nanopool;

/** What a client knows of its pool. Thread-safe. */
interface Lender {
    /** The pool's name. */
    String name();

    /** Whether {@code commit()} of a failed transaction throws. */
    boolean isStrictCommit();

    /** What executing this text may change in its session. */
    int changes(String sql, boolean standardStrings);

    /** Where a lease that begins now is leased, if the pool traces leases; else null. */
    @org.jspecify.annotations.Nullable
    Throwable trace();

    /**
     * A lease has ended, and its connection is in the hand of the calling thread, which passes it on here. No I/O; throws
     * nothing that a listener or a log handler throws.
     *
     * @param forced facts by which the lease was ended, as {@linkplain Fate.Fact#bit facts}; 0: the client was closed
     */
    void ended(PhysicalConnection connection, Lease lease, int forced);
}
