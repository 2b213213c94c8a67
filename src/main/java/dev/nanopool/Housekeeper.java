package dev.nanopool;

import dev.nanopool.Fate.Fact;
import dev.nanopool.queue.LeaseQueue;
import dev.nanopool.queue.RefusedException.Reason;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.function.IntUnaryOperator;

/**
 * Does what the pool needs from time to time, on the JVM's clock. It answers callers whose deadline has passed, looks four times
 * a second for what threads have left undone, and inspects all connections once a second. In a quiet pool it only does the last.
 * After a long time without a lease, or without a connection, it does so twice a minute, and when something is due. It does no
 * I/O that could block, and waits for no lock that a lease may hold.
 */
final class Housekeeper implements JvmClock.Round {
    // How often the housekeeper sets the coarse clock while leases come and go.
    private static final long TICK_NANOS = Duration.ofMillis(10).toNanos();
    private static final double MANY_LEASES = 10_000; // a second; from then on the clock is coarse
    private static final Duration ENDING = Duration.ofSeconds(2);
    private static final long BEAT_NANOS = Duration.ofMillis(250).toNanos(); // while something happens
    private static final long SWEEP_NANOS = Duration.ofSeconds(1).toNanos();
    private static final long SELDOM_NANOS = Duration.ofSeconds(30).toNanos();
    // After so long a time the pool asks each connection before it lends it to a caller that can wait.
    private static final long LONG_QUIET_NANOS = Checks.VALIDATE_AFTER_NANOS;
    private static final int NUMBERS_SWEEPS = 30; // from one line of the pool's numbers to the next

    private final PoolConfig config;
    private final LeaseQueue<PhysicalConnection> queue;
    private final Clock clock;
    private final Watchdog watchdog;
    private final Checks checks;
    private final Supply supply;
    private final Leaks leaks;
    private final Deadlocks deadlocks;
    private final Audit audit;
    private final Statistics statistics;
    private final Events events;
    private final Suspicion suspicion;
    private final Alarm alarm;
    private final PoolThreads threads;

    // Only the clock reads and writes the fields below, and the creating thread before it starts.
    private boolean isRung; // for the next look
    private long sweepNanos; // when the next sweep is due
    private long busyNanos; // when a lease had last begun, or anything else had happened
    private int sweeps;
    private long reportedLeases = -1; // how many leases had begun at the last line of the pool's numbers
    private long countedLeases; // when the clock was last slowed down or kept going
    private long countedLeasesNanos;
    private boolean isTicking;
    private boolean isCoarse; // the exact time would cost too much, because leases are so many
    private long countedNanos; // when the housekeeper began to count unneeded connections
    private int unneeded = Integer.MAX_VALUE; // how many were idle all the time since then

    Housekeeper(
            PoolConfig config,
            Supply supply,
            Checks checks,
            Watchdog watchdog,
            Leaks leaks,
            Deadlocks deadlocks,
            Audit audit,
            Statistics statistics,
            Events events,
            Suspicion suspicion,
            Clock clock,
            PoolThreads threads,
            Alarm alarm) {
        this.config = config;
        this.queue = supply.queue();
        this.supply = supply;
        this.checks = checks;
        this.watchdog = watchdog;
        this.leaks = leaks;
        this.deadlocks = deadlocks;
        this.audit = audit;
        this.statistics = statistics;
        this.events = events;
        this.suspicion = suspicion;
        this.clock = clock;
        this.alarm = alarm;
        this.threads = threads;
    }

    void start() {
        busyNanos = Clock.nanoTime();
        countedNanos = busyNanos;
        sweepNanos = nextSweep(busyNanos, busyNanos, busyNanos);
        JvmClock.add(this);
    }

    /** Ends the housekeeping, and waits for a moment until it has ended. Answers whether it has. */
    boolean stop() {
        boolean hasEnded = JvmClock.remove(this, ENDING);
        threads.start("log", () -> {
            long unused = supply.outage().report(Long.MAX_VALUE);
        });
        return hasEnded;
    }

    @Override
    public boolean takeRing() {
        isRung |= alarm.takeRing();
        return isRung;
    }

    @Override
    public void failed(Throwable failure) {
        events.happened(new Event.Bug("the housekeeper failed", failure));
    }

    @Override
    public void keepTime(long now) {
        if (isCoarse) clock.tick(now);
        long unused = queue.expire(now);
    }

    /** Checks at most four times a second whether leases come and go, and whether the machine has been asleep. */
    private void watchLeases(long now) {
        if (isTicking && now - countedLeasesNanos < BEAT_NANOS) return;
        long leases = 0;
        for (PhysicalConnection connection : supply.connections()) leases += connection.leases();
        boolean wasCoarse = isCoarse;
        isTicking = leases != countedLeases;
        if (isTicking) busyNanos = now;
        long sinceNanos = Math.max(1, now - countedLeasesNanos);
        isCoarse = (leases - countedLeases) * (1e9 / sinceNanos) >= MANY_LEASES;
        countedLeases = leases;
        countedLeasesNanos = now;
        if (isCoarse) clock.tick(now);
        else if (wasCoarse) clock.sleep();
        if (clock.findJump(now, System.currentTimeMillis())) {
            suspicion.raise("the machine was asleep, or its clock was set", supply.connections());
        }
    }

    @Override
    public long look(long now) {
        // A caller wakes the clock only if its deadline is the earliest of all, also of those that have left the line.
        return Math.min(queue.expire(now), lookAfter(now));
    }

    private long lookAfter(long now) {
        if (!isQuiet()) {
            busyNanos = now;
            sweepNanos = Math.min(sweepNanos, nextSweep(now, now, now)); // which may have been seldom
        } else if (supply.isEmpty()) {
            countedNanos = now;
            unneeded = Integer.MAX_VALUE; // the next connections are counted from their beginning
            sweepNanos = nextSweep(now, now - LONG_QUIET_NANOS, Long.MAX_VALUE); // seldom from the beginning
            return sweepNanos;
        } else if (now < sweepNanos) {
            return sweepNanos;
        }
        long next = lookAtAll(now);
        return Math.min(next, isQuiet() ? sweepNanos : JvmClock.next(now, BEAT_NANOS));
    }

    /** Whether nothing happens in the pool, so that its connections can be left alone between two sweeps. */
    private boolean isQuiet() {
        alarm.quiet(true); // THEN look whether anything happens
        boolean isQuiet = !isRung
                && !isTicking
                && !audit.isSuspicious()
                && supply.isQuiet()
                && events.isAtRest()
                && threads.isAtRest();
        if (!isQuiet) alarm.quiet(false);
        return isQuiet;
    }

    private long lookAtAll(long now) {
        isRung = false;
        events.tellDeferred(); // which an error may have prevented
        if (isCoarse) clock.tick(now);
        watchLeases(now);
        long next = Math.min(isCoarse ? JvmClock.next(now, TICK_NANOS) : Long.MAX_VALUE, attendToOutage(now));
        watchdog.enforce(now);
        supply.recover();
        Share share = supply.share();
        if (share != null) share.reconsider(now);
        for (PhysicalConnection connection : supply.connections()) {
            if (connection.abandoned) checks.recover(connection);
        }
        boolean isDue = now >= sweepNanos;
        if (isDue || audit.isSuspicious()) audit.compare(now);
        if (isDue) sweep(now);
        else if (alarm.takeSweep()) sweepEarly(now);
        threads.rescue(now); // last, because it may fail
        return Math.min(next, sweepNanos);
    }

    /**
     * When the next sweep is due: after a second; in a pool that has been quiet for long, when something is due, or after half a
     * minute.
     */
    static long nextSweep(long now, long busyNanos, long dueNanos) {
        boolean isSeldom = now - busyNanos >= LONG_QUIET_NANOS;
        long latest = isSeldom ? Math.min(now + SELDOM_NANOS, dueNanos) : now;
        long earliest = now + SWEEP_NANOS / 2;
        return JvmClock.next(Math.max(earliest, latest) - 1, SWEEP_NANOS); // when all other pools sweep, too
    }

    /** When the pool has to ask, to replace or to close an idle connection. */
    private long dueNanos() {
        boolean mayShrink = supply.connections().size() > config.minIdle;
        long due = mayShrink ? countedNanos + config.idleTimeout.toNanos() : Long.MAX_VALUE;
        for (PhysicalConnection connection : supply.connections()) {
            due = Math.min(due, Math.min(connection.expiresNanos(), askedAgainNanos(connection)));
        }
        return due;
    }

    private long askedAgainNanos(PhysicalConnection connection) {
        if (config.keepalive.isZero()) return Long.MAX_VALUE;
        return Math.max(connection.idleNanos(), connection.answeredNanos()) + config.keepalive.toNanos();
    }

    /** Refuses callers if the database has been down for too long. Answers when to check again. */
    private long attendToOutage(long now) {
        Outage outage = supply.outage();
        long next = outage.report(now);
        if (!outage.isOn()) return next;
        if (!supply.declareOutageIfDue()) {
            return supply.dependsOnNewConnections() ? Math.min(next, outage.declaredNanos()) : next;
        }
        queue.refuse(Reason.DATABASE_DOWN, Long.MAX_VALUE);
        return Math.min(next, now + TICK_NANOS); // a caller may be on its way into the line
    }

    /** Looks after all connections, once a second or more seldom. */
    private void sweep(long now) {
        supply.adjust();
        sweepNanos = nextSweep(now, now, now); // if what follows fails
        supply.readmit();
        supply.probe();
        deadlocks.inspect();
        boolean isNews = countedLeases != reportedLeases || !supply.isQuiet();
        if (sweeps++ % NUMBERS_SWEEPS == 0 && isNews) {
            reportedLeases = countedLeases;
            threads.start("statistics", this::reportNumbers);
        }
        for (PhysicalConnection connection : supply.connections()) {
            if (connection.lease() != null) busyNanos = now; // it may be a leak
            leaks.inspect(connection, now);
            JvmClock.breathe();
        }
        inspectIdle(now, idle -> surplus(idle, now));
        sweepNanos = nextSweep(now, busyNanos, dueNanos());
    }

    private void reportNumbers() {
        if (events.wantsNumbers()) events.happened(new Event.Numbers(statistics.snapshot()));
    }

    /** Inspects the idle connections before their time, because another part of the pool has rung the alarm. */
    private void sweepEarly(long now) {
        supply.adjust();
        inspectIdle(now, idle -> 0);
    }

    /** Inspects all idle connections. Takes all of them out first, because it would meet a requeued one again. */
    private void inspectIdle(long now, IntUnaryOperator surplus) {
        var idle = new ArrayDeque<PhysicalConnection>(supply.size() + 1); // so that adding to it allocates nothing
        try (Checks.Inspection unused = checks.beginInspection()) {
            for (PhysicalConnection next = queue.takeIdle(); next != null; next = queue.takeIdle()) {
                idle.add(next);
                if (idle.size() > supply.size()) break; // leases come and go, and the housekeeper must go on
            }
            int unneededNow = surplus.applyAsInt(idle.size());
            for (PhysicalConnection next = idle.poll(); next != null; next = idle.poll()) {
                inspect(next, now, unneededNow-- > 0 ? Fact.UNNEEDED.bit() : 0);
                JvmClock.breathe();
            }
        } finally {
            for (PhysicalConnection lost : idle) lost.abandoned = true; // something was thrown
        }
    }

    private void inspect(PhysicalConnection connection, long now, int facts) {
        checks.inspectIdle(connection, now >= askedAgainNanos(connection) ? facts | Fact.SUSPECT.bit() : facts);
    }

    /**
     * How many idle connections are too many. Callers take turns at all of them, so no connection is idle for long. Therefore
     * the housekeeper counts how many were idle all the time.
     */
    private int surplus(int idle, long now) {
        unneeded = Math.min(unneeded, idle);
        if (now - countedNanos < config.idleTimeout.toNanos()) return 0;
        int surplus = Math.min(unneeded, supply.connections().size() - config.minIdle);
        countedNanos = now;
        unneeded = Integer.MAX_VALUE;
        return surplus;
    }
}
