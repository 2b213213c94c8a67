package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.nanopool.CloseReason;
import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import dev.nanopool.PoolExhaustedException;
import dev.nanopool.PoolListener;
import dev.nanopool.TlsMode;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.FaultProxy;
import dev.nanopool.testkit.FaultProxy.Fault;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.TestServer;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;
import org.postgresql.core.BaseConnection;

/** What the end of a lease costs, and what it does with a connection that is not fit to be lent. */
class ResetTest extends PoolTestBase {
    private final Queue<CloseReason> reasons = new ConcurrentLinkedQueue<>();

    private final PoolListener reasonsListener = new PoolListener() {
        @Override
        public void closed(String name, int backendPid, CloseReason reason) {
            reasons.add(reason);
        }
    };

    private static String select(Connection client) throws SQLException {
        return TestServer.query(client, "SELECT 1");
    }

    // Counted on the wire, a clean lease costs its caller's own statements, and not one round trip more.
    @Test
    void cleanLeaseMustCostNoRoundTrip() throws Exception {
        try (FaultProxy proxy = new FaultProxy(TestServer.url());
                Pool pool = Pool.create(proxy.url(), TlsMode.DISABLE, 2)) {
            long before = proxy.roundTrips();
            for (int i = 0; i < 1_000; i++) {
                try (Connection client = pool.client()) {
                    select(client);
                }
            }
            assertThat(proxy.roundTrips() - before).isEqualTo(1_000);
            // A transaction is BEGIN with its statement, and COMMIT; setting autocommit back is free.
            before = proxy.roundTrips();
            for (int i = 0; i < 100; i++) {
                try (Connection client = pool.client()) {
                    client.setAutoCommit(false);
                    select(client);
                    client.commit();
                }
            }
            long transactions = proxy.roundTrips() - before;
            assertThat(transactions).isBetween(200L, 300L);
            assertThat(pool.stats().reset()).isZero();
        }
    }

    // One that changed a setting costs one more; one that left a transaction open, the rollback.
    @Test
    void dirtyLeaseMustCostOneRoundTripMore() throws Exception {
        try (FaultProxy proxy = new FaultProxy(TestServer.url());
                Pool pool = Pool.create(proxy.url(), TlsMode.DISABLE, 1)) {
            for (String dirty : new String[] {
                "SET work_mem = '2MB'", "LISTEN x", "SET ROLE pg_monitor", "SELECT pg_advisory_lock(1)", "BEGIN"
            }) {
                long before = proxy.roundTrips();
                try (Connection client = pool.client()) {
                    TestServer.execute(client, dirty);
                }
                pool.client().close();
                assertThat(proxy.roundTrips() - before).as(dirty).isEqualTo(2);
            }
            long before = proxy.roundTrips();
            try (Connection client = pool.client()) {
                client.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
                client.setSchema("pg_catalog");
                TestServer.execute(
                        client,
                        "SET work_mem = '2MB'; LISTEN x; SELECT pg_advisory_lock(1); CREATE TEMP TABLE t (n int)");
            }
            pool.client().close();
            assertThat(proxy.roundTrips() - before).as("all kinds at once").isEqualTo(4);
        }
    }

    // The isolation level is asked once for the session, the schema once for a lease that sends no SQL.
    @Test
    void isolationAndSchemaMustBeAskedOnce() throws Exception {
        try (FaultProxy proxy = new FaultProxy(TestServer.url());
                Pool pool = Pool.create(proxy.url(), TlsMode.DISABLE, 1)) {
            try (Connection client = pool.client()) {
                client.getTransactionIsolation();
                client.getSchema();
            }
            long before = proxy.roundTrips();
            try (Connection client = pool.client()) {
                assertThat(client.getTransactionIsolation()).isEqualTo(Connection.TRANSACTION_READ_COMMITTED);
                assertThat(client.getSchema()).isEqualTo("public");
                assertThat(client.getSchema()).isEqualTo("public");
                assertThat(proxy.roundTrips() - before).isEqualTo(1);
                TestServer.execute(
                        client, "SET search_path = pg_catalog; SET default_transaction_isolation = 'serializable'");
                assertThat(client.getSchema()).as("changed, so asked").isEqualTo("pg_catalog");
                assertThat(client.getTransactionIsolation()).isEqualTo(Connection.TRANSACTION_SERIALIZABLE);
            }
            try (Connection client = pool.client()) {
                assertThat(client.getSchema()).isEqualTo("public");
            }
        }
    }

    // With readOnlyMode=always the driver keeps the flag in the server, so the reset and not close() sets it back.
    @Test
    void readOnlyKeptInTheServerMustBeUndone() throws Exception {
        Pool pool = open(config().size(1).driverProperty("readOnlyMode", "always"));
        threads.start(() -> {
            Connection client = pool.client();
            client.setReadOnly(true);
            Thread.currentThread().interrupt(); // any I/O in close() would cost the connection
            client.close();
        });
        threads.join();
        try (Connection client = pool.client()) {
            assertThat(client.isReadOnly()).isFalse();
            TestServer.execute(client, "CREATE TEMP TABLE t (n int)");
        }
        assertThat(pool.stats().opened()).isEqualTo(1);
        assertThat(pool.stats().reset()).isGreaterThanOrEqualTo(1);
    }

    // A server that does not answer the reset costs the connection after 5 s, and never the caller of close().
    @Test
    void resetThatHangsMustCostTheConnection() throws Exception {
        try (FaultProxy proxy = new FaultProxy(TestServer.url());
                Pool pool = Pool.create(PoolConfig.builder(proxy.url())
                        .tls(TlsMode.DISABLE)
                        .size(1)
                        .listener(reasonsListener)
                        .build())) {
            long start = System.nanoTime();
            try (Connection client = pool.client()) {
                TestServer.execute(client, "SET work_mem = '2MB'");
                proxy.now(Fault.SILENT);
            }
            assertThat(Duration.ofNanos(System.nanoTime() - start))
                    .as("close() waits for nothing")
                    .isLessThan(Duration.ofSeconds(4));
            try (Connection client = pool.client(Duration.ofSeconds(20))) {
                assertThat(TestServer.query(client, "SHOW work_mem")).isEqualTo("4MB");
            }
            assertThat(Duration.ofNanos(System.nanoTime() - start))
                    .isBetween(Duration.ofSeconds(5), Duration.ofSeconds(15));
            assertThat(reasons).containsExactly(CloseReason.RESET_FAILED);
        }
    }

    // close() itself does no I/O: with the interrupt flag set it harms nothing, and the flag stays.
    @Test
    void closeUnderAnInterruptMustKeepTheConnection() throws Exception {
        Pool pool = open(1);
        threads.start(() -> {
            Connection client = pool.client();
            client.setAutoCommit(false);
            TestServer.execute(client, "SET work_mem = '2MB'");
            Thread.currentThread().interrupt();
            client.close();
            assertThat(Thread.interrupted()).isTrue();
        });
        threads.join();
        try (Connection client = pool.client()) {
            assertThat(TestServer.query(client, "SHOW work_mem")).isEqualTo("4MB");
        }
        assertThat(pool.stats().opened()).isEqualTo(1);
    }

    @Test
    void transactionLeftOpenMustBeReportedOncePerPlace() throws Exception {
        Queue<String> told = new ConcurrentLinkedQueue<>();
        Pool pool = open(config().size(1).listener(new PoolListener() {
            @Override
            public void transactionLeftOpen(String name, String site, String sql) {
                told.add(site + " | " + sql);
            }
        }));
        for (int i = 0; i < 3; i++) {
            try (Connection client = pool.client()) {
                TestServer.execute(client, "BEGIN; SELECT 42");
            }
        }
        assertThat(told)
                .singleElement()
                .asString()
                .contains("ResetTest.transactionLeftOpenMustBeReportedOncePerPlace", "BEGIN; SELECT 42");
        Connection elsewhere = pool.client();
        elsewhere.setAutoCommit(false);
        select(elsewhere);
        elsewhere.close();
        assertThat(told).hasSize(2).last().asString().contains("SELECT 1");
    }

    // The pool does not know what became of a transaction whose connection is lost, so that it says nothing of it.
    @Test
    void transactionOfALostConnectionMustNotBeReported() throws Exception {
        Queue<String> told = new ConcurrentLinkedQueue<>();
        Pool pool = open(config().size(1).listener(new PoolListener() {
            @Override
            public void transactionLeftOpen(String name, String site, String sql) {
                told.add(site);
            }
        }));
        try (Connection client = pool.client()) {
            client.setAutoCommit(false);
            select(client);
            assertThatThrownBy(() -> TestServer.execute(client, "SELECT pg_terminate_backend(pg_backend_pid())"))
                    .isInstanceOf(SQLException.class);
        }
        awaitBalance(pool);
        assertThat(told).isEmpty();
        assertThat(pool.stats().leftOpen()).isZero();
        try (Connection client = pool.client()) {
            client.setAutoCommit(false);
            select(client);
        }
        assertThat(told).hasSize(1);
        assertThat(pool.stats().leftOpen()).isEqualTo(1);
    }

    @Test
    void strictCommitMustThrowWhereTheDriverRollsBackSilently() throws Exception {
        for (boolean strict : new boolean[] {true, false}) {
            Pool pool = open(config().size(1).strictCommit(strict));
            try (Connection client = pool.client()) {
                client.setAutoCommit(false);
                assertThatThrownBy(() -> TestServer.execute(client, "SELECT 1 / 0"))
                        .isInstanceOf(SQLException.class);
                if (strict) {
                    assertThatThrownBy(client::commit)
                            .isInstanceOfSatisfying(
                                    SQLException.class,
                                    e -> assertThat(e.getSQLState()).isEqualTo("25P02"));
                    client.rollback();
                } else {
                    assertThatCode(client::commit).doesNotThrowAnyException();
                }
                select(client);
                client.commit();
            }
        }
    }

    // A COPY left open blocks every other call of the driver for ever, so that connection goes, and no caller waits for
    // it.
    @Test
    void copyLeftOpenMustCostTheConnectionAndNothingElse() throws Exception {
        Pool pool = open(config().size(1).listener(reasonsListener));
        try (Connection client = pool.client()) {
            TestServer.execute(client, "CREATE TEMP TABLE t (n int)");
            ((PGConnection) client).getCopyAPI().copyIn("COPY t FROM STDIN").writeToCopy(new byte[] {'1', '\n'}, 0, 2);
        }
        try (Connection client = pool.client()) {
            assertThat(select(client)).isEqualTo("1");
        }
        awaitBalance(pool);
        assertThat(reasons).containsExactly(CloseReason.BUSY);
        // One that has ended costs nothing.
        try (Connection client = pool.client()) {
            TestServer.execute(client, "CREATE TEMP TABLE t (n int)");
            assertThat(((PGConnection) client)
                            .getCopyAPI()
                            .copyIn("COPY t FROM STDIN", new java.io.StringReader("1\n2\n")))
                    .isEqualTo(2);
        }
        awaitBalance(pool);
        assertThat(reasons).containsExactly(CloseReason.BUSY);
    }

    // The same through the driver's own object. The pool sees only the driver's lock. The server is well.
    @Test
    void copyLeftOpenThroughTheDriversConnectionMustBeFoundSoon() throws Exception {
        Pool pool = open(config().size(1).listener(reasonsListener));
        try (Connection client = pool.client()) {
            TestServer.execute(client, "CREATE TEMP TABLE t (n int)");
            new CopyManager(client.unwrap(BaseConnection.class)).copyIn("COPY t FROM STDIN");
        }
        long start = System.nanoTime();
        assertThatThrownBy(() -> pool.client(Duration.ofMillis(100)))
                .isInstanceOfSatisfying(
                        PoolExhaustedException.class,
                        e -> assertThat(e.verdict()).isEqualTo(PoolExhaustedException.Verdict.OVERLOAD));
        try (Connection client = pool.client()) {
            assertThat(select(client)).isEqualTo("1");
        }
        assertThat(Duration.ofNanos(System.nanoTime() - start)).isLessThan(Duration.ofSeconds(4));
        awaitBalance(pool);
        assertThat(reasons).containsExactly(CloseReason.BUSY);
    }

    // A cancel of a closed client is none, so the next lease costs no reset.
    @Test
    void staleCancelMustNotCostTheNextLeaseAReset() throws Exception {
        Pool pool = open(1);
        Statement stale;
        try (Connection client = pool.client()) {
            stale = client.createStatement();
        }
        try (Connection client = pool.client()) {
            assertThatCode(stale::cancel).doesNotThrowAnyException();
            assertThat(select(client)).isEqualTo("1");
        }
        awaitBalance(pool);
        assertThat(pool.stats().reset()).isZero();
    }

    // The driver tells under a lock whether a COPY goes on. The COPY itself holds this lock, so no other thread must
    // ask. At first the server keeps even its answer back; once there were rows, the driver waits for more of them.
    @ParameterizedTest
    @ValueSource(strings = {"SELECT pg_sleep(10)", "SELECT repeat('x', 100000) UNION ALL SELECT pg_sleep(10)::text"})
    void copyThatWaitsForTheServerMustHoldUpNoThread(String query) throws Exception {
        Pool pool = open(1);
        Connection copying = pool.client();
        CopyManager copies = ((PGConnection) copying).getCopyAPI();
        threads.start(() -> assertThatThrownBy(
                        () -> copies.copyOut("COPY (" + query + ") TO STDOUT", OutputStream.nullOutputStream()))
                .isInstanceOf(SQLException.class));
        try (Connection direct = TestServer.direct()) {
            Await.until(
                    "it runs",
                    () -> TestServer.query(
                                    direct,
                                    "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY (%'"
                                            + " AND wait_event = 'PgSleep'")
                            .equals("1"));
        }
        long start = System.nanoTime();
        assertThatThrownBy(() -> pool.client(Duration.ofMillis(200))).isInstanceOf(PoolExhaustedException.class);
        copying.close();
        try (Connection client = pool.client()) {
            assertThat(select(client)).isEqualTo("1");
        }
        assertThat(Duration.ofNanos(System.nanoTime() - start)).isLessThan(Duration.ofSeconds(5));
    }

    // The driver cancels a COPY that its reader gives up, or that goes the other way, and leaves unread what has come.
    @Test
    void copyThatIsNotReadToItsEndMustNotReachTheNextLease() throws Exception {
        Pool pool = open(config().size(1).listener(reasonsListener));
        try (Connection client = pool.client()) {
            OutputStream full = new OutputStream() {
                @Override
                public void write(int b) throws IOException {
                    throw new IOException("full");
                }
            };
            assertThatThrownBy(() -> ((PGConnection) client)
                            .getCopyAPI()
                            .copyOut("COPY (SELECT generate_series(1, 100000)) TO STDOUT", full))
                    .isInstanceOf(IOException.class);
        }
        try (Connection client = pool.client()) {
            assertThat(select(client)).isEqualTo("1");
            assertThatThrownBy(() -> ((PGConnection) client)
                            .getCopyAPI()
                            .copyIn("COPY (SELECT generate_series(1, 100000)) TO STDOUT"))
                    .isInstanceOfSatisfying(
                            SQLException.class, e -> assertThat(e.getSQLState()).isEqualTo("42809"));
        }
        try (Connection client = pool.client()) {
            assertThat(select(client)).isEqualTo("1");
        }
        awaitBalance(pool);
        assertThat(reasons).containsExactly(CloseReason.BUSY, CloseReason.IRREVERSIBLE);
    }

    // What the query of a COPY changes in the session is undone, too.
    @Test
    void settingMadeByACopyMustNotReachTheNextLease() throws Exception {
        Pool pool = open(1);
        try (Connection client = pool.client()) {
            ((PGConnection) client)
                    .getCopyAPI()
                    .copyOut(
                            "COPY (SELECT set_config('statement_timeout', '1234', false)) TO STDOUT",
                            OutputStream.nullOutputStream());
        }
        try (Connection client = pool.client()) {
            assertThat(TestServer.query(client, "SHOW statement_timeout")).isEqualTo("0");
        }
    }

    // A statement still runs in another thread when the client is closed. That session ends, on the server, too.
    @Test
    void clientClosedWhileBusyElsewhereMustNotBeLent() throws Exception {
        Pool pool = open(config().size(1).listener(reasonsListener));
        Connection client = pool.client();
        int pid = ((PGConnection) client).getBackendPID();
        threads.start(() -> assertThatThrownBy(() -> TestServer.query(client, "SELECT pg_sleep(60)"))
                .isInstanceOf(SQLException.class));
        try (Connection direct = TestServer.direct()) {
            Await.until(
                    "it runs",
                    () -> "1"
                            .equals(TestServer.query(
                                    direct,
                                    "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%sleep(60)%' AND pid = "
                                            + pid)));
            client.close();
            try (Connection next = pool.client()) {
                assertThat(select(next)).isEqualTo("1");
            }
            threads.join();
            Await.until(
                    "it has ended on the server",
                    () -> "0"
                            .equals(TestServer.query(
                                    direct, "SELECT count(*) FROM pg_stat_activity WHERE pid = " + pid)));
        }
        assertThat(reasons).containsExactly(CloseReason.BUSY);
    }

    // An exception out of the caller's own stream leaves half a message in the driver's buffer.
    @Test
    @Timeout(60)
    void exceptionOutOfAStreamMustCostTheConnection() throws Exception {
        Pool pool = open(config().size(1).listener(reasonsListener));
        InputStream broken = new InputStream() {
            @Override
            public int read() {
                throw new IllegalStateException("broken stream");
            }

            @Override
            public int read(byte[] bytes, int offset, int length) {
                return read();
            }
        };
        try (Connection client = pool.client();
                PreparedStatement select = client.prepareStatement("SELECT ?::bytea")) {
            select.setBinaryStream(1, broken, 100_000);
            assertThatThrownBy(select::executeQuery).isInstanceOf(IllegalStateException.class);
        }
        try (Connection client = pool.client()) {
            assertThat(select(client)).isEqualTo("1");
        }
        awaitBalance(pool);
        assertThat(reasons).containsExactly(CloseReason.UNFINISHED);
        assertThat(pool.stats().lost()).isZero();
    }

    // A cancel that races with the end of its statement never hits the next client's statement.
    @Test
    @Timeout(600)
    void lateCancelMustNotHitTheNextClient() throws Exception {
        int rounds = Integer.getInteger("nanopool.cancel.rounds", 5_000);
        Pool pool = open(config().size(2));
        var hit = new AtomicInteger();
        var cancelled = new AtomicInteger();
        int callers = 4;
        for (int i = 0; i < callers; i++) {
            threads.start(() -> {
                for (int n = 0; n < rounds / callers; n++) {
                    var together = new CyclicBarrier(2);
                    Connection client = pool.client();
                    Statement statement = client.createStatement();
                    boolean byStatement = n % 2 == 0;
                    Thread canceller = Thread.ofVirtual().start(() -> {
                        try {
                            together.await();
                            LockSupport.parkNanos(ThreadLocalRandom.current().nextLong(2_500_000));
                            if (byStatement) statement.cancel();
                            else ((PGConnection) client).cancelQuery(); // sent whether or not anything is executed
                        } catch (Exception e) {
                            if (!(e instanceof SQLException)) hit.addAndGet(1_000_000);
                        }
                    });
                    together.await();
                    try (client) {
                        statement.execute(
                                "SELECT pg_sleep(" + ThreadLocalRandom.current().nextDouble(0.002) + ")");
                    } catch (SQLException e) {
                        assertThat(e.getSQLState()).isEqualTo("57014");
                        cancelled.incrementAndGet();
                    }
                    try (Connection next = pool.client()) {
                        select(next);
                    } catch (SQLException e) {
                        hit.incrementAndGet();
                    }
                    canceller.join();
                }
            });
        }
        threads.join();
        System.getLogger("dev.nanopool.test")
                .log(
                        System.Logger.Level.INFO,
                        "%d cancels, of which %d hit their own statement".formatted(rounds, cancelled.get()));
        assertThat(cancelled.get())
                .as("cancels that came in time: some, not all")
                .isBetween(1, rounds - 1);
        assertThat(hit).as("leases that another's cancel hit").hasValue(0);
        assertThat(pool.stats().opened()).as("and none was replaced").isEqualTo(2);
    }

    @Test
    void queryTimeoutMustNotHitTheNextClient() throws Exception {
        Pool pool = open(1);
        for (int i = 0; i < 3; i++) {
            try (Connection client = pool.client();
                    Statement statement = client.createStatement()) {
                statement.setQueryTimeout(1);
                assertThatThrownBy(() -> statement.execute("SELECT pg_sleep(60)"))
                        .isInstanceOfSatisfying(
                                SQLException.class,
                                e -> assertThat(e.getSQLState()).isEqualTo("57014"));
            }
            try (Connection next = pool.client()) {
                assertThat(select(next)).isEqualTo("1");
            }
        }
        assertThat(pool.stats().opened()).isEqualTo(1);
    }

    // 0A000, as for a cached plan whose result type has changed, says nothing against the connection.
    @Test
    void unsupportedFeatureMustKeepTheConnection() throws Exception {
        Pool pool = open(1);
        try (Connection client = pool.client()) {
            TestServer.execute(client, "CREATE TEMP TABLE t (n int)");
            client.setAutoCommit(false);
            try (PreparedStatement select = client.prepareStatement("SELECT * FROM t")) {
                for (int i = 0; i < 6; i++) select.executeQuery().close();
                try (Statement alter = client.createStatement()) {
                    alter.execute("DO $$ BEGIN ALTER TABLE t ALTER n TYPE text; END $$");
                }
                assertThatThrownBy(select::executeQuery)
                        .isInstanceOfSatisfying(
                                SQLException.class,
                                e -> assertThat(e.getSQLState()).isEqualTo("0A000"));
            }
            client.rollback();
            assertThat(select(client)).isEqualTo("1");
        }
        awaitBalance(pool);
        assertThat(pool.stats().opened()).isEqualTo(1);
    }

    // close() of a client whose backend is gone is silent in each state of the client.
    @Test
    void closeOfABrokenConnectionMustBeSilent() throws Exception {
        Pool pool = open(1);
        for (boolean noticed : new boolean[] {true, false}) {
            Connection client = pool.client();
            client.setAutoCommit(false);
            select(client);
            int pid = ((PGConnection) client).getBackendPID();
            try (Connection direct = TestServer.direct()) {
                TestServer.query(direct, "SELECT pg_terminate_backend(" + pid + ", 5000)");
            }
            if (noticed) assertThatThrownBy(() -> select(client)).isInstanceOf(SQLException.class);
            assertThatCode(client::close).doesNotThrowAnyException();
            try (Connection next = pool.client()) {
                assertThat(select(next)).isEqualTo("1");
            }
        }
    }

    // abort() after close() touches nothing of the next client.
    @Test
    void abortAfterCloseMustTouchNothing() throws Exception {
        Pool pool = open(1);
        Connection first = pool.client();
        first.close();
        try (Connection second = pool.client()) {
            second.setAutoCommit(false);
            first.abort(Runnable::run);
            first.close();
            assertThat(second.getAutoCommit()).isFalse();
            assertThat(select(second)).isEqualTo("1");
            assertThat(pool.tryClient()).isEmpty();
        }
        assertThat(pool.stats().opened()).isEqualTo(1);
    }

    // A statement of an ended lease neither executes nor cancels in the next one's session.
    @Test
    void staleStatementMustReachNothing() throws Exception {
        Pool pool = open(1);
        Connection first = pool.client();
        Statement stale = first.createStatement();
        ResultSet rows = stale.executeQuery("SELECT 1");
        first.close();
        var running = new CountDownLatch(1);
        threads.start(() -> {
            try (Connection second = pool.client()) {
                running.countDown();
                assertThat(TestServer.query(second, "SELECT pg_sleep(0.3)")).isEmpty();
            }
        });
        running.await();
        assertThatThrownBy(() -> stale.execute("SELECT 1")).isInstanceOf(SQLException.class);
        assertThatCode(stale::cancel).doesNotThrowAnyException();
        assertThatThrownBy(rows::next).isInstanceOf(SQLException.class);
        threads.join();
    }
}
