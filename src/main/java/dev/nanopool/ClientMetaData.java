package dev.nanopool;

import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.ResultSet;
import java.sql.SQLException;
import org.jspecify.annotations.Nullable;

/** The metadata as a client sees it: leads back to the client, and ends with it. */
final class ClientMetaData extends ForwardingDatabaseMetaData {
    private final PhysicalConnection physical;
    private final ClientConnection client;

    ClientMetaData(PhysicalConnection physical, ClientConnection client) {
        this.physical = physical;
        this.client = client;
    }

    @Override
    DatabaseMetaData delegate() throws SQLException {
        return client.delegate().getMetaData();
    }

    @Override
    DatabaseMetaData delegateUnchecked() {
        try {
            return delegate();
        } catch (SQLException e) {
            throw new IllegalStateException(e.getMessage(), e);
        }
    }

    @Override
    void note(Throwable failure) {
        client.note(failure);
    }

    @Override
    @Nullable
    ResultSet wrap(@Nullable ResultSet rows) throws SQLException {
        return ClientStatement.wrapForeign(physical, client, rows);
    }

    @Override
    public Connection getConnection() throws SQLException {
        delegate(); // fails if the client is closed
        return client;
    }

    @Override
    public <T> T unwrap(Class<T> type) throws SQLException {
        return type.isInstance(this) ? type.cast(this) : super.unwrap(type);
    }

    @Override
    public boolean isWrapperFor(Class<?> type) throws SQLException {
        return type.isInstance(this) || super.isWrapperFor(type);
    }
}
