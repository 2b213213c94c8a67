package dev.nanopool.postgres;

import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import dev.nanopool.PoolExhaustedException;
import dev.nanopool.TestAccess;
import dev.nanopool.testkit.Await;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
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

/**
 * A program whose threads lease and close near the end of their stacks. {@code FullStackTest} runs it in a JVM of its own,
 * because a class that the JVM prepares while the stack is full is unusable for ever, and a class of the JDK would then be
 * missing in the tests that follow. Prints what was wrong, if anything was, and a line {@code done}.
 */
public final class FullStack {
    static final int SIZE = 3;
    private static final int NEAR = 600; // frames below the full stack in which the pool is used
    private static final Duration SHORT = Duration.ofMillis(5); // this caller waits in the line
    private static final int STACK = 256 << 10;
    private static final long RUN_NANOS =
            Duration.ofMillis(Long.getLong("nanopool.stack.millis", 3_000)).toNanos();

    private final AtomicInteger overflows = new AtomicInteger();
    private final AtomicInteger leased = new AtomicInteger();
    private final ConcurrentLinkedQueue<Throwable> failures = new ConcurrentLinkedQueue<>();
    private final AtomicLong ends = new AtomicLong();

    private FullStack() {}

    // Its arguments are the URL and the name of the pool.
    public static void main(String[] arguments) throws Exception {
        Pool pool = Pool.create(PoolConfig.builder(arguments[0])
                .name(arguments[1])
                .size(SIZE)
                .acquireTimeout(Duration.ofMillis(250))
                .build());
        new FullStack().run(pool);
        System.out.println("done");
        System.exit(0);
    }

    // Threads recurse until their stack is full, and on each level of the way back they lease or close a client.
    // Another
    // thread uses the pool in the usual way.
    private void run(Pool pool) throws Exception {
        warmUp(pool);
        ends.set(System.nanoTime() + RUN_NANOS);
        List<Thread> all = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            int odd = i;
            all.add(new Thread(null, () -> recurseOften(pool, odd), "deep " + i, STACK));
        }
        for (int i = 0; i < 2; i++) {
            int odd = i;
            all.add(Thread.ofVirtual().unstarted(() -> recurseOften(pool, odd)));
        }
        all.add(Thread.ofVirtual().unstarted(() -> useOften(pool)));
        for (Thread thread : all) {
            thread.setUncaughtExceptionHandler((t, e) -> failures.add(e));
            thread.start();
        }
        for (Thread thread : all) thread.join();
        for (Throwable failure : failures) failure.printStackTrace(System.out);
        System.out.println("failures " + failures.size());
        System.out.println("overflows " + overflows);
        System.out.println("leased " + leased);
        Await.untilEmpty("the pool is in balance", () -> TestAccess.imbalance(pool));
        List<Connection> clients = new ArrayList<>();
        for (int i = 0; i < SIZE; i++) clients.add(pool.client(Duration.ofSeconds(5)));
        System.out.println("clients " + clients.size());
        for (Connection client : clients) client.close();
        pool.close();
        System.out.println("bugs " + TestAccess.bugs(pool));
    }

    /** Goes each way once, so that the JVM prepares its classes and call sites while there is room. */
    private void warmUp(Pool pool) throws Exception {
        var held = new @Nullable Connection[SIZE + 3][1];
        for (int i = 0; i < held.length; i++) useOnce(pool, held[i], i);
        for (Thread.Builder kind : List.of(Thread.ofPlatform(), Thread.ofVirtual())) {
            kind.start(() -> {
                        useOnce(pool, new @Nullable Connection[1], 1);
                        readAFile();
                    })
                    .join();
        }
        for (Connection[] client : held) if (client[0] != null) useOnce(pool, client, 0);
        for (int i = 0; i < 1_000; i++) useOnce(pool, held[0], i);
        if (held[0][0] != null) useOnce(pool, held[0], 0);
        Await.untilEmpty("the pool is in balance", () -> TestAccess.imbalance(pool));
    }

    // To load a class is such a read; for a virtual thread the JDK needs classes of its own.
    private static void readAFile() {
        try {
            Files.readString(Path.of(System.getProperty("java.home"), "release"));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private void useOften(Pool pool) {
        while (System.nanoTime() < ends.get()) {
            try (Connection client = pool.client()) {
                if (!client.isValid(1)) throw new IllegalStateException("a dead connection was lent");
            } catch (PoolExhaustedException e) {
                // the others have all
            } catch (SQLException e) {
                throw new IllegalStateException(e);
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
