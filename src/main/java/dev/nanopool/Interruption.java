package dev.nanopool;

import dev.nanopool.driver.Interrupts;
import java.sql.SQLException;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import org.jspecify.annotations.Nullable;

/**
 * What an interrupt does to a statement of a virtual thread: a thread of the pool has the server cancel it, and again as long
 * as there is no answer, because a cancel that comes before its statement has no effect. After {@code cancelPatience} the
 * connection is given up. The end of a transaction is never cancelled. Belongs to the thread that uses the connection.
 */
final class Interruption implements Interrupts {
    private static final long AGAIN_NANOS = Duration.ofMillis(250).toNanos();

    private final PhysicalConnection connection;
    private final PoolThreads threads;
    private final Events events;
    private final long patienceNanos;

    private @Nullable Usage usage; // the lease, and the call of its, that is being cancelled
    private @Nullable Object call;
    private long askedNanos;
    private long beganNanos; // when its thread was first seen to be interrupted
    private long cancelledNanos; // when a cancel was last sent for it
    private @Nullable CompletableFuture<@Nullable Void> sent; // done when the latest cancel is

    Interruption(PhysicalConnection connection, PoolThreads threads, Events events, Duration patience) {
        this.connection = connection;
        this.threads = threads;
        this.events = events;
        this.patienceNanos = patience.toNanos();
    }

    @Override
    public long interrupted() {
        Lease lease = connection.lease();
        Usage now = lease == null ? null : lease.usage();
        if (lease == null || now == null || now.isAwaited()) return Long.MAX_VALUE;
        long nanos = Clock.nanoTime();
        // A thread that waits asks several times a second. Calls of an unwrapped object of the driver show by that
        // only.
        boolean isFirst = isOtherCall(now) || nanos - askedNanos > 2 * AGAIN_NANOS;
        askedNanos = nanos;
        if (isFirst) {
            beganNanos = nanos;
            cancelledNanos = nanos - AGAIN_NANOS;
        }
        long left = beganNanos + patienceNanos - nanos;
        if (left > 0 && nanos - cancelledNanos >= AGAIN_NANOS && (sent == null || sent.isDone())) {
            cancelledNanos = nanos;
            cancel(lease, now, isFirst);
        }
        return Math.min(left, AGAIN_NANOS);
    }

    @SuppressWarnings("ReferenceEquality") // the same lease is meant
    private boolean isOtherCall(Usage now) {
        Object latest = now.call();
        boolean isOther = usage != now || !latest.equals(call);
        usage = now;
        call = latest;
        return isOther;
    }

    private void cancel(Lease lease, Usage of, boolean isFirst) {
        var isSent = new CompletableFuture<@Nullable Void>();
        threads.start("cancel", () -> {
            long startNanos = Clock.nanoTime();
            try {
                of.cancel(() -> !connection.isLeasedBy(lease), connection.session()::cancel);
            } catch (SQLException e) {
                events.happened(new Event.ServiceFailed("cancel", e));
            } finally {
                isSent.complete(null);
            }
            if (isFirst) {
                Duration took = Duration.ofNanos(Clock.nanoTime() - startNanos);
                events.happened(new Event.Cancelled(connection.session().backendPid(), took));
            }
        });
        sent = isSent; // THEN, because a thread that did not start completes nothing
    }

    @Override
    public void awaitCancels() {
        if (sent != null) sent.join();
    }
}
