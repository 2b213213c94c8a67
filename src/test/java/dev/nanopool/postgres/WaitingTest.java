package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.management.OperatingSystemMXBean;
import dev.nanopool.Pool;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.PoolTestBase;
import java.lang.management.ManagementFactory;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.time.Duration;
import java.util.Arrays;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.stream.LongStream;
import org.junit.jupiter.api.Test;

/** How callers wait: evenly, and at no cost. */
class WaitingTest extends PoolTestBase {
    private static final int CALLERS = 1_000;
    private static final Duration WARM_UP = Duration.ofSeconds(2);
    private static final Duration ROUND = Duration.ofSeconds(5);

    private static void say(String text) {
        System.getLogger("dev.nanopool.test").log(System.Logger.Level.INFO, text);
    }

    // 1,000 virtual threads in a closed loop over 8 connections: no thread is luckier than another.
    @Test
    void callersMustBeServedEvenly() throws Exception {
        Pool pool = open(config().size(8));
        int[] served = new int[CALLERS];
        long[][] waits = new long[CALLERS][1_000_000 / CALLERS];
        var ready = new CountDownLatch(CALLERS);
        var go = new CountDownLatch(1);
        long[] begin = new long[1];
        long[] end = new long[1];
        for (int i = 0; i < CALLERS; i++) {
            int caller = i;
            threads.start(() -> {
                ready.countDown();
                go.await();
                long start = System.nanoTime();
                while (start < end[0]) {
                    try (Connection client = pool.client()) {
                        long wait = System.nanoTime() - start;
                        // Not from the beginning: the scheduler starts a thousand threads one after the other.
                        if (start >= begin[0]) waits[caller][served[caller]++] = wait;
                        try (PreparedStatement select = client.prepareStatement("SELECT 1")) {
                            select.executeQuery().close();
                        }
                    }
                    start = System.nanoTime();
                }
            });
        }
        ready.await();
        begin[0] = System.nanoTime() + WARM_UP.toNanos();
        end[0] = begin[0] + ROUND.toNanos();
        go.countDown();
        threads.join();
        int least = Arrays.stream(served).min().orElseThrow();
        int most = Arrays.stream(served).max().orElseThrow();
        long[] sorted = LongStream.range(0, CALLERS)
                .flatMap(i -> Arrays.stream(
                        waits[(int) i], served[(int) i] / 5, Math.min(served[(int) i], waits[(int) i].length)))
                .sorted()
                .toArray();
        double median = sorted[sorted.length / 2] / 1e6;
        double high = sorted[(int) (sorted.length * 0.999)] / 1e6;
        say("closed loop: %d ops/s; per thread %d to %d; wait median %.1f ms, p99.9 %.1f ms"
                .formatted(Arrays.stream(served).sum() / ROUND.toSeconds(), least, most, median, high));
        assertThat((double) most / least).as("luckiest / unluckiest").isLessThan(1.5);
        assertThat(high / median).as("p99.9 / median of the wait").isLessThan(4);
    }

    // Who waits costs nothing: no spin, no yield, no timer of its own.
    @Test
    void waitingMustUseNoCpu() throws Exception {
        Pool pool = open(config().size(2).acquireTimeout(Duration.ofMinutes(1)));
        var system = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        try (Connection one = pool.client();
                Connection two = pool.client()) {
            assertThat(one.isValid(1) && two.isValid(1)).isTrue();
            for (int i = 0; i < 200; i++) threads.start(() -> pool.client().close());
            Await.until("all wait", () -> pool.stats().pending() == 200);
            var never = new CountDownLatch(1);
            double best = Double.MAX_VALUE;
            // The compiler and the collector finish what the tests before have left to them; the pool would not stop.
            for (int round = 0; round < 3 && best >= 0.02; round++) {
                long cpu = system.getProcessCpuTime();
                assertThat(never.await(5, TimeUnit.SECONDS)).isFalse();
                best = Math.min(best, (system.getProcessCpuTime() - cpu) / 5e9);
            }
            say("200 waiting: %.2f %% of a core".formatted(best * 100));
            assertThat(best).as("share of a core").isLessThan(0.02);
            assertThat(pool.stats().pending()).isEqualTo(200);
        }
        threads.join();
    }
}
