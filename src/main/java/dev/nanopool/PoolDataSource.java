package dev.nanopool;

import java.io.PrintWriter;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.SQLFeatureNotSupportedException;
import java.util.logging.Logger;
import javax.sql.DataSource;
import org.jspecify.annotations.Nullable;

/** A pool seen as a {@code DataSource}. */
class PoolDataSource implements DataSource {
    private final @Nullable Pool pool;

    PoolDataSource(@Nullable Pool pool) {
        this.pool = pool;
    }

    /** Returns the pool behind this view, and opens it if it is not open. */
    Pool pool() throws SQLException {
        if (pool == null) throw new IllegalStateException("bug: no pool");
        return pool;
    }

    @Override
    public Connection getConnection() throws SQLException {
        return pool().client();
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
}
