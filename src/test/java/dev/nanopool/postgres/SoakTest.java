package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;

import dev.nanopool.Pool;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.EmbeddedServer;
import dev.nanopool.testkit.EmbeddedServer.Stop;
import dev.nanopool.testkit.FaultProxy;
import dev.nanopool.testkit.FaultProxy.Fault;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.TestServer;
import java.lang.management.ManagementFactory;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.Random;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.atomic.LongAdder;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * 500 callers move money while everything goes wrong that can. {@code -Dnanopool.soak.seconds} makes it longer,
 * {@code -Dnanopool.soak.seed} repeats the faults in their order.
 */
class SoakTest extends PoolTestBase {
    private static final int CALLERS = 200;
    private static final int ACCOUNTS = 200;
    private static final int SIZE = 10;
    private static final int FEW_MEBIBYTES = 24;
    private static final Duration PATIENCE = Duration.ofSeconds(5);
    private static final Duration LONGEST_OUTAGE = Duration.ofSeconds(2);
    private static final Duration DURATION = Duration.ofSeconds(Integer.getInteger("nanopool.soak.seconds", 15));
    private static final long SEED = Long.getLong("nanopool.soak.seed", System.nanoTime());

    private static final EmbeddedServer SERVER = EmbeddedServer.start();

    @AfterAll
    static void stop() throws Exception {
        SERVER.close();
    }

    @Override
    protected String server() {
        return SERVER.url();
    }

    private enum Trouble {
        TERMINATE_SOME,
        TERMINATE_ALL,
        KILL_ONE,
        RESTART,
        CUT,
        RESET,
        BLACK_HOLE,
        OUTAGE,
        INTERRUPT,
        RESIZE,
        REFRESH,
        SUSPEND
    }

    private final LongAdder transfers = new LongAdder();
    private final LongAdder failures = new LongAdder(); // of callers that had a connection
    private final LongAdder interrupted = new LongAdder(); // while they waited
    private final Queue<SQLException> refused = new ConcurrentLinkedQueue<>(); // the others without a connection
    private final List<Thread> callers = new ArrayList<>();
    private volatile boolean isOver;
    private volatile @Nullable SQLException lastFailure;

    private void transfer(Pool pool, int from, int to) throws SQLException {
        try (Connection client = lease(pool)) {
            client.setAutoCommit(false);
            try (PreparedStatement update =
                    client.prepareStatement("UPDATE account SET balance = balance + ? WHERE id = ?")) {
                // In the order of the accounts, so that no two wait for each other.
                for (int id : new int[] {Math.min(from, to), Math.max(from, to)}) {
                    update.setInt(1, id == from ? -1 : 1);
                    update.setInt(2, id);
                    update.executeUpdate();
                }
            }
            client.commit();
        }
    }

    private static Connection lease(Pool pool) throws SQLException {
        try {
            return pool.client(PATIENCE);
        } catch (SQLException e) {
            throw new SQLException("no connection: " + e.getMessage(), e.getSQLState(), e);
        }
    }

    private void failed(SQLException failure) {
        lastFailure = failure;
        boolean isWithout = String.valueOf(failure.getMessage()).startsWith("no connection: ");
        if (!isWithout) failures.increment(); // whether it was committed is unknown; either way the total is the same
        else if ("08000".equals(failure.getSQLState())) interrupted.increment();
        else refused.add(failure);
    }

    private void call(Pool pool) throws InterruptedException {
        var random = ThreadLocalRandom.current();
        while (!isOver) {
            int from = random.nextInt(ACCOUNTS);
            try {
                transfer(pool, from, (from + 1 + random.nextInt(ACCOUNTS - 1)) % ACCOUNTS);
                transfers.increment();
            } catch (SQLException e) {
                failed(e);
                var unused = Thread.interrupted();
            }
        }
    }

    private void happen(Trouble trouble, Random random, Pool pool, FaultProxy proxy) throws Exception {
        switch (trouble) {
            case TERMINATE_SOME -> terminate("random() < 0.3");
            case TERMINATE_ALL -> terminate("true");
            case KILL_ONE -> {
                try (Connection direct = SERVER.direct()) {
                    EmbeddedServer.kill(
                            Integer.parseInt(
                                    TestServer.query(
                                            direct,
                                            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' ORDER BY random()")));
                }
                Await.until("the server has recovered", SERVER::isAnswering);
            }
            case RESTART -> {
                SERVER.stop(random.nextBoolean() ? Stop.FAST : Stop.IMMEDIATE);
                SERVER.startAgain();
                Await.until("the server answers", SERVER::isAnswering);
            }
            case CUT -> proxy.now(Fault.FIN);
            case RESET -> proxy.now(Fault.RST);
            case BLACK_HOLE -> {
                proxy.blackHole();
                pass(Duration.ofMillis(random.nextInt(1_500)));
                proxy.heal();
            }
            case OUTAGE -> {
                proxy.refuse();
                if (random.nextBoolean()) proxy.now(random.nextBoolean() ? Fault.RST : Fault.FIN);
                pass(Duration.ofMillis(random.nextInt((int) LONGEST_OUTAGE.toMillis())));
                proxy.listen();
            }
            case INTERRUPT -> {
                for (int i = 0; i < 50; i++)
                    callers.get(random.nextInt(CALLERS)).interrupt();
            }
            case RESIZE -> pool.resize(SIZE / 2 + random.nextInt(2 * SIZE));
            case REFRESH -> pool.refresh();
            case SUSPEND -> {
                pool.suspend();
                pass(Duration.ofMillis(random.nextInt(300)));
                pool.resume();
            }
        }
    }

    private static void terminate(String which) throws SQLException {
        try (Connection direct = SERVER.direct()) {
            TestServer.execute(
                    direct,
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend'"
                            + " AND pid <> pg_backend_pid() AND " + which);
        }
    }

    private static void pass(Duration time) throws Exception {
        long start = System.nanoTime();
        Await.until("time has passed", () -> System.nanoTime() - start >= time.toNanos());
    }

    private static long usedMebibytes() {
        System.gc();
        return ManagementFactory.getMemoryMXBean().getHeapMemoryUsage().getUsed() >> 20;
    }

    @Test
    @Timeout(1_800)
    void nothingMustBeLostUnderRandomFaults() throws Exception {
        try (Connection direct = SERVER.direct()) {
            TestServer.execute(
                    direct,
                    "CREATE TABLE account AS SELECT id, 1000 AS balance FROM generate_series(0, " + (ACCOUNTS - 1)
                            + ") id; ALTER TABLE account ADD PRIMARY KEY (id)");
            // The server commits asynchronously, so a crash within its first half second would take the table along.
            TestServer.execute(direct, "CHECKPOINT");
        }
        System.getLogger("dev.nanopool.test").log(System.Logger.Level.INFO, "seed " + SEED);
        FaultProxy proxy = proxy();
        Pool pool = open(config(proxy).size(SIZE));
        for (int i = 0; i < CALLERS; i++) callers.add(threads.start(() -> call(pool)));
        var random = new Random(SEED);
        Map<Trouble, Integer> happened = new EnumMap<>(Trouble.class);
        long heapBefore = 0;
        int threadsBefore = 0;
        long start = System.nanoTime();
        try {
            while (System.nanoTime() - start < DURATION.toNanos()) {
                Trouble trouble = Trouble.values()[random.nextInt(Trouble.values().length)];
                happened.merge(trouble, 1, Integer::sum);
                happen(trouble, random, pool, proxy);
                pass(Duration.ofMillis(random.nextInt(400)));
                long before = transfers.sum();
                // More calls than there are callers, so that the line of one outage does not meet the next.
                Await.untilEmpty(
                        "callers are served after " + trouble + ", seed " + SEED,
                        () -> transfers.sum() > before + CALLERS
                                ? ""
                                : "they are not, the last failed with " + lastFailure);
                if (heapBefore == 0 && System.nanoTime() - start > DURATION.toNanos() / 4) {
                    heapBefore = usedMebibytes(); // once everything is loaded and compiled
                    threadsBefore = Thread.getAllStackTraces().size();
                }
            }
            pool.resize(SIZE);
            long before = transfers.sum();
            Await.until("all are served", () -> transfers.sum() > before + CALLERS);
            System.getLogger("dev.nanopool.test")
                    .log(
                            System.Logger.Level.INFO,
                            "seed %d: %d s, %s; %d transfers, %d failed with a connection, %d refused; heap %d then %d MiB, threads %d then %d; %s"
                                    .formatted(
                                            SEED,
                                            DURATION.toSeconds(),
                                            happened,
                                            transfers.sum(),
                                            failures.sum(),
                                            refused.size(),
                                            heapBefore,
                                            usedMebibytes(),
                                            threadsBefore,
                                            Thread.getAllStackTraces().size(),
                                            pool.stats()));
            assertThat(usedMebibytes()).isLessThan(heapBefore + FEW_MEBIBYTES);
            int most = threadsBefore + 4; // the JVM's carriers
            Await.untilEmpty(
                    "no more threads are left",
                    () -> { // those that connect end in their own time
                        int now = Thread.getAllStackTraces().size();
                        return now <= most ? "" : now + " instead of " + most;
                    });
        } finally {
            isOver = true;
        }
        threads.join();
        awaitBalance(pool);
        try (Connection direct = SERVER.direct()) {
            assertThat(TestServer.query(direct, "SELECT sum(balance) FROM account"))
                    .as("the bank's total, seed " + SEED)
                    .isEqualTo(Integer.toString(1_000 * ACCOUNTS));
        }
        assertThat(transfers.sum()).isPositive();
        // No trouble lasts longer than the callers' patience, so none of them goes without a connection; and each call
        // that failed with one was in flight when its connection died.
        assertThat(refused).as("refused, seed " + SEED).isEmpty();
        assertThat(failures.sum())
                .as("failed, seed " + SEED)
                .isLessThanOrEqualTo(pool.stats().closed());
    }
}
