package dev.nanopool.blackbox;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.nanopool.Pool;
import dev.nanopool.PoolExhaustedException;
import dev.nanopool.PoolExhaustedException.Holder;
import dev.nanopool.PoolListener;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.Stopwatch;
import dev.nanopool.testkit.TestServer;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.time.Duration;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyIn;
import org.postgresql.jdbc.PgConnection;

/** Clients that are not closed, and which of them the pool takes back, reports, or leaves alone. */
class LeakTest extends PoolTestBase {
    private record Leak(Holder holder, boolean isCertain) {}

    private final Queue<Leak> leaks = new ConcurrentLinkedQueue<>();

    private Pool open(int size, Duration leakThreshold) throws SQLException {
        return open(config().size(size).leakThreshold(leakThreshold).listener(new PoolListener() {
            @Override
            public void leaked(String pool, Holder holder, boolean isCertain) {
                leaks.add(new Leak(holder, isCertain));
            }
        }));
    }

    /** Leases, leaves work undone, and forgets everything but what the pool knows. */
    private static void forget(Pool pool) throws SQLException {
        Connection client = pool.client();
        client.setAutoCommit(false);
        PreparedStatement statement = client.prepareStatement("SELECT set_config('work_mem', '77MB', false)");
        statement.executeQuery().next();
    }

    private static void awaitCollected(String what, Callable<Boolean> condition) throws Exception {
        Await.until(what, () -> {
            System.gc();
            return condition.call();
        });
    }

    // No thread can close it, so the pool rolls it back, resets it, counts it, reports it and lends it again.
    @Test
    void forgottenClientMustBeTakenBack() throws Exception {
        Pool pool = open(1, Duration.ofDays(1));
        forget(pool);
        awaitCollected("it is taken back", () -> !leaks.isEmpty());
        try (Connection client = pool.client()) {
            assertThat(TestServer.query(client, "SHOW work_mem")).isNotEqualTo("77MB");
            assertThat(client.getAutoCommit()).isTrue();
        }
        assertThat(pool.stats().opened()).as("not replaced").isEqualTo(1);
        assertThat(leaks).singleElement().satisfies(leak -> {
            assertThat(leak.isCertain()).isTrue();
            assertThat(leak.holder().thread()).isEqualTo(Thread.currentThread().getName());
            assertThat(leak.holder().stack().toString())
                    .as("where it was leased, since leases are traced")
                    .contains("LeakTest.forget");
        });
    }

    // A COPY, ended or left open, does not lead the pool to the client. An open one costs the connection. One that has
    // ended may do so only if the machine held threads up for half a second, which is how long the pool waits for the
    // driver's lock.
    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void clientForgottenWithACopyMustBeTakenBack(boolean ended) throws Exception {
        try (var stopwatch = Stopwatch.start()) {
            Pool pool = open(1, Duration.ZERO);
            forgetCopy(pool, ended);
            awaitCollected("it is taken back", () -> !leaks.isEmpty());
            try (Connection client = pool.client()) {
                assertThat(TestServer.query(client, "SELECT 1")).isEqualTo("1");
            }
            boolean isHeldUp = stopwatch.allowing(Duration.ZERO).compareTo(Duration.ofMillis(500)) > 0;
            assertThat(pool.stats().opened())
                    .as("replaced if it was open; the machine held threads up: %s", isHeldUp)
                    .isBetween(ended ? 1L : 2L, ended && !isHeldUp ? 1L : 2L);
        }
    }

    private static void forgetCopy(Pool pool, boolean ended) throws Exception {
        Connection client = pool.client();
        TestServer.execute(client, "CREATE TEMP TABLE copied (n int)");
        CopyIn copy = ((PGConnection) client).getCopyAPI().copyIn("COPY copied FROM STDIN");
        if (ended) copy.endCopy();
    }

    // A caller that waits is served by the reclaimed connection.
    @Test
    void waitingCallerMustGetTheForgottenConnection() throws Exception {
        Pool pool = open(1, Duration.ZERO);
        forget(pool);
        threads.start(() -> pool.client(Duration.ofSeconds(20)).close());
        awaitCollected("it was served", () -> pool.stats().leasesGranted() == 2 && leaks.size() == 1);
    }

    // A thread that has the driver's own object can use the connection without the client.
    @Test
    void clientWhoseDriverConnectionIsInUseMustNotBeTakenBack() throws Exception {
        Pool pool = open(2, Duration.ZERO);
        Connection driver = pool.client().unwrap(PgConnection.class);
        forget(pool);
        awaitCollected("the other one is taken back", () -> pool.stats().leaked() == 1);
        assertThat(pool.stats().active()).isEqualTo(1);
        assertThat(TestServer.query(driver, "SELECT 1")).isEqualTo("1");
        assertThat(pool.close(Duration.ZERO)).as("no thread can give it back").isFalse();
    }

    // The lease may have been handed to another thread, so the pool reports it once and leaves it alone.
    @Test
    void clientOfAnEndedThreadMustBeReportedAndLeftAlone() throws Exception {
        Pool pool = open(1, Duration.ZERO);
        var handedOver = new ConcurrentLinkedQueue<Connection>();
        Thread owner = threads.start(() -> handedOver.add(pool.client()));
        Await.until("it is told", () -> !leaks.isEmpty());
        assertThat(leaks).singleElement().satisfies(leak -> {
            assertThat(leak.isCertain()).isFalse();
            assertThat(leak.holder().thread()).isEqualTo("#" + owner.threadId());
        });
        try (Connection client = handedOver.remove()) {
            assertThat(TestServer.query(client, "SELECT 1")).isEqualTo("1");
            TestServer.execute(client, "SELECT pg_sleep(1.5)"); // another look of the housekeeper
        }
        assertThat(leaks).hasSize(1);
        assertThat(pool.stats().leaked()).isEqualTo(1);
    }

    // A request whose steps run on fresh virtual threads. The first one ends, and the others use the client.
    @Test
    void clientThatOtherThreadsUseMustNotBeCalledALeak() throws Exception {
        Pool pool = open(1, Duration.ZERO);
        var handedOver = new ConcurrentLinkedQueue<Connection>();
        assertThat(threads.start(() -> handedOver.add(pool.client())).join(Duration.ofSeconds(10)))
                .isTrue();
        Connection client = handedOver.remove();
        for (int step = 0; step < 5; step++) {
            Await.pause(Duration.ofMillis(600)); // the housekeeper looks in between
            threads.start(() -> assertThat(TestServer.query(client, "SELECT 1")).isEqualTo("1"));
            threads.join();
        }
        assertThatThrownBy(() -> pool.client(Duration.ofMillis(200)))
                .isInstanceOfSatisfying(
                        PoolExhaustedException.class,
                        e -> assertThat(e.verdict()).isNotEqualTo(PoolExhaustedException.Verdict.LEAK));
        client.close();
        assertThat(leaks).isEmpty();
        assertThat(pool.stats().leaked()).isZero();
    }

    // First it is a suspicion, then a certainty. The pool reports it twice, and counts it once.
    @Test
    void leakThatWasSuspectedMustBeCountedOnce() throws Exception {
        Pool pool = open(1, Duration.ofSeconds(1));
        suspect(pool);
        awaitCollected("it is taken back", () -> leaks.size() == 2);
        assertThat(leaks).extracting(Leak::isCertain).containsExactly(false, true);
        assertThat(pool.stats().leaked()).isEqualTo(1);
    }

    private void suspect(Pool pool) throws Exception {
        Connection client = pool.client();
        Await.until("it is suspected", () -> !leaks.isEmpty());
        assertThat(client.isClosed()).isFalse();
    }

    // A slow query is no leak, because it waits for the server. A long idle lease is reported, with the place.
    @Test
    void leaseOlderThanTheThresholdMustBeReportedUnlessItWaitsForTheServer() throws Exception {
        Pool pool = open(1, Duration.ofSeconds(1));
        try (Connection client = pool.client()) {
            waitForTheServer(client, Duration.ofMillis(2_500));
            Await.until("it is told", () -> !leaks.isEmpty());
        }
        assertThat(leaks).singleElement().satisfies(leak -> {
            assertThat(leak.isCertain()).isFalse();
            assertThat(leak.holder().heldFor()).isGreaterThan(Duration.ofMillis(900));
            assertThat(leak.holder().stack().toString()).contains("leaseOlderThanTheThreshold");
        });
    }

    /** Has the client wait for the server that long, while nothing may be told. */
    private void waitForTheServer(Connection client, Duration time) throws Exception {
        try (Connection direct = TestServer.direct()) {
            TestServer.execute(direct, "SELECT pg_advisory_lock(4243)"); // the query lasts until this is given back
            threads.start(() -> {
                long start = System.nanoTime();
                Await.until("time has passed", () -> System.nanoTime() - start >= time.toNanos());
                assertThat(leaks).isEmpty();
                TestServer.execute(direct, "SELECT pg_advisory_unlock(4243)");
            });
            TestServer.execute(client, "SELECT pg_advisory_lock(4243)");
            threads.join();
        }
    }

    // A statement alone keeps its client in use, because a thread that reads its rows has forgotten nothing.
    @Test
    void clientWhoseStatementIsInUseMustNotBeTakenBack() throws Exception {
        Pool pool = open(2, Duration.ZERO);
        var statement = pool.client().createStatement();
        forget(pool);
        awaitCollected("the other one is taken back", () -> pool.stats().leaked() == 1);
        assertThat(statement.executeQuery("SELECT 1").next()).isTrue();
        statement.getConnection().close();
    }

    // Leases that come and go are no leaks, whenever the collector runs.
    @Test
    void clientsInUseMustNeverBeCalledForgotten() throws Exception {
        Pool pool = open(2, Duration.ZERO);
        var done = new CountDownLatch(4);
        for (int i = 0; i < 4; i++) {
            threads.start(() -> {
                long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(4);
                while (System.nanoTime() - end < 0) {
                    for (int n = 0; n < 100; n++) pool.client().close();
                    try (Connection client = pool.client()) {
                        assertThat(TestServer.query(client, "SELECT 1")).isEqualTo("1");
                    }
                }
                done.countDown();
            });
        }
        while (!done.await(20, TimeUnit.MILLISECONDS)) System.gc();
        assertThat(pool.stats().leaked()).isZero();
        assertThat(List.copyOf(leaks)).isEmpty();
    }
}
