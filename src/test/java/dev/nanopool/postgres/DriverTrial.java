package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.nanopool.NanoDataSource;
import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import dev.nanopool.TlsMode;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.Log;
import dev.nanopool.testkit.TestServer;
import java.io.StringReader;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.logging.Level;
import java.util.logging.LogRecord;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.core.BaseConnection;
import org.postgresql.largeobject.LargeObject;
import org.postgresql.largeobject.LargeObjectManager;
import org.postgresql.util.PGobject;

/** One life of a pool with the driver of its loader. Answers the pool's warnings about the driver. */
final class DriverTrial implements Callable<List<String>> {
    private final String url;
    private final String name;
    private final boolean isBean; // whether the first pool is a bean's

    DriverTrial(String url, String name, boolean isBean) {
        this.url = url;
        this.name = name;
        this.isBean = isBean;
    }

    private PoolConfig.Builder config() {
        return PoolConfig.builder(url).name(name).tls(TlsMode.DISABLE).size(1);
    }

    @Override
    public List<String> call() throws Exception {
        try (Log log = Log.of(Level.INFO)) {
            start(); // a driver that is too old ends here
            refused();
            try (Pool pool =
                    Pool.create(config().initSql("SET lock_timeout = '9s'").build())) {
                transactions(pool);
                statements(pool);
                session(pool);
                own(pool);
                timeouts(pool);
                abort(pool);
                Await.until(
                        "the start is logged",
                        () -> log.lines().stream().anyMatch(line -> line.startsWith(name + ": started in ")));
            }
            assertThat(TestServer.sessions(url, name)).isZero();
            return log.records().stream()
                    .filter(line -> line.getLevel().equals(Level.WARNING))
                    .map(LogRecord::getMessage)
                    .filter(line -> line.startsWith(name + ": ") && line.contains("pgJDBC"))
                    .distinct()
                    .toList();
        }
    }

    private void start() throws SQLException {
        if (!isBean) {
            Pool.create(config().build()).close();
            return;
        }
        try (var bean = new NanoDataSource()) {
            bean.setJdbcUrl(url);
            bean.setPoolName(name);
            bean.setMaximumPoolSize(1);
            bean.getConnection().close();
        }
    }

    /** The clean-up after a failed start does not hide why it failed. */
    private void refused() {
        assertThatThrownBy(() -> Pool.create(config().initSql("SELECT 1/0").build()))
                .isInstanceOf(SQLException.class)
                .extracting(e -> ((SQLException) e).getSQLState())
                .isEqualTo("22012");
    }

    private static void transactions(Pool pool) throws SQLException {
        try (Connection client = pool.client()) {
            client.setAutoCommit(false);
            TestServer.execute(client, "CREATE TEMP TABLE kept AS SELECT 1 AS number");
            client.commit();
            TestServer.execute(client, "DELETE FROM kept");
            client.rollback();
            assertThat(TestServer.query(client, "SELECT count(*) FROM kept")).isEqualTo("1");
            client.rollback();
            client.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
            client.rollback(client.setSavepoint());
            client.commit();
        }
        try (Connection client = pool.client()) {
            TestServer.execute(client, "BEGIN");
            assertThat(TestServer.query(client, "SELECT 1")).isEqualTo("1");
        }
        try (Connection client = pool.client()) {
            assertThat(TestServer.query(client, "SELECT pg_current_xact_id_if_assigned()"))
                    .isNull();
            assertThat(client.getAutoCommit()).isTrue();
        }
    }

    private static void statements(Pool pool) throws SQLException {
        try (Connection client = pool.client();
                PreparedStatement statement = client.prepareStatement("SELECT ?::int + 1, ?::text[]")) {
            for (int i = 0; i < 8; i++) {
                statement.setInt(1, i);
                statement.setArray(2, client.createArrayOf("text", new String[] {"a"}));
                try (ResultSet rows = statement.executeQuery()) {
                    assertThat(rows.next()).isTrue();
                    assertThat(rows.getInt(1)).isEqualTo(i + 1);
                    assertThat(rows.getArray(2).getArray()).isEqualTo(new String[] {"a"});
                    assertThat(rows.getMetaData().getColumnType(1)).isEqualTo(java.sql.Types.INTEGER);
                }
            }
            assertThat(client.getMetaData().getDriverVersion()).isNotEmpty();
        }
    }

    private static void session(Pool pool) throws SQLException {
        try (Connection client = pool.client()) {
            TestServer.execute(client, "SET statement_timeout = '7s'");
            TestServer.execute(client, "PREPARE forgotten AS SELECT 1");
        }
        try (Connection client = pool.client()) {
            assertThat(TestServer.query(client, "SHOW statement_timeout")).isEqualTo("0");
            assertThat(TestServer.query(client, "SHOW lock_timeout")).isEqualTo("9s");
            assertThat(TestServer.query(client, "SELECT count(*) FROM pg_prepared_statements WHERE from_sql"))
                    .isEqualTo("0");
        }
    }

    /** What only this driver has. */
    @SuppressWarnings("deprecation")
    private static void own(Pool pool) throws Exception {
        try (Connection client = pool.client()) {
            PGConnection own = client.unwrap(PGConnection.class);
            TestServer.execute(client, "CREATE TEMP TABLE copied (line text); LISTEN trial; NOTIFY trial, 'told'");
            assertThat(own.getCopyAPI().copyIn("COPY copied FROM STDIN", new StringReader("one\ntwo\n")))
                    .isEqualTo(2);
            var out = new StringWriter();
            assertThat(own.getCopyAPI().copyOut("COPY copied TO STDOUT", out)).isEqualTo(2);
            assertThat(out.toString()).isEqualTo("one\ntwo\n");
            assertThat(own.getNotifications())
                    .extracting(PGNotification::getParameter)
                    .containsExactly("told");
            own.addDataType("box", PGobject.class);
            own.setPrepareThreshold(3);
            assertThat(own.getFastpathAPI()).isNotNull();
            client.setAutoCommit(false);
            LargeObjectManager objects = own.getLargeObjectAPI();
            long oid = objects.createLO();
            try (LargeObject object = objects.open(oid, LargeObjectManager.WRITE)) {
                object.write("text".getBytes(StandardCharsets.UTF_8));
            }
            objects.delete(oid);
            client.commit();
        }
        try (Connection client = pool.client()) {
            assertThat(client.unwrap(PGConnection.class).getPrepareThreshold()).isEqualTo(5);
            client.unwrap(BaseConnection.class).setPrepareThreshold(7); // everything is reset
        }
        try (Connection client = pool.client()) {
            assertThat(client.unwrap(PGConnection.class).getPrepareThreshold()).isEqualTo(5);
        }
    }

    private static void timeouts(Pool pool) throws SQLException {
        try (Connection client = pool.client();
                Statement statement = client.createStatement()) {
            statement.setQueryTimeout(1);
            assertThatThrownBy(() -> statement.execute("SELECT pg_sleep(60)"))
                    .isInstanceOf(SQLException.class)
                    .extracting(e -> ((SQLException) e).getSQLState())
                    .isEqualTo("57014");
            try {
                client.setNetworkTimeout(Runnable::run, 60_000);
            } catch (SecurityException e) {
                assertThat(Runtime.version().feature()).isGreaterThanOrEqualTo(24);
                assertThat(client.getMetaData().getDriverVersion()).isLessThan("42.7.6");
            }
        }
        try (Connection client = pool.client()) {
            assertThat(client.getNetworkTimeout()).isZero();
        }
    }

    private static void abort(Pool pool) throws Exception {
        String before;
        Connection driver;
        try (Connection client = pool.client()) {
            before = TestServer.query(client, "SELECT pg_backend_pid()");
            driver = client.unwrap(BaseConnection.class);
            client.abort(Runnable::run);
        }
        try (Connection client = pool.client()) {
            assertThat(TestServer.query(client, "SELECT pg_backend_pid()")).isNotEqualTo(before);
        }
        Await.until("the driver knows it", driver::isClosed);
    }
}
