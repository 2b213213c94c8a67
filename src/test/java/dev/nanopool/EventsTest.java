package dev.nanopool;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;

import dev.nanopool.PoolExhaustedException.Holder;
import dev.nanopool.PoolExhaustedException.Verdict;
import dev.nanopool.sql.Change;
import java.io.EOFException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.Proxy;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.logging.Handler;
import java.util.logging.Level;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** What the counters, the log and the listener make of each event. */
class EventsTest {
    @SuppressWarnings("StaticAssignmentOfThrowable") // it is never thrown
    private static final Throwable CAUSE = new SQLException("cause");

    @SuppressWarnings("StaticAssignmentOfThrowable") // it is never thrown
    private static final Throwable HOST = new SQLException("to db:5432 refused", CAUSE);

    private static final Phases PHASES = Phases.of("db:5432", "18.6", 1, 2, 9, 3);
    private static final Holder HOLDER = new Holder("main", Duration.ofMillis(3), List.of());

    /**
     * One event, and what becomes of it.
     *
     * @param counter the counter that grows by one; empty if none does
     * @param level the level of the log; OFF if it is not logged
     * @param line what the line of the log contains
     * @param told the methods of the listener
     */
    private record Row(Event event, String counter, Level level, String line, List<String> told) {
        Row(Event event, String counter, Level level, String line, String... told) {
            this(event, counter, level, line, List.of(told));
        }
    }

    private static PoolExhaustedException exhausted() {
        var stats = new PoolStats(
                new PoolStats.Gauges("p", 1, 1, 1, 0, 0, 0, 0, 0),
                new Counters().totals(new Histogram(), new Histogram()));
        return new PoolExhaustedException("m", Verdict.LEAK, stats, List.of(), null);
    }

    private static List<Row> table() {
        return List.of(
                new Row(
                        new Event.Opened(7, Duration.ofMillis(5), PHASES, false),
                        "opened",
                        Level.FINE,
                        "(backend 7) in 5 ms",
                        "opened"),
                new Row(
                        new Event.Opened(7, Duration.ofMillis(5), PHASES, true),
                        "opened",
                        Level.INFO,
                        "opened again",
                        "opened"),
                new Row(new Event.OpenFailed(CAUSE, true), "", Level.WARNING, "failed: cause", "openFailed"),
                new Row(new Event.OpenFailed(HOST, false), "", Level.FINE, "to db:5432 refused (cause)", "openFailed"),
                new Row(new Event.OpenFailed(CAUSE, false), "", Level.FINE, "failed: cause", "openFailed"),
                new Row(
                        new Event.OpenFailed(new SQLException("failed", new IllegalStateException("s3same")), false),
                        "",
                        Level.FINE,
                        "failed (IllegalStateException)",
                        "openFailed"),
                new Row(new Event.Withheld(2, 5, true), "", Level.WARNING, "2 of 5 connections"),
                new Row(new Event.Withheld(2, 5, false), "", Level.FINE, "2 of 5 connections"),
                new Row(
                        new Event.OutageBegan("db:5432", HOST),
                        "",
                        Level.WARNING,
                        "at db:5432 lets no connection in: to db:5432 refused (cause)"),
                new Row(new Event.OutageBegan("db:5432", CAUSE), "", Level.WARNING, "no connection in: cause"),
                new Row(
                        new Event.OutageBegan("db:5432", new SQLException("failed", new EOFException())),
                        "",
                        Level.WARNING,
                        "no connection in: failed (EOFException)"),
                new Row(
                        new Event.OutageDeclared(HOST, 5_000_000_000L),
                        "",
                        Level.WARNING,
                        "for 5000 ms, so callers are refused at once: to db:5432 refused (cause)"),
                new Row(
                        new Event.OutageEnded(CAUSE, 5_500_000_000L, 7),
                        "",
                        Level.INFO,
                        "again, after 5500 ms; 7 callers were refused"),
                new Row(
                        new Event.OutageForgotten(CAUSE, 1_500_000_000L, 7),
                        "",
                        Level.INFO,
                        "after 1500 ms without a new connection"),
                new Row(new Event.Lost(7, null), "lost", Level.FINE, "lost (backend 7): the server or the network"),
                new Row(new Event.Lost(7, CAUSE), "lost", Level.FINE, "cause"),
                new Row(
                        new Event.Cancelled(7, Duration.ofMillis(2)),
                        "cancelled",
                        Level.FINE,
                        "cancels a statement (backend 7)",
                        "cancelled"),
                new Row(new Event.Unexplained("line"), "", Level.WARNING, "line"),
                new Row(new Event.Doubted("why"), "", Level.WARNING, "why: asking all"),
                new Row(new Event.Reset("what", Duration.ofMillis(2)), "resets", Level.OFF, ""),
                new Row(new Event.Waited(new Object(), "OVERLOAD"), "", Level.OFF, ""),
                new Row(new Event.Held(new Object(), 7, Thread.currentThread()), "", Level.OFF, ""),
                new Row(
                        new Event.GivenUp(7, CloseReason.ABORTED, Duration.ofMillis(2)),
                        "",
                        Level.FINE,
                        "statement given up (backend 7): "),
                new Row(new Event.ServiceFailed("reset", CAUSE), "", Level.FINE, "reset failed"),
                new Row(new Event.ClosingFailed(CAUSE), "", Level.FINE, "closing a connection failed"),
                new Row(
                        new Event.Closed(7, CloseReason.RETIRED, Duration.ofMillis(9), 0, null),
                        "closed",
                        Level.FINE,
                        "retired",
                        "closed"),
                new Row(
                        new Event.Closed(7, CloseReason.SERVER_TIMEOUT, Duration.ofMillis(9), 0, CAUSE),
                        "closed",
                        Level.INFO,
                        "(backend 7): ended by a timeout of the server: cause",
                        "closed"),
                new Row(
                        new Event.Closed(7, CloseReason.LOST, Duration.ofMillis(9), 0, CAUSE),
                        "closed",
                        Level.FINE,
                        "lost",
                        "lost",
                        "closed"),
                new Row(
                        new Event.Started(System.Logger.Level.INFO, PHASES, "db:5432", 2, 10, Duration.ofMillis(84)),
                        "",
                        Level.INFO,
                        "started in 84 ms: 2 of 10 connections are open; db:5432, PostgreSQL 18.6, TLS"),
                new Row(
                        new Event.Started(
                                System.Logger.Level.INFO,
                                Phases.of("db:5432", "18.6", 1, 0, 9, 3),
                                "",
                                1,
                                1,
                                Duration.ofMillis(84)),
                        "",
                        Level.INFO,
                        "PostgreSQL 18.6, without TLS"),
                new Row(
                        new Event.Started(System.Logger.Level.DEBUG, null, "a:1, b:2", 0, 10, Duration.ofMillis(0)),
                        "",
                        Level.FINE,
                        "started in 0 ms: 0 of 10 connections are open; a:1, b:2"),
                new Row(new Event.OldDriver("what"), "", Level.WARNING, "what"),
                new Row(new Event.Stopped(0, Duration.ofMillis(7)), "", Level.INFO, "in 7 ms: all leases had ended"),
                new Row(new Event.Stopped(3, Duration.ofMillis(7)), "", Level.INFO, "in 7 ms: 3 leases were cut off"),
                new Row(
                        new Event.Numbers(new PoolStats(
                                new PoolStats.Gauges("orders", 3, 2, 1, 0, 0, 0, 0, 0),
                                new Counters().totals(new Histogram(), new Histogram()))),
                        "",
                        Level.FINE,
                        "PoolStats[name=orders, size=3, minIdle=2, active=1"),
                new Row(
                        new Event.JmxFailed(CAUSE),
                        "",
                        Level.WARNING,
                        "JMX does not show the pool: java.sql.SQLException: cause"),
                new Row(new Event.NotClosed(3), "", Level.WARNING, "3 connections"),
                new Row(new Event.NotEnded("t"), "", Level.WARNING, "thread t"),
                new Row(new Event.Leaked(HOLDER, true, false), "leaked", Level.WARNING, "3 ms ago", "leaked"),
                new Row(new Event.Leaked(HOLDER, true, true), "", Level.WARNING, "by thread main", "leaked"),
                new Row(new Event.Leaked(HOLDER, false, false), "leaked", Level.WARNING, "may be", "leaked"),
                new Row(
                        new Event.TransactionLeftOpen("site", "secret", true),
                        "leftOpen",
                        Level.WARNING,
                        "closed at site",
                        "transactionLeftOpen"),
                new Row(new Event.TransactionLeftOpen("site", "secret", false), "leftOpen", Level.FINE, "at site"),
                new Row(
                        new Event.SharedSessionChanged(Change.TEMP, "else", "site"),
                        "",
                        Level.WARNING,
                        "changes its session (temp), "),
                new Row(
                        new Event.SharedSessionChanged(Change.UNKNOWN, "else", "site"),
                        "",
                        Level.WARNING,
                        "write else; at site"),
                new Row(new Event.Exhausted(exhausted(), true), "timeouts", Level.OFF, "", "exhausted"),
                new Row(new Event.Exhausted(exhausted(), false), "rejected", Level.OFF, "", "exhausted"),
                new Row(new Event.RefusedClosed(), "rejected", Level.OFF, ""),
                new Row(new Event.Bug("what", CAUSE), "bugs", Level.SEVERE, "bug: what"));
    }

    private final Logger logger = Logger.getLogger("dev.nanopool");
    private final List<LogRecord> records = new ArrayList<>();
    private final List<String> told = new ArrayList<>();
    private @Nullable Level levelBefore;
    private volatile @Nullable Throwable failing; // what the handler of the log throws

    private final Handler handler = new Handler() {
        @Override
        public void publish(LogRecord published) {
            records.add(published);
            if (failing != null) EventsTest.<RuntimeException>sneak(failing);
        }

        @Override
        public void flush() {}

        @Override
        public void close() {}
    };

    @SuppressWarnings({"unchecked", "TypeParameterUnusedInFormals"}) // throws what need not be declared
    private static <T extends Throwable> void sneak(Throwable thrown) throws T {
        throw (T) thrown;
    }

    @BeforeEach
    void listen() {
        levelBefore = logger.getLevel();
        logger.setLevel(Level.ALL);
        logger.setUseParentHandlers(false);
        logger.addHandler(handler);
    }

    @AfterEach
    void restore() {
        logger.removeHandler(handler);
        logger.setUseParentHandlers(true);
        logger.setLevel(levelBefore);
    }

    private PoolListener listener(@Nullable Throwable thrown) {
        return (PoolListener) Proxy.newProxyInstance(
                PoolListener.class.getClassLoader(),
                new Class<?>[] {PoolListener.class},
                (proxy, method, arguments) -> {
                    told.add(method.getName());
                    if (thrown != null) throw thrown;
                    return null;
                });
    }

    /** All counters, found by reflection. */
    private static Map<String, Long> counts(Counters counters) throws Exception {
        Map<String, Long> counts = new TreeMap<>();
        for (Method method : Counters.class.getDeclaredMethods()) {
            if (method.getReturnType() != long.class || method.getParameterCount() > 0) continue;
            if (Modifier.isStatic(method.getModifiers())) continue;
            counts.put(method.getName(), (long) method.invoke(counters));
        }
        return counts;
    }

    @SuppressWarnings("ReferenceEquality") // a constant
    private void check(Row row, Events events) throws Exception {
        Map<String, Long> expected = counts(events.counters());
        if (!row.counter.isEmpty()) expected.merge(row.counter, 1L, Long::sum);
        records.clear();
        told.clear();
        assertThatCode(() -> events.happened(row.event)).as("%s", row.event).doesNotThrowAnyException();
        assertThat(counts(events.counters())).as("%s", row.event).isEqualTo(expected);
        assertThat(told)
                .as("%s", row.event)
                .isEqualTo(row.told.subList(0, told.size()))
                .hasSameSizeAs(row.told);
        if (row.level == Level.OFF) return;
        LogRecord line = records.get(0);
        assertThat(line.getLevel()).as("%s", row.event).isEqualTo(row.level);
        assertThat(line.getMessage()).startsWith("orders: ").contains(row.line).doesNotContain("secret");
    }

    // Each type of event has a row, and each row becomes true.
    @Test
    @SuppressWarnings("ReferenceEquality") // a constant
    void eventMustReachItsSinks() throws Exception {
        assertThat(table().stream().map(row -> (Object) row.event.getClass()).distinct())
                .containsExactlyInAnyOrderElementsOf(Arrays.asList((Object[]) Event.class.getPermittedSubclasses()));
        for (Row row : table()) {
            check(row, new Events("orders", listener(null)));
            assertThat(records).as("%s", row.event).hasSize(row.level == Level.OFF ? 0 : 1);
        }
    }

    // Each method of the listener is in a row.
    @Test
    void everyMethodOfTheListenerMustBeCalled() {
        assertThat(table().stream().flatMap(row -> row.told.stream()).distinct())
                .containsExactlyInAnyOrderElementsOf(Arrays.stream(PoolListener.class.getDeclaredMethods())
                        .map(Method::getName)
                        .toList());
    }

    // A log that cannot even say what it logs is as one that logs nothing, to the pool and to the caller.
    @Test
    void logThatCannotTellItsLevelMustStopNeitherTheOthersNorTheCaller() throws Exception {
        var broken = (System.Logger) Proxy.newProxyInstance(
                System.Logger.class.getClassLoader(),
                new Class<?>[] {System.Logger.class},
                (proxy, method, arguments) -> {
                    throw new IllegalStateException("injected");
                });
        for (Row row : table()) {
            var events = new Events("orders", listener(null), broken);
            assertThat(events.isLogged(System.Logger.Level.ERROR)).isFalse();
            check(new Row(row.event, row.counter, Level.OFF, "", row.told), events);
        }
    }

    // If the listener or a handler of the log throws, or both, the other sinks get the event. The caller, which may be
    // between a permit and its connection, does not see the failure.
    @Test
    void sinkThatThrowsMustStopNeitherTheOthersNorTheCaller() throws Exception {
        List<Throwable> failures = List.of(
                new IllegalStateException("injected"),
                new Exception("injected and not declared"),
                new OutOfMemoryError("injected"),
                new StackOverflowError("injected"),
                new AssertionError("injected"),
                new LinkageError("injected"));
        for (Throwable failure : failures) {
            for (Row row : table()) {
                failing = null;
                check(row, new Events("orders", listener(failure)));
                failing = failure;
                check(row, new Events("orders", listener(null)));
                check(row, new Events("orders", listener(failure)));
            }
        }
    }
}
