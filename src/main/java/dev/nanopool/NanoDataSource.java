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
 * A pool as a bean: for frameworks that make their {@code DataSource} by a no-argument constructor and setters. The
 * properties have HikariCP's names where they mean the same; the defaults are those of {@link PoolConfig}.
 *
 * <p>The pool starts at the first {@link #getConnection()}; from then on the setters throw. A start that fails changes
 * nothing: the next call tries again. Thread-safe. The pool itself is {@code unwrap(Pool.class)}.
 *
 * <p><i>Memory effects:</i> as {@link Pool}; what a setter wrote happens-before the start, by a lock.
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

    // Held during the start, which is I/O: hence no monitor. All fields are written under it, but for closed; the start
    // reads them under it, the getters do not.
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

    /** Makes a data source that knows no server yet: {@link #setJdbcUrl} is the one property that it needs. */
    public NanoDataSource() {
        super(null);
    }

    // The connections

    /**
     * Leases a connection, as {@link Pool#client()}; the first call starts the pool. Close it to give it back.
     *
     * <p>Waits up to {@code connectionTimeout} for a connection. The call that starts the pool blocks as
     * {@link Pool#create(PoolConfig)} does; callers that come meanwhile wait for it, {@code connectionTimeout} at most,
     * and share its failure.
     *
     * @return the client; with {@code autoCommit} false, not in auto-commit mode
     * @throws PoolExhaustedException if none became free in time, or the caller was refused; SQLState 08001
     * @throws SQLTransientConnectionException if another caller's start of the pool takes too long; SQLState 08001
     * @throws SQLNonTransientConnectionException if the data source is closed, also while waiting; SQLState 08003
     * @throws SQLException the driver's, if the pool cannot be started; SQLState 08000 with the interrupt flag set, if the
     *     thread is interrupted while waiting
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
            if (started != null) return started; // somebody else was first
            if (closed) {
                throw new SQLNonTransientConnectionException(name() + ": the data source is closed", "08003");
            }
            SQLException failure = startFailure;
            // Whoever waited for an attempt takes part in its failure: else a thousand callers would try one by one.
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
            Pool started = Pool.create(config);
            pool = started;
            return started;
        } catch (SQLException e) {
            // An interrupt is the one caller's own affair: the next in line tries again.
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
            throw new SQLException(name() + ": interrupted while the pool starts", "08000", e);
        }
        throw new SQLTransientConnectionException(
                name() + ": the pool did not start within " + millis + " ms (connectionTimeout)", "08001");
    }

    /** The properties as a configuration; whoever calls holds the lock. */
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
     * Closes the pool as {@link Pool#close()} does, after a start in progress. Closing it again does nothing; it cannot be
     * started afterwards.
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

    /** Names the pool; no credentials, no URL. */
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

    /** Changes a property, unless it is too late. */
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
     * Where the server is.
     *
     * @return the URL, or null if it was not set; it may contain a password
     */
    public @Nullable String getJdbcUrl() {
        return jdbcUrl;
    }

    /**
     * Where the server is. Required; checked when the pool starts.
     *
     * @param jdbcUrl a {@code jdbc:postgresql:} URL or a libpq URI, as {@link PoolConfig#builder} takes it
     * @throws IllegalStateException if the pool has started
     */
    public void setJdbcUrl(String jdbcUrl) {
        set("jdbcUrl", () -> this.jdbcUrl = jdbcUrl);
    }

    /**
     * The same as {@link #getJdbcUrl}.
     *
     * @return the URL, or null if it was not set; it may contain a password
     */
    public @Nullable String getUrl() {
        return getJdbcUrl();
    }

    /**
     * The same as {@link #setJdbcUrl}.
     *
     * @param url a {@code jdbc:postgresql:} URL or a libpq URI
     * @throws IllegalStateException if the pool has started
     */
    public void setUrl(String url) {
        set("url", () -> this.jdbcUrl = url);
    }

    /**
     * Who logs in.
     *
     * @return the user, or null: the URL's
     */
    public @Nullable String getUsername() {
        return username;
    }

    /**
     * Who logs in. Default: the URL's user.
     *
     * @param username the user; null: the URL's
     * @throws IllegalStateException if the pool has started
     */
    public void setUsername(@Nullable String username) {
        set("username", () -> this.username = username);
    }

    /**
     * The user's password.
     *
     * @return the password, or null: the URL's
     */
    public @Nullable String getPassword() {
        return password;
    }

    /**
     * The user's password. Default: the URL's. Appears in no message and no log.
     *
     * @param password the password; null: the URL's
     * @throws IllegalStateException if the pool has started
     */
    public void setPassword(@Nullable String password) {
        set("password", () -> this.password = password);
    }

    /**
     * How many connections the pool may hold.
     *
     * @return the number
     */
    public int getMaximumPoolSize() {
        return maximumPoolSize;
    }

    /**
     * How many connections the pool may hold. Default: 10.
     *
     * @param maximumPoolSize from 1 to 10,000
     * @throws IllegalStateException if the pool has started
     * @throws IllegalArgumentException if it is out of bounds
     */
    public void setMaximumPoolSize(int maximumPoolSize) {
        within("maximumPoolSize", maximumPoolSize, 1, 10_000, "");
        set("maximumPoolSize", () -> this.maximumPoolSize = maximumPoolSize);
    }

    /**
     * How many connections the pool keeps open though nobody uses them.
     *
     * @return the number; -1: as many as {@code maximumPoolSize}
     */
    public int getMinimumIdle() {
        return minimumIdle;
    }

    /**
     * How many connections the pool keeps open though nobody uses them. Default: -1, as many as {@code maximumPoolSize}.
     *
     * @param minimumIdle from 0 to {@code maximumPoolSize}, or -1
     * @throws IllegalStateException if the pool has started
     * @throws IllegalArgumentException if it is out of bounds; more than {@code maximumPoolSize} is refused at the start
     */
    public void setMinimumIdle(int minimumIdle) {
        within("minimumIdle", minimumIdle, -1, 10_000, "");
        set("minimumIdle", () -> this.minimumIdle = minimumIdle);
    }

    /**
     * How long {@link #getConnection()} waits.
     *
     * @return milliseconds; 0: for ever
     */
    public long getConnectionTimeout() {
        return connectionTimeout;
    }

    /**
     * How long {@link #getConnection()} waits for a connection. Default: 5,000 ms.
     *
     * @param connectionTimeout milliseconds, kept to within 20 ms, at most 365 days; 0, as in HikariCP: practically for
     *     ever, a year
     * @throws IllegalStateException if the pool has started
     * @throws IllegalArgumentException if it is out of bounds
     */
    public void setConnectionTimeout(long connectionTimeout) {
        within("connectionTimeout", connectionTimeout, 0, UNLIMITED.toMillis(), " ms");
        set("connectionTimeout", () -> this.connectionTimeout = connectionTimeout);
    }

    /**
     * How long callers wait while the database lets no connection in.
     *
     * @return milliseconds; -1: as long as {@code connectionTimeout}
     */
    public long getOutagePatience() {
        return outagePatience;
    }

    /**
     * How long callers wait while the database lets no connection in, until the pool refuses them at once; see
     * {@link PoolConfig.Builder#outagePatience}. Default: -1, as long as {@code connectionTimeout}.
     *
     * @param outagePatience milliseconds, at most 365 days; 0: until the first failed attempt; -1: {@code connectionTimeout}
     * @throws IllegalStateException if the pool has started
     * @throws IllegalArgumentException if it is out of bounds
     */
    public void setOutagePatience(long outagePatience) {
        within("outagePatience", outagePatience, -1, UNLIMITED.toMillis(), " ms");
        set("outagePatience", () -> this.outagePatience = outagePatience);
    }

    /**
     * After which age a connection is replaced.
     *
     * @return milliseconds; 0: never
     */
    public long getMaxLifetime() {
        return maxLifetime;
    }

    /**
     * The age that a connection reaches at most, as {@link PoolConfig.Builder#maxLifetime} has it. Default: 1,800,000 ms
     * (30 min).
     *
     * @param maxLifetime milliseconds, 1,000 or more, at most 365 days; 0, as in HikariCP: practically never, a year
     * @throws IllegalStateException if the pool has started
     * @throws IllegalArgumentException if it is out of bounds
     */
    public void setMaxLifetime(long maxLifetime) {
        zeroOrWithin("maxLifetime", maxLifetime);
        set("maxLifetime", () -> this.maxLifetime = maxLifetime);
    }

    /**
     * Over which time connections must have been idle to be closed.
     *
     * @return milliseconds; 0: never
     */
    public long getIdleTimeout() {
        return idleTimeout;
    }

    /**
     * Over which time connections must have been idle to be closed, down to {@code minimumIdle}; see
     * {@link PoolConfig.Builder#idleTimeout}. Default: 600,000 ms (10 min).
     *
     * @param idleTimeout milliseconds, 1,000 or more, at most 365 days; 0, as in HikariCP: practically never, a year
     * @throws IllegalStateException if the pool has started
     * @throws IllegalArgumentException if it is out of bounds
     */
    public void setIdleTimeout(long idleTimeout) {
        zeroOrWithin("idleTimeout", idleTimeout);
        set("idleTimeout", () -> this.idleTimeout = idleTimeout);
    }

    /**
     * How long a connection may be idle until the server is asked whether it is still there.
     *
     * @return milliseconds; 0: never
     */
    public long getKeepaliveTime() {
        return keepaliveTime;
    }

    /**
     * How long a connection may be idle until the server is asked, in the background, whether it is still there. Default:
     * 120,000 ms (2 min).
     *
     * @param keepaliveTime milliseconds, 1,000 or more, at most 365 days; 0: never
     * @throws IllegalStateException if the pool has started
     * @throws IllegalArgumentException if it is out of bounds
     */
    public void setKeepaliveTime(long keepaliveTime) {
        zeroOrWithin("keepaliveTime", keepaliveTime);
        set("keepaliveTime", () -> this.keepaliveTime = keepaliveTime);
    }

    /**
     * How long a lease may last until it is told of as a possible leak.
     *
     * @return milliseconds; 0: off
     */
    public long getLeakDetectionThreshold() {
        return leakDetectionThreshold;
    }

    /**
     * How long a lease may last until it is told of as a possible leak, unless it waits for the server; see
     * {@link PoolConfig.Builder#leakThreshold}. Default: 0, off. A client that nobody can reach any more is found without
     * it.
     *
     * @param leakDetectionThreshold milliseconds, 1,000 or more, at most 365 days; 0: off
     * @throws IllegalStateException if the pool has started
     * @throws IllegalArgumentException if it is out of bounds
     */
    public void setLeakDetectionThreshold(long leakDetectionThreshold) {
        zeroOrWithin("leakDetectionThreshold", leakDetectionThreshold);
        set("leakDetectionThreshold", () -> this.leakDetectionThreshold = leakDetectionThreshold);
    }

    /**
     * The pool's name.
     *
     * @return the name, or null if it was not set
     */
    public @Nullable String getPoolName() {
        return poolName;
    }

    /**
     * The pool's name in messages, thread names, statistics, and the application name that the server sees. Default:
     * {@code nanopool-1} and so on.
     *
     * @param poolName not blank; null: the default
     * @throws IllegalStateException if the pool has started
     */
    public void setPoolName(@Nullable String poolName) {
        set("poolName", () -> this.poolName = poolName);
    }

    /**
     * SQL to run once on each new connection.
     *
     * @return the SQL, or null: none
     */
    public @Nullable String getConnectionInitSql() {
        return connectionInitSql;
    }

    /**
     * SQL that sets each new connection up, and that a reset runs again, as {@link PoolConfig.Builder#initSql} tells.
     * Default: none.
     *
     * @param connectionInitSql one or more statements; null: none
     * @throws IllegalStateException if the pool has started
     */
    public void setConnectionInitSql(@Nullable String connectionInitSql) {
        set("connectionInitSql", () -> this.connectionInitSql = connectionInitSql);
    }

    /**
     * The schema in which names are looked up.
     *
     * @return the schema, or null: the server's {@code search_path}
     */
    public @Nullable String getSchema() {
        return schema;
    }

    /**
     * The schema in which names are looked up: the session's default of {@code search_path}. Default: the server's. It
     * travels in the startup packet and costs no round trip, as do {@code readOnly} and {@code transactionIsolation}.
     *
     * @param schema one name as it is, neither quoted nor folded to lower case; null: the server's default
     * @throws IllegalStateException if the pool has started
     */
    public void setSchema(@Nullable String schema) {
        set("schema", () -> this.schema = schema);
    }

    /**
     * Whether transactions are read-only by default.
     *
     * @return true: they are; false: as the server has it
     */
    public boolean isReadOnly() {
        return readOnly;
    }

    /**
     * Whether transactions are read-only by default: the session's default of {@code default_transaction_read_only}.
     * Default: false. It keeps a program from writing by mistake, not from writing on purpose: a client can say
     * {@code SET TRANSACTION READ WRITE}. Since it is the server's setting, {@code Connection.isReadOnly()} does not show
     * it.
     *
     * @param readOnly true: read-only; false: as the server has it
     * @throws IllegalStateException if the pool has started
     */
    public void setReadOnly(boolean readOnly) {
        set("readOnly", () -> this.readOnly = readOnly);
    }

    /**
     * Whether clients are in auto-commit mode when they are leased.
     *
     * @return true: they are
     */
    public boolean isAutoCommit() {
        return autoCommit;
    }

    /**
     * Whether clients are in auto-commit mode when they are leased. Default: true. With false, what a client has not
     * committed when it is closed is rolled back, and {@link PoolStats#leftOpen} counts it without a warning, because a
     * client that has only read need not commit. {@code unwrap(Pool.class).client()} is always in auto-commit mode.
     *
     * @param autoCommit true: each statement is a transaction; false: the client calls {@code commit}
     * @throws IllegalStateException if the pool has started
     */
    public void setAutoCommit(boolean autoCommit) {
        set("autoCommit", () -> this.autoCommit = autoCommit);
    }

    /**
     * The isolation level of transactions.
     *
     * @return the name as it was set, or null: as the server has it
     */
    public @Nullable String getTransactionIsolation() {
        return transactionIsolation;
    }

    /**
     * The isolation level of transactions: the session's default of {@code default_transaction_isolation}. Default: the
     * server's, which is read committed unless somebody changed it.
     *
     * @param transactionIsolation {@code READ_COMMITTED}, {@code REPEATABLE_READ}, {@code SERIALIZABLE} or
     *     {@code READ_UNCOMMITTED}, with or without {@code TRANSACTION_} before it; or
     *     {@link Connection}'s number of it as text: {@code 2}, {@code 4}, {@code 8} or {@code 1}; null: as the server has it
     * @throws IllegalStateException if the pool has started
     * @throws IllegalArgumentException if it is none of these
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
     * How connections are encrypted.
     *
     * @return the mode, or null: the URL's {@code sslmode}, else {@link TlsMode#PREFER}
     */
    public @Nullable TlsMode getTlsMode() {
        return tlsMode;
    }

    /**
     * How connections are encrypted. Default: the URL's {@code sslmode}, else {@link TlsMode#PREFER}.
     *
     * @param tlsMode the mode, which an {@code sslmode} in the URL must not contradict; null: the default
     * @throws IllegalStateException if the pool has started
     */
    public void setTlsMode(@Nullable TlsMode tlsMode) {
        set("tlsMode", () -> this.tlsMode = tlsMode);
    }

    /**
     * Whether JMX shows the pool.
     *
     * @return true: it does, from the start of the pool on
     */
    public boolean isRegisterMbeans() {
        return registerMbeans;
    }

    /**
     * Whether JMX shows the pool; see {@link PoolConfig.Builder#jmx}. Default: false.
     *
     * @param registerMbeans true: from the start of the pool until its end
     * @throws IllegalStateException if the pool has started
     */
    public void setRegisterMbeans(boolean registerMbeans) {
        set("registerMbeans", () -> this.registerMbeans = registerMbeans);
    }

    /**
     * Properties of the driver.
     *
     * @return a copy: to add one, use {@link #addDataSourceProperty}
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
     * @param properties by pgJDBC's names, as {@link #addDataSourceProperty} takes them; what is not a string is taken by
     *     its {@code toString()}
     * @throws IllegalStateException if the pool has started
     * @throws IllegalArgumentException if one of them is refused, as {@link #addDataSourceProperty} says; then none is added
     */
    public void setDataSourceProperties(Properties properties) {
        Map<String, String> added = new TreeMap<>();
        properties.stringPropertyNames().forEach(name -> added.put(name, properties.getProperty(name)));
        properties.forEach((name, value) -> added.put(name.toString(), value.toString()));
        set("dataSourceProperties", () -> add(added));
    }

    /**
     * Adds a property of the driver; wins over the URL. Takes every property that the driver has or once had, except those
     * that the pool sets itself, such as {@code user}, and those that contradict the pool, such as {@code replication}; with
     * the driver's default as their value it accepts and ignores them. {@code datatype.*} passes. A name that the driver
     * lacks passes if {@code socketFactory}, {@code sslfactory} or {@code authenticationPluginClassName} was added before it
     * and names a class from outside of the driver, because that class may read it.
     *
     * <p>The well-known tuning properties of other databases' drivers, such as {@code cachePrepStmts}, are accepted and have
     * no effect; the start of the pool logs one warning that names pgJDBC's own. Those whose loss would weaken the
     * connection's protection, such as {@code useSSL=true}, are refused.
     *
     * @param name pgJDBC's name, such as {@code prepareThreshold}
     * @param value its value, taken by {@code toString()}
     * @throws IllegalStateException if the pool has started
     * @throws IllegalArgumentException if the driver does not know it, the pool sets it itself, or it contradicts the pool;
     *     the message names the nearest property of the driver
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
