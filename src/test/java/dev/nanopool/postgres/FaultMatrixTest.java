package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;

import dev.nanopool.Pool;
import dev.nanopool.PoolExhaustedException;
import dev.nanopool.TestAccess;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.EmbeddedServer;
import dev.nanopool.testkit.FaultProxy;
import dev.nanopool.testkit.FaultProxy.Fault;
import dev.nanopool.testkit.FaultProxy.Message;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.Stopwatch;
import dev.nanopool.testkit.TestServer;
import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.SQLNonTransientConnectionException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.postgresql.PGConnection;

/**
 * Each step of a lease, crossed with each thing that can go wrong there. The table says what the caller gets and when,
 * and what becomes of the connections. Afterwards the pool is in balance, and at no time has the server had more
 * sessions than the pool may have.
 */
class FaultMatrixTest extends PoolTestBase {
    private static final int SIZE = 2;
    private static final Duration SLOW = Duration.ofMillis(200);
    private static final Duration DEADLINE = Duration.ofSeconds(1);

    /** The deadline of a caller that is to be answered before it. */
    private static final Duration PATIENCE = Duration.ofSeconds(20);

    /**
     * A cell says what the caller gets, when, and what becomes of the connections.
     *
     * <p>What: {@code served}; an SQLState; or {@code DOWN} and {@code HOLDERS}, 08001 with the verdict DATABASE_DOWN and
     * SLOW_HOLDERS. When: {@code soon}, with the opening of a connection if need be; {@code slow}, after what is slow; or at
     * the {@code deadline}. The connections that were open before are all {@code kept}; or at least one is {@code replaced};
     * or the pool is {@code closed}. None was open in the rows CONNECT and LOGIN: a {@code new} one can be had once the
     * trouble is over. If the pool may hope for a connection, the caller waits until its deadline; credentials that are
     * refused (LOGIN ERROR) are thrown at once. From Java 25 on an interrupt cancels the statement of a virtual thread.
     */
    private static final String TABLE = """
                 | ERROR                | SLOW                 | SILENT                  | CUT                  | INTERRUPT            | POOL_CLOSED
        WAIT     | served soon kept     | served slow kept     | HOLDERS deadline kept   | served soon replaced | 08000 soon kept      | 08003 soon closed
        CONNECT  | DOWN deadline new    | served slow new      | DOWN deadline new       | DOWN deadline new    | 08000 soon new       | 08003 soon closed
        LOGIN    | DOWN soon new        | served slow new      | DOWN deadline new       | DOWN deadline new    | 08000 soon new       | 08003 soon closed
        VALIDATE | served soon replaced | served slow kept     | DOWN deadline replaced  | served soon replaced | 08000 soon kept      | 08003 soon closed
        USE      | 22012 soon kept      | served slow kept     | 08006 deadline replaced | 08006 soon replaced  | USED_INTERRUPT       | 08006 soon closed
        RESET    | served soon replaced | served slow kept     | DOWN deadline replaced  | served soon replaced | served soon kept     | 08003 soon closed
        CLOSE    | served soon replaced | served soon replaced | served soon replaced    | served soon replaced | served soon replaced | 08003 soon closed
        """;

    /** What is done. */
    enum Step {
        /**
         * All connections are leased. Trouble is the holders' doing, so it does not concern the waiter if they give
         * back.
         */
        WAIT,
        /** The server is reached. An error means that no server listens. */
        CONNECT,
        /** The server gets the password. */
        LOGIN,
        /** All were idle for so long that the server is asked. */
        VALIDATE,
        /**
         * A statement. If the server is silent the client's own network timeout ends it, because the pool knows no
         * bound.
         */
        USE,
        /** All were given back with something to undo, which the pool does in the background; then the caller comes. */
        RESET,
        /** All were given back to be closed; then the caller comes. What the server makes of a farewell does not matter. */
        CLOSE;

        /** Whether trouble comes at this message. */
        boolean isAt(Message message) {
            return switch (this) {
                case WAIT -> false;
                case CONNECT -> message.type() == Message.ACCEPTED;
                case LOGIN -> message.isPassword();
                case VALIDATE -> message.isProbe();
                case USE -> message.isStatement("used");
                case RESET -> message.isStatement("RESET");
                case CLOSE -> message.type() == Message.TERMINATE;
            };
        }

        /** What an error is there. */
        Fault error() {
            return switch (this) {
                case LOGIN -> Fault.fatal("28P01");
                case VALIDATE, CLOSE -> Fault.fatal("57P01");
                case USE -> Fault.error("22012");
                case WAIT, CONNECT, RESET -> Fault.error("XX000");
            };
        }

        boolean beginsEmpty() {
            return this == CONNECT || this == LOGIN;
        }

        boolean isAfterTheLease() {
            return this == RESET || this == CLOSE;
        }
    }

    enum Trouble {
        ERROR,
        SLOW,
        SILENT,
        CUT,
        INTERRUPT,
        POOL_CLOSED;

        /** What befalls the message of that step, or null if nothing does. */
        @Nullable
        Fault fault(Step step) {
            return switch (this) {
                case ERROR -> step.error();
                case SLOW -> Fault.slow(FaultMatrixTest.SLOW);
                case SILENT -> step == Step.LOGIN ? Fault.UNANSWERED : Fault.SILENT;
                case CUT -> Fault.RST;
                // A caller that is to be interrupted, or closed upon, must be kept there; a statement takes its time by
                // itself.
                case INTERRUPT -> step.isAfterTheLease() || step == Step.USE ? null : LONG;
                case POOL_CLOSED -> step == Step.USE ? null : LONG;
            };
        }

        private static final Fault LONG = Fault.slow(FaultMatrixTest.SLOW.multipliedBy(5));
    }

    enum When {
        SOON(Duration.ZERO),
        SLOW(FaultMatrixTest.SLOW),
        DEADLINE(FaultMatrixTest.DEADLINE);

        final Duration after;

        When(Duration after) {
            this.after = after;
        }
    }

    enum Fate {
        KEPT,
        REPLACED,
        NEW,
        CLOSED
    }

    /** What a caller gets, and when. */
    private record Answer(String what, long nanos) {}

    static Stream<Arguments> cells() {
        boolean isCancelled = Runtime.version().feature() >= 25;
        String table = TABLE.replace("USED_INTERRUPT", isCancelled ? "57014 soon kept" : "08006 soon replaced");
        List<String[]> rows =
                table.lines().map(line -> line.strip().split("\\s*\\|\\s*")).toList();
        return rows.stream()
                .skip(1)
                .flatMap(row -> IntStream.range(1, row.length).mapToObj(i -> {
                    String[] cell = row[i].split(" ");
                    return Arguments.of(
                            Step.valueOf(row[0]),
                            Trouble.valueOf(rows.getFirst()[i]),
                            cell[0],
                            When.valueOf(cell[1].toUpperCase(Locale.ROOT)),
                            Fate.valueOf(cell[2].toUpperCase(Locale.ROOT)));
                }));
    }

    private static final EmbeddedServer SERVER =
            EmbeddedServer.start(builder -> builder.setDataDirectoryCustomizer(FaultMatrixTest::writeRules));
    private static final Duration CANCEL = Duration.ofMillis(500); // for which a cancel may be on its way
    private static final Map<String, Duration> LATEST = new TreeMap<>();

    private static void writeRules(File data) {
        try {
            Files.writeString(data.toPath().resolve("pg_hba.conf"), """
                    host all app samehost scram-sha-256
                    host all all samehost trust
                    """);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @BeforeAll
    static void start() throws SQLException {
        try (Connection direct = SERVER.direct()) {
            TestServer.execute(direct, "CREATE ROLE app LOGIN PASSWORD 'secret'");
        }
    }

    @AfterAll
    static void stop() throws Exception {
        System.getLogger("dev.nanopool.test").log(System.Logger.Level.INFO, "latest: " + LATEST);
        SERVER.close();
    }

    @Override
    protected String server() {
        return SERVER.url("app:secret");
    }

    @ParameterizedTest(name = "{0} {1}: {2} {3} {4}")
    @MethodSource("cells")
    void everyStepMustEndAsTheTableSays(Step step, Trouble trouble, String what, When when, Fate fate)
            throws Exception {
        boolean isOpened = what.equals("served") && fate == Fate.REPLACED;
        Duration allowed = isOpened ? TOLERANCE.plus(TOLERANCE) : TOLERANCE;
        Late late = happen(step, trouble, what, when, fate);
        // Where other programs want the processor, too, lateness may be theirs, so the best of three counts.
        for (int i = 0; i < 2 && late.ofThePool().compareTo(allowed) > 0; i++)
            late = happen(step, trouble, what, when, fate);
        LATEST.merge(
                isOpened ? "opened" : when.name(), late.by, (one, other) -> one.compareTo(other) > 0 ? one : other);
        assertThat(late.ofThePool()).as("later than " + when.after).isLessThanOrEqualTo(allowed);
    }

    /** How much later than the table says, and how much of that the machine may have added. */
    private record Late(Duration by, Duration ofTheMachine) {
        Duration ofThePool() {
            return by.minus(ofTheMachine);
        }
    }

    /** One cell; returns how much later it was than the table says. */
    private Late happen(Step step, Trouble trouble, String what, When when, Fate fate) throws Exception {
        FaultProxy proxy = proxy();
        Pool pool = open(config(proxy)
                .size(SIZE)
                .minIdle(step.beginsEmpty() ? 0 : SIZE)
                .connectTimeout(deadline(when).multipliedBy(2)));
        var isOver = new CountDownLatch(1);
        // Until a late farewell arrives, the server counts a session that the pool has closed.
        boolean isCounted = step != Step.CLOSE || trouble != Trouble.SLOW;
        if (isCounted) threads.start(() -> watchSessions(pool.stats().name(), isOver));
        try (var stopwatch = Stopwatch.start()) {
            List<Connection> held = step.beginsEmpty() ? List.of() : leaseAll(pool);
            Set<Integer> before = pids(held);
            prepare(step, trouble, held, pool, proxy);

            var caller = new FutureTask<Answer>(() -> call(pool, step, trouble, deadline(when)));
            long begin = System.nanoTime();
            Thread thread = Thread.ofVirtual().start(caller);
            if (step == Step.WAIT) Await.until("it waits", () -> pool.stats().pending() == 1);
            long event = bringAbout(step, trouble, held, pool, proxy, thread);
            Answer answer = caller.get(60, TimeUnit.SECONDS);
            for (Connection client : held) client.close();

            assertThat(answer.what).isEqualTo(what);
            long since = when == When.SOON ? Math.max(begin, event) : begin;
            Duration took = Duration.ofNanos(answer.nanos - since);
            var late = new Late(took.minus(when.after), stopwatch.allowing(Duration.ZERO));
            if (when != When.SOON) assertThat(took).isGreaterThanOrEqualTo(when.after);
            proxy.heal();
            if (step == Step.CONNECT && trouble == Trouble.ERROR) proxy.listen();
            check(fate, before, pool);
            if (trouble == Trouble.INTERRUPT)
                assertThat(pool.stats().lost()).as("blames the database").isZero();
            return late;
        } finally {
            isOver.countDown();
        }
    }

    private static Duration deadline(When when) {
        return when == When.DEADLINE ? DEADLINE : PATIENCE;
    }

    private static List<Connection> leaseAll(Pool pool) throws SQLException {
        List<Connection> clients = new ArrayList<>();
        for (int i = 0; i < SIZE; i++) clients.add(pool.client());
        return clients;
    }

    private static Set<Integer> pids(List<Connection> clients) throws SQLException {
        Set<Integer> pids = new HashSet<>();
        for (Connection client : clients)
            pids.add(client.unwrap(PGConnection.class).getBackendPID());
        return pids;
    }

    /** Up to the point where the caller comes. */
    private static void prepare(Step step, Trouble trouble, List<Connection> held, Pool pool, FaultProxy proxy)
            throws Exception {
        if (step == Step.WAIT) return;
        List<Consumer<Duration>> aging = new ArrayList<>();
        for (Connection client : held) {
            aging.add(TestAccess.aging(client));
            if (step == Step.RESET) TestServer.execute(client, "SET work_mem = '2MB'");
            if (step == Step.CLOSE) pool.retire(client);
        }
        if (step == Step.CONNECT && trouble == Trouble.ERROR) proxy.refuse();
        Fault fault = trouble.fault(step);
        if (fault != null) proxy.at(step::isAt, fault);
        boolean interrupted = step.isAfterTheLease() && trouble == Trouble.INTERRUPT;
        if (interrupted) Thread.currentThread().interrupt();
        try (var stopwatch = Stopwatch.start()) {
            for (Connection client : held) client.close();
            assertThat(stopwatch.elapsed()).as("giving back").isLessThan(stopwatch.allowing(TOLERANCE));
        }
        assertThat(Thread.interrupted()).as("interrupt flag").isEqualTo(interrupted);
        if (step == Step.VALIDATE) aging.forEach(age -> age.accept(Duration.ofSeconds(31)));
        if (step == Step.CLOSE && trouble == Trouble.POOL_CLOSED) pool.close();
    }

    /** What happens while the caller is there. Returns when it did; 0 means before. */
    private static long bringAbout(
            Step step, Trouble trouble, List<Connection> held, Pool pool, FaultProxy proxy, Thread caller)
            throws Exception {
        long now;
        if (trouble == Trouble.INTERRUPT && !step.isAfterTheLease()) {
            pause(SLOW);
            now = System.nanoTime();
            caller.interrupt();
        } else if (trouble == Trouble.POOL_CLOSED && step != Step.CLOSE) {
            pause(SLOW);
            now = System.nanoTime();
            try (var stopwatch = Stopwatch.start()) {
                pool.close(Duration.ZERO);
                assertThat(stopwatch.elapsed())
                        .as("closing the pool")
                        .isLessThan(stopwatch.allowing(TOLERANCE.plus(CANCEL)));
            }
        } else if (step == Step.WAIT && trouble != Trouble.SILENT) {
            if (trouble == Trouble.SLOW) pause(SLOW);
            if (trouble == Trouble.CUT) proxy.now(Fault.RST);
            for (Connection client : held) {
                String expected = trouble == Trouble.CUT ? "08006" : trouble == Trouble.ERROR ? "22012" : "";
                assertThat(sqlState(client, trouble == Trouble.ERROR ? "SELECT 1 / 0" : "SELECT 1"))
                        .isEqualTo(expected);
            }
            now = System.nanoTime();
            for (Connection client : held) client.close();
        } else {
            now = 0;
        }
        return now;
    }

    private static void pause(Duration time) throws Exception {
        long start = System.nanoTime();
        Await.until("time has passed", () -> System.nanoTime() - start >= time.toNanos());
    }

    private static String sqlState(Connection client, String sql) {
        try {
            TestServer.query(client, sql);
            return "";
        } catch (SQLException e) {
            return e.getSQLState();
        }
    }

    private static Answer call(Pool pool, Step step, Trouble trouble, Duration deadline) {
        String what;
        try (Connection client = pool.client(deadline)) {
            if (step == Step.USE && trouble == Trouble.SILENT) {
                client.setNetworkTimeout(Runnable::run, (int) DEADLINE.toMillis());
            }
            boolean isLong = trouble.fault(Step.USE) == null && step == Step.USE;
            TestServer.query(client, isLong ? "SELECT 'used', pg_sleep(60)" : "SELECT 'used'");
            what = "served";
        } catch (SQLException e) {
            what = what(e);
            boolean isExplained = trouble == Trouble.SILENT || e.getCause() != null;
            if (what.equals("DOWN") && !isExplained) what = "DOWN without a cause";
        }
        long end = System.nanoTime();
        boolean isInterrupted = trouble == Trouble.INTERRUPT && !step.isAfterTheLease();
        return new Answer(Thread.interrupted() == isInterrupted ? what : what + ", flag changed", end);
    }

    /** The table's word for an exception of the right type. */
    private static String what(SQLException e) {
        String state = e.getSQLState();
        if (e instanceof PoolExhaustedException exhausted && state.equals("08001")) {
            return switch (exhausted.verdict()) {
                case DATABASE_DOWN -> "DOWN";
                case SLOW_HOLDERS -> "HOLDERS";
                default -> exhausted.verdict().name();
            };
        }
        return state.equals("08003") && !(e instanceof SQLNonTransientConnectionException) ? e.toString() : state;
    }

    private static void check(Fate fate, Set<Integer> before, Pool pool) throws Exception {
        if (fate == Fate.CLOSED) {
            assertThat(pool.stats().closed()).isEqualTo(pool.stats().opened());
            assertThat(pool.stats().opening()).isZero();
            return;
        }
        awaitBalance(pool);
        List<Connection> clients = leaseAll(pool);
        Set<Integer> after = pids(clients);
        for (Connection client : clients) {
            assertThat(sqlState(client, "SELECT 1")).isEmpty();
            client.close();
        }
        if (fate == Fate.KEPT) assertThat(after).isEqualTo(before);
        else assertThat(after.containsAll(before)).isEqualTo(before.isEmpty());
    }

    /** As the server counts them. */
    private static void watchSessions(String name, CountDownLatch isOver) throws Exception {
        try (Connection direct = SERVER.direct();
                PreparedStatement count = direct.prepareStatement(
                        "SELECT count(*) FROM pg_stat_activity WHERE application_name = '" + name + "'")) {
            while (!isOver.await(1, TimeUnit.MILLISECONDS)) {
                assertSessionsAtMost(SIZE, () -> count(count));
            }
        }
    }

    private static int count(PreparedStatement count) throws SQLException {
        try (ResultSet row = count.executeQuery()) {
            row.next();
            return row.getInt(1);
        }
    }
}
