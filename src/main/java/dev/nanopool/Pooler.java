package dev.nanopool;

/** The pooler between the pool and the server, and how it shares the server's sessions. */
public enum Pooler {
    /** There is none. This is the default. */
    NONE,
    /**
     * The pooler lends a session for as long as the pool keeps its connection, as PgBouncer does with
     * {@code pool_mode=session}. The pool sends no options at login, because many poolers refuse or drop them. It asks after
     * the login which of the session's defaults ({@link PoolConfig.Builder#parameter}, {@code currentSchema}) are not in
     * effect, and sets those by SQL, which a reset repeats.
     */
    SESSION,
    /**
     * The pooler lends a session for one transaction, as PgBouncer, Supavisor, Neon and Odyssey do with transaction pooling,
     * and RDS Proxy until something pins a session. The pool sends no options at login, and neither a reset nor a keepalive.
     * {@code prepareThreshold} is 0 unless it is set. {@link PoolConfig.Builder#build} refuses settings that need a session of
     * their own. If a default of the session is not in effect after the login, the pool refuses the connection with SQLState
     * 22023, and the message names the parameter.
     *
     * <p>A lease that changes its session, by SQL or by a JDBC setter, gets a warning in the log, once for each place in the
     * code. It names what to write instead.
     */
    TRANSACTION
}
