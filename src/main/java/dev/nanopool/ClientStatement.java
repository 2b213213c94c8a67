package dev.nanopool;

import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import org.postgresql.core.BaseStatement;

/** A client's statement. It leads back to the client, and the end of the lease closes it. */
class ClientStatement extends ForwardingStatement {
    private static final @Nullable Class<? extends ClientStatement> COMPLETED =
            NewMethods.completed(ClientStatement.class);

    private @Nullable ClientResultSet last;
    private long timeoutNanos; // the query timeout; 0 if there is none
    private long deadlineNanos;

    ClientStatement(ClientConnection client, Statement statement) throws SQLException {
        this(client, statement, client.queryTimeoutNanos());
        client.opened(statement); // the driver's, because this one would keep a forgotten client reachable
    }

    ClientStatement(ClientConnection client, Statement statement, long timeoutNanos) {
        super(client, (BaseStatement) statement);
        this.timeoutNanos = timeoutNanos;
    }

    /** Makes a statement, of a subclass if the driver has methods that this class lacks. */
    static ClientStatement of(ClientConnection client, Statement statement) throws SQLException {
        return COMPLETED == null
                ? new ClientStatement(client, statement)
                : NewMethods.make(COMPLETED, client, statement);
    }

    /** Wraps a statement that the driver has made for rows in memory. The end of the lease need not close it. */
    static ClientStatement ofRows(ClientConnection client, Statement statement) throws SQLException {
        return COMPLETED == null
                ? new ClientStatement(client, statement, 0)
                : NewMethods.make(COMPLETED, client, statement, 0L);
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
        if (inside == null)
            throw new SQLException("this statement is closed, with its client", Failures.OBJECT_NOT_IN_STATE);
        if (timeoutNanos > 0) deadlineNanos = System.nanoTime() + timeoutNanos;
        return inside;
    }

    /** Records a cancel if the execution reached its timeout, because the driver's timer may have sent one. */
    @Override
    final void exit(PhysicalConnection inside) {
        if (timeoutNanos > 0 && System.nanoTime() - deadlineNanos >= 0) client.exitCancelled(inside);
        else client.exit(inside);
    }

    /** Returns the same wrapper for the same result, because the driver returns the same object. */
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

    /** Cancels what this client executes, but never a statement of another lease. */
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
    public void setPrepareThreshold(int threshold) throws SQLException {
        if (threshold != 0) client.preparing();
        super.setPrepareThreshold(threshold);
    }

    @Override
    @SuppressWarnings("deprecation")
    public void setUseServerPrepare(boolean flag) throws SQLException {
        if (flag) client.preparing();
        super.setUseServerPrepare(flag);
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

    /** Forgets the statement if the driver has closed it, as {@code closeOnCompletion} does after a result was closed. */
    final void forgetIfClosed() throws SQLException {
        if (super.isClosed()) client.closed(statement);
    }

    /** Returns the driver's text, which is the SQL with its parameters. */
    @Override
    public String toString() {
        return statement.toString();
    }
}
