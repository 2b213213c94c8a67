package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import dev.nanopool.PoolListener;
import dev.nanopool.TlsMode;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.FaultProxy;
import dev.nanopool.testkit.Log;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.TestServer;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.logging.Level;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** A server that lets in fewer sessions than the pool may hold (53300). It must cost no connection that is open. */
class FullServerTest extends PoolTestBase {
    private static final int LIMIT = 4;
    private static final int SIZE = 8;
    private static final Duration LOAD = Duration.ofSeconds(4);

    private final AtomicInteger attempts = new AtomicInteger(); // that failed
    private final PoolListener listener = new PoolListener() {
        @Override
        public void openFailed(String pool, Throwable cause) {
            assertThat(cause)
                    .isInstanceOfSatisfying(
                            SQLException.class, e -> assertThat(e.getSQLState()).isEqualTo("53300"));
            attempts.incrementAndGet();
        }
    };

    @BeforeEach
    void createRole() throws Exception {
        onServer("DROP ROLE IF EXISTS few", "CREATE ROLE few LOGIN PASSWORD 'few' CONNECTION LIMIT " + LIMIT);
    }

    @AfterEach
    @Override
    protected void nothingMustBeLostOrLeft() throws Exception {
        super.nothingMustBeLostOrLeft();
        onServer("DROP ROLE few");
    }

    private static void onServer(String... statements) throws Exception {
        try (Connection direct = TestServer.direct()) {
            for (String statement : statements) TestServer.execute(direct, statement);
        }
    }

    private static String url() {
        return few(TestServer.url());
    }

    private static String few(String url) {
        return "postgresql://few:few@" + url.substring(url.lastIndexOf('@') + 1);
    }

    private Pool openFull() throws Exception {
        Pool pool = open(config(url()).size(SIZE).minIdle(LIMIT).listener(listener));
        assertThat(pool.stats().opened()).isEqualTo(LIMIT);
        return pool;
    }

    /** As many callers as the pool would like to have connections take and return them until the time is over. */
    private void load(Pool pool, Duration time) throws Exception {
        long end = System.nanoTime() + time.toNanos();
        for (int i = 0; i < SIZE; i++) {
            threads.start(() -> {
                while (System.nanoTime() - end < 0) {
                    try (Connection client = pool.client()) {
                        TestServer.execute(client, "SELECT pg_sleep(0.005)");
                    }
                }
            });
        }
        threads.join();
    }

    /** None of the four that are open was closed, and after the first ones no more than one attempt was made a second. */
    private void assertNothingWasClosed(Pool pool, Duration time) {
        assertThat(pool.stats().closed()).as("connections closed").isZero();
        assertThat(pool.stats().opened()).as("connections opened").isEqualTo(LIMIT);
        assertThat(attempts.get())
                .as("those that were on their way, then one a second")
                .isBetween(1, SIZE - LIMIT + (int) time.toSeconds() + 1);
    }

    // The pool starts with as many as the server lets in. Logins are so slow here that the housekeeper looks meanwhile.
    @Test
    void poolMustStartSlowlyWithWhatTheServerLetsIn() throws Exception {
        FaultProxy proxy = proxy();
        proxy.latency(Duration.ofMillis(100));
        try (var log = Log.of(Level.INFO)) {
            Pool pool = open(config(few(proxy.url()))
                    .tls(TlsMode.DISABLE)
                    .size(SIZE)
                    .connectParallelism(1)
                    .listener(listener));
            assertThat(pool.stats().opened()).isEqualTo(LIMIT);
            assertThat(proxy.mostConnecting()).as("attempts at a time").isEqualTo(1);
            assertThat(log.lines()).noneMatch(line -> line.contains("lets no connection in"));
            proxy.latency(Duration.ZERO);
            onServer("ALTER ROLE few CONNECTION LIMIT " + SIZE);
            Await.until("it has grown", () -> pool.stats().idle() == SIZE);
        }
    }

    // Every connection comes back while permits wait for the server, and none of them may be taken for one too many.
    @Test
    void fullServerMustCostNoConnectionUnderLoad() throws Exception {
        Pool pool = openFull();
        load(pool, LOAD);
        assertNothingWasClosed(pool, LOAD);
    }

    // Another program takes what this one lets go, so a place that was given up is gone for good.
    @Test
    void rivalMustNotGetTheConnectionsOfThePool() throws Exception {
        Pool pool = openFull();
        var ends = new AtomicBoolean();
        var rivals = new ArrayList<Connection>();
        threads.start(() -> {
            while (!ends.get()) {
                try {
                    rivals.add(DriverManager.getConnection(TestServer.jdbc(url())));
                } catch (SQLException e) {
                    assertThat(e.getSQLState()).isEqualTo("53300");
                }
                Await.pause(Duration.ofMillis(50));
            }
        });
        long end = System.nanoTime() + LOAD.toNanos();
        var callers = new ArrayList<Thread>();
        var served = new AtomicInteger();
        for (int i = 0; i < SIZE; i++) {
            callers.add(threads.start(() -> {
                while (System.nanoTime() - end < 0) {
                    try (Connection client = pool.client()) {
                        TestServer.execute(client, "SELECT pg_sleep(0.005)");
                        served.incrementAndGet();
                    }
                }
            }));
        }
        for (Thread caller : callers) caller.join();
        ends.set(true);
        threads.join();
        for (Connection rival : rivals) rival.close();
        assertThat(rivals).as("connections of the rival").isEmpty();
        assertThat(served.get()).isGreaterThan(100);
        assertNothingWasClosed(pool, LOAD);
    }

    // A connection that is idle while a permit is refused stays, too; so does one that is leased.
    @Test
    void fullServerMustCostNoConnectionThatIsIdleOrLeased() throws Exception {
        Pool pool = openFull();
        List<Connection> clients = new ArrayList<>();
        for (int i = 0; i < LIMIT; i++) clients.add(pool.client());
        threads.start(() -> pool.client(Duration.ofSeconds(30)).close());
        Await.until("an attempt has failed", () -> attempts.get() > 0);
        for (int i = 0; i < LIMIT - 1; i++) clients.removeFirst().close(); // idle, while the refused permit backs off
        Await.until("the caller was served", () -> pool.stats().pending() == 0);
        threads.join();
        Await.pause(Duration.ofSeconds(2)); // two looks of the housekeeper
        assertThat(pool.stats().active()).isEqualTo(1);
        clients.removeFirst().close();
        assertNothingWasClosed(pool, Duration.ofSeconds(3));
    }

    // The pool may become smaller meanwhile. It closes what is too many by its size, and nothing for the server's sake.
    @Test
    void resizeMustCloseAsManyAsItMustWhileTheServerIsFull() throws Exception {
        Pool pool = openFull();
        load(pool, Duration.ofSeconds(1));
        pool.resize(LIMIT + 1);
        load(pool, Duration.ofSeconds(1));
        assertThat(pool.stats().closed()).as("still more room than connections").isZero();
        // An attempt that is on its way would take the place that becomes free.
        Await.until("no attempt is on its way", () -> pool.stats().opening() == 0);
        pool.resize(LIMIT - 1);
        load(pool, Duration.ofSeconds(1));
        Await.until("one is closed", () -> pool.stats().closed() == 1);
        assertThat(pool.stats().opened()).isEqualTo(LIMIT);
    }

    // The attempt of each second finds the room that there is again.
    @Test
    void poolMustGrowOneByOneWhenThereIsRoomAgain() throws Exception {
        Pool pool = openFull();
        load(pool, Duration.ofSeconds(1));
        onServer("ALTER ROLE few CONNECTION LIMIT " + SIZE);
        long start = System.nanoTime();
        while (pool.stats().opened() < SIZE) load(pool, Duration.ofMillis(200));
        assertThat(Duration.ofNanos(System.nanoTime() - start))
                .isBetween(Duration.ofSeconds(SIZE - LIMIT - 2), Duration.ofSeconds(4 * (SIZE - LIMIT)));
        assertThat(pool.stats().closed()).isZero();
    }

    // A pool that is to hold eight connections starts with the four that the server lets in, says so once, and grows
    // when there is room, though no caller waits.
    @Test
    void poolMustStartWithWhatThereIs() throws Exception {
        try (var log = Log.of(Level.WARNING)) {
            Pool pool = open(config(url()).size(SIZE).listener(listener));
            assertThat(pool.stats().idle()).isEqualTo(LIMIT);
            for (int i = 0; i < SIZE; i++) pool.client().close();
            assertThat(log.lines())
                    .singleElement()
                    .asString()
                    .contains("the server lets in ")
                    .contains(" of 8 connections");
            onServer("ALTER ROLE few CONNECTION LIMIT " + SIZE);
            Await.until("it has grown", () -> pool.stats().idle() == SIZE);
            assertThat(pool.stats().closed()).isZero();
            assertThat(log.lines()).hasSize(1);
        }
    }

    // No connection at all is no start. What fails for another reason is thrown as well, and nothing is left.
    @Test
    void poolMustNotStartWithoutAConnection() throws Exception {
        onServer("ALTER ROLE few CONNECTION LIMIT 0");
        PoolConfig none = config(url()).size(SIZE).build();
        assertThatThrownBy(() -> Pool.create(none))
                .isInstanceOfSatisfying(
                        SQLException.class, e -> assertThat(e.getSQLState()).isEqualTo("53300"));
        PoolConfig wrong = config(url()).size(2).initSql("SELECT 1 / 0").build();
        onServer("ALTER ROLE few CONNECTION LIMIT " + LIMIT);
        assertThatThrownBy(() -> Pool.create(wrong))
                .isInstanceOfSatisfying(
                        SQLException.class, e -> assertThat(e.getSQLState()).isEqualTo("22012"));
    }
}
