package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.nanopool.CloseReason;
import dev.nanopool.Credentials;
import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import dev.nanopool.PoolExhaustedException;
import dev.nanopool.PoolListener;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.EmbeddedServer;
import dev.nanopool.testkit.Log;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.TestServer;
import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.logging.Level;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Test;

/** Servers that change their role, let fewer in, or want another password. */
class FailoverTest extends PoolTestBase {
    private static final EmbeddedServer SERVER =
            EmbeddedServer.start(builder -> builder.setDataDirectoryCustomizer(FailoverTest::writeRules));

    private static void writeRules(File data) {
        try {
            Files.writeString(data.toPath().resolve("pg_hba.conf"), """
                    host all rotating all scram-sha-256
                    host all all all trust
                    host replication all all trust
                    """);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private final Queue<CloseReason> reasons = new ConcurrentLinkedQueue<>();

    private final PoolListener listener = new PoolListener() {
        @Override
        public void closed(String pool, int backendPid, CloseReason reason) {
            reasons.add(reason);
        }
    };

    @AfterAll
    static void stop() throws Exception {
        SERVER.close();
    }

    @Override
    protected String server() {
        return SERVER.url();
    }

    private static void onServer(String... statements) throws SQLException {
        try (Connection direct = SERVER.direct()) {
            for (String sql : statements) TestServer.execute(direct, sql);
        }
    }

    private static String sqlState(Connection client, String sql) {
        try {
            TestServer.execute(client, sql);
            return "";
        } catch (SQLException e) {
            return e.getSQLState();
        }
    }

    // The primary takes no writes from now on, though its sessions live on, and the standby is promoted. After one
    // failed write all connections are to the new primary.
    @Test
    void poolOfThePrimaryMustFollowIt() throws Exception {
        onServer("CREATE TABLE written (n int)");
        try (EmbeddedServer standby = SERVER.standby()) {
            Pool pool = open(config(SERVER.url()
                                    .replaceFirst(
                                            "/" + EmbeddedServer.DATABASE + "$",
                                            ",localhost:" + standby.port() + "/" + EmbeddedServer.DATABASE)
                            + "?target_session_attrs=read-write")
                    .size(4)
                    .listener(listener));
            try {
                try (Connection client = pool.client()) {
                    assertThat(sqlState(client, "INSERT INTO written VALUES (1)"))
                            .isEmpty();
                }
                Await.until("the standby has it", () -> {
                    try (Connection direct = standby.direct()) {
                        return TestServer.query(direct, "SELECT count(*) FROM written")
                                .equals("1");
                    }
                });
                onServer("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()");
                standby.promote();
                Await.until("a call notices", () -> {
                    try (Connection client = pool.client()) {
                        return sqlState(client, "INSERT INTO written VALUES (2)")
                                .equals("25006");
                    }
                });
                Await.until(
                        "all have left",
                        () -> reasons.size() == 4 && pool.stats().idle() == 4);
                assertThat(reasons).containsOnly(CloseReason.WRONG_ROLE);
                for (int i = 0; i < 8; i++) {
                    try (Connection client = pool.client()) {
                        assertThat(sqlState(client, "INSERT INTO written VALUES (3)"))
                                .isEmpty();
                        assertThat(TestServer.query(client, "SHOW port")).isEqualTo(Integer.toString(standby.port()));
                    }
                }
                assertThat(pool.stats().lost()).isZero();
            } finally {
                onServer(
                        "SET default_transaction_read_only = off",
                        "ALTER SYSTEM RESET default_transaction_read_only",
                        "SELECT pg_reload_conf()");
            }
            pool.close();
        }
    }

    // The server reports it with the next answer, at no round trip, and the first lease that ends casts doubt on all.
    @Test
    void poolOfTheStandbyMustLeaveItWhenItIsPromoted() throws Exception {
        try (EmbeddedServer standby = SERVER.standby()) {
            Pool pool = open(config(standby.url() + "?target_session_attrs=standby")
                    .size(3)
                    .listener(listener));
            try (Connection client = pool.client()) {
                assertThat(TestServer.query(client, "SELECT pg_is_in_recovery()"))
                        .isEqualTo("t");
                standby.promote();
                assertThat(TestServer.query(client, "SELECT pg_is_in_recovery()"))
                        .isEqualTo("f");
            }
            Await.until("all have left", () -> reasons.size() == 3);
            assertThat(reasons).containsOnly(CloseReason.WRONG_ROLE);
            assertThatThrownBy(() -> pool.client(Duration.ofSeconds(3)))
                    .isInstanceOf(PoolExhaustedException.class)
                    .cause()
                    .hasMessageContaining("targetServerType: secondary");
            pool.close();
        }
    }

    // What was the client's own wish is no failover.
    @Test
    void clientThatAskedForReadOnlyMustNotCostItsConnection() throws Exception {
        Pool pool = open(
                config(server() + "?target_session_attrs=read-write").size(2).listener(listener));
        for (int i = 0; i < 4; i++) {
            try (Connection client = pool.client()) {
                client.setReadOnly(true);
                client.setAutoCommit(false);
                assertThat(sqlState(client, "CREATE TABLE never (n int)")).isEqualTo("25006");
            }
            try (Connection client = pool.client()) {
                TestServer.execute(client, "BEGIN READ ONLY");
                assertThat(sqlState(client, "CREATE TABLE never (n int)")).isEqualTo("25006");
            }
        }
        awaitBalance(pool);
        assertThat(pool.stats().opened()).isEqualTo(2);
        assertThat(reasons).isEmpty();
    }

    // The password has changed. Sessions live on, and the next login asks again and gets in.
    @Test
    void refusedPasswordMustBeAskedForOnceMore() throws Exception {
        onServer("DROP ROLE IF EXISTS rotating", "CREATE ROLE rotating LOGIN PASSWORD 'first'");
        var asked = new AtomicInteger();
        var current = new AtomicReference<>("first");
        // A supplier that remembers for a while gives the old password once more.
        var remembered = new AtomicReference<>("first");
        Pool pool =
                open(config(SERVER.url("rotating")).size(1).listener(listener).credentials(() -> {
                    asked.incrementAndGet();
                    return new Credentials("rotating", remembered.getAndSet(current.get()));
                }));
        try (Connection client = pool.client()) {
            onServer("ALTER ROLE rotating PASSWORD 'second'");
            current.set("second");
            assertThat(client.isValid(1)).as("a session outlives its password").isTrue();
            pool.retire(client);
        }
        try (Connection client = pool.client()) {
            assertThat(TestServer.query(client, "SELECT current_user")).isEqualTo("rotating");
        }
        assertThat(asked).as("first login, second login, and once more").hasValue(3);
    }

    // An exception of the credentials' supplier is an attempt that failed, and no permit is lost to it. No message
    // repeats its text, because a secret may be in it.
    @Test
    void errorOfTheCredentialsMustBeAFailedAttempt() throws Exception {
        onServer("DROP ROLE IF EXISTS rotating", "CREATE ROLE rotating LOGIN PASSWORD 'first'");
        for (Throwable thrown : List.of(new AssertionError("s3same"), new IllegalStateException("s3same"))) {
            var isFailing = new AtomicBoolean(true);
            Pool pool = open(config(SERVER.url("rotating")).size(1).minIdle(0).credentials(() -> {
                if (isFailing.get() && thrown instanceof Error error) throw error;
                if (isFailing.get() && thrown instanceof RuntimeException exception) throw exception;
                return new Credentials("rotating", "first");
            }));
            try (var log = Log.of(Level.ALL)) {
                assertThatThrownBy(pool::client)
                        .isInstanceOfSatisfying(
                                PoolExhaustedException.class,
                                e -> assertThat(e.verdict()).isEqualTo(PoolExhaustedException.Verdict.DATABASE_DOWN))
                        .hasMessageContaining("opening a connection failed: "
                                + thrown.getClass().getName())
                        .hasMessageNotContaining("s3same")
                        .hasRootCause(thrown);
                assertThat(log.lines())
                        .isNotEmpty()
                        .allSatisfy(line -> assertThat(line).doesNotContain("s3same"));
            }
            isFailing.set(false);
            pool.client().close();
        }
    }

    // A password that is simply wrong is tried once.
    @Test
    void samePasswordMustNotBeTriedAgain() throws Exception {
        onServer("DROP ROLE IF EXISTS rotating", "CREATE ROLE rotating LOGIN PASSWORD 'right'");
        var asked = new AtomicInteger();
        PoolConfig config = config(SERVER.url("rotating"))
                .size(1)
                .credentials(() -> {
                    asked.incrementAndGet();
                    return new Credentials("rotating", "wr0ng-one");
                })
                .build();
        assertThatThrownBy(() -> Pool.create(config))
                .isInstanceOfSatisfying(
                        SQLException.class, e -> assertThat(e.getSQLState()).isEqualTo("28P01"))
                .hasMessageNotContaining("wr0ng-one");
        assertThat(asked).hasValue(2);
    }

    // The server lets in three of six. Those serve, one more is tried each second, and when there is room all come.
    @Test
    void poolMustLiveWithWhatTheServerLetsIn() throws Exception {
        onServer("DROP ROLE IF EXISTS limited", "CREATE ROLE limited LOGIN CONNECTION LIMIT 3");
        Queue<Throwable> refused = new ConcurrentLinkedQueue<>();
        Pool pool = open(config(SERVER.url("limited")).size(6).minIdle(0).listener(new PoolListener() {
            @Override
            public void openFailed(String name, Throwable cause) {
                refused.add(cause);
            }
        }));
        List<Connection> clients = new ArrayList<>();
        for (int i = 0; i < 3; i++) clients.add(pool.client());
        long start = System.nanoTime();
        assertThatThrownBy(() -> pool.client(Duration.ofSeconds(3)))
                .isInstanceOf(PoolExhaustedException.class)
                .hasMessageMatching(".* the server lets in [34] at present;.*") // 4 if one more is just being tried
                .cause()
                .hasMessageContaining("too many connections");
        int seconds = (int) Duration.ofNanos(System.nanoTime() - start).toSeconds();
        assertThat(List.copyOf(refused))
                .as("first those that were on their way, then one a second")
                .hasSizeBetween(2, 5 + seconds)
                .allSatisfy(cause -> assertThat(cause)
                        .isInstanceOfSatisfying(
                                SQLException.class,
                                e -> assertThat(e.getSQLState()).isEqualTo("53300")));
        for (int i = 0; i < 6; i++) {
            clients.removeFirst().close();
            clients.add(pool.client(Duration.ofSeconds(2)));
        }
        onServer("ALTER ROLE limited CONNECTION LIMIT 10");
        for (int i = 0; i < 3; i++) clients.add(pool.client(Duration.ofSeconds(5)));
        assertThat(pool.stats().active()).isEqualTo(6);
        for (Connection client : clients) client.close();
    }
}
