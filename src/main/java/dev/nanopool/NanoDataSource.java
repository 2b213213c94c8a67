package dev.nanopool;

import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.SQLNonTransientConnectionException;
import java.sql.SQLTransientConnectionException;
import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * A pool as a bean, for frameworks that make their {@code DataSource} by a no-argument constructor and setters. The properties
 * have HikariCP's names where they mean the same. The defaults are those of {@link PoolConfig}. Times are milliseconds.
 * {@link #configure} sets properties from text.
 *
 * <p>The pool starts at the first {@link #getConnection()}. From then on the setters throw. If the start fails, the next call
 * tries again. Thread-safe. {@code unwrap(Pool.class)} returns the pool itself.
 *
 * <p>The class is not final, because frameworks make a proxy of a bean as a subclass, such as that of Spring Cloud's
 * {@code @RefreshScope}. It is not made for other subclasses.
 *
 * <p><i>Memory effects:</i> as {@link Pool}. What a setter wrote happens-before the start, by a lock.
 */
public class NanoDataSource extends PoolDataSource implements AutoCloseable {
    private static final Logger LOGGER = System.getLogger("dev.nanopool");

    // The start, which is I/O, holds this lock, so the lock is no monitor. Threads write all fields and settings under
    // it,
    // except `closed`. The start reads them under it. The getters read them without it.
    private final ReentrantLock lock = new ReentrantLock();
    private volatile @Nullable Pool pool; // null: not started
    private volatile boolean closed;
    private volatile @Nullable SQLException startFailure; // of the last attempt that failed

    private final Settings settings = new Settings();
    private boolean hasWarned; // of properties that have no effect

    /** Makes a data source that knows no server yet. It needs one property, {@link #setJdbcUrl}. */
    public NanoDataSource() {
        super(null, true);
    }

    // The connections

    /**
     * Leases a connection, as {@link Pool#client()} does. The first call starts the pool. The caller gives the connection back
     * by closing the client.
     *
     * <p>Waits up to {@code connectionTimeout} for a connection. The call that starts the pool blocks until the first connection
     * is usable, {@code connectTimeout} at most. The pool opens the others in the background. Callers that come before the
     * first connection is usable wait for it, {@code connectionTimeout} at most, and share its failure. An interrupt ends the
     * waiting.
     *
     * @return the client, in auto-commit mode if {@code autoCommit} is true
     * @throws PoolExhaustedException if no connection became free in time, or the pool refused the caller; SQLState 08001
     * @throws SQLTransientConnectionException if another caller's start of the pool takes too long; SQLState 08001
     * @throws SQLNonTransientConnectionException if the data source is closed, also while the caller waits; SQLState 08003
     * @throws SQLException if the pool cannot start, with the driver's SQLState; or if the thread is interrupted while it
     *     waits, with SQLState 08000 and the interrupt flag set
     * @throws IllegalArgumentException if a property has a bad value
     */
    @Override
    public Connection getConnection() throws SQLException {
        return super.getConnection();
    }

    @Override
    Pool pool() throws SQLException {
        Pool started = pool;
        return started != null ? started : start();
    }

    @Override
    @Nullable
    Pool running() {
        return pool;
    }

    @SuppressWarnings("ReferenceEquality") // the same attempt, not the same message
    private Pool start() throws SQLException {
        SQLException failureBefore = startFailure;
        awaitStart();
        try {
            Pool started = pool;
            if (started != null) return started; // another caller has started the pool
            if (closed) {
                throw new SQLNonTransientConnectionException(
                        name() + ": the data source is closed", Failures.CONNECTION_DOES_NOT_EXIST);
            }
            SQLException failure = startFailure;
            // A caller that has waited for an attempt shares its failure. Otherwise a thousand callers would try one by
            // one.
            if (failure != null && failure != failureBefore) {
                throw new SQLException(failure.getMessage(), failure.getSQLState(), failure.getErrorCode(), failure);
            }
            return startNow();
        } finally {
            lock.unlock();
        }
    }

    private Pool startNow() throws SQLException {
        try {
            PoolConfig config = settings.config();
            if (!hasWarned) config.warnOfIgnored();
            hasWarned = true;
            Pool started = Pool.createForFirstCaller(config);
            pool = started;
            return started;
        } catch (SQLException e) {
            // An interrupt concerns this caller alone, so the next caller tries again.
            if (!Thread.currentThread().isInterrupted()) startFailure = e;
            throw e;
        }
    }

    private void awaitStart() throws SQLException {
        long timeout = getConnectionTimeout();
        long millis = timeout == 0 ? Duration.ofDays(365).toMillis() : timeout;
        try {
            if (lock.tryLock() || lock.tryLock(millis, TimeUnit.MILLISECONDS)) return;
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new SQLException(name() + ": interrupted while the pool starts", Failures.CONNECTION_EXCEPTION, e);
        }
        throw new SQLTransientConnectionException(
                name() + ": the pool did not start within " + millis + " ms (connectionTimeout)",
                Failures.UNABLE_TO_CONNECT);
    }

    /** Makes a configuration of the properties. */
    PoolConfig config() {
        return settings.config();
    }

    /**
     * Closes the pool as {@link Pool#close(Duration)} does, with {@code drain}. Blocks until a start in progress has ended, and
     * then as long as that method does, also if the thread is interrupted. A second call does nothing. The data source cannot start
     * its pool afterwards.
     */
    @Override
    public void close() {
        closed = true;
        lock.lock();
        try {
            Pool started = pool;
            if (started != null) started.close(Duration.ofMillis(getDrain()));
        } finally {
            lock.unlock();
        }
    }

    /** Names the pool, but neither the credentials nor the URL. */
    @Override
    public String toString() {
        Pool started = pool;
        String state = started != null ? started.toString() : "not started";
        return "NanoDataSource[" + name() + ", " + (closed ? "closed" : state) + "]";
    }

    private String name() {
        Pool started = pool;
        String given = getPoolName();
        return started != null ? started.name() : given != null ? given : "nanopool";
    }

    // The properties

    /**
     * Sets properties by name, from text, as configuration files have it. If it refuses one of them, it sets none.
     *
     * <p>A name may be written as {@code maximumPoolSize}, {@code maximum-pool-size} or {@code MAXIMUM_POOL_SIZE}. A time is
     * {@code 30s}, {@code 500ms}, {@code 5m}, {@code 1h}, {@code PT30S} or a plain number of milliseconds. A constant of an enum
     * may be in any case. An entry of a map is a property of its own, {@code data-source-properties.NAME} (or
     * {@code driver-properties.NAME}) and {@code parameters.NAME}.
     *
     * <p>The method takes HikariCP's properties that have no meaning here, too, and one warning names them.
     *
     * @param properties the values by name
     * @throws IllegalStateException if the pool has started
     * @throws IllegalArgumentException if a name is unknown, with the nearest known one, or is given twice; or if a value is
     *     bad, with what is allowed; the message has the name as it is written here, and no secret
     */
    public void configure(Map<String, String> properties) {
        set(String.join(", ", new TreeMap<>(properties).keySet()), () -> {
            String warning = settings.configure(properties);
            if (warning != null) LOGGER.log(Level.WARNING, () -> name() + ": " + warning);
        });
    }

    /**
     * Returns whether {@link #configure} knows a property.
     *
     * @param name the name, in any of the forms that it takes
     * @return true for the bean's properties, and for those of HikariCP that have no meaning here
     */
    public static boolean isProperty(String name) {
        return Settings.isKnown(name);
    }

    /** Changes a property, unless the pool has started. */
    private void set(String property, Runnable change) {
        lock.lock();
        try {
            if (closed || pool != null) {
                throw new IllegalStateException(
                        name() + ": " + property + " cannot be changed once the pool has started");
            }
            change.run();
        } finally {
            lock.unlock();
        }
    }

    private <T> void set(Settings.Row<T> row, @Nullable T value) {
        set(row.name, () -> settings.put(row, row.name, value));
    }

    /**
     * Returns where the server is.
     *
     * @return the URL, or null if it was not set; it may contain a password
     */
    public @Nullable String getJdbcUrl() {
        return settings.find(Settings.JDBC_URL);
    }

    /**
     * Sets where the server is. Required. The start of the pool checks it.
     *
     * @param jdbcUrl a {@code jdbc:postgresql:} URL or a libpq URI, as {@link PoolConfig#builder} takes it
     * @throws IllegalStateException if the pool has started
     */
    public void setJdbcUrl(String jdbcUrl) {
        set(Settings.JDBC_URL, jdbcUrl);
    }

    /**
     * Returns the same as {@link #getJdbcUrl}.
     *
     * @return the URL, or null if it was not set; it may contain a password
     */
    public @Nullable String getUrl() {
        return getJdbcUrl();
    }

    /**
     * Sets the same as {@link #setJdbcUrl}.
     *
     * @param url a {@code jdbc:postgresql:} URL or a libpq URI
     * @throws IllegalStateException if the pool has started
     */
    public void setUrl(String url) {
        set("url", () -> settings.put(Settings.JDBC_URL, "url", url));
    }

    /**
     * Returns the user that logs in.
     *
     * @return the user, or null for the URL's user
     */
    public @Nullable String getUsername() {
        return settings.find(Settings.USERNAME);
    }

    /**
     * Sets the user that logs in. Default: the URL's user.
     *
     * @param username the user; null for the URL's user
     * @throws IllegalStateException if the pool has started
     */
    public void setUsername(@Nullable String username) {
        set(Settings.USERNAME, username);
    }

    /**
     * Returns the user's password.
     *
     * @return the password, or null for the URL's password
     */
    public @Nullable String getPassword() {
        return settings.find(Settings.PASSWORD);
    }

    /**
     * Sets the user's password. Default: the URL's. No message and no log shows it.
     *
     * @param password the password; null for the URL's password
     * @throws IllegalStateException if the pool has started
     */
    public void setPassword(@Nullable String password) {
        set(Settings.PASSWORD, password);
    }

    /**
     * Returns where user and password come from.
     *
     * @return the supplier, or null if {@code username}, {@code password} and the URL say it
     */
    public @Nullable Supplier<Credentials> getCredentials() {
        return settings.find(Settings.CREDENTIALS);
    }

    /**
     * Sets where user and password come from, for credentials that change. The pool asks before each login, as
     * {@link PoolConfig.Builder#credentials} says. The supplier wins over {@code username} and {@code password}. Default: these.
     *
     * @param credentials the supplier, which must be thread-safe; null for the default
     * @throws IllegalStateException if the pool has started
     */
    public void setCredentials(@Nullable Supplier<Credentials> credentials) {
        set(Settings.CREDENTIALS, credentials);
    }

    /**
     * Returns how many connections the pool may hold.
     *
     * @return the number of connections
     */
    public int getMaximumPoolSize() {
        return settings.get(Settings.MAXIMUM_POOL_SIZE);
    }

    /**
     * Sets how many connections the pool may hold. Default: 10.
     *
     * @param maximumPoolSize the number of connections, from 1 to 10,000
     * @throws IllegalStateException if the pool has started
     * @throws IllegalArgumentException if it is out of bounds
     */
    public void setMaximumPoolSize(int maximumPoolSize) {
        set(Settings.MAXIMUM_POOL_SIZE, maximumPoolSize);
    }

    /**
     * Returns how many connections the pool keeps open even if no caller uses them.
     *
     * @return the number of connections; -1 stands for {@code maximumPoolSize}
     */
    public int getMinimumIdle() {
        return settings.get(Settings.MINIMUM_IDLE);
    }

    /**
     * Sets how many connections the pool keeps open even if no caller uses them. Default: -1, as many as
     * {@code maximumPoolSize}.
     *
     * @param minimumIdle the number of connections, from 0 to {@code maximumPoolSize}, or -1
     * @throws IllegalStateException if the pool has started
     * @throws IllegalArgumentException if it is out of bounds; the start refuses more than {@code maximumPoolSize}
     */
    public void setMinimumIdle(int minimumIdle) {
        set(Settings.MINIMUM_IDLE, minimumIdle);
    }

    /**
     * Tells whether the first caller opens the first connection.
     *
     * @return whether it does
     */
    public boolean isLazy() {
        return settings.get(Settings.LAZY);
    }

    /**
     * Sets whether the first caller opens the first connection, so that the start of the pool speaks to no server.
     * {@code minimumIdle} must then be -1 or 0. Default: false. See {@link PoolConfig.Builder#lazy}.
     *
     * @param lazy true: the start opens no connection
     * @throws IllegalStateException if the pool has started
     */
    public void setLazy(boolean lazy) {
        set(Settings.LAZY, lazy);
    }

    /**
     * Returns the budget that this pool shares with others.
     *
     * @return its name and its size, such as {@code main:500}; null if there is none
     */
    public @Nullable String getBudget() {
        return settings.find(Settings.BUDGET);
    }

    /**
     * Sets the budget that this pool shares with all pools of the JVM that name it. Default: none. See
     * {@link PoolConfig.Builder#budget}.
     *
     * @param budget a name, a colon and how many connections the pools may have together, such as {@code main:500}
     * @throws IllegalStateException if the pool has started
     * @throws IllegalArgumentException if it has another form; the start refuses a size that contradicts the other pools
     */
    public void setBudget(String budget) {
        set(Settings.BUDGET, budget);
    }

    /**
     * Returns how long {@link #getConnection()} waits.
     *
     * @return milliseconds; 0 stands for a year
     */
    public long getConnectionTimeout() {
        return settings.get(Settings.CONNECTION_TIMEOUT);
    }

    /**
     * Sets how long {@link #getConnection()} waits for a connection. Default: 5,000 ms.
     *
     * @param connectionTimeout milliseconds, met to within 20 ms, at most 365 days; 0 waits for a year, because it means for
     *     ever in HikariCP
     * @throws IllegalStateException if the pool has started
     * @throws IllegalArgumentException if it is out of bounds
     */
    public void setConnectionTimeout(long connectionTimeout) {
        set(Settings.CONNECTION_TIMEOUT, connectionTimeout);
    }

    /**
     * Returns how long callers wait while the database accepts no connection.
     *
     * @return milliseconds; -1 stands for {@code connectionTimeout}
     */
    public long getOutagePatience() {
        return settings.get(Settings.OUTAGE_PATIENCE);
    }

    /**
     * Sets how long callers wait while the database accepts no connection, until the pool refuses them at once. See
     * {@link PoolConfig.Builder#outagePatience}. Default: -1, as long as {@code connectionTimeout}.
     *
     * @param outagePatience milliseconds, at most 365 days; 0 stands for the first failed attempt, and -1 for
     *     {@code connectionTimeout}
     * @throws IllegalStateException if the pool has started
     * @throws IllegalArgumentException if it is out of bounds
     */
    public void setOutagePatience(long outagePatience) {
        set(Settings.OUTAGE_PATIENCE, outagePatience);
    }

    /**
     * Returns how long an interrupted virtual thread waits for the server's answer to its cancelled statement.
     *
     * @return milliseconds
     */
    public long getCancelPatience() {
        return settings.get(Settings.CANCEL_PATIENCE);
    }

    /**
     * Sets how long an interrupted virtual thread waits for the server's answer to its cancelled statement, until the pool closes
     * the connection. See {@link PoolConfig.Builder#cancelPatience}. Default: 5,000.
     *
     * @param cancelPatience milliseconds, at most 365 days; 0: an interrupt closes the connection at once
     * @throws IllegalStateException if the pool has started
     * @throws IllegalArgumentException if it is out of bounds
     */
    public void setCancelPatience(long cancelPatience) {
        set(Settings.CANCEL_PATIENCE, cancelPatience);
    }

    /**
     * Returns the age at which the pool replaces a connection.
     *
     * @return milliseconds; 0 stands for a year
     */
    public long getMaxLifetime() {
        return settings.get(Settings.MAX_LIFETIME);
    }

    /**
     * Sets the age that a connection reaches at most, as {@link PoolConfig.Builder#maxLifetime} does. Default: 1,800,000 ms
     * (30 min).
     *
     * @param maxLifetime milliseconds, 1,000 or more, at most 365 days; 0 stands for a year, because it means never in HikariCP
     * @throws IllegalStateException if the pool has started
     * @throws IllegalArgumentException if it is out of bounds
     */
    public void setMaxLifetime(long maxLifetime) {
        set(Settings.MAX_LIFETIME, maxLifetime);
    }

    /**
     * Returns the window over which the pool measures its surplus.
     *
     * @return milliseconds; 0 stands for a year
     */
    public long getIdleTimeout() {
        return settings.get(Settings.IDLE_TIMEOUT);
    }

    /**
     * Sets the window over which the pool measures its surplus, which it closes, down to {@code minimumIdle}. See
     * {@link PoolConfig.Builder#idleTimeout}. Default: 600,000 ms (10 min).
     *
     * @param idleTimeout milliseconds, 1,000 or more, at most 365 days; 0 stands for a year, because it means never in HikariCP
     * @throws IllegalStateException if the pool has started
     * @throws IllegalArgumentException if it is out of bounds
     */
    public void setIdleTimeout(long idleTimeout) {
        set(Settings.IDLE_TIMEOUT, idleTimeout);
    }

    /**
     * Returns how long a connection may be idle before the pool asks the server whether it is still there.
     *
     * @return milliseconds; with 0 the pool never asks
     */
    public long getKeepaliveTime() {
        return settings.get(Settings.KEEPALIVE_TIME);
    }

    /**
     * Sets how long a connection may be idle before the pool asks the server, in the background, whether it is still there.
     * Default: 120,000 ms (2 min), or never with {@link Pooler#TRANSACTION}.
     *
     * @param keepaliveTime milliseconds, 1,000 or more, at most 365 days; with 0 the pool never asks
     * @throws IllegalStateException if the pool has started
     * @throws IllegalArgumentException if it is out of bounds
     */
    public void setKeepaliveTime(long keepaliveTime) {
        set(Settings.KEEPALIVE_TIME, keepaliveTime);
    }

    /**
     * Returns how long a lease may last before the pool reports it as a suspected leak.
     *
     * @return milliseconds; 0 means that the pool reports none by age
     */
    public long getLeakDetectionThreshold() {
        return settings.get(Settings.LEAK_DETECTION_THRESHOLD);
    }

    /**
     * Sets how long a lease may last before the pool reports it as a suspected leak, unless the lease waits for the server. See
     * {@link PoolConfig.Builder#leakThreshold}. Default: 0, off. The pool finds a client that no thread can reach without this
     * setting.
     *
     * @param leakDetectionThreshold milliseconds, 1,000 or more, at most 365 days; 0 switches it off
     * @throws IllegalStateException if the pool has started
     * @throws IllegalArgumentException if it is out of bounds
     */
    public void setLeakDetectionThreshold(long leakDetectionThreshold) {
        set(Settings.LEAK_DETECTION_THRESHOLD, leakDetectionThreshold);
    }

    /**
     * Returns the pool's name.
     *
     * @return the name, or null if it was not set
     */
    public @Nullable String getPoolName() {
        return settings.find(Settings.POOL_NAME);
    }

    /**
     * Sets the pool's name, which stands in messages, thread names and statistics, and which the server sees as the application
     * name. Default: {@code nanopool-1} and so on.
     *
     * @param poolName the name, not blank; null for the default
     * @throws IllegalStateException if the pool has started
     */
    public void setPoolName(@Nullable String poolName) {
        set(Settings.POOL_NAME, poolName);
    }

    /**
     * Returns the SQL that sets each new connection up.
     *
     * @return the SQL, or null if there is none
     */
    public @Nullable String getConnectionInitSql() {
        return settings.find(Settings.CONNECTION_INIT_SQL);
    }

    /**
     * Sets the SQL that sets each new connection up, and that a reset runs again. See {@link PoolConfig.Builder#initSql}.
     * Default: none.
     *
     * @param connectionInitSql one or more statements; null for none
     * @throws IllegalStateException if the pool has started
     */
    public void setConnectionInitSql(@Nullable String connectionInitSql) {
        set(Settings.CONNECTION_INIT_SQL, connectionInitSql);
    }

    /**
     * Returns the schema in which the server looks names up.
     *
     * @return the schema, or null for the server's {@code search_path}
     */
    public @Nullable String getSchema() {
        return settings.find(Settings.SCHEMA);
    }

    /**
     * Sets the schema in which the server looks names up, which is the session's default of {@code search_path}. Default: the
     * server's. It travels in the startup packet and costs no round trip, as do {@code readOnly} and
     * {@code transactionIsolation}.
     *
     * @param schema one name as it is, neither quoted nor folded to lower case; null for the server's default
     * @throws IllegalStateException if the pool has started
     */
    public void setSchema(@Nullable String schema) {
        set(Settings.SCHEMA, schema);
    }

    /**
     * Returns whether transactions are read-only by default.
     *
     * @return true if they are; false if the server decides
     */
    public boolean isReadOnly() {
        return settings.get(Settings.READ_ONLY);
    }

    /**
     * Sets whether transactions are read-only by default, which is the session's default of
     * {@code default_transaction_read_only}. Default: false. It keeps a program from writing by mistake, but not from writing
     * on purpose, because a client can say {@code SET TRANSACTION READ WRITE}. {@code Connection.isReadOnly()} does not show
     * it, because it is the server's setting.
     *
     * @param readOnly true if they are read-only; false if the server decides
     * @throws IllegalStateException if the pool has started
     */
    public void setReadOnly(boolean readOnly) {
        set(Settings.READ_ONLY, readOnly);
    }

    /**
     * Returns whether clients are in auto-commit mode when they are leased.
     *
     * @return true if they are
     */
    @Override
    public boolean isAutoCommit() {
        return settings.get(Settings.AUTO_COMMIT);
    }

    /**
     * Sets whether clients are in auto-commit mode when they are leased. Default: true. With false, the pool rolls back what a
     * client has not committed when it is closed. {@link PoolStats#leftOpen} counts that without a warning, because a client
     * that has only read need not commit. {@code unwrap(Pool.class).client()} is always in auto-commit mode.
     *
     * @param autoCommit true if each statement is a transaction; false if the client calls {@code commit}
     * @throws IllegalStateException if the pool has started
     */
    public void setAutoCommit(boolean autoCommit) {
        set(Settings.AUTO_COMMIT, autoCommit);
    }

    /**
     * Returns the isolation level of transactions.
     *
     * @return the name as it was set, or null if the server decides
     */
    public @Nullable String getTransactionIsolation() {
        return settings.find(Settings.TRANSACTION_ISOLATION);
    }

    /**
     * Sets the isolation level of transactions, which is the session's default of {@code default_transaction_isolation}.
     * Default: the server's, which is read committed unless its configuration says another one.
     *
     * @param transactionIsolation {@code READ_COMMITTED}, {@code REPEATABLE_READ}, {@code SERIALIZABLE} or
     *     {@code READ_UNCOMMITTED}, with or without {@code TRANSACTION_} before it; or
     *     {@link Connection}'s number of it as text ({@code 2}, {@code 4}, {@code 8} or {@code 1}); null if the server decides
     * @throws IllegalStateException if the pool has started
     * @throws IllegalArgumentException if it is not one of these
     */
    public void setTransactionIsolation(@Nullable String transactionIsolation) {
        set(Settings.TRANSACTION_ISOLATION, transactionIsolation);
    }

    /**
     * Returns how connections are encrypted.
     *
     * @return the mode, or null for the URL's {@code sslmode}, else {@link TlsMode#PREFER}
     */
    public @Nullable TlsMode getTlsMode() {
        return settings.find(Settings.TLS_MODE);
    }

    /**
     * Sets how connections are encrypted. Default: the URL's {@code sslmode}, else {@link TlsMode#PREFER}.
     *
     * @param tlsMode the mode, which an {@code sslmode} in the URL must not contradict; null for the default
     * @throws IllegalStateException if the pool has started
     */
    public void setTlsMode(@Nullable TlsMode tlsMode) {
        set(Settings.TLS_MODE, tlsMode);
    }

    /**
     * Returns whether JMX shows the pool.
     *
     * @return whether JMX shows the pool while it is open
     */
    public boolean isRegisterMbeans() {
        return settings.get(Settings.REGISTER_MBEANS);
    }

    /**
     * Sets whether JMX shows the pool; see {@link PoolConfig.Builder#jmx}. Default: false.
     *
     * @param registerMbeans true: from the start of the pool until its end
     * @throws IllegalStateException if the pool has started
     */
    public void setRegisterMbeans(boolean registerMbeans) {
        set(Settings.REGISTER_MBEANS, registerMbeans);
    }

    /**
     * Returns how many callers may wait.
     *
     * @return the number of callers
     */
    public int getMaxWaiters() {
        return settings.get(Settings.MAX_WAITERS);
    }

    /**
     * Sets how many callers may wait, as {@link PoolConfig.Builder#maxWaiters} does. Default: {@link Integer#MAX_VALUE}, no
     * bound.
     *
     * @param maxWaiters the number of callers, 0 or more
     * @throws IllegalStateException if the pool has started
     * @throws IllegalArgumentException if it is out of bounds
     */
    public void setMaxWaiters(int maxWaiters) {
        set(Settings.MAX_WAITERS, maxWaiters);
    }

    /**
     * Returns how long opening a connection may take.
     *
     * @return milliseconds; -1 stands for the URL's {@code connect_timeout}, else 10 s
     */
    public long getConnectTimeout() {
        return settings.get(Settings.CONNECT_TIMEOUT);
    }

    /**
     * Sets how long opening a connection may take, as {@link PoolConfig.Builder#connectTimeout} does. Default: -1, the URL's
     * {@code connect_timeout}, else 10 s.
     *
     * @param connectTimeout milliseconds, 100 or more, at most 365 days, or -1
     * @throws IllegalStateException if the pool has started
     * @throws IllegalArgumentException if it is out of bounds
     */
    public void setConnectTimeout(long connectTimeout) {
        set(Settings.CONNECT_TIMEOUT, connectTimeout);
    }

    /**
     * Returns how many connections the pool opens at the same time.
     *
     * @return the number of connections; -1 stands for 4, or {@code maximumPoolSize} if that is less
     */
    public int getConnectParallelism() {
        return settings.get(Settings.CONNECT_PARALLELISM);
    }

    /**
     * Sets how many connections the pool opens at the same time. Default: -1, which stands for 4, or {@code maximumPoolSize} if
     * that is less.
     *
     * @param connectParallelism the number of connections, from 1 to {@code maximumPoolSize}, or -1
     * @throws IllegalStateException if the pool has started
     * @throws IllegalArgumentException if it is out of bounds; the start refuses more than {@code maximumPoolSize}
     */
    public void setConnectParallelism(int connectParallelism) {
        set(Settings.CONNECT_PARALLELISM, connectParallelism);
    }

    /**
     * Returns how long {@link #close()} waits for leases.
     *
     * @return milliseconds
     */
    public long getDrain() {
        return settings.get(Settings.DRAIN);
    }

    /**
     * Sets how long {@link #close()} waits for leases, before the pool cuts their connections. See
     * {@link Pool#close(Duration)}. Default: 5,000 ms.
     *
     * @param drain milliseconds, at most 365 days; with 0 it does not wait
     * @throws IllegalStateException if the pool has started
     * @throws IllegalArgumentException if it is out of bounds
     */
    public void setDrain(long drain) {
        set(Settings.DRAIN, drain);
    }

    /**
     * Returns what the pool undoes between two leases.
     *
     * @return the mode
     */
    public ResetMode getResetMode() {
        return settings.get(Settings.RESET_MODE);
    }

    /**
     * Sets what the pool undoes between two leases. Default: {@link ResetMode#TRACKED}.
     *
     * @param resetMode the mode; null for the default
     * @throws IllegalStateException if the pool has started
     */
    public void setResetMode(@Nullable ResetMode resetMode) {
        set(Settings.RESET_MODE, resetMode);
    }

    /**
     * Returns which pooler stands between the pool and the server.
     *
     * @return the pooler
     */
    public Pooler getPooler() {
        return settings.get(Settings.POOLER);
    }

    /**
     * Sets which pooler stands between the pool and the server. Default: {@link Pooler#NONE}. See
     * {@link PoolConfig.Builder#pooler}.
     *
     * @param pooler how the pooler shares the server's sessions; null for the default
     * @throws IllegalStateException if the pool has started
     */
    public void setPooler(@Nullable Pooler pooler) {
        set(Settings.POOLER, pooler);
    }

    /**
     * Returns whether {@code commit()} of a transaction that has failed throws.
     *
     * @return true if it throws
     */
    public boolean isStrictCommit() {
        return settings.get(Settings.STRICT_COMMIT);
    }

    /**
     * Sets whether {@code commit()} of a transaction that has failed throws (SQLState 25P02). Default: false, as in the driver.
     *
     * @param strictCommit true if it throws
     * @throws IllegalStateException if the pool has started
     */
    public void setStrictCommit(boolean strictCommit) {
        set(Settings.STRICT_COMMIT, strictCommit);
    }

    /**
     * Returns the listener that receives what happens to the connections.
     *
     * @return the listener, or null if there is none
     */
    public @Nullable PoolListener getListener() {
        return settings.find(Settings.LISTENER);
    }

    /**
     * Sets the listener that receives what happens to the connections. Default: none.
     *
     * @param listener the listener, which must be thread-safe; null for none
     * @throws IllegalStateException if the pool has started
     */
    public void setListener(@Nullable PoolListener listener) {
        set(Settings.LISTENER, listener);
    }

    /**
     * Returns the server parameters of each session.
     *
     * @return a copy; {@link #addParameter} adds a parameter
     */
    public Map<String, String> getParameters() {
        return new TreeMap<>(settings.get(Settings.PARAMETERS));
    }

    /**
     * Adds server parameters to those already set.
     *
     * @param parameters the values by name, as {@link #addParameter} takes them
     * @throws IllegalStateException if the pool has started
     */
    public void setParameters(Map<String, String> parameters) {
        add(Settings.PARAMETERS, parameters);
    }

    /**
     * Adds a server parameter, such as {@code statement_timeout}, as the session's default. See
     * {@link PoolConfig.Builder#parameter}. The start of the pool checks it. It must not contradict {@code schema},
     * {@code readOnly} or {@code transactionIsolation}, which are such parameters.
     *
     * @param name the server's parameter
     * @param value its value, as {@code SET} would take it, without quotes around it
     * @throws IllegalStateException if the pool has started
     */
    public void addParameter(String name, String value) {
        add(Settings.PARAMETERS, Map.of(name, value));
    }

    /**
     * Returns the properties of the driver.
     *
     * @return a copy; {@link #addDataSourceProperty} adds a property
     */
    public Properties getDataSourceProperties() {
        var copy = new Properties();
        copy.putAll(settings.get(Settings.DATA_SOURCE_PROPERTIES));
        return copy;
    }

    /**
     * Adds properties of the driver to those already set.
     *
     * @param properties the values by pgJDBC's names, as {@link #addDataSourceProperty} takes them; of a value that is not a
     *     string its {@code toString()} counts
     * @throws IllegalStateException if the pool has started
     * @throws IllegalArgumentException if it refuses one of them, as {@link #addDataSourceProperty} does; then it adds none
     */
    public void setDataSourceProperties(Properties properties) {
        Map<String, String> added = new TreeMap<>();
        properties.stringPropertyNames().forEach(name -> added.put(name, properties.getProperty(name)));
        properties.forEach((name, value) -> added.put(name.toString(), value.toString()));
        add(Settings.DATA_SOURCE_PROPERTIES, added);
    }

    /**
     * Adds a property of the driver. It wins over the URL. The method takes every property that the driver has or once had,
     * except those that the pool sets itself, such as {@code user}, and those that contradict the pool, such as
     * {@code replication}. With the driver's default as their value it accepts and ignores these, too. It takes
     * {@code datatype.*}. It also takes a name that the driver lacks if {@code socketFactory}, {@code sslfactory} or
     * {@code authenticationPluginClassName} was added before it and names a class from outside of the driver, because that
     * class may read it.
     *
     * <p>The method accepts the well-known tuning properties of other databases' drivers, such as {@code cachePrepStmts},
     * without effect, and the start of the pool logs one warning that names pgJDBC's own. It refuses those whose loss would
     * weaken the connection's protection, such as {@code useSSL=true}.
     *
     * @param name pgJDBC's name, such as {@code prepareThreshold}
     * @param value the value, of which {@code toString()} counts
     * @throws IllegalStateException if the pool has started
     * @throws IllegalArgumentException if the driver does not know the property, the pool sets it itself, or it contradicts the
     *     pool; the message names the nearest property of the driver
     */
    public void addDataSourceProperty(String name, Object value) {
        Map<String, String> added = Map.of(name, value.toString());
        add(Settings.DATA_SOURCE_PROPERTIES, added);
    }

    private void add(Settings.Row<Map<String, String>> row, Map<String, String> added) {
        set(row.name, () -> settings.add(row, row.name, added));
    }
}
