package dev.nanopool;

import java.time.Duration;
import java.util.concurrent.locks.LockSupport;

/**
 * The pool's one clock: a thread that answers callers whose deadline has passed, and looks after idle connections once a
 * second. It does no I/O and never waits for anybody. A platform thread, so that a server busy with virtual threads cannot
 * hold it up.
 */
final class Housekeeper {
    private static final System.Logger LOGGER = System.getLogger("dev.nanopool");
    private static final long LINE_NANOS =
            Duration.ofMillis(5).toNanos(); // at least this between two looks at the line
    private static final long TICK_NANOS = Duration.ofMillis(100).toNanos(); // at most this: the coarse clock
    private static final long SWEEP_NANOS = Duration.ofSeconds(1).toNanos();

    private final Pool pool;
    private final LeaseQueue<?> queue;
    private final Thread thread;
    private volatile boolean stopped;
    private volatile long coarseNanos;

    Housekeeper(Pool pool, LeaseQueue<?> queue) {
        this.pool = pool;
        this.queue = queue;
        this.thread = Thread.ofPlatform()
                .daemon()
                .name("nanopool-" + pool.name() + "-housekeeper")
                .unstarted(this::run);
    }

    void start() {
        thread.start();
    }

    /** Ends the thread, and waits until it has: a moment, since it waits for nobody. */
    void stop() throws InterruptedException {
        stopped = true;
        wake();
        thread.join();
    }

    /** Has it look at the line at once. */
    void wake() {
        LockSupport.unpark(thread);
    }

    /** The time to within 0.1 s, by a read that costs nothing. */
    long coarseNanos() {
        return coarseNanos;
    }

    private void run() {
        long sweepNanos = 0;
        while (!stopped) {
            long now = Pool.nanoTime();
            coarseNanos = now;
            long wait = Math.min(queue.expire(now) - now, TICK_NANOS);
            try {
                pool.enforceDeadlines(now);
                if (now - sweepNanos >= SWEEP_NANOS) {
                    sweepNanos = now;
                    pool.sweep();
                }
            } catch (RuntimeException e) { // the clock must go on: callers' deadlines depend on it
                LOGGER.log(System.Logger.Level.ERROR, () -> pool.name() + ": bug: the housekeeper failed", e);
            }
            LockSupport.parkNanos(this, Math.max(wait, LINE_NANOS));
            long early = now + LINE_NANOS - Pool.nanoTime();
            while (early > 0 && !stopped) {
                LockSupport.parkNanos(this, early);
                early = now + LINE_NANOS - Pool.nanoTime();
            }
        }
    }
}
