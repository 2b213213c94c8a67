package dev.nanopool;

import dev.nanopool.sql.Change;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Collection;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;
import org.postgresql.core.BaseConnection;
import org.postgresql.core.TransactionState;
import org.postgresql.jdbc.AutoSave;

/**
 * What a lease changed in its session, and the one statement that undoes it. Changes may be added by several threads at
 * once; all else belongs to whoever holds the connection.
 */
final class SessionState {
    private static final int IN_DRIVER = Change.ISOLATION.bit() - 1; // all before ISOLATION
    private static final int EVERYTHING = Change.UNKNOWN.bit() - 1;

    /** Reported parameters that are not the session's own to set. */
    private static final Set<String> GIVEN =
            Set.of("server_version", "server_encoding", "integer_datetimes", "in_hot_standby", "is_superuser");

    /** Ends what PREPARE made in SQL text, and leaves the driver's prepared statements alone. */
    private static final String DEALLOCATE = """
            DO $$DECLARE s name; BEGIN
            FOR s IN SELECT name FROM pg_catalog.pg_prepared_statements WHERE from_sql
            LOOP EXECUTE pg_catalog.format('DEALLOCATE %I', s); END LOOP; END$$;""";

    private final BaseConnection connection;
    private final ResetMode mode;
    private final int local; // changes that are undone without the server
    private final AtomicInteger changes = new AtomicInteger();

    // As they were when the connection was opened.
    private final int networkTimeout;
    private final boolean readOnly;
    private final int prepareThreshold;
    private final int fetchSize;
    private final int queryTimeout;
    private final boolean adaptiveFetch;
    private final AutoSave autosave;

    /** The reported parameters of a clean session, and their values in the driver's order. */
    private Map<String, String> reported;

    private String[] values;

    private boolean used; // SQL was sent since the last reset
    private @Nullable String opener; // the last SQL text that was sent outside of a transaction
    private volatile boolean irreversible;

    // What a clean session answers, once it has been asked.
    private @Nullable Integer isolation;
    private @Nullable String schema;

    SessionState(BaseConnection connection, ResetMode mode, boolean readOnlyInServer) throws SQLException {
        this.connection = connection;
        this.mode = mode;
        this.local = readOnlyInServer ? IN_DRIVER & ~Change.READ_ONLY.bit() : IN_DRIVER;
        networkTimeout = connection.getNetworkTimeout();
        readOnly = connection.isReadOnly();
        prepareThreshold = connection.getPrepareThreshold();
        fetchSize = connection.getDefaultFetchSize();
        queryTimeout = connection.getQueryTimeout();
        adaptiveFetch = connection.getAdaptiveFetch();
        autosave = connection.getAutosave();
        reported = new HashMap<>(connection.getParameterStatuses());
        values = connection.getParameterStatuses().values().toArray(String[]::new);
    }

    void changed(Change change) {
        add(change.bit());
    }

    /** Something that no statement undoes: the connection is to be replaced. */
    void irreversible() {
        irreversible = true;
    }

    /** SQL text is about to be sent that can leave these changes behind. */
    void sent(String sql, int possibleChanges) {
        used = true;
        if (possibleChanges != 0) add(possibleChanges);
        if (isIdle()) opener = sql;
    }

    private void add(int bits) {
        if ((bits & Change.IRREVERSIBLE.bit()) != 0 && mode != ResetMode.NONE) irreversible();
        if ((changes.get() & bits) != bits) changes.getAndUpdate(old -> old | bits);
    }

    /** No transaction is open, by the driver's status, which sees a BEGIN in SQL text, too. A field read. */
    boolean isIdle() {
        return connection.getTransactionState() == TransactionState.IDLE;
    }

    boolean hasFailed() {
        return connection.getTransactionState() == TransactionState.FAILED;
    }

    boolean isIrreversible() {
        return irreversible;
    }

    /** The SQL text that opened the transaction, as far as it is known. */
    @Nullable
    String opener() {
        return opener;
    }

    /** Undoes what can be undone without the server. False: the rest takes a round trip, by {@link #reset}. */
    boolean resetLocally() throws SQLException {
        if (!used && changes.get() == 0) return isIdle();
        if (!isIdle() || (changesInServer() & ~local) != 0) return false;
        resetDriver(changes.get());
        if (mode == ResetMode.NONE) forget(); // what the lease changed stays
        opener = null;
        used = false;
        changes.set(0);
        return true;
    }

    /** Undoes everything: a rollback if a transaction is open, and one more round trip. */
    void reset() throws SQLException {
        if (!isIdle()) {
            if (connection.getAutoCommit()) connection.setAutoCommit(false);
            connection.rollback();
        }
        int undo = changesInServer();
        resetDriver(changes.get());
        String sql = resetSql(undo);
        if (!sql.isEmpty()) {
            try (Statement statement = connection.createStatement()) {
                statement.setQueryTimeout(0);
                statement.execute(sql);
            }
            if ((undo & Change.LISTEN.bit()) != 0) connection.getQueryExecutor().getNotifications();
            connection.clearWarnings();
            // What RESET returned to is the session's own from now on: settings of initSql are gone.
            reported = new HashMap<>(connection.getParameterStatuses());
            values = connection.getParameterStatuses().values().toArray(String[]::new);
        }
        if (mode == ResetMode.NONE || !sql.isEmpty()) forget();
        opener = null;
        used = false;
        changes.set(0);
    }

    /** The changes, those included that only the server's reports show. */
    private int changesInServer() {
        if (mode == ResetMode.NONE) return changes.get() & IN_DRIVER;
        int found = changes.get();
        boolean isUnknown = (found & (Change.UNKNOWN.bit() | Change.UNWRAPPED.bit())) != 0;
        if (mode == ResetMode.ALWAYS || isUnknown) return found | EVERYTHING;
        found |= reportedChanges();
        // With pg_temp in the search path, any CREATE makes something temporary.
        boolean isPathChanged = (found & (Change.SETTINGS.bit() | Change.SCHEMA.bit())) != 0;
        return isPathChanged ? found | Change.TEMP.bit() : found;
    }

    /** The changes that the server has reported. */
    private int reportedChanges() {
        if (isReportedAsBefore()) return 0;
        int found = 0;
        for (Map.Entry<String, String> entry : connection.getParameterStatuses().entrySet()) {
            String before = reported.get(entry.getKey());
            if (entry.getValue().equals(before) || GIVEN.contains(entry.getKey())) continue;
            found |= switch (entry.getKey()) {
                case "session_authorization" -> Change.ROLE.bit();
                case "search_path" -> Change.SCHEMA.bit();
                case "standard_conforming_strings" -> EVERYTHING; // SQL text may have been read wrongly
                case "application_name" -> Change.CLIENT_INFO.bit();
                default -> Change.SETTINGS.bit();
            };
        }
        return found;
    }

    /** Whether the reports are the very ones of the clean session: the usual case, cheaper to see than which one is not. */
    @SuppressWarnings("ReferenceEquality") // a new report is a new object
    private boolean isReportedAsBefore() {
        Collection<String> now = connection.getParameterStatuses().values();
        if (now.size() != values.length) return false;
        int i = 0;
        for (String value : now) {
            if (value != values[i++]) return false;
        }
        return true;
    }

    private static String resetSql(int undo) {
        StringBuilder sql = new StringBuilder();
        // The role first: the rest may need the right to it. RESET ROLE as well, since a role can be its user's
        // default.
        append(sql, undo, Change.ROLE, "RESET SESSION AUTHORIZATION;RESET ROLE;");
        append(sql, undo, Change.CURSORS, "CLOSE ALL;");
        append(sql, undo, Change.SETTINGS, "RESET ALL;");
        if ((undo & Change.SETTINGS.bit()) == 0) {
            append(sql, undo, Change.ISOLATION, "RESET default_transaction_isolation;");
            append(sql, undo, Change.SCHEMA, "RESET search_path;");
            append(sql, undo, Change.CLIENT_INFO, "RESET application_name;");
        }
        append(sql, undo, Change.LISTEN, "UNLISTEN *;");
        append(sql, undo, Change.LOCKS, "SELECT pg_catalog.pg_advisory_unlock_all();");
        append(sql, undo, Change.TEMP, "DISCARD TEMP;");
        append(sql, undo, Change.PREPARED, DEALLOCATE);
        // The client may have ended the driver's statements behind its back: now both know that there are none.
        append(sql, undo, Change.UNWRAPPED, "DEALLOCATE ALL;");
        return sql.toString();
    }

    private static void append(StringBuilder sql, int undo, Change change, String statement) {
        if ((undo & change.bit()) != 0) sql.append(statement);
    }

    /** What lives in the driver: no round trip, but for a read-only mode that the driver keeps in the server. */
    private void resetDriver(int undo) throws SQLException {
        boolean all = (undo & Change.UNWRAPPED.bit()) != 0;
        if (all) connection.setFlushCacheOnDeallocate(true);
        if (!connection.getAutoCommit()) connection.setAutoCommit(true); // commits nothing: no transaction is open
        if (all || (undo & Change.READ_ONLY.bit()) != 0) connection.setReadOnly(readOnly);
        if (all || (undo & Change.HOLDABILITY.bit()) != 0) connection.setHoldability(ResultSet.CLOSE_CURSORS_AT_COMMIT);
        if (all || (undo & Change.NETWORK_TIMEOUT.bit()) != 0)
            connection.setNetworkTimeout(Runnable::run, networkTimeout);
        if (all || (undo & Change.TYPE_MAP.bit()) != 0) connection.setTypeMap(new HashMap<>());
        if (all || (undo & Change.DRIVER.bit()) != 0) {
            connection.setPrepareThreshold(prepareThreshold);
            connection.setDefaultFetchSize(fetchSize);
            connection.setQueryTimeout(queryTimeout);
            connection.setAdaptiveFetch(adaptiveFetch);
            connection.setAutosave(autosave);
        }
        connection.clearWarnings();
    }

    /** The query timeout that new statements have. */
    long queryTimeoutNanos() throws SQLException {
        return TimeUnit.SECONDS.toNanos(connection.getQueryTimeout());
    }

    // What need not be asked

    /** Whether the session's defaults are those of a clean session. */
    private boolean isPristine() {
        return isIdle() && (changes.get() & ~IN_DRIVER) == 0;
    }

    /** The isolation level, if it is known without asking. */
    @Nullable
    Integer knownIsolation() {
        return isPristine() ? isolation : null;
    }

    @Nullable
    String knownSchema() {
        return isPristine() ? schema : null;
    }

    private void forget() {
        isolation = null;
        schema = null;
    }

    void learnIsolation(int level) {
        if (isPristine()) isolation = level;
    }

    void learnSchema(@Nullable String name) {
        if (isPristine()) schema = name;
    }
}
