package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import dev.nanopool.PoolExhaustedException;
import dev.nanopool.PoolExhaustedException.Verdict;
import dev.nanopool.ResetMode;
import dev.nanopool.TestAccess;
import dev.nanopool.TlsMode;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.Certificates;
import dev.nanopool.testkit.EmbeddedServer;
import dev.nanopool.testkit.EmbeddedServer.Stop;
import dev.nanopool.testkit.FaultProxy;
import dev.nanopool.testkit.FaultProxy.Fault;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.Stopwatch;
import dev.nanopool.testkit.TestServer;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;

/** What may happen to idle connections, and that the next lease sees nothing of it. */
class LivenessTest extends PoolTestBase {
    private static final int SIZE = 4;
    private static final Duration DEADLINE = Duration.ofSeconds(2);
    private static final Duration RECOVERY = Duration.ofSeconds(1);

    /**
     * Longer than the pool trusts a connection that was given back. A connection that dies within that time is no fault
     * of the pool.
     */
    private static final Duration UNTRUSTED = Duration.ofMillis(700);

    private static EmbeddedServer server;

    @BeforeAll
    static void start(@TempDir Path directory) {
        Certificates certificates = new Certificates(directory);
        certificates.signServer("server");
        server = EmbeddedServer.start(builder -> builder.setServerConfig("ssl", "on")
                .setDataDirectoryCustomizer(data -> certificates.install("server", data.toPath())));
    }

    @AfterAll
    static void stop() throws Exception {
        server.close();
    }

    @Override
    protected String server() {
        return server.url();
    }

    /** What happens to all idle connections of a pool. */
    enum Death {
        TERMINATED {
            @Override
            void happen(Set<Integer> pids, FaultProxy proxy) throws Exception {
                terminate(pids);
            }
        },
        KILLED {
            @Override
            void happen(Set<Integer> pids, FaultProxy proxy) {
                EmbeddedServer.kill(pids.iterator().next()); // and the server ends the others
            }
        },
        SIBLING_KILLED {
            @Override
            void happen(Set<Integer> pids, FaultProxy proxy) throws Exception {
                try (Connection sibling = server.direct()) {
                    EmbeddedServer.kill(pid(sibling));
                    Await.until("the server has noticed", () -> sibling.isClosed() || !sibling.isValid(1));
                }
            }
        },
        STOPPED_FAST {
            @Override
            void happen(Set<Integer> pids, FaultProxy proxy) throws Exception {
                restart(Stop.FAST);
            }
        },
        STOPPED_IMMEDIATELY {
            @Override
            void happen(Set<Integer> pids, FaultProxy proxy) throws Exception {
                restart(Stop.IMMEDIATE);
            }
        },
        RESET_BY_THE_NETWORK {
            @Override
            void happen(Set<Integer> pids, FaultProxy proxy) throws Exception {
                proxy.cut(Fault.RST);
            }
        },
        CLOSED_BY_THE_NETWORK {
            @Override
            void happen(Set<Integer> pids, FaultProxy proxy) throws Exception {
                proxy.cut(Fault.FIN);
            }
        },
        IDLE_SESSION_TIMEOUT {
            @Override
            PoolConfig.Builder configure(PoolConfig.Builder config) {
                return config.parameter(
                        "idle_session_timeout", UNTRUSTED.multipliedBy(3).toMillis() + "ms");
            }

            @Override
            void happen(Set<Integer> pids, FaultProxy proxy) {} // it happens by itself
        };

        abstract void happen(Set<Integer> pids, FaultProxy proxy) throws Exception;

        /**
         * Through the proxy only if the proxy does it, because what the server sends last would come a moment later.
         */
        String url(FaultProxy proxy) {
            return name().endsWith("BY_THE_NETWORK") ? proxy.url() : server.url();
        }

        PoolConfig.Builder configure(PoolConfig.Builder config) {
            return config;
        }
    }

    private static void execute(String sql) throws SQLException {
        try (Connection direct = server.direct()) {
            TestServer.execute(direct, sql);
        }
    }

    private static void terminate(Set<Integer> pids) throws SQLException {
        execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid IN " + in(pids));
    }

    private static void restart(Stop how) throws Exception {
        server.stop(how);
        server.startAgain();
    }

    private static int pid(Connection client) throws SQLException {
        return client.unwrap(PGConnection.class).getBackendPID();
    }

    private static String in(Set<Integer> pids) {
        return pids.toString().replace('[', '(').replace(']', ')');
    }

    private static boolean areGone(Set<Integer> pids) {
        try (Connection direct = server.direct()) {
            return TestServer.query(direct, "SELECT count(*) FROM pg_stat_activity WHERE pid IN " + in(pids))
                    .equals("0");
        } catch (SQLException e) {
            return false; // the server starts again
        }
    }

    /** Leases all at once, has the server answer on each, and gives them back. */
    private static Set<Integer> useAll(Pool pool) throws SQLException {
        List<Connection> clients = new ArrayList<>();
        Set<Integer> pids = new HashSet<>();
        try {
            for (int i = 0; i < pool.stats().size(); i++) {
                clients.add(pool.client());
                pids.add(Integer.parseInt(TestServer.query(clients.getLast(), "SELECT pg_backend_pid()")));
            }
        } finally {
            for (Connection client : clients) client.close();
        }
        return pids;
    }

    private static void awaitUntrusted() throws Exception {
        long start = System.nanoTime();
        Await.until("the pool looks again", () -> System.nanoTime() - start >= UNTRUSTED.toNanos());
    }

    /** With TLS, those that look different from below it. */
    static Stream<Arguments> deaths() {
        return Stream.concat(
                Stream.of(Death.values()).map(death -> Arguments.of(death, TlsMode.DISABLE)),
                Stream.of(
                                Death.TERMINATED,
                                Death.SIBLING_KILLED,
                                Death.CLOSED_BY_THE_NETWORK,
                                Death.IDLE_SESSION_TIMEOUT)
                        .map(death -> Arguments.of(death, TlsMode.REQUIRE)));
    }

    // The next leases see no error and no dead connection, whether the pool finds the dead when it lends them or
    // before.
    @ParameterizedTest
    @MethodSource("deaths")
    void deadIdleConnectionMustNotBeLent(Death death, TlsMode tls) throws Exception {
        FaultProxy proxy = proxy();
        Pool pool = open(death.configure(config(death.url(proxy)).tls(tls).size(SIZE)));
        Set<Integer> before = useAll(pool);
        awaitUntrusted();
        death.happen(before, proxy);
        Await.until("the sessions are gone", () -> areGone(before));
        assertThat(useAll(pool)).hasSize(SIZE).doesNotContainAnyElementsOf(before);
    }

    // No caller has to ask. Within a second or so the pool replaces the dead.
    @ParameterizedTest
    @EnumSource(
            value = Death.class,
            names = {"TERMINATED", "KILLED", "CLOSED_BY_THE_NETWORK"})
    void deadIdleConnectionsMustBeReplacedBeforeACallerAsks(Death death) throws Exception {
        FaultProxy proxy = proxy();
        Pool pool = open(config(death.url(proxy)).size(SIZE));
        Set<Integer> before = useAll(pool);
        death.happen(before, proxy);
        Await.until(
                "all are replaced",
                () -> pool.stats().opened() == 2 * SIZE && pool.stats().idle() == SIZE);
        assertThat(pool.stats().lost()).isEqualTo(SIZE);
        assertThat(useAll(pool)).doesNotContainAnyElementsOf(before);
    }

    // All idle sessions are terminated, as operators like to do, and no caller notices.
    @Test
    void thousandLeasesMustSeeNoErrorWhenAllIdleConnectionsAreTerminated() throws Exception {
        Pool pool = open(config().tls(TlsMode.DISABLE).size(10));
        Set<Integer> before = useAll(pool);
        awaitUntrusted();
        terminate(before);
        Await.until("the sessions are gone", () -> areGone(before));
        for (int i = 0; i < 50; i++) {
            threads.start(() -> {
                for (int n = 0; n < 20; n++) {
                    try (Connection client = pool.client()) {
                        assertThat(TestServer.query(client, "SELECT 1")).isEqualTo("1");
                    }
                }
            });
        }
        threads.join();
        Await.until(
                "all are found", () -> pool.stats().lost() >= 10); // those that were not lent, by the pool's own look
        awaitBalance(pool);
        assertThat(pool.stats().lost()).isEqualTo(10);
    }

    // One session's end says nothing about the others.
    @Test
    void oneTerminatedConnectionMustLeaveTheOthersUntouched() throws Exception {
        Pool pool = open(config().tls(TlsMode.DISABLE).size(SIZE));
        Set<Integer> before = useAll(pool);
        Set<Integer> terminated = Set.of(before.iterator().next());
        terminate(terminated);
        Await.until(
                "it is replaced",
                () -> pool.stats().opened() == SIZE + 1 && pool.stats().idle() == SIZE);
        Set<Integer> kept = new HashSet<>(before);
        kept.removeAll(terminated);
        assertThat(useAll(pool)).containsAll(kept).doesNotContainAnyElementsOf(terminated);
        assertThat(pool.stats().lost()).isEqualTo(1);
    }

    // What an idle session may receive without being dead is for its next client, and the look at it takes nothing
    // away.
    @ParameterizedTest
    @EnumSource(
            value = TlsMode.class,
            names = {"DISABLE", "REQUIRE"})
    void pendingNotificationMustNotCostTheConnection(TlsMode tls) throws Exception {
        Pool pool = open(config().tls(tls).size(1).resetMode(ResetMode.NONE));
        int before;
        try (Connection client = pool.client()) {
            before = pid(client);
            TestServer.execute(client, "LISTEN news");
        }
        execute("NOTIFY news, 'something'");
        awaitUntrusted();
        try (Connection client = pool.client()) {
            assertThat(pid(client)).isEqualTo(before);
            PGConnection session = client.unwrap(PGConnection.class);
            List<String> news = new ArrayList<>();
            Await.until("it has come", () -> {
                for (PGNotification notification : session.getNotifications()) news.add(notification.getParameter());
                return !news.isEmpty();
            });
            assertThat(news).containsExactly("something");
        }
    }

    // A loss that leaves no trace, because the network swallows everything. The caller's deadline holds, and once the
    // network is back, so is the pool.
    @Test
    void blackHoleMustNotHoldCallersBeyondTheirDeadlineNorOutlastItself() throws Exception {
        FaultProxy proxy = proxy();
        Pool pool = open(config(proxy).size(10));
        List<Connection> clients = new ArrayList<>();
        List<Consumer<Duration>> aging = new ArrayList<>();
        for (int i = 0; i < 10; i++) {
            clients.add(pool.client());
            aging.add(TestAccess.aging(clients.getLast()));
        }
        for (Connection client : clients) client.close();
        aging.forEach(age -> age.accept(Duration.ofSeconds(31)));
        proxy.blackHole();
        Duration took;
        try (var stopwatch = Stopwatch.start()) {
            assertThatThrownBy(() -> pool.client(DEADLINE))
                    .isInstanceOfSatisfying(
                            PoolExhaustedException.class,
                            e -> assertThat(e.verdict()).isEqualTo(Verdict.DATABASE_DOWN));
            took = stopwatch.elapsed();
            assertThat(took).isBetween(DEADLINE, stopwatch.allowing(DEADLINE.plus(TOLERANCE)));
        }
        proxy.heal();
        Duration recovery;
        try (var stopwatch = Stopwatch.start()) {
            useAll(pool);
            recovery = stopwatch.elapsed();
            assertThat(recovery).isLessThan(stopwatch.allowing(RECOVERY));
        }
        System.getLogger("dev.nanopool.test")
                .log(
                        System.Logger.Level.INFO,
                        "black hole: deadline of 2 s held to %d ms; recovery after %d ms"
                                .formatted(took.minus(DEADLINE).toMillis(), recovery.toMillis()));
    }
}
