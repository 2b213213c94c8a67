package dev.nanopool;

import dev.nanopool.queue.LeaseQueue;
import dev.nanopool.queue.RefusedException.Reason;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Finds callers that wait for one another, because every lease belongs to a thread that itself waits for another connection. If
 * that lasts for a second, and meanwhile no lease ends and no statement runs, the pool refuses the caller whose deadline comes
 * first. It could not be served before its deadline anyway. Thread-safe, except {@link #inspect}, which is the housekeeper's.
 */
final class Deadlocks {
    private final Supply supply;
    private final LeaseQueue<PhysicalConnection> queue;
    private long seen; // what the leases had done at the last check, if there was a deadlock; else 0

    Deadlocks(Supply supply) {
        this.supply = supply;
        this.queue = supply.queue();
    }

    /** Refuses one caller of a deadlock that has lasted. The housekeeper calls it once a second. */
    void inspect() {
        List<Lease> leases = deadlocked();
        long done = leases.isEmpty() ? 0 : 1;
        for (PhysicalConnection connection : supply.connections()) done += connection.leases();
        for (Lease lease : leases) done += entered(lease);
        boolean hasLasted = !leases.isEmpty() && done == seen;
        seen = leases.isEmpty() ? 0 : done;
        if (!hasLasted) return;
        Lease first = leases.getFirst();
        for (Lease lease : leases) {
            if (queue.deadlineOf(lease.owner()) < queue.deadlineOf(first.owner())) first = lease;
        }
        queue.refuse(Reason.DEADLOCK, first.owner());
    }

    private static int entered(Lease lease) {
        Usage usage = lease.usage();
        return usage == null ? 0 : usage.entered();
    }

    /** Whether all leases wait for one another, and the calling thread has one of them. */
    boolean isPartOfOne() {
        return deadlocked().stream().anyMatch(lease -> lease.owner() == Thread.currentThread()) || isLastOfOne();
    }

    /** The leases that wait for one another, which are all leases or none. */
    private List<Lease> deadlocked() {
        return waitingBesides(null);
    }

    /** Whether all leases wait for one another, if the calling thread counts, which has just left the line. */
    private boolean isLastOfOne() {
        return waitingBesides(Thread.currentThread()).stream()
                .anyMatch(lease -> lease.owner() == Thread.currentThread());
    }

    /** All leases if each belongs to a thread that waits or to the given thread; else none. */
    private List<Lease> waitingBesides(@Nullable Thread thread) {
        List<Lease> leases = new ArrayList<>();
        for (PhysicalConnection connection : supply.connections()) {
            Lease lease = connection.lease();
            if (lease == null || lease.client() == null || lease.isBusy())
                return List.of(); // this is mostly the first lease
            if (lease.isShared()) return List.of(); // another thread may give it back
            leases.add(lease);
        }
        if (leases.size() < supply.size()) return List.of(); // one more may be opened
        for (Lease lease : leases) {
            if (lease.owner() == thread) continue;
            if (queue.deadlineOf(lease.owner()) == LeaseQueue.NOT_WAITING) return List.of();
        }
        return leases;
    }
}
