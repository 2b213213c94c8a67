package dev.nanopool.bench;

import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import dev.nanopool.TlsMode;
import dev.nanopool.testkit.EmbeddedServer;
import dev.nanopool.testkit.EmbeddedServer.Stop;
import dev.nanopool.testkit.TestServer;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.function.BooleanSupplier;
import java.util.function.Predicate;
import java.util.stream.LongStream;
import javax.sql.DataSource;

/**
 * A server is restarted under 200 callers that ask ten times a second each: how long until the pool serves again, and how
 * many calls fail. Each pool has 10 connections, waits 5 s for one, and is left at its defaults otherwise. What is measured
 * is seen from outside, by the callers and in {@code pg_stat_activity}. Times count from the moment at which the server
 * lets somebody in again, 2 s or more after it had ended.
 *
 * <p>Run with the class path of the tests and HikariCP; the argument is the number of rounds, 3 if there is none. Prints a
 * Markdown table with a row for each round.
 */
public final class Recovery {
    private static final int SIZE = 10;
    private static final int CALLERS = 200;
    private static final Duration PERIOD = Duration.ofMillis(100); // of each caller
    private static final Duration PATIENCE = Duration.ofSeconds(5); // of each call
    private static final Duration BEFORE = Duration.ofSeconds(1);
    private static final Duration GAP = Duration.ofSeconds(2);
    private static final Duration AFTER = Duration.ofSeconds(6); // whoever waits has been served or has given up

    private record Call(long startNanos, long endNanos, boolean isLeased, boolean isServed) {}

    private final EmbeddedServer server = EmbeddedServer.start();
    private final Queue<Call> calls = new ConcurrentLinkedQueue<>();
    private volatile boolean isOver;

    private Recovery() {}

    /** Prints the table. */
    public static void main(String[] arguments) throws Exception {
        int rounds = arguments.length == 0 ? 3 : Integer.parseInt(arguments[0]);
        System.out.println("| server | pool | first call served (ms) | 10 sessions (ms) | last failure (ms) | calls"
                + " | failed, without a connection | failed, with one | longest failure (ms) |");
        System.out.println("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
        var recovery = new Recovery();
        for (Stop how : Stop.values()) {
            for (int round = 0; round < rounds; round++) {
                try (Pool pool = Pool.create(recovery.nanopool())) {
                    recovery.measure(how, "nanopool", pool.dataSource());
                }
                try (var pool = new HikariDataSource(recovery.hikari())) {
                    recovery.measure(how, "HikariCP", pool);
                }
            }
        }
        recovery.server.close();
    }

    private PoolConfig nanopool() {
        return PoolConfig.builder(server.url())
                .tls(TlsMode.DISABLE)
                .name("nanopool")
                .size(SIZE)
                .acquireTimeout(PATIENCE)
                .build();
    }

    private HikariConfig hikari() {
        var config = new HikariConfig();
        config.setJdbcUrl(TestServer.jdbc(server.url()) + "&sslmode=disable&ApplicationName=HikariCP");
        config.setMaximumPoolSize(SIZE);
        config.setConnectionTimeout(PATIENCE.toMillis());
        return config;
    }

    private void measure(Stop how, String name, DataSource pool) throws Exception {
        calls.clear();
        isOver = false;
        List<Thread> callers = new ArrayList<>();
        for (int i = 0; i < CALLERS; i++) {
            Duration offset = PERIOD.multipliedBy(i).dividedBy(CALLERS);
            callers.add(Thread.ofVirtual().start(() -> call(pool, offset)));
        }
        await(() -> sessions(name) == SIZE);
        pause(BEFORE);
        server.stop(how);
        pause(GAP);
        server.startAgain();
        await(() -> sessions(name) >= 0);
        long answering = System.nanoTime();
        await(() -> sessions(name) == SIZE);
        long full = System.nanoTime();
        pause(AFTER);
        isOver = true;
        for (Thread caller : callers) caller.join();

        long served =
                ends(call -> call.isServed && call.endNanos >= answering).min().orElseThrow();
        long failed = ends(call -> !call.isServed).max().orElseThrow();
        long longest = calls.stream()
                .filter(call -> !call.isServed)
                .mapToLong(call -> call.endNanos - call.startNanos)
                .max()
                .orElseThrow();
        System.out.printf(
                "| %s | %s | %d | %d | %d | %d | %d | %d | %d |%n",
                how,
                name,
                millis(served - answering),
                millis(full - answering),
                millis(failed - answering),
                calls.size(),
                count(call -> !call.isServed && !call.isLeased),
                count(call -> !call.isServed && call.isLeased),
                millis(longest));
    }

    private LongStream ends(Predicate<Call> which) {
        return calls.stream().filter(which).mapToLong(Call::endNanos);
    }

    private long count(Predicate<Call> which) {
        return calls.stream().filter(which).count();
    }

    private static long millis(long nanos) {
        return TimeUnit.NANOSECONDS.toMillis(nanos);
    }

    /** Calls once in a period; a call that takes longer delays the next, and those missed meanwhile are left out. */
    private void call(DataSource pool, Duration offset) {
        long next = System.nanoTime() + offset.toNanos();
        while (!isOver) {
            while (next > System.nanoTime()) LockSupport.parkNanos(next - System.nanoTime());
            long start = System.nanoTime();
            boolean leased = false;
            boolean served = false;
            try (Connection connection = pool.getConnection();
                    Statement statement = connection.createStatement()) {
                leased = true;
                statement.execute("SELECT pg_sleep(0.002)");
                served = true;
            } catch (SQLException e) {
                served = false; // which is what is measured
            }
            calls.add(new Call(start, System.nanoTime(), leased, served));
            while (next <= System.nanoTime()) next += PERIOD.toNanos();
        }
    }

    /** How many the pool has; -1: the server lets nobody in. */
    private int sessions(String application) {
        try {
            return TestServer.sessions(server.url(), application);
        } catch (SQLException e) {
            return -1;
        }
    }

    private static void pause(Duration time) {
        long end = System.nanoTime() + time.toNanos();
        while (end > System.nanoTime()) LockSupport.parkNanos(end - System.nanoTime());
    }

    private static void await(BooleanSupplier condition) {
        while (!condition.getAsBoolean()) LockSupport.parkNanos(1_000_000);
    }
}
