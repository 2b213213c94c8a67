package dev.nanopool;

import dev.nanopool.queue.StackReserve;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;

/**
 * The one clock of all pools of a JVM. Its thread makes a round for a pool when something is due there, when the pool rings, and
 * when the machine has been asleep. It starts with the first pool and ends with the last. It is a platform thread, so that a
 * server that is busy with virtual threads cannot delay it. No pool delays another, because a round never blocks, never waits
 * for a lock that a lease, a listener or a log handler may hold, and never calls their code ({@link Events} leaves that to other
 * threads). Thread-safe.
 */
final class JvmClock {
    private static final long LINE_NANOS = Duration.ofMillis(5).toNanos(); // at least this between two wake-ups
    private static final long POLL_NANOS = 100_000; // how often remove() looks

    // A closing thread says that its pool is over, THEN looks whether a round is under way. The clock notes that a
    // round
    // is under way, THEN looks whether the pool is over. So after the removal no round begins.
    private static final Map<Round, Place> PLACES = new ConcurrentHashMap<>();
    private static final ReentrantLock LOCK = new ReentrantLock(); // for the first and the last pool
    private static volatile @Nullable Thread thread; // under the lock; null while there is no pool
    private static volatile boolean isRung; // some pool wants a round

    // Only the clock reads and writes these.
    static final Clock WALL = new Clock();
    private static long keptNanos; // when it last looked at the deadlines of all pools

    /** What the clock does for one pool. Only the clock calls these methods. */
    interface Round {
        /** Whether the pool wants a round before its time. Forgets the wish. */
        boolean takeRing();

        /** Does what must not be late, which is to answer callers whose deadline has passed. Called if something is due. */
        void keepTime(long nowNanos);

        /** Does all that is due. Answers when something is due next. */
        long look(long nowNanos);

        /** Reports a failure of the other methods. */
        void failed(Throwable failure);
    }

    private static final class Place {
        private final Round round;
        private long nextNanos; // only the clock uses it, and the next field
        private boolean isRung;
        private volatile boolean isServed;
        private volatile boolean isOver;

        Place(Round round) {
            this.round = round;
        }
    }

    private JvmClock() {}

    // For the pools

    /** Makes rounds for that pool from now on. Throws only if it does not. */
    static void add(Round round) {
        StackReserve.requireMuch();
        LOCK.lock();
        boolean isServed = false;
        try {
            PLACES.put(round, new Place(round));
            if (thread == null) start();
            else LockSupport.unpark(thread);
            isServed = true;
        } finally {
            if (!isServed) PLACES.remove(round);
            LOCK.unlock();
        }
    }

    /** It inherits nothing from the thread of the first pool, because it may outlive the application of that pool. */
    private static void start() {
        ThreadGroup group = Thread.currentThread().getThreadGroup();
        while (group != null && group.getParent() != null) group = group.getParent();
        Thread clock = Thread.ofPlatform()
                .group(group)
                .daemon()
                .inheritInheritableThreadLocals(false)
                .name("nanopool-clock")
                .unstarted(JvmClock::run);
        thread = clock; // first, because a thread of a pool may wake it at once
        boolean started = false;
        try {
            clock.start();
            started = true;
        } finally {
            if (!started) thread = null;
        }
    }

    /**
     * Makes no more rounds for that pool. Waits until the round has ended that is under way, and after the last pool until the
     * thread has ended, which takes a moment. Answers whether all of that happened within the patience. An interrupt does not
     * end this waiting, because it is bounded.
     */
    static boolean remove(Round round, Duration patience) {
        Thread clock = thread; // first, because it cannot end while the pool is in
        Place place = PLACES.get(round);
        if (place == null) return true;
        place.isOver = true; // THEN look whether it is served
        PLACES.remove(round);
        if (PLACES.isEmpty()) LockSupport.unpark(clock);
        long deadline = Clock.nanoTime() + patience.toNanos();
        boolean interrupted = false;
        while (isAtWork(place, clock) && Clock.nanoTime() < deadline) {
            LockSupport.parkNanos(PLACES, POLL_NANOS);
            interrupted |= Thread.interrupted();
        }
        if (interrupted) Thread.currentThread().interrupt();
        return !isAtWork(place, clock);
    }

    private static boolean isAtWork(Place place, @Nullable Thread clock) {
        return place.isServed || (PLACES.isEmpty() && clock != null && clock.isAlive());
    }

    /** Wakes the clock, so that it asks each pool whether it wants a round. */
    static void wake() {
        isRung = true; // THEN wake the clock
        LockSupport.unpark(thread);
    }

    /** Whether the calling thread is the clock. */
    static boolean isCurrent() {
        return Thread.currentThread() == thread;
    }

    /** The next multiple of that time, so that all pools wake the clock at the same moments. */
    static long next(long nowNanos, long everyNanos) {
        return nowNanos - nowNanos % everyNanos + everyNanos;
    }

    // The thread

    private static void run() {
        boolean hasEnded = false;
        while (!hasEnded) {
            try {
                serveAndPark();
                hasEnded = PLACES.isEmpty() && end();
            } catch (RuntimeException
                    | Error e) { // the clock must go on, because the deadlines of all callers depend on it
                for (Place place : PLACES.values()) {
                    failed(place, e);
                    break;
                }
            }
        }
    }

    private static boolean end() {
        LOCK.lock();
        try {
            boolean isLast = PLACES.isEmpty();
            if (isLast) thread = null;
            return isLast;
        } finally {
            LOCK.unlock();
        }
    }

    private static void serveAndPark() {
        long now = Clock.nanoTime();
        long next = now;
        try {
            next = serve(now);
        } finally {
            park(now, next); // also if it fails again and again
        }
    }

    private static void park(long now, long next) {
        if (PLACES.isEmpty()) return;
        LockSupport.parkNanos(PLACES, Math.max(next, now + LINE_NANOS) - Clock.nanoTime());
        long early = now + LINE_NANOS - Clock.nanoTime();
        while (early > 0 && !PLACES.isEmpty()) {
            LockSupport.parkNanos(PLACES, early);
            early = now + LINE_NANOS - Clock.nanoTime();
        }
    }

    /** Makes all rounds that are due. Answers when the next one is. */
    private static long serve(long now) {
        boolean hasSlept = WALL.findJump(now, System.currentTimeMillis());
        keepTime(now);
        long next = Long.MAX_VALUE;
        for (Place place : PLACES.values()) {
            if (place.isRung || place.nextNanos <= now || hasSlept) {
                place.isRung = false;
                serve(place, Clock.nanoTime(), true);
                breathe();
            }
            next = Math.min(next, place.nextNanos);
        }
        return next;
    }

    /** Keeps the deadlines of all pools during a long round. A round calls this between two steps. */
    static void breathe() {
        long now = Clock.nanoTime();
        if (now - keptNanos >= LINE_NANOS) keepTime(now);
    }

    private static void keepTime(long now) {
        keptNanos = now;
        boolean isAnyRung = isRung;
        if (isAnyRung) isRung = false; // THEN ask them, so that a later ring is heard, too
        for (Place place : PLACES.values()) {
            if (isAnyRung) place.isRung |= place.round.takeRing();
            if (place.isRung || place.nextNanos <= now) serve(place, now, false);
        }
    }

    /** A round may be under way below this method, because a long one lets the clock keep the deadlines meanwhile. */
    private static void serve(Place place, long now, boolean isWhole) {
        boolean wasServed = place.isServed;
        place.isServed = true; // THEN look whether it is over
        try {
            if (place.isOver) return;
            if (!isWhole) {
                place.round.keepTime(now);
            } else {
                place.nextNanos = now; // if it fails
                place.nextNanos = place.round.look(now);
            }
        } catch (RuntimeException | Error e) { // the others must not suffer from it
            failed(place, e);
        } finally {
            place.isServed = wasServed;
        }
    }

    private static void failed(Place place, Throwable failure) {
        try {
            place.round.failed(failure);
        } catch (RuntimeException | Error e) {
            place.nextNanos = 0; // what has failed is tried again, and then reported
        }
    }
}
