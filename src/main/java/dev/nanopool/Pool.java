package dev.nanopool;

import dev.nanopool.sql.SqlText;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.SQLNonTransientConnectionException;
import java.time.Duration;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.function.Supplier;
import javax.sql.DataSource;

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

    private final PoolConfig config;
    private final Supply supply; // how many connections there are
    private final Leases leases; // the way of a connection to its caller and back
    private final Housekeeper housekeeper; // the one clock
    private final Shutdown shutdown;
    private final Statistics statistics;
    private final Diagnosis diagnosis;
    private final Health health;
    private final Events events;
    private final Counters counters;
    private final Clock clock;
    private volatile boolean isRegistered; // in JMX

    /** Puts the parts together, each of which knows only those that were made before it. */
    private Pool(PoolConfig config) {
        this.config = config;
        this.clock = new Clock();
        var alarm = new Alarm();
        var closing = new Closing();
        this.events = new Events(config.name, config.listener);
        var threads = new PoolThreads(config.name, events);
        var outage = new Outage(config, events, alarm);
        var suspicion = new Suspicion(outage, alarm);
        var connector = new Connector(config, threads, closing);
        var watchdog = new Watchdog(closing);
        this.counters = events.counters();
        this.supply = new Supply(config, connector, events, clock, threads, alarm, suspicion, outage);
        this.statistics = new Statistics(config.name, supply, counters);
        this.health = new Health(config, supply, statistics);
        Supplier<PoolStats> numbers = statistics::snapshot;
        Recorder.watch(numbers);
        closing.onClose(() -> Recorder.forget(numbers));
        var checks = new Checks(supply, connector.role(), watchdog, events, clock, threads, suspicion);
        var deadlocks = new Deadlocks(supply);
        this.diagnosis = new Diagnosis(config, supply, deadlocks, statistics);
        this.leases =
                new Leases(config, supply, checks, diagnosis, events, clock, new SqlText(connector.isCallSelect()));
        this.housekeeper = new Housekeeper(
                config,
                supply,
                checks,
                watchdog,
                new Leaks(config, events, threads),
                deadlocks,
                new Audit(supply, events),
                statistics,
                events,
                suspicion,
                clock,
                threads,
                alarm);
        this.shutdown = new Shutdown(config, supply, housekeeper, closing, threads, events);
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
     * usable or one has failed; each attempt takes {@code connectTimeout} at most. If the server lets in fewer (53300), the
     * pool starts with those, one at least, and opens the others as room is made. May be called in a static initialiser.
     *
     * @param config what the pool is made of
     * @return the pool
     * @throws SQLException the driver's, if a connection cannot be opened; all others are closed again. SQLState 08001 if
     *     {@code connectTimeout} has passed, for the server or for the credentials; 08000 with the interrupt flag set, if the thread is interrupted
     */
    public static Pool create(PoolConfig config) throws SQLException {
        Pool pool = new Pool(config);
        pool.start();
        return pool;
    }

    private void start() throws SQLException {
        boolean started = false;
        long startNanos = Clock.nanoTime();
        housekeeper.start();
        try {
            supply.start(leases);
            started = true;
            shutdown.started();
            if (config.jmx) register();
            tellStart(Duration.ofNanos(Clock.nanoTime() - startNanos));
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new SQLException(name() + ": interrupted while opening the pool", Failures.CONNECTION_EXCEPTION, e);
        } finally {
            if (!started) close(Duration.ZERO);
        }
    }

    private void tellStart(Duration took) {
        Phases phases = null;
        for (PhysicalConnection connection : supply.connections())
            phases = connection.session().phases();
        events.happened(new Event.Started(
                phases, String.join(", ", servers()), supply.connections().size(), supply.size(), took));
    }

    private void register() {
        try {
            if (!Jmx.isPresent()) throw new IllegalStateException("there is no module java.management");
            Jmx.register(name(), new PoolDataSource(this));
            isRegistered = true;
        } catch (Exception e) {
            events.happened(new Event.JmxFailed(e));
        }
    }

    private void unregister() {
        try {
            if (isRegistered) Jmx.unregister(name());
            isRegistered = false;
        } catch (Exception e) {
            events.happened(new Event.JmxFailed(e));
        }
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
        return leases.lease(config.acquireTimeout.toNanos());
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
        return leases.lease(nanos("timeout", timeout));
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
        return leases.tryLease();
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
        own.retire();
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
     * connections are cut and their statements cancelled. Afterwards no socket and no thread of the pool is left, and
     * {@link PoolStats#opening} is 0. Blocks for {@code drain} at most, and until all sockets are closed, which is bounded
     * by {@code connectTimeout} + 5 s and logged if it takes longer. A thread of the pool that hangs in a name look-up, in
     * the supplier of the credentials or in the listener is left behind after 2 s, and logged. Closing the pool again waits
     * as well, and cuts when the shorter drain is over.
     *
     * <p>If the thread is interrupted, before or meanwhile, leases are not waited for any longer; everything else is done
     * all the same, and the interrupt flag is set at the end.
     *
     * @param drain how long to wait for leases, 0 or more; leases of the calling thread are not waited for
     * @return whether all leases ended by themselves; false, too, if the thread was interrupted
     * @throws IllegalArgumentException if {@code drain} is negative; the pool stays open
     */
    public boolean close(Duration drain) {
        long nanos = nanos("drain", drain);
        unregister();
        return shutdown.run(nanos);
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
        return statistics.snapshot();
    }

    /**
     * Tells how the pool is, for a health page. Leases nothing and asks the server nothing, so that it does not block: the
     * database is down if the pool's own attempts to connect say so. Whether callers wait for too long is judged by the last
     * seconds, {@code acquireTimeout} at most.
     *
     * @return the health
     */
    public PoolHealth health() {
        return health.now();
    }

    /**
     * Tells whether the pool is closed, or about to be.
     *
     * @return whether {@link #close} was called
     */
    public boolean isClosed() {
        return supply.isClosed();
    }

    /** Names the pool, its servers and its size. */
    @Override
    public String toString() {
        return "Pool[" + name() + ", " + config.url.hosts + ", " + supply.size() + " connections]";
    }

    /** For tests: permits that are free. */
    int freePermits() {
        return supply.queue().free();
    }

    /** For tests: faults of its own that the pool has noticed. */
    long bugs() {
        return counters.bugs();
    }

    /** For tests. */
    Clock clock() {
        return clock;
    }

    /** A line for each lease. */
    List<String> holders() {
        return diagnosis.holders();
    }

    List<String> servers() {
        return config.url.hosts.stream().map(Object::toString).toList();
    }

    String database() {
        String database = config.url.database;
        return database != null ? database : Objects.requireNonNullElse(config.url.user, "");
    }

    String name() {
        return config.name;
    }
}
