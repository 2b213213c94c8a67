package dev.nanopool;

import java.lang.System.Logger.Level;
import java.time.Duration;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/** The pool's own threads: starts them, and waits for their end when the pool closes. Thread-safe. */
final class Background {
    private static final System.Logger LOGGER = System.getLogger("dev.nanopool");

    private final String pool;
    // A thread is registered before it starts. A virtual one leaves as its last act. A platform one is visible until it
    // has terminated, which it cannot report itself, so the next thread to start removes it.
    private final Set<Thread> virtual = ConcurrentHashMap.newKeySet();
    private final Set<Thread> platform = ConcurrentHashMap.newKeySet();

    Background(String pool) {
        this.pool = pool;
    }

    /** Runs a task on a virtual thread of its own, which ends with the task. */
    void run(String what, Runnable task) {
        Thread thread = Thread.ofVirtual().name("nanopool-" + pool + "-" + what).unstarted(() -> {
            try {
                task.run();
            } catch (RuntimeException | Error e) {
                LOGGER.log(Level.ERROR, () -> pool + ": bug: a thread of the pool failed", e);
            } finally {
                virtual.remove(Thread.currentThread());
            }
        });
        start(thread, virtual);
    }

    /** Makes a platform thread of the pool; {@link #start} starts it. */
    Thread platformThread(String what, Runnable task) {
        return Thread.ofPlatform()
                .daemon()
                .name("nanopool-" + pool + "-" + what)
                .unstarted(task);
    }

    /** Starts a platform thread of the pool. */
    void start(Thread thread) {
        start(thread, platform);
    }

    private void start(Thread thread, Set<Thread> register) {
        platform.removeIf(other -> other.getState() == Thread.State.TERMINATED);
        boolean started = false;
        register.add(thread);
        try {
            thread.start();
            started = true;
        } finally {
            if (!started) register.remove(thread); // the system has no memory for another thread
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
        Thread running = other();
        while (running != null) {
            try {
                if (running.getState() == Thread.State.NEW) {
                    TimeUnit.MILLISECONDS.sleep(
                            1); // another thread is about to start it, and it cannot be joined before
                } else {
                    if (!running.join(Duration.ofNanos(deadline - Clock.nanoTime()))) break;
                    virtual.remove(running);
                    platform.remove(running);
                }
                running = other();
            } catch (InterruptedException e) {
                interrupted = true;
            }
        }
        if (interrupted) Thread.currentThread().interrupt();
        return running;
    }

    private @Nullable Thread other() {
        for (Set<Thread> register : List.of(virtual, platform)) {
            for (Thread thread : register) if (thread != Thread.currentThread()) return thread;
        }
        return null;
    }
}
