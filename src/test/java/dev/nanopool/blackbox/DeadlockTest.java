package dev.nanopool.blackbox;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.params.provider.Arguments.arguments;

import dev.nanopool.Pool;
import dev.nanopool.PoolExhaustedException;
import dev.nanopool.PoolExhaustedException.Verdict;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.TestServer;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** Tasks that lease one client and then ask for another. */
class DeadlockTest extends PoolTestBase {
    private static final Duration MINUTE = Duration.ofMinutes(1);

    /** How another thread gives back a lease whose own thread waits. */
    @FunctionalInterface
    interface Helper {
        void giveBack(Connection client, Pool pool) throws Exception;
    }

    private static void awaitWaiting(Pool pool, long millis) throws Exception {
        Await.until("the owner waits", () -> pool.stats().pending() == 1);
        Await.pause(Duration.ofMillis(millis));
    }

    static Stream<Arguments> helpers() {
        return Stream.of(
                arguments("closes it soon", (Helper) (client, pool) -> {
                    awaitWaiting(pool, 20);
                    client.close();
                }),
                arguments("closes it within a second", (Helper) (client, pool) -> {
                    awaitWaiting(pool, 700);
                    client.close();
                }),
                arguments("begins to use it within a second", (Helper) (client, pool) -> {
                    awaitWaiting(pool, 700);
                    try (client) {
                        assertThat(TestServer.query(client, "SELECT 1")).isEqualTo("1");
                        Await.pause(
                                Duration.ofSeconds(3)); // another thread is known to have it, however long this takes
                    }
                }),
                arguments("reads its rows", (Helper) (client, pool) -> {
                    try (client;
                            Statement statement = client.createStatement();
                            ResultSet rows = statement.executeQuery("SELECT * FROM generate_series(1, 20)")) {
                        awaitWaiting(pool, 0);
                        while (rows.next()) Await.pause(Duration.ofMillis(100));
                    }
                }),
                arguments("waits for the server", (Helper) (client, pool) -> {
                    awaitWaiting(pool, 100);
                    try (client) {
                        TestServer.execute(client, "SELECT pg_sleep(3)");
                    }
                }));
    }

    // The lease's own thread waits, and yet it is no deadlock, because another thread is about to give it back.
    @ParameterizedTest(name = "{0}")
    @MethodSource("helpers")
    void callThatAnotherThreadMakesPossibleMustSucceed(String name, Helper helper) throws Exception {
        Pool pool = open(1);
        Connection handedDown = pool.client();
        threads.start(() -> helper.giveBack(handedDown, pool));
        try (Connection client = pool.client(MINUTE)) {
            assertThat(TestServer.query(client, "SELECT 1")).isEqualTo("1");
        }
        assertThat(pool.stats().rejected()).isZero();
    }

    // One thread leases and hands down to workers, which first do something else. All forty are served.
    @Test
    void leasesHandedDownToWorkersMustNotCountAsWaiting() throws Exception {
        Pool pool = open(4);
        Thread feeder = threads.start(() -> {
            for (int i = 0; i < 40; i++) {
                Connection client = pool.client(MINUTE);
                threads.start(() -> {
                    try (client) {
                        Await.pause(Duration.ofMillis(30)); // fetches something elsewhere
                        assertThat(TestServer.query(client, "SELECT 1")).isEqualTo("1");
                    }
                });
            }
        });
        assertThat(feeder.join(Duration.ofSeconds(60))).isTrue();
        threads.join();
        assertThat(pool.stats().leasesGranted()).isEqualTo(40);
        assertThat(pool.stats().rejected()).isZero();
    }

    // A deadlock must have lasted for a second, and the pool reports it soon after.
    @Test
    void deadlockMustLastForASecondBeforeItIsReported() throws Exception {
        Pool pool = open(1);
        try (Connection outer = pool.client()) {
            long start = System.nanoTime();
            assertThatThrownBy(() -> pool.client(MINUTE))
                    .isInstanceOfSatisfying(
                            PoolExhaustedException.class,
                            e -> assertThat(e.verdict()).isEqualTo(Verdict.DEADLOCK));
            assertThat(Duration.ofNanos(System.nanoTime() - start))
                    .isBetween(Duration.ofMillis(950), Duration.ofSeconds(10));
            assertThat(outer.isClosed()).isFalse();
        }
    }

    // As many tasks as connections, each of which holds one and asks for one more. After a second one of them fails and
    // gives its own back, so that all others can go on.
    @Test
    void oneOfThemMustFailAndLetTheOthersGoOn() throws Exception {
        Pool pool = open(4);
        var all = new CyclicBarrier(4);
        var deadlocks = new AtomicInteger();
        var served = new AtomicInteger();
        for (int i = 0; i < 4; i++) {
            threads.start(() -> {
                try (Connection outer = pool.client()) {
                    all.await(10, TimeUnit.SECONDS);
                    long start = System.nanoTime();
                    try (Connection inner = pool.client(Duration.ofMinutes(1))) {
                        assertThat(TestServer.query(inner, "SELECT 1")).isEqualTo("1");
                        served.incrementAndGet();
                    } catch (PoolExhaustedException e) {
                        assertThat(e.verdict()).isEqualTo(Verdict.DEADLOCK);
                        assertThat(e.holders())
                                .hasSize(4)
                                .allSatisfy(holder -> assertThat(holder.stack()).isNotEmpty());
                        assertThat(Duration.ofNanos(System.nanoTime() - start)).isLessThan(Duration.ofSeconds(10));
                        deadlocks.incrementAndGet();
                    }
                    assertThat(outer.isClosed()).isFalse();
                }
            });
        }
        threads.join();
        // Two that ask at the very same moment may both see that every caller waits.
        assertThat(deadlocks.get()).isBetween(1, 3);
        assertThat(served.get() + deadlocks.get()).isEqualTo(4);
        assertThat(pool.stats().rejected()).isEqualTo(deadlocks.get());
    }

    @Test
    void taskThatNeedsMoreThanThePoolHasMustFailBeforeItsDeadline() throws Exception {
        Pool pool = open(1);
        try (Connection outer = pool.client()) {
            assertThatThrownBy(() -> pool.client(Duration.ofMinutes(1)))
                    .isInstanceOfSatisfying(
                            PoolExhaustedException.class,
                            e -> assertThat(e.verdict()).isEqualTo(Verdict.DEADLOCK));
            assertThat(outer.isClosed()).isFalse();
        }
    }

    // Nesting is legal while some thread can still give a connection back. Here that thread does not wait.
    @Test
    void nestedLeaseMustBeServedWhenAnotherTaskEnds() throws Exception {
        Pool pool = open(2);
        var nested = new CountDownLatch(1);
        Thread other = threads.start(() -> {
            try (Connection client = pool.client()) {
                assertThat(nested.await(10, TimeUnit.SECONDS)).isTrue();
                Await.until("the nested caller waits", () -> pool.stats().pending() == 1);
                assertThat(TestServer.query(client, "SELECT 1")).isEqualTo("1");
            }
        });
        Await.until("the other has one", () -> pool.stats().active() == 1);
        try (Connection outer = pool.client()) {
            nested.countDown();
            try (Connection inner = pool.client(Duration.ofSeconds(10))) {
                assertThat(TestServer.query(inner, "SELECT 2")).isEqualTo("2");
            }
            assertThat(outer.isClosed()).isFalse();
        }
        assertThat(other.join(Duration.ofSeconds(10))).isTrue();
    }

    // The lease's own thread waits, but another thread works with it and will close it, so this is no deadlock.
    @Test
    void leaseThatAnotherThreadUsesMustNotCountAsWaiting() throws Exception {
        Pool pool = open(1);
        Connection handedOver = pool.client();
        try (Connection direct = TestServer.direct()) {
            TestServer.execute(direct, "SELECT pg_advisory_lock(4242)"); // the query lasts until this is given back
            threads.start(() -> {
                TestServer.execute(handedOver, "SELECT pg_advisory_lock(4242)");
                handedOver.close();
            });
            Await.until("the query runs", () -> waitsForTheLock(direct));
            threads.start(() -> {
                Await.until("the owner waits", () -> pool.stats().pending() == 1);
                TestServer.execute(direct, "SELECT pg_advisory_unlock(4242)");
            });
            try (Connection client = pool.client(Duration.ofMinutes(1))) {
                assertThat(TestServer.query(client, "SELECT 1")).isEqualTo("1");
            }
            threads.join();
        }
    }

    // It need not be in the middle of a statement, because a thread that has used the client once may use it again, and
    // close it.
    @Test
    void leaseThatAnotherThreadHasUsedMustNotCountAsWaiting() throws Exception {
        Pool pool = open(1);
        Connection handedOver = pool.client();
        var used = new CountDownLatch(1);
        threads.start(() -> {
            TestServer.execute(handedOver, "SELECT 1");
            used.countDown();
            Await.until("the owner waits", () -> pool.stats().pending() == 1);
            handedOver.close();
        });
        assertThat(used.await(10, TimeUnit.SECONDS)).isTrue();
        try (Connection client = pool.client(Duration.ofSeconds(10))) {
            assertThat(TestServer.query(client, "SELECT 1")).isEqualTo("1");
        }
    }

    private static boolean waitsForTheLock(Connection direct) throws SQLException {
        return TestServer.query(
                        direct,
                        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4242 AND NOT granted")
                .equals("1");
    }
}
