package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.nanopool.Credentials;
import dev.nanopool.NanoDataSource;
import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import dev.nanopool.TlsMode;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.ChildJvm;
import dev.nanopool.testkit.FakeServer;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.TestServer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.logging.Level;
import java.util.logging.Logger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A lazy pool opens its first connection for its first caller, and is small until then. */
class LazyTest extends PoolTestBase {
    private static final int POOLS = 1_000;
    private static final int LARGEST = 8 * 1_024; // bytes of heap for a pool without a connection

    @TempDir
    private Path directory = Path.of("");

    // Neither the server nor the supplier of the credentials is asked.
    @Test
    void createMustNotSpeakToTheServer() throws Exception {
        var asked = new AtomicInteger();
        try (var server = new FakeServer(FakeServer.Client::readAll)) {
            Pool pool = open(config("postgresql://localhost:" + server.port() + "/none")
                    .lazy(true)
                    .acquireTimeout(Duration.ofMillis(300))
                    .credentials(() -> {
                        asked.incrementAndGet();
                        return new Credentials("a", "b");
                    }));
            assertThat(pool.stats().minIdle()).isZero();
            assertThat(asked.get()).isZero();
            assertThat(server.clients()).isZero();
            assertThatThrownBy(pool::client).isInstanceOf(SQLException.class);
            Await.until(
                    "the supplier is asked", () -> asked.get() > 0); // a busy machine asks after the caller has left
            pool.close(Duration.ZERO);
        }
    }

    @Test
    void firstCallerMustOpenTheFirstConnection() throws Exception {
        Pool pool = open(config().lazy(true).size(5));
        assertThat(pool.stats().opened()).isZero();
        for (int i = 0; i < 3; i++) {
            try (Connection client = pool.client()) {
                assertThat(TestServer.query(client, "SELECT 1")).isEqualTo("1");
            }
        }
        assertThat(pool.stats().opened()).isEqualTo(1);
        try (var dataSource = new NanoDataSource()) {
            dataSource.setUrl(server());
            dataSource.configure(Map.of("lazy", "true", "pool-name", name()));
            dataSource.getConnection().close();
            assertThat(dataSource.getTotalConnections()).isEqualTo(1);
        }
    }

    // A mistake that needs no server to be found is found at once.
    @Test
    void badConfigurationMustBeRefusedAtOnce() throws Exception {
        assertThatThrownBy(() -> config().lazy(true).minIdle(2).build())
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("minIdle: 2 contradicts lazy; must be 0, or leave one of them out");
        Path missing = directory.resolve("missing.crt");
        Path broken = directory.resolve("broken.crt");
        Files.writeString(broken, "no certificate");
        for (Path roots : List.of(missing, broken)) {
            PoolConfig.Builder config = PoolConfig.builder("postgresql://localhost:1/none?sslrootcert=" + roots)
                    .tls(TlsMode.VERIFY_CA)
                    .lazy(true);
            assertThatThrownBy(() -> Pool.create(config.build()))
                    .isInstanceOf(SQLException.class)
                    .hasMessageContaining(roots.toString());
        }
    }

    /** Makes pools, and prints how much each of them takes. */
    public static final class Program {
        /** Prints {@code bytes}, {@code millis} and {@code threads}. */
        public static void main(String[] arguments) throws Exception {
            Logger logger = Logger.getLogger("dev.nanopool");
            logger.setLevel(Level.OFF);
            make(POOLS).forEach(Pool::close); // what all pools share
            long threads = Thread.getAllStackTraces().size();
            long before = used();
            long startNanos = System.nanoTime();
            List<Pool> pools = make(POOLS);
            long nanos = System.nanoTime() - startNanos;
            System.out.println("bytes " + (used() - before) / POOLS);
            System.out.println("millis " + nanos / 1_000_000);
            System.out.println("threads " + (Thread.getAllStackTraces().size() - threads));
            pools.forEach(Pool::close);
            System.out.println("done");
        }

        private static List<Pool> make(int number) throws SQLException {
            List<Pool> pools = new ArrayList<>();
            for (int i = 0; i < number; i++) {
                String url = "postgresql://user:password@db.example:5432/tenant-" + i;
                pools.add(Pool.create(PoolConfig.builder(url).lazy(true).build()));
            }
            return pools;
        }

        /** After three collections, because references are cleared one after the other. */
        private static long used() {
            for (int i = 0; i < 3; i++) System.gc();
            return Runtime.getRuntime().totalMemory() - Runtime.getRuntime().freeMemory();
        }
    }

    @Test
    void poolWithoutConnectionsMustBeSmall() throws Exception {
        Map<String, String> lines =
                ChildJvm.run(Path.of(System.getProperty("java.home")), Program.class, List.of("-XX:+UseSerialGC"));
        System.getLogger("dev.nanopool.test").log(System.Logger.Level.INFO, "lazy pools: " + lines);
        assertThat(Integer.parseInt(lines.get("bytes"))).isLessThan(LARGEST);
        assertThat(Integer.parseInt(lines.get("threads"))).isLessThanOrEqualTo(3);
    }
}
