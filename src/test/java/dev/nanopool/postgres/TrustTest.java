package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.nanopool.CloseReason;
import dev.nanopool.Pool;
import dev.nanopool.PoolListener;
import dev.nanopool.TestAccess;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.FaultProxy;
import dev.nanopool.testkit.FaultProxy.Fault;
import dev.nanopool.testkit.Log;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.Stopwatch;
import dev.nanopool.testkit.TestServer;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.logging.Level;
import java.util.logging.LogRecord;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Which idle connections are lent without a look, and what makes the pool look. */
class TrustTest extends PoolTestBase {
    private static final int ROUNDS = System.getProperty("nanopool.outages", "").equals("full") ? 10 : 4;
    private static final int BORROWS = 20;
    private static final int SIZE = 20;

    private final Queue<CloseReason> reasons = new ConcurrentLinkedQueue<>();
    private final PoolListener listener = new PoolListener() {
        @Override
        public void closed(String pool, int backendPid, CloseReason reason) {
            reasons.add(reason);
        }
    };

    private static List<Connection> leaseAll(Pool pool) throws SQLException {
        List<Connection> clients = new ArrayList<>();
        for (int i = 0; i < SIZE; i++) clients.add(pool.client());
        return clients;
    }

    private static void closeAll(List<Connection> clients) throws SQLException {
        for (Connection client : clients) client.close();
    }

    enum Cut {
        FIN,
        RST
    }

    // A connection that died 25 ms before the borrow is never lent, however short it was idle. All were used a moment
    // before they died, and the clock ticks for callers that come and go.
    @ParameterizedTest
    @ValueSource(ints = {30, 150, 600})
    void deadConnectionMustNotBeLent(int millis) throws Exception {
        for (Cut cut : Cut.values()) {
            FaultProxy proxy = proxy();
            Pool pool = open(config(proxy).size(SIZE).connectParallelism(4));
            for (int round = 0; round < ROUNDS / 2; round++) {
                closeAll(leaseAll(pool));
                proxy.cut(cut == Cut.FIN ? Fault.FIN : Fault.RST);
                Stopwatch.pause(Duration.ofMillis(millis));
                for (int i = 0; i < BORROWS; i++) {
                    try (Connection client = pool.client()) {
                        assertThat(TestServer.query(client, "SELECT 1"))
                                .as("round %d, borrow %d", round, i)
                                .isEqualTo("1");
                    }
                }
                awaitBalance(pool);
                Await.until("the pool is full", () -> pool.stats().idle() == SIZE);
            }
        }
    }

    /** What its lease does with a connection that dies meanwhile. */
    enum Last {
        NOTHING,
        A_STATEMENT_BEFORE,
        MANY_SHORT_LEASES
    }

    // The end of a lease proves nothing. Only what the server has said does.
    @ParameterizedTest
    @EnumSource
    void connectionThatDiedWhileLeasedMustNotBeLent(Last last) throws Exception {
        for (Cut cut : Cut.values()) {
            for (int millis : new int[] {30, 150}) {
                FaultProxy proxy = proxy();
                Pool pool = open(config(proxy).size(SIZE).connectParallelism(4));
                List<Connection> clients = leaseAll(pool);
                if (last == Last.A_STATEMENT_BEFORE) {
                    for (Connection client : clients) TestServer.query(client, "SELECT 1");
                }
                var isOver = new AtomicBoolean();
                Thread cycling = threads.start(() -> {
                    while (last == Last.MANY_SHORT_LEASES && !isOver.get()) {
                        closeAll(clients);
                        for (int i = 0; i < SIZE; i++) clients.set(i, pool.client());
                    }
                });
                proxy.cut(cut == Cut.FIN ? Fault.FIN : Fault.RST);
                Stopwatch.pause(Duration.ofMillis(millis));
                isOver.set(true);
                cycling.join();
                closeAll(clients);
                for (int i = 0; i < BORROWS; i++) {
                    try (Connection client = pool.client()) {
                        assertThat(TestServer.query(client, "SELECT 1"))
                                .as("%s, %d ms, borrow %d", cut, millis, i)
                                .isEqualTo("1");
                    }
                }
                pool.close();
            }
        }
    }

    // One loss that a lease meets makes the pool look at all others, also at those that were given back just now.
    @Test
    void firstLossMustSuspendTheTrust() throws Exception {
        for (int round = 0; round < ROUNDS; round++) {
            FaultProxy proxy = proxy();
            Pool pool = open(config(proxy).size(SIZE).connectParallelism(4));
            List<Connection> clients = leaseAll(pool);
            Connection first = clients.removeFirst();
            proxy.cut(Fault.RST);
            for (Connection client : clients) TestAccess.hear(client); // only the loss ends the trust in them
            closeAll(clients);
            assertThatThrownBy(() -> TestServer.query(first, "SELECT 1")).isInstanceOf(SQLException.class);
            first.close();
            for (int i = 0; i < BORROWS; i++) {
                try (Connection client = pool.client()) {
                    assertThat(TestServer.query(client, "SELECT 1")).isEqualTo("1");
                }
            }
            pool.close();
        }
    }

    // A machine that was asleep may have lost every connection without having seen it, so the pool asks the server.
    @Test
    void jumpOfTheWallClockMustMakeThePoolAsk() throws Exception {
        try (var log = Log.of(Level.WARNING)) {
            FaultProxy proxy = proxy();
            Pool pool = open(config(proxy).size(3));
            long before = proxy.roundTrips();
            TestAccess.shiftWallClock(pool, Duration.ofMinutes(10));
            Await.until("all have been asked", () -> proxy.roundTrips() - before >= 3);
            Await.until("it is said", () -> log.lines().size() == 1);
            assertThat(log.lines().getFirst()).contains("the machine was asleep, or its clock was set: asking all");
            awaitBalance(pool);
        }
    }

    // Time-outs of the server end sessions in order. The pool replaces them quietly, and says why in one line each.
    @ParameterizedTest
    @CsvSource({
        "57P05, idle_session_timeout, ''",
        "25P03, idle_in_transaction_session_timeout, BEGIN",
        "25P04, transaction_timeout, BEGIN"
    })
    void timeoutOfTheServerMustBeNoLoss(String state, String setting, String sql) throws Exception {
        try (Connection direct = TestServer.direct();
                var log = Log.of(Level.INFO)) {
            int version = Integer.parseInt(TestServer.query(direct, "SHOW server_version_num"));
            assumeTrue(version >= 170000 || !setting.equals("transaction_timeout"), "new in PostgreSQL 17");
            Pool pool = open(config().size(2).listener(listener).parameter(setting, "300ms"));
            log.dropStart();
            if (sql.isEmpty()) {
                Await.until("the server has ended them", () -> reasons.size() >= 2);
            } else {
                try (Connection client = pool.client()) {
                    TestServer.execute(client, sql);
                    Await.pause(Duration.ofMillis(600));
                    assertThatThrownBy(() -> TestServer.query(client, "SELECT 1"))
                            .isInstanceOfSatisfying(
                                    SQLException.class,
                                    e -> assertThat(e.getSQLState()).isEqualTo(state));
                }
                Await.until("it is replaced", () -> !reasons.isEmpty());
            }
            assertThat(reasons).containsOnly(CloseReason.SERVER_TIMEOUT);
            assertThat(pool.stats().lost()).isZero();
            assertThat(log.lines())
                    .isNotEmpty()
                    .allSatisfy(line -> assertThat(line)
                            .matches(".*connection closed \\(backend \\d+\\): ended by a timeout of the server: .*"));
            assertThat(log.records()).extracting(LogRecord::getLevel).containsOnly(Level.INFO);
            pool.client().close();
            pool.close();
        }
    }

    // One line for one connection, though the pool waits for a moment whether an outage explains it.
    @ParameterizedTest
    @EnumSource(Cut.class)
    void lossMustBeReportedOnce(Cut cut) throws Exception {
        try (var log = Log.of(Level.WARNING)) {
            FaultProxy proxy = proxy();
            Pool pool = open(config(proxy).size(1));
            Connection client = pool.client();
            proxy.now(cut == Cut.FIN ? Fault.FIN : Fault.RST);
            assertThatThrownBy(() -> TestServer.query(client, "SELECT 1")).isInstanceOf(SQLException.class);
            client.close();
            Await.until("it is said", () -> !log.lines().isEmpty());
            assertThat(log.lines()).hasSize(1).first().asString().contains("connection lost (backend ");
            awaitBalance(pool);
        }
    }
}
