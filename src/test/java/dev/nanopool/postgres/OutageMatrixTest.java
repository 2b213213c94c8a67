package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;

import dev.nanopool.Pool;
import dev.nanopool.PoolExhaustedException;
import dev.nanopool.PoolExhaustedException.Verdict;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.EmbeddedServer;
import dev.nanopool.testkit.EmbeddedServer.Stop;
import dev.nanopool.testkit.FaultProxy;
import dev.nanopool.testkit.FaultProxy.Fault;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.Stopwatch;
import dev.nanopool.testkit.TestServer;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.postgresql.PGConnection;

/**
 * Outages of every kind and length under 100 callers. {@code -Dnanopool.outages=full} takes the whole lengths, with callers
 * that wait for five seconds; else long outages are shortened, and so is the patience.
 */
class OutageMatrixTest extends PoolTestBase {
    private static final int CALLERS = 100;
    private static final int SIZE = 10;
    private static final boolean FULL =
            System.getProperty("nanopool.outages", "").equals("full");
    private static final Duration BEFORE = Duration.ofMillis(200);
    private static final Duration AFTER = Duration.ofMillis(200);
    /** Until it is full again; beside the other tests the machine may have other things to do. */
    private static final Duration RECOVERY = FULL ? Duration.ofMillis(500) : Duration.ofSeconds(5);

    private static final Duration AT_ONCE = Duration.ofMillis(20);
    private static final Duration PAUSE = Duration.ofMillis(5);
    private static final Duration PATIENCE = Duration.ofSeconds(5);

    private static final EmbeddedServer SERVER = EmbeddedServer.start();

    @AfterAll
    static void stop() throws Exception {
        SERVER.close();
    }

    @Override
    protected String server() {
        return SERVER.url();
    }

    enum Way {
        REFUSED,
        CUT_AND_REFUSED,
        BLACK_HOLE,
        FAST,
        IMMEDIATE,
        CRASH;

        boolean isOfTheServer() {
            return compareTo(FAST) >= 0;
        }

        void begin(FaultProxy proxy) throws Exception {
            switch (this) {
                case REFUSED -> proxy.refuse();
                case CUT_AND_REFUSED -> {
                    proxy.refuse();
                    proxy.now(Fault.RST);
                }
                case BLACK_HOLE -> proxy.blackHole();
                default -> SERVER.stop(Stop.valueOf(name()));
            }
        }

        /** Returns when the server answers through the proxy. */
        void end(FaultProxy proxy) throws Exception {
            switch (this) {
                case REFUSED, CUT_AND_REFUSED -> proxy.listen();
                case BLACK_HOLE -> proxy.heal();
                default -> {
                    SERVER.startAgain();
                    Await.until("the server answers", SERVER::isAnswering);
                }
            }
        }
    }

    /** A call; the process id is that of its connection, 0 if it had none. */
    private record Call(int pid, @Nullable SQLException failure, long startNanos, long waitedNanos) {
        boolean isRefused() {
            return failure != null && pid == 0;
        }
    }

    private final Queue<Call> calls = new ConcurrentLinkedQueue<>();
    private volatile boolean isOver;

    /** Leases, asks and gives back until the test is over; a failure does not stop it. */
    private void call(Pool pool, Duration patience) {
        while (!isOver) {
            long start = System.nanoTime();
            long waited = 0;
            int pid = 0;
            SQLException failure = null;
            try (Connection client = pool.client(patience)) {
                waited = System.nanoTime() - start;
                pid = client.unwrap(PGConnection.class).getBackendPID();
                TestServer.query(client, "SELECT pg_sleep(0.005)");
            } catch (SQLException e) {
                if (waited == 0) waited = System.nanoTime() - start;
                failure = e;
            }
            calls.add(new Call(pid, failure, start, waited));
            if (failure != null) Await.pause(PAUSE);
        }
    }

    /** What a run has shown, its times in nanoseconds. The outage lasted longer by {@code lateAtEnd}, which is part of {@code late}. */
    private record Run(long begun, long ended, Duration recovery, Duration late, Duration lateAtEnd) {}

    private Run run(Way way, Duration length, Duration patience, Pool pool, FaultProxy proxy) throws Exception {
        for (int i = 0; i < CALLERS; i++) threads.start(() -> call(pool, patience));
        try (var stopwatch = Stopwatch.start()) {
            Await.pause(BEFORE);
            assertThat(calls).noneMatch(call -> call.failure != null);
            long begun = System.nanoTime();
            way.begin(proxy);
            Duration lateAtEnd = stopwatch.allowing(Duration.ZERO);
            for (Duration left = length; left.isPositive(); ) {
                lateAtEnd = stopwatch.allowing(Duration.ZERO);
                left = length.plus(lateAtEnd).minusNanos(System.nanoTime() - begun);
                if (left.isPositive()) Await.pause(left);
            }
            way.end(proxy);
            long ended = System.nanoTime();
            Await.until(
                    "the pool is full",
                    () -> pool.stats().active() + pool.stats().idle() == SIZE);
            Duration recovery = Duration.ofNanos(System.nanoTime() - ended);
            long served = calls.size();
            Await.until("callers are served", () -> calls.size() > served + CALLERS);
            Await.pause(AFTER);
            return new Run(begun, ended, recovery, stopwatch.allowing(Duration.ZERO), lateAtEnd);
        } finally {
            isOver = true;
            threads.join();
        }
    }

    private List<Call> refused() {
        return calls.stream().filter(Call::isRefused).toList();
    }

    /** Each connection fails in the hand of the caller that had it when the outage began, and of no other. */
    private void assertFailuresAreThoseInFlight() {
        List<Call> inUse = calls.stream()
                .filter(call -> call.failure != null && call.pid != 0)
                .toList();
        assertThat(inUse).extracting(Call::pid).doesNotHaveDuplicates();
        assertThat(inUse).hasSizeLessThanOrEqualTo(SIZE);
    }

    private void report(Way way, Duration length, Run run) {
        long longest = calls.stream().mapToLong(Call::waitedNanos).max().orElse(0);
        System.getLogger("dev.nanopool.test")
                .log(
                        System.Logger.Level.INFO,
                        "%s of %s: %d calls, %d failed with a connection, %d without; longest wait %d ms; full %d ms after the end"
                                .formatted(
                                        way,
                                        length,
                                        calls.size(),
                                        calls.stream()
                                                .filter(call -> call.failure != null && call.pid != 0)
                                                .count(),
                                        refused().size(),
                                        longest / 1_000_000,
                                        run.recovery.toMillis()));
    }

    static Stream<Arguments> shortOnes() {
        Stream<Duration> lengths = FULL
                ? Stream.of(Duration.ofMillis(300), Duration.ofMillis(1_500), Duration.ofMillis(4_500))
                : Stream.of(Duration.ofMillis(300), Duration.ofMillis(1_500));
        return lengths.flatMap(length -> Stream.of(Way.values()).map(way -> Arguments.of(way, length)));
    }

    // An outage that is shorter than the callers' patience costs no call but those that were in flight when it began.
    @ParameterizedTest
    @MethodSource("shortOnes")
    void shortOutageMustCostNoCaller(Way way, Duration length) throws Exception {
        FaultProxy proxy = proxy();
        Pool pool = open(config(proxy).size(SIZE));
        // A server needs some time to start, which counts.
        boolean isTight = way.isOfTheServer() && length.compareTo(Duration.ofSeconds(4)) > 0;
        Run run = run(way, isTight ? length.minusSeconds(1) : length, PATIENCE, pool, proxy);
        report(way, length, run);
        Duration lasted = Duration.ofNanos(run.ended - run.begun).plus(run.recovery);
        assertThat(lasted).as("the outage that was to be short").isLessThan(PATIENCE.plus(run.late));
        assertThat(refused()).isEmpty();
        assertFailuresAreThoseInFlight();
        assertThat(run.recovery).isLessThan(RECOVERY.plus(run.late));
    }

    static Stream<Way> thatLast() {
        // Where only new connections are refused, those that are open go on serving.
        return Stream.of(Way.values()).filter(way -> FULL ? way != Way.REFUSED : way != Way.REFUSED && way != Way.FAST);
    }

    // An outage that is longer than the patience costs each caller that time once, and later callers nothing. They are
    // refused at once, with the driver's reason, until the server is back.
    @ParameterizedTest
    @MethodSource("thatLast")
    void longOutageMustBeReported(Way way) throws Exception {
        Duration patience = FULL ? PATIENCE : Duration.ofMillis(600);
        Duration length =
                FULL ? Duration.ofSeconds(15) : patience.plus(TOLERANCE).plusMillis(700);
        boolean isSilent = way == Way.BLACK_HOLE; // so that only time-outs tell of it
        // Beside the other tests a login may take more than 300 ms.
        Duration timeout = Duration.ofMillis(!isSilent ? 2_000 : FULL ? 300 : 600);
        FaultProxy proxy = proxy();
        Pool pool = open(config(proxy)
                .size(SIZE)
                .connectTimeout(timeout)
                .outagePatience(patience)
                .driverProperty("socketTimeout", isSilent ? "1" : "0"));
        Run run = run(way, isSilent ? length.plusSeconds(2) : length, patience, pool, proxy);
        report(way, length, run);
        assertFailuresAreThoseInFlight();
        assertThat(calls)
                .allSatisfy(call -> assertThat(Duration.ofNanos(call.waitedNanos))
                        .as("waited")
                        .isLessThan(patience.plus(TOLERANCE).plus(run.late)));
        // The socketTimeout, and a cancel that does not get through.
        long noticed = run.begun + Duration.ofMillis(isSilent ? 1_500 : 0).toNanos();
        long declared = noticed + patience.plus(TOLERANCE).plus(run.lateAtEnd).toNanos();
        List<Call> later = refused().stream()
                .filter(call -> call.startNanos > declared && call.startNanos < run.ended)
                .toList();
        assertThat(later).isNotEmpty();
        assertThat(later).allSatisfy(call -> {
            assertThat(Duration.ofNanos(call.waitedNanos)).isLessThan(AT_ONCE.plus(run.late));
            Throwable failure = call.failure;
            assertThat(failure)
                    .isInstanceOfSatisfying(
                            PoolExhaustedException.class,
                            e -> assertThat(e.verdict()).isEqualTo(Verdict.DATABASE_DOWN))
                    .hasMessageMatching(
                            "(?s).*; the database has let no connection in for \\d+ ms; last open failed .*")
                    .hasCauseInstanceOf(SQLException.class);
        });
        Duration pause = FULL ? Duration.ofSeconds(1) : Duration.ZERO; // of the probe, after five seconds
        assertThat(run.recovery)
                .isLessThan(RECOVERY.plus(pause)
                        .plus(Duration.ofMillis(isSilent ? 300 : 0))
                        .plus(run.late));
    }
}
