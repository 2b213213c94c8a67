package dev.nanopool;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.lang.ref.Reference;
import java.sql.Array;
import java.sql.CallableStatement;
import java.sql.ClientInfoStatus;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.PreparedStatement;
import java.sql.SQLClientInfoException;
import java.sql.SQLException;
import java.sql.SQLTransactionRollbackException;
import java.sql.Statement;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.Executor;
import org.jspecify.annotations.Nullable;
import org.postgresql.copy.CopyManager;
import org.postgresql.core.BaseConnection;
import org.postgresql.fastpath.Fastpath;
import org.postgresql.jdbc.AutoSave;
import org.postgresql.largeobject.LargeObjectManager;
import org.postgresql.replication.PGReplicationConnection;
import org.postgresql.util.PGobject;

/**
 * What {@code client()} returns: a lease as a {@code Connection}. Closed once, whoever calls; afterwards every method
 * throws SQLState 08003, and nothing reaches the session, which may be another's by then.
 */
final class ClientConnection extends ForwardingConnection implements Lease {
    private static final VarHandle PHYSICAL;

    static {
        try {
            PHYSICAL =
                    MethodHandles.lookup().findVarHandle(ClientConnection.class, "physical", PhysicalConnection.class);
        } catch (ReflectiveOperationException e) {
            throw new ExceptionInInitializerError(e);
        }
    }

    private final Pool pool;
    private final Thread owner = Thread.currentThread();
    private final long startNanos;
    private volatile @Nullable PhysicalConnection physical; // null: closed

    ClientConnection(Pool pool, PhysicalConnection physical, long startNanos) {
        this.pool = pool;
        this.startNanos = startNanos;
        PHYSICAL.set(this, physical); // plain: nobody else knows this client yet, and a volatile write would cost
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

    /** The connection, while the lease lasts. */
    PhysicalConnection physical() throws SQLException {
        PhysicalConnection current = physical;
        if (current == null) throw closedException();
        return current;
    }

    private SQLException closedException() {
        return new SQLException(pool.name() + ": this client is closed", "08003");
    }

    /** Whether the lease has ended, by whomsoever. */
    boolean isEnded() {
        return physical == null;
    }

    @Override
    PhysicalConnection enter() throws SQLException {
        PhysicalConnection current = physical();
        if (!current.enter(this)) throw closedException();
        return current;
    }

    @Override
    void exit(PhysicalConnection speaking) {
        speaking.exit();
    }

    @Override
    String sql(String text) throws SQLException {
        if (text != null) physical().session.sent(text, pool.sqlText().changes(text));
        return text;
    }

    private PhysicalConnection changing(Change change) throws SQLException {
        PhysicalConnection current = physical();
        current.session.changed(change);
        return current;
    }

    @Override
    BaseConnection delegate() throws SQLException {
        return physical().connection;
    }

    @Override
    BaseConnection delegateUnchecked() {
        try {
            return delegate();
        } catch (SQLException e) {
            throw new IllegalStateException(e.getMessage(), e);
        }
    }

    @Override
    void note(Throwable failure) {
        PhysicalConnection current = physical;
        if (current != null) current.note(failure);
    }

    @Override
    @Nullable
    Array wrap(@Nullable Array array) throws SQLException {
        return array == null ? null : new ClientArray(physical(), this, array);
    }

    // The end of a lease

    @Override
    public void close() {
        end(null);
    }

    @Override
    public void abort(Executor executor) throws SQLException {
        if (executor == null) throw new SQLException("executor: must not be null", "22023");
        end(CloseReason.ABORTED);
    }

    /** The pool ends the lease: it is closed while somebody still holds it. */
    void cut() {
        end(CloseReason.CUT);
    }

    /** Ends the lease: once, whoever comes first. */
    private void end(@Nullable CloseReason discard) {
        PhysicalConnection ended = physical;
        if (ended == null || !PHYSICAL.compareAndSet(this, ended, null)) return;
        try {
            if (discard == null) pool.giveBack(ended);
            else pool.discard(ended, discard);
        } finally {
            Reference.reachabilityFence(this); // else it may look forgotten before the lease has ended
        }
    }

    @Override
    public boolean isClosed() throws SQLException {
        PhysicalConnection current = physical;
        return current == null || current.connection.isClosed();
    }

    @Override
    public boolean isValid(int timeout) throws SQLException {
        if (timeout < 0)
            throw new SQLException("timeout: " + timeout + " s is out of bounds; must be 0 or more", "22023");
        return physical != null && super.isValid(timeout);
    }

    // Ways back to this client

    @Override
    public Statement createStatement() throws SQLException {
        return new ClientStatement(physical(), this, super.createStatement());
    }

    @Override
    public Statement createStatement(int type, int concurrency) throws SQLException {
        return new ClientStatement(physical(), this, super.createStatement(type, concurrency));
    }

    @Override
    public Statement createStatement(int type, int concurrency, int holdability) throws SQLException {
        return new ClientStatement(physical(), this, super.createStatement(type, concurrency, holdability));
    }

    @Override
    public PreparedStatement prepareStatement(String sql) throws SQLException {
        return new ClientPreparedStatement(physical(), this, super.prepareStatement(sql));
    }

    @Override
    public PreparedStatement prepareStatement(String sql, int type, int concurrency) throws SQLException {
        return new ClientPreparedStatement(physical(), this, super.prepareStatement(sql, type, concurrency));
    }

    @Override
    public PreparedStatement prepareStatement(String sql, int type, int concurrency, int holdability)
            throws SQLException {
        return new ClientPreparedStatement(
                physical(), this, super.prepareStatement(sql, type, concurrency, holdability));
    }

    @Override
    public PreparedStatement prepareStatement(String sql, int autoGeneratedKeys) throws SQLException {
        return new ClientPreparedStatement(physical(), this, super.prepareStatement(sql, autoGeneratedKeys));
    }

    @Override
    public PreparedStatement prepareStatement(String sql, int[] columns) throws SQLException {
        return new ClientPreparedStatement(physical(), this, super.prepareStatement(sql, columns));
    }

    @Override
    public PreparedStatement prepareStatement(String sql, String[] columns) throws SQLException {
        return new ClientPreparedStatement(physical(), this, super.prepareStatement(sql, columns));
    }

    @Override
    public CallableStatement prepareCall(String sql) throws SQLException {
        return new ClientCallableStatement(physical(), this, super.prepareCall(sql));
    }

    @Override
    public CallableStatement prepareCall(String sql, int type, int concurrency) throws SQLException {
        return new ClientCallableStatement(physical(), this, super.prepareCall(sql, type, concurrency));
    }

    @Override
    public CallableStatement prepareCall(String sql, int type, int concurrency, int holdability) throws SQLException {
        return new ClientCallableStatement(physical(), this, super.prepareCall(sql, type, concurrency, holdability));
    }

    @Override
    public DatabaseMetaData getMetaData() throws SQLException {
        return new ClientMetaData(physical(), this);
    }

    /** The client itself where it will do; else the driver's object, with which anything can be done. */
    @Override
    public <T> T unwrap(Class<T> type) throws SQLException {
        physical();
        if (type.isInstance(this)) return type.cast(this);
        T driver = super.unwrap(type);
        changing(Change.UNWRAPPED);
        keep();
        return driver;
    }

    @Override
    public boolean isWrapperFor(Class<?> type) throws SQLException {
        physical();
        return type.isInstance(this) || super.isWrapperFor(type);
    }

    // What costs no round trip

    @Override
    public int getTransactionIsolation() throws SQLException {
        SessionState session = physical().session;
        Integer known = session.knownIsolation();
        if (known != null) return known;
        int level = super.getTransactionIsolation();
        session.learnIsolation(level);
        return level;
    }

    @Override
    public @Nullable String getSchema() throws SQLException {
        SessionState session = physical().session;
        String known = session.knownSchema();
        if (known != null) return known;
        String schema = super.getSchema();
        session.learnSchema(schema);
        return schema;
    }

    /**
     * Commits. The driver answers the commit of a failed transaction by a silent rollback; with {@code strictCommit} that
     * is an exception, and the transaction is still to be rolled back.
     */
    @Override
    public void commit() throws SQLException {
        if (pool.isStrictCommit() && physical().session.hasFailed()) {
            throw new SQLTransactionRollbackException(
                    pool.name() + ": the transaction has failed, and cannot be committed; roll it back", "25P02");
        }
        super.commit();
    }

    // What the next client must not see

    @Override
    public void setAutoCommit(boolean autoCommit) throws SQLException {
        changing(Change.AUTO_COMMIT);
        super.setAutoCommit(autoCommit);
    }

    @Override
    public void setReadOnly(boolean readOnly) throws SQLException {
        changing(Change.READ_ONLY);
        super.setReadOnly(readOnly);
    }

    @Override
    public void setTransactionIsolation(int level) throws SQLException {
        SessionState session = physical().session;
        session.changingIsolation();
        super.setTransactionIsolation(level);
        session.changedIsolation(level);
    }

    @Override
    public void setSchema(@Nullable String schema) throws SQLException {
        physical().session.changingSchema(schema);
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
        changingClientInfo().setClientInfo(name, value);
    }

    @Override
    public void setClientInfo(Properties properties) throws SQLClientInfoException {
        changingClientInfo().setClientInfo(properties);
    }

    @Override
    public void setPrepareThreshold(int threshold) {
        changingDriver();
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

    private void changingDriver() {
        delegateUnchecked(); // fails if the client is closed
        PhysicalConnection current = physical;
        if (current != null) current.session.changed(Change.DRIVER);
    }

    /** The driver cannot forget a type: the connection is replaced after this lease. */
    @Override
    @SuppressWarnings("deprecation")
    public void addDataType(String type, String className) {
        forgetAfterwards();
        super.addDataType(type, className);
    }

    @Override
    public void addDataType(String type, Class<? extends PGobject> klass) throws SQLException {
        forgetAfterwards();
        super.addDataType(type, klass);
    }

    private void forgetAfterwards() {
        PhysicalConnection current = physical;
        if (current != null) current.session.irreversible();
    }

    /** An object of the driver is handed out that can be used without this client: its user has not forgotten it. */
    private void keep() throws SQLException {
        physical().unwrapped = this;
    }

    @Override
    public LargeObjectManager getLargeObjectAPI() throws SQLException {
        keep();
        return super.getLargeObjectAPI();
    }

    @Override
    public CopyManager getCopyAPI() throws SQLException {
        return new ClientCopyManager(this);
    }

    /** Calls any function of the server by its number. */
    @Override
    @SuppressWarnings("deprecation")
    public Fastpath getFastpathAPI() throws SQLException {
        changing(Change.UNKNOWN);
        keep();
        return super.getFastpathAPI();
    }

    @Override
    public PGReplicationConnection getReplicationAPI() {
        forgetAfterwards();
        PhysicalConnection current = physical;
        if (current != null) current.unwrapped = this;
        return super.getReplicationAPI();
    }

    @Override
    public void cancelQuery() throws SQLException {
        physical().cancel(this, super::cancelQuery);
    }

    private Connection changingClientInfo() throws SQLClientInfoException {
        try {
            return changing(Change.CLIENT_INFO).connection;
        } catch (SQLException e) {
            throw new SQLClientInfoException(e.getMessage(), e.getSQLState(), Map.<String, ClientInfoStatus>of(), e);
        }
    }

    @Override
    public String toString() {
        PhysicalConnection current = physical;
        return pool.name() + ": " + (current == null ? "closed client" : "client of backend " + current.backendPid);
    }
}
