package dev.nanopool;

import java.time.Duration;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/**
 * The pool's own threads. They inherit nothing of the thread that starts them, because that may be any caller's. Thread-safe.
 */
final class PoolThreads {
    private final String pool;
    private final Events events;
    // A thread is registered before it starts. It leaves as its last act; a platform thread is also visible until it
    // has terminated, so the next thread to start removes it.
    private final Set<Thread> running = ConcurrentHashMap.newKeySet();

    PoolThreads(String pool, Events events) {
        this.pool = pool;
        this.events = events;
    }

    /** Starts a task on a virtual thread, which ends with it. If this throws, the task does not run. */
    void start(String what, Runnable task) {
        start(Thread.ofVirtual()
                .inheritInheritableThreadLocals(false)
                .name("nanopool-" + pool + "-" + what)
                .unstarted(() -> {
                    try {
                        task.run();
                    } catch (RuntimeException | Error e) {
                        events.happened(new Event.Bug("a thread of the pool failed", e));
                    } finally {
                        running.remove(Thread.currentThread());
                    }
                }));
    }

    /** Makes a platform thread; {@link #start(Thread)} starts it. */
    Thread platformThread(String what, Runnable task) {
        return Thread.ofPlatform()
                .daemon()
                .inheritInheritableThreadLocals(false)
                .name("nanopool-" + pool + "-" + what)
                .unstarted(task);
    }

    /** Starts a thread of the pool. If this throws, the thread does not run. */
    void start(Thread thread) {
        if (!thread.isVirtual()) running.removeIf(other -> other.getState() == Thread.State.TERMINATED);
        boolean started = false;
        running.add(thread);
        try {
            // Nothing that can fail may follow, because a caller that sees a failure would run the task again.
            thread.start();
            started = true;
        } finally {
            if (!started) running.remove(thread);
        }
    }

    /**
     * Waits until every thread of the pool has ended, and those that they start meanwhile; the calling thread may be one of
     * them. An interrupt does not end this waiting, because it is bounded; the flag is set at the end.
     *
     * @return a thread that still runs when the patience is over; null if there is none
     */
    @Nullable
    Thread awaitEnd(Duration patience) {
        long deadline = Clock.nanoTime() + patience.toNanos();
        boolean interrupted = false;
        Thread other = other();
        while (other != null && Clock.nanoTime() < deadline) {
            try {
                if (other.getState() == Thread.State.NEW)
                    LockSupport.parkNanos(this, 1_000_000); // cannot be joined yet
                else other.join(Duration.ofMillis(10));
            } catch (InterruptedException e) {
                interrupted = true;
            }
            other = other();
        }
        if (interrupted) Thread.currentThread().interrupt();
        return other;
    }

    private @Nullable Thread other() {
        for (Thread thread : running) {
            if (thread != Thread.currentThread() && thread.getState() != Thread.State.TERMINATED) return thread;
        }
        return null;
    }
}
