package dev.nanopool;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.nanopool.sql.Change;
import dev.nanopool.testkit.FakeServer;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.SQLWarning;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.postgresql.core.BaseConnection;
import org.postgresql.jdbc.AutoSave;
import org.postgresql.jdbc.PgConnection;

/** What the pool sends to undo a change, without a server. A stand-in agrees to everything. */
@Timeout(60)
class SessionStateTest {
    private static final String EVERYTHING = "RESET SESSION AUTHORIZATION|RESET ROLE|CLOSE ALL|RESET ALL|UNLISTEN *"
            + "|SELECT pg_catalog.pg_advisory_unlock_all()|DISCARD TEMP|DO";

    /** What the server was sent, key words only where a statement is long. */
    private final List<String> sent = Collections.synchronizedList(new ArrayList<>());

    /** What the server reports (name and value), by the statement that it answers so. */
    private final Map<String, String> reports = new ConcurrentHashMap<>();

    private final List<AutoCloseable> open = new ArrayList<>();
    private BaseConnection connection;
    private SessionState session;

    SessionStateTest() throws Exception {
        var server = new FakeServer(client -> {
            client.readStartup();
            client.welcome();
            var state = new char[] {'I'};
            client.serve(sql -> {
                sent.add(sql.startsWith("DO ") ? "DO" : sql);
                if (sql.startsWith("BEGIN")) state[0] = 'T';
                else if (sql.equals("FAIL")) state[0] = 'E';
                else if (sql.equals("ROLLBACK") || sql.equals("COMMIT")) state[0] = 'I';
                String report = reports.get(sql);
                if (report != null) client.send('S', report.replace('=', '\0') + "\0");
                return state[0];
            });
        });
        open.add(server);
        Connection opened = DriverManager.getConnection("jdbc:postgresql://localhost:" + server.port()
                + "/db?user=app&sslmode=disable&gssEncMode=disable&assumeMinServerVersion=12");
        open.addFirst(opened);
        connection = opened.unwrap(BaseConnection.class);
        session = new SessionState(connection, ResetMode.TRACKED, false, "");
    }

    @BeforeEach
    void forgetTheLogin() {
        sent.clear();
    }

    @AfterEach
    void close() throws Exception {
        for (AutoCloseable each : open) each.close();
    }

    private void execute(String sql) throws Exception {
        session.sent(sql, 0);
        try (Statement statement = connection.createStatement()) {
            statement.execute(sql);
        }
        sent.remove(sql);
    }

    private void mode(ResetMode mode, boolean readOnlyInServer) throws Exception {
        session = new SessionState(connection, mode, readOnlyInServer, "");
    }

    private String reset() throws Exception {
        session.reset();
        return String.join("|", sent);
    }

    // What costs nothing

    @Test
    void cleanLeaseMustBeResetWithoutTheServer() throws Exception {
        assertThat(session.resetLocally()).isTrue();
        execute("SELECT 1");
        assertThat(session.resetLocally()).isTrue();
        assertThat(sent).isEmpty();
    }

    @Test
    void cleanSessionMustSendNothing() throws Exception {
        execute("SELECT 1");
        assertThat(reset()).isEmpty();
    }

    // What lives in the driver is put back to what it was when the connection was opened.
    @Test
    void changesInTheDriverMustBeUndoneWithoutTheServer() throws Exception {
        connection.setReadOnly(true);
        connection.setHoldability(ResultSet.HOLD_CURSORS_OVER_COMMIT);
        connection.setNetworkTimeout(Runnable::run, 5_000);
        connection.setTypeMap(new HashMap<>(Map.of("a", String.class)));
        connection.setAutoCommit(false);
        changeDriver();
        for (Change change : Change.values()) {
            if (change.compareTo(Change.ISOLATION) < 0) session.changed(change);
        }
        assertThat(session.resetLocally()).isTrue();
        assertThat(connection.isReadOnly()).isFalse();
        assertThat(connection.getHoldability()).isEqualTo(ResultSet.CLOSE_CURSORS_AT_COMMIT);
        assertThat(connection.getNetworkTimeout()).isZero();
        assertThat(connection.getTypeMap()).isEmpty();
        assertThat(connection.getAutoCommit()).isTrue();
        driverMustBeAsBefore();
        assertThat(sent).isEmpty();
    }

    private void changeDriver() throws Exception {
        connection.setPrepareThreshold(1);
        connection.setDefaultFetchSize(10);
        connection.setQueryTimeout(3);
        connection.setAdaptiveFetch(true);
        connection.setAutosave(AutoSave.ALWAYS);
    }

    private void driverMustBeAsBefore() throws Exception {
        assertThat(connection.getPrepareThreshold()).isEqualTo(5);
        assertThat(connection.getDefaultFetchSize()).isZero();
        assertThat(connection.getQueryTimeout()).isZero();
        assertThat(connection.getAdaptiveFetch()).isFalse();
        assertThat(connection.getAutosave()).isEqualTo(AutoSave.NEVER);
    }

    // Settings that a connection was opened with are its own, and no lease's change.
    @Test
    void settingsOfTheConnectionMustBeReturnedTo() throws Exception {
        connection.setReadOnly(true);
        connection.setNetworkTimeout(Runnable::run, 7_000);
        changeDriver();
        mode(ResetMode.TRACKED, false);
        connection.setReadOnly(false);
        connection.setNetworkTimeout(Runnable::run, 0);
        connection.setPrepareThreshold(5);
        connection.setDefaultFetchSize(0);
        connection.setQueryTimeout(0);
        connection.setAdaptiveFetch(false);
        connection.setAutosave(AutoSave.NEVER);
        session.changed(Change.READ_ONLY);
        session.changed(Change.NETWORK_TIMEOUT);
        session.changed(Change.DRIVER);
        assertThat(session.resetLocally()).isTrue();
        assertThat(connection.isReadOnly()).isTrue();
        assertThat(connection.getNetworkTimeout()).isEqualTo(7_000);
        assertThat(connection.getPrepareThreshold()).isEqualTo(1);
        assertThat(connection.getDefaultFetchSize()).isEqualTo(10);
        assertThat(connection.getQueryTimeout()).isEqualTo(3);
        assertThat(connection.getAdaptiveFetch()).isTrue();
        assertThat(connection.getAutosave()).isEqualTo(AutoSave.ALWAYS);
    }

    // Nothing is set that no lease has changed, which makes a clean lease cheap.
    @Test
    void unchangedSettingsMustNotBeTouched() throws Exception {
        connection.setReadOnly(true);
        connection.setHoldability(ResultSet.HOLD_CURSORS_OVER_COMMIT);
        connection.setNetworkTimeout(Runnable::run, 5_000);
        connection.setTypeMap(new HashMap<>(Map.of("a", String.class)));
        connection.setDefaultFetchSize(10);
        session.changed(Change.AUTO_COMMIT);
        assertThat(session.resetLocally()).isTrue();
        assertThat(connection.isReadOnly()).isTrue();
        assertThat(connection.getHoldability()).isEqualTo(ResultSet.HOLD_CURSORS_OVER_COMMIT);
        assertThat(connection.getNetworkTimeout()).isEqualTo(5_000);
        assertThat(connection.getTypeMap()).isNotEmpty();
        assertThat(connection.getDefaultFetchSize()).isEqualTo(10);
    }

    @Test
    void warningsMustNotReachTheNextLease() throws Exception {
        ((PgConnection) connection).addWarning(new SQLWarning("of the last lease"));
        execute("SELECT 1");
        assertThat(session.resetLocally()).isTrue();
        assertThat((Object) connection.getWarnings()).isNull();
    }

    @Test
    void readOnlyModeKeptInTheServerMustNotBeUndoneOnTheCallersThread() throws Exception {
        mode(ResetMode.TRACKED, true);
        session.changed(Change.READ_ONLY);
        assertThat(session.resetLocally()).isFalse();
        mode(ResetMode.TRACKED, true);
        session.changed(Change.HOLDABILITY);
        assertThat(session.resetLocally()).isTrue();
    }

    // What costs a round trip

    // Each change is undone by its own statement, and by no other.
    @ParameterizedTest
    @CsvSource(delimiter = ':', textBlock = """
            ISOLATION   : RESET default_transaction_isolation
            SCHEMA      : RESET search_path|DISCARD TEMP
            CLIENT_INFO : RESET application_name
            SETTINGS    : RESET ALL|DISCARD TEMP
            ROLE        : RESET SESSION AUTHORIZATION|RESET ROLE
            LISTEN      : UNLISTEN *
            LOCKS       : SELECT pg_catalog.pg_advisory_unlock_all()
            TEMP        : DISCARD TEMP
            PREPARED    : DO
            CURSORS     : CLOSE ALL
            """)
    void changeMustBeUndoneByItsStatement(Change change, String statements) throws Exception {
        session.changed(change);
        assertThat(session.resetLocally()).isFalse();
        assertThat(reset()).isEqualTo(statements);
        assertThat(session.resetLocally()).isTrue();
    }

    @Test
    void changesOfSqlTextMustBeUndoneToo() throws Exception {
        session.sent("LISTEN x", Change.LISTEN.bit() | Change.LOCKS.bit());
        assertThat(reset()).isEqualTo("UNLISTEN *|SELECT pg_catalog.pg_advisory_unlock_all()");
    }

    @Test
    void unknownChangeMustHaveEverythingUndone() throws Exception {
        session.changed(Change.UNKNOWN);
        assertThat(session.resetLocally()).isFalse();
        assertThat(reset()).isEqualTo(EVERYTHING);
    }

    // A caller that had the driver's own object may have changed anything in it, the driver's statements included.
    @Test
    void unwrappedConnectionMustBePutBackInDriverAndServer() throws Exception {
        connection.setReadOnly(true);
        connection.setHoldability(ResultSet.HOLD_CURSORS_OVER_COMMIT);
        connection.setNetworkTimeout(Runnable::run, 5_000);
        connection.setTypeMap(new HashMap<>(Map.of("a", String.class)));
        changeDriver();
        session.changed(Change.UNWRAPPED);
        assertThat(session.resetLocally()).isFalse();
        assertThat(reset()).isEqualTo(EVERYTHING + "|DEALLOCATE ALL");
        assertThat(connection.isReadOnly()).isFalse();
        assertThat(connection.getHoldability()).isEqualTo(ResultSet.CLOSE_CURSORS_AT_COMMIT);
        assertThat(connection.getNetworkTimeout()).isZero();
        assertThat(connection.getTypeMap()).isEmpty();
        driverMustBeAsBefore();
    }

    // What the server reports tells of changes that no text has shown.
    @ParameterizedTest
    @CsvSource(delimiter = ':', textBlock = """
            search_path=a                   : RESET search_path|DISCARD TEMP
            application_name=a              : RESET application_name
            TimeZone=CET                    : RESET ALL|DISCARD TEMP
            is_superuser=off                : RESET SESSION AUTHORIZATION|RESET ROLE
            session_authorization=a         : RESET SESSION AUTHORIZATION|RESET ROLE
            some_new_parameter=a            : RESET ALL|DISCARD TEMP
            """)
    void reportedChangeMustBeUndone(String report, String statements) throws Exception {
        reports.put("SELECT f()", report);
        execute("SELECT f()");
        assertThat(session.resetLocally()).isFalse();
        assertThat(reset()).isEqualTo(statements);
        assertThat(session.resetLocally()).as("it is now the session's own").isTrue();
    }

    @Test
    void otherMeaningOfStringsMustHaveEverythingUndone() throws Exception {
        reports.put("SELECT f()", "standard_conforming_strings=off");
        execute("SELECT f()");
        assertThat(reset()).isEqualTo(EVERYTHING);
    }

    // The server's own state is not the session's.
    @ParameterizedTest
    @ValueSource(
            strings = {
                "in_hot_standby=on",
                "server_version=19.0",
                "server_encoding=LATIN1",
                "integer_datetimes=off",
                "TimeZone=UTC"
            })
    void reportOfTheServersOwnStateMustCostNothing(String report) throws Exception {
        reports.put("SELECT f()", report);
        execute("SELECT f()");
        assertThat(session.resetLocally()).isTrue();
        assertThat(reset()).isEmpty();
    }

    // Modes

    @Test
    void modeAlwaysMustUndoEverythingAfterAnyUse() throws Exception {
        mode(ResetMode.ALWAYS, false);
        assertThat(session.resetLocally()).as("not used").isTrue();
        execute("SELECT 1");
        assertThat(session.resetLocally()).isFalse();
        assertThat(reset()).isEqualTo(EVERYTHING);
    }

    @Test
    void modeNoneMustUndoWhatLivesInTheDriverOnly() throws Exception {
        mode(ResetMode.NONE, false);
        connection.setNetworkTimeout(Runnable::run, 5_000);
        session.changed(Change.NETWORK_TIMEOUT);
        session.changed(Change.SETTINGS);
        session.changed(Change.UNKNOWN);
        assertThat(session.resetLocally()).isTrue();
        assertThat(connection.getNetworkTimeout()).isZero();
        session.changed(Change.SETTINGS);
        assertThat(reset()).isEmpty();
    }

    // What a lease has changed stays, and the next one must not be told what was true before.
    @Test
    void modeNoneMustRememberNothingBetweenLeases() throws Exception {
        mode(ResetMode.NONE, false);
        session.learnIsolation(Connection.TRANSACTION_READ_COMMITTED);
        session.learnSchema("public");
        session.changed(Change.ISOLATION);
        assertThat(session.resetLocally()).isTrue();
        assertKnown(null, null);
        session.learnSchema("public");
        session.changed(Change.SCHEMA);
        assertThat(reset()).isEmpty();
        assertKnown(null, null);
    }

    // Transactions

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void openTransactionMustBeRolledBack(boolean autoCommit) throws Exception {
        connection.setAutoCommit(autoCommit);
        execute(autoCommit ? "BEGIN" : "UPDATE t");
        sent.clear();
        assertThat(session.isIdle()).isFalse();
        assertThat(session.resetLocally()).isFalse();
        assertThat(reset()).isEqualTo("ROLLBACK");
        assertThat(session.isIdle()).isTrue();
        assertThat(connection.getAutoCommit()).isTrue();
    }

    // A transaction begun behind the pool's back shows in the driver's status, even if no setter reported it.
    @Test
    void transactionBegunBehindThePoolMustNotBeLeftOpen() throws Exception {
        try (Statement statement = connection.createStatement()) {
            statement.execute("BEGIN");
        }
        assertThat(session.resetLocally()).isFalse();
    }

    @Test
    void failedTransactionMustBeKnown() throws Exception {
        assertThat(session.hasFailed()).isFalse();
        execute("BEGIN");
        assertThat(session.hasFailed()).isFalse();
        execute("FAIL");
        assertThat(session.hasFailed()).isTrue();
        assertThat(session.isIdle()).isFalse();
    }

    // The text that began a transaction is the last one before it.
    @Test
    void openerMustBeTheTextThatBeganTheTransaction() throws Exception {
        assertThat(session.opener()).isNull();
        execute("SELECT 1");
        execute("BEGIN");
        execute("UPDATE t");
        assertThat(session.opener()).isEqualTo("BEGIN");
        reset();
        assertThat(session.opener()).as("the next lease's is its own").isNull();
        execute("SELECT 2");
        assertThat(session.resetLocally()).isTrue();
        assertThat(session.opener()).isNull();
    }

    // The rest

    @Test
    void irreversibleChangeMustBeRemembered() {
        assertThat(session.isIrreversible()).isFalse();
        session.irreversible();
        assertThat(session.isIrreversible()).isTrue();
    }

    // Text that changes what no statement undoes costs the connection, unless the pool's user wants changes to stay.
    @ParameterizedTest
    @EnumSource(ResetMode.class)
    void irreversibleTextMustBeRememberedUnlessChangesStay(ResetMode mode) throws Exception {
        mode(mode, false);
        session.sent("LOAD 'x'", Change.IRREVERSIBLE.bit());
        assertThat(session.isIrreversible()).isEqualTo(mode != ResetMode.NONE);
    }

    @Test
    void queryTimeoutMustBeTheDriversInNanoseconds() throws Exception {
        connection.setQueryTimeout(3);
        assertThat(session.queryTimeoutNanos()).isEqualTo(TimeUnit.SECONDS.toNanos(3));
    }

    // What was asked once is known, until a lease may have changed it.
    @Test
    void defaultsMustBeKnownOnceTheyWereAsked() throws Exception {
        assertKnown(null, null);
        session.learnIsolation(Connection.TRANSACTION_READ_COMMITTED);
        session.learnSchema("public");
        assertKnown(Connection.TRANSACTION_READ_COMMITTED, "public");
        session.changed(Change.READ_ONLY);
        assertKnown(Connection.TRANSACTION_READ_COMMITTED, "public");
        execute("BEGIN");
        assertKnown(null, null);
        reset();
        assertKnown(Connection.TRANSACTION_READ_COMMITTED, null);
        session.changingIsolation();
        assertKnown(null, null);
        session.changedIsolation(Connection.TRANSACTION_SERIALIZABLE);
        assertKnown(Connection.TRANSACTION_SERIALIZABLE, null);
        reset();
        assertKnown(null, null);
    }

    // Any session can create or drop a schema, so that the first one of the path is known for a moment only.
    @Test
    void schemaMustBeForgottenWithTheFirstText() throws Exception {
        session.learnSchema("public");
        session.sent("SELECT 1", 0);
        assertKnown(null, null);
        session.learnSchema("public");
        assertKnown(null, null);
        assertThat(session.resetLocally()).isTrue();
        session.learnSchema("public");
        assertThat(session.resetLocally()).isTrue();
        assertKnown(null, null);
    }

    @Test
    void nothingMustBeKnownAfterAReport() throws Exception {
        session.learnIsolation(Connection.TRANSACTION_READ_COMMITTED);
        session.learnSchema("public");
        reports.put("SELECT f()", "TimeZone=CET");
        execute("SELECT f()");
        assertKnown(null, null);
    }

    // A level that JDBC has set back is no change, if it is known to be the one of the opening.
    @Test
    void isolationThatIsBackMustCostNothing() throws Exception {
        session.learnIsolation(Connection.TRANSACTION_READ_COMMITTED);
        setIsolation(Connection.TRANSACTION_SERIALIZABLE);
        assertThat(session.resetLocally()).isFalse();
        setIsolation(Connection.TRANSACTION_READ_COMMITTED);
        assertThat(session.resetLocally()).isTrue();
        assertKnown(Connection.TRANSACTION_READ_COMMITTED, null);
        session.changingIsolation(); // and then it fails, so the level is not known
        assertThat(session.resetLocally()).isFalse();
    }

    private void setIsolation(int level) {
        session.changingIsolation();
        session.changedIsolation(level);
    }

    @Test
    void isolationThatMayNeverHaveBeenAnotherMustBeReset() throws Exception {
        setIsolation(Connection.TRANSACTION_READ_COMMITTED);
        assertThat(session.resetLocally()).as("its level is unknown").isFalse();
    }

    // What set the session up is undone as a whole, and made again after that.
    @Test
    void setUpMustBeRepeatedAfterAReset() throws Exception {
        session = new SessionState(connection, ResetMode.TRACKED, false, "SET a = 1;SET b = 2");
        execute("SELECT 1");
        assertThat(session.resetLocally()).isTrue();
        session.changed(Change.LISTEN);
        assertThat(reset()).isEqualTo("BEGIN|" + EVERYTHING + "|COMMIT|SET a = 1|SET b = 2");
    }

    @Test
    void setUpThatLeavesATransactionOpenMustFailTheReset() throws Exception {
        session = new SessionState(connection, ResetMode.TRACKED, false, "BEGIN");
        session.changed(Change.LISTEN);
        assertThatThrownBy(session::reset)
                .isInstanceOfSatisfying(
                        SQLException.class, e -> assertThat(e.getSQLState()).isEqualTo("25001"));
    }

    @Test
    void modeNoneMustNotRepeatTheSetUp() throws Exception {
        session = new SessionState(connection, ResetMode.NONE, false, "SET a = 1");
        session.changed(Change.SETTINGS);
        assertThat(reset()).isEmpty();
    }

    // With backslashes in strings the text is not what it seems.
    @Test
    void sessionWithBackslashesInStringsMustBeResetAfterAnyUse() throws Exception {
        reports.put("SELECT f()", "standard_conforming_strings=off");
        execute("SELECT f()");
        reset();
        sent.clear();
        execute("SELECT 1");
        assertThat(session.resetLocally()).isFalse();
        assertThat(reset()).isEqualTo(EVERYTHING);
    }

    private void assertKnown(@Nullable Integer isolation, @Nullable String schema) {
        assertThat(session.knownIsolation()).isEqualTo(isolation);
        assertThat(session.knownSchema()).isEqualTo(schema);
    }

    @ParameterizedTest
    @EnumSource(names = {"ISOLATION", "SCHEMA", "SETTINGS", "UNKNOWN"})
    void nothingMustBeLearntOfAChangedSession(Change change) throws Exception {
        session.changed(change);
        session.learnIsolation(Connection.TRANSACTION_SERIALIZABLE);
        session.learnSchema("other");
        reset();
        assertKnown(null, null);
    }

    @Test
    void nothingMustBeLearntInATransaction() throws Exception {
        execute("BEGIN");
        session.learnIsolation(Connection.TRANSACTION_SERIALIZABLE);
        session.learnSchema("other");
        reset();
        assertKnown(null, null);
    }
}
