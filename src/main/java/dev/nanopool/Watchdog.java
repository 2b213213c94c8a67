package dev.nanopool;

import dev.nanopool.PhysicalConnection.SqlAction;
import java.sql.SQLException;
import java.sql.SQLTimeoutException;
import java.time.Duration;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicReference;
import org.jspecify.annotations.Nullable;

/** Bounds what the pool itself asks of the server: a connection that does not answer in time is cut. Thread-safe. */
final class Watchdog {
    static final Duration PATIENCE = Duration.ofSeconds(5);

    private static final Object IN_TIME = new Object();

    /** Either it ends, or the housekeeper ends it and says why: who sets {@code end} first. */
    private static final class Watch {
        final PhysicalConnection connection;
        final Thread thread = Thread.currentThread();
        final long deadlineNanos = Clock.nanoTime() + PATIENCE.toNanos();
        final AtomicReference<@Nullable Object> end = new AtomicReference<>();

        Watch(PhysicalConnection connection) {
            this.connection = connection;
        }
    }

    private final Set<Watch> watches = ConcurrentHashMap.newKeySet();
    private volatile boolean closed;

    /** Does it, on a thread of the pool. Returns why it failed, or null; blocks for 5 s at most. */
    @Nullable
    Throwable run(PhysicalConnection connection, SqlAction action) {
        var watch = new Watch(connection);
        watches.add(watch); // THEN look; who closes looks here after that
        if (closed) end(watch, new SQLException("the pool is closed", Failures.CONNECTION_DOES_NOT_EXIST));
        Throwable failure = null;
        try {
            action.run();
        } catch (SQLException | RuntimeException | Error e) {
            failure = e;
            if (Failures.kindOf(e, true).endsSession()) connection.fail(e);
        }
        Object late = watch.end.compareAndExchange(null, IN_TIME);
        watches.remove(watch);
        return failure != null ? failure : (Throwable) late; // whoever is late is being cut, if it is not yet
    }

    /** Cuts the connections that take too long. Called by the housekeeper: no I/O. */
    void enforce(long nowNanos) {
        for (Watch watch : watches) {
            if (watch.deadlineNanos <= nowNanos) {
                end(
                        watch,
                        new SQLTimeoutException(
                                "no answer within " + PATIENCE.toMillis() + " ms", Failures.CONNECTION_EXCEPTION));
            }
        }
    }

    /** Cuts all: what they undo or ask for is of no use any more. */
    void close() {
        closed = true;
        for (Watch watch : watches)
            end(watch, new SQLException("the pool is closed", Failures.CONNECTION_DOES_NOT_EXIST));
    }

    private static void end(Watch watch, SQLException why) {
        if (!watch.end.compareAndSet(null, why)) return;
        watch.connection.kill(why);
        watch.thread.interrupt(); // it may wait for a lock of the driver
    }
}
