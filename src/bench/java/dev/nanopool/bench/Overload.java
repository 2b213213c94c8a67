package dev.nanopool.bench;

import dev.nanopool.PoolExhaustedException;
import dev.nanopool.bench.Outages.Started;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.LongAdder;
import java.util.concurrent.locks.LockSupport;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.LongStream;
import javax.sql.DataSource;
import javax.tools.ToolProvider;

/**
 * An open loop at 150 % of what 8 connections can do. Each call holds its connection for a statement of 4 ms and waits 1 s for
 * it. Arguments: a contender, the URL, the seconds.
 */
public final class Overload {
    static final String PROSE = """
            An open loop at 150 % of the capacity of 8 connections; each call holds its connection for a statement of 4 ms, and
            waits for it for 1 s. The capacity is measured before, by 16 callers in a closed loop. "wasted": the share of all
            waiting that calls spent that got no connection. "wrong": the share of the calls refused at their arrival at whose
            place in the line a connection was handed over within their patience, so that they would have had their turn even
            though all callers before them had been served. "no refusal at arrival" is the same pool without that line.""";

    private static final int SIZE = 8;
    private static final Duration PATIENCE = Duration.ofSeconds(1);
    private static final double LOAD = 1.5;
    private static final Pattern PLACE = Pattern.compile("place (\\d+) in the line, which would");

    private final Queue<Call> calls = new ConcurrentLinkedQueue<>();
    private final DataSource pool;

    /** @param place in the line of a call that was refused at its arrival; 0 for any other */
    private record Call(long startNanos, long waitedUntilNanos, boolean isServed, int place) {
        long waitedNanos() {
            return waitedUntilNanos - startNanos;
        }
    }

    private Overload(DataSource pool) {
        this.pool = pool;
    }

    /** Prints the result as {@link Load} does. */
    public static void main(String[] arguments) throws Exception {
        Contender contender = Contender.valueOf(arguments[0]);
        String name = contender.name().startsWith("NANOPOOL")
                ? "nanopool"
                : contender.toString().replaceAll(" .*", "");
        Started started = Outages.start(name, arguments[1], SIZE, PATIENCE);
        Overload overload = new Overload(started.source());
        double unused = overload.capacity(4); // compiles the code
        double capacity = overload.capacity(3);
        overload.calls.clear();
        overload.print(capacity, overload.open(capacity * LOAD, Double.parseDouble(arguments[2])));
        System.exit(0); // threads of rivals may live on
    }

    /** The classes of a pool that knows no pace, so that it refuses no call at its arrival. They go before the pool's own. */
    static Path withoutRefusal() throws IOException {
        Path classes = Files.createTempDirectory("nanopool-bench");
        String text = Files.readString(Path.of("src/main/java/dev/nanopool/queue/Pace.java"));
        String patient = text.replace("return isStill ? 0 : now.interval;", "return isStill ? 0 : 0;");
        if (patient.equals(text)) throw new IllegalStateException("Pace.java has another line");
        Path source = Files.writeString(classes.resolve("Pace.java"), patient);
        int failed = ToolProvider.getSystemJavaCompiler()
                .run(null, null, null, "-nowarn", "-proc:none", "-d", classes.toString(), source.toString());
        if (failed != 0) throw new IllegalStateException("Pace.java does not compile");
        return classes;
    }

    private void call() {
        long start = System.nanoTime();
        try (Connection connection = pool.getConnection()) {
            calls.add(new Call(start, System.nanoTime(), true, 0));
            try (Statement statement = connection.createStatement()) {
                statement.execute("SELECT pg_sleep(0.004)");
            }
        } catch (SQLException e) {
            Matcher place = PLACE.matcher(String.valueOf(e.getMessage()));
            boolean isEarly = e instanceof PoolExhaustedException && place.find();
            calls.add(new Call(start, System.nanoTime(), false, isEarly ? Integer.parseInt(place.group(1)) : 0));
        }
    }

    /** How many calls the connections can serve in a second. */
    private double capacity(int seconds) throws InterruptedException {
        LongAdder served = new LongAdder();
        long end = System.nanoTime() + Duration.ofSeconds(seconds).toNanos();
        List<Thread> callers = new ArrayList<>();
        for (int i = 0; i < 2 * SIZE; i++) {
            callers.add(Thread.startVirtualThread(() -> {
                while (System.nanoTime() < end) {
                    call();
                    served.increment();
                }
            }));
        }
        for (Thread caller : callers) caller.join();
        return served.doubleValue() / seconds;
    }

    /** Returns how long it took, in seconds, without the calls that were left at its end. */
    private double open(double rate, double seconds) throws InterruptedException {
        List<Thread> callers = new ArrayList<>();
        long start = System.nanoTime();
        for (long i = 0; i < (long) (rate * seconds); i++) {
            long early = start + (long) (i * 1e9 / rate) - System.nanoTime();
            if (early > 0) LockSupport.parkNanos(early);
            callers.add(Thread.startVirtualThread(this::call));
        }
        double took = (System.nanoTime() - start) / 1e9;
        for (Thread caller : callers) caller.join();
        return took;
    }

    private void print(double capacity, double seconds) {
        long end = calls.stream().mapToLong(Call::startNanos).max().orElseThrow();
        long served = calls.stream()
                .filter(call -> call.isServed && call.waitedUntilNanos <= end)
                .count();
        long[] waits = sorted(calls.stream().filter(Call::isServed).mapToLong(Call::waitedNanos));
        long[] refused = sorted(calls.stream().filter(call -> !call.isServed).mapToLong(Call::waitedNanos));
        long[] turns = sorted(calls.stream().filter(Call::isServed).mapToLong(Call::waitedUntilNanos));
        List<Call> early = calls.stream().filter(call -> call.place > 0).toList();
        long wrong = early.stream().filter(call -> hadItsTurn(call, turns)).count();
        double wasted = Arrays.stream(refused).asDoubleStream().sum();
        Map<String, Double> metrics = new LinkedHashMap<>();
        metrics.put("capacity/s", capacity);
        metrics.put("served/s", served / seconds);
        metrics.put("served / capacity", served / seconds / capacity);
        metrics.put("served, wait p50 ms", percentile(waits, 50));
        metrics.put("p99 ms", percentile(waits, 99));
        metrics.put("refused/s", refused.length / seconds);
        metrics.put("refused after p50 ms", percentile(refused, 50));
        metrics.put("refused p99 ms", percentile(refused, 99));
        metrics.put(
                "wasted %",
                100 * wasted / (wasted + Arrays.stream(waits).asDoubleStream().sum()));
        long[] atOnce = sorted(early.stream().mapToLong(Call::waitedNanos));
        metrics.put("at arrival/s", atOnce.length / seconds);
        metrics.put("after p50 ms", percentile(atOnce, 50));
        metrics.put("after p99 ms", percentile(atOnce, 99));
        metrics.put("wrong %", early.isEmpty() ? 0 : 100.0 * wrong / early.size());
        StringBuilder line = new StringBuilder(Load.RESULT).append("\t150 %");
        metrics.forEach(
                (name, value) -> line.append('\t').append(name).append('=').append(value));
        System.out.println(line);
    }

    private static long[] sorted(LongStream nanos) {
        return nanos.sorted().toArray();
    }

    private static double percentile(long[] sorted, int percent) {
        return sorted.length == 0 ? 0 : sorted[Math.min(sorted.length - 1, sorted.length * percent / 100)] / 1e6;
    }

    /** Whether, within the call's patience, as many connections were handed over as callers stood before it, and one more. */
    private static boolean hadItsTurn(Call call, long[] turns) {
        int found = Arrays.binarySearch(turns, call.startNanos);
        int last = (found < 0 ? -1 - found : found) + call.place - 1;
        return last < turns.length && turns[last] <= call.startNanos + PATIENCE.toNanos();
    }
}
