package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.zaxxer.hikari.HikariDataSource;
import dev.nanopool.CloseReason;
import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import dev.nanopool.PoolListener;
import dev.nanopool.TlsMode;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.Certificates;
import dev.nanopool.testkit.EmbeddedServer;
import dev.nanopool.testkit.FaultProxy;
import dev.nanopool.testkit.FaultProxy.Fault;
import dev.nanopool.testkit.LeaseObjects;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.Stopwatch;
import dev.nanopool.testkit.TestServer;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;

/** What an interrupt does to a statement, its transaction, its connection and the flag of its thread. */
class InterruptTest extends PoolTestBase {
    /** For each kind of thread, with and without TLS. */
    private static final int STATEMENTS = Integer.getInteger("nanopool.interrupts", 100);

    private static final int RIVAL_STATEMENTS = Math.min(STATEMENTS, 1_000);

    private static final int SIZE = 4;
    private static final int ACCOUNTS = 50;
    private static final Duration PROMPT = Duration.ofSeconds(1);
    private static final boolean IS_CANCELLED = Runtime.version().feature() >= 25;
    private static final String EARLIER = "before Java 25 an interrupt of a virtual thread closes its socket";

    @TempDir
    static Path directory = Path.of("");

    private static EmbeddedServer server;

    @BeforeAll
    static void start() throws Exception {
        var certificates = new Certificates(directory);
        certificates.signServer("server");
        server = EmbeddedServer.start(
                builder -> builder.setDataDirectoryCustomizer(data -> install(certificates, data.toPath()))
                        .setServerConfig("ssl", "on"));
        try (Connection direct = server.direct()) {
            TestServer.execute(direct, """
                    CREATE TABLE accounts (id int PRIMARY KEY, amount bigint NOT NULL);
                    INSERT INTO accounts SELECT i, 0 FROM generate_series(0, 49) i;
                    CREATE TABLE rows_in (run int, text text);
                    CREATE TABLE slow (id int);
                    CREATE FUNCTION be_slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1); RETURN NULL; END';
                    CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON slow DEFERRABLE INITIALLY DEFERRED
                        FOR EACH ROW EXECUTE FUNCTION be_slow()
                    """);
        }
    }

    private static void install(Certificates certificates, Path data) {
        try {
            certificates.install("server", data);
            Files.writeString(data.resolve("pg_hba.conf"), "host all all samehost scram-sha-256\n");
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @AfterAll
    static void stop() throws Exception {
        server.close();
    }

    @Override
    protected String server() {
        return server.url();
    }

    private static Thread.Builder builder(boolean isVirtual) {
        return isVirtual ? Thread.ofVirtual() : Thread.ofPlatform();
    }

    /** What a worker executes. Each kind ends by itself if its thread is a platform thread, which nothing cancels. */
    private enum Work {
        SELECT {
            @Override
            void run(Connection client, Worker worker) throws SQLException {
                TestServer.query(client, "SELECT pg_sleep(" + (worker.isVirtual ? "20" : "0.02") + ")");
            }
        },
        SHORT_SELECT {
            @Override
            void run(Connection client, Worker worker) throws SQLException {
                for (int i = 0; i < 20; i++) TestServer.query(client, "SELECT " + i);
            }
        },
        TRANSFER {
            @Override
            void run(Connection client, Worker worker) throws SQLException {
                client.setAutoCommit(false);
                try (PreparedStatement update =
                        client.prepareStatement("UPDATE accounts SET amount = amount + ? WHERE id = ?")) {
                    int from = worker.random.nextInt(ACCOUNTS);
                    int to = worker.random.nextInt(ACCOUNTS);
                    // In one order, so that no two workers wait for each other.
                    change(update, Math.min(from, to), -1);
                    TestServer.query(client, "SELECT pg_sleep(0.002)");
                    change(update, Math.max(from, to), 1);
                    client.commit();
                } catch (SQLException e) {
                    client.rollback();
                    throw e;
                }
            }

            private void change(PreparedStatement update, int account, int amount) throws SQLException {
                update.setInt(1, amount);
                update.setInt(2, account);
                update.executeUpdate();
            }
        },
        COPY_IN {
            @Override
            void run(Connection client, Worker worker) throws SQLException, IOException {
                byte[] rows = ("1\t" + "x".repeat(500) + "\n").repeat(4_000).getBytes(StandardCharsets.US_ASCII);
                long count = copy(client).copyIn("COPY rows_in FROM STDIN", new ByteArrayInputStream(rows));
                assertThat(count).isEqualTo(4_000);
            }
        },
        COPY_OUT {
            @Override
            void run(Connection client, Worker worker) throws SQLException, IOException {
                int rows = worker.isVirtual ? 5_000_000 : 20_000;
                copy(client)
                        .copyOut(
                                "COPY (SELECT repeat('x', 500) FROM generate_series(1, " + rows + ")) TO STDOUT",
                                OutputStream.nullOutputStream());
            }
        },
        BATCH {
            @Override
            void run(Connection client, Worker worker) throws SQLException {
                try (PreparedStatement insert = client.prepareStatement("INSERT INTO rows_in VALUES (?, 'batch')")) {
                    for (int i = 0; i < 2_000; i++) {
                        insert.setInt(1, i);
                        insert.addBatch();
                    }
                    insert.executeBatch();
                }
            }
        },
        CURSOR {
            @Override
            void run(Connection client, Worker worker) throws SQLException {
                client.setAutoCommit(false);
                int rows = worker.isVirtual ? 5_000_000 : 20_000;
                try (Statement statement = client.createStatement()) {
                    statement.setFetchSize(100);
                    try (ResultSet all = statement.executeQuery("SELECT generate_series(1, " + rows + ")")) {
                        while (all.next()) assertThat(all.getInt(1)).isPositive();
                    }
                } finally {
                    client.rollback();
                }
            }
        };

        abstract void run(Connection client, Worker worker) throws SQLException, IOException;

        static CopyManager copy(Connection client) throws SQLException {
            return client.unwrap(PGConnection.class).getCopyAPI();
        }
    }

    /** A pool, ours or another one. */
    private interface Source {
        Connection lease() throws SQLException;
    }

    /** A thread that executes, and that another thread interrupts while it does. */
    private static final class Worker {
        private final List<Work> works = List.of(Work.values());
        private final boolean isVirtual;
        private final Source source;
        private final AtomicLong left;
        private final Random random;
        private final Map<String, Integer> outcomes = new ConcurrentHashMap<>();
        private final FutureTask<Void> task = new FutureTask<>(this::work, null);
        private final Queue<String> complaints;
        private @Nullable Work now; // guarded by this
        private long interruptedNanos; // guarded by this; 0: not
        private long latestNanos;
        private int interrupts;

        Worker(boolean isVirtual, Source source, AtomicLong left, long seed, Queue<String> complaints) {
            this.isVirtual = isVirtual;
            this.source = source;
            this.left = left;
            this.random = new Random(seed);
            this.complaints = complaints;
        }

        private void work() {
            while (left.getAndDecrement() > 0) {
                Work work = works.get(random.nextInt(works.size()));
                try (Connection client = source.lease()) {
                    begin(work);
                    String outcome = outcome(client, work);
                    end(work, outcome);
                    // The next statement of the same lease is a stranger to the interrupt.
                    assertThat(TestServer.query(client, "SELECT 'next'")).isEqualTo("next");
                    client.setAutoCommit(true);
                } catch (SQLException | RuntimeException | AssertionError e) {
                    complaints.add(work + ": " + e);
                }
            }
        }

        private String outcome(Connection client, Work work) {
            try {
                work.run(client, this);
                return "done";
            } catch (SQLException e) {
                return String.valueOf(e.getSQLState());
            } catch (IOException e) {
                return e.toString();
            }
        }

        private synchronized void begin(Work work) {
            now = work;
        }

        private synchronized void end(Work work, String outcome) {
            now = null;
            boolean isFlagged = Thread.interrupted();
            if (isFlagged != (interruptedNanos != 0)) {
                complaints.add("%s ended with %s: interrupted %s, flag %s"
                        .formatted(work, outcome, interruptedNanos != 0, isFlagged));
            }
            if (isFlagged) {
                interrupts++;
                latestNanos = Math.max(latestNanos, System.nanoTime() - interruptedNanos);
            }
            boolean isCancelled = outcome.equals("57014");
            if (!outcome.equals("done") && !(isCancelled && isFlagged && isVirtual)) {
                complaints.add("%s ended with %s".formatted(work, outcome));
            }
            outcomes.merge(work + " " + outcome, 1, Integer::sum);
            interruptedNanos = 0;
        }

        /** Interrupts the thread if it executes, and has not been interrupted. */
        synchronized void interrupt(Thread thread) {
            if (now == null || interruptedNanos != 0) return;
            interruptedNanos = System.nanoTime();
            thread.interrupt();
        }
    }

    // Random interrupts of statements of all kinds: the connections stay, each statement ends soon and with its flag,
    // and transactions are whole or absent.
    @ParameterizedTest(name = "virtual {0}, TLS {1}")
    @CsvSource({"true, false", "true, true", "false, false", "false, true"})
    @Timeout(1_800)
    void interruptMustKeepTheConnection(boolean isVirtual, boolean isTls) throws Exception {
        assumeTrue(!isVirtual || IS_CANCELLED, EARLIER);
        long seed = Long.getLong("nanopool.seed", System.nanoTime());
        System.getLogger("dev.nanopool.test").log(System.Logger.Level.INFO, "nanopool.seed=" + seed);
        PoolConfig.Builder config = config().size(SIZE).tls(isTls ? TlsMode.REQUIRE : TlsMode.DISABLE);
        Pool pool = open(config);
        Queue<String> complaints = new ConcurrentLinkedQueue<>();
        try (var stopwatch = Stopwatch.start()) {
            List<Worker> workers = interruptWorkers(
                    isVirtual, () -> pool.client(Duration.ofSeconds(60)), seed, STATEMENTS, complaints);
            Map<String, Integer> outcomes = outcomes(workers);
            int interrupts =
                    workers.stream().mapToInt(worker -> worker.interrupts).sum();
            long latest = workers.stream()
                    .mapToLong(worker -> worker.latestNanos)
                    .max()
                    .orElseThrow();
            System.getLogger("dev.nanopool.test")
                    .log(
                            System.Logger.Level.INFO,
                            "virtual %s, TLS %s: %d interrupts, %d cancelled, latest end %d ms, %s"
                                    .formatted(
                                            isVirtual,
                                            isTls,
                                            interrupts,
                                            pool.stats().cancelled(),
                                            latest / 1_000_000,
                                            outcomes));
            assertThat(complaints).isEmpty();
            assertThat(interrupts).isPositive();
            if (isVirtual) {
                assertThat(Duration.ofNanos(latest)).isLessThan(stopwatch.allowing(PROMPT));
                assertThat(pool.stats().cancelled()).isPositive();
            } else {
                assertThat(pool.stats().cancelled()).isZero();
            }
        }
        awaitBalance(pool);
        assertThat(pool.stats().opened()).as("no login but those of the start").isEqualTo(SIZE);
        assertThat(pool.stats().closed()).isZero();
        try (Connection direct = server.direct()) {
            Await.until(
                    "no statement goes on",
                    () -> TestServer.query(
                                    direct,
                                    "SELECT count(*) FROM pg_stat_activity WHERE state <> 'idle' AND application_name = '"
                                            + pool.stats().name() + "'")
                            .equals("0"));
            assertThat(TestServer.query(direct, "SELECT sum(amount) FROM accounts"))
                    .isEqualTo("0");
        }
    }

    /** Lets a worker for each connection execute, and interrupts one of them at random moments. */
    private static List<Worker> interruptWorkers(
            boolean isVirtual, Source source, long seed, int statements, Queue<String> complaints) throws Exception {
        var left = new AtomicLong(statements);
        List<Worker> workers = new ArrayList<>();
        List<Thread> running = new ArrayList<>();
        for (int i = 0; i < SIZE; i++) {
            var worker = new Worker(isVirtual, source, left, seed + i, complaints);
            workers.add(worker);
            running.add(builder(isVirtual).start(worker.task));
        }
        var random = new Random(seed);
        while (running.stream().anyMatch(Thread::isAlive)) {
            Await.pause(Duration.ofNanos(random.nextLong(20_000_000)));
            int each = random.nextInt(SIZE);
            workers.get(each).interrupt(running.get(each));
        }
        for (Worker worker : workers) worker.task.get(1, TimeUnit.MINUTES);
        return workers;
    }

    private static Map<String, Integer> outcomes(List<Worker> workers) {
        Map<String, Integer> outcomes = new TreeMap<>();
        for (Worker worker : workers) {
            worker.outcomes.forEach((outcome, count) -> outcomes.merge(outcome, count, Integer::sum));
        }
        return outcomes;
    }

    // The same interrupts cost a pool that does not own its sockets a login each. The documents say so.
    @Test
    @Timeout(1_800)
    void anotherPoolMustLoseItsConnections() throws Exception {
        long before = logins();
        Queue<String> unused = new ConcurrentLinkedQueue<>();
        List<Worker> workers;
        try (var rival = new HikariDataSource()) {
            rival.setJdbcUrl(TestServer.jdbc(server()));
            rival.setMaximumPoolSize(SIZE);
            rival.setConnectionTimeout(60_000);
            workers = interruptWorkers(true, rival::getConnection, 1, RIVAL_STATEMENTS, unused);
        }
        Map<String, Integer> outcomes = outcomes(workers);
        int failed = outcomes.entrySet().stream()
                .filter(each -> !each.getKey().endsWith(" done"))
                .mapToInt(Map.Entry::getValue)
                .sum();
        long logins = logins() - before;
        System.getLogger("dev.nanopool.test")
                .log(
                        System.Logger.Level.INFO,
                        "HikariCP: %d statements failed, %d logins, %s".formatted(failed, logins, outcomes));
        assertThat(failed).isPositive();
        assertThat(logins).as("logins").isGreaterThanOrEqualTo(failed);
    }

    private static long logins() throws SQLException {
        try (Connection direct = server.direct()) {
            TestServer.execute(direct, "SELECT pg_stat_force_next_flush()");
            return Long.parseLong(TestServer.query(
                    direct, "SELECT sessions FROM pg_stat_database WHERE datname = current_database()"));
        }
    }

    /** Runs on a virtual thread with a client; another one may interrupt it. */
    private interface Body {
        void run(Connection client) throws Exception;
    }

    private FutureTask<Boolean> task(Pool pool, Body body) {
        return new FutureTask<>(() -> {
            try (Connection client = pool.client()) {
                body.run(client);
                return Thread.currentThread().isInterrupted();
            }
        });
    }

    private static void awaitStatement(String text) throws Exception {
        try (Connection direct = server.direct()) {
            Await.until(
                    "the server executes it",
                    () -> TestServer.query(
                                    direct,
                                    "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid() AND query LIKE '%"
                                            + text + "%'")
                            .equals("1"));
        }
    }

    // The flag of a thread may be set before it executes.
    @Test
    void statementOfAnInterruptedThreadMustNotBeSent() throws Exception {
        assumeTrue(IS_CANCELLED, EARLIER);
        Pool pool = open(1);
        FutureTask<Boolean> task = task(pool, client -> {
            Thread.currentThread().interrupt();
            try (var stopwatch = Stopwatch.start()) {
                SQLException failure =
                        catchThrowableOfType(SQLException.class, () -> TestServer.query(client, "SELECT pg_sleep(60)"));
                assertThat(failure.getSQLState()).isEqualTo("57014");
                assertThat(stopwatch.elapsed()).isLessThan(stopwatch.allowing(PROMPT));
            }
        });
        Thread.ofVirtual().start(task);
        assertThat(task.get()).as("flag").isTrue();
        awaitBalance(pool);
        assertThat(pool.stats().closed()).isZero();
        assertThat(pool.stats().cancelled()).isZero();
        assertThat(pool.stats().lost()).isZero();
    }

    // Whatever an interrupted thread calls on whatever object, nothing is sent, unless the call ends something.
    @Test
    void callOfAnInterruptedThreadMustSendNothing() throws Exception {
        assumeTrue(IS_CANCELLED, EARLIER);
        try (Connection direct = server.direct()) {
            TestServer.execute(direct, LeaseObjects.TABLES);
        }
        FaultProxy proxy = proxy();
        Pool pool = open(config(proxy).size(1));
        List<String> wrong = new ArrayList<>();
        var refused = new AtomicLong();
        FutureTask<Boolean> task = task(pool, client -> {
            for (Map.Entry<String, Object> object : LeaseObjects.of(client).entrySet()) {
                for (Method method : LeaseObjects.methods(object.getValue())) {
                    boolean isSafe = Set.of(method.getExceptionTypes()).stream()
                            .noneMatch(type -> type == SQLException.class || type == IOException.class);
                    if (isSafe || ENDS.contains(method.getName())) continue;
                    long before = proxy.messages();
                    Thread.currentThread().interrupt();
                    Throwable thrown = thrownBy(object.getValue(), method);
                    String call = object.getKey() + ": " + method + ": " + thrown;
                    if (!Thread.interrupted()) wrong.add("flag is lost: " + call);
                    if (proxy.messages() != before) wrong.add("sends: " + call);
                    if (String.valueOf(thrown).contains("nothing was sent")) refused.incrementAndGet();
                }
            }
        });
        Thread.ofVirtual().start(task);
        task.get();
        assertThat(wrong).isEmpty();
        assertThat(refused.get()).isGreaterThan(300);
        awaitBalance(pool);
        assertThat(pool.stats().lost()).isZero();
    }

    /** They end something, or are skipped because they cost the connection. */
    private static final Set<String> ENDS =
            Set.of("close", "free", "rollback", "cancel", "cancelQuery", "isValid", "abort", "addDataType");

    private static @Nullable Throwable thrownBy(Object object, Method method) {
        try {
            method.invoke(object, LeaseObjects.arguments(method));
            return null;
        } catch (InvocationTargetException e) {
            return e.getCause();
        } catch (IllegalAccessException e) {
            throw new AssertionError(method.toString(), e);
        }
    }

    // The outcome of a commit is awaited, by whatever method or text it is sent.
    @ParameterizedTest
    @ValueSource(strings = {"commit()", "setAutoCommit(true)", "COMMIT", "END", "/* last */ commit and no chain"})
    void commitMustNotBeCancelled(String commit) throws Exception {
        assumeTrue(IS_CANCELLED, EARLIER);
        Pool pool = open(1);
        FutureTask<Boolean> task = task(pool, client -> {
            if (commit.endsWith(")")) client.setAutoCommit(false);
            else TestServer.execute(client, "BEGIN");
            TestServer.execute(client, "INSERT INTO slow VALUES (" + commit.hashCode() + ")");
            switch (commit) {
                case "commit()" -> client.commit();
                case "setAutoCommit(true)" -> client.setAutoCommit(true);
                default -> TestServer.execute(client, commit);
            }
        });
        Thread thread = Thread.ofVirtual().start(task);
        awaitStatement(commit.endsWith(")") ? "COMMIT" : commit);
        thread.interrupt();
        assertThat(task.get()).as("flag").isTrue();
        try (Connection direct = server.direct()) {
            assertThat(TestServer.query(direct, "SELECT count(*) FROM slow WHERE id = " + commit.hashCode()))
                    .isEqualTo("1");
        }
        assertThat(pool.stats().cancelled()).isZero();
    }

    // A server that does not answer costs its connection, when the patience is over.
    @ParameterizedTest
    @ValueSource(ints = {0, 400})
    void patienceMustEndTheWait(int millis) throws Exception {
        assumeTrue(IS_CANCELLED, EARLIER);
        Map<CloseReason, Integer> closed = new ConcurrentHashMap<>();
        var cancelled = new AtomicBoolean();
        FaultProxy proxy = proxy();
        Pool pool = open(config(proxy)
                .size(1)
                .cancelPatience(Duration.ofMillis(millis))
                .listener(new PoolListener() {
                    @Override
                    public void closed(String name, int backendPid, CloseReason reason) {
                        closed.merge(reason, 1, Integer::sum);
                    }

                    @Override
                    public void cancelled(String name, int backendPid) {
                        cancelled.set(true);
                    }
                }));
        var isSent = new CountDownLatch(1);
        proxy.at(message -> message.isStatement("silence") && count(isSent), Fault.SILENT);
        FutureTask<Boolean> task = task(pool, client -> {
            try (var stopwatch = Stopwatch.start()) {
                SQLException failure =
                        catchThrowableOfType(SQLException.class, () -> TestServer.query(client, "SELECT 'silence'"));
                assertThat(failure.getSQLState()).isEqualTo("08006");
                assertThat(stopwatch.elapsed()).isGreaterThanOrEqualTo(Duration.ofMillis(millis));
            }
        });
        Thread thread = Thread.ofVirtual().start(task);
        isSent.await();
        thread.interrupt();
        assertThat(task.get()).as("flag").isTrue();
        proxy.heal();
        Await.until("the connection is closed", () -> closed.containsKey(CloseReason.INTERRUPTED));
        if (millis > 0) Await.until("the listener is called", cancelled::get);
        assertThat(cancelled.get()).isEqualTo(millis > 0);
        assertThat(pool.stats().lost()).isZero();
        awaitBalance(pool);
    }

    private static boolean count(CountDownLatch latch) {
        latch.countDown();
        return true;
    }

    // A statement that begins after the caller has cleared the flag is not hit by a cancel that is still under way.
    @Test
    void cancelMustNotHitTheNextStatement() throws Exception {
        assumeTrue(IS_CANCELLED, EARLIER);
        Pool pool = open(1);
        var random = new Random(7);
        var hits = new AtomicLong();
        for (int i = 0; i < 100; i++) {
            var begins = new CountDownLatch(1);
            var isInterrupted = new AtomicBoolean();
            FutureTask<Boolean> task = task(pool, client -> {
                begins.countDown();
                try {
                    TestServer.query(client, "SELECT pg_sleep(0.001)");
                } catch (SQLException e) {
                    assertThat(e.getSQLState()).isEqualTo("57014");
                    hits.incrementAndGet();
                }
                Await.until("it is interrupted", isInterrupted::get);
                assertThat(Thread.interrupted()).as("flag").isTrue();
                assertThat(TestServer.query(client, "SELECT pg_sleep(0.002)")).isEmpty();
            });
            Thread thread = Thread.ofVirtual().start(task);
            begins.await();
            long begin = System.nanoTime();
            long nanos = random.nextLong(1_500_000);
            Await.atMost(Duration.ofNanos(nanos), () -> System.nanoTime() - begin > nanos);
            thread.interrupt();
            isInterrupted.set(true);
            task.get();
        }
        assertThat(pool.stats().closed()).isZero();
        assertThat(hits.get()).as("statements that were cancelled").isPositive();
    }

    // The thread that cancels may be interrupted itself; its cancel reaches the server, and no socket is closed.
    @ParameterizedTest
    @EnumSource(Canceller.class)
    void interruptedThreadMustBeAbleToCancel(Canceller canceller) throws Exception {
        assumeTrue(canceller == Canceller.PLATFORM || IS_CANCELLED, EARLIER);
        Pool pool = open(1);
        var cancels = new FutureTask<Void>(() -> {
            try (Connection client = pool.client();
                    Statement statement = client.createStatement()) {
                var executes = new FutureTask<SQLException>(() -> catchThrowableOfType(
                        SQLException.class, () -> statement.execute("SELECT pg_sleep(60), 'victim'")));
                Thread.ofVirtual().start(executes);
                awaitStatement("victim");
                Thread.currentThread().interrupt();
                statement.cancel();
                assertThat(Thread.interrupted()).as("flag").isTrue();
                assertThat(executes.get().getSQLState()).isEqualTo("57014");
            }
            return null;
        });
        builder(canceller == Canceller.VIRTUAL).start(cancels);
        cancels.get();
        awaitBalance(pool);
        assertThat(pool.stats().closed()).isZero();
    }

    enum Canceller {
        VIRTUAL,
        PLATFORM
    }
}
