package dev.nanopool;

import dev.nanopool.queue.StackReserve;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/**
 * The pool's own threads. They inherit nothing from the thread that starts them, because that may be a caller's. Thread-safe.
 */
final class PoolThreads {
    // A virtual thread that has not begun after this time has no carrier.
    private static final long CARRIER_NANOS = Duration.ofMillis(50).toNanos();

    private volatile @Nullable Thread
            initialiser; // initialises the class that makes the pool; null once that has ended

    private final String pool;
    private final Events events;
    private final Alarm alarm;
    // A thread is registered before it starts. A virtual thread removes itself as its last act. A platform thread stays
    // visible until it has terminated, so the housekeeper removes it, or the next thread that starts. It keeps 4 KB of
    // buffers until then. A virtual thread has its Task. The map is small at first.
    private final Map<Thread, Runnable> running = new ConcurrentHashMap<>(1);

    /** What a virtual thread runs, or a platform thread instead. The value is the first of them that begins. */
    private final class Task extends AtomicReference<@Nullable Thread> implements Runnable {
        private static final long serialVersionUID = 1;

        private final String what;
        private final transient Runnable body;
        private final long startedNanos = Clock.nanoTime();
        private boolean isRescued; // only the housekeeper uses it

        Task(String what, Runnable body) {
            this.what = what;
            this.body = body;
        }

        @Override
        public void run() {
            try {
                if (compareAndSet(null, Thread.currentThread())) body.run();
            } catch (RuntimeException | Error e) {
                events.happened(new Event.Bug("a thread of the pool failed", e));
            } finally {
                running.remove(Thread.currentThread());
            }
        }

        void rescue() {
            if (isRescued || get() != null) return;
            start(platformThread(what, this));
            isRescued = true;
        }

        /** Whether another thread runs the task, so that this thread only has to end. */
        boolean isLostTo(Thread thread) {
            Thread runner = get();
            return runner != null && runner != thread;
        }
    }

    PoolThreads(String pool, Events events, Alarm alarm) {
        this.pool = pool;
        this.events = events;
        this.alarm = alarm;
        this.initialiser = isInitialising(Thread.currentThread()) ? Thread.currentThread() : null;
    }

    /**
     * Starts a task on a virtual thread, which ends with the task. While the class is initialised that made the pool, it starts
     * the task on a platform thread. If this throws, the task does not run.
     */
    void start(String what, Runnable body) {
        StackReserve.requireMuch();
        var task = new Task(what, body);
        boolean isPlatform = checkInitialiser();
        Thread thread = isPlatform
                ? platformThread(what, task)
                : Thread.ofVirtual()
                        .inheritInheritableThreadLocals(false)
                        .name(name(what))
                        .unstarted(task);
        start(thread, isPlatform ? thread : task);
    }

    /**
     * Answers whether the initialiser still initialises a class, and forgets it if not. Virtual threads that wait for that
     * class hold their carriers, so a virtual thread of the pool might never go on.
     */
    private boolean checkInitialiser() {
        Thread thread = initialiser;
        if (thread == null) return false;
        if (isInitialising(thread)) return true;
        initialiser = null;
        return false;
    }

    /** Whether that thread initialises a class. */
    static boolean isInitialising(Thread thread) {
        for (StackTraceElement frame : thread.getStackTrace()) {
            if (frame.getMethodName().equals("<clinit>")) return true;
        }
        return false;
    }

    private String name(String what) {
        return (pool.startsWith("nanopool") ? "" : "nanopool-") + pool + "-" + what;
    }

    /**
     * Runs the tasks for which no carrier was free on platform threads. All carriers can be held by virtual threads that
     * wait for a class to be initialised, while the initialising thread waits for the pool. For the housekeeper.
     */
    void rescue(long nowNanos) {
        if (running.isEmpty()) return;
        running.forEach((thread, started) -> {
            if (started instanceof Task task && nowNanos - task.startedNanos >= CARRIER_NANOS) task.rescue();
        });
    }

    /** Whether no thread of the pool runs. Forgets those that have ended. */
    boolean isAtRest() {
        if (!running.isEmpty()) forgetEnded();
        return running.isEmpty();
    }

    private void forgetEnded() {
        running.forEach((thread, started) -> {
            if (!thread.isVirtual() && thread.getState() == Thread.State.TERMINATED) running.remove(thread);
        });
    }

    /** Makes a platform thread; {@link #start(Thread)} starts it. */
    Thread platformThread(String what, Runnable task) {
        return Thread.ofPlatform()
                .daemon()
                .inheritInheritableThreadLocals(false)
                .name(name(what))
                .unstarted(task);
    }

    /** Starts a thread of the pool. If this throws, the thread does not run. */
    void start(Thread thread) {
        StackReserve.requireMuch();
        forgetEnded();
        start(thread, thread);
    }

    private void start(Thread thread, Runnable task) {
        boolean started = false;
        running.put(thread, task); // THEN ring
        try {
            alarm.ringIfQuiet();
            // Nothing that can fail may follow, because a caller that sees a failure would run the task again.
            thread.start();
            started = true;
        } finally {
            if (!started) running.remove(thread);
        }
    }

    /** Forgets that thread, so that the end of the pool does not wait for it. */
    void leaveBehind(Thread thread) {
        running.remove(thread);
    }

    /**
     * Waits until every thread of the pool has ended, those included that start meanwhile. The calling thread may be one of
     * them. An interrupt does not end this waiting, because it is bounded. The method sets the interrupt flag at the end.
     *
     * @return a thread that still runs when the patience is over; null if there is none
     */
    @Nullable
    Thread awaitEnd(Duration patience) {
        long deadline = Clock.nanoTime() + patience.toNanos();
        boolean interrupted = false;
        Thread other = other();
        while (other != null && Clock.nanoTime() < deadline) {
            rescue(Clock.nanoTime()); // the housekeeper may have ended
            try {
                if (other.getState() == Thread.State.NEW)
                    LockSupport.parkNanos(this, 1_000_000); // no thread can join it yet
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
        for (Map.Entry<Thread, Runnable> each : running.entrySet()) {
            Thread thread = each.getKey();
            // It has nothing to do, but may still wait for a carrier.
            boolean isIdle = each.getValue() instanceof Task task && task.isLostTo(thread);
            if (thread != Thread.currentThread() && thread.getState() != Thread.State.TERMINATED && !isIdle) {
                return thread;
            }
        }
        return null;
    }
}
