package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;

import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import dev.nanopool.TlsMode;
import dev.nanopool.testkit.TestServer;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import org.postgresql.Driver;

/** An application that brings the pool and the driver. Its requests have an inheritable thread-local. */
final class LoaderTrial implements Callable<Void> {
    private static final InheritableThreadLocal<Object> REQUEST = new InheritableThreadLocal<>();

    private final String url;

    LoaderTrial(String url) {
        this.url = url;
    }

    @Override
    public Void call() throws Exception {
        REQUEST.set(this);
        PoolConfig config = PoolConfig.builder(url)
                .tls(TlsMode.DISABLE)
                .size(3)
                .minIdle(1)
                .leakThreshold(Duration.ofSeconds(30))
                .jmx(true)
                .build();
        try (Pool pool = Pool.create(config)) {
            List<Thread> requests = new ArrayList<>();
            for (int i = 0; i < 6; i++)
                requests.add(
                        Thread.ofVirtual().inheritInheritableThreadLocals(true).start(() -> request(pool)));
            requests.add(Thread.ofPlatform().start(() -> request(pool)));
            for (Thread request : requests) request.join();
            assertThat(pool.stats().waits().count()).isPositive();
        } finally {
            REQUEST.remove();
        }
        // The driver registers itself with the JDK, which the application's container takes back, too.
        Driver.deregister();
        return null;
    }

    private static void request(Pool pool) {
        REQUEST.set(new LoaderTrial(""));
        try (Connection client = pool.client();
                Statement statement = client.createStatement()) {
            statement.setQueryTimeout(30); // the driver's timer
            TestServer.execute(client, "SET statement_timeout = '7s'");
            statement.execute("SELECT pg_sleep(0.01)");
        } catch (SQLException e) {
            throw new IllegalStateException(e);
        }
    }
}
