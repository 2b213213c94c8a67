package dev.nanopool.bench;

import com.sun.management.OperatingSystemMXBean;
import dev.nanopool.bench.Contender.Settings;
import dev.nanopool.bench.Contender.Source;
import java.lang.management.ManagementFactory;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import java.util.function.ToLongFunction;
import java.util.stream.IntStream;
import org.HdrHistogram.Histogram;
import org.HdrHistogram.Recorder;

/**
 * The load driver. It puts one contender under one kind of load, in a JVM of its own that {@link Bench} starts. Each
 * method named in {@link #run} is one kind; each line of its output that starts with {@link #RESULT} is one point
 * measured.
 */
public final class Load {
    static final String RESULT = "RESULT";

    private static final OperatingSystemMXBean SYSTEM =
            (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
    private static final int MOST_OUTSTANDING = 1_000_000; // requests of the open loop, to bound the memory
    private static final long DRAIN_SECONDS = 10; // for what still waits when the open loop's time is over

    private final Contender contender;
    private final Settings settings;
    private final double seconds;
    private final Recorder waits = new Recorder(TimeUnit.MINUTES.toNanos(10), 3);
    private final AtomicReference<Throwable> failure = new AtomicReference<>();

    private Load(Contender contender, Settings settings, double seconds) {
        this.contender = contender;
        this.settings = settings;
        this.seconds = seconds;
    }

    /** Arguments: kind, contender, URL, size, checks, maximum lifetime, seconds for each point, points (name=value). */
    public static void main(String[] arguments) throws Exception {
        Settings settings = new Settings(
                arguments[2],
                Integer.parseInt(arguments[3]),
                Boolean.parseBoolean(arguments[4]),
                Duration.parse(arguments[5]));
        Load load = new Load(Contender.valueOf(arguments[1]), settings, Double.parseDouble(arguments[6]));
        Map<String, Integer> points = new LinkedHashMap<>();
        for (String point : List.of(arguments).subList(7, arguments.length)) {
            int equals = point.indexOf('=');
            points.put(point.substring(0, equals), Integer.valueOf(point.substring(equals + 1)));
        }
        int status = 1;
        try {
            load.run(arguments[0], points);
            status = 0;
        } catch (Exception e) {
            System.out.println(e + ", cause: " + e.getCause()); // for the program that started this one
        } finally {
            System.exit(status); // threads of rivals may live on
        }
    }

    private void run(String kind, Map<String, Integer> points) throws Exception {
        switch (kind) {
            case "closed" -> closed(points);
            case "saturated" -> saturated(points);
            case "open" -> open(points, "SELECT 1");
            case "rotation" -> open(points, "SELECT pg_backend_pid()");
            case "rows" -> rows();
            case "startup" -> startup();
            case "waiting" -> waiting(points);
            case "growth" -> growth(points);
            default -> throw new IllegalArgumentException(kind);
        }
    }

    // In the closed loop, each of so many callers borrows, asks for 1, gives back, and so on.

    private enum Phase {
        WARM_UP,
        MEASURED,
        OVER
    }

    private volatile Phase phase = Phase.WARM_UP;
    private volatile String sql = "SELECT 1";
    private final Set<Integer> answers = ConcurrentHashMap.newKeySet();

    private void closed(Map<String, Integer> points) throws Exception {
        try (Source pool = contender.open(settings)) {
            double warmUp = 2 + seconds; // compiles the code, which is another one where callers have to wait
            for (var point : points.entrySet()) closed(pool, point.getKey(), point.getValue(), warmUp);
        }
    }

    private void closed(Source pool, String point, int callers, double warmUp) throws Exception {
        List<Source> sources = new ArrayList<>(List.of(pool)); // of the callers, in turn
        int threads = callers;
        if (contender == Contender.RAW) {
            threads = Math.min(callers, settings.size());
            while (sources.size() < threads) sources.add(contender.start(settings));
        }
        int[] served = new int[threads];
        // By short-lived callers, and on all branches, because a method that is compiled while a thread is in it, or
        // turns out to be compiled with too little in mind, is interpreted by that thread to its end.
        int fewLeases = Math.clamp(20_000 / threads, 1, 50);
        for (double end = System.nanoTime() + warmUp * 1e9; System.nanoTime() < end; ) {
            phase = phase == Phase.WARM_UP ? Phase.MEASURED : Phase.WARM_UP;
            join(callers(sources, served, fewLeases), pool, 100);
        }
        phase = Phase.WARM_UP;
        Arrays.fill(served, 0);
        List<FutureTask<?>> tasks = callers(sources, served, Integer.MAX_VALUE);
        sleep(Math.max(1, threads * 30e-6)); // all run
        waits.reset();
        Usage usage = new Usage();
        phase = Phase.MEASURED;
        sleep(seconds);
        phase = Phase.OVER; // a thread that still waits is served, and that wait counts
        usage.end();
        join(tasks, pool, 100);
        for (Source source : sources.subList(1, sources.size())) source.close();

        long total = Arrays.stream(served).asLongStream().sum();
        Map<String, Double> metrics = usage.per(total);
        putWaits(metrics);
        metrics.put("callers / throughput ms", threads * 1e3 * usage.seconds / total);
        metrics.put("served least", (double) Arrays.stream(served).min().orElseThrow());
        metrics.put("most", (double) Arrays.stream(served).max().orElseThrow());
        result(point, metrics);
    }

    private List<FutureTask<?>> callers(List<Source> sources, int[] served, int leases) {
        List<FutureTask<?>> tasks = new ArrayList<>();
        for (int i = 0; i < served.length; i++) {
            int caller = i;
            Source source = sources.get(caller % sources.size());
            tasks.add(inVirtualThread(() -> {
                for (int n = 0; n < leases && phase != Phase.OVER; n++) {
                    if (request(source, System.nanoTime())) served[caller]++;
                }
                return null;
            }));
        }
        return tasks;
    }

    /** One lease. Returns whether it counts, that is, whether it has ended in the measured time. */
    private boolean request(Source source, long intendedNanos) throws Exception {
        Connection connection = source.borrow();
        try {
            if (phase != Phase.WARM_UP) waits.recordValue(System.nanoTime() - intendedNanos);
            if (phase != Phase.OVER) answers.add(ask(connection, sql));
        } finally {
            source.giveBack(connection);
        }
        return phase == Phase.MEASURED;
    }

    private static int ask(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement();
                ResultSet row = statement.executeQuery(sql)) {
            row.next();
            return row.getInt(1);
        }
    }

    // A fresh virtual thread for each request, first as fast as it goes, then at fixed rates.

    private final AtomicInteger outstanding = new AtomicInteger();
    private final AtomicInteger done = new AtomicInteger();

    private void saturated(Map<String, Integer> points) throws Exception {
        var point = points.entrySet().iterator().next();
        try (Source pool = contender.open(settings)) {
            startAll(pool, point.getValue());
            sleep(1 + 2 * seconds);
            waits.reset();
            Usage usage = new Usage();
            phase = Phase.MEASURED;
            sleep(seconds);
            phase = Phase.OVER;
            usage.end();
            drain(pool);
            Map<String, Double> metrics = usage.per(done.get());
            putWaits(metrics);
            result(point.getKey(), metrics);
        }
    }

    private void startAll(Source pool, int count) {
        for (int i = 0; i < count; i++) startNext(pool);
    }

    /** A request that starts the next one when it ends. */
    private void startNext(Source pool) {
        outstanding.incrementAndGet();
        long now = System.nanoTime();
        Thread.startVirtualThread(() -> {
            answer(pool, now);
            if (phase != Phase.OVER) startNext(pool);
        });
    }

    private void answer(Source pool, long intendedNanos) {
        try {
            if (request(pool, intendedNanos)) done.incrementAndGet();
        } catch (Throwable e) {
            failure.compareAndSet(null, e);
        } finally {
            outstanding.decrementAndGet();
        }
    }

    private void open(Map<String, Integer> points, String question) throws Exception {
        sql = question;
        try (Source pool = contender.open(settings)) {
            startAll(pool, 100);
            sleep(2 + seconds); // compiles the code
            phase = Phase.OVER;
            drain(pool);
            for (var point : points.entrySet()) open(pool, point.getKey(), point.getValue());
        }
    }

    private void open(Source pool, String point, int rate) throws Exception {
        phase = Phase.WARM_UP;
        arrivals(pool, rate, 0.5);
        done.set(0);
        waits.reset();
        answers.clear();
        Usage usage = new Usage();
        phase = Phase.MEASURED;
        arrivals(pool, rate, seconds);
        usage.end();
        Map<String, Double> metrics = usage.per(done.get());
        metrics.put("late", (double) outstanding.get());
        drain(pool);
        putWaits(metrics);
        if (answers.size() > 1) metrics.put("connections", (double) answers.size());
        result(point, metrics);
    }

    /** Starts a request at each intended time; late, if the machine is, but none is left out. */
    private void arrivals(Source pool, int rate, double seconds) {
        long start = System.nanoTime();
        long count = (long) (rate * seconds);
        for (long i = 0; i < count && outstanding.get() < MOST_OUTSTANDING; i++) {
            long intended = start + (long) (i * 1e9 / rate);
            for (long early = intended - System.nanoTime(); early > 0; early = intended - System.nanoTime()) {
                LockSupport.parkNanos(early);
            }
            outstanding.incrementAndGet();
            Thread.startVirtualThread(() -> answer(pool, intended));
        }
    }

    /** Waits for the callers that still wait, because their waits count. */
    private void drain(Source pool) throws InterruptedException, TimeoutException {
        long start = System.nanoTime();
        while (outstanding.get() > 0) {
            double waited = (System.nanoTime() - start) / 1e9;
            if (waited > DRAIN_SECONDS) phase = Phase.OVER; // speeds it up, because they ask nothing from now on
            if (waited > 4 * DRAIN_SECONDS) throw new TimeoutException(outstanding + " requests without an answer");
            sleep(0.05);
            if (waited > 1) nudge(pool);
        }
    }

    // The rows of a prepared statement per lease, in turn with the raw driver, which reads the same rows.

    private void rows() throws Exception {
        var reader = RowReader.alone();
        var rawReader = RowReader.alone();
        Recorder rawTimes = new Recorder(TimeUnit.MINUTES.toNanos(10), 3);
        try (Source pool = contender.open(settings);
                Source raw = Contender.RAW.open(settings)) {
            long sum = 0;
            for (long end = System.nanoTime() + (long) 3e9; System.nanoTime() < end; ) {
                sum += rows(pool, reader, waits) - rows(raw, rawReader, rawTimes);
            }
            waits.reset();
            rawTimes.reset();
            for (long end = System.nanoTime() + (long) (2 * seconds * 1e9); System.nanoTime() < end; ) {
                sum += rows(pool, reader, waits) - rows(raw, rawReader, rawTimes);
                sum += rows(raw, rawReader, rawTimes) - rows(pool, reader, waits);
            }
            if (sum != 0) throw new IllegalStateException("the rows differ");
        }
        Histogram times = waits.getIntervalHistogram();
        Histogram rawHistogram = rawTimes.getIntervalHistogram();
        double median = times.getValueAtPercentile(50) / 1e3;
        double rawMedian = rawHistogram.getValueAtPercentile(50) / 1e3;
        Map<String, Double> metrics = new LinkedHashMap<>();
        metrics.put("median us", median);
        metrics.put("raw driver's", rawMedian);
        metrics.put("median / raw", median / rawMedian);
        metrics.put("mean / raw", times.getMean() / rawHistogram.getMean());
        result("1,000 x 5", metrics);
    }

    private static long rows(Source source, ToLongFunction<Connection> reader, Recorder times) throws Exception {
        long start = System.nanoTime();
        Connection connection = source.borrow();
        try {
            return reader.applyAsLong(connection);
        } finally {
            source.giveBack(connection);
            times.recordValue(System.nanoTime() - start);
        }
    }

    // The start-up. As many threads as connections each want one and keep it until all have one.

    private void startup() throws Exception {
        try (Source driver = Contender.RAW.start(settings)) {
            ask(driver.borrow(), sql); // loads what all contenders need, which is the driver, TLS and SCRAM
        }
        long start = System.nanoTime();
        Source pool = contender.start(settings);
        CountDownLatch leased = new CountDownLatch(settings.size());
        List<FutureTask<Long>> tasks = new ArrayList<>();
        for (int i = 0; i < settings.size(); i++) {
            tasks.add(inVirtualThread(() -> {
                Connection connection = pool.borrow();
                ask(connection, sql);
                long usable = System.nanoTime();
                leased.countDown();
                leased.await();
                pool.giveBack(connection);
                return usable - start;
            }));
        }
        join(tasks, pool, 2_000);
        long first = Long.MAX_VALUE;
        long last = 0;
        for (FutureTask<Long> task : tasks) {
            first = Math.min(first, task.get());
            last = Math.max(last, task.get());
        }
        pool.close();
        Map<String, Double> metrics = new LinkedHashMap<>();
        metrics.put("first ms", first / 1e6);
        metrics.put("last ms", last / 1e6);
        result(settings.size() + " connections", metrics);
    }

    // So many callers wait for the only connection. Measures what they cost beyond as many threads that merely park.

    private void waiting(Map<String, Integer> points) throws Exception {
        try (Source pool = contender.open(settings)) {
            // Most of what a waiter costs is its stack, which is smaller once the JIT has compiled all of it.
            for (int i = 0; i < 15; i++) waiting(pool, 20_000, 0.1);
            for (var point : points.entrySet()) result(point.getKey(), waiting(pool, point.getValue(), seconds));
        }
    }

    private Map<String, Double> waiting(Source pool, int callers, double seconds) throws Exception {
        int[] order = new int[callers];
        AtomicInteger begun = new AtomicInteger();
        AtomicInteger served = new AtomicInteger();

        AtomicBoolean released = new AtomicBoolean();
        Thread[] parked = callers(callers, begun, () -> {
            begun.getAndIncrement();
            while (!released.get()) LockSupport.park();
        });
        long parkedBytes = heapBytes();
        released.set(true);
        for (Thread thread : parked) LockSupport.unpark(thread);
        for (Thread thread : parked) thread.join();

        Connection only = pool.borrow();
        begun.set(0);
        Thread[] waiting = callers(callers, begun, () -> {
            int place = begun.getAndIncrement();
            try {
                Connection connection = pool.borrow();
                order[served.getAndIncrement()] = place;
                pool.giveBack(connection);
            } catch (Throwable e) {
                failure.compareAndSet(null, e);
            }
        });
        Map<String, Double> metrics = new LinkedHashMap<>();
        metrics.put("bytes per waiter", (double) (heapBytes() - parkedBytes) / callers);
        Usage usage = new Usage();
        sleep(seconds);
        usage.end();
        metrics.put("CPU % of a core", 100 * usage.cpuSeconds / usage.seconds);
        pool.giveBack(only);
        for (Thread thread : waiting) thread.join();
        metrics.put("served", (double) served.get());
        metrics.put("overtaken", (double)
                IntStream.range(1, callers).filter(i -> order[i] < order[i - 1]).count());
        return metrics;
    }

    // So many callers at once, each of which asks once. Their memory is measured while another caller holds all
    // connections.

    private void growth(Map<String, Integer> points) throws Exception {
        try (Source pool = contender.open(settings)) {
            for (int i = 0; i < 5; i++) growth(pool, 2_000);
            for (var point : points.entrySet()) {
                Map<String, Double> metrics = growth(pool, point.getValue());
                metrics.put("bytes per waiter", bytesPerWaiter(pool, point.getValue()));
                result(point.getKey(), metrics);
            }
        }
    }

    private Map<String, Double> growth(Source pool, int callers) throws Exception {
        Usage usage = new Usage();
        List<FutureTask<Integer>> tasks = new ArrayList<>(callers);
        for (int i = 0; i < callers; i++) tasks.add(inVirtualThread(() -> askOnce(pool)));
        join(tasks, pool, 5_000);
        usage.end();
        Map<String, Double> metrics = new LinkedHashMap<>();
        metrics.put("seconds", usage.seconds);
        metrics.put("CPU us/call", usage.cpuSeconds * 1e6 / callers);
        return metrics;
    }

    private int askOnce(Source pool) throws Exception {
        Connection connection = pool.borrow();
        try {
            return ask(connection, sql);
        } finally {
            pool.giveBack(connection);
        }
    }

    private double bytesPerWaiter(Source pool, int callers) throws Exception {
        List<Connection> all = new ArrayList<>();
        for (int i = 0; i < settings.size(); i++) all.add(pool.borrow());
        long before = heapBytes();
        AtomicInteger begun = new AtomicInteger();
        List<FutureTask<Integer>> tasks = new ArrayList<>(callers);
        for (int i = 0; i < callers; i++) {
            tasks.add(inVirtualThread(() -> {
                begun.incrementAndGet();
                return askOnce(pool);
            }));
        }
        while (begun.get() < callers) sleep(0.01);
        sleep(0.5); // until the last one waits
        long bytes = heapBytes() - before;
        for (Connection connection : all) pool.giveBack(connection);
        join(tasks, pool, 5_000);
        return (double) bytes / callers;
    }

    private static Thread[] callers(int count, AtomicInteger begun, Runnable caller) throws InterruptedException {
        Thread[] threads = new Thread[count];
        for (int i = 0; i < count; i++) threads[i] = Thread.startVirtualThread(caller);
        while (begun.get() < count) sleep(0.01);
        sleep(0.5); // until the last one has parked
        return threads;
    }

    private static long heapBytes() {
        for (int i = 0; i < 3; i++) System.gc();
        return ManagementFactory.getMemoryMXBean().getHeapMemoryUsage().getUsed();
    }

    // What all share

    private static final class Usage {
        private final long startNanos = System.nanoTime();
        private final long startCpuNanos = SYSTEM.getProcessCpuTime();
        double seconds;
        double cpuSeconds; // of this JVM, not of the server

        void end() {
            seconds = (System.nanoTime() - startNanos) / 1e9;
            cpuSeconds = (SYSTEM.getProcessCpuTime() - startCpuNanos) / 1e9;
        }

        Map<String, Double> per(long operations) {
            Map<String, Double> metrics = new LinkedHashMap<>();
            metrics.put("op/s", operations / seconds);
            metrics.put("CPU us/op", cpuSeconds * 1e6 / operations);
            return metrics;
        }
    }

    static <T> FutureTask<T> inVirtualThread(Callable<T> callable) {
        FutureTask<T> task = new FutureTask<>(callable);
        Thread.startVirtualThread(task);
        return task;
    }

    /** Waits until all have ended; whenever one has not after so many milliseconds, gives the pool a nudge. */
    static void join(List<? extends FutureTask<?>> tasks, Source pool, long millis)
            throws InterruptedException, ExecutionException {
        for (FutureTask<?> task : tasks) {
            while (!task.isDone()) {
                try {
                    task.get(millis, TimeUnit.MILLISECONDS);
                } catch (TimeoutException e) {
                    nudge(pool);
                }
            }
            task.get();
        }
    }

    /**
     * Agroal 3.2.1 may leave its last caller waiting although all connections are idle, and the next one that is given
     * back wakes it. The benchmark must end, so it gives one back for every pool when no other thread does.
     */
    private static void nudge(Source pool) {
        Thread.startVirtualThread(() -> {
            try {
                pool.giveBack(pool.borrow());
            } catch (Exception e) {
                throw new IllegalStateException(e); // the thread prints it
            }
        });
    }

    private static void sleep(double seconds) throws InterruptedException {
        Thread.sleep(Duration.ofNanos((long) (seconds * 1e9)));
    }

    private void putWaits(Map<String, Double> metrics) {
        Histogram histogram = waits.getIntervalHistogram();
        metrics.put("wait p50 ms", histogram.getValueAtPercentile(50) / 1e6);
        metrics.put("p99 ms", histogram.getValueAtPercentile(99) / 1e6);
        metrics.put("p99.9 ms", histogram.getValueAtPercentile(99.9) / 1e6);
        metrics.put("max ms", histogram.getMaxValue() / 1e6);
    }

    private void result(String point, Map<String, Double> metrics) {
        if (failure.get() != null) throw new IllegalStateException(failure.get());
        StringBuilder line = new StringBuilder(RESULT).append('\t').append(point);
        metrics.forEach(
                (name, value) -> line.append('\t').append(name).append('=').append(value));
        System.out.println(line);
    }
}
