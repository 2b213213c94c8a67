package dev.nanopool.bench;

import dev.nanopool.bench.Outages.Started;
import dev.nanopool.testkit.EmbeddedServer;
import dev.nanopool.testkit.TestServer;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import java.util.Random;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.LongAdder;
import javax.sql.DataSource;

/**
 * A storm of deadlines. 500 callers on virtual threads ask without a pause, each call is interrupted after 20 ms, and its
 * statement takes 5 to 50 ms. Each pool has 10 connections and is left at its defaults otherwise. The server counts the logins.
 *
 * <p>Run with the class path of the tests, HikariCP and Agroal; the argument is the length in seconds, 30 if there is none.
 * Prints a Markdown table with a row for each pool.
 */
public final class Deadlines {
    private static final int CALLERS = 500;
    private static final long DEADLINE_MILLIS = 20;

    private final LongAdder refused = new LongAdder(); // without a connection
    private final LongAdder cancelled = new LongAdder(); // with one
    private final Queue<Long> served = new ConcurrentLinkedQueue<>(); // nanoseconds
    private final ScheduledExecutorService clock = Executors.newSingleThreadScheduledExecutor(
            Thread.ofPlatform().daemon().factory());
    private volatile boolean isOver;

    private Deadlines() {}

    /** Prints the table. */
    public static void main(String[] arguments) throws Exception {
        int seconds = arguments.length == 0 ? 30 : Integer.parseInt(arguments[0]);
        System.out.println(
                "| pool | logins per second | served per second | p99 of the served (ms) | cancelled with a connection, per second"
                        + " | interrupted without one, per second |");
        System.out.println("| --- | ---: | ---: | ---: | ---: | ---: |");
        try (EmbeddedServer server = EmbeddedServer.start()) {
            for (String pool : List.of("nanopool", "HikariCP", "Agroal")) {
                new Deadlines().measure(server, pool, seconds);
            }
        }
    }

    private void measure(EmbeddedServer server, String name, int seconds) throws Exception {
        Started started = Outages.start(name, server.url());
        List<Thread> callers = new ArrayList<>();
        long before = logins(server);
        for (int i = 0; i < CALLERS; i++) {
            var random = new Random(i);
            callers.add(Thread.ofVirtual().start(() -> {
                var caller = new Caller(Thread.currentThread());
                while (!isOver) call(started.source(), caller, 5 + random.nextInt(46));
            }));
        }
        TimeUnit.SECONDS.sleep(seconds);
        isOver = true;
        for (Thread caller : callers) caller.join();
        long logins = logins(server) - before - 1; // the last look is one, too
        clock.shutdownNow();
        started.pool().close();
        List<Long> times = served.stream().sorted().toList();
        System.out.printf(
                "| %s | %.1f | %.0f | %s | %.0f | %.0f |%n",
                name,
                (double) logins / seconds,
                (double) times.size() / seconds,
                times.isEmpty() ? "-" : "%.1f".formatted(times.get(times.size() * 99 / 100) / 1e6),
                cancelled.doubleValue() / seconds,
                refused.doubleValue() / seconds);
    }

    private static long logins(EmbeddedServer server) throws SQLException {
        try (Connection direct = server.direct()) {
            TestServer.execute(direct, "SELECT pg_stat_force_next_flush()");
            return Long.parseLong(TestServer.query(
                    direct, "SELECT sessions FROM pg_stat_database WHERE datname = current_database()"));
        }
    }

    /** A thread that is interrupted at a deadline, and not later. */
    private static final class Caller {
        private final Thread thread;
        private boolean isCalling;

        Caller(Thread thread) {
            this.thread = thread;
        }

        synchronized void begin() {
            isCalling = true;
        }

        synchronized void interrupt() {
            if (isCalling) thread.interrupt();
        }

        synchronized void end() {
            isCalling = false;
            boolean unused = Thread.interrupted();
        }
    }

    private void call(DataSource pool, Caller caller, int millis) {
        long start = System.nanoTime();
        boolean isLeased = false;
        caller.begin();
        Future<?> deadline = clock.schedule(caller::interrupt, DEADLINE_MILLIS, TimeUnit.MILLISECONDS);
        try (Connection connection = pool.getConnection();
                Statement statement = connection.createStatement()) {
            isLeased = true;
            statement.execute("SELECT pg_sleep(" + millis / 1_000.0 + ")");
            served.add(System.nanoTime() - start);
        } catch (SQLException e) {
            (isLeased ? cancelled : refused).increment();
        } finally {
            deadline.cancel(false);
            caller.end();
        }
    }
}
