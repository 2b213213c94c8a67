package dev.nanopool.bench;

import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import dev.nanopool.TlsMode;
import dev.nanopool.bench.Report.Table;
import dev.nanopool.testkit.EmbeddedServer;
import dev.nanopool.testkit.EmbeddedServer.Stop;
import dev.nanopool.testkit.FaultProxy;
import dev.nanopool.testkit.FaultProxy.Fault;
import dev.nanopool.testkit.TestServer;
import io.agroal.api.AgroalDataSource;
import io.agroal.api.configuration.supplier.AgroalDataSourceConfigurationSupplier;
import io.agroal.api.exceptionsorter.PostgreSQLExceptionSorter;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.function.BooleanSupplier;
import java.util.function.Predicate;
import java.util.stream.Stream;
import javax.sql.DataSource;
import org.postgresql.PGConnection;

/**
 * Outages under 100 callers that ask without a pause, except for 5 ms after a failed call. Each pool has 10
 * connections, waits 5 s for one, and is left at its defaults otherwise. What is measured is seen from outside. Times
 * to the first served call and to ten connections that serve count from the moment at which the server answers again.
 *
 * <p>Run with the class path of the tests, HikariCP and Agroal; the arguments are lengths in milliseconds, 300, 1500,
 * 4500 and 15000 if there are none. Prints a Markdown table with a row for each outage and pool.
 */
public final class Outages {
    private static final int SIZE = 10;
    private static final int CALLERS = 100;
    private static final Duration PATIENCE = Duration.ofSeconds(5); // of each call
    private static final Duration BEFORE = Duration.ofSeconds(1);
    private static final Duration MOST = Duration.ofSeconds(8); // after the end of an outage
    private static final Duration PAUSE = Duration.ofMillis(5);

    static final String FAILURES = "failed calls";

    private enum Way {
        CUT_AND_REFUSED,
        BLACK_HOLE,
        FAST,
        IMMEDIATE,
        CRASH
    }

    private record Call(long startNanos, long leasedNanos, long endNanos, boolean isServed) {
        boolean isLeased() {
            return leasedNanos > 0;
        }
    }

    private final EmbeddedServer server = EmbeddedServer.start();
    private final Queue<Call> calls = new ConcurrentLinkedQueue<>();
    // Backends, each with its first call after the end of the outage.
    private final Map<Integer, Long> serving = new ConcurrentHashMap<>();
    private volatile long endedNanos;
    private volatile boolean isOver;

    private Outages() {}

    /** Prints the table. */
    public static void main(String[] arguments) throws Exception {
        List<Long> lengths = arguments.length == 0
                ? List.of(300L, 1_500L, 4_500L, 15_000L)
                : Arrays.stream(arguments).map(Long::valueOf).toList();
        System.out.println("| outage | pool | calls | failed, without a connection | failed, with one"
                + " | longest wait (ms) | first call served (ms) | 10 connections (ms) |");
        System.out.println("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |");
        var outages = new Outages();
        for (long millis : lengths) {
            for (Way way : Way.values()) {
                for (String pool : List.of("nanopool", "HikariCP", "Agroal")) {
                    outages.measure(way, Duration.ofMillis(millis), pool);
                }
            }
        }
        outages.server.close();
    }

    /**
     * What the picture shows, from the lines that {@link #main} prints, which is the sum over all ways for each length
     * that is shorter than the callers' patience.
     */
    static Table failures(List<String> lines) {
        var table = new Table("length", FAILURES);
        Map<List<String>, Double> sums = new LinkedHashMap<>();
        for (String line : lines.subList(2, lines.size())) { // after the head
            String[] cells = line.split("\\s*\\|\\s*");
            String length = cells[1].substring(0, cells[1].indexOf(','));
            if (Double.parseDouble(length.replace(" s", "")) >= PATIENCE.toSeconds()) continue;
            double failed = Stream.of(cells[4], cells[5])
                    .mapToDouble(cell -> Double.parseDouble(cell.replace(",", "")))
                    .sum();
            sums.merge(List.of(length, cells[2]), failed, Double::sum);
        }
        sums.forEach((key, failed) -> table.add(key.get(0), contender(key.get(1)), 1, Map.of(FAILURES, failed)));
        return table;
    }

    private static Contender contender(String name) {
        return Stream.of(Contender.values())
                .filter(contender -> contender.toString().startsWith(name))
                .findFirst()
                .orElseThrow();
    }

    /** A pool with its end. */
    record Started(DataSource source, AutoCloseable pool) {}

    static Started start(String pool, String url) throws SQLException {
        return start(pool, TestServer.jdbc(url) + "&sslmode=disable", SIZE, PATIENCE);
    }

    /** Starts a pool of that name with what its documentation recommends, the size and the patience. */
    static Started start(String pool, String jdbc, int size, Duration patience) throws SQLException {
        return switch (pool) {
            case "HikariCP" -> {
                var config = new HikariConfig();
                config.setJdbcUrl(jdbc);
                config.setMaximumPoolSize(size);
                config.setConnectionTimeout(patience.toMillis());
                var hikari = new HikariDataSource(config);
                yield new Started(hikari, hikari);
            }
            case "Agroal" -> {
                AgroalDataSource agroal = AgroalDataSource.from(new AgroalDataSourceConfigurationSupplier()
                        .connectionPoolConfiguration(config -> config.initialSize(size)
                                .minSize(size)
                                .maxSize(size)
                                .acquisitionTimeout(patience)
                                .exceptionSorter(new PostgreSQLExceptionSorter()) // else it keeps broken connections
                                .connectionFactoryConfiguration(factory -> factory.jdbcUrl(jdbc))));
                yield new Started(agroal, agroal);
            }
            default -> {
                Pool nanopool = Pool.create(PoolConfig.builder(jdbc)
                        .tls(TlsMode.DISABLE)
                        .size(size)
                        .acquireTimeout(patience)
                        .build());
                yield new Started(nanopool.dataSource(), nanopool);
            }
        };
    }

    private void measure(Way way, Duration length, String name) throws Exception {
        calls.clear();
        serving.clear();
        endedNanos = Long.MAX_VALUE;
        isOver = false;
        // Agroal's callers spin on all carriers while its pool is empty, so that the proxy needs other threads.
        try (var proxy =
                new FaultProxy(server.url(), Thread.ofPlatform().daemon().factory())) {
            Started started = start(name, proxy.url());
            List<Thread> callers = new ArrayList<>();
            for (int i = 0; i < CALLERS; i++) callers.add(Thread.ofVirtual().start(() -> call(started.source)));
            pause(BEFORE);
            long begun = System.nanoTime();
            begin(way, proxy);
            pause(length.minusNanos(System.nanoTime() - begun));
            end(way, proxy);
            endedNanos = System.nanoTime();
            await(() -> serving.size() >= SIZE || System.nanoTime() - endedNanos > MOST.toNanos());
            pause(Duration.ofSeconds(1));
            isOver = true;
            for (Thread caller : callers) caller.join();
            started.pool.close();
            print(way, length, name);
        }
    }

    private void begin(Way way, FaultProxy proxy) throws Exception {
        switch (way) {
            case CUT_AND_REFUSED -> {
                proxy.refuse();
                proxy.now(Fault.RST);
            }
            case BLACK_HOLE -> proxy.blackHole();
            default -> server.stop(Stop.valueOf(way.name()));
        }
    }

    private void end(Way way, FaultProxy proxy) throws Exception {
        switch (way) {
            case CUT_AND_REFUSED -> proxy.listen();
            case BLACK_HOLE -> proxy.heal();
            default -> {
                server.startAgain();
                await(server::isAnswering);
            }
        }
    }

    private void print(Way way, Duration length, String name) {
        long longest = calls.stream()
                .mapToLong(call -> (call.isLeased() ? call.leasedNanos : call.endNanos) - call.startNanos)
                .max()
                .orElseThrow();
        List<Long> first = serving.values().stream().sorted().toList();
        System.out.printf(
                "| %.1f s, %s | %s | %,d | %,d | %d | %,d | %s | %s |%n",
                length.toMillis() / 1_000.0,
                way.name().toLowerCase(Locale.ROOT).replace('_', ' '),
                name,
                calls.size(),
                count(call -> !call.isServed && !call.isLeased()),
                count(call -> !call.isServed && call.isLeased()),
                TimeUnit.NANOSECONDS.toMillis(longest),
                first.isEmpty() ? "never" : millis(first.getFirst()),
                first.size() < SIZE ? "never" : millis(first.get(SIZE - 1)));
    }

    private String millis(long nanos) {
        return "%,d".formatted(TimeUnit.NANOSECONDS.toMillis(nanos - endedNanos));
    }

    private long count(Predicate<Call> which) {
        return calls.stream().filter(which).count();
    }

    private void call(DataSource pool) {
        while (!isOver) {
            long start = System.nanoTime();
            long leased = 0;
            boolean served = false;
            try (Connection connection = pool.getConnection();
                    Statement statement = connection.createStatement()) {
                leased = System.nanoTime();
                statement.execute("SELECT pg_sleep(0.005)");
                served = true;
                if (System.nanoTime() > endedNanos) {
                    int pid = connection.unwrap(PGConnection.class).getBackendPID();
                    serving.putIfAbsent(pid, System.nanoTime());
                }
            } catch (SQLException e) {
                served = false; // which is what is measured
            }
            calls.add(new Call(start, leased, System.nanoTime(), served));
            if (!served) pause(PAUSE);
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
