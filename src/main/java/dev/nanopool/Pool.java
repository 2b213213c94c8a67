package dev.nanopool;

import dev.nanopool.PoolExhaustedException.Holder;
import dev.nanopool.PoolExhaustedException.Verdict;
import dev.nanopool.Refused.Reason;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.SQLNonTransientConnectionException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.Semaphore;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.LongAdder;
import java.util.function.Consumer;
import javax.sql.DataSource;
import org.jspecify.annotations.Nullable;

/**
 * A pool of PostgreSQL connections. Callers get a connection by {@link #client()} and give it back by closing it:
 *
 * {@snippet class="dev.nanopool.examples.ReadmeExample" region="example"}
 *
 * <p>Thread-safe; made for virtual threads, works with all. Callers are served first come, first served. The pool opens all
 * its connections at the start, replaces those that break, and lends none twice at a time.
 *
 * <p><i>Memory effects:</i> what a thread did before closing its client happens-before what the next client of the same
 * connection does: by {@code LeaseQueue.give} and {@code take}.
 */
public final class Pool implements AutoCloseable {
    private static final Logger LOGGER = System.getLogger("dev.nanopool");
    private static final Duration DRAIN = Duration.ofSeconds(5);
    private static final Duration RESET_TIMEOUT = Duration.ofSeconds(5);
    private static final int MOST_SITES = 1_000;
    private static final long START_NANOS = System.nanoTime();

    // capacity: permits in circulation, wherever they are; target: how many there shall be (0 when suspended or
    // closed).
    //           Whoever holds a permit without a connection takes it out of circulation while capacity > target.
    //           That is how the pool is closed, suspended and resized. Connections that exist or are being opened
    //           <= capacity, since a permit moves on only after its socket is closed.
    private final AtomicInteger capacity = new AtomicInteger();
    private volatile int target;
    private volatile int size;
    private volatile State state = State.OPEN;

    private final PoolConfig config;
    private final Connector connector;
    private final LeaseQueue<PhysicalConnection> queue;
    private final Housekeeper housekeeper;
    private final Set<PhysicalConnection> connections = ConcurrentHashMap.newKeySet();
    private final Set<Reset> resets = ConcurrentHashMap.newKeySet();
    private final Set<String> sites = ConcurrentHashMap.newKeySet(); // that left a transaction open
    private final SqlText sqlText;
    private final Semaphore connects; // opens at the same time
    private final AtomicInteger opening = new AtomicInteger(); // permits in open(), those that back off included
    private final AtomicInteger generation = new AtomicInteger();
    private final AtomicBoolean rotating = new AtomicBoolean(); // one connection at a time is replaced for its age
    private final CountDownLatch closing = new CountDownLatch(1);
    private final CountDownLatch closed = new CountDownLatch(1); // no permit left, no socket open
    private volatile @Nullable OpenFailure lastFailure; // null: the last attempt succeeded

    private final LongAdder opened = new LongAdder();
    private final LongAdder closedCount = new LongAdder();
    private final LongAdder lost = new LongAdder();
    private final LongAdder timeouts = new LongAdder();
    private final LongAdder rejected = new LongAdder();
    private final LongAdder resetCount = new LongAdder();
    private final LongAdder waited = new LongAdder();
    private final LongAdder pastLeases = new LongAdder(); // of connections that are closed
    private final Histogram waits = new Histogram();
    private final Histogram uses = new Histogram();

    private enum State {
        OPEN,
        SUSPENDED,
        CLOSED
    }

    /** A reset under way. Either it ends, or the housekeeper ends it: who sets {@code ended} first. */
    private static final class Reset {
        final PhysicalConnection connection;
        final Thread thread;
        final long deadlineNanos;
        final AtomicBoolean ended = new AtomicBoolean();

        Reset(PhysicalConnection connection, Thread thread, long deadlineNanos) {
            this.connection = connection;
            this.thread = thread;
            this.deadlineNanos = deadlineNanos;
        }
    }

    private record OpenFailure(Throwable cause, long nanos) {}

    private Pool(PoolConfig config) {
        this.config = config;
        this.connector = new Connector(config);
        this.sqlText = new SqlText(connector.isCallSelect());
        this.connects = new Semaphore(config.connectParallelism);
        this.size = config.size;
        this.target = config.size;
        this.queue =
                new LeaseQueue<>(config.maxWaiters, Pool::nanoTime, () -> background("open", this::open), this::alarm);
        this.housekeeper = new Housekeeper(this, queue);
    }

    private void alarm() {
        housekeeper.wake();
    }

    /**
     * Opens a pool and all its connections.
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
     * @throws SQLException the driver's, if a connection cannot be opened; all others are closed again. SQLState 08000 with
     *     the interrupt flag set, if the thread is interrupted
     */
    public static Pool create(PoolConfig config) throws SQLException {
        Pool pool = new Pool(config);
        pool.start();
        return pool;
    }

    private void start() throws SQLException {
        housekeeper.start();
        boolean started = false;
        try {
            capacity.set(config.size);
            // The first one alone: it warms the driver's classes up, and if it fails, so would the others.
            if (config.minIdle > 0) queue.give(connect());
            var failed = new AtomicBoolean();
            List<Future<@Nullable Void>> rest = openAll(config.minIdle - 1, failed);
            SQLException failure = null;
            for (Future<@Nullable Void> future : rest) {
                try {
                    future.get();
                } catch (ExecutionException e) {
                    if (failure == null) failure = asSQLException(e.getCause());
                }
            }
            if (failure != null) throw failure;
            for (int i = config.minIdle; i < config.size; i++) queue.release();
            started = true;
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new SQLException(name() + ": interrupted while opening the pool", "08000", e);
        } finally {
            if (!started) {
                capacity.set(connections.size());
                close(Duration.ZERO);
            }
        }
    }

    private List<Future<@Nullable Void>> openAll(int count, AtomicBoolean failed) throws InterruptedException {
        List<Callable<@Nullable Void>> tasks = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            tasks.add(() -> {
                connects.acquire();
                try {
                    if (!failed.get()) queue.give(connect()); // at once: an interrupt must not lose it
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
     * @param timeout kept to within 20 ms; zero: does not wait
     * @return the client
     * @throws SQLException as {@link #client()}
     * @throws IllegalArgumentException if the timeout is negative
     */
    public Connection client(Duration timeout) throws SQLException {
        if (timeout.isNegative())
            throw new IllegalArgumentException("timeout: " + timeout + " is negative; must be 0 or more");
        return lease(
                timeout.compareTo(Duration.ofDays(365)) > 0
                        ? Duration.ofDays(365).toNanos()
                        : timeout.toNanos());
    }

    /**
     * Leases a connection if one is idle and nobody waits. Never blocks.
     *
     * @return the client, or empty
     * @throws SQLNonTransientConnectionException if the pool is closed; SQLState 08003
     */
    public Optional<Connection> tryClient() throws SQLException {
        PhysicalConnection connection = queue.tryTakeOrOpen();
        while (connection != null && connection.isBroken()) {
            discard(connection, CloseReason.LOST);
            connection = queue.tryTakeOrOpen();
        }
        if (connection == null && state == State.CLOSED) throw closedException();
        return connection == null ? Optional.empty() : Optional.of(lend(connection));
    }

    private Connection lease(long timeoutNanos) throws SQLException {
        PhysicalConnection connection = queue.tryTake();
        return lend(connection != null && !connection.isBroken() ? connection : await(connection, timeoutNanos));
    }

    /** The lease begins. From here to the client's hand nothing may lose the connection. */
    private Connection lend(PhysicalConnection connection) {
        boolean handedOver = false;
        try {
            var client = new ClientConnection(this, connection);
            connection.client = client;
            connection.owner = Thread.currentThread();
            // Only a sample of the leases is timed exactly: reading the clock costs more than the rest of a lease.
            connection.timed = (connection.leases++ & 15) == 0;
            connection.leasedNanos = connection.timed ? nanoTime() : housekeeper.coarseNanos();
            handedOver = true;
            return client;
        } finally {
            if (!handedOver) queue.give(connection);
        }
    }

    private PhysicalConnection await(@Nullable PhysicalConnection broken, long timeoutNanos) throws SQLException {
        long startNanos = nanoTime();
        try {
            PhysicalConnection connection = broken;
            while (connection == null || connection.isBroken()) {
                if (connection != null) discard(connection, CloseReason.LOST);
                if (timeoutNanos > 0) connection = queue.take(startNanos + timeoutNanos);
                else if ((connection = queue.tryTakeOrOpen()) == null) throw new Refused(Reason.TIMED_OUT, 0);
            }
            waited.increment();
            waits.record(nanoTime() - startNanos);
            return connection;
        } catch (Refused e) {
            throw exception(e, startNanos, timeoutNanos);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new SQLException(name() + ": interrupted while waiting for a connection", "08000", e);
        }
    }

    // The way back

    /** The end of a lease, on the client's thread: no I/O, no exception. */
    void giveBack(PhysicalConnection connection) {
        boolean decided = false;
        try {
            if (connection.isBusy()) {
                discard(connection, CloseReason.BUSY);
            } else {
                closeStatements(connection);
                endLease(connection);
                if (connection.isBroken()) discard(connection, reason(connection));
                else if (connection.session.isIrreversible()) discard(connection, CloseReason.IRREVERSIBLE);
                else if (!connection.cancelled && isReset(connection)) requeue(connection);
                else resetInBackground(connection);
            }
            decided = true;
        } finally {
            if (!decided) discard(connection, CloseReason.LOST); // an Error: nothing is known of the connection
        }
    }

    private void resetInBackground(PhysicalConnection connection) {
        if (!connection.session.isIdle()) transactionLeftOpen(connection);
        background("reset", () -> reset(connection));
    }

    /** Whether nothing is left to undo that takes a round trip. */
    private static boolean isReset(PhysicalConnection connection) {
        try {
            return connection.session.resetLocally();
        } catch (SQLException | RuntimeException e) {
            connection.note(e);
            return false;
        }
    }

    private static void closeStatements(PhysicalConnection connection) {
        if (connection.statements.isEmpty()) return;
        for (ClientStatement statement : connection.statements) {
            try {
                statement.close();
            } catch (SQLException | RuntimeException e) {
                connection.note(e);
            }
        }
        connection.statements.clear();
    }

    private void endLease(PhysicalConnection connection) {
        if (connection.timed) uses.record(nanoTime() - connection.leasedNanos);
        connection.timed = false;
        connection.owner = null;
        connection.client = null;
        connection.copy = null;
    }

    /** On a thread of the pool, which the housekeeper ends when it takes too long. */
    private void reset(PhysicalConnection connection) {
        var reset = new Reset(connection, Thread.currentThread(), nanoTime() + RESET_TIMEOUT.toNanos());
        resets.add(reset);
        CloseReason failed = CloseReason.RESET_FAILED;
        try {
            if (connection.cancelled) connection.quarantine(RESET_TIMEOUT);
            connection.session.reset();
            resetCount.increment();
            failed = null;
        } catch (SQLException | RuntimeException | Error e) {
            if (PhysicalConnection.isFatal(e)) connection.note(e);
            LOGGER.log(Level.DEBUG, () -> name() + ": reset failed", e);
        }
        boolean inTime = reset.ended.compareAndSet(false, true);
        resets.remove(reset);
        if (connection.isBroken() && inTime) discard(connection, reason(connection));
        else if (failed != null || !inTime) discard(connection, CloseReason.RESET_FAILED);
        else requeue(connection);
    }

    /** Ends the resets that take too long. Called by the housekeeper: no I/O. */
    void enforceDeadlines(long nowNanos) {
        for (Reset reset : resets) {
            if (reset.deadlineNanos <= nowNanos && reset.ended.compareAndSet(false, true)) {
                reset.connection.kill(
                        new SQLException(name() + ": no reset within " + RESET_TIMEOUT.toMillis() + " ms", "08000"));
                reset.thread.interrupt(); // it may wait for a lock of the driver
            }
        }
    }

    /** Tells of a transaction that a client left open, once for each place that closed it. */
    private void transactionLeftOpen(PhysicalConnection connection) {
        if (sites.size() >= MOST_SITES) return;
        String site = StackWalker.getInstance()
                .walk(frames -> frames.dropWhile(frame -> isOwn(frame.getClassName()))
                        .findFirst()
                        .map(StackWalker.StackFrame::toString)
                        .orElse("unknown"));
        if (!sites.add(site)) return;
        String sql = connection.session.opener();
        LOGGER.log(
                Level.WARNING,
                () -> name() + ": a client was closed in a transaction, which is rolled back; closed at " + site
                        + "; begun by: " + sql);
        tell(listener -> listener.transactionLeftOpen(name(), site, sql));
    }

    private static boolean isOwn(String className) {
        int dot = className.lastIndexOf('.');
        return dot >= 0 && className.substring(0, dot).equals(Pool.class.getPackageName());
    }

    private static CloseReason reason(PhysicalConnection connection) {
        return PhysicalConnection.isInterrupt(connection.failure()) ? CloseReason.INTERRUPTED : CloseReason.LOST;
    }

    /** Gives a sound connection to the next client, unless it is to go. */
    private void requeue(PhysicalConnection connection) {
        if (capacity.get() > target) {
            discard(connection, surplusReason());
        } else if (isStale(connection) && rotating.compareAndSet(false, true)) {
            boolean old = connection.expiresNanos <= housekeeper.coarseNanos();
            discard(connection, old ? CloseReason.MAX_LIFETIME : CloseReason.RETIRED);
        } else {
            queue.give(connection);
            if (capacity.get() > target)
                adjust(); // the target fell meanwhile, and who lowered it may have looked too early
        }
    }

    private boolean isStale(PhysicalConnection connection) {
        return connection.retired
                || connection.generation != generation.get()
                || connection.expiresNanos <= housekeeper.coarseNanos();
    }

    /** Takes a connection out of use: a thread of the pool closes it, and then decides what becomes of the permit. */
    void discard(PhysicalConnection connection, CloseReason reason) {
        endLease(connection);
        Throwable failure = connection.failure();
        if (reason == CloseReason.LOST) {
            lost.increment();
            LOGGER.log(
                    Level.WARNING,
                    () -> "%s: connection lost (backend %d): %s"
                            .formatted(
                                    name(), connection.backendPid, failure == null ? "closed by the driver" : failure));
        }
        background("close", () -> {
            try {
                if (reason == CloseReason.LOST && failure != null) {
                    tell(listener -> listener.lost(name(), connection.backendPid, failure));
                }
                close(connection, reason);
            } finally {
                settle();
                if (reason == CloseReason.MAX_LIFETIME || reason == CloseReason.RETIRED) rotating.set(false);
            }
        });
    }

    private void close(PhysicalConnection connection, CloseReason reason) {
        try {
            connection.close(reason.leavesAStatementRunning());
        } catch (SQLException | RuntimeException e) {
            LOGGER.log(Level.DEBUG, () -> name() + ": closing a connection failed", e);
        }
        connections.remove(connection);
        pastLeases.add(connection.leases);
        closedCount.increment();
        LOGGER.log(
                Level.DEBUG,
                () -> "%s: connection closed (backend %d): %s".formatted(name(), connection.backendPid, reason));
        tell(listener -> listener.closed(name(), connection.backendPid, reason));
    }

    // Permits without a connection

    /** Decides what becomes of a permit without a connection. */
    private void settle() {
        if (dropSurplus()) return;
        open();
    }

    /** Takes the caller's permit out of circulation if there are too many. */
    private boolean dropSurplus() {
        int current = capacity.get();
        while (current > target) {
            if (capacity.compareAndSet(current, current - 1)) {
                if (current == 1 && state == State.CLOSED) closed.countDown();
                return true;
            }
            current = capacity.get();
        }
        return false;
    }

    private CloseReason surplusReason() {
        return switch (state) {
            case OPEN -> CloseReason.RESIZED;
            case SUSPENDED -> CloseReason.SUSPENDED;
            case CLOSED -> CloseReason.POOL_CLOSED;
        };
    }

    /** Brings as many permits into or out of circulation as can be at once; the rest follows as leases end. */
    private void adjust() {
        for (int i = capacity.get() - target; i > 0; i--) {
            var idle = new ArrayList<PhysicalConnection>(1);
            if (!queue.withdraw(idle::add)) return;
            if (idle.isEmpty()) settle();
            else discard(idle.getFirst(), surplusReason());
        }
        for (int current = capacity.get(); current < target; current = capacity.get()) {
            if (capacity.compareAndSet(current, current + 1)) background("open", this::settle);
        }
    }

    /** Holds a permit, and opens a connection for it as long as somebody wants one. */
    private void open() {
        opening.incrementAndGet();
        try {
            for (int failures = 0; !dropSurplus(); failures++) {
                if (!isWanted()) {
                    queue.release();
                    return;
                }
                if (tryOpen()) return;
                backOff(failures);
            }
        } catch (InterruptedException e) {
            throw new IllegalStateException("bug: a thread of the pool was interrupted", e);
        } finally {
            opening.decrementAndGet();
        }
    }

    /** Waits 10 to 20 ms after the first failure, up to 1 s after many; not at all once the pool is closed. */
    private void backOff(int failures) throws InterruptedException {
        long millis = Math.min(1_000, 20L << Math.min(failures, 10));
        var unused =
                closing.await(millis / 2 + ThreadLocalRandom.current().nextLong(millis / 2 + 1), TimeUnit.MILLISECONDS);
    }

    private boolean isWanted() {
        return queue.pending() > 0 || connections.size() + opening.get() <= Math.min(config.minIdle, size);
    }

    private boolean tryOpen() throws InterruptedException {
        connects.acquire();
        long startNanos = nanoTime();
        try {
            PhysicalConnection connection = connect();
            lastFailure = null;
            requeue(connection);
            return true;
        } catch (SQLException | RuntimeException e) {
            lastFailure = new OpenFailure(e, nanoTime());
            LOGGER.log(Level.WARNING, () -> name() + ": opening a connection failed: " + e.getMessage());
            tell(listener -> listener.openFailed(name(), e));
            // Nobody can give a connection back to those who have waited through the whole attempt.
            if (connections.isEmpty()) queue.refuse(Reason.DATABASE_DOWN, startNanos);
            return false;
        } finally {
            connects.release();
        }
    }

    /** Opens a connection; it belongs to the caller, and counts. */
    private PhysicalConnection connect() throws SQLException {
        long startNanos = nanoTime();
        int current = generation.get();
        var raw = connector.open();
        long expires = startNanos
                + Connector.jittered(
                                config.maxLifetime, ThreadLocalRandom.current().nextDouble())
                        .toNanos();
        PhysicalConnection connection;
        try {
            connection = new PhysicalConnection(raw, config.resetMode, expires, current);
        } catch (SQLException | RuntimeException e) {
            raw.abort(); // it broke meanwhile, and nobody else knows of it
            throw e;
        }
        connections.add(connection);
        opened.increment();
        Duration took = Duration.ofNanos(nanoTime() - startNanos);
        LOGGER.log(
                Level.DEBUG,
                () -> "%s: connection opened (backend %d) in %d ms"
                        .formatted(name(), connection.backendPid, took.toMillis()));
        tell(listener -> listener.opened(name(), connection.backendPid, took));
        return connection;
    }

    // Housekeeping

    /** Looks at every idle connection once. Called by the housekeeper: no I/O. */
    void sweep() {
        List<PhysicalConnection> sound = new ArrayList<>();
        for (int i = connections.size(); i > 0; i--) {
            PhysicalConnection idle = queue.takeIdle();
            if (idle == null) break;
            if (idle.isBroken()) discard(idle, CloseReason.LOST);
            else sound.add(idle);
        }
        sound.forEach(this::requeue);
    }

    /**
     * Changes how many connections the pool may hold. Returns at once: a smaller pool closes idle connections now and
     * leased ones when they come back, a larger one opens more in the background.
     *
     * @param newSize from 1 to 10,000
     * @throws IllegalArgumentException if it is out of bounds
     */
    public void resize(int newSize) {
        if (newSize < 1 || newSize > 10_000) {
            throw new IllegalArgumentException("size: " + newSize + " is out of bounds; must be 1 to 10000");
        }
        size = newSize;
        retarget();
    }

    /**
     * Replaces every connection that is open now, one at a time: idle ones soon, leased ones when they come back. Returns
     * at once.
     */
    public void refresh() {
        generation.incrementAndGet();
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
            throw new IllegalArgumentException(
                    "client: a " + client.getClass().getName() + " is not a client of this pool");
        }
        own.physical().retired = true;
    }

    /**
     * Closes all connections, idle ones now and leased ones when they come back, and lends none until {@link #resume}.
     * Callers wait meanwhile, up to their deadline. Returns at once; does nothing if the pool is suspended or closed.
     */
    public void suspend() {
        if (state == State.OPEN) state = State.SUSPENDED;
        retarget();
    }

    /** Ends {@link #suspend}: opens the connections again, in the background. */
    public void resume() {
        if (state == State.SUSPENDED) state = State.OPEN;
        retarget();
    }

    private void retarget() {
        target = state == State.OPEN ? size : 0;
        adjust();
    }

    // The end

    /** As {@link #close(Duration)} with 5 s. */
    @Override
    public void close() {
        close(DRAIN);
    }

    /**
     * Closes the pool: whoever waits is refused at once, leases may go on until {@code drain} has passed, then their
     * connections are cut. Afterwards no socket and no thread of the pool is left. Closing it again does nothing but wait.
     *
     * @param drain how long to wait for leases, 0 or more; leases of the calling thread are not waited for
     * @return whether all leases ended by themselves
     */
    public boolean close(Duration drain) {
        state = State.CLOSED;
        queue.close();
        closing.countDown();
        retarget();
        if (capacity.get() == 0) closed.countDown();
        boolean drained = false;
        boolean interrupted = Thread.interrupted(); // ends the waiting for leases, and nothing else
        try {
            drained = !interrupted && awaitLeases(drain);
        } catch (InterruptedException e) {
            interrupted = true;
        }
        if (!drained) {
            for (PhysicalConnection connection : connections) {
                ClientConnection client = connection.client;
                if (client != null) client.cut();
            }
        }
        try {
            if (!closed.await(config.connectTimeout.plus(DRAIN).toNanos(), TimeUnit.NANOSECONDS)) {
                LOGGER.log(
                        Level.WARNING,
                        () -> name() + ": closed, but " + capacity.get() + " connections did not close in time");
            }
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

    /** Waits until no lease is left but those of this thread. */
    private boolean awaitLeases(Duration drain) throws InterruptedException {
        long deadline = nanoTime() + drain.toNanos();
        while (!closed.await(Math.clamp(deadline - nanoTime(), 0, 10_000_000), TimeUnit.NANOSECONDS)) {
            boolean mine = false;
            boolean others = false;
            for (PhysicalConnection connection : connections) {
                if (connection.owner == Thread.currentThread()) mine = true;
                else if (connection.owner != null) others = true;
            }
            if (!others) return !mine;
            if (nanoTime() - deadline >= 0) return false;
        }
        return true;
    }

    // What the pool tells

    /**
     * Returns a view of this pool for code that wants a {@code DataSource}. Closing the pool ends it.
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
        int open = 0;
        long leases = pastLeases.sum();
        for (PhysicalConnection connection : connections) {
            open++;
            if (connection.owner != null) active++;
            leases += connection.leases;
        }
        long unwaited = Math.max(0, leases - waited.sum());
        return new PoolStats(
                name(),
                size,
                active,
                open - active,
                queue.pending(),
                opening.get(),
                leases,
                timeouts.sum(),
                rejected.sum(),
                opened.sum(),
                closedCount.sum(),
                lost.sum(),
                0,
                resetCount.sum(),
                waits.percentile(50, unwaited),
                waits.percentile(99, unwaited),
                waits.percentile(99.9, unwaited),
                waits.max(),
                uses.percentile(50, 0),
                uses.percentile(99, 0));
    }

    /** Names the pool, its servers and its size. */
    @Override
    public String toString() {
        return "Pool[" + name() + ", " + config.url.hosts + ", " + size + " connections]";
    }

    /** For tests: permits that nobody holds. */
    int freePermits() {
        return queue.free();
    }

    boolean isClosed() {
        return state == State.CLOSED;
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

    /** Nanoseconds since this class was loaded: never negative, so that times compare by {@code <}. */
    static long nanoTime() {
        return System.nanoTime() - START_NANOS;
    }

    private SQLException closedException() {
        return new SQLNonTransientConnectionException(name() + ": the pool is closed", "08003");
    }

    private SQLException exception(Refused refused, long startNanos, long timeoutNanos) {
        if (refused.reason == Reason.CLOSED || state == State.CLOSED) {
            rejected.increment();
            return closedException();
        }
        (refused.reason == Reason.TIMED_OUT ? timeouts : rejected).increment();
        long waitedNanos = nanoTime() - startNanos;
        PoolStats stats = stats();
        List<Holder> holders = holders();
        OpenFailure failure = lastFailure;
        String message =
                "%s: no connection within %d ms (timeout %d ms), place %d in the line; max %d, active %d, idle %d, pending %d%s."
                        .formatted(
                                name(),
                                waitedNanos / 1_000_000,
                                timeoutNanos / 1_000_000,
                                refused.place,
                                stats.size(),
                                stats.active(),
                                stats.idle(),
                                stats.pending(),
                                failure == null
                                        ? ""
                                        : "; last open failed %d ms ago: %s"
                                                .formatted(
                                                        (nanoTime() - failure.nanos) / 1_000_000,
                                                        failure.cause.getMessage()));
        var exception = new PoolExhaustedException(
                message,
                verdict(refused.reason, holders, waitedNanos),
                stats,
                holders,
                failure == null ? null : failure.cause);
        tell(listener -> listener.exhausted(name(), exception));
        return exception;
    }

    private Verdict verdict(Reason reason, List<Holder> holders, long waitedNanos) {
        if (reason == Reason.DATABASE_DOWN || (lastFailure != null && connections.isEmpty()))
            return Verdict.DATABASE_DOWN;
        if (reason == Reason.DEADLOCK) return Verdict.DEADLOCK;
        boolean ended = false;
        boolean isMine = false;
        boolean allWait = true;
        for (PhysicalConnection connection : connections) {
            Thread owner = connection.owner;
            if (owner == null) continue;
            ended |= !owner.isAlive();
            isMine |= owner == Thread.currentThread();
            allWait &= owner == Thread.currentThread() || queue.hasWaiting(owner);
        }
        if (ended) return Verdict.LEAK;
        if (isMine && allWait) return Verdict.DEADLOCK;
        long slow = holders.stream()
                .filter(holder -> holder.heldFor().toNanos() >= waitedNanos)
                .count();
        return slow > 0 && slow * 2 >= holders.size() ? Verdict.SLOW_HOLDERS : Verdict.OVERLOAD;
    }

    private List<Holder> holders() {
        List<Holder> holders = new ArrayList<>();
        for (PhysicalConnection connection : connections) {
            Thread owner = connection.owner;
            if (owner == null) continue;
            String thread = owner.getName().isEmpty() ? "#" + owner.threadId() : owner.getName();
            long held = nanoTime() - connection.leasedNanos;
            holders.add(new Holder(thread, Duration.ofNanos(Math.max(0, held)), List.of(owner.getStackTrace())));
        }
        return holders;
    }

    private void tell(Consumer<PoolListener> event) {
        try {
            event.accept(config.listener);
        } catch (RuntimeException e) {
            LOGGER.log(Level.WARNING, () -> name() + ": the listener failed", e);
        }
    }

    private void background(String what, Runnable task) {
        var unused = Thread.ofVirtual().name("nanopool-" + name() + "-" + what).start(() -> {
            try {
                task.run();
            } catch (RuntimeException | Error e) {
                LOGGER.log(Level.ERROR, () -> name() + ": bug: a thread of the pool failed", e);
            }
        });
    }
}
