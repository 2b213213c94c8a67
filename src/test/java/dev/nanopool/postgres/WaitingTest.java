package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.sun.management.OperatingSystemMXBean;
import dev.nanopool.Pool;
import dev.nanopool.PoolExhaustedException;
import dev.nanopool.PoolHealth;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.PoolTestBase;
import java.lang.management.ManagementFactory;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.LongStream;
import org.junit.jupiter.api.Test;

/** Callers wait evenly, and at no cost. */
class WaitingTest extends PoolTestBase {
    private static final int CALLERS = 1_000;
    private static final int ROUNDS = 6; // at most; other programs disturb the one or the other
    private static final double LUCK = 1.5;
    private static final double WAIT = 4;
    private static final double CPU = 0.02;
    private static final Duration WARM_UP = Duration.ofSeconds(2);
    private static final Duration ROUND = Duration.ofSeconds(5);
    private static final long HOLD_NANOS = Duration.ofMillis(4).toNanos();
    private static final Pattern EXPECTED =
            Pattern.compile("place (\\d+) in the line, which would get one after (\\d+) ms;");

    private static void say(String text) {
        System.getLogger("dev.nanopool.test").log(System.Logger.Level.INFO, text);
    }

    // 1,000 virtual threads in a closed loop over 8 connections. No thread is luckier than another.
    @Test
    void callersMustBeServedEvenly() throws Exception {
        Pool pool = open(config().size(8));
        Evenness best = measure(pool);
        for (int round = 1; round < ROUNDS && !best.isEven(); round++) best = measure(pool);
        assertThat(best.luckiest).as("luckiest / unluckiest").isLessThan(LUCK);
        assertThat(best.longest).as("p99.9 / median of the wait").isLessThan(WAIT);
    }

    /** What the luckiest caller got to what the unluckiest got, and the longest wait to the median. */
    private record Evenness(double luckiest, double longest) {
        boolean isEven() {
            return luckiest < LUCK && longest < WAIT;
        }
    }

    private Evenness measure(Pool pool) throws Exception {
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
                        // Not from the beginning, because the scheduler starts a thousand threads one after the other.
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
        return new Evenness((most - 1.0) / least, high / median); // one more or less is chance where leases are few
    }

    // Three times as many callers come as the pool can serve, and each would wait for half a second. The connections
    // stay busy, most of the others learn at once that their turn comes too late, and few wait in vain. Where other
    // programs want the processors, callers come in bursts, so one of three rounds must show it.
    @Test
    void hopelessCallerMustBeRefusedAtItsArrival() throws Exception {
        boolean isShown = false;
        for (int round = 0; round < 3 && !isShown; round++) isShown = refusesTheHopeless();
        assertThat(isShown).isTrue();
    }

    /** Whether half of the capacity was used, and most of the refused callers were refused at once. */
    private boolean refusesTheHopeless() throws Exception {
        Duration patience = Duration.ofMillis(500);
        Pool pool = open(config().size(4).acquireTimeout(patience));
        long capacity = lendFor(pool, Duration.ofSeconds(1)); // per second
        var refusals = new ConcurrentLinkedQueue<Refusal>();
        long start = System.nanoTime();
        long before = pool.stats().leasesGranted();
        for (long i = 0; i < 3 * 4 * capacity; i++) {
            long nanos = start + i * 1_000_000_000 / (3 * capacity) - System.nanoTime();
            if (nanos > 0) LockSupport.parkNanos(nanos);
            threads.start(() -> {
                long came = System.nanoTime();
                try (Connection client = pool.client()) {
                    assertThat(client).isNotNull();
                    LockSupport.parkNanos(HOLD_NANOS);
                } catch (PoolExhaustedException e) {
                    refusals.add(new Refusal(e, System.nanoTime() - came));
                }
            });
        }
        double seconds = (System.nanoTime() - start) / 1e9;
        threads.join();
        long served = pool.stats().leasesGranted() - before;
        List<Refusal> early = refusals.stream().filter(Refusal::isEarly).toList();
        say("overload: %.0f of %d served per second; %d refused at once, %d waited in vain"
                .formatted(served / seconds, capacity, early.size(), refusals.size() - early.size()));
        if (served / seconds <= capacity / 2.0 || early.size() <= refusals.size() / 2) return false;
        assertThat(early).allSatisfy(refusal -> {
            assertThat(refusal.exception.verdict()).isEqualTo(PoolExhaustedException.Verdict.OVERLOAD);
            assertThat(refusal.exception.getMessage()).contains("(timeout 500 ms)");
        });
        long[] nanos = early.stream().mapToLong(Refusal::nanos).sorted().toArray();
        assertThat(nanos[nanos.length / 2]).isLessThan(patience.toNanos() / 5);
        assertThat(pool.stats().rejected()).isEqualTo(early.size());
        assertThat(pool.health().status()).isEqualTo(PoolHealth.Status.BUSY);
        return true;
    }

    private record Refusal(PoolExhaustedException exception, long nanos) {
        /** Whether the message says at which place the caller was, and how long it would have waited there. */
        boolean isEarly() {
            Matcher expected = EXPECTED.matcher(String.valueOf(exception.getMessage()));
            return expected.find()
                    && Integer.parseInt(expected.group(1)) > 4
                    && Long.parseLong(expected.group(2)) > 500;
        }
    }

    /** Lends all connections all the time, and says how many leases that were. */
    private long lendFor(Pool pool, Duration time) throws Exception {
        long end = System.nanoTime() + time.toNanos();
        for (int i = 0; i < 8; i++) {
            threads.start(() -> {
                while (System.nanoTime() < end) {
                    try (Connection client = pool.client()) {
                        assertThat(client).isNotNull();
                        LockSupport.parkNanos(HOLD_NANOS);
                    }
                }
            });
        }
        threads.join();
        return pool.stats().leasesGranted();
    }

    /** Its stack can be read, but not the first time. */
    private static final class Holder extends Thread {
        private final CountDownLatch isRead = new CountDownLatch(1);
        private final CountDownLatch goOn = new CountDownLatch(1);

        Holder(Runnable task) {
            super(task);
        }

        @Override
        public StackTraceElement[] getStackTrace() {
            if (isRead.getCount() > 0) {
                isRead.countDown();
                try {
                    goOn.await();
                } catch (InterruptedException e) {
                    throw new IllegalStateException(e);
                }
            }
            return super.getStackTrace();
        }
    }

    // A caller that gives up says what the holders do, and the others share its look at them. If it cannot go on, each
    // other caller looks by itself.
    @Test
    void callerThatCannotReadTheStacksMustNotHoldUpOthers() throws Exception {
        Pool pool = open(config().size(1).acquireTimeout(Duration.ofMillis(1)));
        var client = new AtomicReference<Connection>();
        var end = new CountDownLatch(1);
        var holder = new Holder(() -> {
            try (Connection held = pool.client(Duration.ofSeconds(5))) {
                client.set(held);
                end.await();
            } catch (SQLException | InterruptedException e) {
                throw new IllegalStateException(e);
            }
        });
        holder.start();
        Await.until("it holds the connection", () -> client.get() != null);
        try {
            threads.start(() -> assertThatThrownBy(pool::client).isInstanceOf(PoolExhaustedException.class));
            holder.isRead.await();
            var refused = new AtomicInteger();
            for (int i = 0; i < 10; i++) {
                threads.start(() -> {
                    assertThatThrownBy(pool::client)
                            .isInstanceOfSatisfying(
                                    PoolExhaustedException.class,
                                    exception -> assertThat(exception.holders()).hasSize(1));
                    refused.incrementAndGet();
                });
            }
            Await.until("the others are refused", () -> refused.get() == 10);
        } finally {
            holder.goOn.countDown();
            end.countDown();
        }
        holder.join();
        threads.join();
    }

    // A waiting caller costs nothing, because it has no spin, no yield and no timer of its own.
    @Test
    void waitingMustUseNoCpu() throws Exception {
        Pool pool = open(config().size(2).acquireTimeout(Duration.ofMinutes(1)));
        double waiting;
        try (Connection one = pool.client();
                Connection two = pool.client()) {
            assertThat(one.isValid(1) && two.isValid(1)).isTrue();
            for (int i = 0; i < 200; i++) threads.start(() -> pool.client().close());
            Await.until("all wait", () -> pool.stats().pending() == 200);
            waiting = leastCpu();
            assertThat(pool.stats().pending()).isEqualTo(200);
        }
        threads.join();
        // On a busy machine the same wake-ups of the housekeeper cost more, so those of the idle pool are the measure.
        double idle = waiting < CPU ? 0 : leastCpu();
        say("200 waiting: %.2f %% of a core".formatted((waiting - idle) * 100));
        assertThat(waiting - idle).as("share of a core").isLessThan(CPU);
    }

    /** The least share of a core that this process uses, of several measurements. */
    private static double leastCpu() throws InterruptedException {
        var system = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        var never = new CountDownLatch(1);
        double least = Double.MAX_VALUE;
        // The compiler and the collector finish what the tests before have left to them; the pool would not stop.
        for (int round = 0; round < 3 && least >= CPU; round++) {
            long start = System.nanoTime();
            long cpu = system.getProcessCpuTime();
            assertThat(never.await(5, TimeUnit.SECONDS)).isFalse();
            least = Math.min(least, (double) (system.getProcessCpuTime() - cpu) / (System.nanoTime() - start));
        }
        return least;
    }
}
