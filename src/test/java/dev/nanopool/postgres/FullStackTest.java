package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;

import dev.nanopool.Pool;
import dev.nanopool.PoolExhaustedException;
import dev.nanopool.testkit.PoolTestBase;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

/** A {@code StackOverflowError} at any call of a lease, which the caller survives, costs no connection and no permit. */
class FullStackTest extends PoolTestBase {
    private static final int SIZE = 3;
    private static final int NEAR = 600; // frames below the full stack in which the pool is used
    private static final Duration SHORT = Duration.ofMillis(5); // this caller waits in the line
    private static final int STACK = 256 << 10;
    private static final long RUN_NANOS =
            Duration.ofMillis(Long.getLong("nanopool.stack.millis", 3_000)).toNanos();

    private final AtomicInteger overflows = new AtomicInteger();
    private final AtomicInteger leased = new AtomicInteger();
    private final ConcurrentLinkedQueue<Throwable> failures = new ConcurrentLinkedQueue<>();
    private final AtomicLong ends = new AtomicLong();

    // Threads recurse until their stack is full, and on each level of the way back they lease or close a client. Others
    // use the pool in a usual way.
    @Test
    void poolMustBalanceWhenTheStackIsFullAtAnyCall() throws Exception {
        Pool pool = open(config().size(SIZE).acquireTimeout(Duration.ofMillis(250)));
        warmUp(pool);
        ends.set(System.nanoTime() + RUN_NANOS);
        List<Thread> deep = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            int odd = i;
            deep.add(new Thread(null, () -> recurseOften(pool, odd), "deep " + i, STACK));
        }
        for (int i = 0; i < 2; i++) {
            int odd = i;
            deep.add(Thread.ofVirtual().unstarted(() -> recurseOften(pool, odd)));
        }
        for (Thread thread : deep) {
            thread.setUncaughtExceptionHandler((t, e) -> failures.add(e));
            thread.start();
        }
        threads.start(() -> useOften(pool));
        for (Thread thread : deep) thread.join();
        threads.join();
        assertThat(failures).isEmpty();
        assertThat(overflows.get()).as("the stack was full").isGreaterThan(100);
        assertThat(leased.get()).as("leases near the full stack").isGreaterThan(10);
        awaitBalance(pool);
        List<Connection> all = new ArrayList<>();
        for (int i = 0; i < SIZE; i++) all.add(pool.client(Duration.ofSeconds(5)));
        for (Connection client : all) client.close();
    }

    /**
     * Goes each way once. A class or a call site that the JVM prepares while the stack is full is unusable for ever, which
     * no library can prevent.
     */
    private void warmUp(Pool pool) throws Exception {
        var held = new @Nullable Connection[SIZE + 3][1];
        for (int i = 0; i < held.length; i++) useOnce(pool, held[i], i);
        Thread thread = new Thread(() -> useOnce(pool, new @Nullable Connection[1], 1));
        thread.start();
        thread.join();
        for (Connection[] client : held) if (client[0] != null) useOnce(pool, client, 0);
        for (int i = 0; i < 1_000; i++) useOnce(pool, held[0], i);
        if (held[0][0] != null) useOnce(pool, held[0], 0);
        awaitBalance(pool);
    }

    private void useOften(Pool pool) throws SQLException {
        while (System.nanoTime() < ends.get()) {
            try (Connection client = pool.client()) {
                assertThat(client.isValid(1)).isTrue();
            } catch (PoolExhaustedException e) {
                // the others have all
            }
        }
    }

    private void recurseOften(Pool pool, int odd) {
        var held = new @Nullable Connection[1];
        for (int round = 0; System.nanoTime() < ends.get(); round++) {
            int unused = recurse(pool, held, odd + round);
            if (held[0] != null) close(held[0]);
            held[0] = null;
        }
    }

    private static void close(Connection client) {
        try {
            client.close();
        } catch (SQLException e) {
            throw new IllegalStateException(e);
        }
    }

    /** Returns how many frames above the full stack this one is. */
    @SuppressWarnings("InfiniteRecursion") // the full stack is the purpose
    private int recurse(Pool pool, @Nullable Connection[] held, int odd) {
        int above;
        try {
            above = recurse(pool, held, odd + 1);
            if (above < NEAR) useOnce(pool, held, odd);
        } catch (StackOverflowError e) {
            overflows.lazySet(overflows.getPlain() + 1); // few bytes of stack
            above = 0;
        }
        return above + 1;
    }

    /** Leases or closes. What it holds is written without a call, so that this test loses nothing itself. */
    private void useOnce(Pool pool, @Nullable Connection[] held, int odd) {
        try {
            if (held[0] != null) {
                close(held[0]);
                held[0] = null;
            } else if ((odd & 3) == 0) {
                Optional<Connection> client = pool.tryClient();
                if (client.isPresent()) held[0] = client.get();
            } else {
                held[0] = pool.client((odd & 15) == 1 ? SHORT : Duration.ZERO);
            }
            if (held[0] != null) leased.lazySet(leased.getPlain() + 1);
        } catch (SQLException e) {
            // no connection; the next frame tries again
        }
    }
}
