package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;

import dev.nanopool.Pool;
import dev.nanopool.PoolListener;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.EmbeddedServer;
import dev.nanopool.testkit.EmbeddedServer.Stop;
import dev.nanopool.testkit.FaultProxy;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.Stopwatch;
import dev.nanopool.testkit.TestServer;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.postgresql.PGConnection;

/** The server is restarted under 200 callers. */
class RestartTest extends PoolTestBase {
    private static final int CALLERS = 200;
    private static final int SIZE = 10;
    private static final int PARALLELISM = 4;
    private static final Duration BEFORE = Duration.ofMillis(500);
    private static final Duration GAP = Duration.ofMillis(500);
    private static final Duration AFTER = Duration.ofSeconds(1);
    private static final Duration RECOVERY = Duration.ofSeconds(2);

    private static final EmbeddedServer SERVER = EmbeddedServer.start();

    @AfterAll
    static void stop() throws Exception {
        SERVER.close();
    }

    @Override
    protected String server() {
        return SERVER.url();
    }

    /** What a caller got instead of its answer; the process id is that of its connection, 0 if it had none. */
    private record Failure(int pid, SQLException cause, long startNanos, long endNanos) {}

    private final Queue<Failure> failures = new ConcurrentLinkedQueue<>();
    private volatile boolean isOver;

    /** Leases, asks and gives back until the test is over; a failure does not stop it. */
    private void call(Pool pool) {
        while (!isOver) {
            long start = System.nanoTime();
            int pid = 0;
            try (Connection client = pool.client()) {
                pid = client.unwrap(PGConnection.class).getBackendPID();
                TestServer.query(client, "SELECT pg_sleep(0.005)");
            } catch (SQLException e) {
                failures.add(new Failure(pid, e, start, System.nanoTime()));
            }
        }
    }

    private static void await(Duration time) throws Exception {
        long start = System.nanoTime();
        Await.until("time has passed", () -> System.nanoTime() - start >= time.toNanos());
    }

    // No caller asks for a connection meanwhile. All come back all the same, not just the first that gets in.
    @Test
    void fixedPoolMustBeFullAgainWhenNoCallerAsks() throws Exception {
        FaultProxy proxy = proxy();
        Pool pool = open(config(proxy).size(SIZE).connectParallelism(SIZE).listener(new PoolListener() {
            @Override
            public void opened(String name, int backendPid, Duration took) {
                LockSupport.parkNanos(1_000_000); // the others look meanwhile whether theirs are wanted
            }
        }));
        for (int i = 0; i < 10; i++) {
            proxy.refuse();
            proxy.now(FaultProxy.Fault.RST);
            Await.until(
                    "all are lost",
                    () -> pool.stats().idle() == 0 && pool.stats().opening() == SIZE);
            proxy.listen();
            Await.until("the pool is full", () -> pool.stats().idle() == SIZE);
        }
    }

    @ParameterizedTest
    @EnumSource
    void poolMustBeBackSoonAfterTheServer(Stop how) throws Exception {
        FaultProxy proxy = proxy();
        Pool pool = open(config(proxy).size(SIZE).connectParallelism(PARALLELISM));
        for (int i = 0; i < CALLERS; i++) threads.start(() -> call(pool));
        long down;
        long answering;
        long full;
        Duration allowed;
        try {
            await(BEFORE);
            assertThat(failures).isEmpty();
            SERVER.stop(how);
            down = System.nanoTime();
            await(GAP);
            SERVER.startAgain();
            Await.until("the server answers", SERVER::isAnswering);
            answering = System.nanoTime();
            try (var stopwatch = Stopwatch.start()) {
                Await.until(
                        "the pool is full",
                        () -> pool.stats().active() + pool.stats().idle() == SIZE);
                full = System.nanoTime();
                allowed = stopwatch.allowing(RECOVERY);
            }
            await(AFTER);
        } finally {
            isOver = true;
        }
        threads.join();

        Duration recovery = Duration.ofNanos(full - answering);
        List<Failure> inUse =
                failures.stream().filter(failure -> failure.pid != 0).toList();
        List<Failure> withoutLease =
                failures.stream().filter(failure -> failure.pid == 0).toList();
        Duration longest = Duration.ofNanos(withoutLease.stream()
                .mapToLong(failure -> failure.endNanos - failure.startNanos)
                .max()
                .orElse(0));
        System.getLogger("dev.nanopool.test")
                .log(
                        System.Logger.Level.INFO,
                        "%s: down for %d ms, full %d ms after; %d failed in use, %d without a lease after %d ms at most; %d connects at a time"
                                .formatted(
                                        how,
                                        (answering - down) / 1_000_000,
                                        recovery.toMillis(),
                                        inUse.size(),
                                        withoutLease.size(),
                                        longest.toMillis(),
                                        proxy.mostConnecting()));

        assertThat(recovery).isLessThan(allowed);
        assertThat(proxy.mostConnecting()).isLessThanOrEqualTo(PARALLELISM);
        // A caller that used a connection when it died gets the driver's error, and no later caller gets that
        // connection.
        assertThat(inUse).extracting(Failure::pid).doesNotHaveDuplicates();
        assertThat(inUse).extracting(failure -> failure.cause.getSQLState()).isSubsetOf("57P01", "57P02", "08006");
        // A caller that comes during the outage waits until it is over.
        assertThat(withoutLease).isEmpty();
        assertThat(failures).noneMatch(failure -> failure.startNanos > full);
    }
}
