package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.nanopool.CloseReason;
import dev.nanopool.Pool;
import dev.nanopool.PoolExhaustedException;
import dev.nanopool.PoolListener;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.FaultProxy;
import dev.nanopool.testkit.FaultProxy.Fault;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.Stopwatch;
import dev.nanopool.testkit.TestServer;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import java.util.logging.Handler;
import java.util.logging.Level;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Many pools in one JVM share a clock, and none of them disturbs the others. */
class ManyPoolsTest extends PoolTestBase {
    private static final int POOLS = 40;
    private static final int CALLERS = 10; // in each pool
    private static final Duration TIMEOUT = Duration.ofMillis(700);
    private static final Logger LOGGER = Logger.getLogger("dev.nanopool");

    private final CountDownLatch released = new CountDownLatch(1);
    private final CountDownLatch hanging = new CountDownLatch(1);

    private static long threadsOfPools() {
        return Thread.getAllStackTraces().keySet().stream()
                .filter(thread -> thread.getName().startsWith("nanopool-"))
                .count();
    }

    // No pool has a thread of its own while nothing happens in it.
    @Test
    void idlePoolsMustShareOneThread() throws Exception {
        List<Pool> pools = new ArrayList<>();
        for (int i = 0; i < POOLS; i++) pools.add(open(config().size(3).minIdle(i % 10 == 0 ? 1 : 0)));
        Await.until("only the clock is left", () -> threadsOfPools() == 1);
        for (Pool pool : pools) pool.close();
        assertThat(threadsOfPools()).isZero();
    }

    // All callers of all pools give up at the same moment.
    @Test
    void deadlinesInManyPoolsMustBeKept() throws Exception {
        List<Pool> pools = new ArrayList<>();
        for (int i = 0; i < POOLS; i++) {
            pools.add(open(config().size(1).minIdle(0)));
            pools.getLast().suspend();
        }
        var latest = new AtomicLong();
        var go = new CountDownLatch(1);
        for (Pool pool : pools) {
            for (int i = 0; i < CALLERS; i++) {
                threads.start(() -> {
                    go.await();
                    long start = System.nanoTime();
                    assertThatThrownBy(() -> pool.client(TIMEOUT)).isInstanceOf(PoolExhaustedException.class);
                    latest.accumulateAndGet(System.nanoTime() - start - TIMEOUT.toNanos(), Math::max);
                });
            }
        }
        try (var stopwatch = Stopwatch.start()) {
            go.countDown();
            threads.join();
            assertThat(Duration.ofNanos(latest.get())).isLessThan(stopwatch.allowing(TOLERANCE));
        }
        pools.forEach(Pool::resume);
    }

    // A caller is served before its deadline. After a random time a later caller comes, which is not served.
    @Test
    void deadlineMustBeKeptAfterOneThatWasNotNeeded() throws Exception {
        var latest = new AtomicLong();
        try (var stopwatch = Stopwatch.start()) {
            for (int i = 0; i < POOLS / 2; i++) {
                var random = new Random(i);
                Pool pool = open(config().size(1));
                threads.start(() -> {
                    for (int round = 0; round < 5; round++) {
                        Connection holder = pool.client();
                        var giver = Thread.ofVirtual().start(() -> {
                            Await.pause(Duration.ofMillis(20));
                            giveBack(holder);
                        });
                        Duration unneeded = Duration.ofMillis(random.nextInt(300, 2_000));
                        try (Connection unused = pool.client(unneeded)) {
                            giver.join();
                            Await.pause(Duration.ofMillis(random.nextInt(1_500)));
                            Duration timeout = Duration.ofMillis(random.nextInt(50, 500));
                            long start = System.nanoTime();
                            assertThatThrownBy(() -> pool.client(timeout)).isInstanceOf(PoolExhaustedException.class);
                            latest.accumulateAndGet(System.nanoTime() - start - timeout.toNanos(), Math::max);
                        }
                    }
                });
            }
            threads.join();
            assertThat(Duration.ofNanos(latest.get())).isLessThan(stopwatch.allowing(TOLERANCE));
        }
    }

    private static void giveBack(Connection client) {
        try {
            client.close();
        } catch (SQLException e) {
            throw new IllegalStateException(e);
        }
    }

    /** Never returns while the test lasts, whatever happens. */
    private void hang() {
        hanging.countDown();
        while (released.getCount() > 0) LockSupport.parkNanos(1_000_000);
    }

    /** Hangs at each line of one pool. */
    private final class HangingHandler extends Handler {
        private final String pool;

        HangingHandler(String pool) {
            this.pool = pool;
        }

        @Override
        public void publish(LogRecord line) {
            if (String.valueOf(line.getMessage()).startsWith(pool + ":")) hang();
        }

        @Override
        public void flush() {}

        @Override
        public void close() {}
    }

    // The clock finds the lost connection of the sick pool, and must log that. The sound pool's callers have their
    // deadlines all the same, and the sound pool replaces a connection that it has lost.
    @ParameterizedTest
    @ValueSource(strings = {"log", "listener", "database"})
    void hangingPoolMustNotDisturbTheOthers(String what) throws Exception {
        FaultProxy proxy = proxy();
        var listener = new PoolListener() {
            @Override
            public void closed(String pool, int backendPid, CloseReason reason) {
                if (what.equals("listener")) hang();
            }
        };
        String name = name();
        Level level = LOGGER.getLevel();
        var handler = new HangingHandler(name);
        Pool sick = open(config(proxy).name(name).size(2).listener(listener).keepalive(Duration.ofSeconds(1)));
        Pool sound = open(2);
        LOGGER.setLevel(Level.ALL);
        if (what.equals("log")) LOGGER.addHandler(handler);
        try (Connection direct = TestServer.direct()) {
            boolean isDatabase = what.equals("database");
            if (isDatabase) proxy.blackHole();
            else proxy.cut(Fault.FIN); // without a word of the server, so that the clock itself sees the end
            TestServer.execute(
                    direct,
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = '"
                            + sound.stats().name() + "'");
            if (!isDatabase) assertThat(hanging.await(60, TimeUnit.SECONDS)).isTrue();
            Await.until(
                    "the sound pool is well",
                    () -> sound.stats().lost() >= 2 && sound.stats().idle() == 2);
            try (Connection one = sound.client();
                    Connection two = sound.client()) {
                assertThat(one.isValid(1) && two.isValid(1)).isTrue();
                for (int i = 0; i < 3; i++) {
                    try (var stopwatch = Stopwatch.start()) {
                        assertThatThrownBy(() -> sound.client(TIMEOUT)).isInstanceOf(PoolExhaustedException.class);
                        assertThat(stopwatch.elapsed()).isLessThan(stopwatch.allowing(TIMEOUT.plus(TOLERANCE)));
                    }
                }
            }
        } finally {
            released.countDown();
            proxy.heal();
            LOGGER.removeHandler(handler);
            LOGGER.setLevel(level);
        }
        awaitBalance(sick);
    }
}
