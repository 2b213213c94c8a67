package dev.nanopool;

import dev.nanopool.driver.PoolSocketFactory;
import java.net.Socket;
import java.nio.channels.ClosedByInterruptException;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.ReadWriteLock;
import java.util.concurrent.locks.ReentrantReadWriteLock;
import org.jspecify.annotations.Nullable;
import org.postgresql.copy.CopyOperation;
import org.postgresql.core.BaseConnection;
import org.postgresql.util.PSQLException;
import org.postgresql.util.ServerErrorMessage;

/**
 * The driver's connection with the pool's bookkeeping. Between {@link LeaseQueue#tryTake} and {@link LeaseQueue#give} it
 * belongs to one lease; what others may read meanwhile is said at the field.
 */
final class PhysicalConnection {
    final BaseConnection connection;
    final SessionState session;
    final int backendPid;
    final long expiresNanos;
    final int generation;

    /** The statements that the lease has open, to be closed at its end. Thread-safe: clients may share a connection. */
    final Set<ClientStatement> statements = ConcurrentHashMap.newKeySet(4);

    // Plain fields, written by the lease, read by statistics and messages: those may be a moment late.
    @Nullable
    Thread owner;

    @Nullable
    ClientConnection client;

    long leasedNanos; // to within 0.1 s, unless timed
    boolean timed;
    long leases;

    /** Set to have the connection replaced when it comes back. */
    volatile boolean retired;

    private volatile @Nullable Throwable failure;

    /** The last COPY that the lease began. */
    volatile @Nullable CopyOperation copy;

    /** A cancel may have been sent for a statement of the lease: it must not meet a statement of the next. */
    volatile boolean cancelled;

    /** Cancels share it; the quarantine takes it alone, and so waits for those under way. */
    final ReadWriteLock cancelling = new ReentrantReadWriteLock();

    private final AtomicInteger speaking = new AtomicInteger(); // threads that wait for the server's answer
    private final @Nullable Socket socket; // below TLS; null if the user has a socket factory of its own

    PhysicalConnection(Connector.Opened opened, ResetMode resetMode, long expiresNanos, int generation)
            throws SQLException {
        this.connection = opened.connection();
        this.socket = opened.socket();
        this.session = new SessionState(connection, resetMode, opened.readOnlyInServer());
        this.backendPid = connection.getBackendPID();
        this.expiresNanos = expiresNanos;
        this.generation = generation;
    }

    /** A thread is about to speak to the server for this client. False: it must not, the client was closed meanwhile. */
    boolean enter(ClientConnection client) {
        speaking.incrementAndGet(); // THEN look whether the lease goes on; who ends it looks here after ending it
        if (!client.isEnded()) return true;
        speaking.decrementAndGet();
        return false;
    }

    void exit() {
        speaking.decrementAndGet();
    }

    /** Whether the connection is in use though its lease has ended: by another thread, or by a COPY left open. */
    boolean isBusy() {
        CopyOperation last = copy;
        return speaking.get() != 0 || (last != null && last.isActive());
    }

    /** Sends a cancel for what the lease executes; does nothing once the lease has ended. Blocks until it is sent. */
    void cancel(ClientConnection client, SqlAction cancel) throws SQLException {
        cancelling.readLock().lock();
        try {
            cancelled = true; // THEN look; who ends the lease looks here after ending it
            if (!client.isEnded()) cancel.run();
        } finally {
            cancelling.readLock().unlock();
        }
    }

    /**
     * Waits until every cancel of the lease has arrived, and lets the server pass a statement that a late one may hit.
     */
    void quarantine(Duration patience) throws SQLException {
        try {
            if (!cancelling.writeLock().tryLock(patience.toNanos(), TimeUnit.NANOSECONDS)) {
                throw new SQLException("a cancel is still under way", "57014");
            }
            cancelling.writeLock().unlock();
        } catch (InterruptedException e) {
            throw new SQLException("interrupted while waiting for a cancel", "08000", e);
        }
        cancelled = false;
        try (Statement statement = connection.createStatement()) {
            statement.execute("");
        } catch (SQLException e) {
            if (!"57014".equals(e.getSQLState())) throw e; // the late one: now it has come
        }
    }

    /** Something to do with the driver. */
    interface SqlAction {
        void run() throws SQLException;
    }

    /** Remembers a failure after which the connection must not be lent again. */
    void note(Throwable thrown) {
        if (thrown instanceof SQLException cancel && "57014".equals(cancel.getSQLState())) cancelled = true;
        else if (failure == null && isFatal(thrown)) failure = thrown;
    }

    @Nullable
    Throwable failure() {
        return failure;
    }

    /** No I/O: whether a failure was seen, or the driver has closed the connection itself. */
    boolean isBroken() {
        if (failure != null) return true;
        try {
            return connection.isClosed();
        } catch (SQLException e) {
            note(e);
            return true;
        }
    }

    /** Ends every read and write at once. Never blocks: the socket is closed below TLS. */
    void kill(SQLException why) {
        note(why);
        PoolSocketFactory.close(socket);
    }

    /**
     * Closes the connection: politely if it is sound, else its socket first, so that nothing can hang. With {@code cancel},
     * tells the server to end the statement that it may still execute: nobody else would. Blocks while the server is told,
     * up to the driver's {@code cancelSignalTimeout} (10 s).
     */
    void close(boolean cancel) throws SQLException {
        if (!cancel && !isBroken()) {
            connection.close();
            return;
        }
        PoolSocketFactory.close(socket);
        connection.abort(Runnable::run);
        if (cancel) connection.getQueryExecutor().sendQueryCancel(); // by a socket of its own
    }

    /**
     * Whether the session is gone or its protocol state unknown. Class 08 is the connection itself; with severity FATAL or
     * PANIC the server ends the session. What is not an SQLException may have left half a message in the send buffer.
     */
    static boolean isFatal(Throwable thrown) {
        if (!(thrown instanceof SQLException exception)) return true;
        String state = exception.getSQLState();
        if (state != null && (state.startsWith("08") || state.startsWith("57P") || state.equals("25P03"))) return true;
        ServerErrorMessage message = exception instanceof PSQLException p ? p.getServerErrorMessage() : null;
        String severity = message == null ? null : message.getSeverity();
        return "FATAL".equals(severity) || "PANIC".equals(severity);
    }

    /** Whether an interrupt of the thread that used the connection closed its socket: the caller's doing, not the server's. */
    static boolean isInterrupt(@Nullable Throwable thrown) {
        for (Throwable cause = thrown; cause != null; cause = cause.getCause()) {
            if (cause instanceof ClosedByInterruptException || "Closed by interrupt".equals(cause.getMessage()))
                return true;
        }
        return false;
    }
}
