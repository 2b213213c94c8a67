package dev.nanopool;

import java.util.concurrent.atomic.AtomicReference;
import org.jspecify.annotations.Nullable;

/** What the attempts to open a connection have failed of. Thread-safe, never blocks. */
final class OpenFailures {
    private final Outage outage; // knows when an attempt succeeded
    private final AtomicReference<@Nullable OpenFailure> last = new AtomicReference<>();
    private volatile @Nullable OpenFailure latest;

    /** A failed attempt to open a connection. */
    record OpenFailure(Throwable cause, long nanos) {
        boolean mayPass() {
            return Failures.mayPass(cause);
        }
    }

    OpenFailures(Outage outage) {
        this.outage = outage;
    }

    /** The last attempt, if it failed. Null while the database accepts connections. */
    @Nullable
    OpenFailure last() {
        return last.get();
    }

    /** The latest attempt that failed. Another attempt may have succeeded since then. */
    @Nullable
    OpenFailure latest() {
        return latest;
    }

    /**
     * Records that an attempt which began at that time has failed. Answers whether the log should say so, which is true for the
     * first failure that stays. An outage, whose failures may pass, has its own line.
     */
    boolean failed(Throwable cause, long startNanos) {
        var failure = new OpenFailure(cause, Clock.nanoTime());
        latest = failure;
        OpenFailure before;
        if (outage.hasSucceededSince(startNanos)) {
            before = last.get();
        } else {
            before = last.getAndSet(failure); // THEN ask again, because another attempt may have succeeded just now
            if (outage.hasSucceededSince(startNanos)) last.compareAndSet(failure, null);
        }
        return !failure.mayPass() && (before == null || before.mayPass());
    }

    /** Records that an attempt has succeeded. Answers whether the log should say so. The end of an outage has its own line. */
    boolean succeeded() {
        boolean endsOutage = outage.end(); // THEN forget, so that an attempt which fails just now sees the success
        return last.getAndSet(null) != null && !endsOutage;
    }

    /** Forgets the last failure, although no attempt has succeeded. */
    void forget() {
        last.set(null);
    }
}
