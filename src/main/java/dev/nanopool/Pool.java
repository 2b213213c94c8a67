package dev.nanopool;

import dev.nanopool.Refused.Reason;
import dev.nanopool.sql.SqlText;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.SQLNonTransientConnectionException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import javax.sql.DataSource;
import org.jspecify.annotations.Nullable;

/**
 * A pool of PostgreSQL connections. Callers get a connection by {@link #client()} and give it back by closing it:
 *
 * {@snippet class="dev.nanopool.examples.ReadmeExample" region="example"}
 *
 * <p>Thread-safe; made for virtual threads, works with all. Callers are served first come, first served. The pool opens its
 * connections at the start ({@code minIdle} of them: all, unless configured), replaces those that break, and lends none
 * twice at a time.
 *
 * <p><i>Memory effects:</i> what a thread did before closing its client happens-before what the next client of the same
 * connection does: by {@code LeaseQueue.give} and {@code take}.
 */
public final class Pool implements AutoCloseable {
    private static final Duration DRAIN = Duration.ofSeconds(5);
    private static final Duration LONGEST = Duration.ofDays(365);
    private static final long LOOK_NANOS = Duration.ofMillis(10).toNanos(); // between two looks of who closes

    private final PoolConfig config;
    private final LeaseQueue<PhysicalConnection> queue; // who gets which connection when
    private final Health health; // whether a connection can be lent
    private final Supply supply; // how many connections there are
    private final Diagnosis diagnosis; // why a caller gets none
    private final Events events; // what has happened
    private final Housekeeper housekeeper;
    private final Clock clock = new Clock();
    private final SqlText sqlText;
    private final boolean isTracing;

    private Pool(PoolConfig config) {
        this.config = config;
        this.isTracing = !config.leakThreshold.isZero();
        this.events = new Events(config.name, config.listener);
        this.queue = new LeaseQueue<>(
                config.maxWaiters, Clock::nanoTime, this::openForWaiter, this::wakeHousekeeper, this::isDeadlock);
        var connector = new Connector(config);
        var watchdog = new Watchdog();
        var background = new Background(config.name);
        this.sqlText = new SqlText(connector.isCallSelect());
        this.health = new Health(config, connector, queue, watchdog, events, clock, background);
        this.supply = health.supply();
        this.diagnosis = new Diagnosis(config, supply, queue, events);
        this.housekeeper = new Housekeeper(this, config, queue, clock, watchdog, health, events, background);
    }

    // What the queue calls: by these names, since the parts do not exist yet when it is made.

    private void openForWaiter() {
        supply.vacancy();
    }

    private void wakeHousekeeper() {
        housekeeper.wake();
    }

    private boolean isDeadlock() {
        return diagnosis.isDeadlock();
    }

    /**
     * Opens a pool and all its connections. Blocks as {@link #create(PoolConfig)}.
     *
     * @param url a libpq URI or a {@code jdbc:postgresql:} URL
     * @param tls how connections are encrypted
     * @param size how many connections the pool holds
     * @return the pool
     * @throws SQLException the driver's, if a connection cannot be opened; all others are closed again
     * @throws IllegalArgumentException if a value is out of bounds or the URL cannot be understood
     */
    public static Pool create(String url, TlsMode tls, int size) throws SQLException {
        return create(PoolConfig.builder(url).tls(tls).size(size).build());
    }

    /**
     * Opens a pool and as many connections as it keeps idle, {@code connectParallelism} at a time. Blocks until all are
     * usable or one has failed; each attempt takes {@code connectTimeout} at most.
     *
     * @param config what the pool is made of
     * @return the pool
     * @throws SQLException the driver's, if a connection cannot be opened; all others are closed again. SQLState 08001 if
     *     {@code connectTimeout} has passed; 08000 with the interrupt flag set, if the thread is interrupted
     */
    public static Pool create(PoolConfig config) throws SQLException {
        Pool pool = new Pool(config);
        pool.start();
        return pool;
    }

    private void start() throws SQLException {
        boolean started = false;
        var given = new AtomicInteger(); // permits that are not this method's any more
        supply.begin(config.size);
        housekeeper.start();
        try {
            // The first one alone: if it fails, so would the others.
            if (config.minIdle > 0) openOne(given);
            List<Future<@Nullable Void>> rest = openAll(config.minIdle - 1, given);
            SQLException failure = null;
            for (Future<@Nullable Void> future : rest) {
                try {
                    future.get();
                } catch (ExecutionException e) {
                    if (failure == null) failure = asSQLException(e.getCause());
                }
            }
            if (failure != null) throw failure;
            given.set(config.size);
            for (int i = config.minIdle; i < config.size; i++) queue.release();
            started = true;
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new SQLException(name() + ": interrupted while opening the pool", "08000", e);
        } finally {
            if (!started) {
                supply.forgo(config.size - given.get());
                close(Duration.ZERO);
            }
        }
    }

    /** Opens one, which belongs to the pool at once: an interrupt must not lose it. */
    private void openOne(AtomicInteger given) throws SQLException {
        PhysicalConnection connection = supply.connect();
        given.getAndIncrement();
        queue.give(connection);
    }

    private List<Future<@Nullable Void>> openAll(int count, AtomicInteger given) throws InterruptedException {
        var failed = new AtomicBoolean();
        var connects = new Semaphore(config.connectParallelism);
        List<Callable<@Nullable Void>> tasks = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            tasks.add(() -> {
                connects.acquire();
                try {
                    if (!failed.get()) openOne(given);
                    return null;
                } catch (Throwable e) {
                    failed.set(true);
                    throw e;
                } finally {
                    connects.release();
                }
            });
        }
        try (var executor = Executors.newVirtualThreadPerTaskExecutor()) {
            return executor.invokeAll(tasks);
        }
    }

    private static SQLException asSQLException(@Nullable Throwable e) {
        return e instanceof SQLException exception ? exception : new SQLException(e);
    }

    // The way out

    /**
     * Leases a connection, waiting up to the pool's {@code acquireTimeout} (5 s unless configured). Close it to give it
     * back, best by try-with-resources.
     *
     * @return the client, in auto-commit mode and with the session's defaults
     * @throws PoolExhaustedException if none became free in time, or the caller was refused; SQLState 08001
     * @throws SQLNonTransientConnectionException if the pool is closed, also while waiting; SQLState 08003
     * @throws SQLException if the thread is interrupted while waiting; SQLState 08000, with the interrupt flag set
     */
    public Connection client() throws SQLException {
        return lease(config.acquireTimeout.toNanos());
    }

    /**
     * As {@link #client()}, with a timeout of its own.
     *
     * @param timeout kept to within 20 ms; zero: does not wait; more than 365 days: 365 days
     * @return the client
     * @throws SQLException as {@link #client()}
     * @throws IllegalArgumentException if the timeout is negative
     */
    public Connection client(Duration timeout) throws SQLException {
        return lease(nanos("timeout", timeout));
    }

    /** A time to wait; what is longer than the longest time that is told apart from for ever, is that. */
    private static long nanos(String name, Duration time) {
        if (time.isNegative())
            throw new IllegalArgumentException(name + ": " + time + " is negative; must be 0 or more");
        return (time.compareTo(LONGEST) > 0 ? LONGEST : time).toNanos();
    }

    /**
     * Leases a connection if one is idle and nobody waits. Never blocks. Where the pool may grow, a connection is opened in
     * the background for who comes next. Empty as well at a moment when idle connections are being looked at, once a
     * second.
     *
     * @return the client, or empty
     * @throws SQLNonTransientConnectionException if the pool is closed; SQLState 08003
     */
    public Optional<Connection> tryClient() throws SQLException {
        PhysicalConnection connection = queue.tryTakeOrOpen(supply::open);
        while (connection != null && !health.isFit(connection, false)) connection = queue.tryTakeOrOpen(supply::open);
        if (connection == null && supply.isClosed()) throw closedException();
        return connection == null ? Optional.empty() : Optional.of(lend(connection));
    }

    private Connection lease(long timeoutNanos) throws SQLException {
        PhysicalConnection connection = queue.tryTake();
        return lend(
                connection != null && health.isFit(connection, timeoutNanos > 0) ? connection : await(timeoutNanos));
    }

    /** The lease begins. From here to the client's hand nothing may lose the connection. */
    private Connection lend(PhysicalConnection connection) {
        boolean handedOver = false;
        try {
            connection.leases++;
            long now = isTimed(connection) ? Clock.nanoTime() : clock.coarseNanos();
            var client = new ClientConnection(this, connection, now);
            if (isTracing) connection.borrowed = new Throwable("leased here");
            connection.lease = client;
            handedOver = true;
            return client;
        } finally {
            if (!handedOver) queue.give(connection);
        }
    }

    /** Only a sample of the leases is timed exactly: reading the clock costs more than the rest of a lease. */
    private static boolean isTimed(PhysicalConnection connection) {
        return (connection.leases & 63) == 1;
    }

    private PhysicalConnection await(long timeoutNanos) throws SQLException {
        long startNanos = Clock.nanoTime();
        try {
            PhysicalConnection connection;
            do {
                if (timeoutNanos > 0) connection = queue.take(startNanos + timeoutNanos);
                else if ((connection = queue.tryTakeOrOpen(supply::open)) == null)
                    throw new Refused(Reason.TIMED_OUT, 0);
            } while (!health.isFit(connection, timeoutNanos > 0));
            events.waited.increment();
            events.waits.record(Clock.nanoTime() - startNanos);
            return connection;
        } catch (Refused e) {
            throw exception(e, Clock.nanoTime() - startNanos, timeoutNanos);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new SQLException(name() + ": interrupted while waiting for a connection", "08000", e);
        }
    }

    private SQLException exception(Refused refused, long waitedNanos, long timeoutNanos) {
        if (refused.reason == Reason.CLOSED || supply.isClosed()) {
            events.rejected.increment();
            return closedException();
        }
        (refused.reason == Reason.TIMED_OUT ? events.timeouts : events.rejected).increment();
        PoolExhaustedException exception = diagnosis.explain(refused, stats(), waitedNanos, timeoutNanos);
        events.exhausted(exception);
        return exception;
    }

    private SQLException closedException() {
        return new SQLNonTransientConnectionException(name() + ": the pool is closed", "08003");
    }

    // The way back

    /** The end of a lease, on the client's thread: no I/O, no exception. */
    void giveBack(PhysicalConnection connection) {
        if (!connection.session.isIdle() && !connection.isBusy())
            events.transactionLeftOpen(connection.session.opener());
        takeBack(connection);
    }

    /** The same, of a client that nobody has closed. */
    void takeBack(PhysicalConnection connection) {
        boolean decided = false;
        try {
            if (connection.isBusy()) {
                discard(connection, CloseReason.BUSY);
            } else {
                Lease lease = connection.lease;
                if (lease != null && isTimed(connection)) events.uses.record(Clock.nanoTime() - lease.startNanos());
                connection.statements.close(connection::note);
                connection.endLease();
                connection.idleNanos = clock.coarseNanos();
                if (connection.isBroken()) discard(connection, connection.lossReason());
                else if (connection.session.isIrreversible()) discard(connection, CloseReason.IRREVERSIBLE);
                else if (connection.cancelled || !connection.isReset()) health.reset(connection);
                else health.requeue(connection);
            }
            decided = true;
        } finally {
            if (!decided) discard(connection, CloseReason.LOST); // an Error: nothing is known of the connection
        }
    }

    /** The end of a lease whose connection is of no use any more. */
    void discard(PhysicalConnection connection, CloseReason reason) {
        supply.discard(connection, reason);
    }

    // What operators do

    /**
     * Changes how many connections the pool may hold. Returns at once: a smaller pool closes idle connections now and
     * leased ones when they come back, a larger one opens more in the background when callers wait for them.
     * {@code minIdle} stays.
     *
     * @param newSize from 1 to 10,000
     * @throws IllegalArgumentException if it is out of bounds
     */
    public void resize(int newSize) {
        if (newSize < 1 || newSize > 10_000) {
            throw new IllegalArgumentException("size: " + newSize + " is out of bounds; must be 1 to 10000");
        }
        supply.resize(newSize);
    }

    /**
     * Replaces every connection that is open now, one at a time: idle ones within a second, leased ones when they come back.
     * Returns at once.
     */
    public void refresh() {
        supply.refresh();
    }

    /**
     * Has a leased connection replaced when it comes back. Returns at once; the client stays usable.
     *
     * @param client a client of this pool
     * @throws SQLException if the client is closed; SQLState 08003
     * @throws IllegalArgumentException if it is not a client of a nanopool
     */
    public void retire(Connection client) throws SQLException {
        if (!(client instanceof ClientConnection own)) {
            throw new IllegalArgumentException("client: a " + client.getClass().getName()
                    + " is not a client of a nanopool; unwrap what a framework has put around it");
        }
        own.physical().retired = true;
    }

    /**
     * Closes all connections, idle ones now and leased ones when they come back, and lends none until {@link #resume}.
     * Callers wait meanwhile, up to their deadline. Returns at once; does nothing if the pool is suspended or closed.
     */
    public void suspend() {
        supply.suspend();
    }

    /**
     * Ends {@link #suspend}: opens the connections again, in the background. Returns at once; does nothing if the pool is
     * not suspended.
     */
    public void resume() {
        supply.resume();
    }

    // The end

    /** As {@link #close(Duration)} with 5 s. */
    @Override
    public void close() {
        close(DRAIN);
    }

    /**
     * Closes the pool: whoever waits is refused at once, leases may go on until {@code drain} has passed, then their
     * connections are cut and their statements cancelled. Afterwards no socket and no thread of the pool is left; blocks
     * for {@code drain} at most, and until all sockets are closed, which is bounded by {@code connectTimeout} + 5 s and
     * logged if it takes longer. Closing it again waits as well, and cuts when the shorter drain is over.
     *
     * <p>If the thread is interrupted, before or meanwhile, leases are not waited for any longer; everything else is done
     * all the same, and the interrupt flag is set at the end.
     *
     * @param drain how long to wait for leases, 0 or more; leases of the calling thread are not waited for
     * @return whether all leases ended by themselves; false, too, if the thread was interrupted
     * @throws IllegalArgumentException if {@code drain} is negative; the pool stays open
     */
    public boolean close(Duration drain) {
        long drainNanos = nanos("drain", drain);
        queue.close();
        health.close();
        boolean drained = false;
        boolean interrupted = Thread.interrupted(); // ends the waiting for leases, and nothing else
        try {
            drained = !interrupted && awaitLeases(drainNanos);
        } catch (InterruptedException e) {
            interrupted = true;
        }
        try {
            if (!awaitClosed(!drained)) events.notClosed(supply.capacity());
        } catch (InterruptedException e) {
            interrupted = true;
        }
        try {
            housekeeper.stop();
        } catch (InterruptedException e) {
            interrupted = true; // it ends all the same
        }
        if (interrupted) Thread.currentThread().interrupt();
        return drained;
    }

    /** Waits until all sockets are closed; with {@code cut}, ends all leases, those included that begin only now. */
    private boolean awaitClosed(boolean cut) throws InterruptedException {
        long deadline = Clock.nanoTime() + config.connectTimeout.plus(DRAIN).toNanos();
        do {
            if (cut) supply.connections().forEach(this::cut);
            if (supply.awaitClosed(LOOK_NANOS)) return true;
        } while (Clock.nanoTime() < deadline);
        return false;
    }

    private void cut(PhysicalConnection connection) {
        Lease lease = connection.lease;
        if (lease == null) return;
        ClientConnection client = lease.client();
        if (client != null) client.cut();
        else if (connection.endForgotten(lease)) discard(connection, CloseReason.LEAKED);
    }

    /** Waits until no lease is left but those of this thread. */
    private boolean awaitLeases(long drainNanos) throws InterruptedException {
        long deadline = Clock.nanoTime() + drainNanos;
        while (!supply.awaitClosed(Math.clamp(deadline - Clock.nanoTime(), LOOK_NANOS / 10, LOOK_NANOS))) {
            boolean mine = false;
            boolean others = false;
            boolean inHand = false; // on its way to a caller, or being looked at: soon known
            for (PhysicalConnection connection : supply.connections()) {
                Lease lease = connection.lease;
                if (lease == null) inHand |= !connection.isServiced;
                else if (lease.owner() == Thread.currentThread()) mine = true;
                else others = true;
            }
            if (!others && !inHand) return !mine;
            if (Clock.nanoTime() - deadline >= (others ? 0 : 10 * LOOK_NANOS)) return false;
            supply.adjust(); // closes what has become idle meanwhile
        }
        return true;
    }

    // What the pool tells

    /**
     * Returns a view of this pool for code that wants a {@code DataSource}. Thread-safe; closing the pool ends it.
     *
     * @return the data source; all are equivalent
     */
    public DataSource dataSource() {
        return new PoolDataSource(this);
    }

    /**
     * Returns the pool's numbers. Does not block; walks the connections.
     *
     * @return a snapshot, read number by number
     */
    public PoolStats stats() {
        int active = 0;
        int idle = 0;
        long leases = events.pastLeases.sum();
        for (PhysicalConnection connection : supply.connections()) {
            if (connection.lease != null) active++;
            else if (!connection.isServiced) idle++;
            leases += connection.leases;
        }
        long unwaited = Math.max(0, leases - events.waited.sum());
        return new PoolStats(
                name(),
                supply.size(),
                active,
                idle,
                queue.pending(),
                supply.opening(),
                leases,
                events.timeouts.sum(),
                events.rejected.sum(),
                events.opened.sum(),
                events.closed.sum(),
                events.lost.sum(),
                events.leaked.sum(),
                events.resets.sum(),
                events.waits.percentile(50, unwaited),
                events.waits.percentile(99, unwaited),
                events.waits.percentile(99.9, unwaited),
                events.waits.max(),
                events.uses.percentile(50, 0),
                events.uses.percentile(99, 0));
    }

    /** Names the pool, its servers and its size. */
    @Override
    public String toString() {
        return "Pool[" + name() + ", " + config.url.hosts + ", " + supply.size() + " connections]";
    }

    /** For tests: permits that nobody holds. */
    int freePermits() {
        return queue.free();
    }

    boolean isClosed() {
        return supply.isClosed();
    }

    SqlText sqlText() {
        return sqlText;
    }

    boolean isStrictCommit() {
        return config.strictCommit;
    }

    String name() {
        return config.name;
    }
}
