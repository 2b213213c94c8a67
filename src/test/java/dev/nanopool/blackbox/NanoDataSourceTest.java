package dev.nanopool.blackbox;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.nanopool.NanoDataSource;
import dev.nanopool.Pool;
import dev.nanopool.PoolHealth;
import dev.nanopool.TlsMode;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.TestServer;
import java.io.IOException;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.SQLFeatureNotSupportedException;
import java.sql.SQLNonTransientConnectionException;
import java.sql.SQLTransientConnectionException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.logging.Handler;
import java.util.logging.Level;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import javax.sql.DataSource;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.postgresql.PGConnection;
import org.springframework.aop.framework.ProxyFactory;

class NanoDataSourceTest extends PoolTestBase {
    private static final AtomicInteger NAMES = new AtomicInteger();

    private final List<NanoDataSource> dataSources = new ArrayList<>();

    private NanoDataSource dataSource(String url) {
        var dataSource = new NanoDataSource();
        dataSource.setJdbcUrl(url);
        dataSource.setPoolName("bean-" + NAMES.incrementAndGet());
        dataSource.setMaximumPoolSize(2);
        dataSources.add(dataSource);
        return dataSource;
    }

    private NanoDataSource dataSource() {
        return dataSource(TestServer.url());
    }

    private static int sessions(NanoDataSource dataSource) throws SQLException {
        return TestServer.sessions(String.valueOf(dataSource.getPoolName()));
    }

    private static String query(DataSource dataSource, String sql) throws SQLException {
        try (Connection client = dataSource.getConnection()) {
            return TestServer.query(client, sql);
        }
    }

    @AfterEach
    void closeAll() throws Exception {
        threads.join();
        for (NanoDataSource dataSource : dataSources) {
            dataSource.close();
            Await.until("no session is left", () -> sessions(dataSource) == 0);
        }
    }

    // A listening port that never answers. A connecting thread waits until the test closes the socket.
    private static ServerSocket silentServer() throws IOException {
        var server = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
        server.setSoTimeout(20_000);
        return server;
    }

    private NanoDataSource dataSource(ServerSocket server) {
        NanoDataSource dataSource = dataSource("postgresql://nobody@127.0.0.1:" + server.getLocalPort() + "/none");
        dataSource.setTlsMode(TlsMode.DISABLE);
        return dataSource;
    }

    // The start

    @Test
    void poolMustStartAtTheFirstGetConnection() throws Exception {
        NanoDataSource dataSource = dataSource();
        assertThat(dataSource.toString()).contains("not started");
        assertThat(sessions(dataSource)).isZero();
        assertThat(query(dataSource, "SELECT 1 + 2")).isEqualTo("3");
        Await.until("all are open", () -> sessions(dataSource) == 2);
        awaitBalance(dataSource.unwrap(Pool.class));
    }

    @Test
    void poolMustStartOnceForManyCallers() throws Exception {
        NanoDataSource dataSource = dataSource();
        Set<Pool> pools = ConcurrentHashMap.newKeySet();
        for (int i = 0; i < 100; i++) {
            threads.start(() -> {
                assertThat(query(dataSource, "SELECT 1")).isEqualTo("1");
                pools.add(dataSource.unwrap(Pool.class));
            });
        }
        threads.join();
        assertThat(pools).hasSize(1);
        Pool pool = dataSource.unwrap(Pool.class);
        Await.until("all are open", () -> pool.stats().opened() == 2);
        awaitBalance(pool);
    }

    /** The SQL of a set-up that the first session of the pool passes, while each later one does something. */
    private static String unlessFirst(NanoDataSource dataSource, String what) {
        return "DO $$ BEGIN IF (SELECT count(*) FROM pg_stat_activity WHERE application_name = '"
                + dataSource.getPoolName() + "') > 1 THEN " + what + "; END IF; END $$";
    }

    @Test
    void firstCallerMustNotWaitForTheLastConnection() throws Exception {
        NanoDataSource dataSource = dataSource();
        dataSource.setMaximumPoolSize(4);
        dataSource.setConnectionInitSql(unlessFirst(dataSource, "PERFORM pg_advisory_xact_lock(2020)"));
        try (Connection gate = TestServer.direct()) {
            TestServer.query(gate, "SELECT pg_advisory_lock(2020)");
            assertThat(query(dataSource, "SELECT 1")).isEqualTo("1");
            Pool pool = dataSource.unwrap(Pool.class);
            assertThat(pool.stats().opened()).isEqualTo(1);
            Await.until("the others are under way", () -> pool.stats().opening() == 3);
            TestServer.query(gate, "SELECT pg_advisory_unlock(2020)");
            Await.until("the others follow", () -> pool.stats().opened() == 4);
            awaitBalance(pool);
        }
    }

    // The start fails only for the first connection. The others fail as in a running pool, which tries them again.
    @Test
    void laterConnectionMustFailAsInARunningPool() throws Exception {
        NanoDataSource dataSource = dataSource();
        dataSource.setConnectionInitSql(unlessFirst(dataSource, "RAISE 'no second session'"));
        assertThat(query(dataSource, "SELECT 1")).isEqualTo("1");
        Pool pool = dataSource.unwrap(Pool.class);
        Await.until("an attempt has failed", () -> pool.health().status() == PoolHealth.Status.DEGRADED);
        assertThat(query(dataSource, "SELECT 2")).isEqualTo("2");
        assertThat(pool.stats().opened()).isEqualTo(1);
    }

    // A start that failed leaves everything as it was. Properties may still be changed, and the next call tries again.
    @Test
    void startMustBeTriedAgainAfterAFailure() throws Exception {
        NanoDataSource dataSource;
        try (ServerSocket server = silentServer()) {
            dataSource = dataSource(server);
        } // no server listens there
        for (int i = 0; i < 2; i++) {
            assertThatThrownBy(dataSource::getConnection)
                    .isInstanceOfSatisfying(
                            SQLException.class, e -> assertThat(e.getSQLState()).isEqualTo("08001"));
        }
        dataSource.setTlsMode(null);
        dataSource.setJdbcUrl(TestServer.url());
        assertThat(query(dataSource, "SELECT 1")).isEqualTo("1");
    }

    // All waiting callers share one attempt, because else each would try for itself, one after the other.
    @Test
    void callersMustShareTheFailureOfTheStartTheyWaitedFor() throws Exception {
        try (ServerSocket server = silentServer()) {
            NanoDataSource dataSource = dataSource(server);
            Queue<String> states = new ConcurrentLinkedQueue<>();
            threads.start(() -> states.add(failure(dataSource)));
            try (Socket first = server.accept()) {
                List<Thread> waiting = new ArrayList<>();
                for (int i = 0; i < 3; i++) waiting.add(threads.start(() -> states.add(failure(dataSource))));
                for (Thread thread : waiting) {
                    Await.until("the caller waits", () -> thread.getState() == Thread.State.TIMED_WAITING);
                }
                assertThat(first.isConnected()).isTrue();
            }
            threads.join();
            assertThat(states).hasSize(4).allMatch(state -> state.startsWith("08"));
            server.setSoTimeout(1);
            assertThatThrownBy(server::accept).isInstanceOf(IOException.class);
        }
    }

    private static String failure(DataSource dataSource) {
        try (Connection client = dataSource.getConnection()) {
            return "got " + client;
        } catch (SQLException e) {
            return String.valueOf(e.getSQLState());
        }
    }

    @Test
    void callerMustWaitNoLongerThanConnectionTimeoutForTheStartOfAnother() throws Exception {
        try (ServerSocket server = silentServer()) {
            NanoDataSource dataSource = dataSource(server);
            dataSource.setConnectionTimeout(50);
            threads.start(() -> assertThat(failure(dataSource)).startsWith("08"));
            try (Socket first = server.accept()) {
                assertThatThrownBy(dataSource::getConnection)
                        .isInstanceOf(SQLTransientConnectionException.class)
                        .hasMessage(
                                dataSource.getPoolName() + ": the pool did not start within 50 ms (connectionTimeout)")
                        .extracting(e -> ((SQLException) e).getSQLState())
                        .isEqualTo("08001");
                assertThat(first.isConnected()).isTrue();
            }
            threads.join();
        }
    }

    @Test
    void callerMustKeepTheInterruptFlagWhenInterruptedWhileThePoolStarts() throws Exception {
        try (ServerSocket server = silentServer()) {
            NanoDataSource dataSource = dataSource(server);
            threads.start(() -> assertThat(failure(dataSource)).startsWith("08"));
            try (Socket first = server.accept()) {
                Thread waiting = threads.start(() -> {
                    assertThat(failure(dataSource)).isEqualTo("08000");
                    assertThat(Thread.currentThread().isInterrupted()).isTrue();
                });
                Await.until("the caller waits", () -> waiting.getState() == Thread.State.TIMED_WAITING);
                waiting.interrupt();
                Await.until("the caller has left", () -> !waiting.isAlive());
                assertThat(first.isConnected()).isTrue();
            }
            threads.join();
        }
    }

    // The properties

    @Test
    void settersMustNameTheirPropertyOnceThePoolHasStarted() throws Exception {
        NanoDataSource dataSource = dataSource();
        dataSource.getConnection().close();
        List<String> properties = new ArrayList<>();
        for (Method setter : NanoDataSource.class.getDeclaredMethods()) {
            if (setter.isBridge() || !setter.getName().matches("set[A-Z].*")) continue; // a bridge: DataSource's own
            String suffix = setter.getName().substring(3);
            String property = Character.toLowerCase(suffix.charAt(0)) + suffix.substring(1);
            properties.add(property);
            String getter = (setter.getParameterTypes()[0] == boolean.class ? "is" : "get") + suffix;
            Object same = NanoDataSource.class.getMethod(getter).invoke(dataSource);
            assertThatThrownBy(() -> setter.invoke(dataSource, same))
                    .isInstanceOf(InvocationTargetException.class)
                    .cause()
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessage(
                            "%s: %s cannot be changed once the pool has started", dataSource.getPoolName(), property);
        }
        assertThat(properties)
                .contains("jdbcUrl", "url", "username", "password", "maximumPoolSize", "minimumIdle")
                .contains("connectionTimeout", "maxLifetime", "poolName", "connectionInitSql", "schema", "readOnly")
                .contains("autoCommit", "transactionIsolation", "tlsMode", "dataSourceProperties");
        assertThatThrownBy(() -> dataSource.addDataSourceProperty("prepareThreshold", 3))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("dataSourceProperties");
    }

    // Session defaults, so that RESET comes back to them and a client's own change is undone to them.
    @Test
    void sessionMustHaveTheDefaultsOfTheBean() throws Exception {
        String schema = "Bean \"Schema\", public";
        try (Connection direct = TestServer.direct()) {
            TestServer.execute(direct, "CREATE SCHEMA \"Bean \"\"Schema\"\", public\"");
            try {
                NanoDataSource dataSource = dataSource();
                dataSource.setMaximumPoolSize(1);
                dataSource.setSchema(schema);
                dataSource.setReadOnly(true);
                dataSource.setTransactionIsolation("TRANSACTION_REPEATABLE_READ");
                dataSource.setConnectionInitSql("SET SESSION lock_timeout = '7s'; SET statement_timeout = '8s'");
                for (int i = 0; i < 2; i++) {
                    try (Connection client = dataSource.getConnection()) {
                        assertThat(client.getSchema()).isEqualTo(schema);
                        assertThat(client.getTransactionIsolation()).isEqualTo(Connection.TRANSACTION_REPEATABLE_READ);
                        assertThat(TestServer.query(client, "SHOW transaction_read_only"))
                                .isEqualTo("on");
                        assertThat(TestServer.query(client, "SHOW lock_timeout"))
                                .isEqualTo("7s");
                        assertThat(TestServer.query(client, "SHOW statement_timeout"))
                                .isEqualTo("8s");
                        assertThatThrownBy(() -> TestServer.execute(client, "CREATE TABLE not_here (id int)"))
                                .isInstanceOfSatisfying(
                                        SQLException.class,
                                        e -> assertThat(e.getSQLState()).isEqualTo("25006"));
                        client.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
                        client.setSchema("public");
                    }
                }
            } finally {
                TestServer.execute(direct, "DROP SCHEMA \"Bean \"\"Schema\"\", public\"");
            }
        }
    }

    @Test
    void transactionIsolationMustTakeTheNamesOfJdbcAndOfSql() throws Exception {
        NanoDataSource dataSource = dataSource();
        for (String name : List.of("READ_UNCOMMITTED", "transaction_read_committed", "TRANSACTION_SERIALIZABLE")) {
            dataSource.setTransactionIsolation(name);
        }
        assertThat(query(dataSource, "SHOW transaction_isolation")).isEqualTo("serializable");
    }

    // HikariCP takes the number of java.sql.Connection as text, too.
    @ParameterizedTest
    @CsvSource({"1, read uncommitted", "2, read committed", "4, repeatable read", "8, serializable"})
    void transactionIsolationMustTakeTheNumberOfJdbc(String number, String level) throws Exception {
        NanoDataSource dataSource = dataSource();
        dataSource.setMaximumPoolSize(1);
        dataSource.setTransactionIsolation(number);
        assertThat(dataSource.getTransactionIsolation()).isEqualTo(number);
        assertThat(query(dataSource, "SHOW transaction_isolation")).isEqualTo(level);
        try (Connection client = dataSource.getConnection()) {
            assertThat(client.getTransactionIsolation()).isEqualTo(Integer.parseInt(number));
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"0", "3", "16", "", "-1", "TRANSACTION_8", "TRANSACTION_", "serial"})
    void transactionIsolationMustRefuseAnythingElse(String text) {
        NanoDataSource dataSource = dataSource();
        assertThatThrownBy(() -> dataSource.setTransactionIsolation(text))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("\"" + text + "\" is not an isolation level");
    }

    // What PostgreSQLContainer.getJdbcUrl() gives, through each door.
    @Test
    void urlOfTestcontainersMustWork() throws Exception {
        String plain = TestServer.jdbc(TestServer.url());
        String url = plain + (plain.contains("?") ? "&" : "?") + "loggerLevel=OFF";
        assertThat(query(dataSource(url), "SELECT 1")).isEqualTo("1");
        try (Pool pool = Pool.create(url, TlsMode.PREFER, 1);
                Connection client = pool.client()) {
            assertThat(TestServer.query(client, "SELECT 1")).isEqualTo("1");
        }
    }

    // What is not committed is rolled back, and the next client begins as the first did.
    @Test
    void clientMustNotBeInAutoCommitModeWhenTheBeanSaysSo() throws Exception {
        String table = "bean_auto_commit";
        try (Connection direct = TestServer.direct()) {
            TestServer.execute(direct, "CREATE TABLE " + table + " (id int)");
            try {
                NanoDataSource dataSource = dataSource();
                dataSource.setMaximumPoolSize(1);
                dataSource.setAutoCommit(false);
                for (int i = 0; i < 3; i++) {
                    try (Connection client = dataSource.getConnection()) {
                        assertThat(client.getAutoCommit()).isFalse();
                        TestServer.execute(client, "INSERT INTO " + table + " VALUES (" + i + ")");
                        if (i == 1) client.commit();
                    }
                }
                assertThat(TestServer.query(direct, "SELECT string_agg(id::text, ',') FROM " + table))
                        .isEqualTo("1");
                Pool pool = dataSource.unwrap(Pool.class);
                try (Connection client = pool.client()) {
                    assertThat(client.getAutoCommit()).isTrue();
                }
                awaitBalance(pool);
            } finally {
                TestServer.execute(direct, "DROP TABLE IF EXISTS " + table);
            }
        }
    }

    // The view of a pool does the same as the bean, and the next client begins with auto-commit again.
    @Test
    void clientOfAPoolsViewMustBeginAsTheViewSays() throws Exception {
        Pool pool = open(1);
        for (boolean autoCommit : new boolean[] {false, true, false}) {
            DataSource view = pool.dataSource(autoCommit);
            try (Connection client = view.getConnection()) {
                assertThat(client.getAutoCommit()).isEqualTo(autoCommit);
                TestServer.query(client, "SELECT 1");
            }
            assertThat(view.unwrap(Pool.class)).isSameAs(pool);
        }
        try (Connection client = pool.dataSource().getConnection()) {
            assertThat(client.getAutoCommit()).isTrue();
        }
        awaitBalance(pool);
        assertThat(pool.stats().leftOpen()).isEqualTo(2);
    }

    // Frameworks make a proxy as a subclass, without a call of the constructor, and it hands each call to the bean.
    @Test
    void proxyAsASubclassMustServe() throws Exception {
        NanoDataSource dataSource = dataSource();
        var factory = new ProxyFactory(dataSource);
        factory.setProxyTargetClass(true);
        var proxy = (NanoDataSource) factory.getProxy();
        assertThat(proxy).isNotSameAs(dataSource);
        proxy.configure(Map.of("maximum-pool-size", "1", "auto-commit", "off"));
        try (Connection client = proxy.getConnection()) {
            assertThat(client.getAutoCommit()).isFalse();
            assertThat(proxy.unwrap(Pool.class)).isSameAs(dataSource.unwrap(Pool.class));
        }
        assertThat(proxy.getSize()).isEqualTo(1);
        awaitBalance(proxy.unwrap(Pool.class));
        proxy.close();
        assertThat(dataSource.toString()).contains("closed");
    }

    // A plain SELECT opens a transaction there, and its client need not commit. The pool counts it and warns of
    // nothing.
    @Test
    void clientWithoutAutoCommitMustBeCountedWithoutAWarningWhenItDoesNotCommit() throws Exception {
        NanoDataSource dataSource = dataSource();
        dataSource.setMaximumPoolSize(1);
        dataSource.setAutoCommit(false);
        List<LogRecord> records = new CopyOnWriteArrayList<>();
        try (var log = new CapturedLog(records)) {
            assertThat(query(dataSource, "SELECT 1")).isEqualTo("1");
            assertThat(query(dataSource, "SELECT 1")).isEqualTo("1");
            try (Connection client = dataSource.getConnection()) {
                client.setAutoCommit(true);
                client.setAutoCommit(false); // the lease began without auto-commit all the same
                TestServer.query(client, "SELECT 1");
            }
            Pool pool = dataSource.unwrap(Pool.class);
            awaitBalance(pool);
            assertThat(pool.stats().leftOpen()).isEqualTo(3);
            assertThat(log.messages(Level.WARNING)).isEmpty();
            assertThat(log.messages(Level.FINE))
                    .filteredOn(text -> text.contains("without a commit"))
                    .hasSize(3)
                    .allMatch(text -> text.contains("NanoDataSourceTest"));
            // The next lease of the same connection begins with auto-commit, and its caller begins the transaction.
            try (Connection client = pool.client()) {
                TestServer.execute(client, "BEGIN");
            }
            awaitBalance(pool);
            assertThat(pool.stats().leftOpen()).isEqualTo(4);
            assertThat(log.messages(Level.WARNING))
                    .singleElement()
                    .asString()
                    .contains("closed in a transaction without a commit; closed at", "NanoDataSourceTest");
        }
    }

    // What is written for MySQL has no effect here, and one line says so, however often the start is tried.
    @Test
    void recipeOfAnotherDriverMustBeWarnedOfOnce() throws Exception {
        NanoDataSource dataSource;
        try (ServerSocket server = silentServer()) {
            dataSource = dataSource(server);
        } // no server listens there
        dataSource.addDataSourceProperty("cachePrepStmts", "true");
        dataSource.addDataSourceProperty("prepStmtCacheSize", 250);
        dataSource.addDataSourceProperty("prepStmtCacheSqlLimit", 2048);
        dataSource.addDataSourceProperty("useServerPrepStmts", true);
        dataSource.addDataSourceProperty("rewriteBatchedStatements", true);
        List<LogRecord> records = new CopyOnWriteArrayList<>();
        try (var log = new CapturedLog(records)) {
            for (int i = 0; i < 2; i++) {
                assertThatThrownBy(dataSource::getConnection).isInstanceOf(SQLException.class);
            }
            dataSource.setTlsMode(null);
            dataSource.setJdbcUrl(TestServer.url());
            assertThat(query(dataSource, "SELECT 1")).isEqualTo("1");
            assertThat(log.messages(Level.WARNING))
                    .filteredOn(text -> text.contains("another driver"))
                    .singleElement()
                    .asString()
                    .contains("cachePrepStmts", "preparedStatementCacheQueries", "preparedStatementCacheSizeMiB")
                    .contains("prepareThreshold", "reWriteBatchedInserts");
        }
        assertThatThrownBy(() -> dataSource().addDataSourceProperty("useSSL", true))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("sslmode=require");
    }

    /** What the pool logs, from DEBUG on. */
    private static final class CapturedLog implements AutoCloseable {
        private final Logger logger = Logger.getLogger("dev.nanopool");
        private final List<LogRecord> records;
        private final Handler handler = new Handler() {
            @Override
            public void publish(LogRecord entry) {
                records.add(entry);
            }

            @Override
            public void flush() {}

            @Override
            public void close() {}
        };

        CapturedLog(List<LogRecord> records) {
            this.records = records;
            handler.setLevel(Level.ALL);
            logger.addHandler(handler);
            logger.setLevel(Level.ALL);
        }

        List<String> messages(Level level) {
            return records.stream()
                    .filter(entry -> entry.getLevel().equals(level))
                    .map(LogRecord::getMessage)
                    .toList();
        }

        @Override
        public void close() {
            logger.removeHandler(handler);
            logger.setLevel(null);
        }
    }

    // autoCommit=false costs no round trip, so a client that does nothing leaves no trace on the server.
    @Test
    void autoCommitMustCostNoRoundTrip() throws Exception {
        NanoDataSource dataSource = dataSource();
        dataSource.setMaximumPoolSize(1);
        dataSource.setAutoCommit(false);
        int pid;
        try (Connection client = dataSource.getConnection()) {
            pid = ((PGConnection) client).getBackendPID();
            client.commit();
        }
        String changed = "SELECT state_change::text FROM pg_stat_activity WHERE pid = " + pid;
        try (Connection direct = TestServer.direct()) {
            awaitBalance(dataSource.unwrap(Pool.class));
            String before = TestServer.query(direct, changed);
            for (int i = 0; i < 5; i++) dataSource.getConnection().close();
            awaitBalance(dataSource.unwrap(Pool.class));
            assertThat(TestServer.query(direct, changed)).isEqualTo(before);
        }
    }

    @Test
    void usernameMustWinOverTheUrl() throws Exception {
        try (Connection direct = TestServer.direct()) {
            TestServer.execute(direct, "CREATE ROLE bean_user LOGIN PASSWORD 'bean pass'");
            try {
                NanoDataSource dataSource = dataSource();
                dataSource.setUsername("bean_user");
                dataSource.setPassword("bean pass");
                assertThat(query(dataSource, "SELECT current_user")).isEqualTo("bean_user");
                dataSource.close();
            } finally {
                TestServer.execute(direct, "DROP ROLE bean_user");
            }
        }
    }

    @Test
    void driverPropertiesMustReachTheDriver() throws Exception {
        var properties = new Properties();
        properties.put("prepareThreshold", 3); // not a string, as HikariCP's users write it
        properties.setProperty("defaultRowFetchSize", "77");
        NanoDataSource dataSource = dataSource();
        dataSource.setDataSourceProperties(properties);
        dataSource.addDataSourceProperty("preferQueryMode", "simple");
        assertThat(dataSource.getDataSourceProperties())
                .containsEntry("prepareThreshold", "3")
                .containsEntry("defaultRowFetchSize", "77")
                .containsEntry("preferQueryMode", "simple");
        try (Connection client = dataSource.getConnection()) {
            assertThat(((PGConnection) client).getPrepareThreshold()).isEqualTo(3);
            assertThat(((PGConnection) client).getDefaultFetchSize()).isEqualTo(77);
        }
    }

    @Test
    void unknownDriverPropertyMustBeRefused() {
        NanoDataSource dataSource = dataSource();
        var properties = new Properties();
        properties.setProperty("prepareThreshold", "3");
        properties.setProperty("aplicationName", "x");
        assertThatThrownBy(() -> dataSource.setDataSourceProperties(properties))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("dataSourceProperties: \"aplicationName\" is not a property of the driver;"
                        + " did you mean ApplicationName?");
        assertThat(dataSource.getDataSourceProperties()).isEmpty();
    }

    // The pool sets these itself, so that what is given here would silently not count.
    @ParameterizedTest
    @ValueSource(strings = {"user", "password", "sslmode", "connectTimeout", "loginTimeout"})
    void driverPropertyThatThePoolSetsMustBeRefused(String name) {
        NanoDataSource dataSource = dataSource();
        assertThatThrownBy(() -> dataSource.addDataSourceProperty(name, "secret"))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageStartingWith("dataSourceProperties: \"" + name + "\" is not taken here; use ")
                .hasMessageNotContaining("secret");
    }

    @Test
    void badValuesMustBeRefusedWithTheirBounds() {
        NanoDataSource dataSource = dataSource();
        refused(() -> dataSource.setMaximumPoolSize(0), "maximumPoolSize: 0 is out of bounds; must be 1 to 10000");
        refused(() -> dataSource.setMinimumIdle(-2), "minimumIdle: -2 is out of bounds; must be -1 to 10000");
        refused(
                () -> dataSource.setConnectionTimeout(-1),
                "connectionTimeout: -1 ms is out of bounds; must be 0 to 31536000000 ms");
        refused(
                () -> dataSource.setMaxLifetime(999),
                "maxLifetime: 999 ms is out of bounds; must be 1000 to 31536000000 ms");
        refused(
                () -> dataSource.setTransactionIsolation("NONE"),
                "transactionIsolation: \"NONE\" is not an isolation level; use READ_COMMITTED, REPEATABLE_READ,"
                        + " SERIALIZABLE or READ_UNCOMMITTED, or the number of java.sql.Connection: 2, 4, 8 or 1");
        refused(() -> new NanoDataSource().getConnection(), "jdbcUrl: is not set");
        dataSource.setMinimumIdle(3);
        refused(dataSource::getConnection, "minimumIdle: 3 is out of bounds; must be 0 to 2");
    }

    private static void refused(ThrowingCallable call, String message) {
        assertThatThrownBy(call).isInstanceOf(IllegalArgumentException.class).hasMessage(message);
    }

    // The end

    @Test
    void closedDataSourceMustRefuse() throws Exception {
        NanoDataSource started = dataSource();
        started.getConnection().close();
        NanoDataSource fresh = dataSource();
        for (NanoDataSource dataSource : Arrays.asList(started, fresh)) {
            dataSource.close();
            dataSource.close();
            Await.until("the server's processes have ended", () -> sessions(dataSource) == 0);
            assertThatThrownBy(dataSource::getConnection)
                    .isInstanceOf(SQLNonTransientConnectionException.class)
                    .extracting(e -> ((SQLException) e).getSQLState())
                    .isEqualTo("08003");
            assertThatThrownBy(() -> dataSource.setSchema("public")).isInstanceOf(IllegalStateException.class);
            assertThat(dataSource.toString()).contains("closed");
        }
    }

    // A pool that starts while the data source is closed is closed with it.
    @Test
    void closeMustWaitForAStartInProgress() throws Exception {
        try (ServerSocket server = silentServer()) {
            NanoDataSource dataSource = dataSource(server);
            threads.start(() -> assertThat(failure(dataSource)).startsWith("08"));
            Thread closing;
            try (Socket first = server.accept()) {
                closing = threads.start(dataSource::close);
                Await.until("close waits", () -> closing.getState() == Thread.State.WAITING);
                assertThat(first.isConnected()).isTrue();
            }
            threads.join();
            assertThat(failure(dataSource)).isEqualTo("08003");
        }
    }

    // The rest

    @Test
    void connectionForAnotherUserMustBeRefused() {
        NanoDataSource dataSource = dataSource();
        assertThatThrownBy(() -> dataSource.getConnection("somebody", "secret"))
                .isInstanceOf(SQLFeatureNotSupportedException.class)
                .hasMessageNotContaining("secret");
    }

    @Test
    void unwrapMustGiveThePoolAndTheDataSource() throws Exception {
        NanoDataSource dataSource = dataSource();
        assertThat(dataSource.isWrapperFor(Pool.class)).isTrue();
        assertThat(dataSource.isWrapperFor(NanoDataSource.class)).isTrue();
        assertThat(dataSource.isWrapperFor(String.class)).isFalse();
        assertThat(dataSource.unwrap(DataSource.class)).isSameAs(dataSource);
        assertThat(dataSource.unwrap(Pool.class)).isSameAs(dataSource.unwrap(Pool.class));
        assertThatThrownBy(() -> dataSource.unwrap(String.class)).isInstanceOf(SQLException.class);
    }

    @Test
    void toStringMustShowNoSecret() throws Exception {
        String url = TestServer.url();
        NanoDataSource dataSource = dataSource(url + (url.contains("?") ? "&" : "?") + "options=-c%20a.b%3Dhidden");
        dataSource.setPassword("hidden");
        assertThat(dataSource.toString()).contains(dataSource.getPoolName()).doesNotContain("hidden");
        dataSource.setPassword(null);
        dataSource.getConnection().close();
        assertThat(dataSource.toString()).contains(dataSource.getPoolName()).doesNotContain("hidden");
    }
}
