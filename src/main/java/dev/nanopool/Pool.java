package dev.nanopool;

import dev.nanopool.sql.SqlText;
import java.lang.System.Logger.Level;
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
 * <p>Thread-safe. The pool is made for virtual threads and works with all threads. It serves its callers in the order in which
 * they come. It opens {@code minIdle} connections at the start (all of them, unless configured), replaces those that break, and
 * never lends one to two callers at the same time.
 *
 * <p><i>Memory effects:</i> what a thread did before it closed its client happens-before what the next client of the same
 * connection does, by {@code LeaseQueue.give} and {@code take}.
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
    private final PoolThreads threads;
    private final Counters counters;
    private final Clock clock;
    private volatile boolean isRegistered; // in JMX

    /** Puts the parts together. Each part knows only those that were made before it. */
    private Pool(PoolConfig config) {
        this.config = config;
        this.clock = new Clock();
        var alarm = new Alarm();
        var closing = new Closing();
        this.events = new Events(config.name, config.listener);
        this.threads = new PoolThreads(config.name, events, alarm);
        events.startsBy(task -> threads.start("log", task));
        var outage = new Outage(config, events, alarm);
        var suspicion = new Suspicion(outage, alarm);
        var connector = new Connector(config, threads, closing);
        var watchdog = new Watchdog(closing);
        this.counters = events.counters();
        this.supply = new Supply(config, connector, events, clock, threads, alarm, suspicion, outage);
        this.statistics = new Statistics(config.name, supply, counters);
        this.health = new Health(config, supply, statistics, alarm);
        Supplier<PoolStats> numbers = statistics::snapshot;
        Recorder.watch(numbers);
        closing.onClose(() -> Recorder.forget(numbers));
        Share share = supply.share();
        if (share != null) closing.onClose(share::leave);
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
     * Opens a pool and all its connections. Blocks as {@link #create(PoolConfig)} does.
     *
     * @param url a libpq URI or a {@code jdbc:postgresql:} URL
     * @param tls how connections are encrypted
     * @param size how many connections the pool holds, from 1 to 10,000
     * @return the pool
     * @throws SQLException as {@link #create(PoolConfig)}
     * @throws IllegalArgumentException if a value is out of bounds or the URL cannot be understood
     */
    public static Pool create(String url, TlsMode tls, int size) throws SQLException {
        return create(PoolConfig.builder(url).tls(tls).size(size).build());
    }

    /**
     * Opens a pool and {@code minIdle} connections, {@code connectParallelism} at a time. Blocks until all are usable or one
     * has failed. Each attempt takes {@code connectTimeout} at most. If the server lets in fewer (53300), the pool starts with
     * those, one at least, and opens the others when the server has room. An interrupt ends the waiting, and the pool closes
     * again what it has opened. A static initialiser may call this method. A {@linkplain PoolConfig.Builder#lazy lazy} pool opens
     * nothing here, and this method speaks to no server.
     *
     * @param config what the pool is made of
     * @return the pool
     * @throws SQLException if the driver is older than pgJDBC 42.7.2, with SQLState 08001; or if a connection cannot be opened,
     *     after all others were closed again, with the driver's SQLState, or 08001 if {@code connectTimeout} has passed, for the
     *     server or for the credentials; or if the thread is interrupted, with 08000 and the interrupt flag set
     * @throws IllegalArgumentException if the sum of {@code minIdle} of all pools is more than their {@link Budget}
     */
    public static Pool create(PoolConfig config) throws SQLException {
        return open(config, true);
    }

    /** As {@link #create(PoolConfig)}, but blocks only until the first connection is usable. The others follow by themselves. */
    static Pool createForFirstCaller(PoolConfig config) throws SQLException {
        return open(config, false);
    }

    private static Pool open(PoolConfig config, boolean awaitsAll) throws SQLException {
        DriverVersion.check(config.name);
        Pool pool = new Pool(config);
        pool.start(awaitsAll);
        return pool;
    }

    private void start(boolean awaitsAll) throws SQLException {
        boolean started = false;
        long startNanos = Clock.nanoTime();
        housekeeper.start();
        try {
            supply.start(leases, awaitsAll);
            shutdown.started();
            if (config.jmx) register();
            Event.Started event = startedIn(Duration.ofNanos(Clock.nanoTime() - startNanos));
            // The first line of a log costs a cold JVM a third of a second, so another thread writes it. Thousands
            // of lazy pools may start at once, and the log seldom takes their lines.
            if (config.lazy) started(event);
            else threads.start("log", () -> started(event));
            started = true;
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new SQLException(name() + ": interrupted while opening the pool", Failures.CONNECTION_EXCEPTION, e);
        } finally {
            if (!started) close(Duration.ZERO);
        }
    }

    private void started(Event.Started event) {
        String lacks = DriverVersion.warning();
        if (lacks != null) events.happened(new Event.OldDriver(lacks));
        events.happened(event);
    }

    private Event.Started startedIn(Duration took) {
        Phases phases = null;
        for (PhysicalConnection connection : supply.connections())
            phases = connection.session().phases();
        return new Event.Started(
                config.lazy ? Level.DEBUG : Level.INFO,
                phases,
                String.join(", ", servers()),
                supply.connections().size(),
                supply.size(),
                took);
    }

    private void register() {
        try {
            if (!Jmx.isPresent()) throw new IllegalStateException("there is no module java.management");
            Jmx.register(name(), new PoolDataSource(this, true));
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
     * Leases a connection. Waits up to the pool's {@code acquireTimeout} (5 s unless configured). If so many callers wait that
     * this caller's turn would come later, at the pace of the last second, the pool refuses it at once. An interrupt ends the
     * waiting. The caller gives the connection back by closing the client, best by try-with-resources.
     *
     * @return the client, in auto-commit mode and with the session's defaults
     * @throws PoolExhaustedException if no connection became free in time, or the pool refused the caller; SQLState 08001
     * @throws SQLNonTransientConnectionException if the pool is closed, also while the caller waits; SQLState 08003
     * @throws SQLException if the thread is interrupted while it waits; SQLState 08000, with the interrupt flag set
     */
    public Connection client() throws SQLException {
        return leases.lease(config.acquireTimeout.toNanos());
    }

    /**
     * As {@link #client()}, with a timeout of its own.
     *
     * @param timeout the longest wait, met to within 20 ms; zero does not wait; the pool takes more than 365 days as 365 days
     * @return the client
     * @throws SQLException as {@link #client()}
     * @throws IllegalArgumentException if the timeout is negative
     */
    public Connection client(Duration timeout) throws SQLException {
        return leases.lease(nanos("timeout", timeout));
    }

    /** Converts a time to wait to nanoseconds, 365 days at most. */
    private static long nanos(String name, Duration time) {
        if (time.isNegative())
            throw new IllegalArgumentException(name + ": " + time + " is negative; must be 0 or more");
        return (time.compareTo(LONGEST) > 0 ? LONGEST : time).toNanos();
    }

    /**
     * Leases a connection if one is idle and no caller waits. Never blocks. Where the pool may grow, it opens a connection in
     * the background for a later caller. The answer may also be empty while the pool checks its idle connections, which it
     * does once a second at most.
     *
     * @return the client, or empty
     * @throws SQLNonTransientConnectionException if the pool is closed; SQLState 08003
     */
    public Optional<Connection> tryClient() throws SQLException {
        return leases.tryLease();
    }

    // What operators do

    /**
     * Changes how many connections the pool may hold. Returns at once. A smaller pool closes idle connections now and leased
     * ones when their clients are closed. A larger one opens more in the background when callers wait for them.
     * {@code minIdle} stays.
     *
     * @param newSize the number of connections, from 1 to 10,000
     * @throws IllegalArgumentException if it is out of bounds
     */
    public void resize(int newSize) {
        if (newSize < 1 || newSize > 10_000) {
            throw new IllegalArgumentException("size: " + newSize + " is out of bounds; must be 1 to 10000");
        }
        supply.resize(newSize);
    }

    /**
     * Replaces every connection that is open now, one at a time. Idle ones are replaced within a second, leased ones when
     * their clients are closed. Returns at once.
     */
    public void refresh() {
        supply.refresh();
    }

    /**
     * Marks a leased connection, so that the pool replaces it when the client is closed. Returns at once. The client stays
     * usable.
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
     * Closes all connections, idle ones now and leased ones when their clients are closed, and lends none until
     * {@link #resume}. Callers wait meanwhile, up to their deadline. Returns at once. Does nothing if the pool is suspended or
     * closed.
     */
    public void suspend() {
        supply.suspend();
    }

    /**
     * Ends {@link #suspend} and opens the connections again, in the background. Returns at once. Does nothing if the pool is
     * not suspended.
     */
    public void resume() {
        supply.resume();
    }

    // The end

    /** Closes the pool as {@link #close(Duration)} does, with 5 s. */
    @Override
    public void close() {
        close(DRAIN);
    }

    /**
     * Closes the pool. Refuses every waiting caller at once. Leases may go on until {@code drain} has passed. Then the pool
     * cuts their connections and cancels their statements. Afterwards no socket and no thread of the pool is left, and
     * {@link PoolStats#opening} is 0. Blocks for {@code drain} at most, and then until all sockets are closed. That takes
     * {@code connectTimeout} and 5 s at most; if it takes longer, the pool logs it and returns. If a thread of the pool hangs
     * in a name look-up, in the supplier of the credentials, in a log handler or in the listener, the pool leaves it behind after 2 s and logs
     * it. A second thread that closes the pool waits as well, and the pool cuts the leases when the shorter drain is over.
     *
     * <p>If the thread is interrupted, before or meanwhile, it waits for leases no longer. It does everything else all the
     * same, and sets the interrupt flag at the end.
     *
     * @param drain how long to wait for leases, zero or more, at most 365 days; leases of the calling thread are not waited for
     * @return whether all leases ended by themselves; also false if the thread was interrupted
     * @throws IllegalArgumentException if {@code drain} is negative; the pool stays open
     */
    public boolean close(Duration drain) {
        long nanos = nanos("drain", drain);
        unregister();
        return shutdown.run(nanos);
    }

    // What the pool tells

    /**
     * Returns a view of this pool for code that wants a {@code DataSource}. The view is thread-safe and ends with the pool.
     *
     * @return the data source, whose clients are in auto-commit mode; each call returns an equivalent one
     */
    public DataSource dataSource() {
        return dataSource(true);
    }

    /**
     * As {@link #dataSource()}, for code that wants clients without auto-commit, such as Hibernate with
     * {@code hibernate.connection.provider_disables_autocommit}. With false, the pool rolls back what a client has not
     * committed when it is closed. {@link PoolStats#leftOpen} counts that without a warning, because a client that has only
     * read need not commit.
     *
     * @param autoCommit true if each statement is a transaction; false if the client calls {@code commit}
     * @return the data source
     */
    public DataSource dataSource(boolean autoCommit) {
        return new PoolDataSource(this, autoCommit);
    }

    /**
     * Returns the pool's numbers. Does not block. Walks all connections.
     *
     * @return a snapshot, whose numbers are read one by one
     */
    public PoolStats stats() {
        return statistics.snapshot();
    }

    /**
     * Tells how the pool is, for a health page. Leases nothing and asks the server nothing, so that it does not block: the
     * database is down if the pool's own attempts to connect say so. Whether callers wait for too long is judged by the last
     * seconds, {@code acquireTimeout} at most. A pool that has been quiet for half a minute looks at its connections twice a
     * minute. A call of this method makes it look once a second for the next half minute.
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

    /** Returns how many permits are free. For tests. */
    int freePermits() {
        return supply.queue().free();
    }

    /** Returns how many units of the budget the pool has beyond its open connections. For tests. */
    int surplusUnits() {
        Share share = supply.share();
        return share == null ? 0 : share.units() - supply.connections().size();
    }

    /** Returns how many faults of its own the pool has noticed. For tests. */
    long bugs() {
        return counters.bugs();
    }

    /** Returns the pool's clock. For tests. */
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
