package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;

import dev.nanopool.Pool;
import dev.nanopool.PoolStats;
import dev.nanopool.PoolStats.Durations;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.Stopwatch;
import dev.nanopool.testkit.TestServer;
import java.sql.Connection;
import java.time.Duration;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.junit.jupiter.api.Test;

/** What two snapshots tell of the time between them, beside what the callers count themselves. */
class StatsTest extends PoolTestBase {
    private final Queue<Long> waits = new ConcurrentLinkedQueue<>();
    private final Queue<Long> uses = new ConcurrentLinkedQueue<>();

    private void lease(Pool pool, String sql) throws Exception {
        long cameNanos = System.nanoTime();
        Connection client = pool.client();
        long leasedNanos = System.nanoTime();
        TestServer.execute(client, sql);
        client.close();
        waits.add(leasedNanos - cameNanos);
        uses.add(System.nanoTime() - leasedNanos);
    }

    /** The percentile must be that of the values to within a bucket. */
    private static void assertPercentile(Durations durations, Queue<Long> values, double percent) {
        List<Long> sorted = values.stream().sorted().toList();
        long value = sorted.get((int) Math.ceil(sorted.size() * percent / 100) - 1);
        List<Duration> bounds = Durations.buckets();
        int bucket = 0;
        while (bounds.get(bucket).toNanos() < value) bucket++;
        assertThat(durations.percentile(percent))
                .as("p%s of %s, where callers measured %d ns", percent, durations, value)
                .isBetween(bounds.get(Math.max(0, bucket - 2)), bounds.get(bucket + 1));
    }

    // Callers that wait and work for milliseconds: the difference of two snapshots has each of them once, and nothing
    // of the time before.
    @Test
    void differenceOfTwoSnapshotsMustBeWhatCallersCounted() throws Exception {
        Pool pool = open(4);
        for (int i = 0; i < 20; i++) lease(pool, "SELECT pg_sleep(0.05)");
        waits.clear();
        uses.clear();
        PoolStats before = pool.stats();
        for (int i = 0; i < 40; i++) {
            threads.start(() -> {
                for (int n = 0; n < 20; n++) lease(pool, "SELECT pg_sleep(0.005)");
            });
        }
        threads.join();
        PoolStats stats = pool.stats().since(before);
        assertThat(stats.leasesGranted()).isEqualTo(800);
        assertThat(stats.waits().count()).isEqualTo(800);
        assertThat(stats.uses().count()).isEqualTo(800);
        assertThat(stats.timeouts()
                        + stats.rejected()
                        + stats.opened()
                        + stats.connects().count())
                .isZero();
        for (double percent : new double[] {50, 90, 99}) {
            assertPercentile(stats.waits(), waits, percent);
            assertPercentile(stats.uses(), uses, percent);
        }
        long useNanos = uses.stream().mapToLong(Long::longValue).sum();
        assertThat(stats.uses().sum().toNanos()).isBetween(useNanos / 10 * 9, useNanos);
    }

    // Leases that do nothing are too many to time each, and each counts; a long one among them has its own duration.
    @Test
    void eachLeaseMustCountWhereLeasesAreTooManyToTimeThem() throws Exception {
        Pool pool = open(2);
        for (int round = 0; round < 3; round++) {
            PoolStats before = pool.stats();
            long leases = 1;
            Duration late; // the machine has held threads up, so also the thread that sets the coarse clock
            try (Connection held = pool.client();
                    var stopwatch = Stopwatch.start()) {
                long endNanos = System.nanoTime() + Duration.ofMillis(700).toNanos();
                while (System.nanoTime() < endNanos) {
                    for (int i = 0; i < 1_000; i++) pool.client().close();
                    leases += 1_000;
                }
                assertThat(held.isClosed()).isFalse();
                late = stopwatch.allowing(Duration.ZERO);
            }
            PoolStats stats = pool.stats().since(before);
            assertThat(stats.leasesGranted()).isEqualTo(leases);
            assertThat(stats.uses().count()).isEqualTo(leases);
            assertThat(stats.uses().percentile(50)).isLessThan(Duration.ofMillis(1));
            assertThat(stats.uses().max()).isBetween(Duration.ofMillis(650).minus(late), Duration.ofSeconds(2));
        }
    }

    // A scraper takes a counter that decreases for a restart, so none may, whatever connections do meanwhile.
    @Test
    void noCounterMustDecreaseWhileConnectionsAreReplaced() throws Exception {
        Pool pool = open(4);
        for (int i = 0; i < 4; i++) {
            threads.start(() -> {
                for (int n = 0; n < 300; n++) {
                    try (Connection client = pool.client()) {
                        if (n % 10 == 0) pool.retire(client);
                    }
                }
            });
        }
        PoolStats before = pool.stats();
        while (before.leasesGranted() < 1_200 || before.closed() < 120) {
            PoolStats stats = pool.stats();
            List<Durations> now = List.of(stats.waits(), stats.uses(), stats.connects(), stats.resets());
            List<Durations> then = List.of(before.waits(), before.uses(), before.connects(), before.resets());
            for (int i = 0; i < now.size(); i++) {
                for (int b = 0; b < now.get(i).counts().length; b++) {
                    assertThat(now.get(i).counts()[b])
                            .isGreaterThanOrEqualTo(then.get(i).counts()[b]);
                }
                assertThat(now.get(i).sum()).isGreaterThanOrEqualTo(then.get(i).sum());
            }
            before = stats;
            Await.pause(Duration.ofMillis(1));
        }
        threads.join();
        assertThat(pool.stats().leasesGranted()).isEqualTo(1_200);
        assertThat(pool.stats().connects().count()).isEqualTo(pool.stats().opened());
    }
}
