package dev.nanopool;

import dev.nanopool.queue.LeaseQueue;
import dev.nanopool.queue.RefusedException.Reason;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.locks.LockSupport;

/**
 * The pool's one clock: a thread that answers callers whose deadline has passed, and looks after all connections once a
 * second. It does no I/O that could block, and never waits for anybody. A platform thread, so that a server busy with
 * virtual threads cannot hold it up.
 */
final class Housekeeper {
    private static final System.Logger LOGGER = System.getLogger("dev.nanopool");
    private static final long LINE_NANOS =
            Duration.ofMillis(5).toNanos(); // at least this between two looks at the line
    private static final long TICK_NANOS = Duration.ofMillis(100).toNanos(); // at most this: the coarse clock
    private static final long SWEEP_NANOS = Duration.ofSeconds(1).toNanos();

    private final Pool pool;
    private final PoolConfig config;
    private final LeaseQueue<?> queue;
    private final Clock clock;
    private final Watchdog watchdog;
    private final Health health;
    private final Supply supply;
    private final Diagnosis diagnosis;
    private final Events events;
    private final Background background;
    private final Thread thread;
    private volatile boolean stopped;

    // The housekeeper's own.
    private long sweptNanos;
    private long countedNanos; // since when unneeded connections are counted
    private int unneeded = Integer.MAX_VALUE; // idle all the time since then

    Housekeeper(
            Pool pool,
            PoolConfig config,
            LeaseQueue<?> queue,
            Clock clock,
            Watchdog watchdog,
            Health health,
            Diagnosis diagnosis,
            Events events,
            Background background) {
        this.pool = pool;
        this.config = config;
        this.queue = queue;
        this.clock = clock;
        this.watchdog = watchdog;
        this.health = health;
        this.supply = health.supply();
        this.diagnosis = diagnosis;
        this.events = events;
        this.background = background;
        this.thread = Thread.ofPlatform()
                .daemon()
                .name("nanopool-" + config.name + "-housekeeper")
                .unstarted(this::run);
    }

    void start() {
        clock.tick(Clock.nanoTime());
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

    private void run() {
        while (!stopped) {
            long now = Clock.nanoTime();
            clock.tick(now);
            long wait = TICK_NANOS;
            try {
                wait = Math.min(queue.expire(now) - now, wait);
                watchdog.enforce(now);
                lookForDeadlock();
                if (now - sweptNanos >= SWEEP_NANOS) {
                    sweptNanos = now;
                    sweep(now);
                }
            } catch (RuntimeException | Error e) { // the clock must go on: callers' deadlines depend on it
                LOGGER.log(System.Logger.Level.ERROR, () -> config.name + ": bug: the housekeeper failed", e);
            }
            LockSupport.parkNanos(this, Math.max(wait, LINE_NANOS));
            long early = now + LINE_NANOS - Clock.nanoTime();
            while (early > 0 && !stopped) {
                LockSupport.parkNanos(this, early);
                early = now + LINE_NANOS - Clock.nanoTime();
            }
        }
    }

    /** Refuses one of the callers that wait for each other, so that it gives its own connection back. */
    private void lookForDeadlock() {
        Thread deadlocked = queue.pending() == 0 ? null : diagnosis.deadlocked();
        if (deadlocked != null) queue.refuse(Reason.DEADLOCK, deadlocked);
    }

    private void sweep(long now) {
        if (supply.opening() == 0) supply.raise();
        supply.adjust();
        for (PhysicalConnection connection : supply.connections()) lookForLeak(connection, now);
        List<PhysicalConnection> idle = supply.takeIdle();
        int surplus = surplus(idle.size(), now);
        for (PhysicalConnection connection : idle) {
            if (surplus-- > 0) supply.discard(connection, CloseReason.IDLE_TIMEOUT);
            else lookAtIdle(connection, now);
        }
    }

    private void lookAtIdle(PhysicalConnection connection, long now) {
        long asked = Math.max(connection.idleNanos, connection.provenNanos);
        if (!config.keepalive.isZero() && now - asked >= config.keepalive.toNanos()) health.validate(connection);
        else health.look(connection);
    }

    /**
     * How many idle connections are too many. Callers take turns at all of them, so none is idle for long: what counts is
     * how many were idle all the time.
     */
    private int surplus(int idle, long now) {
        unneeded = Math.min(unneeded, idle);
        if (now - countedNanos < config.idleTimeout.toNanos()) return 0;
        int surplus = Math.min(unneeded, supply.connections().size() - config.minIdle);
        countedNanos = now;
        unneeded = Integer.MAX_VALUE;
        return surplus;
    }

    /** A client that nobody can reach is taken back; one that is merely suspicious is told of. */
    private void lookForLeak(PhysicalConnection connection, long now) {
        Lease lease = connection.lastingLease();
        if (lease == null) return;
        boolean isForgotten = lease.client() == null;
        if (isForgotten ? connection.isSpeaking() : connection.isBusy()) return; // waiting for the server is no leak
        boolean isSuspect = !lease.owner().isAlive() || now - lease.startNanos() >= leakNanos();
        if (!isForgotten && (!isSuspect || lease.equals(connection.suspected))) return;
        Throwable borrowed = connection.borrowed;
        StackTraceElement[] stack =
                borrowed != null ? borrowed.getStackTrace() : lease.owner().getStackTrace();
        var holder = Diagnosis.holder(lease, List.of(stack));
        if (isForgotten) {
            if (!connection.endForgotten(lease)) return;
            pool.takeBack(connection);
        } else {
            if (!connection.isStill(lease)) return; // it was given back meanwhile
            connection.suspected = lease;
        }
        background.run("leak", () -> events.leaked(holder, isForgotten));
    }

    private long leakNanos() {
        return config.leakThreshold.isZero() ? Long.MAX_VALUE : config.leakThreshold.toNanos();
    }
}
