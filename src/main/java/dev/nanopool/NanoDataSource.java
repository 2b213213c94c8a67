package dev.nanopool;

import dev.nanopool.DriverProperties.Door;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.SQLNonTransientConnectionException;
import java.sql.SQLTransientConnectionException;
import java.time.Duration;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;

/**
 * A pool as a bean, for frameworks that make their {@code DataSource} by a no-argument constructor and setters. The properties
 * have HikariCP's names where they mean the same. The defaults are those of {@link PoolConfig}.
 *
 * <p>The pool starts at the first {@link #getConnection()}. From then on the setters throw. If the start fails, the next call
 * tries again. Thread-safe. {@code unwrap(Pool.class)} returns the pool itself.
 *
 * <p><i>Memory effects:</i> as {@link Pool}. What a setter wrote happens-before the start, by a lock.
 */
public final class NanoDataSource extends PoolDataSource implements AutoCloseable {
    private static final Duration UNLIMITED = Duration.ofDays(365);

    /** The levels by name and by the numbers of {@link Connection}, as text. */
    private static final Map<String, String> ISOLATIONS = Map.of(
            "READ_UNCOMMITTED", "read uncommitted",
            "READ_COMMITTED", "read committed",
            "REPEATABLE_READ", "repeatable read",
            "SERIALIZABLE", "serializable",
            "1", "read uncommitted",
            "2", "read committed",
            "4", "repeatable read",
            "8", "serializable");

    // The start, which is I/O, holds this lock, so the lock is no monitor. Threads write all fields under it, except
    // `closed`. The start reads them under it. The getters read them without it.
    private final ReentrantLock lock = new ReentrantLock();
    private volatile @Nullable Pool pool; // null: not started
    private volatile boolean closed;
    private volatile @Nullable SQLException startFailure; // of the last attempt that failed

    private @Nullable String jdbcUrl;
    private @Nullable String username;
    private @Nullable String password;
    private int maximumPoolSize = 10;
    private int minimumIdle = -1;
    private long connectionTimeout = 5_000;
    private long outagePatience = -1;
    private long cancelPatience = 5_000;
    private long maxLifetime = 1_800_000;
    private long idleTimeout = 600_000;
    private long keepaliveTime = 120_000;
    private long leakDetectionThreshold;
    private @Nullable String poolName;
    private @Nullable String connectionInitSql;
    private @Nullable String schema;
    private boolean readOnly;
    private volatile boolean autoCommit = true;
    private @Nullable String transactionIsolation;
    private @Nullable TlsMode tlsMode;
    private boolean registerMbeans;
    private final Properties driverProperties = new Properties();
    private boolean hasWarned; // of properties that have no effect

    /** Makes a data source that knows no server yet. It needs one property, {@link #setJdbcUrl}. */
    public NanoDataSource() {
        super(null);
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
        Connection client = super.getConnection();
        if (autoCommit) return client;
        boolean handedOver = false;
        try {
            ((ClientConnection) client).beginWithoutAutoCommit();
            handedOver = true;
            return client;
        } finally {
            if (!handedOver) client.close();
        }
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
            PoolConfig config = config();
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
        long millis = connectionTimeout == 0 ? UNLIMITED.toMillis() : connectionTimeout;
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

    /** Makes a configuration of the properties. The caller holds the lock. */
    PoolConfig config() {
        if (jdbcUrl == null) throw new IllegalArgumentException("jdbcUrl: is not set");
        PoolConfig.Builder builder = PoolConfig.builder(jdbcUrl)
                .size(maximumPoolSize)
                .minIdle(minimumIdle < 0 ? maximumPoolSize : minimumIdle)
                .acquireTimeout(connectionTimeout == 0 ? UNLIMITED : Duration.ofMillis(connectionTimeout))
                .maxLifetime(maxLifetime == 0 ? UNLIMITED : Duration.ofMillis(maxLifetime))
                .idleTimeout(idleTimeout == 0 ? UNLIMITED : Duration.ofMillis(idleTimeout))
                .keepalive(Duration.ofMillis(keepaliveTime))
                .leakThreshold(Duration.ofMillis(leakDetectionThreshold));
        builder.cancelPatience(Duration.ofMillis(cancelPatience));
        if (outagePatience >= 0) builder.outagePatience(Duration.ofMillis(outagePatience));
        if (tlsMode != null) builder.tls(tlsMode);
        builder.jmx(registerMbeans);
        if (poolName != null) builder.name(poolName);
        if (username != null || password != null) {
            Credentials credentials = credentials(ConnectionUrl.parse(jdbcUrl, driverProperties));
            builder.credentials(() -> credentials);
        }
        if (connectionInitSql != null) builder.initSql(connectionInitSql);
        if (schema != null) builder.parameter("search_path", '"' + schema.replace("\"", "\"\"") + '"');
        if (readOnly) builder.parameter("default_transaction_read_only", "on");
        if (transactionIsolation != null) {
            builder.parameter("default_transaction_isolation", isolation(transactionIsolation));
        }
        driverProperties.forEach((name, value) -> builder.driverProperty(name.toString(), value.toString()));
        return builder.buildQuietly();
    }

    private Credentials credentials(ConnectionUrl url) {
        String user = username != null ? username : url.user;
        String secret = password != null ? password : url.password;
        return new Credentials(
                user != null ? user : System.getProperty("user.name", "postgres"), secret != null ? secret : "");
    }

    /**
     * Closes the pool as {@link Pool#close()} does. Blocks until a start in progress has ended, and then as long as
     * {@link Pool#close()} does, also if the thread is interrupted. A second call does nothing. The data source cannot start
     * its pool afterwards.
     */
    @Override
    public void close() {
        closed = true;
        lock.lock();
        try {
            Pool started = pool;
            if (started != null) started.close();
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
        String given = poolName;
        return started != null ? started.name() : given != null ? given : "nanopool";
    }

    // The properties

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

    private static void within(String property, long value, long least, long most, String unit) {
        if (value >= least && value <= most) return;
        throw new IllegalArgumentException(
                property + ": " + value + unit + " is out of bounds; must be " + least + " to " + most + unit);
    }

    private static void zeroOrWithin(String property, long millis) {
        if (millis != 0) within(property, millis, 1_000, UNLIMITED.toMillis(), " ms");
    }

    /**
     * Returns where the server is.
     *
     * @return the URL, or null if it was not set; it may contain a password
     */
    public @Nullable String getJdbcUrl() {
        return jdbcUrl;
    }

    /**
     * Sets where the server is. Required. The start of the pool checks it.
     *
     * @param jdbcUrl a {@code jdbc:postgresql:} URL or a libpq URI, as {@link PoolConfig#builder} takes it
     * @throws IllegalStateException if the pool has started
     */
    public void setJdbcUrl(String jdbcUrl) {
        set("jdbcUrl", () -> this.jdbcUrl = jdbcUrl);
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
        set("url", () -> this.jdbcUrl = url);
    }

    /**
     * Returns the user that logs in.
     *
     * @return the user, or null for the URL's user
     */
    public @Nullable String getUsername() {
        return username;
    }

    /**
     * Sets the user that logs in. Default: the URL's user.
     *
     * @param username the user; null for the URL's user
     * @throws IllegalStateException if the pool has started
     */
    public void setUsername(@Nullable String username) {
        set("username", () -> this.username = username);
    }

    /**
     * Returns the user's password.
     *
     * @return the password, or null for the URL's password
     */
    public @Nullable String getPassword() {
        return password;
    }

    /**
     * Sets the user's password. Default: the URL's. No message and no log shows it.
     *
     * @param password the password; null for the URL's password
     * @throws IllegalStateException if the pool has started
     */
    public void setPassword(@Nullable String password) {
        set("password", () -> this.password = password);
    }

    /**
     * Returns how many connections the pool may hold.
     *
     * @return the number of connections
     */
    public int getMaximumPoolSize() {
        return maximumPoolSize;
    }

    /**
     * Sets how many connections the pool may hold. Default: 10.
     *
     * @param maximumPoolSize the number of connections, from 1 to 10,000
     * @throws IllegalStateException if the pool has started
     * @throws IllegalArgumentException if it is out of bounds
     */
    public void setMaximumPoolSize(int maximumPoolSize) {
        within("maximumPoolSize", maximumPoolSize, 1, 10_000, "");
        set("maximumPoolSize", () -> this.maximumPoolSize = maximumPoolSize);
    }

    /**
     * Returns how many connections the pool keeps open even if no caller uses them.
     *
     * @return the number of connections; -1 stands for {@code maximumPoolSize}
     */
    public int getMinimumIdle() {
        return minimumIdle;
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
        within("minimumIdle", minimumIdle, -1, 10_000, "");
        set("minimumIdle", () -> this.minimumIdle = minimumIdle);
    }

    /**
     * Returns how long {@link #getConnection()} waits.
     *
     * @return milliseconds; 0 stands for a year
     */
    public long getConnectionTimeout() {
        return connectionTimeout;
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
        within("connectionTimeout", connectionTimeout, 0, UNLIMITED.toMillis(), " ms");
        set("connectionTimeout", () -> this.connectionTimeout = connectionTimeout);
    }

    /**
     * Returns how long callers wait while the database accepts no connection.
     *
     * @return milliseconds; -1 stands for {@code connectionTimeout}
     */
    public long getOutagePatience() {
        return outagePatience;
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
        within("outagePatience", outagePatience, -1, UNLIMITED.toMillis(), " ms");
        set("outagePatience", () -> this.outagePatience = outagePatience);
    }

    /**
     * Returns how long an interrupted virtual thread waits for the server's answer to its cancelled statement.
     *
     * @return milliseconds
     */
    public long getCancelPatience() {
        return cancelPatience;
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
        within("cancelPatience", cancelPatience, 0, UNLIMITED.toMillis(), " ms");
        set("cancelPatience", () -> this.cancelPatience = cancelPatience);
    }

    /**
     * Returns the age at which the pool replaces a connection.
     *
     * @return milliseconds; 0 stands for a year
     */
    public long getMaxLifetime() {
        return maxLifetime;
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
        zeroOrWithin("maxLifetime", maxLifetime);
        set("maxLifetime", () -> this.maxLifetime = maxLifetime);
    }

    /**
     * Returns the window over which the pool measures its surplus.
     *
     * @return milliseconds; 0 stands for a year
     */
    public long getIdleTimeout() {
        return idleTimeout;
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
        zeroOrWithin("idleTimeout", idleTimeout);
        set("idleTimeout", () -> this.idleTimeout = idleTimeout);
    }

    /**
     * Returns how long a connection may be idle before the pool asks the server whether it is still there.
     *
     * @return milliseconds; with 0 the pool never asks
     */
    public long getKeepaliveTime() {
        return keepaliveTime;
    }

    /**
     * Sets how long a connection may be idle before the pool asks the server, in the background, whether it is still there.
     * Default: 120,000 ms (2 min).
     *
     * @param keepaliveTime milliseconds, 1,000 or more, at most 365 days; with 0 the pool never asks
     * @throws IllegalStateException if the pool has started
     * @throws IllegalArgumentException if it is out of bounds
     */
    public void setKeepaliveTime(long keepaliveTime) {
        zeroOrWithin("keepaliveTime", keepaliveTime);
        set("keepaliveTime", () -> this.keepaliveTime = keepaliveTime);
    }

    /**
     * Returns how long a lease may last before the pool reports it as a suspected leak.
     *
     * @return milliseconds; 0 means that the pool reports none by age
     */
    public long getLeakDetectionThreshold() {
        return leakDetectionThreshold;
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
        zeroOrWithin("leakDetectionThreshold", leakDetectionThreshold);
        set("leakDetectionThreshold", () -> this.leakDetectionThreshold = leakDetectionThreshold);
    }

    /**
     * Returns the pool's name.
     *
     * @return the name, or null if it was not set
     */
    public @Nullable String getPoolName() {
        return poolName;
    }

    /**
     * Sets the pool's name, which stands in messages, thread names and statistics, and which the server sees as the application
     * name. Default: {@code nanopool-1} and so on.
     *
     * @param poolName the name, not blank; null for the default
     * @throws IllegalStateException if the pool has started
     */
    public void setPoolName(@Nullable String poolName) {
        set("poolName", () -> this.poolName = poolName);
    }

    /**
     * Returns the SQL that sets each new connection up.
     *
     * @return the SQL, or null if there is none
     */
    public @Nullable String getConnectionInitSql() {
        return connectionInitSql;
    }

    /**
     * Sets the SQL that sets each new connection up, and that a reset runs again. See {@link PoolConfig.Builder#initSql}.
     * Default: none.
     *
     * @param connectionInitSql one or more statements; null for none
     * @throws IllegalStateException if the pool has started
     */
    public void setConnectionInitSql(@Nullable String connectionInitSql) {
        set("connectionInitSql", () -> this.connectionInitSql = connectionInitSql);
    }

    /**
     * Returns the schema in which the server looks names up.
     *
     * @return the schema, or null for the server's {@code search_path}
     */
    public @Nullable String getSchema() {
        return schema;
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
        set("schema", () -> this.schema = schema);
    }

    /**
     * Returns whether transactions are read-only by default.
     *
     * @return true if they are; false if the server decides
     */
    public boolean isReadOnly() {
        return readOnly;
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
        set("readOnly", () -> this.readOnly = readOnly);
    }

    /**
     * Returns whether clients are in auto-commit mode when they are leased.
     *
     * @return true if they are
     */
    public boolean isAutoCommit() {
        return autoCommit;
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
        set("autoCommit", () -> this.autoCommit = autoCommit);
    }

    /**
     * Returns the isolation level of transactions.
     *
     * @return the name as it was set, or null if the server decides
     */
    public @Nullable String getTransactionIsolation() {
        return transactionIsolation;
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
        if (transactionIsolation != null) isolation(transactionIsolation);
        set("transactionIsolation", () -> this.transactionIsolation = transactionIsolation);
    }

    private static String isolation(String name) {
        String level = name.toUpperCase(Locale.ROOT).replaceFirst("^TRANSACTION_(?=[A-Z])", "");
        String inServer = ISOLATIONS.get(level);
        if (inServer != null) return inServer;
        throw new IllegalArgumentException("transactionIsolation: \"" + name
                + "\" is not an isolation level; use READ_COMMITTED, REPEATABLE_READ, SERIALIZABLE or READ_UNCOMMITTED,"
                + " or the number of java.sql.Connection: 2, 4, 8 or 1");
    }

    /**
     * Returns how connections are encrypted.
     *
     * @return the mode, or null for the URL's {@code sslmode}, else {@link TlsMode#PREFER}
     */
    public @Nullable TlsMode getTlsMode() {
        return tlsMode;
    }

    /**
     * Sets how connections are encrypted. Default: the URL's {@code sslmode}, else {@link TlsMode#PREFER}.
     *
     * @param tlsMode the mode, which an {@code sslmode} in the URL must not contradict; null for the default
     * @throws IllegalStateException if the pool has started
     */
    public void setTlsMode(@Nullable TlsMode tlsMode) {
        set("tlsMode", () -> this.tlsMode = tlsMode);
    }

    /**
     * Returns whether JMX shows the pool.
     *
     * @return whether JMX shows the pool while it is open
     */
    public boolean isRegisterMbeans() {
        return registerMbeans;
    }

    /**
     * Sets whether JMX shows the pool; see {@link PoolConfig.Builder#jmx}. Default: false.
     *
     * @param registerMbeans true: from the start of the pool until its end
     * @throws IllegalStateException if the pool has started
     */
    public void setRegisterMbeans(boolean registerMbeans) {
        set("registerMbeans", () -> this.registerMbeans = registerMbeans);
    }

    /**
     * Returns the properties of the driver.
     *
     * @return a copy; {@link #addDataSourceProperty} adds a property
     */
    public Properties getDataSourceProperties() {
        lock.lock();
        try {
            var copy = new Properties();
            copy.putAll(driverProperties);
            return copy;
        } finally {
            lock.unlock();
        }
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
        set("dataSourceProperties", () -> add(added));
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
        set("dataSourceProperties", () -> add(added));
    }

    private void add(Map<String, String> added) {
        Map<String, String> all = new TreeMap<>();
        driverProperties.stringPropertyNames().forEach(name -> all.put(name, driverProperties.getProperty(name)));
        all.putAll(added);
        DriverProperties.check(Door.BEAN, "dataSourceProperties", all);
        driverProperties.putAll(added);
    }
}
