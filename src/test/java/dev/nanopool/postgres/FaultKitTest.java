package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.EmbeddedServer;
import dev.nanopool.testkit.EmbeddedServer.Stop;
import dev.nanopool.testkit.FaultProxy;
import dev.nanopool.testkit.FaultProxy.Fault;
import dev.nanopool.testkit.Stopwatch;
import dev.nanopool.testkit.TestServer;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.time.Duration;
import java.util.Set;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** The faults themselves, as the driver sees them without a pool, because the other tests build on them. */
@Tag("server")
class FaultKitTest {
    private static final EmbeddedServer SERVER = EmbeddedServer.start();

    @AfterAll
    static void stop() throws Exception {
        SERVER.close();
    }

    /** Much time to log in, and for each answer. */
    private static Connection connect(FaultProxy proxy) throws SQLException {
        return connect(proxy, "&socketTimeout=30&loginTimeout=60");
    }

    private static Connection connect(FaultProxy proxy, String timeouts) throws SQLException {
        return DriverManager.getConnection(TestServer.jdbc(proxy.url()) + "&sslmode=disable" + timeouts);
    }

    /** Half a second for each answer, because none is expected. */
    private static void expectSilence(Connection direct) throws SQLException {
        direct.setNetworkTimeout(Runnable::run, 500);
    }

    private static String failure(Connection connection) {
        return catchThrowableOfType(SQLException.class, () -> TestServer.query(connection, "SELECT 1"))
                .getSQLState();
    }

    @ParameterizedTest
    @EnumSource
    void serverMustStopAndStartAgain(Stop how) throws Exception {
        try (Connection direct = SERVER.direct()) {
            SERVER.stop(how);
            assertThat(SERVER.isAnswering()).isFalse();
            assertThat(failure(direct)).isIn("57P01", "08006");
        }
        SERVER.startAgain();
        Await.until("it answers", SERVER::isAnswering);
    }

    @Test
    void standbyMustFollowAndBecomeAPrimary() throws Exception {
        try (EmbeddedServer standby = SERVER.standby();
                Connection primary = SERVER.direct();
                Connection direct = standby.direct()) {
            TestServer.execute(primary, "CREATE TABLE followed (n int)");
            Await.until("the table has come", () -> TestServer.query(direct, "SELECT to_regclass('followed')") != null);
            assertThat(TestServer.query(direct, "SELECT pg_is_in_recovery()")).isEqualTo("t");
            standby.promote();
            assertThat(TestServer.query(direct, "SELECT pg_is_in_recovery()")).isEqualTo("f");
        }
    }

    @Test
    void frozenBackendMustNotAnswerUntilThawed() throws Exception {
        try (Connection direct = SERVER.direct()) {
            int pid = Integer.parseInt(TestServer.query(direct, "SELECT pg_backend_pid()"));
            EmbeddedServer.freeze(pid);
            expectSilence(direct);
            assertThat(failure(direct)).isEqualTo("08006");
            EmbeddedServer.thaw(pid);
        }
    }

    @Test
    void faultsMustBefallOpenConnections() throws Exception {
        try (FaultProxy proxy = new FaultProxy(SERVER.url())) {
            for (Fault fault :
                    new Fault[] {Fault.FIN, Fault.RST, Fault.SILENT, Fault.UNANSWERED, Fault.fatal("57P01")}) {
                try (Connection direct = connect(proxy)) {
                    proxy.now(fault);
                    if (Set.of(Fault.SILENT, Fault.UNANSWERED).contains(fault)) expectSilence(direct);
                    assertThat(failure(direct))
                            .as(fault.toString())
                            .isEqualTo(fault.sqlState().isEmpty() ? "08006" : "57P01");
                }
            }
            try (Connection direct = connect(proxy)) {
                proxy.halfOpen();
                expectSilence(direct);
                assertThat(failure(direct)).as("half open").isEqualTo("08006");
            }
            Await.until("all are gone", () -> proxy.open() == 0);
        }
    }

    @Test
    void faultsMustBefallMessages() throws Exception {
        try (FaultProxy proxy = new FaultProxy(SERVER.url());
                Connection direct = connect(proxy)) {
            proxy.at(message -> message.isStatement("SELECT 1"), Fault.error("53100"));
            assertThat(failure(direct)).isEqualTo("53100");
            proxy.at(message -> message.isStatement("SELECT 1"), Fault.slow(Duration.ofMillis(300)));
            long start = System.nanoTime();
            assertThat(TestServer.query(direct, "SELECT 1")).isEqualTo("1");
            assertThat(System.nanoTime() - start).isGreaterThan(300_000_000);
            proxy.heal();
            assertThat(TestServer.query(direct, "SELECT 1")).isEqualTo("1");
        }
    }

    @Test
    void blackHoleMustKeepWhatItSwallowsUntilHealed() throws Exception {
        try (FaultProxy proxy = new FaultProxy(SERVER.url());
                Connection before = connect(proxy)) {
            proxy.blackHole();
            assertThat(catchThrowableOfType(SQLException.class, () -> connect(proxy, "&socketTimeout=1&loginTimeout=2"))
                            .getSQLState())
                    .isEqualTo("08001");
            Thread.ofVirtual().start(proxy::heal);
            assertThat(TestServer.query(before, "SELECT 1")).isEqualTo("1");
            connect(proxy).close();
        }
    }

    @Test
    void answersMustComeLaterOrSlowly() throws Exception {
        try (FaultProxy proxy = new FaultProxy(SERVER.url());
                Connection direct = connect(proxy)) {
            try (var stopwatch = Stopwatch.start()) {
                proxy.latency(Duration.ofMillis(200));
                TestServer.query(direct, "SELECT 1");
                assertThat(stopwatch.elapsed())
                        .isBetween(Duration.ofMillis(200), stopwatch.allowing(Duration.ofSeconds(1)));
            }
            proxy.heal();
            try (var stopwatch = Stopwatch.start()) {
                proxy.throttle(100_000);
                TestServer.query(direct, "SELECT repeat('x', 50000)");
                assertThat(stopwatch.elapsed())
                        .isBetween(Duration.ofMillis(400), stopwatch.allowing(Duration.ofSeconds(3)));
            }
        }
    }

    @Test
    void proxyMustCountConnectionsUnderWay() throws Exception {
        try (FaultProxy proxy = new FaultProxy(SERVER.url())) {
            connect(proxy).close();
            connect(proxy).close();
            assertThat(proxy.mostConnecting()).isEqualTo(1);
            proxy.refuse();
            assertThat(catchThrowableOfType(SQLException.class, () -> connect(proxy))
                            .getSQLState())
                    .isEqualTo("08001");
            proxy.listen();
            connect(proxy).close();
        }
    }
}
