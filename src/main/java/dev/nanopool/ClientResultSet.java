package dev.nanopool;

import java.sql.Array;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import org.jspecify.annotations.Nullable;

/** A client's result set: leads back to the client's statement. */
final class ClientResultSet extends ForwardingResultSet {
    private final ClientStatement statement;

    ClientResultSet(ClientStatement statement, ResultSet rows) {
        super(rows);
        this.statement = statement;
    }

    @Override
    void note(Throwable failure) {
        statement.note(failure);
    }

    @Override
    @Nullable
    Array wrap(@Nullable Array array) {
        return statement.wrap(array);
    }

    @Override
    @Nullable
    Object wrap(@Nullable Object value) throws SQLException {
        return statement.wrap(value);
    }

    @Override
    public Statement getStatement() throws SQLException {
        super.getStatement(); // fails if the result is closed
        return statement;
    }

    @Override
    public void close() throws SQLException {
        super.close();
        statement.forgetIfClosed();
    }

    @Override
    public <T> T unwrap(Class<T> type) throws SQLException {
        return type.isInstance(this) ? type.cast(this) : super.unwrap(type);
    }

    @Override
    public boolean isWrapperFor(Class<?> type) throws SQLException {
        return type.isInstance(this) || super.isWrapperFor(type);
    }

    @Override
    public String toString() {
        return rows.toString();
    }
}
