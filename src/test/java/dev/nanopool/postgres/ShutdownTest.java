package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.sun.management.UnixOperatingSystemMXBean;
import dev.nanopool.Credentials;
import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import dev.nanopool.PoolListener;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.FaultProxy;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.Stopwatch;
import dev.nanopool.testkit.TestServer;
import java.lang.management.ManagementFactory;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Supplier;
import org.junit.jupiter.api.Test;

/** The end of a pool, namely what it refuses, what may finish, and that nothing is left. */
class ShutdownTest extends PoolTestBase {
    private static final Duration AT_ONCE = Duration.ofSeconds(1);
    private static final Duration DRAIN = Duration.ofSeconds(1);

    private static long threadsOfPools() {
        return threadsOf("");
    }

    private static long threadsOf(Pool pool) {
        return threadsOf(pool.stats().name() + "-");
    }

    private static long threadsOf(String pool) {
        return Thread.getAllStackTraces().keySet().stream()
                .filter(thread -> thread.getName().startsWith("nanopool-" + pool))
                .count();
    }

    /** Open files and sockets of this process, where the system tells; else always the same. */
    private static long openFiles() {
        return ManagementFactory.getOperatingSystemMXBean() instanceof UnixOperatingSystemMXBean unix
                ? unix.getOpenFileDescriptorCount()
                : 0;
    }

    private static void refused(Body call) {
        assertThatThrownBy(call::run)
                .isInstanceOfSatisfying(
                        SQLException.class, e -> assertThat(e.getSQLState()).isEqualTo("08003"));
    }

    private interface Body {
        void run() throws Exception;
    }

    @Test
    void hundredPoolsMustLeaveNoThreadAndNoSocket() throws Exception {
        Pool.create(config().size(2).build()).close();
        long threadsBefore = threadsOfPools();
        long filesBefore = openFiles();
        for (int i = 0; i < 100; i++) {
            try (Pool pool = Pool.create(config().size(2).build());
                    Connection client = pool.client()) {
                assertThat(TestServer.query(client, "SELECT 1")).isEqualTo("1");
            }
        }
        assertThat(threadsOfPools()).isEqualTo(threadsBefore);
        Await.until("no socket is left", () -> openFiles() <= filesBefore + 10); // the JVM opens files of its own
    }

    // The server accepts and says nothing. Neither the caller nor close waits for connectTimeout.
    @Test
    void poolMustCloseAtOnceWhileItConnects() throws Exception {
        FaultProxy proxy = proxy();
        Pool pool = open(config(proxy).size(2).minIdle(0).connectTimeout(Duration.ofMinutes(1)));
        proxy.blackHoleNew();
        threads.start(() -> refused(() -> pool.client(Duration.ofMinutes(1))));
        Await.until("it connects", () -> proxy.open() == 1);
        try (var stopwatch = Stopwatch.start()) {
            assertThat(pool.close(Duration.ofMinutes(1))).isTrue();
            assertThat(stopwatch.elapsed()).isLessThan(stopwatch.allowing(AT_ONCE));
        }
        assertThat(pool.stats().opening()).isZero();
        threads.join();
        assertThat(pool.stats().opened()).isZero();
        Await.until("the socket is closed", () -> {
            proxy.heal();
            return proxy.open() == 0;
        });
    }

    // A connection that is on its way to a caller when the pool closes is no lease yet. The lease is cut when it
    // begins.
    @Test
    void leaseThatBeginsWhileThePoolClosesMustBeCut() throws Exception {
        for (int i = 0; i < 20; i++) {
            Pool pool = open(1);
            Connection held = pool.client();
            threads.start(() -> {
                assertThatThrownBy(() -> {
                            try (Connection client = pool.client()) {
                                TestServer.query(client, "SELECT pg_sleep(60)");
                            }
                        })
                        .isInstanceOfSatisfying(
                                SQLException.class,
                                e -> assertThat(e.getSQLState())
                                        .as("before its turn or its query, or in the midst of it")
                                        // The cut closes the socket and cancels the query. The JDK lets a thread
                                        // that wakes up late still read the server's answer to the cancel: 57014.
                                        .isIn("08003", "55000", "08006", "57014"));
            });
            Await.until("a caller waits", () -> pool.stats().pending() == 1);
            try (var stopwatch = Stopwatch.start()) {
                held.close(); // hands it over
                pool.close(Duration.ZERO);
                assertThat(stopwatch.elapsed()).isLessThan(stopwatch.allowing(AT_ONCE));
            }
            threads.join();
        }
    }

    // One connection is open, and lost again, while others do not come. Nothing is left that goes on trying.
    @Test
    void poolThatCouldNotStartMustLeaveNoThreadConnecting() throws Exception {
        FaultProxy proxy = proxy();
        PoolConfig config = config(proxy)
                .size(2)
                .connectTimeout(Duration.ofSeconds(3))
                .listener(new PoolListener() {
                    @Override
                    public void opened(String pool, int backendPid, Duration took) {
                        proxy.blackHoleNew();
                        try (Connection direct = TestServer.direct()) {
                            TestServer.query(direct, "SELECT pg_terminate_backend(" + backendPid + ")");
                        } catch (SQLException e) {
                            throw new IllegalStateException(e);
                        }
                    }
                })
                .build();
        long threadsBefore = threadsOfPools();
        assertThatThrownBy(() -> Pool.create(config)).isInstanceOf(SQLException.class);
        assertThat(threadsOfPools()).isEqualTo(threadsBefore);
        proxy.heal();
        Await.until("no socket is left", () -> proxy.open() == 0);
        for (int i = 0; i < 100; i++) { // one that goes on connects again and again
            assertThat(threadsOfPools()).isEqualTo(threadsBefore);
            assertThat(proxy.open()).isZero();
        }
    }

    // A supplier of credentials that hangs is left behind, too.
    @Test
    void poolMustCloseAtOnceWhileItWaitsForCredentials() throws Exception {
        var asked = new CountDownLatch(1);
        var never = new CountDownLatch(1);
        var interrupted = new CountDownLatch(1);
        Pool pool = open(config().size(1)
                .minIdle(0)
                .connectTimeout(Duration.ofMinutes(1))
                .credentials(() -> {
                    asked.countDown();
                    try {
                        never.await();
                    } catch (InterruptedException e) {
                        interrupted.countDown();
                    }
                    throw new IllegalStateException("no credentials");
                }));
        threads.start(() -> refused(() -> pool.client(Duration.ofMinutes(1))));
        assertThat(asked.await(10, TimeUnit.SECONDS)).isTrue();
        try (var stopwatch = Stopwatch.start()) {
            pool.close();
            assertThat(stopwatch.elapsed()).isLessThan(stopwatch.allowing(AT_ONCE));
        }
        assertThat(interrupted.await(10, TimeUnit.SECONDS)).isTrue();
    }

    /** A supplier of credentials that hangs until it is interrupted, and then takes its time to end. */
    private static final class Slow implements Supplier<Credentials> {
        final CountDownLatch asked = new CountDownLatch(1);
        private final CountDownLatch never = new CountDownLatch(1);
        private final Duration end;
        volatile boolean hasEnded;

        Slow(Duration end) {
            this.end = end;
        }

        @Override
        public Credentials get() {
            asked.countDown();
            try {
                never.await();
            } catch (InterruptedException e) {
                long start = System.nanoTime();
                for (long rest = end.toNanos(); rest > 0; rest = start + end.toNanos() - System.nanoTime()) {
                    LockSupport.parkNanos(rest);
                }
            }
            hasEnded = true;
            throw new IllegalStateException("no credentials");
        }
    }

    // Not only the sockets are closed, for close returns when the last thread of the pool has ended, and nothing is
    // being opened.
    @Test
    void closeMustWaitForTheThreadsOfThePool() throws Exception {
        var slow = new Slow(Duration.ofMillis(300));
        Pool pool = open(config().size(1)
                .minIdle(0)
                .connectTimeout(Duration.ofMinutes(1))
                .credentials(slow));
        threads.start(() -> refused(() -> pool.client(Duration.ofMinutes(1))));
        assertThat(slow.asked.await(10, TimeUnit.SECONDS)).isTrue();
        pool.close();
        assertThat(slow.hasEnded).isTrue();
        assertThat(threadsOf(pool)).isZero();
        assertThat(pool.stats().opening()).isZero();
    }

    // The same after a create that has failed.
    @Test
    void failedCreateMustWaitForTheThreadsOfThePool() {
        var slow = new Slow(Duration.ofMillis(300));
        PoolConfig config = config().name("failed-create")
                .size(1)
                .connectTimeout(Duration.ofMillis(200))
                .credentials(slow)
                .build();
        assertThatThrownBy(() -> Pool.create(config)).isInstanceOf(SQLException.class);
        assertThat(slow.hasEnded).isTrue();
        assertThat(threadsOf("failed-create")).isZero();
    }

    // A thread that does not end by itself holds close up for two seconds and not for ever.
    @Test
    void threadThatHangsMustBeLeftBehind() throws Exception {
        var slow = new Slow(Duration.ofSeconds(5));
        Pool pool = open(config().size(1)
                .minIdle(0)
                .connectTimeout(Duration.ofMinutes(1))
                .credentials(slow));
        threads.start(() -> refused(() -> pool.client(Duration.ofMinutes(1))));
        assertThat(slow.asked.await(10, TimeUnit.SECONDS)).isTrue();
        pool.close();
        assertThat(slow.hasEnded).isFalse();
        Await.until("its thread has ended", () -> threadsOf(pool) == 0);
    }

    // The pool's user may close it on a thread of the pool, which cannot wait for itself.
    @Test
    void poolMustCloseFromAThreadOfItsOwn() throws Exception {
        var opened = new CompletableFuture<Pool>();
        var took = new CompletableFuture<Boolean>();
        Pool pool = open(config().size(1).minIdle(0).credentials(() -> {
            try (var stopwatch = Stopwatch.start()) {
                opened.join().close(Duration.ofMinutes(1));
                took.complete(stopwatch.elapsed().compareTo(stopwatch.allowing(AT_ONCE)) < 0);
            }
            throw new IllegalStateException("no credentials");
        }));
        opened.complete(pool);
        refused(() -> pool.client(Duration.ofMinutes(1)));
        assertThat(took.get(60, TimeUnit.SECONDS)).as("at once").isTrue();
    }

    // A waiting caller is refused at once; the lease may go on until the drain is over, then its query ends on the
    // server.
    @Test
    void queryThatOutlivesTheDrainMustBeCancelled() throws Exception {
        Pool pool = open(config().name("drained").size(1));
        var leased = new CountDownLatch(1);
        var refused = new CountDownLatch(1);
        threads.start(() -> {
            try (Connection client = pool.client()) {
                leased.countDown();
                assertThatThrownBy(() -> TestServer.execute(client, "SELECT pg_sleep(60)"))
                        .isInstanceOf(SQLException.class);
                assertThat(client.isClosed()).isTrue();
                assertThat(refused.getCount())
                        .as("the waiting caller was refused before")
                        .isZero();
            }
        });
        assertThat(leased.await(10, TimeUnit.SECONDS)).isTrue();
        threads.start(() -> {
            refused(() -> pool.client(Duration.ofMinutes(1)));
            refused.countDown();
        });
        Await.until("the query runs and a caller waits", () -> pool.stats().pending() == 1 && isAsleep());
        try (var stopwatch = Stopwatch.start()) {
            assertThat(pool.close(DRAIN)).isFalse();
            assertThat(stopwatch.elapsed()).isBetween(DRAIN, stopwatch.allowing(DRAIN.plus(AT_ONCE)));
        }
        Await.until("the server process has ended", () -> TestServer.sessions("drained") == 0);
        threads.join();
    }

    private static boolean isAsleep() throws SQLException {
        try (Connection direct = TestServer.direct()) {
            return TestServer.query(
                            direct,
                            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'drained' AND state = 'active'")
                    .equals("1");
        }
    }

    @Test
    void poolMustCloseTwiceAndByManyAtOnce() throws Exception {
        Pool pool = open(4);
        for (int i = 0; i < 8; i++)
            threads.start(() -> assertThat(pool.close(AT_ONCE)).isTrue());
        threads.join();
        assertThat(pool.close(Duration.ZERO)).isTrue();
        assertThat(pool.stats().closed()).isEqualTo(4);
        refused(pool::client);
    }

    // A thread cannot wait for its own lease, so the lease is cut at once, and says so.
    @Test
    void poolMustCloseFromAThreadThatHoldsALease() throws Exception {
        Pool pool = open(2);
        Connection client = pool.client();
        try (var stopwatch = Stopwatch.start()) {
            assertThat(pool.close(Duration.ofMinutes(1))).isFalse();
            assertThat(stopwatch.elapsed()).isLessThan(stopwatch.allowing(AT_ONCE));
        }
        refused(() -> TestServer.execute(client, "SELECT 1"));
        client.close();
        assertThat(pool.stats().closed()).isEqualTo(2);
    }

    // A thread is interrupted while it connects to a silent server. No thread and no connection stays, and the flag is
    // set.
    @Test
    void interruptedCreateMustLeaveNothing() throws Exception {
        FaultProxy proxy = proxy();
        proxy.blackHoleNew();
        PoolConfig config = config(proxy).size(3).build();
        long threadsBefore = threadsOfPools();
        Thread creator = threads.start(() -> {
            assertThatThrownBy(() -> Pool.create(config))
                    .isInstanceOfSatisfying(
                            SQLException.class, e -> assertThat(e.getSQLState()).isEqualTo("08000"));
            assertThat(Thread.currentThread().isInterrupted()).isTrue();
        });
        Await.until("it connects", () -> proxy.open() > 0);
        creator.interrupt();
        assertThat(creator.join(Duration.ofSeconds(10))).isTrue();
        threads.join();
        assertThat(threadsOfPools()).isEqualTo(threadsBefore);
        proxy.heal();
        Await.until("no socket is left", () -> proxy.open() == 0);
    }

    // A connection breaks before it is the pool's. The caller gets the driver's error, and nothing is left of the
    // others.
    @Test
    void connectionThatBreaksWhileItIsMadeReadyMustLeaveNothing() {
        PoolConfig config = config().name("stillborn")
                .size(3)
                .initSql("SELECT pg_terminate_backend(pg_backend_pid())")
                .build();
        assertThatThrownBy(() -> Pool.create(config))
                .isInstanceOfSatisfying(
                        SQLException.class, e -> assertThat(e.getSQLState()).isEqualTo("57P01"));
    }
}
