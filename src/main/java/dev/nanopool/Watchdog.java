package dev.nanopool;

import dev.nanopool.Closing.Registration;
import java.sql.SQLException;
import java.sql.SQLTimeoutException;
import java.time.Duration;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicReference;
import org.jspecify.annotations.Nullable;

/** Bounds the questions of the pool to the server. It aborts a connection that does not answer in time. Thread-safe. */
final class Watchdog {
    static final Duration PATIENCE = Duration.ofSeconds(5);

    private static final Object IN_TIME = new Object();

    private final Queue<Watch> watches = new ConcurrentLinkedQueue<>();
    private final Closing closing;

    Watchdog(Closing closing) {
        this.closing = closing;
    }

    /** An action under watch. It ends in time, or the housekeeper ends it and says why. The first of them sets {@code end}. */
    private static final class Watch {
        private final Session session;
        private final Thread thread = Thread.currentThread();
        private final Duration patience;
        private final long deadlineNanos;
        private final AtomicReference<@Nullable Object> end = new AtomicReference<>();

        Watch(Session session, Duration patience) {
            this.session = session;
            this.patience = patience;
            this.deadlineNanos = Clock.nanoTime() + patience.toNanos();
        }

        void end(SQLException why) {
            if (!end.compareAndSet(null, why)) return;
            session.abort(why);
            thread.interrupt(); // it may wait for a lock of the driver
        }
    }

    /** Runs the action on the calling thread of the pool. Returns why it failed, or null. Blocks for 5 s at most. */
    @Nullable
    Throwable run(Session session, SqlAction action) {
        return run(session, PATIENCE, action);
    }

    /** As the other {@code run}, with another bound. */
    @Nullable
    Throwable run(Session session, Duration patience, SqlAction action) {
        var watch = new Watch(session, patience);
        watches.add(watch);
        Throwable failure = null;
        try (Registration registered = closing.onClose(
                () -> watch.end(new SQLException("the pool is closed", Failures.CONNECTION_DOES_NOT_EXIST)))) {
            action.run();
        } catch (SQLException | RuntimeException | Error e) {
            failure = e;
            session.recordFailure(e, true);
        }
        Object late = watch.end.compareAndExchange(null, IN_TIME);
        watches.remove(watch);
        return late != null ? (Throwable) late : failure; // the housekeeper aborts a late one
    }

    /** Aborts the connections that take too long, without I/O. For the housekeeper. */
    void enforce(long nowNanos) {
        if (watches.isEmpty()) return;
        for (Watch watch : watches) {
            if (watch.deadlineNanos <= nowNanos) {
                watch.end(new SQLTimeoutException(
                        "no answer within " + watch.patience.toMillis() + " ms", Failures.CONNECTION_EXCEPTION));
            }
        }
    }
}
