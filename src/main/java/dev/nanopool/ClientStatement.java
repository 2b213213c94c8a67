package dev.nanopool;

import java.sql.Array;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import org.postgresql.core.BaseStatement;

/** A client's statement: leads back to the client, and is closed with it. Everything else is the driver's. */
class ClientStatement extends ForwardingStatement {
    private final PhysicalConnection physical;
    private final ClientConnection client;
    private @Nullable ClientResultSet last;
    private long timeoutNanos; // of the query timeout; 0: none
    private long deadlineNanos;

    ClientStatement(PhysicalConnection physical, ClientConnection client, Statement statement) throws SQLException {
        super((BaseStatement) statement);
        this.physical = physical;
        this.client = client;
        this.timeoutNanos = physical.session.queryTimeoutNanos();
        physical.statements.add(statement); // not this one, which would keep a forgotten client reachable
    }

    @Override
    final PhysicalConnection enter() throws SQLException {
        if (!physical.enter(client)) throw new SQLException("this statement is closed, with its client", "55000");
        if (timeoutNanos > 0) deadlineNanos = System.nanoTime() + timeoutNanos;
        return physical;
    }

    @Override
    final String sql(String text) throws SQLException {
        return client.sql(text);
    }

    @Override
    final void note(Throwable failure) {
        physical.note(failure);
    }

    /** The same wrapper for the same result, as the driver answers the same object. */
    @Override
    @SuppressWarnings("ReferenceEquality") // the same object is meant
    final @Nullable ResultSet wrap(@Nullable ResultSet rows) {
        if (rows == null) return null;
        ClientResultSet known = last;
        if (known == null || known.rows != rows) {
            known = new ClientResultSet(this, rows);
            last = known;
        }
        return known;
    }

    final @Nullable Array wrap(@Nullable Array array) {
        return array == null ? null : new ClientArray(physical, client, array);
    }

    /** A column's or parameter's value. A cursor comes as a result with a statement of its own. */
    final @Nullable Object wrap(@Nullable Object value) throws SQLException {
        if (value instanceof Array array) return wrap(array);
        return value instanceof ResultSet rows ? wrapForeign(physical, client, rows) : value;
    }

    /** A result whose statement the client has not made itself. */
    static @Nullable ResultSet wrapForeign(
            PhysicalConnection physical, ClientConnection client, @Nullable ResultSet rows) throws SQLException {
        return rows == null ? null : new ClientStatement(physical, client, rows.getStatement()).wrap(rows);
    }

    /** Cancels what this client executes, and nothing of the next one's. */
    @Override
    public void cancel() throws SQLException {
        physical.cancel(client, super::cancel);
    }

    @Override
    public void setQueryTimeout(int seconds) throws SQLException {
        super.setQueryTimeout(seconds);
        timeoutNanos = TimeUnit.SECONDS.toNanos(seconds);
    }

    /** An execution that reached its timeout may have been cancelled by the driver, even if its answer came. */
    @Override
    final void exit(PhysicalConnection speaking) {
        if (timeoutNanos > 0 && System.nanoTime() - deadlineNanos >= 0) speaking.cancelled = true;
        speaking.exit();
    }

    @Override
    public Connection getConnection() throws SQLException {
        super.getConnection(); // fails if the statement is closed
        return client;
    }

    @Override
    public void close() throws SQLException {
        physical.statements.remove(statement);
        super.close();
    }

    /** After a result was closed: with {@code closeOnCompletion} that closes the statement. */
    void forgetIfClosed() throws SQLException {
        if (isClosed()) physical.statements.remove(statement);
    }

    @Override
    public <T> T unwrap(Class<T> type) throws SQLException {
        return type.isInstance(this) ? type.cast(this) : super.unwrap(type);
    }

    @Override
    public boolean isWrapperFor(Class<?> type) throws SQLException {
        return type.isInstance(this) || super.isWrapperFor(type);
    }

    /** The driver's text: the SQL with its parameters. */
    @Override
    public String toString() {
        return statement.toString();
    }
}
