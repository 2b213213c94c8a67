package dev.nanopool.testkit;

import java.time.Duration;
import java.util.concurrent.locks.LockSupport;

/**
 * Measures how long something takes, and how late the machine lets a thread run meanwhile, because other programs may
 * want the processors, too. A bound then means the same on an idle machine and on a busy one.
 */
public final class Stopwatch implements AutoCloseable {
    private static final long TICK_NANOS = 5_000_000;

    /** How many threads and processes, one after the other, a measured step may wait for. */
    private static final int STEPS = 20;

    private final long startNanos = System.nanoTime();
    private final Thread thread = Thread.ofPlatform().daemon().name("stopwatch").unstarted(this::run);
    private volatile long dueNanos = startNanos + TICK_NANOS;
    private volatile long latestNanos;
    private volatile boolean stopped;

    private Stopwatch() {}

    /** Starts to measure. Close it, because a thread runs until then. */
    public static Stopwatch start() {
        var stopwatch = new Stopwatch();
        stopwatch.thread.start();
        return stopwatch;
    }

    // A platform thread, because the measured lateness must not excuse a pool that keeps all carriers busy.
    private void run() {
        while (!stopped) {
            LockSupport.parkNanos(dueNanos - System.nanoTime());
            long now = System.nanoTime();
            if (now < dueNanos) continue;
            latestNanos = Math.max(latestNanos, now - dueNanos);
            dueNanos = now + TICK_NANOS;
        }
    }

    /** The time since the start. */
    public Duration elapsed() {
        return Duration.ofNanos(System.nanoTime() - startNanos);
    }

    /** The bound, and what this machine may have added to it since the start. */
    public Duration allowing(Duration bound) {
        long late = Math.max(latestNanos, System.nanoTime() - dueNanos);
        return bound.plusNanos(STEPS * late);
    }

    /** Lets that much time pass, and as much more as this machine may have held the pool's threads up meanwhile. */
    public static void pause(Duration time) {
        try (var stopwatch = start()) {
            Duration left = time;
            while (left.isPositive()) {
                Await.pause(left);
                left = stopwatch.allowing(time).minus(stopwatch.elapsed());
            }
        }
    }

    @Override
    public void close() {
        stopped = true;
        LockSupport.unpark(thread);
    }
}
