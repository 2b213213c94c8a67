package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.nanopool.CloseReason;
import dev.nanopool.Pool;
import dev.nanopool.PoolListener;
import dev.nanopool.testkit.FaultProxy;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.TestServer;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.postgresql.PGConnection;
import org.postgresql.jdbc.PgConnection;

/** What it costs to have the session as it was opened, and what is refused because it could not be so. */
class AsOpenedTest extends PoolTestBase {
    private final Queue<CloseReason> reasons = new ConcurrentLinkedQueue<>();

    private final PoolListener listener = new PoolListener() {
        @Override
        public void closed(String name, int backendPid, CloseReason reason) {
            reasons.add(reason);
        }
    };

    @FunctionalInterface
    interface Deed {
        void in(Connection client) throws SQLException;
    }

    record Named(String name, Deed deed) {
        @Override
        public String toString() {
            return name;
        }
    }

    // initSql

    // A safety net that initSql has made holds for all leases, and no lease can take it away.
    @Test
    void nextLeaseMustKeepTheRoleOfInitSql() throws Exception {
        try (Connection direct = TestServer.direct()) {
            TestServer.execute(direct, "DROP ROLE IF EXISTS as_opened; CREATE ROLE as_opened");
            try {
                Pool pool = open(config().size(1)
                        .initSql("SET ROLE as_opened; SET statement_timeout = '5s'; SET search_path = pg_catalog"));
                try (Connection client = pool.client()) {
                    TestServer.execute(client, "SELECT set_config('my.tenant', '1', false)");
                }
                try (Connection client = pool.client()) {
                    assertThat(TestServer.query(
                                    client,
                                    "SELECT current_user || ' ' || current_setting('statement_timeout') || ' '"
                                            + " || current_setting('search_path')"))
                            .isEqualTo("as_opened 5s pg_catalog");
                }
                assertThat(pool.stats().reset()).isEqualTo(1);
                assertThat(pool.stats().opened()).isEqualTo(1);
                pool.close();
            } finally {
                TestServer.execute(direct, "DROP ROLE as_opened");
            }
        }
    }

    // The first lease would run inside that transaction, and lose what it writes.
    @ParameterizedTest
    @ValueSource(strings = {"BEGIN", "SELECT 1; START TRANSACTION", "BEGIN; SET work_mem = '5MB'"})
    void initSqlThatEndsInATransactionMustBeRefused(String sql) {
        assertThatThrownBy(() -> open(config().size(1).initSql(sql)))
                .isInstanceOf(SQLException.class)
                .hasStackTraceContaining("initSql: ends inside a transaction; end it by COMMIT, or leave out BEGIN");
    }

    // The reset and initSql are one round trip.
    @Test
    void initSqlMustCostNoRoundTripOfItsOwn() throws Exception {
        try (FaultProxy proxy = new FaultProxy(server());
                Pool pool = Pool.create(
                        config(proxy).size(1).initSql("SET work_mem = '5MB'").build())) {
            long before = proxy.roundTrips();
            try (Connection client = pool.client()) {
                TestServer.execute(client, "SET lock_timeout = '5s'");
            }
            pool.client().close();
            assertThat(proxy.roundTrips() - before).isEqualTo(2);
        }
    }

    // Where it cannot be repeated the session is not as it was, so that the connection goes.
    @Test
    void initSqlThatFailsAgainMustCostTheConnection() throws Exception {
        try (Connection direct = TestServer.direct()) {
            TestServer.execute(direct, "CREATE TABLE as_opened_once (pid int PRIMARY KEY)");
            try {
                Pool pool = open(config().size(1)
                        .listener(listener)
                        .initSql("INSERT INTO as_opened_once VALUES (pg_backend_pid()); SET work_mem = '5MB'"));
                try (Connection client = pool.client()) {
                    TestServer.execute(client, "SET work_mem = '6MB'");
                }
                try (Connection client = pool.client()) {
                    assertThat(TestServer.query(client, "SHOW work_mem")).isEqualTo("5MB");
                }
                awaitBalance(pool);
                assertThat(reasons).containsExactly(CloseReason.RESET_FAILED);
                assertThat(pool.stats().lost()).isZero();
                pool.close();
            } finally {
                TestServer.execute(direct, "DROP TABLE as_opened_once");
            }
        }
    }

    // What is back costs nothing

    static Stream<Named> settingsThatAreBack() {
        return Stream.of(
                new Named("isolation, as Spring does", client -> {
                    int level = client.getTransactionIsolation();
                    client.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
                    client.setAutoCommit(false);
                    TestServer.query(client, "SELECT 1");
                    client.commit();
                    client.setAutoCommit(true);
                    client.setTransactionIsolation(level);
                }),
                new Named("readOnly", client -> {
                    client.setReadOnly(true);
                    client.setAutoCommit(false);
                    TestServer.query(client, "SELECT 1");
                    client.commit();
                    client.setReadOnly(false);
                }),
                new Named("clientInfo", client -> {
                    String name = client.getClientInfo("ApplicationName");
                    client.setClientInfo("ApplicationName", "other");
                    TestServer.query(client, "SELECT 1");
                    client.setClientInfo("ApplicationName", name);
                }),
                new Named(
                        "the same clientInfo",
                        client -> client.setClientInfo("ApplicationName", client.getClientInfo("ApplicationName"))));
    }

    // A setting that is back at its value needs no reset.
    @ParameterizedTest
    @MethodSource("settingsThatAreBack")
    void settingThatIsBackMustCostNoReset(Named setting) throws Exception {
        Pool pool = open(1);
        mustCostNoReset(pool, setting.deed);
    }

    private static void mustCostNoReset(Pool pool, Deed deed) throws Exception {
        for (int i = 0; i < 5; i++) {
            try (Connection client = pool.client()) {
                deed.in(client);
            }
        }
        try (Connection client = pool.client()) {
            assertThat(client.getTransactionIsolation()).isEqualTo(Connection.TRANSACTION_READ_COMMITTED);
            assertThat(client.isReadOnly()).isFalse();
        }
        awaitBalance(pool);
        assertThat(pool.stats().reset()).isZero();
    }

    @Test
    void readOnlyModeInTheServerThatIsBackMustCostNoReset() throws Exception {
        Pool pool = open(config().size(1).driverProperty("readOnlyMode", "always"));
        mustCostNoReset(pool, client -> {
            client.setReadOnly(true);
            TestServer.query(client, "SELECT 1");
            client.setReadOnly(false);
        });
    }

    // PostgreSQL 18 reports the search path.
    @Test
    void schemaThatIsBackMustCostNoResetWhereTheServerReportsIt() throws Exception {
        Pool pool = open(config().size(1).parameter("search_path", "public"));
        boolean isReported;
        try (Connection client = pool.client()) {
            isReported = ((PGConnection) client).getParameterStatus("search_path") != null;
        }
        for (int i = 0; i < 3; i++) {
            try (Connection client = pool.client()) {
                client.setSchema("pg_catalog");
                client.setSchema("public");
            }
        }
        awaitBalance(pool);
        assertThat(pool.stats().reset()).isEqualTo(isReported ? 0 : 3);
        // What was created in pg_temp meanwhile does not go by itself.
        try (Connection client = pool.client()) {
            client.setSchema("pg_temp");
            TestServer.execute(client, "CREATE TABLE as_opened_hidden (n int)");
            client.setSchema("public");
        }
        try (Connection client = pool.client()) {
            assertThat(TestServer.query(client, "SELECT to_regclass('pg_temp.as_opened_hidden') IS NULL"))
                    .isEqualTo("t");
        }
    }

    // A level that is not the one the session was opened with is still undone.
    @Test
    void isolationThatIsNotBackMustBeUndone() throws Exception {
        Pool pool = open(1);
        try (Connection client = pool.client()) {
            assertThat(client.getTransactionIsolation()).isEqualTo(Connection.TRANSACTION_READ_COMMITTED);
            client.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
            client.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
        }
        try (Connection client = pool.client()) {
            assertThat(TestServer.query(client, "SHOW default_transaction_isolation"))
                    .isEqualTo("read committed");
            // The level that was set by text counts, not the one that JDBC has set.
            client.getTransactionIsolation();
            client.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
            TestServer.execute(client, "SET default_transaction_isolation = 'serializable'");
            assertThat(client.getTransactionIsolation()).isEqualTo(Connection.TRANSACTION_SERIALIZABLE);
        }
        try (Connection client = pool.client()) {
            assertThat(TestServer.query(client, "SHOW default_transaction_isolation"))
                    .isEqualTo("read committed");
        }
        assertThat(pool.stats().reset()).isEqualTo(2);
    }

    // The truth

    // Asked once, the level is known in later leases, and while JDBC changes it.
    @Test
    void isolationMustBeAskedOnce() throws Exception {
        try (FaultProxy proxy = new FaultProxy(server());
                Pool pool = Pool.create(config(proxy).size(1).build())) {
            long before = proxy.roundTrips();
            for (int i = 0; i < 3; i++) {
                try (Connection client = pool.client()) {
                    assertThat(client.getTransactionIsolation()).isEqualTo(Connection.TRANSACTION_READ_COMMITTED);
                    client.setReadOnly(true);
                    assertThat(client.getTransactionIsolation()).isEqualTo(Connection.TRANSACTION_READ_COMMITTED);
                }
            }
            assertThat(proxy.roundTrips() - before).isEqualTo(1);
            try (Connection client = pool.client()) {
                client.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
                assertThat(client.getTransactionIsolation()).isEqualTo(Connection.TRANSACTION_SERIALIZABLE);
                client.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
            }
            assertThat(proxy.roundTrips() - before).isEqualTo(3);
        }
    }

    // The server has reported that something was set, so the level may be another, too.
    @Test
    void isolationMustBeAskedAfterAReport() throws Exception {
        Pool pool = open(1);
        try (Connection direct = TestServer.direct()) {
            TestServer.execute(direct, """
                    CREATE FUNCTION as_opened_set() RETURNS text LANGUAGE sql AS $$ SELECT
                    set_config('TimeZone', 'PST8PDT', false) || set_config('default_transaction_isolation', 'serializable', false) $$""");
            try (Connection client = pool.client()) {
                assertThat(client.getTransactionIsolation()).isEqualTo(Connection.TRANSACTION_READ_COMMITTED);
                TestServer.execute(client, "SELECT as_opened_set()");
                assertThat(client.getTransactionIsolation()).isEqualTo(Connection.TRANSACTION_SERIALIZABLE);
            } finally {
                TestServer.execute(direct, "DROP FUNCTION as_opened_set()");
            }
        }
    }

    // Any session can create the schema that comes first in the path.
    @Test
    void schemaMustBeTheTruth() throws Exception {
        Pool pool = open(config().size(1).parameter("search_path", "as_opened_schema, public"));
        try (Connection client = pool.client()) {
            assertThat(client.getSchema()).isEqualTo("public");
            try {
                TestServer.execute(client, "CREATE SCHEMA as_opened_schema");
                assertThat(client.getSchema()).isEqualTo("as_opened_schema");
            } finally {
                TestServer.execute(client, "DROP SCHEMA IF EXISTS as_opened_schema");
            }
        }
        try (Connection client = pool.client();
                PreparedStatement create = client.prepareStatement("CREATE SCHEMA as_opened_schema")) {
            assertThat(client.getSchema()).isEqualTo("public");
            create.execute(); // its text was given before
            assertThat(client.getSchema()).isEqualTo("as_opened_schema");
        }
        try (Connection client = pool.client();
                Connection direct = TestServer.direct()) {
            try {
                assertThat(client.getSchema()).isEqualTo("as_opened_schema");
            } finally {
                TestServer.execute(direct, "DROP SCHEMA as_opened_schema");
            }
        }
        try (Connection client = pool.client()) {
            assertThat(client.getSchema()).as("another lease asks again").isEqualTo("public");
        }
    }

    @Test
    void schemaMustBeAskedOnceInALeaseThatSendsNothingElse() throws Exception {
        try (FaultProxy proxy = new FaultProxy(server());
                Pool pool = Pool.create(config(proxy).size(1).build())) {
            long before = proxy.roundTrips();
            try (Connection client = pool.client()) {
                for (int i = 0; i < 3; i++) assertThat(client.getSchema()).isEqualTo("public");
            }
            assertThat(proxy.roundTrips() - before).isEqualTo(1);
        }
    }

    // Other ways to differ

    // The default of the session is read-only, and the driver's own way back would make it read-write.
    @Test
    void readOnlyDefaultMustSurviveTheDriversReadOnlyMode() throws Exception {
        Pool pool = open(config().size(1)
                .driverProperty("readOnlyMode", "always")
                .parameter("default_transaction_read_only", "on"));
        Stream<Deed> deeds = Stream.of(
                client -> client.setReadOnly(true),
                client -> {
                    client.setReadOnly(true);
                    client.setReadOnly(false);
                },
                client -> {
                    client.setAutoCommit(false);
                    client.setReadOnly(true);
                },
                client -> {
                    client.setReadOnly(true);
                    client.setAutoCommit(false);
                });
        for (Deed deed : deeds.toList()) {
            try (Connection client = pool.client()) {
                deed.in(client);
            }
            try (Connection client = pool.client()) {
                assertThat(TestServer.query(client, "SHOW default_transaction_read_only"))
                        .isEqualTo("on");
                assertThat(client.isReadOnly()).isFalse();
            }
        }
        assertThat(pool.stats().opened()).isEqualTo(1);
    }

    // Where strings have backslashes, the pool cannot read what SQL text does, so it undoes everything.
    @Test
    void textMustNotBeTrustedWhereStringsHaveBackslashes() throws Exception {
        Pool pool = open(config().size(1).parameter("standard_conforming_strings", "off"));
        try (Connection client = pool.client()) {
            TestServer.execute(client, "SELECT 'it\\'s'; SET statement_timeout = '80s'; SELECT 'x'");
        }
        try (Connection client = pool.client()) {
            assertThat(TestServer.query(client, "SHOW statement_timeout")).isEqualTo("0");
        }
        assertThat(pool.stats().opened()).isEqualTo(1);
    }

    // The server reports whether the user is a superuser, which shows a role that a function has set.
    @Test
    void roleThatAFunctionHasSetMustBeUndoneIfTheServerReportsIt() throws Exception {
        Pool pool = open(1);
        try (Connection direct = TestServer.direct()) {
            TestServer.execute(direct, """
                    DROP ROLE IF EXISTS as_opened_weak; CREATE ROLE as_opened_weak;
                    CREATE FUNCTION as_opened_role() RETURNS text LANGUAGE sql
                    AS $$ SELECT set_config('role', 'as_opened_weak', false) $$""");
            try {
                String user = TestServer.query(direct, "SELECT current_user");
                try (Connection client = pool.client()) {
                    TestServer.execute(client, "SELECT as_opened_role()");
                }
                try (Connection client = pool.client()) {
                    assertThat(TestServer.query(client, "SELECT current_user")).isEqualTo(user);
                }
            } finally {
                TestServer.execute(direct, "DROP FUNCTION as_opened_role(); DROP ROLE as_opened_weak");
            }
        }
    }

    // The reset's own way to end prepared statements needs PL/pgSQL, which not every database lets its users use.
    @Test
    void resetMustNotNeedPlpgsql() throws Exception {
        try (Connection direct = TestServer.direct()) {
            TestServer.execute(direct, "DROP DATABASE IF EXISTS as_opened_db");
            TestServer.execute(direct, "CREATE DATABASE as_opened_db");
            TestServer.execute(
                    direct, "DROP ROLE IF EXISTS as_opened_login; CREATE ROLE as_opened_login LOGIN PASSWORD 'pw'");
            String url = server().replaceFirst("/[^/]*$", "/as_opened_db");
            try (Connection there = DriverManager.getConnection(TestServer.jdbc(url))) {
                TestServer.execute(there, "REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC");
            }
            Pool pool = open(config(url)
                    .size(1)
                    .listener(listener)
                    .initSql("SET work_mem = '5MB'")
                    .credentials(() -> new dev.nanopool.Credentials("as_opened_login", "pw")));
            for (int i = 0; i < 2; i++) {
                try (Connection client = pool.client();
                        PreparedStatement driver = client.prepareStatement("SELECT 1")) {
                    ((PGConnection) client).setPrepareThreshold(1);
                    for (int n = 0; n < 3; n++) driver.executeQuery().close();
                    TestServer.execute(client, "PREPARE as_opened AS SELECT 1; SET work_mem = '7MB'");
                }
                try (Connection client = pool.client();
                        PreparedStatement driver = client.prepareStatement("SELECT 1")) {
                    driver.executeQuery().close();
                    assertThat(TestServer.query(client, "SELECT count(*) FROM pg_prepared_statements WHERE from_sql"))
                            .isEqualTo("0");
                    assertThat(TestServer.query(client, "SHOW work_mem")).isEqualTo("5MB");
                    TestServer.execute(client.unwrap(PgConnection.class), "SELECT 1");
                }
            }
            awaitBalance(pool);
            assertThat(reasons).isEmpty();
            pool.close();
            TestServer.execute(direct, "DROP DATABASE as_opened_db WITH (FORCE)");
            TestServer.execute(direct, "DROP ROLE as_opened_login");
        }
    }
}
