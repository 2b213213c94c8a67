package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.nanopool.Pool;
import dev.nanopool.PoolExhaustedException;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.Stopwatch;
import dev.nanopool.testkit.TestServer;
import java.io.OutputStream;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;
import org.postgresql.core.BaseConnection;
import org.postgresql.jdbc.PgConnection;

/**
 * The housekeeper and {@code Pool.close} keep their bounds for each lease, because neither waits for a lock of the
 * lease.
 */
class BoundsTest extends PoolTestBase {
    private static final Duration CONNECT = Duration.ofSeconds(3);

    /** What a lease does while the table {@code pg_description} and the table {@code bounds} are locked. */
    @FunctionalInterface
    interface Deed {
        void in(Connection client) throws Exception;
    }

    record Case(String name, Deed deed) {
        @Override
        public String toString() {
            return name;
        }
    }

    static Stream<Case> cases() {
        return Stream.of(
                new Case("statement", client -> TestServer.execute(client, "SELECT * FROM bounds")),
                new Case(
                        "metadata",
                        client -> client.getMetaData()
                                .getTables(null, null, "%", null)
                                .close()),
                new Case("parameters", client -> {
                    try (PreparedStatement statement = client.prepareStatement("SELECT * FROM bounds WHERE n = ?")) {
                        assertThat(statement.getParameterMetaData().getParameterCount())
                                .isEqualTo(1);
                    }
                }),
                new Case("commit", client -> {
                    client.setAutoCommit(false);
                    TestServer.execute(client, "SET lock_timeout = 0");
                    client.commit();
                    TestServer.execute(client, "SELECT * FROM bounds");
                }),
                new Case("reader", client -> {
                    client.setAutoCommit(false);
                    try (Statement statement = client.createStatement()) {
                        statement.setFetchSize(1);
                        try (ResultSet rows =
                                statement.executeQuery("SELECT bounds_wait(n) FROM generate_series(1, 4) n")) {
                            while (rows.next()) assertThat(rows.getInt(1)).isPositive();
                        }
                    }
                }),
                new Case(
                        "COPY",
                        client -> ((PGConnection) client)
                                .getCopyAPI()
                                .copyOut("COPY bounds TO STDOUT", OutputStream.nullOutputStream())),
                new Case(
                        "unwrapped",
                        client -> TestServer.execute(client.unwrap(PgConnection.class), "SELECT * FROM bounds")),
                new Case(
                        "unwrapped COPY",
                        client -> new CopyManager(client.unwrap(BaseConnection.class))
                                .copyOut("COPY bounds TO STDOUT", OutputStream.nullOutputStream())));
    }

    private Connection locker;

    @BeforeEach
    void lock() throws SQLException {
        locker = TestServer.direct();
        TestServer.execute(locker, """
                DROP TABLE IF EXISTS bounds CASCADE; CREATE TABLE bounds (n int);
                CREATE OR REPLACE FUNCTION bounds_wait(n int) RETURNS int LANGUAGE plpgsql AS
                $$ BEGIN IF n = 3 THEN PERFORM * FROM bounds; END IF; RETURN n; END $$""");
        locker.setAutoCommit(false);
        TestServer.execute(locker, "LOCK TABLE bounds IN ACCESS EXCLUSIVE MODE");
        TestServer.execute(locker, "LOCK TABLE pg_description IN ACCESS EXCLUSIVE MODE");
    }

    @AfterEach
    void unlock() throws SQLException {
        locker.rollback();
        locker.setAutoCommit(true);
        TestServer.execute(locker, "DROP FUNCTION bounds_wait; DROP TABLE bounds");
        locker.close();
    }

    private boolean isBlocked(String name) throws SQLException {
        return TestServer.query(
                        locker,
                        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = '"
                                + name + "'")
                .equals("1");
    }

    private Connection block(Pool pool, Deed deed) throws Exception {
        Connection client = pool.client();
        threads.start(() -> {
            try {
                deed.in(client);
            } catch (SQLException e) {
                assertThat(e.getSQLState()).isIn("08006", "08003", "57014", "55000", "57P01");
            }
        });
        Await.until("it waits for the lock", () -> isBlocked(pool.stats().name()));
        return client;
    }

    // The housekeeper tells the time, whether the lease goes on or was closed by another thread meanwhile.
    @ParameterizedTest
    @MethodSource("cases")
    void callersDeadlineMustBeKept(Case test) throws Exception {
        Pool pool = open(config().size(2).connectTimeout(CONNECT));
        Connection blocked = block(pool, test.deed);
        Connection other = pool.client();
        for (boolean isClosed : new boolean[] {false, true}) {
            Connection third = null;
            if (isClosed) {
                try (var stopwatch = Stopwatch.start()) {
                    blocked.close();
                    assertThat(stopwatch.elapsed()).as("close()").isLessThan(stopwatch.allowing(TOLERANCE));
                }
                third = pool.client(); // the one that replaces the blocked one
                assertThat(TestServer.query(third, "SELECT 1")).isEqualTo("1");
            }
            Duration timeout = Duration.ofMillis(1_500); // a sweep falls into it
            try (var stopwatch = Stopwatch.start()) {
                assertThatThrownBy(() -> pool.client(timeout)).isInstanceOf(PoolExhaustedException.class);
                assertThat(stopwatch.elapsed()).isLessThan(stopwatch.allowing(timeout.plus(TOLERANCE)));
            }
            if (third != null) third.close();
        }
        other.close();
    }

    // Pool.close(0) cuts the lease, and is back within connectTimeout + 5 s.
    @ParameterizedTest
    @MethodSource("cases")
    void closeMustKeepItsBound(Case test) throws Exception {
        Pool pool = open(config().size(1).connectTimeout(CONNECT));
        block(pool, test.deed);
        try (var stopwatch = Stopwatch.start()) {
            assertThat(pool.close(Duration.ZERO)).isFalse();
            assertThat(stopwatch.elapsed()).isLessThan(stopwatch.allowing(CONNECT.plusSeconds(5)));
        }
    }

    // The same when the client was closed before, so that no lease is left to cut.
    @ParameterizedTest
    @MethodSource("cases")
    void closeMustKeepItsBoundAfterTheClientWasClosed(Case test) throws Exception {
        Pool pool = open(config().size(1).connectTimeout(CONNECT));
        Connection blocked = block(pool, test.deed);
        blocked.close();
        try (var stopwatch = Stopwatch.start()) {
            assertThat(pool.close(Duration.ZERO)).isTrue();
            assertThat(stopwatch.elapsed()).isLessThan(stopwatch.allowing(CONNECT.plusSeconds(5)));
        }
    }
}
