package dev.nanopool;

import dev.nanopool.queue.LeaseQueue;
import dev.nanopool.queue.RefusedException;
import dev.nanopool.queue.RefusedException.Reason;
import dev.nanopool.queue.StackReserve;
import dev.nanopool.sql.SqlText;
import java.lang.invoke.MethodHandles;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.SQLNonTransientConnectionException;
import java.util.HashSet;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.atomic.AtomicReference;
import org.jspecify.annotations.Nullable;

/** Leads a connection to its caller and back. Thread-safe. Blocks in {@link #lease} only. */
final class Leases implements Lender<PhysicalConnection> {
    private static final int MOST_SITES = 1_000;
    // One lease in so many is timed exactly, because a clock costs more than the rest of a lease.
    private static final int TIMED = 64;

    static {
        try {
            // Loading this large class must not hold up the first caller with a connection in its hand.
            MethodHandles.lookup().ensureInitialized(ClientConnection.class);
        } catch (IllegalAccessException e) {
            throw new ExceptionInInitializerError(e);
        }
    }

    private final PoolConfig config;
    private final LeaseQueue<PhysicalConnection> queue;
    private final Supply supply;
    private final Checks checks;
    private final Diagnosis diagnosis;
    private final Events events;
    private final Clock clock;
    private final SqlText sqlText;
    private final boolean isTracing;
    private final AtomicReference<Set<String>> sites = new AtomicReference<>(Set.of()); // that left a transaction open

    Leases(
            PoolConfig config,
            Supply supply,
            Checks checks,
            Diagnosis diagnosis,
            Events events,
            Clock clock,
            SqlText sqlText) {
        this.config = config;
        this.queue = supply.queue();
        this.supply = supply;
        this.checks = checks;
        this.diagnosis = diagnosis;
        this.events = events;
        this.clock = clock;
        this.sqlText = sqlText;
        this.isTracing = !config.leakThreshold.isZero();
    }

    // The way out

    Connection lease(long timeoutNanos) throws SQLException {
        PhysicalConnection connection = queue.tryTake();
        boolean isLent = false;
        long waitNanos = 0;
        try {
            if (connection == null || !checks.isTrusted(connection)) {
                StackReserve.require(); // for `finally`
                long startNanos = Clock.nanoTime();
                Object recording = Recorder.waiting(queue, connection == null); // it may throw
                PhysicalConnection first = connection;
                connection = null; // in the hand of the methods that check it
                try {
                    connection = awaitUsable(first, startNanos, timeoutNanos);
                } catch (PoolExhaustedException e) {
                    waited(recording, e.verdict().name());
                    throw e;
                }
                waited(recording, null);
                waitNanos = Math.max(1, Clock.nanoTime() - startNanos);
            }
            ClientConnection client = client(connection);
            connection.idleToLeased(client, waitNanos); // nothing that can fail may follow
            isLent = true;
            return client;
        } finally {
            if (!isLent && connection != null) connection.abandoned = true;
        }
    }

    private void waited(@Nullable Object recording, @Nullable String verdict) {
        if (recording != null) events.happened(new Event.Waited(recording, verdict));
    }

    Optional<Connection> tryLease() throws SQLException {
        StackReserve.require(); // for `finally`
        PhysicalConnection connection = takeUsable(queue.tryTakeOrFill());
        if (connection == null) {
            if (supply.isClosed()) throw closedException();
            return Optional.empty();
        }
        boolean isLent = false;
        try {
            ClientConnection client = client(connection);
            Optional<Connection> answer = Optional.of(client);
            connection.idleToLeased(client, 0); // nothing that can fail may follow
            isLent = true;
            return answer;
        } finally {
            if (!isLent) connection.abandoned = true;
        }
    }

    private ClientConnection client(PhysicalConnection connection) throws SQLException {
        long now = connection.leases() % TIMED == 0 ? Clock.nanoTime() : clock.coarseNanos();
        ClientConnection client = ClientConnection.of(connection, now);
        if (isTracing) client.used();
        Object recording = Recorder.leasing();
        if (recording != null) client.used().records(recording);
        return client;
    }

    /** @param first an idle connection, which is not trusted; null if none was idle */
    private PhysicalConnection awaitUsable(@Nullable PhysicalConnection first, long startNanos, long timeoutNanos)
            throws SQLException {
        try {
            if (timeoutNanos == 0) {
                PhysicalConnection connection = takeUsable(first == null ? queue.tryTakeOrFill() : first);
                if (connection == null) throw new RefusedException(Reason.TIMED_OUT, 0);
                return connection;
            }
            PhysicalConnection connection = first == null ? null : checks.usable(first);
            while (connection == null) {
                if (supply.declareOutageIfDue()) throw new RefusedException(Reason.DATABASE_DOWN, 0);
                connection = checks.usable(take(startNanos + timeoutNanos));
            }
            return connection;
        } catch (RefusedException e) {
            throw exception(e, startNanos, timeoutNanos);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new SQLException(
                    name() + ": interrupted while waiting for a connection", Failures.CONNECTION_EXCEPTION, e);
        }
    }

    /** Waits in the line. The queue does not count a caller while a connection is idle or being validated. */
    private PhysicalConnection take(long deadlineNanos) throws RefusedException, InterruptedException {
        try {
            return queue.take(deadlineNanos, checks.validating());
        } catch (RefusedException e) {
            int available = e.reason() == Reason.QUEUE_FULL ? checks.available() : 0;
            if (available == 0) throw e;
            return queue.take(deadlineNanos, available);
        }
    }

    /** Returns this connection or another idle one that looks alive, for a caller that does not wait. */
    private @Nullable PhysicalConnection takeUsable(@Nullable PhysicalConnection connection) {
        PhysicalConnection next = connection;
        while (next != null) {
            PhysicalConnection usable = checks.usableAtOnce(next);
            if (usable != null) return usable;
            next = queue.tryTakeOrFill();
        }
        return null;
    }

    private SQLException exception(RefusedException refused, long startNanos, long timeoutNanos) {
        if (refused.reason() == Reason.CLOSED || supply.isClosed()) {
            events.happened(new Event.RefusedClosed());
            return closedException();
        }
        if (refused.reason() == Reason.DATABASE_DOWN) supply.outage().refused();
        PoolExhaustedException exception = diagnosis.explain(refused, startNanos, timeoutNanos);
        events.happened(new Event.Exhausted(exception, refused.reason() == Reason.TIMED_OUT));
        return exception;
    }

    private SQLException closedException() {
        return new SQLNonTransientConnectionException(
                name() + ": the pool is closed", Failures.CONNECTION_DOES_NOT_EXIST);
    }

    // The way back

    @Override
    public @Nullable Runnable ended(PhysicalConnection connection, Lease lease, int forced) {
        Usage usage = lease.usage();
        SessionState state = connection.session().state();
        // The pool does not know how a transaction ended whose connection is lost or in use.
        boolean isLeftOpen = usage != null
                && forced == 0
                && !state.isIdle()
                && !usage.isBusy()
                && !connection.session().isBroken();
        String opener = isLeftOpen ? state.opener() : null;
        boolean isTimed = connection.leases() % TIMED == 1;
        boolean isExact = isTimed || !clock.isCoarse(); // THEN read the clock
        long now = isTimed ? Clock.nanoTime() : clock.coarseNanos();
        connection.ledger().used(now - lease.startNanos(), isExact);
        connection.usedUntil(now);
        Object recording = usage == null ? null : usage.recording();
        Runnable report = null;
        int unseen = usage == null ? 0 : state.unseen();
        if (usage != null && (isLeftOpen || recording != null || unseen != 0)) {
            int backendPid = connection.session().backendPid();
            report = () -> {
                if (recording != null) events.happened(new Event.Held(recording, backendPid, lease.owner()));
                if (isLeftOpen) leftOpen(usage, opener);
                state.report(unseen);
            };
        }
        checks.returned(connection, usage, forced); // nothing that can fail may follow
        return report;
    }

    /** Counts a transaction that a client left open, and reports it once for each place that closed such a client. */
    private void leftOpen(Usage usage, @Nullable String opener) {
        boolean isCallers = !usage.isManualCommit() && sites.get().size() < MOST_SITES;
        String site = isCallers || events.isLogged(System.Logger.Level.DEBUG) ? Stacks.callSite() : "";
        events.happened(new Event.TransactionLeftOpen(site, opener, isCallers && isNew(site)));
    }

    private boolean isNew(String site) {
        Set<String> before = sites.getAndUpdate(old -> {
            if (old.contains(site)) return old;
            Set<String> more = new HashSet<>(old);
            more.add(site);
            return more;
        });
        return !before.contains(site);
    }

    // Questions of the clients

    @Override
    public String name() {
        return config.name;
    }

    @Override
    public boolean isStrictCommit() {
        return config.strictCommit;
    }

    @Override
    public int changes(String sql, boolean standardStrings) {
        int changes = sqlText.changes(sql, standardStrings);
        if (changes == 0 || config.pooler != Pooler.TRANSACTION) return changes;
        return sqlText.changes(SharedSessions.withoutLocal(sql), standardStrings);
    }

    @Override
    public @Nullable Throwable trace() {
        return isTracing ? new Throwable("leased here") : null;
    }
}
