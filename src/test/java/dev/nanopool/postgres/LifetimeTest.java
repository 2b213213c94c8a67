package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;

import dev.nanopool.CloseReason;
import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import dev.nanopool.PoolListener;
import dev.nanopool.TlsMode;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.FaultProxy;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.TestServer;
import java.sql.Connection;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.Test;

/** Connections that are replaced, kept alive and let go while nothing is wrong. */
class LifetimeTest extends PoolTestBase {
    private final Queue<CloseReason> reasons = new ConcurrentLinkedQueue<>();

    private final PoolListener listener = new PoolListener() {
        @Override
        public void closed(String pool, int backendPid, CloseReason reason) {
            reasons.add(reason);
        }
    };

    // All connections pass their lifetime under load. No caller fails, and the server never sees more than size
    // sessions.
    @Test
    void connectionsMustBeReplacedUnderLoadWithoutAFailedCall() throws Exception {
        Pool pool = open(config().name("rotated")
                .size(6)
                .maxLifetime(Duration.ofSeconds(1))
                .listener(listener));
        var stop = new AtomicBoolean();
        for (int i = 0; i < 4; i++) {
            threads.start(() -> {
                while (!stop.get()) {
                    try (Connection client = pool.client(Duration.ofSeconds(10))) {
                        assertThat(TestServer.query(client, "SELECT 1")).isEqualTo("1");
                    }
                }
            });
        }
        Await.until("each was replaced twice", () -> {
            assertSessionsAtMost(6, () -> TestServer.sessions("rotated"));
            return pool.stats().closed() >= 12;
        });
        stop.set(true);
        threads.join();
        assertThat(reasons).containsOnly(CloseReason.MAX_LIFETIME);
        assertThat(pool.stats().lost()).isZero();
        pool.close(); // it would go on for ever
    }

    // After many callers at once there are few. The connections that were idle all the time go, and those used by turns
    // stay.
    @Test
    void connectionsThatWereNotNeededMustBeClosedDownToMinIdle() throws Exception {
        Pool pool = open(
                config().size(8).minIdle(2).idleTimeout(Duration.ofSeconds(2)).listener(listener));
        List<Connection> clients = new ArrayList<>();
        for (int i = 0; i < 8; i++) clients.add(pool.client());
        for (Connection client : clients) client.close();
        assertThat(pool.stats().idle()).isEqualTo(8);
        try (Connection first = pool.client();
                Connection second = pool.client();
                Connection third = pool.client()) {
            Await.until("five were closed", () -> pool.stats().closed() == 5);
            assertThat(first.isValid(1) && second.isValid(1) && third.isValid(1))
                    .isTrue();
            assertThat(pool.stats().active() + pool.stats().idle()).isEqualTo(3);
        }
        Await.until("one more was closed", () -> pool.stats().closed() == 6);
        assertThat(reasons).containsOnly(CloseReason.IDLE_TIMEOUT);
        awaitBalance(pool);
        assertThat(pool.stats().idle()).isEqualTo(2);
    }

    // The server hears of both idle connections each second, by one round trip for each.
    @Test
    void idleConnectionsMustBeKeptAlive() throws Exception {
        try (var proxy = new FaultProxy(TestServer.url())) {
            var config = PoolConfig.builder(proxy.url())
                    .tls(TlsMode.DISABLE)
                    .size(2)
                    .keepalive(Duration.ofSeconds(1))
                    .build();
            try (Pool pool = Pool.create(config)) {
                long before = proxy.roundTrips();
                Await.until("each was asked twice", () -> proxy.roundTrips() - before >= 4);
                Await.until("all are idle", () -> pool.stats().idle() == 2);
                assertThat(pool.stats().closed()).isZero();
            }
        }
    }

    // Without it an idle pool says nothing to the server.
    @Test
    void idlePoolMustBeSilentWithoutKeepalive() throws Exception {
        try (var proxy = new FaultProxy(TestServer.url())) {
            var config = PoolConfig.builder(proxy.url())
                    .tls(TlsMode.DISABLE)
                    .size(2)
                    .keepalive(Duration.ZERO)
                    .build();
            try (Pool watched = Pool.create(config);
                    Pool clock = Pool.create(PoolConfig.builder(TestServer.url())
                            .size(1)
                            .maxLifetime(Duration.ofSeconds(1))
                            .build())) {
                long before = proxy.roundTrips();
                Await.until("three seconds have passed", () -> clock.stats().closed() >= 3);
                assertThat(proxy.roundTrips()).isEqualTo(before);
                assertThat(watched.stats().idle()).isEqualTo(2);
            }
        }
    }
}
