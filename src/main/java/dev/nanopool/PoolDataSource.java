package dev.nanopool;

import java.io.PrintWriter;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.SQLFeatureNotSupportedException;
import java.util.List;
import java.util.function.ToLongFunction;
import java.util.logging.Logger;
import javax.sql.DataSource;
import org.jspecify.annotations.Nullable;

/** A pool seen as a {@code DataSource}, and as an MBean. */
class PoolDataSource implements DataSource, PoolMXBean {
    private final @Nullable Pool pool;
    private final boolean autoCommit;

    PoolDataSource(@Nullable Pool pool, boolean autoCommit) {
        this.pool = pool;
        this.autoCommit = autoCommit;
    }

    /** Whether clients are in auto-commit mode when they are leased. */
    boolean isAutoCommit() {
        return autoCommit;
    }

    /** Returns the pool behind this view, and opens it if it is not open. */
    Pool pool() throws SQLException {
        if (pool == null) throw new IllegalStateException("bug: no pool");
        return pool;
    }

    /** The pool behind, if it is open. */
    @Nullable
    Pool running() {
        return pool;
    }

    @Override
    public Connection getConnection() throws SQLException {
        Connection client = pool().client();
        if (isAutoCommit()) return client;
        boolean handedOver = false;
        try {
            ((ClientConnection) client).beginWithoutAutoCommit();
            handedOver = true;
            return client;
        } finally {
            if (!handedOver) client.close();
        }
    }

    /** Not supported, because a pool has one user. */
    @Override
    public Connection getConnection(String user, String password) throws SQLException {
        throw new SQLFeatureNotSupportedException(
                "getConnection(user, password): a pool has one user; make a pool for each, or use PoolConfig.credentials",
                Failures.FEATURE_NOT_SUPPORTED);
    }

    @Override
    public @Nullable PrintWriter getLogWriter() {
        return null;
    }

    /** Does nothing, because the pool logs through {@code System.Logger}. */
    @Override
    public void setLogWriter(@Nullable PrintWriter out) {}

    @Override
    public int getLoginTimeout() {
        return 0;
    }

    /** Not supported. See {@code acquireTimeout} and {@code connectTimeout}. */
    @Override
    public void setLoginTimeout(int seconds) throws SQLException {
        throw new SQLFeatureNotSupportedException(
                "setLoginTimeout: use acquireTimeout and connectTimeout", Failures.FEATURE_NOT_SUPPORTED);
    }

    @Override
    public Logger getParentLogger() throws SQLFeatureNotSupportedException {
        throw new SQLFeatureNotSupportedException(
                "getParentLogger: the pool logs through System.Logger", Failures.FEATURE_NOT_SUPPORTED);
    }

    @Override
    public <T> T unwrap(Class<T> type) throws SQLException {
        if (type.isInstance(this)) return type.cast(this);
        if (type == Pool.class) return type.cast(pool());
        throw new SQLException(
                "unwrap: not a " + type.getName() + "; this is a " + getClass().getName() + " over a Pool",
                Failures.FEATURE_NOT_SUPPORTED);
    }

    @Override
    public boolean isWrapperFor(Class<?> type) {
        return type.isInstance(this) || type == Pool.class;
    }

    // The MBean

    private long number(ToLongFunction<PoolStats> number) {
        Pool running = running();
        return running == null ? 0 : number.applyAsLong(running.stats());
    }

    private Pool started() {
        Pool running = running();
        if (running == null) throw new IllegalStateException("the pool has not started");
        return running;
    }

    @Override
    public int getTotalConnections() {
        return (int) number(stats -> stats.opened() - stats.closed());
    }

    @Override
    public int getActiveConnections() {
        return (int) number(PoolStats::active);
    }

    @Override
    public int getIdleConnections() {
        return (int) number(PoolStats::idle);
    }

    @Override
    public int getThreadsAwaitingConnection() {
        return (int) number(PoolStats::pending);
    }

    @Override
    public int getOpeningConnections() {
        return (int) number(PoolStats::opening);
    }

    @Override
    public int getSize() {
        return (int) number(PoolStats::size);
    }

    @Override
    public int getMinIdle() {
        return (int) number(PoolStats::minIdle);
    }

    @Override
    public long getLeasesGranted() {
        return number(PoolStats::leasesGranted);
    }

    @Override
    public long getTimeouts() {
        return number(PoolStats::timeouts);
    }

    @Override
    public long getRejected() {
        return number(PoolStats::rejected);
    }

    @Override
    public long getOpened() {
        return number(PoolStats::opened);
    }

    @Override
    public long getClosed() {
        return number(PoolStats::closed);
    }

    @Override
    public long getLost() {
        return number(PoolStats::lost);
    }

    @Override
    public long getLeaked() {
        return number(PoolStats::leaked);
    }

    @Override
    public List<String> getServers() {
        Pool running = running();
        return running == null ? List.of() : running.servers();
    }

    @Override
    public String getDatabase() {
        Pool running = running();
        return running == null ? "" : running.database();
    }

    @Override
    public String getHealth() {
        Pool running = running();
        if (running == null) return "not started";
        PoolHealth health = running.health();
        return health.status() + (health.reason().isEmpty() ? "" : ": " + health.reason());
    }

    @Override
    public List<String> holders() {
        Pool running = running();
        return running == null ? List.of() : running.holders();
    }

    @Override
    public void refresh() {
        started().refresh();
    }

    @Override
    public void suspend() {
        started().suspend();
    }

    @Override
    public void resume() {
        started().resume();
    }

    @Override
    public void resize(int size) {
        started().resize(size);
    }
}
