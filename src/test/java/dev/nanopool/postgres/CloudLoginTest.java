package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;

import dev.nanopool.Credentials;
import dev.nanopool.NanoDataSource;
import dev.nanopool.Pool;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.EmbeddedServer;
import dev.nanopool.testkit.Log;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.TestServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.Socket;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.logging.Level;
import javax.net.SocketFactory;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** The logins of the clouds, as src/site/cloud-logins.md has them: tokens that expire, users that change, foreign sockets. */
public class CloudLoginTest extends PoolTestBase {
    private static final EmbeddedServer SERVER = EmbeddedServer.start();
    private static final int CONNECTIONS = 3;

    private final NanoDataSource dataSource = new NanoDataSource();

    @AfterAll
    static void stop() throws Exception {
        SERVER.close();
    }

    @AfterEach
    @Override
    protected void nothingMustBeLostOrLeft() throws Exception {
        dataSource.close();
        super.nothingMustBeLostOrLeft();
    }

    @Override
    protected String server() {
        return SERVER.url();
    }

    private static void execute(String sql) throws SQLException {
        try (Connection direct = SERVER.direct()) {
            TestServer.execute(direct, sql);
        }
    }

    /** A service that hands out tokens for the database. Each of them ends the validity of those before it. */
    private static final class Tokens {
        private final String user;
        private final AtomicInteger issued = new AtomicInteger();
        private volatile String token = "";

        Tokens(String user) throws SQLException {
            this.user = user;
            execute("DROP ROLE IF EXISTS " + user + "; CREATE ROLE " + user + " LOGIN");
            expire();
        }

        void expire() throws SQLException {
            String next = "token/" + issued.incrementAndGet() + "?X-Amz-Signature=%2B&a=b:c@d#e";
            execute("ALTER ROLE " + user + " PASSWORD '" + next + "'");
            token = next;
        }

        Credentials current() {
            return new Credentials(user, token);
        }
    }

    private NanoDataSource bean() {
        dataSource.setJdbcUrl(SERVER.url("nobody"));
        dataSource.setPoolName(name());
        dataSource.setMaximumPoolSize(CONNECTIONS);
        return dataSource;
    }

    private static String user(Connection client) throws SQLException {
        return TestServer.query(client, "SELECT current_user");
    }

    private void assertAllServe(String user) throws Exception {
        for (int i = 0; i < 2 * CONNECTIONS; i++) {
            try (Connection client = dataSource.getConnection()) {
                assertThat(user(client)).isEqualTo(user);
            }
        }
        Pool pool = dataSource.unwrap(Pool.class);
        Await.until(
                "all are open", () -> pool.stats().idle() == CONNECTIONS); // the first caller has not waited for them
    }

    private void replaceAll() throws Exception {
        Pool pool = dataSource.unwrap(Pool.class);
        Await.until(
                "all are open", () -> pool.stats().idle() == CONNECTIONS); // the first caller has not waited for them
        long openedBefore = pool.stats().opened();
        pool.refresh();
        Await.until(
                "all are replaced",
                () -> pool.stats().opened() - openedBefore >= CONNECTIONS
                        && pool.stats().idle() == CONNECTIONS);
    }

    // A token is valid for minutes, and a connection lives on after it. Each new login has a new token.
    @Test
    void tokenThatExpiresMustNotDisturbCallers() throws Exception {
        var tokens = new Tokens("iam_user");
        bean().setCredentials(tokens::current);
        assertAllServe("iam_user");
        tokens.expire();
        assertAllServe("iam_user");
        replaceAll();
        assertAllServe("iam_user");
        assertThat(dataSource.unwrap(Pool.class).stats().lost()).isZero();
    }

    // A supplier that caches may hand out a token that has just expired. The pool asks it once more, so no attempt
    // fails.
    @Test
    void staleTokenMustBeAskedForOnceMore() throws Exception {
        var tokens = new Tokens("azure_user");
        var cached = new Credentials[] {tokens.current()};
        bean().setCredentials(() -> {
            Credentials before = cached[0];
            cached[0] = tokens.current();
            return before;
        });
        dataSource.setConnectParallelism(1);
        assertAllServe("azure_user");
        try (Log log = Log.of(Level.WARNING)) {
            tokens.expire();
            replaceAll();
            assertAllServe("azure_user");
            assertThat(log.lines()).isEmpty();
        }
    }

    // Vault makes a new user for each period, and removes the old one after it.
    @Test
    void rotatedUserMustReplaceTheOldOne() throws Exception {
        var first = new Tokens("vault_1");
        var second = new Tokens("vault_2");
        var lease = new ConcurrentHashMap<>(Map.of("current", first));
        bean().setCredentials(() -> lease.get("current").current());
        assertAllServe("vault_1");
        lease.put("current", second);
        replaceAll();
        execute("DROP ROLE vault_1");
        assertAllServe("vault_2");
    }

    // Without refresh, the age of the connections brings the new user. Callers go on meanwhile, and none of them fails.
    @Test
    void rotatedUserMustReplaceTheOldOneWithinMaxLifetime() throws Exception {
        var first = new Tokens("vault_3");
        var second = new Tokens("vault_4");
        var lease = new ConcurrentHashMap<>(Map.of("current", first));
        bean().setCredentials(() -> lease.get("current").current());
        dataSource.setMaxLifetime(1_000);
        assertAllServe("vault_3");
        execute("ALTER ROLE vault_3 NOLOGIN"); // a new login as the old user would fail
        lease.put("current", second);
        Pool pool = dataSource.unwrap(Pool.class);
        Await.until("no connection of the old user is left", () -> {
            try (Connection client = dataSource.getConnection();
                    Connection direct = SERVER.direct()) {
                assertThat(user(client)).startsWith("vault_");
                return TestServer.query(direct, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'vault_3'")
                        .equals("0");
            }
        });
        assertAllServe("vault_4");
        assertThat(pool.stats().timeouts()
                        + pool.stats().rejected()
                        + pool.stats().lost())
                .isZero();
    }

    /** A socket factory as the clouds have it, which reads properties of the login. */
    public static final class CloudSockets extends SocketFactory {
        static final Map<String, String> INSTANCES = new ConcurrentHashMap<>();

        private final String instance;

        public CloudSockets(Properties properties) {
            instance = properties.getProperty("cloudSqlInstance", "none");
        }

        @Override
        public Socket createSocket() {
            INSTANCES.put(instance, "used");
            return new Socket();
        }

        @Override
        public Socket createSocket(String host, int port) throws IOException {
            return new Socket(host, port);
        }

        @Override
        public Socket createSocket(String host, int port, InetAddress local, int localPort) throws IOException {
            return new Socket(host, port, local, localPort);
        }

        @Override
        public Socket createSocket(InetAddress address, int port) throws IOException {
            return new Socket(address, port);
        }

        @Override
        public Socket createSocket(InetAddress address, int port, InetAddress local, int localPort) throws IOException {
            return new Socket(address, port, local, localPort);
        }
    }

    private static final Map<String, String> CLOUD =
            Map.of("socketFactory", CloudSockets.class.getName(), "cloudSqlInstance", "project:region:name");

    private void assertUsed(Connection client) throws SQLException {
        assertThat(user(client)).isEqualTo(EmbeddedServer.USER);
        assertThat(CloudSockets.INSTANCES.remove("project:region:name")).isEqualTo("used");
    }

    // The properties of a foreign class pass at each door.
    @Test
    void foreignSocketFactoryMustGetItsProperties() throws Exception {
        var config = config().size(1);
        CLOUD.forEach(config::driverProperty);
        try (Connection client = open(config).client()) {
            assertUsed(client);
        }
        var text = new HashMap<String, String>();
        CLOUD.forEach((name, value) -> text.put("data-source-properties." + name, value));
        bean().setJdbcUrl(server());
        dataSource.configure(text);
        try (Connection client = dataSource.getConnection()) {
            assertUsed(client);
        }
    }
}
