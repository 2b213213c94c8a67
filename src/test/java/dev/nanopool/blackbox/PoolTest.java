package dev.nanopool.blackbox;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.nanopool.CloseReason;
import dev.nanopool.Pool;
import dev.nanopool.PoolExhaustedException;
import dev.nanopool.PoolExhaustedException.Verdict;
import dev.nanopool.PoolListener;
import dev.nanopool.PoolStats;
import dev.nanopool.TestAccess;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.Stopwatch;
import dev.nanopool.testkit.TestServer;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.sql.DataSource;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.postgresql.PGConnection;

class PoolTest extends PoolTestBase {
    private static final Duration TIMEOUT = Duration.ofMillis(200);

    /**
     * Leases without waiting. The housekeeper takes idle connections out for a moment once a second, so a refusal means
     * something only if it comes again.
     */
    private static Connection atOnce(Pool pool, Callable<Optional<Connection>> lease) throws Exception {
        var leased = new AtomicReference<@Nullable Connection>();
        Await.untilEmpty("a connection can be had", () -> {
            try {
                leased.set(lease.call().orElse(null));
                return leased.get() != null ? "" : "none, " + pool.stats();
            } catch (PoolExhaustedException e) {
                return e.getMessage();
            }
        });
        return Objects.requireNonNull(leased.get());
    }

    private static int pid(Connection client) {
        return ((PGConnection) client).getBackendPID();
    }

    // All are open before create returns, and each has a session of its own.
    @Test
    void createMustOpenAllConnections() throws Exception {
        Pool pool = open(config().size(5).name("eager"));
        assertThat(TestServer.sessions("eager")).isEqualTo(5);
        Set<Integer> pids = new HashSet<>();
        List<Connection> clients = new ArrayList<>();
        for (int i = 0; i < 5; i++) {
            clients.add(pool.client());
            pids.add(pid(clients.get(i)));
        }
        assertThat(pids).hasSize(5);
        for (Connection client : clients) client.close();
        Await.until("no session is left", () -> {
            pool.close();
            return TestServer.sessions("eager") == 0;
        });
    }

    @Test
    void callerMustBeRefusedAfterItsOwnTimeout() throws Exception {
        Pool pool = open(config().size(1).name("orders"));
        var held = new CountDownLatch(1);
        var refused = new CountDownLatch(1);
        Thread owner = threads.start(() -> {
            try (Connection client = pool.client()) {
                held.countDown();
                refused.await();
                assertThat(client.isClosed()).isFalse();
            }
        });
        held.await();
        try (var stopwatch = Stopwatch.start()) {
            assertThatThrownBy(() -> pool.client(TIMEOUT)).isInstanceOfSatisfying(PoolExhaustedException.class, e -> {
                assertThat(e.getSQLState()).isEqualTo("08001");
                assertThat(e.verdict()).isEqualTo(Verdict.SLOW_HOLDERS);
                assertThat(e.stats()).isNotNull().extracting(PoolStats::active).isEqualTo(1);
                assertThat(e.holders()).singleElement().satisfies(holder -> {
                    assertThat(holder.thread()).isEqualTo("#" + owner.threadId());
                    assertThat(holder.stack()).isNotEmpty();
                });
                Matcher message = Pattern.compile(
                                "orders: no connection within (\\d+) ms \\(timeout 200 ms\\), place 1 in the line;"
                                        + " max 1, active 1, idle 0, pending [01]; held for (\\d+) ms by #"
                                        + owner.threadId() + " at "
                                        + PoolTest.class.getName().replace(".", "\\.")
                                        + "\\.\\S+\\. SLOW_HOLDERS: .*")
                        .matcher(e.getMessage());
                assertThat(message.matches()).as(e.getMessage()).isTrue();
                long waited = Long.parseLong(message.group(1));
                long heldFor = Long.parseLong(message.group(2));
                assertThat(waited).isGreaterThanOrEqualTo(TIMEOUT.toMillis());
                assertThat(heldFor).isGreaterThanOrEqualTo(TIMEOUT.toMillis());
                assertThat(Duration.ofMillis(Math.max(waited, heldFor)))
                        .isLessThan(stopwatch.allowing(TIMEOUT.plus(TOLERANCE)));
            });
            assertThat(stopwatch.elapsed()).isBetween(TIMEOUT, stopwatch.allowing(TIMEOUT.plus(TOLERANCE)));
        } finally {
            refused.countDown();
        }
        assertThat(pool.stats().timeouts()).isEqualTo(1);
    }

    @Test
    void zeroTimeoutMustNotWait() throws Exception {
        Pool pool = open(1);
        try (Connection held = atOnce(pool, () -> Optional.of(pool.client(Duration.ZERO)))) {
            assertThat(held).isNotNull();
            assertThatThrownBy(() -> pool.client(Duration.ZERO)).isInstanceOf(PoolExhaustedException.class);
            assertThat(pool.tryClient()).isEmpty();
        }
        try (Connection again = atOnce(pool, pool::tryClient)) {
            assertThat(TestServer.query(again, "SELECT 1")).isEqualTo("1");
        }
        assertThatThrownBy(() -> pool.client(Duration.ofMillis(-1)))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("timeout: PT-0.001S is negative");
    }

    @Test
    void callerBeyondMaxWaitersMustBeRefusedAtOnce() throws Exception {
        Pool pool = open(config().size(1).maxWaiters(1));
        var leased = new CountDownLatch(1);
        var refused = new CountDownLatch(1);
        threads.start(
                () -> { // another thread, which lives on, because else it would be a deadlock, or a leak
                    try (Connection held = pool.client()) {
                        leased.countDown();
                        refused.await();
                        assertThat(held.isClosed()).isFalse();
                    }
                });
        leased.await();
        threads.start(() -> pool.client().close());
        Await.until("one waits", () -> pool.stats().pending() == 1);
        assertThatThrownBy(pool::client)
                .isInstanceOfSatisfying(
                        PoolExhaustedException.class,
                        e -> assertThat(e.verdict()).isEqualTo(Verdict.OVERLOAD))
                .hasMessageContaining("(timeout 5000 ms), place 2 in the line, maxWaiters 1; max 1, active 1");
        assertThat(pool.stats().rejected()).isEqualTo(1);
        refused.countDown();
    }

    @Test
    void interruptedWaiterMustLeaveWithItsFlagSet() throws Exception {
        Pool pool = open(1);
        Connection held = pool.client();
        Thread waiter = threads.start(() -> {
            assertThatThrownBy(pool::client)
                    .isInstanceOfSatisfying(
                            SQLException.class, e -> assertThat(e.getSQLState()).isEqualTo("08000"));
            assertThat(Thread.currentThread().isInterrupted()).isTrue();
        });
        Await.until("it waits", () -> pool.stats().pending() == 1);
        waiter.interrupt();
        threads.join();
        held.close();
        awaitBalance(pool);
    }

    @Test
    void clientMustThrowWhenPoolIsClosedWhileWaiting() throws Exception {
        Pool pool = open(1);
        Connection held = pool.client();
        threads.start(() -> assertThatThrownBy(pool::client)
                .isInstanceOfSatisfying(
                        SQLException.class, e -> assertThat(e.getSQLState()).isEqualTo("08003")));
        Await.until("it waits", () -> pool.stats().pending() == 1);
        threads.start(() -> assertThat(pool.close(Duration.ofSeconds(10))).isTrue());
        Await.until("the waiter has left", () -> pool.stats().pending() == 0);
        assertThat(TestServer.query(held, "SELECT 1")).as("a lease may go on").isEqualTo("1");
        held.close();
        threads.join();
        assertThatThrownBy(pool::client)
                .isInstanceOfSatisfying(
                        SQLException.class, e -> assertThat(e.getSQLState()).isEqualTo("08003"));
        assertThatThrownBy(pool::tryClient)
                .isInstanceOfSatisfying(
                        SQLException.class, e -> assertThat(e.getSQLState()).isEqualTo("08003"));
    }

    // A lease that lasts longer than the drain is cut, and the pool is gone all the same.
    @Test
    void closeMustCutLeasesWhenTheDrainIsOver() throws Exception {
        Pool pool = open(2);
        Connection held = pool.client();
        var running = new CountDownLatch(1);
        threads.start(() -> {
            Connection client = pool.client();
            running.countDown();
            assertThatThrownBy(() -> TestServer.query(client, "SELECT pg_sleep(60)"))
                    .isInstanceOf(SQLException.class);
        });
        running.await();
        assertThat(pool.close(Duration.ofMillis(100))).isFalse();
        assertThat(held.isClosed()).isTrue();
        threads.join();
    }

    // From a lease's own thread, close does not wait for that lease.
    @Test
    void closeMustNotWaitForTheCallersOwnLease() throws Exception {
        Pool pool = open(1);
        Connection held = pool.client();
        try (var stopwatch = Stopwatch.start()) {
            assertThat(pool.close(Duration.ofMinutes(1))).isFalse();
            assertThat(stopwatch.elapsed()).isLessThan(Duration.ofSeconds(30));
        }
        assertThat(held.isClosed()).isTrue();
    }

    // A time that cannot be is refused before anything is closed; one that no clock can count is the longest there is.
    @Test
    void closeMustRefuseANegativeDrainAndTakeAnEndlessOne() throws Exception {
        Pool pool = open(1);
        assertThatThrownBy(() -> pool.close(Duration.ofMillis(-1)))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("drain: PT-0.001S is negative");
        try (Connection client = pool.client(ChronoUnit.FOREVER.getDuration())) {
            assertThat(TestServer.query(client, "SELECT 1")).isEqualTo("1");
        }
        assertThat(pool.close(ChronoUnit.FOREVER.getDuration())).isTrue();
    }

    // An interrupt ends the waiting for leases; sockets and threads end all the same, and the flag stays.
    @Test
    void closeUnderAnInterruptMustEndEverything() throws Exception {
        threads.start(() -> {
            Pool pool = open(config().size(2).name("interrupted-close"));
            Thread.currentThread().interrupt();
            pool.close();
            assertThat(Thread.interrupted()).isTrue();
            assertThat(threads("interrupted-close")).isEmpty();
        });
        threads.join();
        Await.until("no session is left", () -> TestServer.sessions("interrupted-close") == 0);
    }

    @Test
    void closedPoolsMustLeaveNoThread() throws Exception {
        for (int i = 0; i < 20; i++) {
            try (Pool pool = open(config().size(2).name("thread-test"));
                    Connection client = pool.client()) {
                assertThat(TestServer.query(client, "SELECT 1")).isEqualTo("1");
            }
            assertThat(threads("thread-test")).isEmpty();
        }
    }

    private static List<Thread> threads(String pool) {
        return Thread.getAllStackTraces().keySet().stream()
                .filter(thread -> thread.getName().startsWith("nanopool-" + pool))
                .toList();
    }

    @Test
    void resizeMustChangeHowManyCanBeLeased() throws Exception {
        Pool pool = open(2);
        pool.resize(4);
        List<Connection> clients = new ArrayList<>();
        for (int i = 0; i < 4; i++) clients.add(pool.client());
        assertThat(pool.tryClient()).isEmpty();
        pool.resize(1);
        for (Connection client : clients) client.close();
        awaitBalance(pool);
        Await.until("three are closed", () -> pool.stats().idle() == 1);
        try (Connection client = pool.client()) {
            assertThat(client.isValid(1)).isTrue();
            assertThat(pool.tryClient()).isEmpty();
        }
        assertThatThrownBy(() -> pool.resize(0)).hasMessage("size: 0 is out of bounds; must be 1 to 10000");
    }

    // A suspended pool has no open socket, and callers wait within their deadline. Once it is resumed, they are served.
    @Test
    void suspendedPoolMustServeNoCallerUntilResumed() throws Exception {
        Pool pool = open(config().size(3).name("suspended"));
        Connection held = pool.client();
        pool.suspend();
        held.close();
        Await.until("no session is left", () -> TestServer.sessions("suspended") == 0);
        assertThatThrownBy(() -> pool.client(Duration.ofMillis(50))).isInstanceOf(PoolExhaustedException.class);
        assertThat(pool.tryClient()).isEmpty();
        var served = new CountDownLatch(1);
        threads.start(() -> {
            pool.client().close();
            served.countDown();
        });
        Await.until("it waits", () -> pool.stats().pending() == 1);
        assertThat(served.getCount()).isEqualTo(1);
        pool.resume();
        assertThat(served.await(10, TimeUnit.SECONDS)).isTrue();
        Await.until("all are open again", () -> TestServer.sessions("suspended") == 3);
    }

    @Test
    void refreshMustReplaceEveryConnection() throws Exception {
        Queue<CloseReason> reasons = new ConcurrentLinkedQueue<>();
        Pool pool = open(config().size(3).listener(new PoolListener() {
            @Override
            public void closed(String name, int backendPid, CloseReason reason) {
                reasons.add(reason);
            }
        }));
        Connection held = pool.client();
        int before = pid(held);
        pool.refresh();
        assertThat(held.isValid(1)).as("a leased one stays until it comes back").isTrue();
        held.close();
        Await.until(
                "all are new", () -> pool.stats().opened() == 6 && pool.stats().closed() == 3);
        awaitBalance(pool);
        try (Connection client = pool.client()) {
            assertThat(pid(client)).isNotEqualTo(before);
        }
        assertThat(reasons).hasSize(3).containsOnly(CloseReason.RETIRED);
    }

    @Test
    void retiredConnectionMustBeReplacedWhenItComesBack() throws Exception {
        Pool pool = open(1);
        int before;
        try (Connection client = pool.client()) {
            before = pid(client);
            pool.retire(client);
            assertThat(client.isValid(1)).isTrue();
        }
        try (Connection client = pool.client()) {
            assertThat(pid(client)).isNotEqualTo(before);
        }
        try (Connection foreign = TestServer.direct()) {
            assertThatThrownBy(() -> pool.retire(foreign)).isInstanceOf(IllegalArgumentException.class);
        }
    }

    // An elastic pool opens what is asked for, and not more.
    @Test
    void elasticPoolMustOpenOnDemand() throws Exception {
        Pool pool = open(config().size(4).minIdle(0));
        assertThat(pool.stats().opened()).isZero();
        List<Connection> clients = new ArrayList<>();
        for (int i = 1; i <= 3; i++) {
            clients.add(pool.client());
            assertThat(pool.stats().opened()).isEqualTo(i);
        }
        for (Connection client : clients) client.close();
    }

    // A caller that does not wait gets nothing at first, but the connection that it would need is opened meanwhile.
    @Test
    void elasticPoolMustOpenForCallersThatDoNotWait() throws Exception {
        Pool pool = open(config().size(2).minIdle(0));
        assertThat(pool.tryClient()).isEmpty();
        awaitBalance(pool);
        assertThat(pool.stats().idle()).isEqualTo(1);
        try (Connection first = atOnce(pool, pool::tryClient)) {
            assertThatThrownBy(() -> pool.client(Duration.ZERO))
                    .isInstanceOf(PoolExhaustedException.class)
                    .hasMessageContaining("(timeout 0 ms); max 2");
            Await.until("another one is idle", () -> pool.stats().opened() == 2 && TestAccess.freePermits(pool) == 1);
            atOnce(pool, () -> Optional.of(pool.client(Duration.ZERO))).close();
            assertThat(TestServer.query(first, "SELECT 1")).isEqualTo("1");
        }
        assertThat(pool.stats().opened()).isEqualTo(2);
    }

    // A listener may fail in any way, and the pool loses no permit and no connection by it.
    @Test
    void errorOfTheListenerMustCostNothing() throws Exception {
        var told = new AtomicInteger();
        Pool pool = open(config().size(2).minIdle(0).listener(new PoolListener() {
            @Override
            public void opened(String name, int backendPid, Duration took) {
                fail();
            }

            @Override
            public void closed(String name, int backendPid, CloseReason reason) {
                fail();
            }

            @Override
            public void transactionLeftOpen(String name, String site, @Nullable String sql) {
                fail();
            }

            private void fail() {
                told.incrementAndGet();
                throw new AssertionError("the listener's");
            }
        }));
        try (Connection client = pool.client()) {
            client.setAutoCommit(false);
            assertThat(TestServer.query(client, "SELECT 1")).isEqualTo("1");
            pool.retire(client);
        }
        Await.until("it is closed", () -> pool.stats().closed() == 1);
        pool.client().close();
        awaitBalance(pool);
        assertThat(told).as("opened, left open, closed, opened").hasValueGreaterThanOrEqualTo(4);
    }

    // A DataSource lends the same leases.
    @Test
    void dataSourceMustLeaseFromThePool() throws Exception {
        Pool pool = open(1);
        DataSource source = pool.dataSource();
        assertThat(source.unwrap(Pool.class)).isSameAs(pool);
        try (Connection client = source.getConnection()) {
            assertThat(TestServer.query(client, "SELECT 1")).isEqualTo("1");
            assertThat(pool.stats().active()).isEqualTo(1);
        }
        assertThatThrownBy(() -> source.getConnection("a", "b")).isInstanceOf(SQLException.class);
    }

    // What the caller sees in a message, and what it must never see.
    @Test
    void noPasswordMustBePrinted() throws Exception {
        List<String> texts = Collections.synchronizedList(new ArrayList<>());
        var config = dev.nanopool.PoolConfig.builder("postgresql://nobody:s3cr3t-pw@localhost:1/nowhere")
                .build();
        texts.add(config.toString());
        assertThatThrownBy(() -> Pool.create(config)).satisfies(e -> {
            for (Throwable cause = e; cause != null; cause = cause.getCause()) texts.add(cause.toString());
        });
        assertThat(texts).hasSizeGreaterThan(1).noneMatch(text -> text.contains("s3cr3t"));
        assertThat(new dev.nanopool.Credentials("nobody", "s3cr3t-pw").toString())
                .doesNotContain("s3cr3t");
    }

    // Counters name outcomes, and in a quiet pool they are exact.
    @Test
    void statsMustCountWhatHappened() throws Exception {
        Pool pool = open(2);
        for (int i = 0; i < 10; i++) pool.client().close();
        PoolStats stats = pool.stats();
        assertThat(stats.leasesGranted()).isEqualTo(10);
        assertThat(stats.opened()).isEqualTo(2);
        // A single one may have met the housekeeper, which takes idle connections out for a moment once a second.
        assertThat(stats.waits().percentile(50)).isZero();
        assertThat(stats.idle()).isEqualTo(2);
    }

    // Under all doors at once the pool hands no connection to two clients.
    @Test
    void noConnectionMustBeLentTwice() throws Exception {
        Pool pool = open(4);
        Set<Integer> leased = java.util.concurrent.ConcurrentHashMap.newKeySet();
        var twice = new AtomicInteger();
        for (int i = 0; i < 200; i++) {
            threads.start(() -> {
                for (int n = 0; n < 50; n++) {
                    try (Connection client = pool.client(Duration.ofMinutes(1))) {
                        if (!leased.add(pid(client))) twice.incrementAndGet();
                        TestServer.query(client, "SELECT 1");
                        leased.remove(pid(client));
                    }
                }
            });
        }
        threads.join();
        assertThat(twice).hasValue(0);
        assertThat(pool.stats().leasesGranted()).isEqualTo(10_000);
    }
}
