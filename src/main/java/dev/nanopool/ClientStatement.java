package dev.nanopool;

import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import org.postgresql.core.BaseStatement;

/** A client's statement. It leads back to the client, and the end of the lease closes it. */
class ClientStatement extends ForwardingStatement {
    private @Nullable ClientResultSet last;
    private long timeoutNanos; // of the query timeout; 0: none
    private long deadlineNanos;

    ClientStatement(ClientConnection client, Statement statement) throws SQLException {
        this(client, statement, client.queryTimeoutNanos());
        client.opened(statement); // the driver's, because this one would keep a forgotten client reachable
    }

    private ClientStatement(ClientConnection client, Statement statement, long timeoutNanos) {
        super(client, (BaseStatement) statement);
        this.timeoutNanos = timeoutNanos;
    }

    /** A statement that the driver has made for rows which it had in memory. The end of the lease need not close it. */
    static ClientStatement ofRows(ClientConnection client, Statement statement) {
        return new ClientStatement(client, statement, 0);
    }

    @Override
    final PhysicalConnection enter() throws SQLException {
        PhysicalConnection inside = enterAgain();
        client.refuseIfInterrupted();
        return inside;
    }

    @Override
    final PhysicalConnection enterToEnd() throws SQLException {
        PhysicalConnection inside = enterAgain();
        client.used().cannotBeCancelled();
        return inside;
    }

    private PhysicalConnection enterAgain() throws SQLException {
        PhysicalConnection inside = client.tryEnter();
        if (inside == null) throw new SQLException("this statement is closed, with its client", "55000");
        if (timeoutNanos > 0) deadlineNanos = System.nanoTime() + timeoutNanos;
        return inside;
    }

    /** The driver's timer may have cancelled an execution that reached its timeout, even if the answer came. */
    @Override
    final void exit(PhysicalConnection inside) {
        if (timeoutNanos > 0 && System.nanoTime() - deadlineNanos >= 0) client.exitCancelled(inside);
        else client.exit(inside);
    }

    /** The same wrapper for the same result, as the driver answers the same object. */
    @Override
    @SuppressWarnings("ReferenceEquality") // the same object is meant
    final @Nullable ResultSet wrap(@Nullable ResultSet rows) throws SQLException {
        if (rows == null) return null;
        ClientResultSet known = last;
        if (known == null || known.rows != rows) {
            known = new ClientResultSet(this, rows);
            last = known;
        }
        return known;
    }

    /** Cancels what this client executes, and nothing of another lease. */
    @Override
    public void cancel() throws SQLException {
        client.cancel(statement::cancel);
    }

    @Override
    public void setQueryTimeout(int seconds) throws SQLException {
        super.setQueryTimeout(seconds);
        timeoutNanos = TimeUnit.SECONDS.toNanos(seconds);
    }

    @Override
    public boolean isClosed() throws SQLException {
        return client.isEnded() || super.isClosed();
    }

    @Override
    public void close() throws SQLException {
        client.closed(statement);
        super.close();
    }

    /** After a result was closed: with {@code closeOnCompletion} that closes the statement. */
    final void forgetIfClosed() throws SQLException {
        if (super.isClosed()) client.closed(statement);
    }

    /** The driver's text: the SQL with its parameters. */
    @Override
    public String toString() {
        return statement.toString();
    }
}
