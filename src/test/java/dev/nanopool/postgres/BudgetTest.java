package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.nanopool.Budget;
import dev.nanopool.CloseReason;
import dev.nanopool.NanoDataSource;
import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import dev.nanopool.PoolExhaustedException;
import dev.nanopool.PoolListener;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.Stopwatch;
import dev.nanopool.testkit.TestServer;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import java.util.Random;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Several pools under one budget of connections. */
class BudgetTest extends PoolTestBase {
    private static final Duration STRESS = Duration.ofSeconds(3);
    private static final Duration LOGINS = Duration.ofMillis(120); // more than the handicap of other pools
    private static final Duration SOON = Duration.ofMillis(500);

    private final Queue<String> closed = new ConcurrentLinkedQueue<>();
    private final PoolListener listener = new PoolListener() {
        @Override
        public void closed(String pool, int backendPid, CloseReason reason) {
            closed.add(pool + " " + reason.name());
        }
    };
    private final List<Pool> pools = new ArrayList<>();
    private Budget budget = Budget.of(1);

    private PoolConfig.Builder tenant() {
        return config().lazy(true).budget(budget).listener(listener);
    }

    private Pool tenant(PoolConfig.Builder config) throws SQLException {
        Pool pool = open(config);
        pools.add(pool);
        return pool;
    }

    private static String name(Pool pool) {
        return pool.stats().name();
    }

    /** The units are those of the open connections, and all are free after the last pool. */
    @AfterEach
    @Override
    protected void nothingMustBeLostOrLeft() throws Exception {
        threads.join();
        for (Pool pool : pools) if (!pool.isClosed()) awaitBalance(pool);
        Await.untilEmpty("each unit has its connection", () -> {
            int open = pools.stream().mapToInt(pool -> pool.stats().idle()).sum();
            return budget.used() == open ? "" : budget + ", " + open + " open";
        });
        super.nothingMustBeLostOrLeft();
        assertThat(budget.used()).as("units after the last pool").isZero();
    }

    private static void use(Pool pool) throws SQLException {
        try (Connection client = pool.client()) {
            assertThat(TestServer.query(client, "SELECT 1")).isEqualTo("1");
        }
    }

    // Whichever way a caller leaves and a connection ends, the pools together never have more than their budget.
    @Test
    void budgetMustHoldUnderAnyRace() throws Exception {
        long seed = System.nanoTime();
        System.out.println("seed " + seed);
        budget = Budget.of(4);
        for (int i = 0; i < 6; i++) {
            tenant(tenant().size(3)
                    .connectParallelism(2)
                    .idleTimeout(Duration.ofSeconds(1))
                    .maxLifetime(Duration.ofSeconds(1 + i)));
        }
        var served = new AtomicInteger();
        int most = 0;
        var isOver = new CountDownLatch(1);
        for (int i = 0; i < 24; i++) {
            var random = new Random(seed + i);
            Pool pool = pools.get(i < 12 ? 0 : i % 6); // half of the callers at one tenant
            threads.start(() -> {
                while (isOver.getCount() > 0) {
                    Thread caller = Thread.currentThread();
                    try (Connection client = pool.client(Duration.ofMillis(10L * random.nextInt(40)))) {
                        switch (random.nextInt(12)) {
                            case 0 -> TestServer.execute(client, "SET work_mem = '2MB'");
                            case 1 -> client.abort(Runnable::run);
                            case 2 -> pool.retire(client);
                            case 3 -> TestServer.query(client, "SELECT pg_terminate_backend(pg_backend_pid())");
                            case 4 -> caller.interrupt(); // strikes the next wait
                            default -> TestServer.query(client, "SELECT pg_sleep(0.002)");
                        }
                        served.incrementAndGet();
                    } catch (SQLException e) {
                        boolean unused = Thread.interrupted();
                    }
                }
            });
        }
        threads.start(() -> {
            var random = new Random(seed);
            while (isOver.getCount() > 0) {
                Pool pool = pools.get(random.nextInt(6));
                switch (random.nextInt(4)) {
                    case 0 -> pool.refresh();
                    case 1 -> pool.resize(1 + random.nextInt(3));
                    case 2 -> pool.suspend();
                    default -> pools.forEach(Pool::resume);
                }
                Await.pause(Duration.ofMillis(20));
            }
            pools.forEach(Pool::resume);
            for (Pool each : pools) each.resize(3);
        });
        try (Connection direct = TestServer.direct()) {
            String names =
                    String.join("', '", pools.stream().map(BudgetTest::name).toList());
            long end = System.nanoTime() + STRESS.toNanos();
            while (System.nanoTime() - end < 0) {
                most = Math.max(most, budget.used());
                assertSessionsAtMost(
                        4,
                        () -> Integer.valueOf(TestServer.query(
                                direct,
                                "SELECT count(*) FROM pg_stat_activity WHERE application_name IN ('" + names + "')")));
            }
        } finally {
            isOver.countDown();
        }
        threads.join();
        for (Pool pool : pools) use(pool);
        assertThat(most).isBetween(3, 4);
        assertThat(served.get()).isGreaterThan(6);
    }

    // The one that has been idle longest, of all pools, but none that minIdle reserves.
    @Test
    void longestIdleConnectionMustBeGiven() throws Exception {
        budget = Budget.of(3);
        Pool reserved = tenant(config().size(1).budget(budget).listener(listener));
        Pool older = tenant(tenant());
        Pool newer = tenant(tenant());
        Pool third = tenant(tenant());
        use(reserved);
        use(older);
        use(newer);
        assertThat(budget.used()).isEqualTo(3);
        try (var stopwatch = Stopwatch.start()) {
            use(third);
            assertThat(stopwatch.elapsed()).isLessThan(stopwatch.allowing(SOON));
        }
        assertThat(closed).containsExactly(name(older) + " BUDGET");
        assertThat(third.stats().budget()).isEqualTo(3);
        assertThat(third.stats().budgetUsed()).isEqualTo(3);
        use(older);
        assertThat(closed).containsExactly(name(older) + " BUDGET", name(newer) + " BUDGET");
    }

    private void waiting(Pool pool, Queue<String> order, int number) throws Exception {
        threads.start(() -> {
            try (Connection client = pool.client()) {
                order.add(name(pool)); // before the next one can have the connection
                assertThat(client.isValid(1)).isTrue();
            }
        });
        Await.until("it waits", () -> pool.stats().pending() == number);
        Await.pause(LOGINS);
    }

    // A caller of the busy tenant that came later is served later, though its pool has the connection.
    @Test
    void callersMustBeServedInTheOrderInWhichTheyCame() throws Exception {
        Pool busy = tenant(tenant());
        Pool quiet = tenant(tenant());
        Pool another = tenant(tenant());
        Queue<String> order = new ConcurrentLinkedQueue<>();
        try (Connection client = busy.client()) {
            assertThat(client.isValid(1)).isTrue();
            waiting(busy, order, 1);
            waiting(quiet, order, 1);
            waiting(busy, order, 2);
            waiting(another, order, 1);
            waiting(quiet, order, 2);
        }
        threads.join();
        assertThat(order).containsExactly(name(busy), name(quiet), name(busy), name(another), name(quiet));
    }

    @Test
    void messageMustTellAFullBudgetFromAFullPool() throws Exception {
        budget = Budget.of(6);
        List<Connection> clients = new ArrayList<>();
        List<Pool> holders = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            holders.add(tenant(tenant().size(i + 1)));
            for (int k = 0; k <= i; k++) clients.add(holders.getLast().client());
        }
        Pool poor = tenant(tenant());
        assertThatThrownBy(() -> poor.client(Duration.ofMillis(50)))
                .isInstanceOf(PoolExhaustedException.class)
                .hasMessageContaining("; the budget of 6 connections is used up, by " + name(holders.get(2)) + " 3, "
                        + name(holders.get(1)) + " 2, " + name(holders.get(0)) + " 1.");
        assertThatThrownBy(() -> holders.get(0).client(Duration.ofMillis(50)))
                .isInstanceOf(PoolExhaustedException.class)
                .message()
                .doesNotContain("budget");
        for (Connection client : clients) client.close();
    }

    @Test
    void sumOfMinIdleAboveTheBudgetMustBeRefused() throws Exception {
        budget = Budget.of(5);
        Pool first = tenant(config().size(3).budget(budget));
        PoolConfig.Builder second = config().name("second").size(3).budget(budget);
        assertThatThrownBy(() -> Pool.create(second.build()))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage(
                        "minIdle: with the 3 of second, the pools would keep 6 connections, which is more than their"
                                + " budget of 5");
        first.close();
        tenant(second.name(name())); // what a closed pool had reserved is free
        for (int size : new int[] {0, 100_001}) {
            assertThatThrownBy(() -> Budget.of(size))
                    .hasMessage("budget: " + size + " is out of bounds; must be 1 to 100000");
        }
    }

    // A caller that gives up leaves no claim, and a pool that closes leaves none either.
    @Test
    void callersThatLeaveMustCostTheOthersNothing() throws Exception {
        Pool busy = tenant(tenant());
        Pool quiet = tenant(tenant().size(2));
        Pool closing = tenant(tenant());
        for (int i = 0; i < 3; i++) {
            try (Connection client = busy.client()) {
                assertThatThrownBy(() -> quiet.client(Duration.ofMillis(30)))
                        .isInstanceOf(PoolExhaustedException.class);
                Thread interrupted = threads.start(() -> assertThatThrownBy(quiet::client)
                        .isInstanceOfSatisfying(
                                SQLException.class,
                                e -> assertThat(e.getSQLState()).isEqualTo("08000")));
                Await.until("it waits", () -> quiet.stats().pending() == 1);
                interrupted.interrupt();
                threads.join();
                awaitBalance(quiet);
                assertThat(client.isValid(1)).isTrue();
            }
            assertThat(closed).as("connections given to callers that had left").isEmpty();
        }
        try (Connection client = busy.client()) {
            threads.start(() -> assertThatThrownBy(closing::client)
                    .isInstanceOfSatisfying(
                            SQLException.class, e -> assertThat(e.getSQLState()).isEqualTo("08003")));
            Await.until("it waits", () -> closing.stats().pending() == 1);
            closing.close();
            threads.join();
            assertThat(client.isValid(1)).isTrue();
        }
        assertThat(closed).isEmpty();
        use(quiet);
    }

    // A tenant whose database is down has a unit only while it tries.
    @Test
    void outageOfOneTenantMustNotHoldUnitsUp() throws Exception {
        Pool sick = tenant(config("postgresql://nobody@localhost:1/none")
                .lazy(true)
                .budget(budget)
                .listener(listener)
                .outagePatience(Duration.ofSeconds(2)));
        Pool sound = tenant(tenant());
        for (int i = 0; i < 4; i++) {
            threads.start(() -> assertThatThrownBy(() -> sick.client(Duration.ofSeconds(3)))
                    .isInstanceOf(PoolExhaustedException.class));
        }
        Await.until(
                "the outage is on",
                () -> sick.stats().pending() == 4 && sick.stats().opening() > 0);
        try (var stopwatch = Stopwatch.start()) {
            for (int i = 0; i < 20; i++) use(sound);
            assertThat(stopwatch.elapsed()).isLessThan(stopwatch.allowing(Duration.ofSeconds(2)));
        }
        threads.join();
        sick.close(Duration.ZERO);
    }

    // The start of a pool waits for its turn as a caller does; a replacement needs no second unit.
    @Test
    void startMustTakeAnIdleConnectionAndReplacementNone() throws Exception {
        budget = Budget.of(2);
        Pool lazy = tenant(tenant().size(2));
        try (Connection one = lazy.client();
                Connection two = lazy.client()) {
            assertThat(one.isValid(1) && two.isValid(1)).isTrue();
            PoolConfig.Builder late = config().size(2).budget(budget).connectTimeout(Duration.ofMillis(200));
            assertThatThrownBy(() -> Pool.create(late.build()))
                    .isInstanceOfSatisfying(
                            SQLException.class, e -> assertThat(e.getSQLState()).isEqualTo("08001"))
                    .hasMessageContaining("the budget of 2 connections is used up, by " + name(lazy) + " 2");
        }
        Pool eager = tenant(config().size(2).budget(budget).listener(listener));
        assertThat(closed).containsExactly(name(lazy) + " BUDGET", name(lazy) + " BUDGET");
        closed.clear();
        eager.refresh();
        Await.until(
                "both are replaced", () -> closed.size() == 2 && eager.stats().idle() == 2);
        assertThat(closed).containsOnly(name(eager) + " RETIRED");
        use(eager);
    }

    @Test
    void beansMustShareABudgetByItsName() throws Exception {
        try (var first = new NanoDataSource();
                var second = new NanoDataSource();
                var third = new NanoDataSource()) {
            for (NanoDataSource each : List.of(first, second, third)) {
                each.setUrl(server());
                each.setPoolName(name());
                each.setLazy(true);
                each.setBudget("beans:1");
            }
            first.getConnection().close();
            second.getConnection().close();
            assertThat(first.getTotalConnections() + second.getTotalConnections())
                    .isEqualTo(1);
            third.setBudget("beans:2");
            assertThatThrownBy(third::getConnection)
                    .hasStackTraceContaining("budget: beans has 1 connections, and not 2; all pools must say the same");
            assertThatThrownBy(() -> third.setBudget("beans"))
                    .hasMessage(
                            "budget: \"beans\" is not a budget; must be a name and the number of connections, such as"
                                    + " main:500");
        }
    }
}
