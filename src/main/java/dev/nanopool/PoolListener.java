package dev.nanopool;

import dev.nanopool.PoolExhaustedException.Holder;
import java.time.Duration;
import org.jspecify.annotations.Nullable;

/**
 * Receives what happens to the pool's connections. Every method does nothing by default.
 *
 * <p>Threads of the pool and of its callers call these methods, several at the same time. An implementation must be thread-safe
 * and return soon, because the calling thread waits for it. The pool logs and ignores everything that it throws.
 */
public interface PoolListener {
    /**
     * A connection was opened.
     *
     * @param pool the pool's name
     * @param backendPid the process id of its server process
     * @param took the time from asking for the credentials until the connection was usable, {@code initSql} included
     */
    default void opened(String pool, int backendPid, Duration took) {}

    /**
     * An attempt to open a connection failed. The pool does not report failures of {@link Pool#create}, which throws them.
     *
     * @param pool the pool's name
     * @param cause the driver's exception; the pool's own if {@code connectTimeout} has passed or the supplier of the
     *     credentials has failed
     */
    default void openFailed(String pool, Throwable cause) {}

    /**
     * A connection was closed.
     *
     * @param pool the pool's name
     * @param backendPid the process id of its server process
     * @param reason why
     */
    default void closed(String pool, int backendPid, CloseReason reason) {}

    /**
     * A connection broke, and the pool replaces it. The pool does not report a connection here whose socket was closed by an
     * interrupt of the caller; see {@link #closed} and {@link CloseReason#INTERRUPTED}.
     *
     * @param pool the pool's name
     * @param backendPid the process id of its server process
     * @param cause what the driver said; null if the pool found it dead before a caller used it
     */
    default void lost(String pool, int backendPid, @Nullable Throwable cause) {}

    /**
     * A client was not closed. The leak is certain if no thread can reach the client; then the pool takes its connection back.
     * Otherwise the leak is suspected; then the pool reports it once for each lease and leaves the lease alone. A lease is
     * suspect if its thread has ended and no other thread has used the client, or if the lease is older than
     * {@code leakThreshold} and does not wait for the server.
     *
     * @param pool the pool's name
     * @param holder the thread that leased it, and where if {@code leakThreshold} is set; else what the thread does now
     * @param isCertain whether the leak is certain
     */
    default void leaked(String pool, Holder holder, boolean isCertain) {}

    /**
     * An interrupt of its virtual thread cancels a statement. The connection stays, so that {@link #lost} does not report it.
     * Called by a thread of the pool.
     *
     * @param pool the pool's name
     * @param backendPid the server process that executes the statement
     */
    default void cancelled(String pool, int backendPid) {}

    /**
     * A client was closed in the middle of a transaction that the caller itself had begun, by {@code setAutoCommit(false)}
     * or {@code BEGIN}. The pool does not commit it. The closing thread reports it, once for each place in the code, for 1,000
     * places at most. The pool reports neither a lease that begins without auto-commit ({@link NanoDataSource#setAutoCommit}),
     * which {@link PoolStats#leftOpen} counts, nor a connection that was lost.
     *
     * @param pool the pool's name
     * @param site the place that closed the client, with class, method, file and line
     * @param sql the SQL text that began the transaction, unchanged, so that it may hold secrets; null if it is not known
     */
    default void transactionLeftOpen(String pool, String site, @Nullable String sql) {}

    /**
     * A caller left without a connection.
     *
     * @param pool the pool's name
     * @param exception what the caller gets
     */
    default void exhausted(String pool, PoolExhaustedException exception) {}
}
