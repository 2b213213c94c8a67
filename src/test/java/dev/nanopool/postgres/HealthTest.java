package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.nanopool.Pool;
import dev.nanopool.PoolExhaustedException;
import dev.nanopool.PoolHealth;
import dev.nanopool.PoolHealth.Status;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.FaultProxy;
import dev.nanopool.testkit.FaultProxy.Fault;
import dev.nanopool.testkit.PoolTestBase;
import java.sql.Connection;
import java.time.Duration;
import org.junit.jupiter.api.Test;

/** What a pool says of itself, without a lease. */
class HealthTest extends PoolTestBase {
    private static void awaitStatus(Pool pool, Status status) throws Exception {
        Await.untilEmpty("it is " + status, () -> {
            PoolHealth health = pool.health();
            return health.status() == status ? "" : health.toString();
        });
    }

    @Test
    void idlePoolMustBeUp() throws Exception {
        Pool pool = open(2);
        assertThat(pool.health()).isEqualTo(new PoolHealth(Status.UP, "", Duration.ZERO, null));
        assertThat(pool.stats().leasesGranted()).as("leases for it").isZero();
    }

    // All connections are in use and a caller waits, as in each moment of a pool that is worth its size.
    @Test
    void usedPoolMustBeUpWhileCallersWaitForLessThanHalfOfTheirPatience() throws Exception {
        Pool pool = open(config().size(1).acquireTimeout(Duration.ofSeconds(60)));
        try (Connection client = pool.client()) {
            assertThat(client.isClosed()).isFalse();
            threads.start(() -> pool.client().close());
            Await.until("it waits", () -> pool.stats().pending() == 1);
            for (int i = 0; i < 100; i++) assertThat(pool.health().status()).isEqualTo(Status.UP);
        }
        threads.join();
    }

    @Test
    void poolMustBeBusyIfACallerGotNoConnectionInTime() throws Exception {
        Pool pool = open(config().size(1).acquireTimeout(Duration.ofMillis(100)));
        try (Connection client = pool.client()) {
            assertThat(client.isClosed()).isFalse();
            threads.start(() -> assertThatThrownBy(pool::client).isInstanceOf(PoolExhaustedException.class));
            threads.join();
            assertThat(pool.health().status()).isEqualTo(Status.BUSY);
            assertThat(pool.health().reason()).endsWith("1 callers got no connection in time");
        }
        assertThat(pool.health().status()).as("a moment later").isEqualTo(Status.BUSY);
        awaitStatus(pool, Status.UP);
    }

    @Test
    void poolMustBeBusyIfCallersWaitedForMoreThanHalfOfTheirPatience() throws Exception {
        Pool pool = open(config().size(1).acquireTimeout(Duration.ofSeconds(2)));
        try (Connection client = pool.client()) {
            assertThat(client.isClosed()).isFalse();
            threads.start(() -> pool.client().close());
            Await.until("it waits", () -> pool.stats().pending() == 1);
            Await.pause(Duration.ofMillis(1_200));
        }
        threads.join();
        assertThat(pool.health().status()).isEqualTo(Status.BUSY);
        assertThat(pool.health().reason()).matches("in \\d+ ms, one of a hundred callers waited for \\d+ ms");
    }

    @Test
    void poolMustBeBusyIfNoWaitingCallerGetsAConnection() throws Exception {
        Pool pool = open(config().size(1).acquireTimeout(Duration.ofSeconds(4)));
        try (Connection client = pool.client()) {
            assertThat(client.isClosed()).isFalse();
            assertThat(pool.health().status()).isEqualTo(Status.UP);
            threads.start(() -> pool.client(Duration.ofMinutes(1)).close());
            awaitStatus(pool, Status.BUSY);
            assertThat(pool.health().reason()).matches("1 callers wait, and none got a connection in \\d+ ms");
        }
        threads.join();
    }

    @Test
    void poolMustBeDownInAnOutageAndDegradedWhileOneConnectionIsLeft() throws Exception {
        FaultProxy proxy = proxy();
        Pool pool = open(config(proxy).size(2));
        proxy.refuse();
        try (Connection kept = pool.client()) {
            try (Connection retired = pool.client()) {
                pool.retire(retired);
            }
            awaitStatus(pool, Status.DEGRADED);
            assertThat(pool.health().reason())
                    .startsWith("1 of 2 connections are open")
                    .contains("refused");
            assertThat(pool.health().cause()).hasMessageContaining("refused");
            pool.retire(kept);
        }
        awaitStatus(pool, Status.DOWN);
        assertThat(pool.health().reason())
                .startsWith("0 of 2 connections are open")
                .contains("refused");
        Duration age = pool.health().age();
        assertThat(age).isPositive();
        assertThat(pool.health().age()).isGreaterThanOrEqualTo(age);
        proxy.listen();
        awaitStatus(pool, Status.UP);
        assertThat(pool.health().age()).isZero();
    }

    @Test
    void lossOfAllConnectionsMustBeDownUntilTheServerIsBack() throws Exception {
        FaultProxy proxy = proxy();
        Pool pool = open(config(proxy).size(2));
        proxy.refuse();
        proxy.now(Fault.RST);
        awaitStatus(pool, Status.DOWN);
        proxy.listen();
        awaitStatus(pool, Status.UP);
    }

    @Test
    void suspendedAndClosedPoolsMustBeDown() throws Exception {
        Pool pool = open(1);
        pool.suspend();
        assertThat(pool.health().reason()).isEqualTo("the pool is suspended");
        assertThat(pool.health().status()).isEqualTo(Status.DOWN);
        pool.resume();
        awaitStatus(pool, Status.UP);
        assertThat(pool.isClosed()).isFalse();
        pool.close();
        assertThat(pool.isClosed()).isTrue();
        assertThat(pool.health().reason()).isEqualTo("the pool is closed");
        assertThat(pool.health().status()).isEqualTo(Status.DOWN);
    }
}
