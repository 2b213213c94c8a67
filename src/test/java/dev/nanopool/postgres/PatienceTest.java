package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.nanopool.Credentials;
import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import dev.nanopool.PoolExhaustedException;
import dev.nanopool.PoolExhaustedException.Verdict;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.EmbeddedServer;
import dev.nanopool.testkit.FaultProxy;
import dev.nanopool.testkit.FaultProxy.Fault;
import dev.nanopool.testkit.FaultProxy.Message;
import dev.nanopool.testkit.Log;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.Stopwatch;
import dev.nanopool.testkit.TestServer;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.logging.Level;
import java.util.logging.LogRecord;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What callers, operators and the log see of an outage. */
class PatienceTest extends PoolTestBase {
    private static final int SIZE = 6;
    private static final Duration PATIENCE = Duration.ofMillis(400);
    private static final Duration LONG = Duration.ofSeconds(20);

    private static final EmbeddedServer SERVER = EmbeddedServer.start();

    @AfterAll
    static void stop() throws Exception {
        SERVER.close();
    }

    @Override
    protected String server() {
        return SERVER.url();
    }

    /** Returns when no dead connection would be lent, because all have been given back for long enough. */
    private static void begin(FaultProxy proxy) throws Exception {
        proxy.refuse();
        proxy.now(Fault.RST);
        Stopwatch.pause(Duration.ofMillis(30));
    }

    private static void awaitServed(Pool pool) throws Exception {
        Await.until("the pool serves again", () -> {
            try (Connection client = pool.client(LONG)) {
                return client.isValid(5);
            } catch (PoolExhaustedException e) {
                return false; // the outage is not over yet
            }
        });
    }

    private static PoolExhaustedException refusal(Pool pool, Duration timeout) {
        try {
            pool.client(timeout).close();
        } catch (PoolExhaustedException e) {
            return e;
        } catch (SQLException e) {
            throw new AssertionError(e);
        }
        throw new AssertionError("served");
    }

    // One line when it begins, with the host and the reason; one when it is declared; one when it ends. The connections
    // that were lost, the attempts that failed and the connections that come back are its consequences, and have no
    // lines.
    @ParameterizedTest
    @ValueSource(ints = {0, 3})
    void outageMustHaveThreeLinesInTheLog(int leased) throws Exception {
        try (var log = Log.of(Level.INFO)) {
            FaultProxy proxy = proxy();
            Pool pool = open(config(proxy).size(SIZE).outagePatience(PATIENCE));
            log.dropStart();
            List<Connection> held =
                    Stream.generate(() -> lease(pool)).limit(leased).toList();
            begin(proxy);
            for (Connection client : held) client.close();
            int refused = 0;
            Await.until("all are lost", () -> pool.stats().lost() == SIZE);
            assertThat(refusal(pool, LONG).getMessage()).contains("the database has let no connection in for ");
            refused++;
            Await.pause(Duration.ofMillis(300));
            for (; refused < 4; refused++) {
                try (var stopwatch = Stopwatch.start()) {
                    PoolExhaustedException refusal = refusal(pool, LONG);
                    assertThat(stopwatch.elapsed()).isLessThan(stopwatch.allowing(Duration.ofMillis(20)));
                    assertThat(refusal.verdict()).isEqualTo(Verdict.DATABASE_DOWN);
                    Matcher lasted = Pattern.compile("the database has let no connection in for (\\d+) ms")
                            .matcher(refusal.getMessage());
                    assertThat(lasted.find()).isTrue();
                    assertThat(Integer.parseInt(lasted.group(1))).isBetween(600, 60_000);
                    Throwable cause = refusal.getCause();
                    assertThat(cause).isInstanceOf(SQLException.class).hasMessageContaining("refused");
                }
            }
            proxy.listen();
            Await.until("the pool is full", () -> pool.stats().idle() == SIZE);
            pool.client(LONG).close();
            Await.until("the end is told", () -> log.lines().size() >= 3);
            Await.pause(Duration.ofMillis(300)); // what is held back would come now
            String host = host(proxy);
            assertThat(log.lines()).hasSize(3);
            assertThat(log.lines().get(0))
                    .contains(" lets no connection in: ")
                    .contains(host)
                    .contains("refused");
            assertThat(log.lines().get(1))
                    .contains("so callers are refused at once: ")
                    .contains("refused");
            assertThat(log.lines().get(2))
                    .matches(".* lets connections in again, after \\d+ ms; 4 callers were refused");
            assertThat(log.records().stream().map(LogRecord::getLevel))
                    .containsExactly(Level.WARNING, Level.WARNING, Level.INFO);
        }
    }

    // However the attempts fail, the line names the host and a reason.
    @ParameterizedTest
    @MethodSource("endsOfALogin")
    void beginningMustBeLoggedWithHostAndReason(Fault end) throws Exception {
        try (var log = Log.of(Level.INFO)) {
            FaultProxy proxy = proxy();
            Pool pool = open(config(proxy).size(1));
            proxy.at(Message::isPassword, end);
            proxy.now(Fault.RST);
            awaitBeginning(log);
            // On a slow machine the attempt fails so late that the loss has had a line of its own.
            assertThat(log.lines().stream().filter(PatienceTest::tellsTheBeginning))
                    .singleElement()
                    .asString()
                    .contains("at " + host(proxy) + " lets no connection in: ")
                    .doesNotContain("null")
                    .doesNotContain("()");
            proxy.heal();
            awaitServed(pool);
        }
    }

    private static void awaitBeginning(Log log) throws Exception {
        Await.until("it is told", () -> log.lines().stream().anyMatch(PatienceTest::tellsTheBeginning));
    }

    private static boolean tellsTheBeginning(String line) {
        return line.contains(" lets no connection in: ");
    }

    static Stream<Fault> endsOfALogin() {
        return Stream.of(Fault.FIN, Fault.RST, Fault.fatal("57P03"), Fault.fatal("53300"), Fault.fatal("08006"));
    }

    private static String host(FaultProxy proxy) {
        return proxy.url().replaceFirst(".*@(.*)/.*", "$1");
    }

    private static Connection lease(Pool pool) {
        try {
            return pool.client();
        } catch (SQLException e) {
            throw new AssertionError(e);
        }
    }

    // Without patience the first attempt that fails decides, as before there was a patience.
    @Test
    void callerMustBeRefusedAfterTheFirstFailedAttemptWithoutPatience() throws Exception {
        FaultProxy proxy = proxy();
        Pool pool = open(config(proxy).size(2).outagePatience(Duration.ZERO));
        begin(proxy);
        try (var stopwatch = Stopwatch.start()) {
            Throwable cause = refusal(pool, LONG).getCause();
            assertThat(cause).isInstanceOf(SQLException.class);
            assertThat(stopwatch.elapsed()).isLessThan(stopwatch.allowing(TOLERANCE.multipliedBy(2)));
        }
        proxy.listen();
        Await.until("it is over", () -> pool.stats().idle() == 2);
        pool.client().close();
    }

    // The default is the pool's acquireTimeout, so that a caller which waits as long as that gets the driver's reason.
    @Test
    void patienceMustBeTheAcquireTimeoutByDefault() throws Exception {
        FaultProxy proxy = proxy();
        Pool pool = open(config(proxy).size(2).acquireTimeout(PATIENCE));
        begin(proxy);
        try (var stopwatch = Stopwatch.start()) {
            Throwable cause = refusal(pool, LONG).getCause();
            assertThat(cause).isInstanceOf(SQLException.class);
            assertThat(stopwatch.elapsed())
                    .isBetween(PATIENCE.minusMillis(100), stopwatch.allowing(PATIENCE.plus(TOLERANCE)));
        }
        proxy.listen();
        awaitServed(pool);
    }

    // Callers that do not wait do not wait in an outage either, and the line has its bound.
    @Test
    void callerThatDoesNotWaitMustNotWaitInAnOutage() throws Exception {
        FaultProxy proxy = proxy();
        Pool pool = open(config(proxy).size(2).maxWaiters(1).outagePatience(LONG));
        begin(proxy);
        Await.until("all are lost", () -> pool.stats().lost() == 2);
        threads.start(() -> pool.client(LONG).close());
        Await.until("one waits", () -> pool.stats().pending() == 1);
        try (var stopwatch = Stopwatch.start()) {
            assertThat(pool.tryClient()).isEmpty();
            refusal(pool, Duration.ZERO);
            refusal(pool, LONG); // one too many in the line
            assertThat(stopwatch.elapsed()).isLessThan(stopwatch.allowing(TOLERANCE));
        }
        proxy.listen();
        threads.join();
    }

    enum Meanwhile {
        NOTHING,
        RESIZED,
        GROWN,
        SUSPENDED
    }

    // One permit goes on probing through each act of an operator in an outage, and the pool comes back by itself.
    @ParameterizedTest
    @EnumSource
    void poolMustComeBackAfterEachActOfAnOperator(Meanwhile meanwhile) throws Exception {
        FaultProxy proxy = proxy();
        Pool pool = open(config(proxy).size(4).minIdle(1).outagePatience(Duration.ofMillis(100)));
        begin(proxy);
        refusal(pool, LONG);
        switch (meanwhile) {
            case NOTHING -> {}
            case RESIZED -> pool.resize(1);
            case GROWN -> pool.resize(8);
            case SUSPENDED -> {
                pool.suspend();
                Await.until("no permit is left", () -> pool.stats().opening() == 0);
                assertThat(refusal(pool, Duration.ofMillis(50)).verdict()).isEqualTo(Verdict.SUSPENDED);
                pool.resume();
            }
        }
        proxy.listen();
        Await.until("it is back", () -> pool.stats().idle() >= 1);
        awaitServed(pool);
        if (meanwhile == Meanwhile.RESIZED) pool.resize(4);
    }

    // All permits have connections or have left, so no attempt can tell when the outage is over. It must not go on for
    // ever, so the next failure is a new outage, with its own patience.
    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void outageMustBeForgottenWhenNoPermitCanProbe(boolean isSuspended) throws Exception {
        try (var log = Log.of(Level.INFO)) {
            FaultProxy proxy = proxy();
            Pool pool = open(config(proxy).size(2).outagePatience(PATIENCE));
            Connection held = pool.client();
            Connection lost = pool.client();
            proxy.refuse();
            lost.abort(Runnable::run);
            lost.close();
            awaitBeginning(log);
            if (isSuspended) pool.suspend();
            else pool.resize(1);
            Await.until("it is forgotten", () -> log.lines().stream().anyMatch(line -> line.contains("is wanted")));
            if (isSuspended) pool.resume();
            held.abort(Runnable::run);
            held.close();
            try (var stopwatch = Stopwatch.start()) {
                refusal(pool, LONG);
                assertThat(stopwatch.elapsed()).isGreaterThan(PATIENCE.dividedBy(2));
            }
            proxy.listen();
            Await.until("it is over", () -> pool.stats().idle() >= 1);
            pool.resize(2);
            awaitServed(pool);
        }
    }

    // Two connections are lost while an outage is on. The pool writes no second warning, but validates the others.
    @Test
    void connectionsLostInAnOutageMustRaiseSuspicion() throws Exception {
        FaultProxy proxy = proxy();
        Pool pool = open(config(proxy).size(4).outagePatience(LONG));
        List<String> pids = new ArrayList<>();
        List<Connection> clients = new ArrayList<>();
        for (int i = 0; i < 4; i++) clients.add(pool.client());
        for (Connection client : clients) pids.add(TestServer.query(client, "SELECT pg_backend_pid()"));
        for (Connection client : clients) client.close();
        proxy.refuse();
        try (Connection direct = SERVER.direct()) {
            terminate(direct, pids.get(0));
            Await.until("an outage is on", () -> pool.stats().opening() > 0);
            Await.pause(Duration.ofMillis(1_100)); // the next two losses are the first within a second
            String before = lastStatement(direct, pids.get(3));
            terminate(direct, pids.get(1));
            terminate(direct, pids.get(2));
            Await.until(
                    "the last one was asked",
                    () -> !lastStatement(direct, pids.get(3)).equals(before));
        }
        proxy.listen();
        Await.until("the pool is full", () -> pool.stats().idle() == 4);
    }

    private static void terminate(Connection direct, String pid) throws SQLException {
        TestServer.query(direct, "SELECT pg_terminate_backend(" + pid + ", 1000)");
    }

    private static String lastStatement(Connection direct, String pid) throws SQLException {
        return TestServer.query(direct, "SELECT query_start FROM pg_stat_activity WHERE pid = " + pid);
    }

    // The prober's permit has left, and no other one is in use, so the housekeeper finds another prober.
    @Test
    void outageMustNotLastBecauseNoPermitProbes() throws Exception {
        for (int round = 0; round < 20; round++) {
            FaultProxy proxy = proxy();
            Pool pool = open(config(proxy).size(6).minIdle(0).outagePatience(Duration.ofMillis(1)));
            proxy.refuse();
            refusal(pool, LONG);
            for (int size = 5; size > 0; size--) pool.resize(size);
            proxy.listen();
            Await.until("it is over", () -> pool.stats().idle() >= 1);
            pool.resize(6);
            pool.close();
        }
    }

    // A pool that is closed in an outage ends at once, and so do its callers.
    @Test
    void poolMustCloseInAnOutage() throws Exception {
        FaultProxy proxy = proxy();
        Pool pool = open(config(proxy).size(SIZE).outagePatience(LONG));
        begin(proxy);
        var refused = new AtomicInteger();
        for (int i = 0; i < 5; i++) {
            threads.start(() -> {
                assertThatThrownBy(() -> pool.client(LONG))
                        .isInstanceOfSatisfying(
                                SQLException.class,
                                e -> assertThat(e.getSQLState()).isEqualTo("08003"));
                refused.incrementAndGet();
            });
        }
        Await.until("they wait", () -> pool.stats().pending() == 5);
        Await.pause(Duration.ofMillis(300)); // so that the prober backs off
        try (var stopwatch = Stopwatch.start()) {
            assertThat(pool.close(Duration.ZERO)).isTrue();
            threads.join();
            assertThat(stopwatch.elapsed()).isLessThan(stopwatch.allowing(TOLERANCE));
        }
        assertThat(refused).hasValue(5);
    }

    // What does not pass by itself is thrown at once, with the server's words, and is no outage.
    @ParameterizedTest
    @ValueSource(strings = {"28P01", "28000", "3D000", "42501"})
    void failureThatStaysMustBeThrownAtOnce(String state) throws Exception {
        try (var log = Log.of(Level.INFO)) {
            FaultProxy proxy = proxy();
            Pool pool = open(config(proxy).size(2));
            proxy.at(Message::isPassword, Fault.fatal(state));
            proxy.now(Fault.RST);
            Stopwatch.pause(Duration.ofMillis(30)); // so that no dead connection is lent
            try (var stopwatch = Stopwatch.start()) {
                SQLException cause = (SQLException) refusal(pool, LONG).getCause();
                assertThat(cause.getSQLState()).isEqualTo(state);
                assertThat(stopwatch.elapsed()).isLessThan(stopwatch.allowing(Duration.ofSeconds(1)));
            }
            proxy.heal();
            Await.until("it is over", () -> pool.stats().idle() == 2);
            assertThat(log.lines()).noneMatch(line -> line.contains("lets no connection in"));
            assertThat(log.lines())
                    .filteredOn(line -> line.contains("opening a connection failed"))
                    .hasSize(1);
        }
    }

    // An outage may turn into a failure that stays. The server is back, and refuses the password.
    @Test
    void outageThatTurnsIntoARefusalMustBeThrownAtOnce() throws Exception {
        FaultProxy proxy = proxy();
        Pool pool = open(config(proxy).size(2).outagePatience(LONG));
        begin(proxy);
        Await.until("all are lost", () -> pool.stats().lost() == 2);
        proxy.at(Message::isPassword, Fault.fatal("28P01"));
        threads.start(() -> {
            SQLException cause = (SQLException) refusal(pool, LONG).getCause();
            assertThat(cause.getSQLState()).isEqualTo("28P01");
        });
        Await.until("it waits", () -> pool.stats().pending() == 1);
        proxy.listen();
        try (var stopwatch = Stopwatch.start()) {
            threads.join();
            assertThat(stopwatch.elapsed()).isLessThan(stopwatch.allowing(Duration.ofSeconds(2)));
        }
        proxy.heal();
        Await.until("it is over", () -> pool.stats().idle() == 2);
    }

    // The bound of create holds even if the supplier of the credentials hangs, and its message names the supplier.
    @Test
    void createMustKeepItsBoundWhenTheSupplierHangs() throws Exception {
        var isOver = new CountDownLatch(1);
        PoolConfig config = config().size(2)
                .connectTimeout(Duration.ofMillis(800))
                .credentials(() -> {
                    while (isOver.getCount() > 0) awaitIgnoringInterrupts(isOver);
                    throw new IllegalStateException("over");
                })
                .build();
        try (var stopwatch = Stopwatch.start()) {
            assertThatThrownBy(() -> Pool.create(config))
                    .isInstanceOf(SQLException.class)
                    .hasMessageContaining("no credentials from their supplier within 800 ms (connectTimeout)");
            assertThat(stopwatch.elapsed()).isLessThan(stopwatch.allowing(Duration.ofSeconds(4)));
        } finally {
            isOver.countDown();
        }
    }

    private static void awaitIgnoringInterrupts(CountDownLatch latch) {
        try {
            latch.await();
        } catch (InterruptedException e) {
            assertThat(Thread.currentThread().isInterrupted()).isFalse(); // the supplier goes on
        }
    }

    // The supplier needs a monitor that the starting thread holds, as frameworks hold one while they make their
    // objects.
    @Test
    void createMustNotWaitForAMonitorThatItsThreadHolds() throws Exception {
        var monitor = new Object();
        Pool pool;
        synchronized (monitor) {
            pool = open(config().size(3).credentials(() -> {
                synchronized (monitor) {
                    return new Credentials(EmbeddedServer.USER, EmbeddedServer.PASSWORD);
                }
            }));
        }
        try (Connection client = pool.client()) {
            assertThat(TestServer.query(client, "SELECT 1")).isEqualTo("1");
        }
    }
}
