package dev.nanopool.testkit;

import static org.assertj.core.api.Assertions.assertThat;

import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import dev.nanopool.TestAccess;
import dev.nanopool.TlsMode;
import java.io.IOException;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Timeout;

/**
 * Pools on a server. After each test every pool must be in balance, that is, all permits are free, nothing is leased,
 * and opened - closed = idle; and closing it must leave no session on the server.
 */
@Tag("server")
@Timeout(120)
public abstract class PoolTestBase {
    /** How much later than its deadline something may come: 50 ms where nothing else runs, more on a machine that is shared. */
    protected static final Duration TOLERANCE = Duration.ofMillis(Integer.getInteger("nanopool.tolerance.millis", 200));

    private static final AtomicInteger NAMES = new AtomicInteger();

    protected final Threads threads = new Threads();
    private final List<Pool> pools = new ArrayList<>();
    private final List<String> names = new ArrayList<>();
    private final List<FaultProxy> proxies = new ArrayList<>();

    /** The server under test, as a superuser's URL. */
    protected String server() {
        return TestServer.url();
    }

    /** A configuration for the server, with a name of its own, which is the application_name, too. */
    protected final PoolConfig.Builder config() {
        return config(server());
    }

    /** As {@link #config()}, by way of a proxy, which sees the messages, so in plain text. */
    protected final PoolConfig.Builder config(FaultProxy proxy) {
        return config(proxy.url()).tls(TlsMode.DISABLE);
    }

    /** As {@link #config()}, with another way to the server, or another user. */
    protected final PoolConfig.Builder config(String url) {
        return PoolConfig.builder(url).name(name());
    }

    /** A name for a pool, whose sessions must be gone after the test. */
    protected final String name() {
        String name = "test-" + NAMES.incrementAndGet();
        names.add(name);
        return name;
    }

    /** A proxy to the server, which is closed after the pools. */
    protected final FaultProxy proxy() throws IOException {
        var proxy = new FaultProxy(server());
        proxies.add(proxy);
        return proxy;
    }

    /** Opens a pool that is checked and closed after the test. */
    protected final Pool open(PoolConfig.Builder config) throws SQLException {
        Pool pool = Pool.create(config.build());
        pools.add(pool);
        return pool;
    }

    protected final Pool open(int size) throws SQLException {
        return open(config().size(size));
    }

    /** Waits until the pool is quiet and nothing is missing. */
    protected static void awaitBalance(Pool pool) throws Exception {
        Await.untilEmpty("the pool is in balance", () -> TestAccess.imbalance(pool));
    }

    /**
     * The server must count no more sessions than that. A process whose socket is closed or reset counts until the machine has
     * let it run, so a higher count must fall again soon.
     */
    protected static void assertSessionsAtMost(int most, Callable<Integer> sessions) throws Exception {
        if (sessions.call() <= most) return;
        try (var stopwatch = Stopwatch.start()) {
            for (int count = sessions.call(); count > most; count = sessions.call()) {
                assertThat(stopwatch.elapsed())
                        .as("%d sessions instead of %d", count, most)
                        .isLessThan(stopwatch.allowing(TOLERANCE));
            }
        }
    }

    @AfterEach
    protected void nothingMustBeLostOrLeft() throws Exception {
        threads.join();
        for (Pool pool : pools) {
            if (!TestAccess.isClosed(pool)) awaitBalance(pool);
            pool.close();
            assertThat(TestAccess.bugs(pool))
                    .as("bugs that the pool has noticed")
                    .isZero();
        }
        for (FaultProxy proxy : proxies) proxy.close();
        for (String name : names) Await.until("no session is left", () -> TestServer.sessions(server(), name) == 0);
    }
}
