package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;

import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import dev.nanopool.testkit.TestServer;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.postgresql.jdbc.PgConnection;

/**
 * After a lease the session is again as it was when the pool opened it. The test crosses each way to set a session up
 * with each way in which a lease changes it. The state of the first lease must be the state of the next one, on the
 * same connection.
 */
@Tag("server")
@Timeout(180)
class SetUpTest {
    /** What a lease does. */
    @FunctionalInterface
    interface Deed {
        void in(Connection client) throws SQLException;
    }

    record Case(String setUp, String deed) {
        @Override
        public String toString() {
            return setUp + ", then " + deed;
        }
    }

    private static final Map<String, UnaryOperator<PoolConfig.Builder>> SET_UPS = new LinkedHashMap<>();
    private static final Map<String, Deed> DEEDS = new LinkedHashMap<>();
    private static final Map<String, Deed> DEEDS_SEEN_BY_TEXT = new LinkedHashMap<>();
    private static final Map<String, Pool> POOLS = new HashMap<>();
    private static final Map<String, Map<String, String>> FRESH = new HashMap<>();

    static {
        SET_UPS.put("nothing", config -> config);
        SET_UPS.put(
                "parameter",
                config -> config.parameter("work_mem", "5MB")
                        .parameter("my.tenant", "none")
                        .parameter("default_transaction_read_only", "off")
                        .parameter("search_path", "pg_catalog, public"));
        SET_UPS.put("parameter role", config -> config.parameter("role", "setup_other"));
        SET_UPS.put("name of the driver", config -> config.driverProperty("assumeMinServerVersion", "8.4"));
        SET_UPS.put(
                "read-only mode of the driver",
                config -> config.driverProperty("readOnly", "true").driverProperty("readOnlyMode", "always"));
        SET_UPS.put(
                "read-only mode in the server",
                config -> config.driverProperty("readOnlyMode", "always")
                        .parameter("default_transaction_read_only", "on"));
        for (String sql : List.of(
                "SET work_mem = '6MB'; SET my.tenant = '7'; SET statement_timeout = '55s'",
                "SET ROLE setup_other",
                "SET SESSION AUTHORIZATION setup_other",
                "SET search_path = setup_schema, public",
                "SET TIME ZONE 'Asia/Tokyo'",
                "SET application_name = 'named by initSql'",
                "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ",
                "CREATE TEMP TABLE setup_temp (n int)",
                "LISTEN setup_channel",
                "PREPARE setup_prepared AS SELECT 1",
                "SELECT pg_advisory_lock_shared(4714)",
                "BEGIN; DECLARE setup_cursor CURSOR WITH HOLD FOR SELECT 1; COMMIT",
                "SELECT setup_hidden()",
                "DO $$ BEGIN PERFORM set_config('work_mem', '12MB', false); END $$",
                "BEGIN; SET work_mem = '6MB'; COMMIT; BEGIN; SET work_mem = '7MB'; ROLLBACK -- a comment",
                "ROLLBACK; SET work_mem = '6MB'")) {
            SET_UPS.put("initSql " + sql, config -> config.initSql(sql));
        }
        SET_UPS.put(
                "ALTER ROLE SET",
                config -> config.credentials(() -> new dev.nanopool.Credentials("setup_login", "pw")));
        SET_UPS.put(
                "ALTER ROLE SET and initSql",
                config -> config.initSql("SET work_mem = '6MB'; SET ROLE setup_other")
                        .credentials(() -> new dev.nanopool.Credentials("setup_login", "pw")));

        DEEDS.put("setReadOnly", client -> client.setReadOnly(!client.isReadOnly()));
        DEEDS.put("setReadOnly in a transaction", client -> {
            client.setAutoCommit(false);
            client.setReadOnly(true);
            TestServer.query(client, "SELECT 1");
        });
        DEEDS.put("setAutoCommit", client -> client.setAutoCommit(false));
        DEEDS.put(
                "setTransactionIsolation",
                client -> client.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE));
        DEEDS.put("setTransactionIsolation and back", client -> {
            int level = client.getTransactionIsolation();
            client.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
            client.setTransactionIsolation(level);
        });
        DEEDS.put("setSchema", client -> client.setSchema("pg_toast"));
        DEEDS.put("setSchema and back", client -> {
            String schema = client.getSchema();
            client.setSchema("pg_toast");
            client.setSchema(schema);
        });
        DEEDS.put("setClientInfo", client -> client.setClientInfo("ApplicationName", "other"));
        for (String sql : List.of(
                "SET work_mem = '8MB'",
                "SET lock_timeout = '3s'",
                "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
                "SET TIME ZONE 'America/Lima'",
                "SET ROLE NONE",
                "SET ROLE setup_third",
                "SET SESSION AUTHORIZATION DEFAULT",
                "SELECT set_config('my.tenant', '1', false)",
                "SELECT set_config('role', 'none', false)",
                "SELECT setup_reported()",
                "DO $$ BEGIN PERFORM set_config('work_mem', '9MB', false); END $$",
                "CALL setup_procedure()",
                "RESET ALL",
                "RESET work_mem",
                "RESET ROLE",
                "RESET SESSION AUTHORIZATION",
                "LISTEN other_channel",
                "PREPARE other_prepared AS SELECT 2",
                "SELECT pg_advisory_lock(4715)",
                "BEGIN; SET work_mem = '8MB'")) {
            DEEDS.put(sql, client -> TestServer.execute(client, sql));
        }
        DEEDS.put(
                "unwrap, SET",
                client -> TestServer.execute(
                        client.unwrap(PgConnection.class), "SET work_mem = '3MB'; RESET ROLE; UNLISTEN *"));
        DEEDS.put(
                "unwrap, DISCARD ALL", client -> TestServer.execute(client.unwrap(PgConnection.class), "DISCARD ALL"));
        for (String sql : List.of(
                "DISCARD ALL",
                "DISCARD TEMP",
                "UNLISTEN *",
                "DEALLOCATE ALL",
                "CLOSE ALL",
                "SELECT pg_advisory_unlock_all()",
                "UPDATE pg_settings SET setting = '8192' WHERE name = 'work_mem'")) {
            DEEDS_SEEN_BY_TEXT.put(sql, client -> TestServer.execute(client, sql));
        }
    }

    @BeforeAll
    static void prepareTheServer() throws Exception {
        try (Connection direct = TestServer.direct()) {
            TestServer.execute(direct, """
                    DROP ROLE IF EXISTS setup_other, setup_third, setup_login;
                    CREATE ROLE setup_other; CREATE ROLE setup_third;
                    CREATE ROLE setup_login LOGIN SUPERUSER PASSWORD 'pw';
                    ALTER ROLE setup_login SET work_mem = '11MB';
                    ALTER ROLE setup_login SET role = 'setup_third';
                    ALTER ROLE setup_login SET search_path = 'pg_catalog';
                    DROP SCHEMA IF EXISTS setup_schema;
                    CREATE SCHEMA setup_schema;
                    CREATE OR REPLACE FUNCTION public.setup_hidden() RETURNS text LANGUAGE sql
                    AS $$ SELECT set_config('lock_timeout', '9s', false) $$;
                    CREATE OR REPLACE FUNCTION public.setup_reported() RETURNS text LANGUAGE sql
                    AS $$ SELECT set_config('lock_timeout', '8s', false) || set_config('TimeZone', 'PST8PDT', false) $$;
                    CREATE OR REPLACE PROCEDURE public.setup_procedure() LANGUAGE plpgsql
                    AS $$ BEGIN PERFORM set_config('work_mem', '10MB', false); END $$""");
        }
    }

    @AfterAll
    static void closePools() throws Exception {
        for (Pool pool : POOLS.values()) pool.close();
        try (Connection direct = TestServer.direct()) {
            TestServer.execute(direct, """
                    DROP PROCEDURE setup_procedure(); DROP FUNCTION setup_reported(); DROP FUNCTION setup_hidden();
                    DROP SCHEMA setup_schema; DROP ROLE setup_login; DROP ROLE setup_third; DROP ROLE setup_other""");
        }
    }

    static Stream<Case> cases() {
        return SET_UPS.keySet().stream()
                .flatMap(setUp -> DEEDS.keySet().stream().map(deed -> new Case(setUp, deed)));
    }

    static Stream<Case> casesSeenByText() {
        return SET_UPS.keySet().stream()
                .flatMap(setUp -> DEEDS_SEEN_BY_TEXT.keySet().stream().map(deed -> new Case(setUp, deed)));
    }

    @ParameterizedTest
    @MethodSource("cases")
    void nextLeaseMustFindTheSessionAsItWasOpened(Case test) throws Exception {
        mustBeAsOpened(test, DEEDS.get(test.deed));
    }

    // These take away what a set-up made, which only their text tells.
    @ParameterizedTest
    @MethodSource("casesSeenByText")
    void nextLeaseMustFindTheSessionAsItWasOpenedAfterARemoval(Case test) throws Exception {
        mustBeAsOpened(test, DEEDS_SEEN_BY_TEXT.get(test.deed));
    }

    private static void mustBeAsOpened(Case test, Deed deed) throws Exception {
        Pool pool = pool(test.setUp);
        long opened = pool.stats().opened();
        try (Connection client = pool.client()) {
            try {
                deed.in(client);
            } catch (SQLException e) {
                // A role without rights, or a read-only session, refuses some of it; what was done counts.
                assertThat(e.getSQLState()).isIn("25006", "42501", "42883", "3F000");
            }
        }
        try (Connection client = pool.client()) {
            assertThat(state(client)).isEqualTo(FRESH.get(test.setUp));
        }
        assertThat(pool.stats().opened()).as("the connection is not replaced").isEqualTo(opened);
    }

    private static Pool pool(String setUp) throws SQLException {
        Pool known = POOLS.get(setUp);
        if (known != null) return known;
        PoolConfig.Builder config = PoolConfig.builder(TestServer.url()).size(1).name("setup");
        Pool pool = Pool.create(SET_UPS.get(setUp).apply(config).build());
        POOLS.put(setUp, pool);
        try (Connection client = pool.client()) {
            FRESH.put(setUp, state(client));
        }
        return pool;
    }

    /** All that the server and the driver know of the session. Asked by plain SELECTs, so that it changes nothing. */
    private static Map<String, String> state(Connection client) throws SQLException {
        Map<String, String> state = new TreeMap<>();
        state.put("autoCommit", "" + client.getAutoCommit());
        state.put("readOnly", "" + client.isReadOnly());
        state.put("isolation", "" + client.getTransactionIsolation());
        for (String sql : List.of(
                "SHOW ALL",
                "SELECT 'tenant', coalesce(pg_catalog.current_setting('my.tenant', true), '')",
                "SELECT 'users', current_user || ' ' || session_user || ' ' || pg_catalog.current_setting('role')",
                "SELECT 'prepared ' || name, statement FROM pg_catalog.pg_prepared_statements WHERE from_sql",
                "SELECT 'cursor ' || name, statement FROM pg_catalog.pg_cursors WHERE is_holdable",
                "SELECT 'temporary ' || relname, '' FROM pg_catalog.pg_class"
                        + " WHERE relnamespace = pg_catalog.pg_my_temp_schema()",
                "SELECT 'channel ' || c, '' FROM pg_catalog.pg_listening_channels() c",
                "SELECT 'lock ' || objid || mode, '' FROM pg_catalog.pg_locks"
                        + " WHERE locktype = 'advisory' AND pid = pg_catalog.pg_backend_pid()")) {
            try (Statement statement = client.createStatement();
                    ResultSet row = statement.executeQuery(sql)) {
                while (row.next()) state.put(row.getString(1), row.getString(2));
            }
        }
        state.keySet().removeIf(name -> name.startsWith("plpgsql."));
        return state;
    }
}
