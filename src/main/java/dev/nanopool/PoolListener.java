package dev.nanopool;

import dev.nanopool.PoolExhaustedException.Holder;
import java.time.Duration;
import org.jspecify.annotations.Nullable;

/**
 * Told what happens to the pool's connections. Every method does nothing by default.
 *
 * <p>Called by threads of the pool and of its callers, several at once: implementations are thread-safe and return soon,
 * since whatever comes next waits for them. Whatever they throw is logged and ignored.
 */
public interface PoolListener {
    /**
     * A connection was opened.
     *
     * @param pool the pool's name
     * @param backendPid the process id of its server process
     * @param took from asking for the credentials until it was usable, {@code initSql} included
     */
    default void opened(String pool, int backendPid, Duration took) {}

    /**
     * An attempt to open a connection failed. Not told of failures of {@link Pool#create}, which throws them.
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
     * A connection broke, and will be replaced. Not told of one whose socket was closed by its user's interrupt: see
     * {@link #closed} and {@link CloseReason#INTERRUPTED}.
     *
     * @param pool the pool's name
     * @param backendPid the process id of its server process
     * @param cause what the driver said; null if the pool has found it dead before anybody used it
     */
    default void lost(String pool, int backendPid, @Nullable Throwable cause) {}

    /**
     * A client was not closed. Certain: nobody can reach it any more, and its connection is taken back. Otherwise
     * suspected, told once for each lease and left alone: its thread has ended and no other thread has used the client, or it
     * is older than {@code leakThreshold} and does not wait for the server.
     *
     * @param pool the pool's name
     * @param holder who leased it; the stack is where, if {@code leakThreshold} is set, else what the thread does now
     * @param isCertain whether it is certain
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
     * or {@code BEGIN}; the pool does not commit it. Told by the thread that closes, once for each place in the code, up to
     * 1,000 places. Not told of leases that begin without auto-commit ({@link NanoDataSource#setAutoCommit}), which
     * {@link PoolStats#leftOpen} counts, nor of a connection that was lost.
     *
     * @param pool the pool's name
     * @param site the place that closed the client: class, method, file and line
     * @param sql the SQL text that began the transaction, as far as it is known; else null. As it was sent: there may be
     *     secrets in it
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
