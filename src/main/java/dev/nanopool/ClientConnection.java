package dev.nanopool;

import dev.nanopool.Fate.Fact;
import dev.nanopool.driver.PeekableSocket;
import dev.nanopool.sql.Change;
import dev.nanopool.sql.SqlText;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.Reader;
import java.io.Writer;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.lang.ref.Reference;
import java.sql.Array;
import java.sql.Blob;
import java.sql.CallableStatement;
import java.sql.ClientInfoStatus;
import java.sql.Clob;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.NClob;
import java.sql.ParameterMetaData;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLClientInfoException;
import java.sql.SQLException;
import java.sql.SQLFeatureNotSupportedException;
import java.sql.SQLTransactionRollbackException;
import java.sql.SQLXML;
import java.sql.Statement;
import java.util.HashMap;
import java.util.Map;
import java.util.Objects;
import java.util.Properties;
import java.util.concurrent.Executor;
import org.jspecify.annotations.Nullable;
import org.postgresql.copy.CopyManager;
import org.postgresql.core.BaseConnection;
import org.postgresql.fastpath.Fastpath;
import org.postgresql.jdbc.AutoSave;
import org.postgresql.jdbc.PgResultSetMetaData;
import org.postgresql.largeobject.LargeObjectManager;
import org.postgresql.replication.PGReplicationConnection;
import org.postgresql.util.PGobject;

/**
 * A lease as a {@code Connection}, which {@code client()} returns. The first call of {@code close} ends the lease. Afterwards
 * every method throws SQLState 08003, and no call reaches the session, which may belong to another lease.
 * Every object that the lease hands out enters the lease before it uses the driver, by {@link #enter}.
 */
class ClientConnection extends ForwardingConnection implements Client {
    private static final VarHandle USAGE;

    static {
        try {
            USAGE = MethodHandles.lookup().findVarHandle(ClientConnection.class, "usage", Usage.class);
        } catch (ReflectiveOperationException e) {
            throw new ExceptionInInitializerError(e);
        }
    }

    // Null, unless the driver is newer than the pool.
    private static final @Nullable Class<? extends ClientConnection> COMPLETED =
            NewMethods.completed(ClientConnection.class);
    private static final @Nullable Class<? extends ClientPreparedStatement> COMPLETED_PREPARED =
            NewMethods.completed(ClientPreparedStatement.class);
    private static final @Nullable Class<? extends Unprepared> COMPLETED_UNPREPARED =
            NewMethods.completed(Unprepared.class);
    private static final @Nullable Class<? extends ClientCallableStatement> COMPLETED_CALLABLE =
            NewMethods.completed(ClientCallableStatement.class);
    private static final @Nullable Class<? extends ClientResultSetMetaData> COMPLETED_META_DATA =
            NewMethods.completed(ClientResultSetMetaData.class);

    // A lease that executes nothing is one object of 32 bytes, because it has only these four fields.
    private final PhysicalConnection connection; // belongs to this lease as long as isEnded() is false
    private final Thread owner = Thread.currentThread();
    private final long startNanos;
    private volatile @Nullable Usage usage;

    ClientConnection(PhysicalConnection connection, long startNanos) {
        this.connection = connection;
        this.startNanos = startNanos;
    }

    /** Makes a client, of a subclass if the driver has methods that this class lacks. */
    static ClientConnection of(PhysicalConnection connection, long startNanos) throws SQLException {
        return COMPLETED == null
                ? new ClientConnection(connection, startNanos)
                : NewMethods.make(COMPLETED, connection, startNanos);
    }

    @Override
    public Thread owner() {
        return owner;
    }

    @Override
    public long startNanos() {
        return startNanos;
    }

    @Override
    public ClientConnection client() {
        return this;
    }

    @Override
    public @Nullable Usage usage() {
        return usage;
    }

    @Override
    public Usage used() {
        Usage known = usage;
        if (known != null) return known;
        var made = new Usage(connection.lender().trace());
        Usage before = (Usage) USAGE.compareAndExchange(this, null, made);
        return before == null ? made : before;
    }

    /** Whether the lease has ended. */
    boolean isEnded() {
        return !connection.isLeasedBy(this);
    }

    /** Returns the connection while the lease lasts. Throws SQLState 08003 afterwards. */
    PhysicalConnection connection() throws SQLException {
        if (isEnded()) throw closedException();
        return connection;
    }

    private Session session() throws SQLException {
        return connection().session();
    }

    private SQLException closedException() {
        return new SQLException(
                connection.lender().name() + ": this client is closed", Failures.CONNECTION_DOES_NOT_EXIST);
    }

    /** Marks the connection, so that the pool replaces it when the lease ends. */
    void retire() throws SQLException {
        connection().retire();
    }

    // The door, through which each object comes that the lease hands out

    /** Counts the thread as inside. Null if the lease has ended. */
    @Nullable
    PhysicalConnection tryEnter() {
        if (isEnded()) return null;
        Usage used = used();
        used.enter(owner == Thread.currentThread()); // THEN check; the thread that ends the lease looks here afterwards
        if (!isEnded()) return connection;
        used.exit();
        return null;
    }

    /**
     * Counts the thread as inside until {@link #exit}. Throws SQLState 08003 if the lease has ended, and 57014 if the thread is
     * interrupted.
     */
    @Override
    PhysicalConnection enter() throws SQLException {
        PhysicalConnection inside = enterAgain();
        refuseIfInterrupted();
        return inside;
    }

    /** As {@link #enter}, for a call that goes on with what an earlier call began, so that an interrupt cancels all of it. */
    PhysicalConnection enterAgain() throws SQLException {
        PhysicalConnection inside = tryEnter();
        if (inside == null) throw closedException();
        return inside;
    }

    @Override
    PhysicalConnection enterToEnd() throws SQLException {
        PhysicalConnection inside = enterAgain();
        used().cannotBeCancelled();
        return inside;
    }

    /** As {@link #enterAgain}, for methods that declare no SQLException. */
    @Override
    PhysicalConnection enterUnchecked() {
        try {
            return enterAgain();
        } catch (SQLException e) {
            throw new IllegalStateException(e.getMessage(), e);
        }
    }

    /** As {@link #enter}, for the methods of a stream. */
    PhysicalConnection enterForIo() throws IOException {
        try {
            return enter();
        } catch (SQLException e) {
            throw new IOException(e.getMessage(), e);
        }
    }

    /** As {@link #enterToEnd}, for the methods of a stream. */
    PhysicalConnection enterToEndForIo() throws IOException {
        try {
            return enterToEnd();
        } catch (SQLException e) {
            throw new IOException(e.getMessage(), e);
        }
    }

    /** Leaves the lease if an interrupt would cancel what the thread is about to send; SQLState 57014. */
    void refuseIfInterrupted() throws SQLException {
        if (!PeekableSocket.isInterruptDecided() || !Thread.currentThread().isInterrupted()) return;
        used().exit();
        throw new SQLException(
                connection.lender().name() + ": the thread is interrupted, so nothing was sent to the server",
                Failures.QUERY_CANCELED);
    }

    @Override
    void exit(PhysicalConnection inside) {
        used().exit();
    }

    /** As {@link #exit}, after a statement that the driver's timer may have cancelled. */
    void exitCancelled(PhysicalConnection inside) {
        var unused = used().cancelled();
        exit(inside);
    }

    /** Sends a cancel for what this lease executes, unless the lease has ended. Blocks until it is sent. */
    void cancel(SqlAction cancel) throws SQLException {
        used().cancel(this::isEnded, cancel);
    }

    /**
     * Records a failure of the connection. An ended lease records nothing, because another lease may have the connection.
     *
     * @param speaking whether a RuntimeException may have left half a message in the driver's buffer
     */
    @Override
    void recordFailure(Throwable failure, boolean speaking) {
        if (isEnded()) return;
        // The driver's streams put the server's answer into an IOException.
        Throwable thrown = failure instanceof IOException && failure.getCause() != null ? failure.getCause() : failure;
        if (connection.session().recordFailure(thrown, speaking) == Failures.Kind.CANCELLED) {
            var unused = used().cancelled(); // the same cancel may hit once more
        }
    }

    @Override
    String sql(String text) throws SQLException {
        if (text != null) {
            Session session = session();
            boolean standardStrings = session.connection().getStandardConformingStrings();
            int changes = connection.lender().changes(text, standardStrings);
            if ((changes & SqlText.ENDS_TRANSACTION) != 0) used().cannotBeCancelled();
            session.state().sent(text, changes & ~SqlText.ENDS_TRANSACTION);
        }
        return text;
    }

    /** Records a change that the next lease must not see. */
    PhysicalConnection changing(Change change) throws SQLException {
        session().state().changed(change);
        return connection;
    }

    /** Records a change that no reset undoes, so that the pool replaces the connection after this lease. */
    void irreversible() {
        if (!isEnded()) connection.session().state().irreversible();
    }

    /** Keeps this client reachable until the lease ends, because an object of the driver may be used without it. */
    private void keep() throws SQLException {
        connection();
        used().keep(this);
    }

    /** Hands out an object of the driver, with which the caller can change anything. */
    <T> T unwrapped(T driver) throws SQLException {
        changing(Change.UNWRAPPED);
        keep();
        return driver;
    }

    /** Records that the lease has begun a COPY. */
    void copying(CopyProgress progress) throws SQLException {
        used().begin(progress);
    }

    /** Records a statement, which the end of the lease closes if it is still open. */
    void opened(Statement statement) throws SQLException {
        used().statements().add(statement);
    }

    void closed(Statement statement) {
        Usage used = usage;
        if (used != null) used.statements().remove(statement);
    }

    /** The query timeout of a new statement. 0 if there is none. */
    long queryTimeoutNanos() throws SQLException {
        return session().state().queryTimeoutNanos();
    }

    @Override
    BaseConnection delegate() throws SQLException {
        return session().connection();
    }

    @Override
    BaseConnection delegateUnchecked() {
        try {
            return delegate();
        } catch (SQLException e) {
            throw new IllegalStateException(e.getMessage(), e);
        }
    }

    // The client's objects around the driver's objects

    @SuppressWarnings("UnusedVariable") // the client takes its place
    Connection wrap(@Nullable Connection connection) {
        return this;
    }

    @Override
    Statement wrap(Statement statement) throws SQLException {
        return ClientStatement.of(this, statement);
    }

    /** A statement that must not be prepared by a name. */
    static class Unprepared extends ClientPreparedStatement {
        Unprepared(ClientConnection client, PreparedStatement statement) throws SQLException {
            super(client, statement);
        }

        // The driver would prepare by a name what was not executed yet.
        @Override
        public @Nullable ResultSetMetaData getMetaData() throws SQLException {
            ResultSet rows = getResultSet();
            if (rows != null && !rows.isClosed()) return super.getMetaData();
            throw new SQLFeatureNotSupportedException(
                    "getMetaData: before the execution it needs a prepared statement, which a transaction pooler may "
                            + "not have; ask the ResultSet, or set prepareThreshold if the pooler tracks statements",
                    Failures.FEATURE_NOT_SUPPORTED);
        }
    }

    @Override
    PreparedStatement wrap(PreparedStatement statement) throws SQLException {
        if (session().state().isUnprepared()) {
            return COMPLETED_UNPREPARED == null
                    ? new Unprepared(this, statement)
                    : NewMethods.make(COMPLETED_UNPREPARED, this, statement);
        }
        return COMPLETED_PREPARED == null
                ? new ClientPreparedStatement(this, statement)
                : NewMethods.make(COMPLETED_PREPARED, this, statement);
    }

    @Override
    CallableStatement wrap(CallableStatement statement) throws SQLException {
        return COMPLETED_CALLABLE == null
                ? new ClientCallableStatement(this, statement)
                : NewMethods.make(COMPLETED_CALLABLE, this, statement);
    }

    /** Wraps rows of a statement that the client itself has not made. */
    @Nullable
    ResultSet wrap(@Nullable ResultSet rows) throws SQLException {
        return rows == null
                ? null
                : ClientStatement.of(this, rows.getStatement()).wrap(rows);
    }

    @Override
    DatabaseMetaData wrap(DatabaseMetaData metaData) {
        return new ClientDatabaseMetaData(this, metaData);
    }

    @Nullable
    ResultSetMetaData wrap(@Nullable ResultSetMetaData metaData) throws SQLException {
        if (metaData == null) return null;
        var own = (PgResultSetMetaData) metaData;
        return COMPLETED_META_DATA == null
                ? new ClientResultSetMetaData(this, own)
                : NewMethods.make(COMPLETED_META_DATA, this, own);
    }

    @Nullable
    ParameterMetaData wrap(@Nullable ParameterMetaData metaData) {
        return metaData == null ? null : new ClientParameterMetaData(this, metaData);
    }

    @Override
    @Nullable
    Array wrap(@Nullable Array array) {
        return array == null ? null : new ClientArray(this, array);
    }

    @Override
    @Nullable
    Blob wrap(@Nullable Blob blob) {
        return blob == null ? null : new ClientBlob(this, blob);
    }

    @Override
    @Nullable
    NClob wrap(@Nullable NClob clob) {
        return clob == null ? null : new ClientClob(this, clob);
    }

    @Override
    @Nullable
    Clob wrap(@Nullable Clob clob) {
        return clob == null ? null : new ClientClob(this, clob);
    }

    @Override
    @Nullable
    SQLXML wrap(@Nullable SQLXML xml) {
        return xml == null ? null : new ClientSqlXml(this, xml);
    }

    @Nullable
    InputStream wrap(@Nullable InputStream stream) {
        return stream == null ? null : new ClientInputStream(this, stream);
    }

    @Nullable
    OutputStream wrap(@Nullable OutputStream stream) {
        return stream == null ? null : new ClientOutputStream(this, stream);
    }

    @Nullable
    Reader wrap(@Nullable Reader reader) {
        return reader == null ? null : new ClientReader(this, reader);
    }

    @Nullable
    Writer wrap(@Nullable Writer writer) {
        return writer == null ? null : new ClientWriter(this, writer);
    }

    @Override
    CopyManager wrap(CopyManager copy) throws SQLException {
        return new ClientCopyManager(this);
    }

    @Override
    LargeObjectManager wrap(LargeObjectManager manager) throws SQLException {
        return new ClientLargeObjectManager(this);
    }

    /** Wraps the fast path, which calls any function of the server by its number, so it can change anything there. */
    @Override
    @SuppressWarnings("deprecation")
    Fastpath wrap(Fastpath fastpath) throws SQLException {
        changing(Change.UNKNOWN);
        return new ClientFastpath(this, fastpath);
    }

    /** Wraps the value of a column or a parameter. A refcursor comes as rows with a statement of their own. */
    @Nullable
    Object wrap(@Nullable Object value) throws SQLException {
        if (value instanceof Array array) return wrap(array);
        if (value instanceof ResultSet rows) return wrap(rows);
        if (value instanceof Blob blob) return wrap(blob);
        if (value instanceof Clob clob) return wrap(clob);
        return value instanceof SQLXML xml ? wrap(xml) : value;
    }

    /** Wraps the value as the type that the caller wants. A class of the driver gets no wrapper, as with {@code unwrap}. */
    @SuppressWarnings("ReferenceEquality") // the same object is meant
    <T> @Nullable T wrap(@Nullable T value, Class<T> type) throws SQLException {
        Object wrapper = wrap((Object) value);
        if (wrapper == value) return value;
        return type.isInstance(wrapper) ? type.cast(wrapper) : unwrapped(Objects.requireNonNull(value));
    }

    /** Returns the driver's object of a wrapper of this lease. A wrapper of another lease stays, so that its calls fail. */
    @Override
    @SuppressWarnings({"unchecked", "ReferenceEquality"}) // each wrapper has the interface of its driver's object
    <T> T unwrapArgument(T value) {
        Object driver = value;
        if (value instanceof ClientArray wrapper && wrapper.client == this) driver = wrapper.array;
        else if (value instanceof ClientBlob wrapper && wrapper.client == this) driver = wrapper.blob;
        else if (value instanceof ClientClob wrapper && wrapper.client == this) driver = wrapper.clob;
        else if (value instanceof ClientSqlXml wrapper && wrapper.client == this) driver = wrapper.xml;
        return (T) driver;
    }

    // The end of a lease

    @Override
    public void close() {
        end(0);
    }

    @Override
    public void abort(Executor executor) throws SQLException {
        if (executor == null) throw new SQLException("executor: must not be null", Failures.INVALID_PARAMETER_VALUE);
        end(Fact.ABORTED.bit());
    }

    @Override
    public void cut() {
        end(Fact.CUT.bit());
    }

    /** Ends the lease, if it has not ended. */
    private void end(int forced) {
        try {
            boolean unused = connection.end(this, forced);
        } finally {
            Reference.reachabilityFence(this); // else it may look forgotten before the lease has ended
        }
    }

    @Override
    public boolean isClosed() throws SQLException {
        return isEnded() || connection.session().connection().isClosed();
    }

    @Override
    public boolean isValid(int timeout) throws SQLException {
        if (timeout < 0)
            throw new SQLException(
                    "timeout: " + timeout + " s is out of bounds; must be 0 or more", Failures.INVALID_PARAMETER_VALUE);
        return !isEnded() && super.isValid(timeout);
    }

    /** Returns this client if it has the type, else the driver's object. Then the pool resets everything after the lease. */
    @Override
    public <T> T unwrap(Class<T> type) throws SQLException {
        BaseConnection driver = delegate();
        return type.isInstance(this) ? type.cast(this) : unwrapped(driver.unwrap(type));
    }

    @Override
    public boolean isWrapperFor(Class<?> type) throws SQLException {
        BaseConnection driver = delegate();
        return type.isInstance(this) || driver.isWrapperFor(type);
    }

    // Answers that cost no round trip

    @Override
    public int getTransactionIsolation() throws SQLException {
        SessionState session = session().state();
        Integer known = session.knownIsolation();
        if (known != null) return known;
        int level = super.getTransactionIsolation();
        session.learnIsolation(level);
        return level;
    }

    @Override
    public @Nullable String getSchema() throws SQLException {
        SessionState session = session().state();
        String known = session.knownSchema();
        if (known != null) return known;
        String schema = super.getSchema();
        session.learnSchema(schema);
        return schema;
    }

    /**
     * Commits. The driver answers the commit of a failed transaction by a silent rollback. With {@code strictCommit} this method
     * throws, and the caller still has to roll the transaction back.
     */
    @Override
    public void commit() throws SQLException {
        if (connection.lender().isStrictCommit() && session().state().hasFailed()) {
            throw new SQLTransactionRollbackException(
                    connection.lender().name() + ": the transaction has failed, and cannot be committed; roll it back",
                    Failures.IN_FAILED_SQL_TRANSACTION);
        }
        refuseEndIfInterrupted();
        super.commit();
    }

    /** A commit that is not sent is no commit; one that is sent is not cancelled. */
    private void refuseEndIfInterrupted() throws SQLException {
        PhysicalConnection inside = enter();
        exit(inside);
    }

    /** Begins the lease without auto-commit, by the configuration. It costs no round trip, because the driver keeps the mode. */
    void beginWithoutAutoCommit() throws SQLException {
        connection();
        used().beginWithoutAutoCommit();
        setAutoCommit(false);
    }

    // Changes that the next client must not see

    @Override
    public void setAutoCommit(boolean autoCommit) throws SQLException {
        changing(Change.AUTO_COMMIT);
        if (!session().state().isIdle()) refuseEndIfInterrupted(); // because it commits
        super.setAutoCommit(autoCommit);
    }

    @Override
    public void setReadOnly(boolean readOnly) throws SQLException {
        changing(Change.READ_ONLY);
        super.setReadOnly(readOnly);
    }

    @Override
    public void setTransactionIsolation(int level) throws SQLException {
        SessionState session = session().state();
        session.changingIsolation();
        super.setTransactionIsolation(level);
        session.changedIsolation(level);
    }

    @Override
    public void setSchema(@Nullable String schema) throws SQLException {
        session().state().changingSchema(schema);
        super.setSchema(schema);
    }

    @Override
    public void setHoldability(int holdability) throws SQLException {
        changing(Change.HOLDABILITY);
        super.setHoldability(holdability);
    }

    @Override
    public void setNetworkTimeout(Executor executor, int milliseconds) throws SQLException {
        changing(Change.NETWORK_TIMEOUT);
        super.setNetworkTimeout(executor, milliseconds);
    }

    @Override
    public void setTypeMap(Map<String, Class<?>> map) throws SQLException {
        changing(Change.TYPE_MAP);
        super.setTypeMap(map);
    }

    @Override
    public void setClientInfo(String name, @Nullable String value) throws SQLClientInfoException {
        setClientInfo(driver -> driver.setClientInfo(name, value));
    }

    @Override
    public void setClientInfo(Properties properties) throws SQLClientInfoException {
        setClientInfo(driver -> driver.setClientInfo(properties));
    }

    private interface ClientInfo {
        void setIn(Connection driver) throws SQLClientInfoException;
    }

    private void setClientInfo(ClientInfo info) throws SQLClientInfoException {
        PhysicalConnection inside;
        try {
            inside = enter();
        } catch (SQLException e) {
            throw new SQLClientInfoException(e.getMessage(), e.getSQLState(), Map.<String, ClientInfoStatus>of(), e);
        }
        try {
            inside.session().state().changed(Change.CLIENT_INFO);
            info.setIn(inside.session().connection());
        } catch (SQLClientInfoException | RuntimeException | Error failure) {
            recordFailure(failure, true);
            throw failure;
        } finally {
            exit(inside);
        }
    }

    /** Returns a copy, because the driver returns the object that it uses. */
    @Override
    public Properties getClientInfo() throws SQLException {
        var copy = new Properties();
        copy.putAll(super.getClientInfo());
        return copy;
    }

    /** Returns a copy, because the driver returns the object that it uses. */
    @Override
    public Map<String, Class<?>> getTypeMap() throws SQLException {
        return new HashMap<>(super.getTypeMap());
    }

    @Override
    public void setPrepareThreshold(int threshold) {
        changingDriver();
        if (threshold != 0) preparing();
        super.setPrepareThreshold(threshold);
    }

    @Override
    public void setDefaultFetchSize(int fetchSize) throws SQLException {
        changing(Change.DRIVER);
        super.setDefaultFetchSize(fetchSize);
    }

    @Override
    public void setQueryTimeout(int seconds) throws SQLException {
        changing(Change.DRIVER);
        super.setQueryTimeout(seconds);
    }

    @Override
    public void setAutosave(AutoSave autosave) {
        changingDriver();
        super.setAutosave(autosave);
    }

    @Override
    public void setAdaptiveFetch(boolean adaptiveFetch) {
        changingDriver();
        super.setAdaptiveFetch(adaptiveFetch);
    }

    /** Records that the caller lets the driver prepare statements by a name. */
    void preparing() {
        SessionState state = connection.session().state();
        if (!isEnded() && state.isUnprepared()) state.report(Change.PREPARED.bit());
    }

    private void changingDriver() {
        try {
            changing(Change.DRIVER);
        } catch (SQLException e) {
            throw new IllegalStateException(e.getMessage(), e);
        }
    }

    /** Registers a class. The end of the lease registers the class again that the type had before. */
    @Override
    @SuppressWarnings("deprecation")
    public void addDataType(String type, String className) {
        Class<? extends PGobject> known = typeClass(type);
        if (known != null && known.getName().equals(className)) return;
        connection.session().state().registering(type, known);
        super.addDataType(type, className);
    }

    /** As the other {@code addDataType}. */
    @Override
    public void addDataType(String type, Class<? extends PGobject> klass) throws SQLException {
        Class<? extends PGobject> known = typeClass(type);
        if (klass.equals(known)) return;
        session().state().registering(type, known);
        super.addDataType(type, klass);
    }

    /** The class that the driver makes of values of that type. Null if the type has none of its own. */
    private @Nullable Class<? extends PGobject> typeClass(String type) {
        return delegateUnchecked().getTypeInfo().getPGobject(type);
    }

    /** Returns the API of replication, whose changes of the session no reset undoes. */
    @Override
    public PGReplicationConnection getReplicationAPI() {
        PhysicalConnection inside = enterUnchecked();
        try {
            irreversible();
            keep();
        } catch (SQLException e) {
            throw new IllegalStateException(e.getMessage(), e);
        } finally {
            exit(inside);
        }
        return super.getReplicationAPI();
    }

    @Override
    public void cancelQuery() throws SQLException {
        BaseConnection driver = delegate();
        cancel(driver::cancelQuery);
    }

    @Override
    public String toString() {
        return connection.lender().name() + ": "
                + (isEnded()
                        ? "closed client"
                        : "client of backend " + connection.session().backendPid());
    }
}
