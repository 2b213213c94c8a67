package dev.nanopool;

import dev.nanopool.Fate.Fact;
import dev.nanopool.queue.StackReserve;
import java.sql.SQLException;
import java.sql.SQLTimeoutException;
import java.time.Duration;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.jspecify.annotations.Nullable;

/**
 * Collects the facts about a connection in hand, and does what {@link Fate} answers. The thread that has the connection checks
 * what it can see without waiting. A thread of the pool asks the server, and the caller takes another connection meanwhile.
 * Thread-safe, never blocks.
 */
final class Checks {
    private static final long TRUSTED_NANOS = Duration.ofMillis(12).toNanos(); // so old may a trusted sign of life be
    static final long VALIDATE_AFTER_NANOS = Duration.ofSeconds(30).toNanos(); // a longer idle time is validated
    private static final long SECOND_NANOS = Duration.ofSeconds(1).toNanos();

    private static final Duration QUIET = Duration.ofMillis(500); // for the driver's own lock

    private final Supply supply;
    private final Watchdog watchdog;
    private final Events events;
    private final Clock clock;
    private final PoolThreads threads;
    private final Suspicion suspicion;
    private final ServerRole role;
    private final AtomicInteger validating = new AtomicInteger();
    private volatile boolean inspecting; // the housekeeper has idle connections in its hand
    private final AtomicLong lostNanos = new AtomicLong(-SECOND_NANOS); // when the last one was lost
    private final AtomicLong replacedNanos =
            new AtomicLong(-SECOND_NANOS); // when the last one was replaced for a stale cache

    Checks(
            Supply supply,
            ServerRole role,
            Watchdog watchdog,
            Events events,
            Clock clock,
            PoolThreads threads,
            Suspicion suspicion) {
        this.supply = supply;
        this.role = role;
        this.watchdog = watchdog;
        this.events = events;
        this.clock = clock;
        this.threads = threads;
        this.suspicion = suspicion;
    }

    /** How many connections the pool is validating. A caller that waits for one of them does not wait for a lease to end. */
    int validating() {
        return validating.get() + (inspecting ? supply.size() : 0);
    }

    /** How many connections a caller can get without the end of a lease. Counts the validated ones, THEN the idle ones. */
    int available() {
        int available = validating();
        for (PhysicalConnection connection : supply.connections()) {
            if (connection.state() == PhysicalConnection.State.IDLE) available++;
        }
        return available;
    }

    /** The time in which the housekeeper has the idle connections in its hand. It ends with {@link #close}. */
    interface Inspection extends AutoCloseable {
        @Override
        void close();
    }

    Inspection beginInspection() {
        inspecting = true;
        return () -> inspecting = false;
    }

    // An idle connection that is about to be lent

    /** Whether the caller that is about to get a connection can wait for the server's answer. */
    private enum Caller {
        WAITS,
        DOES_NOT_WAIT
    }

    /** Whether the caller can lend an idle connection, which it has in its hand, without a check. */
    boolean isTrusted(PhysicalConnection connection) {
        return (isRecent(connection.aliveNanos()) || isRecent(connection.heardNanos()))
                && !suspicion.covers(connection);
    }

    private boolean isRecent(long aliveNanos) {
        return clock.coarseNanos() - aliveNanos < TRUSTED_NANOS && !suspicion.distrusts(aliveNanos);
    }

    /** Checks a connection that is about to be lent, unless it is trusted. Null if it was discarded or is being validated. */
    @Nullable
    PhysicalConnection usable(PhysicalConnection connection) {
        return usable(connection, Caller.WAITS);
    }

    /** The same for a caller that cannot wait for the server's answer. It takes a connection that looks alive. */
    @Nullable
    PhysicalConnection usableAtOnce(PhysicalConnection connection) {
        return usable(connection, Caller.DOES_NOT_WAIT);
    }

    private @Nullable PhysicalConnection usable(PhysicalConnection connection, Caller caller) {
        boolean decided = false;
        try {
            int facts = isTrusted(connection) ? 0 : seen(connection, caller);
            if (facts != 0) decide(connection, facts, null);
            decided = true;
            return facts == 0 ? connection : null;
        } finally {
            if (!decided) connection.abandoned = true;
        }
    }

    private int seen(PhysicalConnection connection, Caller caller) {
        StackReserve.requireMuch(); // else a channel would stay locked
        boolean mustBeAsked = caller == Caller.WAITS && (isIdleForLong(connection) || suspicion.covers(connection));
        int known = mustBeAsked ? Fact.SUSPECT.bit() : 0;
        long now = Clock.nanoTime(); // THEN look
        int facts = known | connection.session().facts() | peeked(connection.session());
        if (facts == 0) connection.seenAlive(now);
        return facts;
    }

    private boolean isIdleForLong(PhysicalConnection connection) {
        return clock.coarseNanos() - connection.idleNanos() > VALIDATE_AFTER_NANOS;
    }

    private static int peeked(Session session) {
        return switch (session.peek()) {
            case QUIET -> 0;
            case DATA -> Fact.SUSPECT.bit();
            case GONE ->
                (session.hasFarewell() ? Fact.SUSPECT : Fact.LOST).bit(); // the server says the reason when it is asked
            case IN_USE -> Fact.BUSY.bit();
        };
    }

    // An idle connection that the housekeeper inspects

    /**
     * Requeues an idle connection in hand if it looks alive.
     *
     * @param facts what the caller knows about it
     */
    void inspectIdle(PhysicalConnection connection, int facts) {
        boolean decided = false;
        try {
            Session session = connection.session();
            int seen = session.canPeek() ? facts | peeked(session) : facts;
            if (isIdleForLong(connection)) session.rest(); // THEN read the facts, because it may fail
            decide(connection, seen | session.facts() | standing(connection), null);
            decided = true;
        } finally {
            if (!decided) connection.abandoned = true;
        }
    }

    // A connection whose lease has ended

    /**
     * Requeues a connection whose lease has ended, or does what must be done first.
     *
     * @param facts how the lease has ended
     */
    void returned(PhysicalConnection connection, @Nullable Usage usage, int facts) {
        if (usage != null && usage.isBusy()) facts |= Fact.BUSY.bit();
        if (facts == 0) {
            Session session = connection.session();
            facts = session.facts();
            if (facts == 0) facts = undoLocally(session, usage) | session.facts() | standing(connection);
        }
        decide(connection, facts, usage);
    }

    /** Closes the lease's statements and undoes local changes. Answers whether the server must undo something. */
    private static int undoLocally(Session session, @Nullable Usage usage) {
        if (usage != null) {
            // Another thread may use an object of the driver and hold the driver's lock, so this thread must not wait.
            if (session.state().isUnwrapped()) return Fact.CHANGED.bit();
            usage.statements().close(failure -> session.recordFailure(failure, true));
            if (usage.cancels() != null) return Fact.CHANGED.bit();
        }
        try {
            return session.state().resetLocally() ? 0 : Fact.CHANGED.bit();
        } catch (SQLException | RuntimeException e) {
            session.recordFailure(e, true);
            return Fact.CHANGED.bit();
        }
    }

    // A connection that the housekeeper finds abandoned

    /** Takes over a connection whose thread has failed. Everything is undone, because nothing is known about it. */
    void recover(PhysicalConnection connection) {
        PhysicalConnection.State state = connection.state();
        if (state != PhysicalConnection.State.IDLE && state != PhysicalConnection.State.SERVICED) return;
        connection.recovered();
        boolean decided = false;
        try {
            if (state == PhysicalConnection.State.SERVICED) connection.servicedToIdle();
            connection.session().state().anything();
            decide(connection, connection.session().facts() | standing(connection) | Fact.CHANGED.bit(), null);
            decided = true;
        } finally {
            if (!decided) connection.abandoned = true;
        }
    }

    // The fate

    /** The facts that follow from the pool's state. */
    private int standing(PhysicalConnection connection) {
        int facts = supply.facts(connection);
        if (!role.isReportedBy(connection.session().connection())) facts |= Fact.WRONG_ROLE.bit();
        boolean isDoubtful = connection.session().hasRefusedWrite() && role == ServerRole.PRIMARY;
        return isDoubtful || suspicion.covers(connection) ? facts | Fact.SUSPECT.bit() : facts;
    }

    private void decide(PhysicalConnection connection, int facts, @Nullable Usage usage) {
        switch (Fate.of(facts)) {
            case REQUEUE -> supply.requeue(connection);
            case VALIDATE -> validate(connection);
            case RESET -> reset(connection, usage);
            case CLOSE -> {
                Fact why = Fact.first(facts);
                if (claim(connection, why)) discard(connection, why);
                else decide(connection, facts & ~why.bit(), usage);
            }
        }
    }

    private boolean claim(PhysicalConnection connection, Fact why) {
        if (why != Fact.STALE_CACHE) return supply.claim(connection, why);
        connection.session().forgiveStaleCache();
        return claimSecond(replacedNanos);
    }

    private static boolean claimSecond(AtomicLong lastNanos) {
        long now = Clock.nanoTime();
        long last = lastNanos.get();
        return now - last >= SECOND_NANOS && lastNanos.compareAndSet(last, now);
    }

    private void discard(PhysicalConnection connection, Fact why) {
        if (why == Fact.LOST || why == Fact.SERVER_TIMEOUT) suspicion.distrust();
        if (why == Fact.LOST) lost(connection);
        if (why == Fact.WRONG_ROLE) suspicion.raise("the server has changed its role", supply.connections());
        supply.discard(connection, why);
    }

    /** Reports a lost connection. After two within a second, or after a crash, the pool suspects all others, too. */
    private void lost(PhysicalConnection connection) {
        Session session = connection.session();
        var lost = new Event.Lost(session.backendPid(), session.failure());
        events.happened(lost);
        if (suspicion.covers(connection)) return; // one line reports all of them
        supply.outage().warn(new Event.Unexplained(lost.line()));
        long now = Clock.nanoTime();
        if (now - lostNanos.getAndSet(now) < SECOND_NANOS) {
            suspicion.raise("several connections lost at once", supply.connections());
        } else if (Failures.isState(session.failure(), Failures.CRASH_SHUTDOWN)) {
            suspicion.raise("the server has crashed", supply.connections());
        }
    }

    // Questions to the server

    private void validate(PhysicalConnection connection) {
        Session session = connection.session();
        validating.incrementAndGet(); // service() counts down again, also if it cannot start
        service(connection, "validate", Fact.LOST, () -> session.validate(role), validating::decrementAndGet);
    }

    private void reset(PhysicalConnection connection, @Nullable Usage usage) {
        Session session = connection.session();
        Usage.Cancels cancels = usage == null ? null : usage.cancels();
        SqlAction undo = () -> {
            long startNanos = Clock.nanoTime();
            String undone = session.state().undoing();
            if (session.state().isUnwrapped()) awaitQuiet(session);
            if (usage != null) usage.statements().close(failure -> session.recordFailure(failure, true));
            session.reset(cancels, Watchdog.PATIENCE);
            events.happened(new Event.Reset(undone, Duration.ofNanos(Clock.nanoTime() - startNanos)));
        };
        service(connection, "reset", Fact.RESET_FAILED, undo, () -> {});
    }

    /** Waits for the driver's own object, which the lease had. Another thread may still use it, or have a COPY open. */
    private void awaitQuiet(Session session) throws SQLException {
        Throwable failure = watchdog.run(session, QUIET, session::awaitQuiet);
        if (failure instanceof SQLTimeoutException) {
            throw new SQLException("the driver's connection is still in use", Failures.OBJECT_IN_USE, failure);
        }
        if (failure instanceof SQLException e) throw e;
        if (failure != null) throw new SQLException("the driver's connection cannot be used", failure);
    }

    private void service(
            PhysicalConnection connection, String what, Fact ifFailed, SqlAction action, Runnable afterwards) {
        boolean started = false;
        try {
            connection.idleToServiced();
            threads.start(what, () -> serve(connection, what, ifFailed, action, afterwards));
            started = true;
        } finally {
            if (!started) afterwards.run();
        }
    }

    private void serve(
            PhysicalConnection connection, String what, Fact ifFailed, SqlAction action, Runnable afterwards) {
        boolean decided = false;
        try {
            int facts = served(connection, what, ifFailed, action, afterwards);
            connection.servicedToIdle();
            decide(connection, facts | standing(connection), null);
            decided = true;
        } finally {
            if (!decided) connection.abandoned = true;
        }
    }

    private int served(
            PhysicalConnection connection, String what, Fact ifFailed, SqlAction action, Runnable afterwards) {
        try {
            Session session = connection.session();
            Throwable failure = watchdog.run(session, action);
            int facts = session.facts();
            if (failure == null) {
                connection.answered(Clock.nanoTime());
                return facts;
            }
            events.happened(new Event.ServiceFailed(what, failure));
            return facts | failed(failure, ifFailed);
        } finally {
            afterwards.run();
        }
    }

    private int failed(Throwable failure, Fact ifFailed) {
        if (Failures.isState(failure, Failures.READ_ONLY_SQL_TRANSACTION)) return Fact.WRONG_ROLE.bit();
        if (Failures.isState(failure, Failures.OBJECT_IN_USE)) return Fact.BUSY.bit();
        boolean isLate = failure instanceof SQLTimeoutException && ifFailed == Fact.RESET_FAILED;
        return isLate ? Fact.RESET_LATE.bit() : ifFailed.bit();
    }
}
