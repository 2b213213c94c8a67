package dev.nanopool;

import dev.nanopool.PoolExhaustedException.Holder;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.time.Duration;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.LongAdder;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/** What happens in a pool: counted, logged, and told to its listener. Thread-safe. */
final class Events {
    private static final Logger LOGGER = System.getLogger("dev.nanopool");
    private static final int MOST_SITES = 1_000;

    final LongAdder opened = new LongAdder();
    final LongAdder closed = new LongAdder();
    final LongAdder lost = new LongAdder();
    final LongAdder leaked = new LongAdder();
    final LongAdder timeouts = new LongAdder();
    final LongAdder rejected = new LongAdder();
    final LongAdder resets = new LongAdder();
    final LongAdder waited = new LongAdder();
    final LongAdder pastLeases = new LongAdder(); // of connections that are closed
    final Histogram waits = new Histogram();
    final Histogram uses = new Histogram();

    /** The last attempt to open a connection, if it failed. */
    private volatile @Nullable OpenFailure lastFailure;

    private final Set<String> sites = ConcurrentHashMap.newKeySet(); // that left a transaction open
    private final String pool;
    private final PoolListener listener;

    record OpenFailure(Throwable cause, long nanos) {}

    Events(String pool, PoolListener listener) {
        this.pool = pool;
        this.listener = listener;
    }

    /** Null while the database lets connections in. */
    @Nullable
    OpenFailure lastFailure() {
        return lastFailure;
    }

    void opened(PhysicalConnection connection, Duration took) {
        OpenFailure before = lastFailure;
        lastFailure = null;
        opened.increment();
        log(
                before == null ? Level.DEBUG : Level.INFO,
                "connection opened%s (backend %d) in %d ms"
                        .formatted(before == null ? "" : " again", connection.backendPid, took.toMillis()));
        tell(to -> to.opened(pool, connection.backendPid, took));
    }

    /** The first failure of several in a row is worth a warning. */
    void openFailed(Throwable cause) {
        Level level = lastFailure == null ? Level.WARNING : Level.DEBUG;
        lastFailure = new OpenFailure(cause, Clock.nanoTime());
        log(level, "opening a connection failed: " + cause.getMessage());
        tell(to -> to.openFailed(pool, cause));
    }

    void closed(PhysicalConnection connection, CloseReason reason) {
        pastLeases.add(connection.leases);
        closed.increment();
        log(Level.DEBUG, "connection closed (backend %d): %s".formatted(connection.backendPid, reason));
        if (reason == CloseReason.LOST) tell(to -> to.lost(pool, connection.backendPid, connection.failure()));
        tell(to -> to.closed(pool, connection.backendPid, reason));
    }

    /**
     * Told when it is closed: here may be the housekeeper, which must not wait for a listener. {@code isExpected}: it was
     * doubted already, so that one line tells of all.
     */
    void lost(PhysicalConnection connection, boolean isExpected) {
        lost.increment();
        Throwable failure = connection.failure();
        log(
                isExpected ? Level.DEBUG : Level.WARNING,
                "connection lost (backend %d): %s"
                        .formatted(
                                connection.backendPid,
                                failure == null ? "the server or the network has ended it" : failure));
    }

    void doubted(String why) {
        log(Level.WARNING, why + ": asking all connections whether they are alive");
    }

    void lowered(int limit, int size) {
        log(
                Level.WARNING,
                "the server lets in %d of %d connections; more are tried now and then".formatted(limit, size));
    }

    void serviceFailed(String what, Throwable cause) {
        LOGGER.log(Level.DEBUG, () -> pool + ": " + what + " failed", cause);
    }

    void closingFailed(Throwable cause) {
        LOGGER.log(Level.DEBUG, () -> pool + ": closing a connection failed", cause);
    }

    void notClosed(int connections) {
        log(Level.WARNING, "closed, but " + connections + " connections did not close in time");
    }

    void notEnded(Thread thread) {
        log(Level.WARNING, "closed, but the thread " + thread.getName() + " did not end in time");
    }

    void leaked(Holder holder, boolean isCertain) {
        leaked.increment();
        log(
                Level.WARNING,
                "%s, leased %d ms ago by thread %s%s"
                        .formatted(
                                isCertain ? "a client was never closed and is taken back" : "a client may be leaked",
                                holder.heldFor().toMillis(),
                                holder.thread(),
                                Diagnosis.at(holder.stack())));
        tell(to -> to.leaked(pool, holder, isCertain));
    }

    /** Tells of a transaction that a client left open, once for each place that closed it. */
    void transactionLeftOpen(@Nullable String sql) {
        if (sites.size() >= MOST_SITES) return;
        String site = StackWalker.getInstance()
                .walk(frames -> frames.dropWhile(frame -> Diagnosis.isOwn(frame.getClassName()))
                        .findFirst()
                        .map(StackWalker.StackFrame::toString)
                        .orElse("unknown"));
        if (!sites.add(site)) return;
        log(
                Level.WARNING,
                "a client was closed in a transaction, which is rolled back; closed at "
                        + site); // SQL may have secrets
        tell(to -> to.transactionLeftOpen(pool, site, sql));
    }

    void exhausted(PoolExhaustedException exception) {
        tell(to -> to.exhausted(pool, exception));
    }

    private void log(Level level, String message) {
        LOGGER.log(level, () -> pool + ": " + message);
    }

    private void tell(Consumer<PoolListener> event) {
        try {
            event.accept(listener);
        } catch (Throwable e) { // whatever it is: here may be between a permit and its connection
            LOGGER.log(Level.WARNING, () -> pool + ": the listener failed", e);
        }
    }
}
