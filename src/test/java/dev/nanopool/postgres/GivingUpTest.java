package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;

import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import dev.nanopool.TestAccess;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.FaultProxy;
import dev.nanopool.testkit.FaultProxy.Fault;
import dev.nanopool.testkit.FaultProxy.Message;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.TestServer;
import java.io.OutputStream;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.postgresql.PGConnection;
import org.postgresql.jdbc.PgConnection;

/**
 * When the pool, the driver or a caller gives up a statement, the server ends it. Nothing runs on there, and the server
 * never sees more sessions than the pool may hold.
 */
class GivingUpTest extends PoolTestBase {
    private static final int SIZE = 3;
    private static final String SLOW = "SELECT pg_sleep(40)";

    /** A session that was told to end counts until the machine lets it run. */
    private static final Duration ENDING = Duration.ofSeconds(2);

    /** What a thread does with its client, and cannot end. */
    @FunctionalInterface
    interface Deed {
        void in(Connection client) throws Exception;
    }

    /** How it is given up; {@code worker} is the thread in the deed. */
    @FunctionalInterface
    interface End {
        void of(Connection client, Thread worker) throws Exception;
    }

    record Case(String name, Deed deed, End end, UnaryOperator<PoolConfig.Builder> config) {
        @Override
        public String toString() {
            return name;
        }
    }

    private static void fetch(Connection client) throws SQLException {
        client.setAutoCommit(false);
        try (Statement statement = client.createStatement()) {
            statement.setFetchSize(1);
            try (ResultSet rows = statement.executeQuery(
                    "SELECT n, CASE WHEN n = 3 THEN pg_sleep(40) END FROM generate_series(1, 4) n")) {
                while (rows.next()) assertThat(rows.getInt(1)).isPositive();
            }
        }
    }

    private static void prepared(Connection client) throws SQLException {
        try (PreparedStatement statement = client.prepareStatement(SLOW)) {
            statement.execute();
        }
    }

    private static void copy(Connection client) throws Exception {
        ((PGConnection) client).getCopyAPI().copyOut("COPY (" + SLOW + ") TO STDOUT", OutputStream.nullOutputStream());
    }

    private static void unwrapped(Connection client) throws SQLException {
        TestServer.execute(client.unwrap(PgConnection.class), SLOW);
    }

    static Stream<Case> cases() {
        Map<String, Deed> deeds = new LinkedHashMap<>();
        deeds.put("statement", client -> TestServer.execute(client, SLOW));
        deeds.put("prepared statement", GivingUpTest::prepared);
        deeds.put("reader", GivingUpTest::fetch);
        deeds.put("COPY", GivingUpTest::copy);
        deeds.put("unwrapped", GivingUpTest::unwrapped);
        Map<String, End> ends = new LinkedHashMap<>();
        ends.put("closed elsewhere", (client, worker) -> client.close());
        ends.put("aborted", (client, worker) -> client.abort(Runnable::run));
        ends.put("interrupted", (client, worker) -> worker.interrupt());
        Stream<Case> ended = deeds.entrySet().stream()
                .flatMap(deed -> ends.entrySet().stream()
                        .map(end -> new Case(
                                deed.getKey() + ", " + end.getKey(),
                                deed.getValue(),
                                end.getValue(),
                                config -> config)));
        UnaryOperator<PoolConfig.Builder> socketTimeout = config -> config.driverProperty("socketTimeout", "1");
        Stream<Case> timedOut = deeds.entrySet().stream()
                .map(deed -> new Case(
                        deed.getKey() + ", socketTimeout", deed.getValue(), (client, worker) -> {}, socketTimeout));
        Stream<Case> networkTimeouts = deeds.entrySet().stream()
                .map(deed -> new Case(
                        deed.getKey() + ", setNetworkTimeout",
                        client -> {
                            client.setNetworkTimeout(Runnable::run, 1_000);
                            deed.getValue().in(client);
                        },
                        (client, worker) -> {},
                        config -> config));
        return Stream.of(ended, timedOut, networkTimeouts).flatMap(cases -> cases);
    }

    private static int running(Connection direct, String name) throws SQLException {
        return Integer.parseInt(TestServer.query(
                direct,
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND application_name = '" + name
                        + "'"));
    }

    private static int sessions(Connection direct, String name) throws SQLException {
        return Integer.parseInt(TestServer.query(
                direct, "SELECT count(*) FROM pg_stat_activity WHERE application_name = '" + name + "'"));
    }

    /** Counts the sessions all the time, and remembers for how long there were too many. */
    private Thread sample(String name, AtomicBoolean ends, AtomicInteger longestMillis) {
        return threads.start(() -> {
            try (Connection direct = TestServer.direct()) {
                long sound = System.nanoTime();
                while (!ends.get()) {
                    if (sessions(direct, name) <= SIZE) sound = System.nanoTime();
                    int millis =
                            (int) Duration.ofNanos(System.nanoTime() - sound).toMillis();
                    longestMillis.accumulateAndGet(millis, Math::max);
                    Await.pause(Duration.ofMillis(5));
                }
            }
        });
    }

    @ParameterizedTest
    @MethodSource("cases")
    void abandonedStatementMustNotRunOnInTheServer(Case test) throws Exception {
        Pool pool = open(test.config.apply(config().size(SIZE)));
        String name = pool.stats().name();
        var ends = new AtomicBoolean();
        var longest = new AtomicInteger();
        Thread sampler = sample(name, ends, longest);
        try (Connection direct = TestServer.direct()) {
            Connection client = pool.client();
            Thread worker = threads.start(() -> {
                try (client) {
                    test.deed.in(client);
                } catch (SQLException e) {
                    assertThat(e.getSQLState()).isIn("08006", "08003", "57014", "08000", "55000");
                }
            });
            Await.until("it runs", () -> running(direct, name) == 1);
            test.end.of(client, worker);
            assertThat(worker.join(Duration.ofSeconds(10)))
                    .as("the caller gets an exception")
                    .isTrue();
            long start = System.nanoTime();
            Await.until("nothing runs on", () -> running(direct, name) == 0);
            assertThat(Duration.ofNanos(System.nanoTime() - start)).isLessThan(ENDING.plus(TOLERANCE));
            for (int i = 0; i < 2 * SIZE; i++) pool.client().close();
            awaitBalance(pool);
        } finally {
            ends.set(true);
            sampler.join();
        }
        assertThat(longest.get()).as("ms with too many sessions").isLessThan((int) ENDING.toMillis());
    }

    // The watchdog cuts the pool's own statement, a set-up that hangs when the reset repeats it.
    @Test
    void resetThatIsCutMustNotRunOnInTheServer() throws Exception {
        try (Connection direct = TestServer.direct()) {
            TestServer.execute(direct, "DROP TABLE IF EXISTS giving_up; CREATE TABLE giving_up (n int)");
            Pool pool = open(
                    config().size(1).initSql("SELECT CASE WHEN EXISTS (SELECT FROM giving_up) THEN pg_sleep(40) END"));
            String name = pool.stats().name();
            try (Connection client = pool.client()) {
                TestServer.execute(client, "INSERT INTO giving_up VALUES (1)");
                TestServer.execute(client, "SET work_mem = '2MB'");
            }
            Await.until("the reset hangs", () -> running(direct, name) == 1);
            TestServer.execute(direct, "TRUNCATE giving_up");
            try (Connection client = pool.client(Duration.ofSeconds(20))) {
                assertThat(TestServer.query(client, "SHOW work_mem")).isEqualTo("4MB");
                long start = System.nanoTime();
                Await.until("nothing runs on", () -> running(direct, name) == 0);
                assertThat(Duration.ofNanos(System.nanoTime() - start)).isLessThan(ENDING.plus(TOLERANCE));
                assertThat(sessions(direct, name)).isEqualTo(1);
            }
            TestServer.execute(direct, "DROP TABLE giving_up");
        }
    }

    private static final String CANCEL_REQUEST = "\u0004\u00d2\u0016.";

    // The server does not answer the pool's own question in time, so the pool cancels what it may still execute.
    @Test
    void validationThatIsCutMustBeCancelled() throws Exception {
        var cancels = new AtomicInteger();
        FaultProxy proxy = proxy();
        Pool pool = open(config(proxy).size(1));
        Connection client = pool.client();
        Consumer<Duration> aging = TestAccess.aging(client);
        proxy.at(
                message -> {
                    boolean isCancel =
                            message.type() == Message.STARTUP && message.text().startsWith(CANCEL_REQUEST);
                    if (isCancel) cancels.incrementAndGet();
                    return message.isProbe();
                },
                Fault.UNANSWERED);
        client.close();
        aging.accept(Duration.ofSeconds(31));
        try (Connection other = pool.client(Duration.ofSeconds(20))) {
            assertThat(TestServer.query(other, "SELECT 1")).isEqualTo("1");
        }
        Await.until("it is cancelled", () -> cancels.get() == 1);
        proxy.heal();
    }
}
