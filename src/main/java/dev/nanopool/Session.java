package dev.nanopool;

import dev.nanopool.Fate.Fact;
import dev.nanopool.driver.PeekableSocket;
import dev.nanopool.driver.PeekableSocket.Peek;
import dev.nanopool.driver.PoolSocketFactory;
import java.io.IOException;
import java.net.SocketTimeoutException;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.SQLTimeoutException;
import java.sql.Statement;
import java.time.Duration;
import org.jspecify.annotations.Nullable;
import org.postgresql.core.BaseConnection;

/**
 * The driver's side of a connection, with its socket, its failures, and what a lease changed in it. It belongs to the lease or to
 * the thread that has the connection in its hand. {@link #recordFailure}, {@link #abort} and the questions about failures are
 * thread-safe.
 */
final class Session {
    private final BaseConnection connection;
    private final SessionState state;
    private final int backendPid;
    private @Nullable Phases phases; // of its opening, until the session is at rest
    private final @Nullable PeekableSocket socket; // below TLS; null if the user has a socket factory of its own

    private volatile @Nullable Throwable failure; // the first one after which the session must not be lent again
    private volatile Fact ending = Fact.LOST; // what that failure means; written before it
    private volatile boolean aborted;
    private volatile boolean staleCache; // the session repeats an internal error (XX000) for ever
    private volatile boolean refusedWrite; // 25006, because the lease asked for it or the server is a standby now

    Session(Connector.Opened opened, PoolConfig config) throws SQLException {
        this.connection = opened.connection();
        this.socket = opened.socket();
        this.phases = opened.phases();
        this.state = new SessionState(connection, config.resetMode, opened.readOnlyInServer(), opened.setUp());
        this.backendPid = connection.getBackendPID();
    }

    BaseConnection connection() {
        return connection;
    }

    SessionState state() {
        return state;
    }

    int backendPid() {
        return backendPid;
    }

    /** What opening it took. Null after the session was at rest. */
    @Nullable
    Phases phases() {
        return phases;
    }

    // Failures

    /**
     * Remembers what a call of the driver threw.
     *
     * @param speaking whether that call speaks to the server
     */
    Failures.Kind recordFailure(Throwable thrown, boolean speaking) {
        Failures.Kind kind = Failures.kindOf(thrown, speaking);
        switch (kind) {
            case STATEMENT, CANCELLED -> {}
            case STALE_CACHE -> staleCache = true;
            case READ_ONLY -> refusedWrite = true;
            case INTERRUPTED -> fail(thrown, Fact.INTERRUPTED);
            case UNFINISHED -> fail(thrown, Fact.UNFINISHED);
            case SERVER_TIMEOUT -> fail(thrown, Fact.SERVER_TIMEOUT);
            case LOST -> fail(thrown, Fact.LOST);
        }
        return kind;
    }

    /** Records the end. Two threads that fail at the same moment may mix their reports, but both reports mean the end. */
    private void fail(Throwable thrown, Fact means) {
        if (failure != null) return;
        ending = means;
        failure = thrown;
    }

    @Nullable
    Throwable failure() {
        return failure;
    }

    /** Whether a failure was seen, or the driver has closed the connection itself. Does no I/O. */
    boolean isBroken() {
        if (failure != null) return true;
        try {
            return connection.isClosed();
        } catch (SQLException e) {
            Failures.Kind unused = recordFailure(e, true);
            return true;
        }
    }

    /** The {@linkplain Fact#bit facts} that are wrong with the session. Does no I/O. */
    int facts() {
        int facts = isBroken() ? ending.bit() : 0;
        if (state.isIrreversible()) facts |= Fact.IRREVERSIBLE.bit();
        if (staleCache) facts |= Fact.STALE_CACHE.bit();
        return facts;
    }

    boolean hasRefusedWrite() {
        return refusedWrite;
    }

    /** Keeps the connection all the same, until the next failure of this kind. */
    void forgiveStaleCache() {
        staleCache = false;
    }

    // Questions of the pool

    /** Checks the idle connection's socket without waiting. A socket of the user's own factory shows nothing. */
    Peek peek() {
        return socket == null ? Peek.DATA : socket.peek();
    }

    /** Whether the server has said why it ends the session. A question then gets that answer. */
    boolean hasFarewell() {
        return socket != null && socket.hasFarewell();
    }

    boolean canPeek() {
        return socket != null;
    }

    /** Gives back what the connection does not need as long as it is idle. Does not wait. */
    void rest() {
        phases = null;
        if (socket == null) return;
        try {
            socket.rest();
        } catch (IOException e) {
            recordFailure(e, true);
        }
    }

    /** When the server last said something. A socket of the user's own factory does not tell, so the end of a lease counts as that. */
    long heardNanos(long idleNanos) {
        return socket == null ? idleNanos : Clock.since(socket.heardNanos());
    }

    /** Asks the server, in one round trip, whether it is there, and whether it takes writes if the role demands that. */
    void validate(ServerRole role) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.setQueryTimeout(0);
            if (role != ServerRole.PRIMARY) {
                statement.execute("");
            } else {
                try (ResultSet row = statement.executeQuery("SHOW transaction_read_only")) {
                    if (row.next() && row.getString(1).equals("on")) {
                        throw new SQLException(
                                "the server is no longer the primary", Failures.READ_ONLY_SQL_TRANSACTION);
                    }
                }
            }
        }
        refusedWrite = false;
    }

    /**
     * Waits until no other thread uses the driver's connection, and no COPY is open in it. Blocks for ever while a COPY is
     * open, but asks the server nothing.
     */
    void awaitQuiet() throws SQLException {
        connection.getQueryExecutor().processNotifies();
    }

    /** Lets late cancels of the lease pass, if there are any, then undoes what it changed. Takes one to three round trips. */
    void reset(Usage.@Nullable Cancels cancels, Duration patience) throws SQLException {
        if (cancels != null) {
            cancels.await(patience);
            try (Statement statement = connection.createStatement()) {
                statement.execute(""); // an empty statement, which a late cancel may hit
            } catch (SQLException e) {
                if (Failures.kindOf(e, true) != Failures.Kind.CANCELLED) throw e;
            }
        }
        state.reset();
    }

    // The end

    /** Ends every read and write at once. Never blocks, because the socket is closed below TLS. */
    void abort(SQLException why) {
        aborted = true;
        fail(why, Fact.LOST);
        PoolSocketFactory.close(socket);
    }

    /**
     * Closes the connection. It says goodbye to the server if the connection is sound. Otherwise it closes the socket first, so
     * that nothing can hang. Answers whether the server may still execute a statement, which {@link #cancel} ends.
     */
    boolean close(CloseReason reason) throws SQLException {
        boolean isBroken = isBroken();
        // A caller may have given up a statement through the driver's own object, and the pool has not seen how.
        boolean isClosedUnseen = isBroken && failure == null;
        boolean givesUp = aborted || reason.leavesAStatementRunning() || isTimeout(failure) || isClosedUnseen;
        if (givesUp || isBroken) {
            Connector.abort(connection, socket);
            return givesUp;
        }
        try {
            connection.close();
        } catch (Throwable e) {
            Connector.abortAfter(e, connection, socket);
            throw e;
        }
        return false;
    }

    /**
     * Asks the server to end what it still executes, because nothing else would. Uses a socket of its own. Blocks for the driver's
     * {@code cancelSignalTimeout} at most.
     */
    void cancel() throws SQLException {
        connection.getQueryExecutor().sendQueryCancel();
    }

    /** Whether the driver or the pool gave up waiting for the server. */
    private static boolean isTimeout(@Nullable Throwable thrown) {
        for (Throwable cause = thrown; cause != null; cause = cause.getCause()) {
            if (cause instanceof SocketTimeoutException || cause instanceof SQLTimeoutException) return true;
        }
        return false;
    }
}
