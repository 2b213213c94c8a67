package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.nanopool.Credentials;
import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import dev.nanopool.Pooler;
import dev.nanopool.TlsMode;
import dev.nanopool.sql.Change;
import dev.nanopool.testkit.FaultProxy;
import dev.nanopool.testkit.FaultProxy.Fault;
import dev.nanopool.testkit.FaultProxy.Message;
import dev.nanopool.testkit.Log;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.TestServer;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.SQLFeatureNotSupportedException;
import java.sql.Statement;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Queue;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.logging.Level;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.postgresql.PGConnection;
import org.postgresql.PGStatement;
import org.postgresql.core.BaseConnection;
import org.postgresql.jdbc.AutoSave;
import org.postgresql.largeobject.LargeObjectManager;

/** What the setting {@code pooler} makes a pool send, and what the pool reports. {@link PoolerTest} has a real pooler. */
class SharedSessionTest extends PoolTestBase {
    @FunctionalInterface
    interface Deed {
        void in(Connection client) throws SQLException;
    }

    /** What a lease does, and the changes that the pool reports. */
    record Case(String name, Deed deed, Set<Change> changes) {
        Case(String name, Deed deed, Change... changes) {
            this(name, deed, new TreeSet<>(Arrays.asList(changes)));
        }

        @Override
        public String toString() {
            return name;
        }
    }

    private final Queue<Message> sent = new ConcurrentLinkedQueue<>();

    private static Case sql(String sql, Change... changes) {
        return new Case(sql, client -> TestServer.execute(client, sql), changes);
    }

    static Stream<Case> cases() {
        return Stream.of(
                new Case(
                        "setTransactionIsolation",
                        client -> client.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE),
                        Change.ISOLATION),
                new Case("setSchema", client -> client.setSchema("pg_catalog"), Change.SCHEMA),
                new Case("setSchema of pg_temp", client -> client.setSchema("pg_temp"), Change.SCHEMA, Change.TEMP),
                new Case("setClientInfo", client -> client.setClientInfo("ApplicationName", "x"), Change.CLIENT_INFO),
                sql("SET work_mem = '2MB'", Change.SETTINGS),
                sql("RESET work_mem", Change.SETTINGS),
                sql("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", Change.SETTINGS),
                sql("BEGIN; SET search_path = x; COMMIT", Change.SETTINGS),
                sql("SELECT set_config('work_mem', '2MB', false)", Change.SETTINGS, Change.ROLE),
                sql("SELECT set_config('a.b', '1', true), set_config('a.b', '2', false)", Change.SETTINGS, Change.ROLE),
                sql("UPDATE pg_settings SET setting = '2MB' WHERE name = 'work_mem'", Change.SETTINGS, Change.ROLE),
                sql("SELECT hidden_zone()", Change.SETTINGS),
                sql("SET ROLE pg_monitor", Change.ROLE),
                sql("SET SESSION AUTHORIZATION DEFAULT", Change.ROLE),
                sql("LISTEN x", Change.LISTEN),
                sql("SELECT pg_advisory_lock(1)", Change.LOCKS),
                sql("SELECT pg_try_advisory_lock_shared(1)", Change.LOCKS),
                sql("CREATE TEMP TABLE IF NOT EXISTS t (n int)", Change.TEMP),
                sql("DEALLOCATE ALL; PREPARE p AS SELECT 1", Change.PREPARED),
                new Case(
                        "setPrepareThreshold",
                        client -> client.unwrap(PGConnection.class).setPrepareThreshold(1),
                        Change.PREPARED),
                new Case(
                        "setPrepareThreshold of a statement",
                        client -> {
                            try (PreparedStatement statement = client.prepareStatement("SELECT 1")) {
                                statement.unwrap(PGStatement.class).setPrepareThreshold(1);
                            }
                        },
                        Change.PREPARED),
                sql("BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT 1; COMMIT; CLOSE c", Change.CURSORS),
                sql("DO $$ BEGIN END $$", Change.UNKNOWN),
                sql("DISCARD ALL", Change.UNKNOWN),
                new Case("unwrap", client -> client.unwrap(BaseConnection.class), Change.UNWRAPPED),
                sql("LOAD 'plpgsql'", Change.IRREVERSIBLE),
                new Case(
                        "getReplicationAPI",
                        client -> client.unwrap(PGConnection.class).getReplicationAPI(),
                        Change.IRREVERSIBLE),
                // These end with the transaction, or are the driver's alone.
                sql("BEGIN; SET LOCAL work_mem = '2MB'; SET TRANSACTION READ ONLY; SET LOCAL ROLE pg_monitor; COMMIT"),
                sql("SELECT set_config('work_mem', '2MB', true), pg_catalog.set_config('a.b', '1' , TRUE )"),
                sql("BEGIN; CREATE TEMP TABLE d (n int) ON COMMIT DROP; SELECT pg_advisory_xact_lock(1); COMMIT"),
                sql("BEGIN; DECLARE c CURSOR FOR SELECT 1; FETCH c; NOTIFY x; COMMIT"),
                new Case("setReadOnly", client -> {
                    client.setReadOnly(true);
                    client.setAutoCommit(false);
                    TestServer.query(client, "SELECT 1");
                    client.commit();
                }),
                new Case("ten executions", client -> {
                    try (PreparedStatement statement = client.prepareStatement("SELECT ?::int")) {
                        for (int i = 0; i < 10; i++) {
                            statement.setInt(1, i);
                            statement.executeQuery().close();
                        }
                    }
                }),
                new Case("setFetchSize", SharedSessionTest::fetchInParts),
                new Case("the driver's own statements", SharedSessionTest::useAllOfTheDriver),
                new Case("a transaction left open", client -> {
                    client.setHoldability(ResultSet.HOLD_CURSORS_OVER_COMMIT);
                    TestServer.execute(client, "BEGIN");
                }));
    }

    /** A cursor needs no statement with a name. */
    private static void fetchInParts(Connection client) throws SQLException {
        client.setAutoCommit(false);
        try (Statement statement = client.createStatement()) {
            statement.setFetchSize(2);
            try (ResultSet rows = statement.executeQuery("SELECT generate_series(1, 5)")) {
                int count = 0;
                while (rows.next()) count++;
                assertThat(count).isEqualTo(5);
            }
        }
        client.commit();
    }

    /** Calls for which the driver sends statements of its own. */
    private static void useAllOfTheDriver(Connection client) throws SQLException {
        assertThat(client.isValid(5)).isTrue();
        client.getMetaData().getTables(null, "pg_catalog", "pg_class", null).close();
        client.getMetaData().getTypeInfo().close();
        client.createArrayOf("pg_catalog.pg_class", new Object[0]).free();
        try (PreparedStatement statement = client.prepareStatement("SELECT ?::regclass, ?::pg_class")) {
            assertThat(statement.getParameterMetaData().getParameterTypeName(1)).isEqualTo("regclass");
            assertThatThrownBy(statement::getMetaData).isInstanceOf(SQLFeatureNotSupportedException.class);
            statement.setString(1, "pg_class");
            statement.setString(2, null);
            try (ResultSet rows = statement.executeQuery()) {
                assertThat(statement.getMetaData().getColumnTypeName(2)).isEqualTo("pg_class");
                assertThat(rows.getMetaData().isNullable(1)).isEqualTo(ResultSetMetaData.columnNullableUnknown);
            }
        }
        client.unwrap(PGConnection.class).setAutosave(AutoSave.ALWAYS);
        client.setAutoCommit(false);
        try (PreparedStatement create =
                client.prepareStatement("CREATE TABLE IF NOT EXISTS shared_rows (id serial PRIMARY KEY, n int)")) {
            create.execute();
        }
        client.setSavepoint();
        for (int i = 0; i < 3; i++) {
            try (PreparedStatement insert = client.prepareStatement(
                    "INSERT INTO shared_rows (n) VALUES (?)", Statement.RETURN_GENERATED_KEYS)) {
                for (int n = 0; n < 3; n++) {
                    insert.setInt(1, n);
                    insert.addBatch();
                }
                insert.executeBatch();
            }
        }
        try (Statement updatable =
                        client.createStatement(ResultSet.TYPE_SCROLL_INSENSITIVE, ResultSet.CONCUR_UPDATABLE);
                ResultSet rows = updatable.executeQuery("SELECT id, n FROM shared_rows")) {
            while (rows.next()) {
                rows.updateInt("n", 7);
                rows.updateRow();
                rows.refreshRow();
            }
        }
        LargeObjectManager objects = client.unwrap(PGConnection.class).getLargeObjectAPI();
        objects.delete(objects.createLO());
        client.rollback();
    }

    /** Each change of the server is among the cases. */
    @Test
    void casesMustCoverEachChangeOfTheServer() {
        assertThat(cases().flatMap(each -> each.changes.stream()).collect(Collectors.toSet()))
                .containsExactlyInAnyOrderElementsOf(Arrays.stream(Change.values())
                        .filter(change -> change.compareTo(Change.ISOLATION) >= 0)
                        .toList());
    }

    private FaultProxy recorded() throws Exception {
        FaultProxy proxy = proxy();
        proxy.at(
                message -> {
                    sent.add(message);
                    return false;
                },
                Fault.SILENT);
        return proxy;
    }

    private List<String> texts(char type) {
        return sent.stream()
                .filter(message -> message.type() == type)
                .map(Message::text)
                .toList();
    }

    /** The SQL texts of simple queries, and of statements to be prepared, those without a name. */
    private List<String> statements() {
        return Stream.concat(texts('Q').stream(), texts('P').stream())
                .map(text -> text.split("\0", 3))
                .map(parts -> parts[0].isEmpty() ? parts[1] : parts[0])
                .toList();
    }

    // Each change is reported once for its place in the code, nothing is sent to undo it, and no statement has a name.
    @ParameterizedTest
    @MethodSource("cases")
    void changeMustBeReportedOnce(Case each) throws Exception {
        try (Connection direct = TestServer.direct()) {
            TestServer.execute(
                    direct,
                    "CREATE OR REPLACE FUNCTION hidden_zone() RETURNS text LANGUAGE SQL AS"
                            + " $$ SELECT set_config('TimeZone', 'Asia/Tokyo', false) $$");
        }
        FaultProxy proxy = recorded();
        Pool pool = open(config(proxy).size(1).pooler(Pooler.TRANSACTION));
        try (Log log = Log.of(Level.WARNING)) {
            for (int i = 0; i < 2; i++) {
                Connection client = pool.client();
                each.deed.in(client);
                boolean isOpen = each.name.startsWith("a transaction");
                assertThat(texts('P')).as("without a name").allMatch(text -> text.startsWith("\0"));
                sent.clear();
                client.close();
                pool.client().close();
                boolean isReplaced = pool.stats().closed() > 0;
                if (!isReplaced) assertThat(statements()).isEqualTo(isOpen ? List.of("ROLLBACK") : List.of());
            }
            String name = pool.stats().name() + ": a lease ";
            List<String> lines =
                    log.lines().stream().filter(line -> line.startsWith(name)).toList();
            assertThat(lines)
                    .hasSize(each.changes.size())
                    .allSatisfy(line -> assertThat(line)
                            .contains("write ")
                            .containsPattern("; at dev\\.nanopool\\.(testkit|postgres)\\..*\\.java:\\d+\\)$"));
            for (Change change : each.changes) {
                assertThat(lines)
                        .filteredOn(line -> line.contains(
                                "(" + change.name().toLowerCase(Locale.ROOT).replace('_', ' ') + ")"))
                        .as("%s", change)
                        .hasSize(1);
            }
        }
    }

    private PoolConfig.Builder withDefaults(String url, Pooler pooler) {
        return config(url)
                .tls(TlsMode.DISABLE)
                .size(1)
                .pooler(pooler)
                .driverProperty("currentSchema", "pg_catalog,\"$user\"")
                .parameter("statement_timeout", "55000")
                .parameter("default_transaction_isolation", "repeatable read")
                .parameter("default_transaction_read_only", "on");
    }

    private static void assertDefaults(Pool pool) throws SQLException {
        try (Connection client = pool.client()) {
            assertThat(TestServer.query(client, "SHOW statement_timeout")).isEqualTo("55s");
            assertThat(client.getTransactionIsolation()).isEqualTo(Connection.TRANSACTION_REPEATABLE_READ);
            assertThat(TestServer.query(client, "SHOW transaction_read_only")).isEqualTo("on");
            assertThat(client.getSchema()).isEqualTo("pg_catalog");
        }
    }

    /** The names of the parameters in the last startup packet, without what is in front of them. */
    private Set<String> startup() {
        String[] words = texts(Message.STARTUP).getLast().split("\0");
        Set<String> names = new TreeSet<>();
        for (int i = words.length % 2; i < words.length; i += 2) names.add(words[i]);
        names.removeIf(name -> !name.matches("\\w+"));
        return names;
    }

    // Behind a pooler the startup packet has no options. What is not in effect is set by SQL, which a reset repeats.
    @ParameterizedTest
    @EnumSource(names = {"NONE", "SESSION"})
    void defaultsMustBeInEffect(Pooler pooler) throws Exception {
        FaultProxy proxy = recorded();
        Pool pool = open(withDefaults(proxy.url(), pooler));
        assertThat(startup().containsAll(Set.of("options", "search_path"))).isEqualTo(pooler == Pooler.NONE);
        assertDefaults(pool);
        try (Connection client = pool.client()) {
            TestServer.execute(client, "RESET ALL; LISTEN x");
        }
        assertDefaults(pool);
        assertThat(pool.stats().opened()).isEqualTo(1);
    }

    // A transaction pooler cannot keep them. They must be in effect, else the refusal names them.
    @Test
    void defaultsOfATransactionPoolerMustBeTheServers() throws Exception {
        FaultProxy proxy = recorded();
        assertThatThrownBy(() -> open(withDefaults(proxy.url(), Pooler.TRANSACTION)))
                .isInstanceOfSatisfying(
                        SQLException.class, e -> assertThat(e.getSQLState()).isEqualTo("22023"))
                .hasMessageContainingAll(
                        "parameter default_transaction_isolation (transactionIsolation), "
                                + "default_transaction_read_only (readOnly), search_path (schema, currentSchema), "
                                + "statement_timeout;",
                        "write ALTER ROLE ... SET default_transaction_isolation = ...");
        // PgBouncer takes each of these without being told.
        assertThat(startup())
                .isEqualTo(Set.of("user", "database", "client_encoding", "DateStyle", "TimeZone", "application_name"));
        try (Connection direct = TestServer.direct()) {
            TestServer.execute(direct, """
                    DROP ROLE IF EXISTS shared_login;
                    CREATE ROLE shared_login LOGIN SUPERUSER PASSWORD 'pw';
                    ALTER ROLE shared_login SET statement_timeout = '55s';
                    ALTER ROLE shared_login SET search_path = pg_catalog, "$user";
                    ALTER ROLE shared_login SET default_transaction_isolation = 'repeatable read';
                    ALTER ROLE shared_login SET default_transaction_read_only = on""");
        }
        assertDefaults(open(withDefaults(proxy.url(), Pooler.TRANSACTION)
                .credentials(() -> new Credentials("shared_login", "pw"))));
        assertThat(texts('Q')).noneMatch(sql -> sql.contains("set_config"));
    }
}
