package dev.nanopool;

import dev.nanopool.PhysicalConnection.SqlAction;
import dev.nanopool.driver.PeekableSocket.Peek;
import java.sql.SQLException;
import java.sql.SQLTimeoutException;
import java.time.Duration;
import java.util.concurrent.atomic.AtomicLong;
import org.jspecify.annotations.Nullable;

/**
 * Whether a connection can be lent. What can be seen without waiting is looked at by whoever holds the connection; what has
 * to be asked of the server is asked on a thread of the pool, and the caller takes another connection meanwhile.
 * Thread-safe, never blocks.
 */
final class Health {
    private static final long TRUSTED_NANOS = Duration.ofMillis(500).toNanos(); // idle for less: not looked at
    private static final long ASKED_NANOS = Duration.ofSeconds(30).toNanos(); // idle for more: the server is asked
    private static final long COINCIDENCE_NANOS = Duration.ofSeconds(1).toNanos();

    private final Supply supply;
    private final Watchdog watchdog;
    private final Events events;
    private final Clock clock;
    private final Background background;
    private final Role role;
    private final AtomicLong lostNanos = new AtomicLong(-COINCIDENCE_NANOS); // when the last one was lost
    private volatile long doubtedNanos; // who has not been proven since then may be gone

    Health(
            PoolConfig config,
            Connector connector,
            LeaseQueue<PhysicalConnection> queue,
            Watchdog watchdog,
            Events events,
            Clock clock,
            Background background) {
        this.watchdog = watchdog;
        this.events = events;
        this.clock = clock;
        this.background = background;
        this.role = connector.role();
        this.supply = new Supply(config, connector, queue, events, clock, background, new Supply.Losses() {
            @Override
            public void discarded(PhysicalConnection connection, CloseReason reason) {
                Health.this.discarded(connection, reason);
            }

            @Override
            public void refused(SQLException refusal) {
                if (Failures.CANNOT_CONNECT_NOW.equals(refusal.getSQLState()))
                    doubt("the server is starting up or shutting down");
            }
        });
    }

    Supply supply() {
        return supply;
    }

    /**
     * Whether an idle connection, held by the caller, can be lent as it is. False: it has been seen to. Who cannot wait for
     * the server's answer ({@code patient} false) gets one that looks alive.
     */
    boolean isFit(PhysicalConnection connection, boolean patient) {
        long idleNanos = clock.coarseNanos() - connection.idleNanos;
        if (idleNanos < TRUSTED_NANOS && !isDoubted(connection)) return true;
        if (connection.isBroken()) {
            supply.discard(connection, connection.lossReason());
            return false;
        }
        Peek peek = connection.peek();
        if (peek == Peek.QUIET && !(patient && (idleNanos > ASKED_NANOS || isDoubted(connection)))) return true;
        if (peek == Peek.GONE) supply.discard(connection, CloseReason.LOST);
        else validate(connection);
        return false;
    }

    /** Gives an idle connection, held by the caller, back if it looks alive, and sees to it if not. */
    void look(PhysicalConnection connection) {
        Peek peek = connection.isBroken() ? Peek.GONE : connection.canPeek() ? connection.peek() : Peek.QUIET;
        switch (peek) {
            case QUIET -> requeue(connection);
            case DATA -> validate(connection);
            case GONE -> supply.discard(connection, connection.lossReason());
        }
    }

    private boolean isDoubted(PhysicalConnection connection) {
        return connection.provenNanos < doubtedNanos;
    }

    /** Gives a connection on that is sound as far as its holder knows. */
    void requeue(PhysicalConnection connection) {
        if (isDoubted(connection) || (connection.refusedWrite && role == Role.PRIMARY)) validate(connection);
        else if (!role.isReportedBy(connection.connection)) supply.discard(connection, CloseReason.WRONG_ROLE);
        else supply.give(connection);
    }

    /** Asks the server whether it is there and what it is, then gives the connection on or discards it. */
    void validate(PhysicalConnection connection) {
        service(connection, "validate", CloseReason.LOST, () -> connection.validate(role));
    }

    /** Undoes what the last lease has changed, then gives the connection on or discards it. */
    void reset(PhysicalConnection connection) {
        service(connection, "reset", CloseReason.RESET_FAILED, () -> {
            if (connection.cancelled) connection.quarantine(Watchdog.PATIENCE);
            connection.session.reset();
            events.resets.increment();
        });
    }

    /** What the pool asks of the server ends at once, since all connections are to be closed. */
    void close() {
        supply.close();
        watchdog.close();
    }

    private void service(PhysicalConnection connection, String what, CloseReason ifFailed, SqlAction action) {
        connection.isServiced = true;
        background.run(what, () -> {
            Throwable failure = watchdog.run(connection, action);
            connection.isServiced = false;
            if (failure != null) {
                events.serviceFailed(what, failure);
                supply.discard(connection, reason(connection, failure, ifFailed));
            } else {
                connection.provenNanos = Clock.nanoTime();
                connection.idleNanos = connection.provenNanos;
                requeue(connection);
            }
        });
    }

    private CloseReason reason(PhysicalConnection connection, Throwable failure, CloseReason otherwise) {
        if (supply.isClosed()) return CloseReason.POOL_CLOSED;
        if (failure instanceof SQLException wrong && Failures.READ_ONLY_SQL_TRANSACTION.equals(wrong.getSQLState()))
            return CloseReason.WRONG_ROLE;
        boolean isLate = connection.failure() instanceof SQLTimeoutException;
        return connection.isBroken() && !isLate ? connection.lossReason() : otherwise;
    }

    // When one is gone, others may be

    private void discarded(PhysicalConnection connection, CloseReason reason) {
        if (reason == CloseReason.WRONG_ROLE) doubt("the server has changed its role");
        if (reason != CloseReason.LOST) return;
        boolean isExpected = isDoubted(connection);
        events.lost(connection, isExpected);
        if (isExpected) return;
        long now = Clock.nanoTime();
        if (now - lostNanos.getAndSet(now) < COINCIDENCE_NANOS) doubt("several connections lost at once");
        else if (isCrash(connection.failure())) doubt("the server has crashed");
    }

    private static boolean isCrash(@Nullable Throwable failure) {
        return failure instanceof SQLException exception && Failures.CRASH_SHUTDOWN.equals(exception.getSQLState());
    }

    /** Has every connection that was not proven since now validated: idle ones at once, all together. */
    private void doubt(String why) {
        if (supply.connections().stream().allMatch(this::isDoubted)) return; // nothing new
        doubtedNanos = Clock.nanoTime();
        events.doubted(why);
        background.run("validate", () -> supply.takeIdle().forEach(this::requeue));
    }
}
