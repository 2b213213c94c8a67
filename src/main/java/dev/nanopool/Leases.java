package dev.nanopool;

import dev.nanopool.queue.LeaseQueue;
import dev.nanopool.queue.RefusedException;
import dev.nanopool.queue.RefusedException.Reason;
import dev.nanopool.sql.SqlText;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.SQLNonTransientConnectionException;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.jspecify.annotations.Nullable;

/** The way of a connection to its caller and back. Thread-safe; blocks in {@link #lease} only. */
final class Leases implements Lender {
    private static final int MOST_SITES = 1_000;
    private static final int TIMED =
            64; // one lease in so many is timed exactly: a clock costs more than the rest of it

    private final PoolConfig config;
    private final LeaseQueue<PhysicalConnection> queue;
    private final Supply supply;
    private final Checks checks;
    private final Diagnosis diagnosis;
    private final Events events;
    private final Counters counters;
    private final Clock clock;
    private final SqlText sqlText;
    private final boolean isTracing;
    private final Set<String> sites = ConcurrentHashMap.newKeySet(); // that left a transaction open

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
        this.counters = events.counters();
        this.clock = clock;
        this.sqlText = sqlText;
        this.isTracing = !config.leakThreshold.isZero();
    }

    // The way out

    Connection lease(long timeoutNanos) throws SQLException {
        PhysicalConnection connection = queue.tryTake();
        if (connection == null || !checks.isTrusted(connection)) connection = awaitUsable(connection, timeoutNanos);
        return lend(connection);
    }

    Optional<Connection> tryLease() throws SQLException {
        PhysicalConnection connection = takeUsable(queue.tryTakeOrFill());
        if (connection == null && supply.isClosed()) throw closedException();
        return connection == null ? Optional.empty() : Optional.of(lend(connection));
    }

    /** The lease begins. From here to the client's hand nothing may lose the connection. */
    private Connection lend(PhysicalConnection connection) {
        boolean handedOver = false;
        try {
            long now = connection.leases() % TIMED == 0 ? Clock.nanoTime() : clock.coarseNanos();
            var client = new ClientConnection(connection, now);
            if (isTracing) client.used();
            connection.idleToLeased(client);
            handedOver = true;
            return client;
        } finally {
            if (!handedOver) connection.abandon();
        }
    }

    /** @param first an idle connection, which is not trusted; null: none was idle */
    private PhysicalConnection awaitUsable(@Nullable PhysicalConnection first, long timeoutNanos) throws SQLException {
        long startNanos = Clock.nanoTime();
        try {
            PhysicalConnection connection;
            if (timeoutNanos == 0) {
                connection = takeUsable(first == null ? queue.tryTakeOrFill() : first);
                if (connection == null) throw new RefusedException(Reason.TIMED_OUT, 0);
            } else {
                connection = first == null ? null : checks.inspected(first);
                while (connection == null) {
                    connection = queue.take(startNanos + timeoutNanos, checks.validating());
                    if (!checks.isTrusted(connection)) connection = checks.inspected(connection);
                }
            }
            counters.waited(Clock.nanoTime() - startNanos);
            return connection;
        } catch (RefusedException e) {
            throw exception(e, Clock.nanoTime() - startNanos, timeoutNanos);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new SQLException(
                    name() + ": interrupted while waiting for a connection", Failures.CONNECTION_EXCEPTION, e);
        }
    }

    /** For a caller that does not wait: this connection or another idle one, if it looks alive. */
    private @Nullable PhysicalConnection takeUsable(@Nullable PhysicalConnection connection) {
        PhysicalConnection next = connection;
        while (next != null && !checks.isTrusted(next)) {
            PhysicalConnection inspected = checks.inspectedAtOnce(next);
            if (inspected != null) return inspected;
            next = queue.tryTakeOrFill();
        }
        return next;
    }

    private SQLException exception(RefusedException refused, long waitedNanos, long timeoutNanos) {
        if (refused.reason() == Reason.CLOSED || supply.isClosed()) {
            events.happened(new Event.RefusedClosed());
            return closedException();
        }
        PoolExhaustedException exception = diagnosis.explain(refused, waitedNanos, timeoutNanos);
        events.happened(new Event.Exhausted(exception, refused.reason() == Reason.TIMED_OUT));
        return exception;
    }

    private SQLException closedException() {
        return new SQLNonTransientConnectionException(
                name() + ": the pool is closed", Failures.CONNECTION_DOES_NOT_EXIST);
    }

    // The way back

    @Override
    public void ended(PhysicalConnection connection, Lease lease, int forced) {
        boolean passedOn = false;
        Usage leftOpen = null;
        String opener = null;
        try {
            Usage usage = lease.usage();
            SessionState state = connection.session().state();
            // The pool does not know what became of a transaction whose connection is lost or in use.
            if (usage != null
                    && forced == 0
                    && !state.isIdle()
                    && !usage.isBusy()
                    && !connection.session().isBroken()) {
                leftOpen = usage;
                opener = state.opener();
            }
            if (connection.leases() % TIMED == 1) counters.used(Clock.nanoTime() - lease.startNanos());
            connection.usedUntil(clock.coarseNanos());
            checks.returned(connection, usage, forced);
            passedOn = true;
        } finally {
            if (!passedOn) connection.abandon();
        }
        if (leftOpen != null) leftOpen(leftOpen, opener); // last, because it calls the listener
    }

    /** Counts a transaction that a client left open, and reports it once for each place that closed such a client. */
    private void leftOpen(Usage usage, @Nullable String opener) {
        boolean isCallers = !usage.isManualCommit() && sites.size() < MOST_SITES;
        String site = isCallers || events.isLogged(System.Logger.Level.DEBUG) ? Stacks.callSite() : "";
        events.happened(new Event.TransactionLeftOpen(site, opener, isCallers && sites.add(site)));
    }

    // What clients ask

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
        return sqlText.changes(sql, standardStrings);
    }

    @Override
    public @Nullable Throwable trace() {
        return isTracing ? new Throwable("leased here") : null;
    }
}
