package dev.nanopool;

import java.nio.channels.ClosedByInterruptException;
import java.sql.SQLException;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.jspecify.annotations.Nullable;
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

    PhysicalConnection(BaseConnection connection, long expiresNanos, int generation) throws SQLException {
        this.connection = connection;
        this.session = new SessionState(connection);
        this.backendPid = connection.getBackendPID();
        this.expiresNanos = expiresNanos;
        this.generation = generation;
    }

    /** Remembers a failure after which the connection must not be lent again. */
    void note(Throwable thrown) {
        if (failure == null && isFatal(thrown)) failure = thrown;
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

    /**
     * Closes the socket. With {@code cancel}, tells the server to end the statement that it may still execute: nobody
     * else would. Blocks while the server is told, up to the driver's {@code cancelSignalTimeout} (10 s).
     */
    void close(boolean cancel) throws SQLException {
        if (!cancel && !isBroken()) {
            connection.close();
            return;
        }
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
