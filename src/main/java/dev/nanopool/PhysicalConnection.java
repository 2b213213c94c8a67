package dev.nanopool;

import dev.nanopool.driver.PeekableSocket;
import dev.nanopool.driver.PeekableSocket.Peek;
import dev.nanopool.driver.PoolSocketFactory;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.ReadWriteLock;
import java.util.concurrent.locks.ReentrantReadWriteLock;
import org.jspecify.annotations.Nullable;
import org.postgresql.core.BaseConnection;

/**
 * The driver's connection with the pool's bookkeeping. Between {@link LeaseQueue#tryTake} and {@link LeaseQueue#give} it
 * belongs to one lease; what others may read meanwhile is said at the field.
 */
final class PhysicalConnection {
    private static final VarHandle LEASE;

    static {
        try {
            LEASE = MethodHandles.lookup().findVarHandle(PhysicalConnection.class, "lease", Lease.class);
        } catch (ReflectiveOperationException e) {
            throw new ExceptionInInitializerError(e);
        }
    }

    final BaseConnection connection;
    final SessionState session;
    final int backendPid;
    final long beganNanos; // when opening it began
    final long openedNanos;
    final long expiresNanos; // from then on it is replaced when nobody waits
    final int generation;

    final OpenStatements statements = new OpenStatements();

    // Plain fields, written by the lease, read by statistics and messages: those may be a moment late.
    @Nullable
    Lease lease;

    /** The client, once the driver's own objects were handed out, which may be used without it. */
    @Nullable
    ClientConnection unwrapped;

    /** Where the lease began, if the pool traces leases. */
    @Nullable
    Throwable borrowed;

    /** The lease that was told of as a possible leak. */
    @Nullable
    Lease suspected;

    long leases;

    // Plain fields of whoever holds the connection.
    long idleNanos; // since when nobody has used it, to within 0.1 s
    long provenNanos; // when the server last answered the pool itself

    /** The pool itself uses the connection: resets, validates or closes it. */
    volatile boolean isServiced;

    /** Set to have the connection replaced when it comes back. */
    volatile boolean retired;

    /** The server refused to write (25006): the lease's own doing, or it is a standby now. */
    volatile boolean refusedWrite;

    private volatile @Nullable Throwable failure;

    /** A thread other than the one that leased it has used the client: its owner may wait, and yet it comes back. */
    volatile boolean shared;

    /** The last COPY that the lease began. */
    volatile ClientCopy.@Nullable Progress copy;

    /** A cancel may have been sent for a statement of the lease: it must not meet a statement of the next. */
    volatile boolean cancelled;

    /** Cancels share it; the quarantine takes it alone, and so waits for those under way. */
    final ReadWriteLock cancelling = new ReentrantReadWriteLock();

    private final AtomicInteger speaking = new AtomicInteger(); // threads that wait for the server's answer
    private final @Nullable PeekableSocket socket; // below TLS; null if the user has a socket factory of its own

    PhysicalConnection(Connector.Opened opened, PoolConfig config, long beganNanos, long nowNanos, int generation)
            throws SQLException {
        this.connection = opened.connection();
        this.socket = opened.socket();
        this.session = new SessionState(connection, config.resetMode, opened.readOnlyInServer(), opened.setUp());
        this.backendPid = connection.getBackendPID();
        this.beganNanos = beganNanos;
        this.openedNanos = nowNanos;
        this.idleNanos = nowNanos;
        this.provenNanos = nowNanos;
        this.expiresNanos = nowNanos
                + jittered(config.maxLifetime, ThreadLocalRandom.current().nextDouble());
        this.generation = generation;
    }

    /** 75 to 100 % of a lifetime, so that connections that were opened together do not all go together. */
    static long jittered(Duration lifetime, double random) {
        return (long) (lifetime.toNanos() * (0.75 + 0.25 * random));
    }

    /** Whether nothing is left to undo that takes a round trip. */
    boolean isReset() {
        try {
            return session.resetLocally();
        } catch (SQLException | RuntimeException e) {
            note(e);
            return false;
        }
    }

    /** Nobody holds it any more, or nobody yet. */
    void endLease() {
        lease = null;
        // Most leases have none of these; what is written is seen by other threads, and costs.
        if (unwrapped != null) unwrapped = null;
        if (borrowed != null) borrowed = null;
        if (suspected != null) suspected = null;
        if (copy != null) copy = null;
        if (shared) shared = false;
    }

    /** A thread is about to speak to the server for this client. False: it must not, the client was closed meanwhile. */
    boolean enter(ClientConnection client) {
        speaking.incrementAndGet(); // THEN look whether the lease goes on; who ends it looks here after ending it
        if (client.isEnded()) {
            speaking.decrementAndGet();
            return false;
        }
        if (client.owner() != Thread.currentThread()) shared = true;
        return true;
    }

    void exit() {
        speaking.decrementAndGet();
    }

    /** Whether the connection is in use, perhaps though its lease has ended: by a thread, or by a COPY left open. */
    boolean isBusy() {
        if (isSpeaking()) return true; // first: who begins a COPY says so before it stops speaking
        ClientCopy.Progress last = copy;
        return last != null && last.isOpen();
    }

    /** Whether a thread waits for the server's answer. */
    boolean isSpeaking() {
        return speaking.get() != 0;
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
                throw new SQLException("a cancel is still under way", Failures.QUERY_CANCELED);
            }
            cancelling.writeLock().unlock();
        } catch (InterruptedException e) {
            throw new SQLException("interrupted while waiting for a cancel", Failures.CONNECTION_EXCEPTION, e);
        }
        cancelled = false;
        try (Statement statement = connection.createStatement()) {
            statement.execute("");
        } catch (SQLException e) {
            if (!Failures.QUERY_CANCELED.equals(e.getSQLState())) throw e; // the late one: now it has come
        }
    }

    /** Something to do with the driver. Blocks until the server has answered. */
    interface SqlAction {
        void run() throws SQLException;
    }

    /** Remembers a failure after which the connection must not be lent again. Called by the thread that met it. */
    void note(Throwable thrown) {
        Failures.Kind kind = Failures.kindOf(thrown, isSpeaking());
        if (kind == Failures.Kind.CANCELLED) cancelled = true;
        else if (kind == Failures.Kind.READ_ONLY) refusedWrite = true;
        else if (kind.endsSession()) fail(thrown);
    }

    /** Remembers a failure that ends the session. */
    void fail(Throwable thrown) {
        if (failure == null) failure = thrown;
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

    /** Looks at the idle connection's socket, without waiting; with a socket of the user's own nothing can be seen. */
    Peek peek() {
        return socket == null ? Peek.DATA : socket.peek();
    }

    boolean canPeek() {
        return socket != null;
    }

    /** Asks the server whether it is there, and whether it takes writes if the role demands it: one round trip. */
    void validate(Role role) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.setQueryTimeout(0);
            if (role != Role.PRIMARY) {
                statement.execute("");
            } else {
                try (ResultSet row = statement.executeQuery("SHOW transaction_read_only")) {
                    if (row.next() && row.getString(1).equals("on")) {
                        throw new SQLException(
                                "the server is not the primary any more", Failures.READ_ONLY_SQL_TRANSACTION);
                    }
                }
            }
        }
        refusedWrite = false;
    }

    /** The lease, from now on without keeping its client from the garbage collector. Null: it has ended. */
    @Nullable
    Lease lastingLease() {
        Lease current = lease;
        if (!(current instanceof ClientConnection client)) return current;
        Lease lasting = new Lease.Lasting(client);
        return LEASE.compareAndSet(this, client, lasting) ? lasting : null;
    }

    /** Whether that lease goes on, read now and not before. */
    boolean isStill(Lease earlier) {
        return earlier.equals(LEASE.getVolatile(this));
    }

    /** Ends a lease whose client nobody can reach any more. False: it has been ended, or a new one has begun. */
    boolean endForgotten(Lease forgotten) {
        return LEASE.compareAndSet(this, forgotten, null);
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

    /** Why it is broken: the database's doing, or its user's. */
    CloseReason lossReason() {
        Throwable seen = failure;
        return switch (seen == null ? Failures.Kind.LOST : Failures.kindOf(seen, true)) {
            case INTERRUPTED -> CloseReason.INTERRUPTED;
            case UNFINISHED -> CloseReason.UNFINISHED;
            default -> CloseReason.LOST;
        };
    }
}
