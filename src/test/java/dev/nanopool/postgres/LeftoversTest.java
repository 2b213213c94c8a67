package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;

import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import dev.nanopool.ResetMode;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.TestServer;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.postgresql.PGConnection;
import org.postgresql.core.BaseConnection;
import org.postgresql.jdbc.AutoSave;
import org.postgresql.jdbc.PgConnection;
import org.postgresql.util.PGmoney;

/**
 * What a lease leaves behind, and that the next one sees nothing of it. Each row says what the first lease does; a
 * fingerprint of the whole session, taken before, must be the same in the next lease, and must differ in between.
 */
@Tag("server")
@Timeout(180)
class LeftoversTest {
    /** What a lease does. */
    @FunctionalInterface
    interface Deed {
        void in(Connection client) throws SQLException;
    }

    record Row(String name, boolean showsInSession, Deed deed) {
        @Override
        public String toString() {
            return name;
        }
    }

    record Case(ResetMode mode, boolean older, Row row) {
        @Override
        public String toString() {
            return mode + (older ? ", older server, " : ", ") + row;
        }
    }

    private static final List<String> TEXTS = List.of(
            "SET statement_timeout = '77s'",
            "  /* a comment */ set work_mem to '7MB'",
            "-- a line\nSET lock_timeout = 1234",
            "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            "SET default_transaction_read_only = on",
            "SET TIME ZONE 'Asia/Tokyo'",
            "SET search_path = pg_catalog",
            "SET application_name = 'somebody else'",
            "SET bytea_output = 'escape'",
            "SET IntervalStyle = 'iso_8601'",
            "SET extra_float_digits = 0",
            "SET my.tenant = '42'",
            "SET ROLE leftovers_other",
            "SET SESSION ROLE leftovers_other",
            "SET role TO 'leftovers_other'",
            "SET SESSION AUTHORIZATION leftovers_other",
            "SELECT set_config('statement_timeout', '88s', false)",
            "SELECT pg_catalog.set_config('role', 'leftovers_other', false)",
            "SELECT \"set_config\"('my.tenant', '43', false)",
            "UPDATE pg_settings SET setting = '77000' WHERE name = 'statement_timeout'",
            "SELECT 1 {fn \"}; SET work_mem = '7MB' --\"", // the driver drops the quote and the brace
            "LISTEN leftovers",
            "LISTEN \"Left Overs\"",
            "SELECT pg_advisory_lock(4711)",
            "SELECT pg_try_advisory_lock(47, 11)",
            "SELECT pg_advisory_lock_shared(4712)",
            "CREATE TEMP TABLE leftovers_temp (n int)",
            "CREATE TEMPORARY SEQUENCE leftovers_sequence",
            "CREATE OR REPLACE TEMP VIEW leftovers_view AS SELECT 1",
            "SELECT 1 AS n INTO TEMP leftovers_into",
            "SELECT 1 AS n INTO LOCAL TEMPORARY TABLE leftovers_into2",
            "CREATE TABLE pg_temp.leftovers_pg_temp (n int)",
            "CREATE FUNCTION pg_temp.leftovers_function() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "PREPARE leftovers_prepared AS SELECT 1",
            "BEGIN; DECLARE leftovers_cursor CURSOR WITH HOLD FOR SELECT 1; COMMIT",
            "DO $$ BEGIN PERFORM set_config('work_mem', '9MB', false); END $$",
            "DO $$ BEGIN CREATE TEMP TABLE leftovers_do (n int); PERFORM pg_advisory_lock(1); END $$",
            "CALL leftovers_procedure()");

    private static final Map<String, Pool> POOLS = new TreeMap<>();

    private static String older;

    @BeforeAll
    static void createRoles() throws Exception {
        older = TestServer.olderUrl();
        for (String url : List.of(TestServer.url(), older)) {
            try (Connection direct = java.sql.DriverManager.getConnection(TestServer.jdbc(url))) {
                TestServer.execute(direct, """
                        DROP ROLE IF EXISTS leftovers_other; CREATE ROLE leftovers_other SUPERUSER;
                        DROP ROLE IF EXISTS leftovers_login; CREATE ROLE leftovers_login LOGIN SUPERUSER PASSWORD 'pw';
                        ALTER ROLE leftovers_login SET role = 'leftovers_other';
                        ALTER ROLE leftovers_login SET work_mem = '11MB';
                        CREATE OR REPLACE FUNCTION leftovers_hidden() RETURNS text LANGUAGE sql
                        AS $$ SELECT set_config('statement_timeout', '99s', false) $$;
                        CREATE OR REPLACE FUNCTION leftovers_reported() RETURNS text LANGUAGE sql
                        AS $$ SELECT set_config('application_name', 'hidden', false) $$;
                        CREATE OR REPLACE PROCEDURE leftovers_procedure() LANGUAGE plpgsql
                        AS $$ BEGIN PERFORM set_config('work_mem', '10MB', false); END $$""");
            }
        }
    }

    @BeforeAll
    static void openPools() throws Exception {
        older = TestServer.olderUrl();
        for (ResetMode mode : List.of(ResetMode.TRACKED, ResetMode.ALWAYS)) {
            POOLS.put(mode + " false", Pool.create(config(TestServer.url(), mode)));
            POOLS.put(mode + " true", Pool.create(config(older, mode)));
        }
    }

    @AfterAll
    static void dropRoles() throws Exception {
        for (Pool pool : POOLS.values()) {
            assertThat(pool.stats().lost()).isZero();
            pool.close();
        }
        for (String url : List.of(TestServer.url(), older)) {
            try (Connection direct = java.sql.DriverManager.getConnection(TestServer.jdbc(url))) {
                TestServer.execute(direct, """
                        DROP PROCEDURE leftovers_procedure(); DROP FUNCTION leftovers_reported(); DROP FUNCTION leftovers_hidden();
                        DROP ROLE leftovers_login; DROP ROLE leftovers_other""");
            }
        }
    }

    private static Stream<Row> rows() {
        List<Row> rows = new ArrayList<>();
        for (String text : TEXTS) {
            rows.add(new Row("execute: " + text, true, client -> TestServer.execute(client, text)));
            rows.add(new Row(
                    "among others: " + text,
                    true,
                    client -> TestServer.execute(client, "SELECT ';'; " + text + "; SELECT 2")));
            if (!text.startsWith("BEGIN")) {
                rows.add(new Row("prepared: " + text, true, client -> {
                    try (PreparedStatement statement = client.prepareStatement(text)) {
                        statement.execute();
                    }
                }));
            }
            // The driver's batches take one statement each, and none with a result.
            if (!text.startsWith("BEGIN")
                    && !text.startsWith("UPDATE")
                    && !text.startsWith("SELECT 1 {")
                    && !text.startsWith("SELECT set")
                    && !text.startsWith("SELECT p")
                    && !text.startsWith("SELECT \"")) {
                rows.add(new Row("batch: " + text, true, client -> {
                    try (Statement statement = client.createStatement()) {
                        statement.addBatch("SET LOCAL work_mem = '1MB'");
                        statement.addBatch(text);
                        statement.executeBatch();
                    }
                }));
            }
        }
        rows.add(row(
                "reported parameter, set inside a function",
                c -> TestServer.execute(c, "SELECT leftovers_reported()")));
        rows.add(row("call syntax", c -> {
            try (var call = c.prepareCall("{call pg_advisory_lock(99)}")) {
                call.execute();
            }
        }));
        rows.add(row("setAutoCommit", c -> c.setAutoCommit(false)));
        rows.add(row("setReadOnly", c -> c.setReadOnly(true)));
        rows.add(row("setTransactionIsolation", c -> c.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE)));
        rows.add(row("setSchema", c -> c.setSchema("pg_catalog")));
        rows.add(row("setSchema in a transaction", c -> {
            c.setAutoCommit(false);
            c.setSchema("pg_catalog");
        }));
        rows.add(row(
                "pg_temp in the search path",
                c -> TestServer.execute(c, "SET search_path = 'pg_temp'; CREATE TABLE hidden (n int)")));
        rows.add(row("schema pg_temp", c -> {
            c.setSchema("pg_temp");
            TestServer.execute(c, "CREATE TABLE hidden (n int)");
        }));
        rows.add(row("setHoldability", c -> c.setHoldability(ResultSet.HOLD_CURSORS_OVER_COMMIT)));
        rows.add(row("setNetworkTimeout", c -> c.setNetworkTimeout(Runnable::run, 12_345)));
        rows.add(row("setTypeMap", c -> c.setTypeMap(Map.of("x", String.class))));
        rows.add(row("setClientInfo", c -> c.setClientInfo("ApplicationName", "somebody else")));
        rows.add(row("setPrepareThreshold", c -> ((PGConnection) c).setPrepareThreshold(1)));
        rows.add(row("setDefaultFetchSize", c -> ((PGConnection) c).setDefaultFetchSize(17)));
        rows.add(row("setQueryTimeout", c -> c.unwrap(BaseConnection.class).setQueryTimeout(17)));
        rows.add(row("setAutosave", c -> ((PGConnection) c).setAutosave(AutoSave.ALWAYS)));
        rows.add(row("setAdaptiveFetch", c -> ((PGConnection) c).setAdaptiveFetch(true)));
        rows.add(row("unwrapped setters", c -> c.unwrap(PgConnection.class).setPrepareThreshold(1)));
        rows.add(row("unwrapped SQL", c -> TestServer.execute(c.unwrap(PgConnection.class), "SET work_mem = '3MB'")));
        rows.add(new Row("addDataType", false, c -> ((PGConnection) c).addDataType("money", PGmoney.class)));
        rows.add(row("BEGIN as text", c -> TestServer.execute(c, "BEGIN; SET LOCAL work_mem = '2MB'")));
        rows.add(row("transaction by JDBC", c -> {
            c.setAutoCommit(false);
            TestServer.execute(c, "SET LOCAL work_mem = '2MB'");
        }));
        rows.add(row("setting and open transaction", c -> {
            c.setAutoCommit(false);
            TestServer.execute(c, "SET work_mem = '2MB'");
            TestServer.execute(c, "SELECT pg_advisory_lock(5)");
        }));
        rows.add(row("failed transaction", c -> {
            c.setAutoCommit(false);
            TestServer.execute(c, "CREATE TEMP TABLE leftovers_failed (n int)");
            c.commit();
            try {
                TestServer.execute(c, "SELECT 1 / 0");
            } catch (SQLException e) {
                assertThat(e.getSQLState()).isEqualTo("22012");
            }
        }));
        rows.add(row(
                "warnings",
                c -> TestServer.execute(
                        c.unwrap(PgConnection.class), "DO $$ BEGIN RAISE WARNING 'w'; END $$; SET work_mem = '3MB'")));
        rows.add(row("open statement and result", c -> {
            c.setAutoCommit(false);
            Statement statement = c.createStatement();
            statement.setFetchSize(1);
            statement.executeQuery("SELECT generate_series(1, 100)").next();
        }));
        return rows.stream();
    }

    private static Row row(String name, Deed deed) {
        return new Row(name, true, deed);
    }

    static Stream<Case> cases() {
        return rows().flatMap(row -> Stream.of(ResetMode.TRACKED, ResetMode.ALWAYS)
                .flatMap(mode -> Stream.of(new Case(mode, false, row), new Case(mode, true, row))));
    }

    private static PoolConfig config(String url, ResetMode mode) {
        return PoolConfig.builder(url)
                .size(1)
                .name("leftovers")
                .resetMode(mode)
                .parameter("statement_timeout", "66s")
                .parameter("my.tenant", "none")
                .build();
    }

    @ParameterizedTest
    @MethodSource("cases")
    void nextLeaseMustSeeNothingOfTheLast(Case test) throws Exception {
        mustLeaveNothing(POOLS.get(test.mode + " " + test.older), test.row);
    }

    private static void mustLeaveNothing(Pool pool, Row row) throws Exception {
        Map<String, String> before;
        try (Connection client = pool.client()) {
            before = fingerprint(client);
        }
        try (Connection client = pool.client()) {
            assertThat(difference(before, fingerprint(client)))
                    .as("the fingerprint itself leaves nothing")
                    .isEmpty();
        }
        try (Connection client = pool.client()) {
            row.deed.in(client);
            if (row.showsInSession) {
                BaseConnection raw = client.unwrap(BaseConnection.class);
                boolean failed = raw.getTransactionState() == org.postgresql.core.TransactionState.FAILED;
                if (!failed)
                    assertThat(difference(before, fingerprint(client)))
                            .as("something was left behind")
                            .isNotEmpty();
            }
        }
        assertThat(difference(before, client(pool))).isEmpty();
        // The same once more without a look in between, which would unwrap the connection and so have everything
        // undone.
        try (Connection client = pool.client()) {
            row.deed.in(client);
        }
        assertThat(difference(before, client(pool))).isEmpty();
    }

    private static Map<String, String> difference(Map<String, String> before, Map<String, String> after) {
        Map<String, String> difference = new TreeMap<>();
        before.forEach((key, value) -> {
            if (!java.util.Objects.equals(value, after.get(key)))
                difference.put(key, value + " became " + after.get(key));
        });
        after.forEach((key, value) -> {
            if (!before.containsKey(key)) difference.put(key, "came as " + value);
        });
        return difference;
    }

    private static Map<String, String> client(Pool pool) throws SQLException {
        try (Connection client = pool.client()) {
            return fingerprint(client);
        }
    }

    /** All that a session can differ in, as far as JDBC, the driver and the server's catalogs know. */
    private static Map<String, String> fingerprint(Connection client) throws SQLException {
        Map<String, String> print = new TreeMap<>();
        PGConnection driver = (PGConnection) client;
        print.put("jdbc autoCommit", "" + client.getAutoCommit());
        print.put("jdbc readOnly", "" + client.isReadOnly());
        print.put("jdbc holdability", "" + client.getHoldability());
        print.put("jdbc networkTimeout", "" + client.getNetworkTimeout());
        print.put("jdbc typeMap", "" + client.getTypeMap());
        print.put("jdbc warnings", "" + client.getWarnings());
        print.put("jdbc applicationName", client.getClientInfo("ApplicationName"));
        print.put("jdbc isolation", "" + client.getTransactionIsolation());
        print.put("jdbc schema", "" + client.getSchema());
        print.put("driver prepareThreshold", "" + driver.getPrepareThreshold());
        print.put("driver fetchSize", "" + driver.getDefaultFetchSize());
        print.put("driver queryTimeout", "" + driver.getQueryTimeout());
        print.put("driver autosave", "" + driver.getAutosave());
        print.put("driver adaptiveFetch", "" + driver.getAdaptiveFetch());
        put(
                print,
                client,
                "setting ",
                "SELECT name, setting FROM pg_settings WHERE name <> 'transaction_isolation' AND name NOT LIKE 'plpgsql.%'");
        put(print, client, "tenant", "SELECT '', current_setting('my.tenant', true)");
        put(print, client, "user ", "SELECT current_user::text, session_user::text");
        put(print, client, "listening ", "SELECT c, '' FROM pg_listening_channels() c");
        put(
                print,
                client,
                "lock ",
                "SELECT objid::text, mode FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()");
        put(print, client, "temp ", "SELECT relname::text, '' FROM pg_class WHERE relnamespace = pg_my_temp_schema()");
        put(
                print,
                client,
                "temp function ",
                "SELECT proname::text, '' FROM pg_proc WHERE pronamespace = pg_my_temp_schema()");
        put(print, client, "prepared ", "SELECT name, '' FROM pg_prepared_statements WHERE from_sql");
        put(print, client, "cursor ", "SELECT name, '' FROM pg_cursors WHERE is_holdable");
        return print;
    }

    private static void put(Map<String, String> print, Connection client, String prefix, String sql)
            throws SQLException {
        try (Statement statement = client.createStatement();
                ResultSet rows = statement.executeQuery(sql)) {
            while (rows.next()) print.put(prefix + rows.getString(1), rows.getString(2));
        }
    }

    // A function's own set_config on a parameter that the server does not report is a limit of TRACKED, not of ALWAYS.
    @Test
    void hiddenChangeMustBeUndoneInAlwaysAndIsTheLimitOfTracked() throws Exception {
        try (Pool pool = Pool.create(config(TestServer.url(), ResetMode.ALWAYS))) {
            try (Connection client = pool.client()) {
                TestServer.execute(client, "SELECT leftovers_hidden()");
            }
            try (Connection client = pool.client()) {
                assertThat(TestServer.query(client, "SHOW statement_timeout")).isEqualTo("66s");
            }
        }
        try (Pool pool = Pool.create(config(TestServer.url(), ResetMode.TRACKED))) {
            try (Connection client = pool.client()) {
                TestServer.execute(client, "SELECT leftovers_hidden()");
            }
            try (Connection client = pool.client()) {
                assertThat(TestServer.query(client, "SHOW statement_timeout"))
                        .as("src/site/session.md says so")
                        .isEqualTo("99s");
            }
        }
    }

    // What no statement undoes costs the connection, so that the next lease sees nothing of it.
    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            LOAD 'auto_explain'                                                         | SELECT count(*) FROM pg_settings WHERE name LIKE 'auto_explain.%'
            SELECT pg_replication_origin_session_setup('leftovers_origin')              | SELECT count(*) WHERE pg_replication_origin_session_is_setup()
            SELECT pg_create_physical_replication_slot('leftovers_slot', true, true)    | SELECT count(*) FROM pg_replication_slots
            SELECT dblink_connect('leftovers', 'ADDRESS')                               | SELECT count(*) FROM unnest(dblink_get_connections()) c
            """)
    void changeThatNothingUndoesMustCostTheConnection(String deed, String trace) throws Exception {
        try (Connection direct = java.sql.DriverManager.getConnection(TestServer.jdbc(TestServer.url()))) {
            TestServer.execute(
                    direct,
                    "CREATE EXTENSION IF NOT EXISTS dblink; SELECT pg_replication_origin_create('leftovers_origin')");
            // The server's own address, as it sees itself.
            String port = "@127.0.0.1:" + TestServer.query(direct, "SHOW port") + "/";
            String address = TestServer.url().replaceFirst("@[^/]*/", port);
            try (Pool pool = Pool.create(config(TestServer.url(), ResetMode.TRACKED))) {
                String pid;
                try (Connection client = pool.client()) {
                    pid = TestServer.query(client, "SELECT pg_backend_pid()");
                    TestServer.execute(client, deed.replace("ADDRESS", address));
                    assertThat(TestServer.query(client, trace)).isNotEqualTo("0");
                }
                try (Connection client = pool.client()) {
                    assertThat(TestServer.query(client, trace)).isEqualTo("0");
                    assertThat(TestServer.query(client, "SELECT pg_backend_pid()"))
                            .isNotEqualTo(pid);
                }
            } finally {
                TestServer.execute(
                        direct, "SELECT pg_replication_origin_drop('leftovers_origin'); DROP EXTENSION dblink");
            }
        }
    }

    // In a session without standard strings a backslash hides the end of a string, and what follows it is a statement.
    @Test
    void settingBehindABackslashMustBeUndoneWhenStringsAreNotStandard() throws Exception {
        PoolConfig config = PoolConfig.builder(TestServer.url())
                .size(1)
                .parameter("standard_conforming_strings", "off")
                .parameter("statement_timeout", "66s")
                .build();
        try (Pool pool = Pool.create(config)) {
            try (Connection client = pool.client()) {
                TestServer.execute(client, "SELECT 'it\\'s'; SET statement_timeout = '80s'; SELECT 'x'");
                assertThat(TestServer.query(client, "SHOW statement_timeout")).isEqualTo("80s");
            }
            try (Connection client = pool.client()) {
                assertThat(TestServer.query(client, "SHOW statement_timeout")).isEqualTo("66s");
            }
        }
    }

    // A parameter that no start of a session has defined stays defined, as src/site/session.md says.
    @Test
    void undefinedParameterMustStayEmptyAfterAReset() throws Exception {
        try (Pool pool = Pool.create(config(TestServer.url(), ResetMode.ALWAYS))) {
            try (Connection client = pool.client()) {
                assertThat(TestServer.query(client, "SELECT current_setting('my.first', true) IS NULL"))
                        .isEqualTo("t");
                TestServer.execute(client, "SET my.first = '42'");
            }
            try (Connection client = pool.client()) {
                assertThat(TestServer.query(client, "SELECT current_setting('my.first', true)"))
                        .isEmpty();
            }
        }
    }

    // The role's own defaults are the session's, so a reset returns to them, not behind them.
    @Test
    void resetMustKeepTheDefaultsOfTheRole() throws Exception {
        String address = TestServer.url().replaceFirst("//.*@", "//leftovers_login:pw@");
        try (Pool pool = Pool.create(config(address, ResetMode.TRACKED))) {
            try (Connection client = pool.client()) {
                assertThat(TestServer.query(client, "SELECT current_user")).isEqualTo("leftovers_other");
                TestServer.execute(
                        client,
                        "RESET ROLE; SET ROLE leftovers_login; SET work_mem = '5MB'; SET SESSION AUTHORIZATION leftovers_other");
            }
            try (Connection client = pool.client()) {
                assertThat(TestServer.query(client, "SELECT current_user")).isEqualTo("leftovers_other");
                assertThat(TestServer.query(client, "SELECT session_user")).isEqualTo("leftovers_login");
                assertThat(TestServer.query(client, "SHOW work_mem")).isEqualTo("11MB");
            }
        }
    }

    // A caller that unwraps the driver can end its statements behind its back, so the driver makes them anew.
    @Test
    void statementsEndedBehindTheDriversBackMustWorkForTheNextLease() throws Exception {
        try (Pool pool = Pool.create(config(TestServer.url(), ResetMode.TRACKED))) {
            for (int lease = 0; lease < 5; lease++) {
                try (Connection client = pool.client()) {
                    client.setAutoCommit(false);
                    try (PreparedStatement select = client.prepareStatement("SELECT 77 + ?")) {
                        for (int i = 0; i < 7; i++) {
                            select.setInt(1, i);
                            select.executeQuery().close();
                        }
                    }
                    client.commit();
                    client.setAutoCommit(true);
                    client.unwrap(BaseConnection.class).setFlushCacheOnDeallocate(false);
                    TestServer.execute(client, "DEALLOCATE ALL");
                }
            }
        }
    }

    // The driver's prepared statements survive a hundred resets of everything.
    @Test
    void driversPreparedStatementsMustSurviveResets() throws Exception {
        for (ResetMode mode : List.of(ResetMode.TRACKED, ResetMode.ALWAYS)) {
            try (Pool pool = Pool.create(config(TestServer.url(), mode))) {
                String names = null;
                for (int lease = 0; lease < 100; lease++) {
                    try (Connection client = pool.client();
                            PreparedStatement select = client.prepareStatement("SELECT 12345 + ?")) {
                        for (int i = 0; i < 6; i++) {
                            select.setInt(1, i);
                            select.executeQuery().close();
                        }
                        String sql =
                                "SELECT string_agg(name, ',' ORDER BY name) FROM pg_prepared_statements WHERE NOT from_sql"
                                        + " AND statement LIKE 'SELECT 12345%'";
                        String now = TestServer.query(client, sql);
                        if (names == null) names = now;
                        assertThat(now).as("lease %d", lease).isNotNull().isEqualTo(names);
                        TestServer.execute(
                                client,
                                "SET work_mem = '2MB'; SET ROLE leftovers_other; LISTEN x; PREPARE p AS SELECT 1");
                    }
                }
                assertThat(pool.stats().reset()).isGreaterThanOrEqualTo(99);
                assertThat(pool.stats().opened()).isEqualTo(1);
                Await.until("it is idle again", () -> pool.stats().idle() == 1);
            }
        }
    }
}
