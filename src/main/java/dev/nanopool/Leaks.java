package dev.nanopool;

import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Finds leases that will not end. It takes back a lease whose client no thread can reach, and only reports a suspect lease, once.
 * For the housekeeper.
 */
final class Leaks {
    private final long thresholdNanos;
    private final Events events;
    private final PoolThreads threads;

    Leaks(PoolConfig config, Events events, PoolThreads threads) {
        this.thresholdNanos = config.leakThreshold.isZero() ? Long.MAX_VALUE : config.leakThreshold.toNanos();
        this.events = events;
        this.threads = threads;
    }

    /** Inspects the lease of one connection. */
    void inspect(PhysicalConnection connection, long now) {
        Lease.Lasting lease = connection.lastingLease();
        if (lease == null) return;
        boolean isForgotten = lease.client() == null;
        // A thread that waits for the server is no leak.
        if (isForgotten ? lease.usage().isInside() : lease.usage().isBusy()) return;
        boolean isKnown = lease.isSuspected();
        if (!isForgotten && (isKnown || !findSuspicion(lease, now))) return;
        // Another thread calls the driver and the listener, because the clock must not wait for them.
        threads.start("leak", () -> report(connection, lease, isForgotten, isKnown));
        if (!isForgotten) lease.suspect(); // after the thread has started, so that the report comes
    }

    private void report(PhysicalConnection connection, Lease.Lasting lease, boolean isForgotten, boolean isKnown) {
        PoolExhaustedException.Holder holder = Stacks.holder(lease, stack(lease));
        // Else the lease has ended meanwhile.
        boolean isNews = isForgotten ? connection.end(lease, 0) : connection.isLeasedBy(lease);
        if (isNews) events.happened(new Event.Leaked(holder, isForgotten, isKnown));
    }

    /**
     * Answers whether the lease is suspect. Another thread may have the client of a thread that has ended, so such a lease is
     * suspect if no thread uses the client within a second.
     */
    private boolean findSuspicion(Lease.Lasting lease, long now) {
        if (now - lease.startNanos() >= thresholdNanos) return true;
        return !lease.owner().isAlive() && !lease.isShared() && lease.markOwnerless();
    }

    private static List<StackTraceElement> stack(Lease.Lasting lease) {
        @Nullable Throwable leasedAt = lease.usage().leasedAt();
        return List.of(
                leasedAt != null ? leasedAt.getStackTrace() : lease.owner().getStackTrace());
    }
}
