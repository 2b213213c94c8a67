package dev.nanopool.spring;

import dev.nanopool.Pool;
import dev.nanopool.PoolStats;
import java.lang.System.Logger.Level;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.locks.LockSupport;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.context.SmartLifecycle;

/**
 * Closes all connections before a checkpoint, because an image of the JVM has no sockets, and opens them again afterwards. Stops
 * after everything else that Spring stops. The end of the application is no checkpoint, so beans can still use the pools then.
 */
final class Checkpoints implements SmartLifecycle {
    private static final Duration PATIENCE = Duration.ofSeconds(10);

    private final Pools pools;
    private final ConfigurableApplicationContext context;
    private volatile boolean isRunning;

    Checkpoints(Pools pools, ConfigurableApplicationContext context) {
        this.pools = pools;
        this.context = context;
    }

    @Override
    public void start() {
        pools.started().forEach(Pool::resume);
        isRunning = true;
    }

    @Override
    public void stop() {
        isRunning = false;
        if (context.isClosed()) return;
        List<Pool> started = pools.started();
        started.forEach(Pool::suspend);
        long deadlineNanos = System.nanoTime() + PATIENCE.toNanos();
        for (Pool pool : started) {
            while (open(pool) > 0
                    && System.nanoTime() - deadlineNanos < 0
                    && !Thread.currentThread().isInterrupted()) { // which ends the wait
                LockSupport.parkNanos(5_000_000);
            }
            long open = open(pool);
            if (open == 0) continue;
            System.getLogger("dev.nanopool")
                    .log(
                            Level.WARNING,
                            "{0}: {1} connections are still open, because their clients are",
                            pool.stats().name(),
                            open);
        }
    }

    private static long open(Pool pool) {
        PoolStats stats = pool.stats();
        return stats.opened() - stats.closed() + stats.opening();
    }

    @Override
    public boolean isRunning() {
        return isRunning;
    }

    @Override
    public int getPhase() {
        return Integer.MIN_VALUE;
    }
}
