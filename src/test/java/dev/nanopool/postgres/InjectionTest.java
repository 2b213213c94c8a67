package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;

import dev.nanopool.Pool;
import dev.nanopool.testkit.EmbeddedServer;
import dev.nanopool.testkit.InjectingLoader;
import dev.nanopool.testkit.InjectingLoader.Trial;
import dev.nanopool.testkit.Injection;
import dev.nanopool.testkit.Injection.Category;
import dev.nanopool.testkit.Injection.Fault;
import dev.nanopool.testkit.Injection.Point;
import dev.nanopool.testkit.Stopwatch;
import dev.nanopool.testkit.TestServer;
import java.sql.Connection;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.Comparator;
import java.util.Deque;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.logging.Handler;
import java.util.logging.Level;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import java.util.stream.Collectors;
import jdk.jfr.FlightRecorder;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * Throws at each call that the pool makes to other code, which is the log, the listener, the credentials, threads, the
 * clock, sockets, and the driver. The test finds these calls itself. The exception may reach the caller whose call it
 * is, and a thread of the pool may log it as {@code bug:} and count it. It must cost no permit, no connection and no
 * waiter, without the audit's help.
 */
@Tag("server")
class InjectionTest {
    /** On how many of the paths to it each call throws each kind. All take about five minutes. */
    private static final int PATHS = Integer.getInteger("nanopool.inject.paths", 1);

    /** How many faults are armed in one trial. */
    private static final int TOGETHER = Integer.getInteger("nanopool.inject.together", 24);

    private static final int SIZE = 2;
    private static final int ROUNDS = 3; // that find the points, because which are reached depends on the time, too
    private static final Duration PATIENCE = Duration.ofSeconds(4);

    private static EmbeddedServer server;
    private static Connection direct;
    private static final Logger LOGGER = Logger.getLogger("dev.nanopool");

    private final Injection injection = new Injection();
    private final Queue<LogRecord> bugs = new ConcurrentLinkedQueue<>();
    private final Handler handler = new Handler() {
        @Override
        public void publish(LogRecord line) {
            if (String.valueOf(line.getMessage()).contains("bug:")) bugs.add(line);
        }

        @Override
        public void flush() {}

        @Override
        public void close() {}
    };
    private ClassLoader loader;
    private int trials;

    @BeforeAll
    static void startServer() throws Exception {
        FlightRecorder.getFlightRecorder(); // else the pool makes none of its events, which can throw
        server = EmbeddedServer.start();
        direct = server.direct();
    }

    @AfterAll
    static void stopServer() throws Exception {
        direct.close();
        server.close();
    }

    // Each fault strikes once, and afterwards permits, connections and waiters balance.
    @Test
    @Timeout(1_800)
    void poolMustBalanceWhenAnyCallThrows() throws Exception {
        Level level = LOGGER.getLevel();
        boolean isPassedOn = LOGGER.getUseParentHandlers();
        LOGGER.setLevel(Level.ALL);
        LOGGER.setUseParentHandlers(false);
        LOGGER.addHandler(handler);
        injection.install();
        try (var stopwatch = Stopwatch.start()) {
            loader = new InjectingLoader(injection, Pool.class);
            throwEverywhere(stopwatch);
        } finally {
            injection.uninstall();
            LOGGER.removeHandler(handler);
            LOGGER.setUseParentHandlers(isPassedOn);
            LOGGER.setLevel(level);
        }
    }

    private void throwEverywhere(Stopwatch stopwatch) throws Exception {
        List<String> complaints = new ArrayList<>();
        List<Fault> all = new ArrayList<>();
        Collection<Point> points = find();
        for (Point point : points) point.kinds().forEach(kind -> all.add(new Fault(point, kind)));
        assertThat(points.stream().map(point -> point.site().category()))
                .as("all categories are found")
                .contains(Category.values());
        all.sort(Comparator.comparing(Fault::toString));
        Collections.shuffle(all, new Random(12)); // each run of this test throws in the same order
        Map<Object, Integer> paths = new HashMap<>();
        Set<Fault> open = new LinkedHashSet<>(all);
        open.removeIf(fault -> paths.merge(List.of(fault.point().site(), fault.kind()), 1, Integer::sum) > PATHS);
        int wanted = open.size();
        // A fault may keep another one from being reached, so those that are left are tried again in smaller company.
        for (int together = TOGETHER; together >= 4 && !open.isEmpty(); together /= 2) {
            Deque<Fault> queue = new ArrayDeque<>(open);
            while (!queue.isEmpty()) {
                List<Fault> next = new ArrayList<>();
                while (next.size() < together && !queue.isEmpty()) next.add(queue.remove());
                Set<Fault> thrown = attempt(next, complaints);
                open.removeAll(thrown);
                // A start that fails ends the trial before the others are reached.
                if (thrown.size() == 1) next.stream().filter(open::contains).forEach(queue::add);
            }
        }
        Map<Category, Long> perCategory = points.stream()
                .collect(Collectors.groupingBy(p -> p.site().category(), TreeMap::new, Collectors.counting()));
        System.out.printf(
                "%d calls in the code, %d sites and %d points reached %s; %d faults, %d thrown in %d trials, %d ms%n",
                injection.siteCount(),
                points.stream().map(Point::site).distinct().count(),
                points.size(),
                perCategory,
                wanted,
                wanted - open.size(),
                trials,
                stopwatch.elapsed().toMillis());
        assertThat(complaints).isEmpty();
        assertThat(open.size()).as("faults that no trial reaches again").isLessThan(wanted / 5 + 1);
    }

    private Collection<Point> find() throws Exception {
        injection.record();
        for (int i = 0; i < ROUNDS; i++) assertThat(complaint(List.of())).isEmpty();
        return injection.recorded();
    }

    /** Throws these; if the pool is out of balance then, each of them alone, to tell which it is. */
    private Set<Fault> attempt(List<Fault> faults, List<String> complaints) throws Exception {
        String complaint = complaint(faults);
        Set<Fault> thrown = lastThrown;
        if (!complaint.isEmpty()) {
            List<String> alone = new ArrayList<>();
            for (Fault fault : thrown) {
                String own = complaint(List.of(fault));
                if (!own.isEmpty()) alone.add(fault + ": " + own);
            }
            String report = "%n%s%n  %s"
                    .formatted(
                            alone.isEmpty() ? "together only: " + complaint : "",
                            alone.isEmpty()
                                    ? thrown.stream().map(Fault::toString).collect(Collectors.joining("\n  "))
                                    : String.join("\n  ", alone));
            System.out.println(report);
            complaints.add(report);
        }
        return thrown;
    }

    private Set<Fault> lastThrown = Set.of();

    /** One trial. Returns what is wrong after it. */
    private String complaint(List<Fault> faults) throws Exception {
        String name = "inject-" + ++trials;
        bugs.clear();
        Trial trial = (Trial) loader.loadClass("dev.nanopool.postgres.InjectionTrial")
                .getConstructor(String.class, String.class, Connection.class)
                .newInstance(name, "postgresql://localhost:" + server.port() + "/" + EmbeddedServer.DATABASE, direct);
        String complaint = "";
        injection.arm(faults);
        try {
            trial.run();
        } catch (AssertionError e) {
            complaint = e.getMessage() + (e.getCause() == null ? "" : ": " + e.getCause());
        } finally {
            lastThrown = injection.disarm();
        }
        Throwable notOpened = trial.notOpened();
        if (notOpened != null && faults.isEmpty()) throw new AssertionError("the pool cannot be opened", notOpened);
        if (notOpened == null) {
            if (complaint.isEmpty()) complaint = state(trial, name);
            trial.close();
        }
        if (complaint.isEmpty()) complaint = await("sessions left", () -> sessionsBeyond(0, name));
        if (complaint.isEmpty()) complaint = await("units left", trial::unitsLeft);
        if (complaint.isEmpty()) complaint = await("threads left", () -> threadsOf(name));
        if (complaint.isEmpty()) complaint = foreignBugs();
        return complaint;
    }

    private String state(Trial trial, String name) throws Exception {
        trial.settle();
        String complaint = await("imbalance", trial::imbalance);
        if (!complaint.isEmpty()) return complaint;
        try {
            trial.leaseAll();
        } catch (Exception e) {
            return "cannot lease all: " + e;
        }
        complaint = await("imbalance after all were leased", trial::imbalance);
        return complaint.isEmpty() ? await("sessions", () -> sessionsBeyond(SIZE + 1, name)) : complaint;
    }

    private static String sessionsBeyond(int most, String name) throws Exception {
        int sessions = Integer.parseInt(TestServer.query(
                direct,
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = '" + name
                        + "' OR application_name LIKE '" + name + "-%'"));
        return sessions <= most ? "" : sessions + " sessions on the server instead of " + most;
    }

    private static String threadsOf(String name) {
        return Thread.getAllStackTraces().keySet().stream()
                .map(Thread::getName)
                .filter(thread -> thread.startsWith("nanopool-" + name + "-"))
                .collect(Collectors.joining(", "));
    }

    /** Bugs that were logged for another reason than an injected throwable. The audit's repairs are among them. */
    private String foreignBugs() {
        return bugs.stream()
                .filter(line -> !Injection.isInjected(line.getThrown()))
                .map(line -> line.getMessage() + " " + line.getThrown())
                .collect(Collectors.joining("; "));
    }

    private interface Complaint {
        @Nullable
        String get() throws Exception;
    }

    /** As {@code Await}, without an exception, and for a shorter time, because the audit needs 2 s to repair. */
    private static String await(String what, Complaint complaint) throws Exception {
        long deadline = System.nanoTime() + PATIENCE.toNanos();
        String last = complaint.get();
        while (last != null && !last.isEmpty()) {
            if (System.nanoTime() - deadline > 0) return what + ": " + last;
            LockSupport.parkNanos(TimeUnit.MILLISECONDS.toNanos(2));
            last = complaint.get();
        }
        return "";
    }
}
