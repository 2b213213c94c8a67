package dev.nanopool;

import dev.nanopool.sql.Change;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.IntConsumer;
import org.jspecify.annotations.Nullable;
import org.postgresql.core.BaseConnection;
import org.postgresql.core.TransactionState;
import org.postgresql.jdbc.AutoSave;
import org.postgresql.jdbc.TypeInfoCache;
import org.postgresql.util.PGobject;

/**
 * Records what a lease changed in its session, and undoes it by one statement. Afterwards the session is as it was when the pool
 * opened it, by whatever means it was set up. Several threads may add changes at the same time. Everything else belongs to the
 * thread that has the connection in its hand.
 */
final class SessionState {
    private static final int IN_DRIVER = Change.ISOLATION.bit() - 1; // all before ISOLATION
    private static final int EVERYTHING = Change.UNKNOWN.bit() - 1;

    /** The driver's read-only mode, where the driver keeps it in the server. */
    private static final int READ_ONLY_IN_SERVER = 1 << 30;

    /** Reported parameters that the session itself cannot set. */
    private static final Set<String> GIVEN =
            Set.of("server_version", "server_encoding", "integer_datetimes", "in_hot_standby");

    private static final String APPLICATION_NAME = "application_name";
    private static final String SEARCH_PATH = "search_path";
    private static final String DEFAULT_READ_ONLY = "default_transaction_read_only";
    private static final String STANDARD_STRINGS = "standard_conforming_strings";

    /** Removes the statements that PREPARE in SQL text made, and keeps the driver's own prepared statements. */
    private static final String DEALLOCATE = """
            DO $$DECLARE s name; BEGIN
            FOR s IN SELECT name FROM pg_catalog.pg_prepared_statements WHERE from_sql
            LOOP EXECUTE pg_catalog.format('DEALLOCATE %I', s); END LOOP; END$$;""";

    private final BaseConnection connection;
    private final ResetMode mode;
    private final boolean readOnlyInServer; // the driver keeps setReadOnly in the server
    private final String setUp; // SQL that makes a session, after its reset, as it was when it was opened; or empty
    private final AtomicInteger changes = new AtomicInteger();

    // The values that the driver had when the connection was opened.
    private final int networkTimeout;
    private final boolean readOnly;
    private final int prepareThreshold;
    private final int fetchSize;
    private final int queryTimeout;
    private final boolean adaptiveFetch;
    private final AutoSave autosave;

    /** The reported parameters of a clean session in the driver's order, each name before its value. No map, which is larger. */
    private String[] reported = {};

    private @Nullable IntConsumer report; // where a pooler shares the session; null: nowhere else
    private boolean isTextUncertain; // with backslashes in strings, SQL text does not show what it changes
    private boolean isPlpgsqlDenied; // the login role may not use DO
    private boolean used; // SQL was sent since the last reset
    private @Nullable String opener; // the last SQL text that was sent outside of a transaction
    private volatile boolean irreversible;

    /** The classes of types before the lease registered others. */
    private final AtomicReference<Map<String, Class<? extends PGobject>>> types = new AtomicReference<>(Map.of());

    /** The types that the driver reads itself. */
    private static final class CoreTypes {
        private static final Set<String> NAMES = names();

        private static Set<String> names() {
            Set<String> names = new HashSet<>();
            new TypeInfoCache(null, Integer.MAX_VALUE)
                    .getPGTypeNamesWithSQLTypes()
                    .forEachRemaining(names::add);
            return names;
        }
    }

    private static final int NOT_KNOWN = Connection.TRANSACTION_NONE;

    /** The isolation level that the session had when it was opened, once a lease has asked for it. It survives leases. */
    private int isolation = NOT_KNOWN;

    /** The level that this lease has set by JDBC. */
    private int isolationNow = NOT_KNOWN;

    /** The value of {@code current_schema()}, as long as this lease has sent no SQL. */
    private @Nullable String schema;

    SessionState(BaseConnection connection, ResetMode mode, boolean readOnlyInServer, String setUp)
            throws SQLException {
        this.connection = connection;
        this.mode = mode;
        this.readOnlyInServer = readOnlyInServer;
        this.setUp = setUp;
        networkTimeout = connection.getNetworkTimeout();
        readOnly = connection.isReadOnly();
        prepareThreshold = connection.getPrepareThreshold();
        fetchSize = connection.getDefaultFetchSize();
        queryTimeout = DriverVersion.queryTimeout(connection);
        adaptiveFetch = connection.getAdaptiveFetch();
        autosave = connection.getAutosave();
        rememberReports();
    }

    /** Remembers the reports. From now on every other report is a change. */
    private void rememberReports() {
        Map<String, String> now = connection.getParameterStatuses();
        reported = new String[2 * now.size()];
        int i = 0;
        for (Map.Entry<String, String> report : now.entrySet()) {
            reported[i++] = report.getKey();
            reported[i++] = report.getValue();
        }
        isTextUncertain = "off".equals(reported(STANDARD_STRINGS));
    }

    /** The value that a clean session has reported; null if the server does not report that parameter. */
    private @Nullable String reported(String name) {
        for (int i = 0; i < reported.length; i += 2) {
            if (reported[i].equals(name)) return reported[i + 1];
        }
        return null;
    }

    /**
     * Returns the SQL that repeats after a reset, in the same order, what the driver and the pool did after the login.
     *
     * @param applicationName the name that the driver set by SQL; null if it was in the startup packet
     * @param isReadOnly whether the driver made the session read-only by SQL
     * @param initSql the user's own SQL; null if there is none
     */
    static String setUp(
            BaseConnection connection, @Nullable String applicationName, boolean isReadOnly, @Nullable String initSql)
            throws SQLException {
        StringBuilder sql = new StringBuilder();
        if (applicationName != null) {
            sql.append("SET application_name='")
                    .append(connection.escapeString(applicationName))
                    .append("';");
        }
        if (isReadOnly) sql.append("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY;");
        if (initSql != null) sql.append(initSql);
        return sql.toString();
    }

    /** Throws if the set-up has left a transaction open, because the first lease would run in it. */
    static void checkSetUp(BaseConnection connection) throws SQLException {
        if (connection.getTransactionState() == TransactionState.IDLE) return;
        throw new SQLException(
                "initSql: ends inside a transaction; end it by COMMIT, or leave out BEGIN",
                Failures.ACTIVE_SQL_TRANSACTION);
    }

    void changed(Change change) {
        add(change.bit());
    }

    /**
     * Records that the lease is about to register a class for a type of the server.
     *
     * @param before the class that the type has; null if it has none
     */
    void registering(String type, @Nullable Class<? extends PGobject> before) {
        // The driver cannot forget a type. A type that it does not know has a PGobject as its value, registered or not.
        if (before == null && CoreTypes.NAMES.contains(type)) irreversible = true;
        types.updateAndGet(old -> {
            Map<String, Class<? extends PGobject>> more = new HashMap<>(old);
            more.putIfAbsent(type, before == null ? PGobject.class : before);
            return more;
        });
        changed(Change.DRIVER);
    }

    /** Records a change that no statement undoes, so that the pool replaces the connection. */
    void irreversible() {
        report(Change.IRREVERSIBLE.bit());
        irreversible = true;
    }

    /** Records that the pool has lost track of the lease. */
    void anything() {
        changes.getAndUpdate(old -> old | Change.UNWRAPPED.bit());
    }

    /** Records that the lease is about to send SQL text which can leave these changes behind. */
    void sent(String sql, int possibleChanges) {
        used = true;
        if (possibleChanges != 0) add(possibleChanges);
        if (isIdle()) opener = sql;
    }

    private void add(int bits) {
        report(bits & ~IN_DRIVER);
        if ((bits & Change.IRREVERSIBLE.bit()) != 0 && mode != ResetMode.NONE) irreversible = true;
        if ((changes.get() & bits) != bits) changes.getAndUpdate(old -> old | bits);
    }

    // A session that a transaction pooler shares

    /** Sets where changes of the server are reported, because no reset undoes them. */
    void reportTo(IntConsumer receiver) {
        report = receiver;
    }

    /** Reports that the calling thread makes these changes, if the session is shared. */
    void report(int bits) {
        IntConsumer receiver = report;
        if (bits != 0 && receiver != null) receiver.accept(bits);
    }

    /** The changes that only the server's reports have shown, in a shared session. It answers each of them once. */
    int unseen() {
        int found = report == null || !used ? 0 : reportedChanges();
        if (found == 0) return 0;
        rememberReports();
        int causes = Change.SETTINGS.bit() | Change.UNKNOWN.bit() | Change.UNWRAPPED.bit();
        if ((changes.get() & causes) != 0) return 0;
        return (found & EVERYTHING) == EVERYTHING ? Change.SETTINGS.bit() : found & ~changes.get();
    }

    /** Whether the driver must not prepare statements by a name, which the session's next user has or lacks. */
    boolean isUnprepared() {
        return report != null && prepareThreshold == 0;
    }

    /** Whether no transaction is open, by the driver's status, which also sees a BEGIN in SQL text. Reads a field. */
    boolean isIdle() {
        return connection.getTransactionState() == TransactionState.IDLE;
    }

    boolean hasFailed() {
        return connection.getTransactionState() == TransactionState.FAILED;
    }

    /** Whether the lease has got an object of the driver, with which another thread may still work. */
    boolean isUnwrapped() {
        return (changes.get() & Change.UNWRAPPED.bit()) != 0;
    }

    boolean isIrreversible() {
        return irreversible;
    }

    /** The SQL text that opened the transaction, as far as it is known. */
    @Nullable
    String opener() {
        return opener;
    }

    /** Undoes local changes. False if the server must undo the others, in a round trip, by {@link #reset}. */
    boolean resetLocally() throws SQLException {
        if (!used && changes.get() == 0) {
            if (schema != null) schema = null;
            return isIdle();
        }
        if (!isIdle() || (changesInServer() & ~IN_DRIVER) != 0 || isDriverBoundToSpeak()) return false;
        resetDriver(changes.get());
        if (mode == ResetMode.NONE) isolation = NOT_KNOWN; // what the lease changed stays
        endLease();
        return true;
    }

    /** Undoes everything, by a rollback if a transaction is open, and by one more round trip. */
    void reset() throws SQLException {
        rollback();
        resetDriver(changes.get());
        int undo = changesInServer();
        String sql = resetSql(undo);
        if (!sql.isEmpty()) {
            try {
                execute(sql);
            } catch (SQLException e) {
                if (!isDoDenied(e, undo)) throw e;
                isPlpgsqlDenied = true;
                rollback();
                resetDriver(0);
                execute(resetSql(undo));
            }
            if ((undo & Change.LISTEN.bit()) != 0) connection.getQueryExecutor().getNotifications();
            connection.clearWarnings();
            rememberReports(); // the server's configuration may have been loaded again
        }
        if (mode == ResetMode.NONE || !sql.isEmpty()) isolation = NOT_KNOWN;
        endLease();
    }

    /** What a reset undoes, for a report. */
    String undoing() {
        int undo = changes.get() | changesInServer();
        List<String> names = new ArrayList<>();
        if (!isIdle()) names.add("transaction");
        if ((undo & EVERYTHING) == EVERYTHING) names.add("everything");
        for (Change change : names.contains("everything") ? new Change[0] : Change.values()) {
            if ((undo & change.bit()) != 0)
                names.add(change.name().toLowerCase(Locale.ROOT).replace('_', ' '));
        }
        return String.join(", ", names);
    }

    private void rollback() throws SQLException {
        if (isIdle()) return;
        if (connection.getAutoCommit()) connection.setAutoCommit(false); // else the driver refuses the rollback
        connection.rollback();
    }

    private void execute(String sql) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.setQueryTimeout(0);
            statement.execute(sql);
        }
        checkSetUp(connection);
    }

    private void endLease() {
        opener = null;
        schema = null;
        isolationNow = NOT_KNOWN;
        used = false;
        changes.set(0);
    }

    /** Whether the reset failed because the login role may not use PL/pgSQL, or the database has none. */
    private boolean isDoDenied(SQLException failure, int undo) {
        String state = failure.getSQLState();
        return !isPlpgsqlDenied
                && (undo & Change.PREPARED.bit()) != 0
                && (Failures.INSUFFICIENT_PRIVILEGE.equals(state) || Failures.UNDEFINED_OBJECT.equals(state));
    }

    /** The changes, with those that only the server's reports show, and without those that were set back. */
    private int changesInServer() {
        int found = changes.get();
        if (mode == ResetMode.NONE) return found & IN_DRIVER;
        boolean isUnknown = (found & (Change.UNKNOWN.bit() | Change.UNWRAPPED.bit())) != 0;
        if (mode == ResetMode.ALWAYS || isTextUncertain || isUnknown) return found | EVERYTHING;
        if (isolationNow != NOT_KNOWN && isolationNow == isolation) found &= ~Change.ISOLATION.bit();
        // The server reports these parameters, so that the reports alone say whether they have changed.
        if (reported(APPLICATION_NAME) != null) found &= ~Change.CLIENT_INFO.bit();
        if (reported(SEARCH_PATH) != null) found &= ~Change.SCHEMA.bit();
        found |= reportedChanges();
        // With pg_temp in the search path, any CREATE makes something temporary.
        boolean isPathChanged = (found & (Change.SETTINGS.bit() | Change.SCHEMA.bit())) != 0;
        if (isPathChanged) found |= Change.TEMP.bit();
        if (mayBeReadOnlyInServer(found)) found |= READ_ONLY_IN_SERVER;
        // The pool does not know what the set-up has done, so it undoes everything and runs the set-up again.
        boolean isUndone = (found & ~IN_DRIVER) != 0;
        return isUndone && !setUp.isEmpty() ? found | EVERYTHING : found;
    }

    /** Whether the driver may have changed the session's read-only mode, and no report says whether it was set back. */
    private boolean mayBeReadOnlyInServer(int found) {
        if (!readOnlyInServer || reported(DEFAULT_READ_ONLY) != null) return false;
        // While auto-commit is off, the driver turns off the mode of a read-only session.
        int causes = readOnly ? Change.READ_ONLY.bit() | Change.AUTO_COMMIT.bit() : Change.READ_ONLY.bit();
        return (found & causes) != 0;
    }

    /** Whether the driver has to speak to the server to set its own read-only mode back. */
    private boolean isDriverBoundToSpeak() throws SQLException {
        if (!readOnlyInServer) return false;
        return connection.getAutoCommit() ? connection.isReadOnly() != readOnly : readOnly;
    }

    /** The changes that the server has reported. */
    private int reportedChanges() {
        if (isReportedAsBefore()) return 0;
        int found = 0;
        for (Map.Entry<String, String> entry : connection.getParameterStatuses().entrySet()) {
            String before = reported(entry.getKey());
            if (entry.getValue().equals(before) || GIVEN.contains(entry.getKey())) continue;
            found |= switch (entry.getKey()) {
                case "session_authorization", "is_superuser" -> Change.ROLE.bit();
                case SEARCH_PATH -> Change.SCHEMA.bit();
                case STANDARD_STRINGS -> EVERYTHING; // SQL text may have been read wrongly
                case APPLICATION_NAME -> Change.CLIENT_INFO.bit();
                case DEFAULT_READ_ONLY -> readOnlyInServer ? READ_ONLY_IN_SERVER : Change.SETTINGS.bit();
                default -> Change.SETTINGS.bit();
            };
        }
        return found;
    }

    /** Whether the reports are the same objects as in the clean session. That is the usual case and cheap to see. */
    @SuppressWarnings("ReferenceEquality") // a new report is a new object
    private boolean isReportedAsBefore() {
        Collection<String> now = connection.getParameterStatuses().values();
        if (2 * now.size() != reported.length) return false;
        int i = 1;
        for (String value : now) {
            if (value != reported[i]) return false;
            i += 2;
        }
        return true;
    }

    private String resetSql(int undo) {
        StringBuilder sql = new StringBuilder();
        // The role comes first, because the rest may need its rights. RESET ROLE is necessary, too, because a user can
        // have a default role.
        append(sql, undo, Change.ROLE, "RESET SESSION AUTHORIZATION;RESET ROLE;");
        append(sql, undo, Change.CURSORS, "CLOSE ALL;");
        append(sql, undo, Change.SETTINGS, "RESET ALL;");
        if ((undo & Change.SETTINGS.bit()) == 0) {
            append(sql, undo, Change.ISOLATION, "RESET default_transaction_isolation;");
            append(sql, undo, Change.SCHEMA, "RESET search_path;");
            append(sql, undo, Change.CLIENT_INFO, "RESET application_name;");
            if ((undo & READ_ONLY_IN_SERVER) != 0) sql.append("RESET default_transaction_read_only;");
        }
        append(sql, undo, Change.LISTEN, "UNLISTEN *;");
        append(sql, undo, Change.LOCKS, "SELECT pg_catalog.pg_advisory_unlock_all();");
        append(sql, undo, Change.TEMP, "DISCARD TEMP;");
        if (!isPlpgsqlDenied) append(sql, undo, Change.PREPARED, DEALLOCATE);
        // An unwrapped client may have ended the driver's statements. Afterwards neither server nor driver has any.
        boolean all = isPlpgsqlDenied && (undo & Change.PREPARED.bit()) != 0;
        if (all || (undo & Change.UNWRAPPED.bit()) != 0) sql.append("DEALLOCATE ALL;");
        if (sql.isEmpty() || setUp.isEmpty()) return sql.toString();
        // A transaction of its own, so that a ROLLBACK in the set-up does not bring back what was undone.
        return "BEGIN;" + sql + "COMMIT;" + setUp;
    }

    private static void append(StringBuilder sql, int undo, Change change, String statement) {
        if ((undo & change.bit()) != 0) sql.append(statement);
    }

    /** Undoes changes in the driver. Only a read-only mode that the driver keeps in the server costs a round trip. */
    private void resetDriver(int undo) throws SQLException {
        boolean all = (undo & Change.UNWRAPPED.bit()) != 0;
        if (all) connection.setFlushCacheOnDeallocate(true);
        // This comes before the auto-commit mode, because for either of them the driver speaks to the server if the
        // other one is on.
        if (all || (undo & Change.READ_ONLY.bit()) != 0) connection.setReadOnly(readOnly);
        if (!connection.getAutoCommit())
            connection.setAutoCommit(true); // commits nothing, because no transaction is open
        if (all || (undo & Change.HOLDABILITY.bit()) != 0) connection.setHoldability(ResultSet.CLOSE_CURSORS_AT_COMMIT);
        // Drivers before 42.7.6 cannot set it on Java 24, so that there is nothing to set back.
        boolean isTimeout = all || (undo & Change.NETWORK_TIMEOUT.bit()) != 0;
        if (isTimeout && connection.getNetworkTimeout() != networkTimeout)
            connection.setNetworkTimeout(Runnable::run, networkTimeout);
        if (all || (undo & Change.TYPE_MAP.bit()) != 0) connection.setTypeMap(new HashMap<>());
        if (all || (undo & Change.DRIVER.bit()) != 0) {
            connection.setPrepareThreshold(prepareThreshold);
            connection.setDefaultFetchSize(fetchSize);
            DriverVersion.setQueryTimeout(connection, queryTimeout);
            connection.setAdaptiveFetch(adaptiveFetch);
            connection.setAutosave(autosave);
        }
        for (Map.Entry<String, Class<? extends PGobject>> type : types.get().entrySet()) {
            connection.addDataType(type.getKey(), type.getValue());
        }
        types.set(Map.of());
        connection.clearWarnings();
    }

    /** The query timeout that new statements have. */
    long queryTimeoutNanos() throws SQLException {
        return TimeUnit.SECONDS.toNanos(DriverVersion.queryTimeout(connection));
    }

    // Answers that cost no round trip

    /** Records that JDBC is about to set the schema. */
    void changingSchema(@Nullable String name) {
        changed(Change.SCHEMA);
        // An object that is created meanwhile stays, even if the path is set back.
        if (name != null && name.startsWith("pg_temp")) changed(Change.TEMP);
    }

    /** Records that JDBC is about to set the isolation level. */
    void changingIsolation() {
        isolationNow = NOT_KNOWN;
        changed(Change.ISOLATION);
    }

    /** Records that JDBC has set the isolation level. */
    void changedIsolation(int level) {
        isolationNow = level;
    }

    /** The isolation level. Null if the server must be asked. */
    @Nullable
    Integer knownIsolation() {
        int level = isChanged(Change.ISOLATION) ? isolationNow : isolation;
        return level == NOT_KNOWN || mayHaveAnotherIsolation() ? null : level;
    }

    void learnIsolation(int level) {
        if (!isChanged(Change.ISOLATION) && !mayHaveAnotherIsolation()) isolation = level;
    }

    /** Whether something other than JDBC's setter may have changed the level. A transaction may have a level of its own. */
    private boolean mayHaveAnotherIsolation() {
        int bySetters = Change.ISOLATION.bit() | Change.SCHEMA.bit() | Change.CLIENT_INFO.bit();
        int seen = changes.get();
        int others = (seen & ~bySetters) | (reportedChanges() & ~(seen | READ_ONLY_IN_SERVER));
        return isTextUncertain || !isIdle() || (others & ~IN_DRIVER) != 0;
    }

    private boolean isChanged(Change change) {
        return (changes.get() & change.bit()) != 0;
    }

    /** The first schema of the search path that exists. Null if the server must be asked. */
    @Nullable
    String knownSchema() {
        return mayHaveAnotherSchema() ? null : schema;
    }

    void learnSchema(@Nullable String name) {
        if (!mayHaveAnotherSchema()) schema = name;
    }

    /** Whether the schema may be another one. Any SQL can create or drop a schema, also a prepared statement later. */
    private boolean mayHaveAnotherSchema() {
        return used || !isIdle() || (changes.get() & ~IN_DRIVER) != 0 || !isReportedAsBefore();
    }
}
