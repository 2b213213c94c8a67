package dev.nanopool.bench;

import com.sun.management.OperatingSystemMXBean;
import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import dev.nanopool.Budget;
import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import dev.nanopool.PoolExhaustedException;
import dev.nanopool.PoolStats;
import dev.nanopool.testkit.EmbeddedServer;
import dev.nanopool.testkit.FaultProxy;
import dev.nanopool.testkit.TestServer;
import java.lang.management.ManagementFactory;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Queue;
import java.util.Random;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.LongAdder;
import javax.management.JMException;
import javax.management.ObjectName;

/**
 * Many pools in one JVM. Prints a line for each figure. {@link Bench} runs each part in a JVM of its own:
 *
 * <ul>
 *   <li>{@code idle [pools]}: pools of one connection each, idle, of nanopool and of HikariCP; 400 if nothing is said
 *   <li>{@code lazy [pools]}: lazy pools without a connection; 5,000
 *   <li>{@code deadlines [pools]}: 10,000 callers whose deadlines come at the same moment, or within a second; 400
 *   <li>{@code budget [seconds]}: 100 tenants under a budget of 40, half of the calls at five of them, while the database of one
 *       tenant is down every other five seconds; 60, after five to warm up
 * </ul>
 */
public final class Tenants {
    static final String ROW = "| ";
    private static final OperatingSystemMXBean SYSTEM =
            (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();

    private Tenants() {}

    private interface Body {
        void run() throws Exception;
    }

    /** Runs the part that the first argument names. */
    public static void main(String[] arguments) throws Exception {
        int number = arguments.length > 1 ? Integer.parseInt(arguments[1]) : 0;
        switch (arguments[0]) {
            case "idle" -> idle(number == 0 ? 400 : number);
            case "lazy" -> lazy(number == 0 ? 5_000 : number);
            case "deadlines" -> deadlines(number == 0 ? 400 : number);
            case "budget" -> budget(number == 0 ? 60 : number);
            default -> throw new IllegalArgumentException("part: " + arguments[0]);
        }
    }

    private static void say(String format, Object... values) {
        // In one piece, and at the beginning of a line, because the log may be in the middle of one.
        System.out.print(String.format(Locale.ROOT, "%n" + ROW + format + " |%n", values));
    }

    /**
     * The bytes of all objects that are alive, after three collections, because references are cleared one after the other. The
     * heap's own figure would count what a collection leaves in its place.
     */
    private static long alive() throws JMException, InterruptedException {
        String histogram = "";
        for (int i = 0; i < 3; i++) {
            TimeUnit.MILLISECONDS.sleep(100);
            histogram = (String) ManagementFactory.getPlatformMBeanServer()
                    .invoke(
                            new ObjectName("com.sun.management:type=DiagnosticCommand"),
                            "gcClassHistogram",
                            new Object[] {null},
                            new String[] {String[].class.getName()});
        }
        String total = histogram.substring(histogram.lastIndexOf("Total") + "Total".length());
        return Long.parseLong(total.strip().split("\\s+")[1]);
    }

    /** How much of a core the process uses, in per cent, after so many seconds. */
    private static double load(int seconds) throws InterruptedException {
        TimeUnit.SECONDS.sleep(seconds);
        long cpu = SYSTEM.getProcessCpuTime();
        long startNanos = System.nanoTime();
        TimeUnit.SECONDS.sleep(30); // in which a quiet pool looks at its connections once
        return 100.0 * (SYSTEM.getProcessCpuTime() - cpu) / (System.nanoTime() - startNanos);
    }

    private static void measure(String name, int pools, Body open, Body close) throws Exception {
        int threads = Thread.getAllStackTraces().size();
        long startNanos = System.nanoTime();
        open.run();
        say("%s: %,d pools made in %,d ms", name, pools, (System.nanoTime() - startNanos) / 1_000_000);
        close.run(); // and once more, because what the first pools load belongs to none of them
        long heap = alive();
        say("without %s: %.2f %% of a core", name, load(10)); // what the JVM itself does, as it is now
        open.run();
        say(
                "%s: %.2f %% of a core",
                name, load(45)); // the compiler has ended its work, and the pools are quiet for long
        say("%s: %.1f KB of heap each", name, (alive() - heap) / 1_024.0 / pools);
        say("%s: %d threads more", name, Thread.getAllStackTraces().size() - threads);
        startNanos = System.nanoTime();
        close.run();
        say("%s: closed in %d ms", name, (System.nanoTime() - startNanos) / 1_000_000);
    }

    private static void closeAll(List<? extends AutoCloseable> pools) throws Exception {
        for (AutoCloseable pool : pools) pool.close();
        pools.clear();
    }

    private static void lazy(int number) throws Exception {
        List<Pool> pools = new ArrayList<>();
        measure(
                "nanopool",
                number,
                () -> fill(pools, number, "postgresql://app:secret@localhost:1/none"),
                () -> closeAll(pools));
    }

    private static void fill(List<Pool> pools, int number, String url) throws SQLException {
        for (int i = 0; i < number; i++) {
            pools.add(Pool.create(
                    PoolConfig.builder(url).name("tenant-" + i).lazy(true).build()));
        }
    }

    private static void idle(int number) throws Exception {
        int connections = number + 20;
        try (EmbeddedServer server =
                EmbeddedServer.start(builder -> builder.setServerConfig("max_connections", "" + connections))) {
            List<Pool> pools = new ArrayList<>();
            measure(
                    "nanopool",
                    number,
                    () -> {
                        for (int i = 0; i < number; i++) {
                            pools.add(Pool.create(
                                    PoolConfig.builder(server.url()).size(1).build()));
                        }
                    },
                    () -> closeAll(pools));
            List<HikariDataSource> others = new ArrayList<>();
            measure(
                    "HikariCP",
                    number,
                    () -> {
                        for (int i = 0; i < number; i++) {
                            var config = new HikariConfig();
                            config.setJdbcUrl(TestServer.jdbc(server.url()));
                            config.setMaximumPoolSize(1);
                            others.add(new HikariDataSource(config));
                        }
                    },
                    () -> closeAll(others));
        }
    }

    private static void deadlines(int number) throws Exception {
        List<Pool> pools = new ArrayList<>();
        fill(pools, number, "postgresql://app:secret@localhost:1/none");
        pools.forEach(Pool::suspend); // so that all callers wait
        for (int round = 0; round < 3; round++) {
            deadlines(pools, 0);
            deadlines(pools, 100_000);
        }
        pools.forEach(Pool::close);
    }

    private static void deadlines(List<Pool> pools, long apartNanos) throws Exception {
        Queue<Long> late = new ConcurrentLinkedQueue<>();
        var go = new CountDownLatch(1);
        List<Thread> callers = new ArrayList<>();
        long[] first = new long[1];
        for (int i = 0; i < 10_000; i++) {
            int caller = i;
            callers.add(Thread.ofVirtual().start(() -> {
                try {
                    go.await();
                    long deadline = first[0] + caller * apartNanos;
                    try {
                        pools.get(caller % pools.size())
                                .client(Duration.ofNanos(deadline - System.nanoTime()))
                                .close();
                    } catch (PoolExhaustedException e) {
                        late.add(System.nanoTime() - deadline);
                    }
                } catch (SQLException | InterruptedException e) {
                    throw new IllegalStateException(e);
                }
            }));
        }
        first[0] = System.nanoTime() + TimeUnit.SECONDS.toNanos(2);
        go.countDown();
        for (Thread caller : callers) caller.join();
        print("refused after the deadline, the deadlines " + apartNanos / 1_000 + " us apart", late);
    }

    private static void print(String what, Queue<Long> nanos) {
        List<Long> sorted = nanos.stream().sorted().toList();
        say(
                "%s: %,d, p50 %.1f ms, p99 %.1f ms, p99.9 %.1f ms, max %.1f ms",
                what,
                sorted.size(),
                sorted.get(sorted.size() / 2) / 1e6,
                sorted.get(sorted.size() * 99 / 100) / 1e6,
                sorted.get((int) (sorted.size() * 0.999)) / 1e6,
                sorted.getLast() / 1e6);
    }

    private static void budget(int seconds) throws Exception {
        int tenants = 100;
        Budget budget = Budget.of(40);
        Queue<Long> waits = new ConcurrentLinkedQueue<>();
        var refused = new LongAdder();
        var granted = new AtomicLong(); // to callers of all tenants
        Queue<Long> served = new ConcurrentLinkedQueue<>(); // how many others were while a caller waited
        try (EmbeddedServer server = EmbeddedServer.start();
                FaultProxy proxy = new FaultProxy(server.url());
                Connection direct = server.direct()) {
            List<Pool> pools = new ArrayList<>();
            for (int i = 0; i < tenants; i++) {
                pools.add(Pool.create(PoolConfig.builder(i == 50 ? proxy.url() : server.url())
                        .name("tenant-" + i)
                        .lazy(true)
                        .budget(budget)
                        .connectTimeout(Duration.ofSeconds(1))
                        .acquireTimeout(Duration.ofSeconds(30))
                        .build()));
            }
            long warmNanos = System.nanoTime() + TimeUnit.SECONDS.toNanos(5);
            long end = warmNanos + TimeUnit.SECONDS.toNanos(seconds);
            List<Thread> callers = new ArrayList<>();
            for (int i = 0; i < 200; i++) {
                var random = new Random(i);
                callers.add(Thread.ofVirtual().start(() -> {
                    while (System.nanoTime() < end) {
                        int tenant = random.nextBoolean() ? random.nextInt(5) : random.nextInt(tenants);
                        long startNanos = System.nanoTime();
                        long before = granted.get();
                        try (Connection client = pools.get(tenant).client();
                                Statement statement = client.createStatement()) {
                            boolean isCounted = tenant != 50 && startNanos >= warmNanos;
                            long others = granted.getAndIncrement() - before;
                            if (isCounted) waits.add(System.nanoTime() - startNanos);
                            if (isCounted) served.add(others);
                            statement.execute("SELECT pg_sleep(0.005)");
                        } catch (SQLException e) {
                            if (tenant == 50) continue;
                            refused.increment();
                            say("%s", e.getMessage());
                        }
                    }
                }));
            }
            int most = 0;
            for (int look = 0; System.nanoTime() < end; look++) {
                if (look % 1_000 == 500) proxy.blackHole();
                if (look % 1_000 == 999) proxy.heal();
                // A black hole swallows the end of a session, so those of its tenant are counted at their client.
                String count = "SELECT count(*) FROM pg_stat_activity"
                        + " WHERE application_name LIKE 'tenant-%' AND application_name <> 'tenant-50'";
                PoolStats swallowed = pools.get(50).stats();
                int open = Math.toIntExact(swallowed.opened() - swallowed.closed());
                most = Math.max(most, Integer.parseInt(TestServer.query(direct, count)) + open);
                TimeUnit.MILLISECONDS.sleep(10);
            }
            for (Thread caller : callers) caller.join();
            proxy.heal();
            print("waits at the other tenants", waits);
            long[] sorted = served.stream().mapToLong(others -> others).sorted().toArray();
            say(
                    "callers served meanwhile, of 200 that come again and again: median %d, p99 %d, at most %d",
                    sorted[sorted.length / 2], sorted[sorted.length * 99 / 100], sorted[sorted.length - 1]);
            say("sessions at most: %d; refused at other tenants: %d; logins: %d", most, refused.sum(), logins(pools));
            pools.forEach(Pool::close);
        }
    }

    private static long logins(List<Pool> pools) {
        return pools.stream().mapToLong(pool -> pool.stats().opened()).sum();
    }
}
