package dev.nanopool;

import dev.nanopool.PhysicalConnection.State;
import dev.nanopool.queue.LeaseQueue;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.HashMap;
import java.util.Map;
import java.util.stream.Collectors;

/**
 * The safety net. It compares how many permits there should be with how many it finds. A difference that lasts for longer than
 * a second is a bug of the pool, which the audit reports and repairs. For the housekeeper alone.
 */
final class Audit {
    private static final long PATIENCE_NANOS = Duration.ofMillis(1_100).toNanos();

    private final Supply supply;
    private final LeaseQueue<PhysicalConnection> queue;
    private final Events events;
    private final Map<PhysicalConnection, Long> quiet = new HashMap<>(); // leases of the idle ones when suspicion began
    private long sinceNanos = Long.MAX_VALUE; // MAX_VALUE if there is no suspicion
    private int smallest; // the smallest difference of all checks since then

    Audit(Supply supply, Events events) {
        this.supply = supply;
        this.queue = supply.queue();
        this.events = events;
    }

    boolean isSuspicious() {
        return sinceNanos != Long.MAX_VALUE;
    }

    /** Compares the numbers. The housekeeper calls it several times a second while {@link #isSuspicious}, else once. */
    void compare(long now) {
        int difference = missingPermits();
        if (difference == 0 || (isSuspicious() && Integer.signum(difference) != Integer.signum(smallest))) {
            sinceNanos = Long.MAX_VALUE;
            quiet.clear();
        } else if (!isSuspicious()) {
            sinceNanos = now;
            smallest = difference;
            for (PhysicalConnection connection : supply.connections()) {
                if (connection.state() == State.IDLE) quiet.put(connection, connection.leases());
            }
        } else {
            if (Math.abs(difference) < Math.abs(smallest)) smallest = difference;
            if (now - sinceNanos >= PATIENCE_NANOS) repair();
        }
    }

    /**
     * Makes missing permits anew. It gives up a connection that is neither in the queue nor leased, together with its permit. If
     * a thread still has that connection in its hand, the thread finds it broken, and its permit is then one too many.
     */
    private void repair() {
        String numbers = "expected %d, free %d, in hand %d, connections %s"
                .formatted(
                        supply.expectedPermits(),
                        queue.free(),
                        supply.permitsInHand(),
                        supply.connections().stream()
                                .collect(Collectors.groupingBy(PhysicalConnection::state, Collectors.counting())));
        if (smallest > 0) {
            forgetQueued();
            quiet.entrySet()
                    .removeIf(entry -> entry.getKey().state() != State.IDLE
                            || entry.getKey().leases() != entry.getValue());
            quiet.keySet().stream().limit(smallest).forEach(supply::forget);
        }
        supply.correct(smallest);
        events.happened(new Event.Bug(
                "%d permits were %s, which the pool has repaired: %s"
                        .formatted(Math.abs(smallest), smallest > 0 ? "missing" : "too many", numbers),
                null));
        sinceNanos = Long.MAX_VALUE;
        quiet.clear();
    }

    /** How many permits should exist and are found nowhere. The number is negative if too many are found. */
    private int missingPermits() {
        int found = queue.free() + supply.permitsInHand();
        for (PhysicalConnection connection : supply.connections()) {
            if (connection.state() != State.IDLE) found++; // an idle one is in the queue, which counts its permit
        }
        int missing = supply.expectedPermits() - found;
        return missing > 0 ? Math.max(0, missing - queue.inTransit()) : missing;
    }

    /** Removes the connections that are in the queue from the suspects, because they are not lost. */
    private void forgetQueued() {
        var taken = new ArrayDeque<PhysicalConnection>(supply.size() + 1);
        try {
            for (PhysicalConnection next = queue.takeIdle(); next != null; next = queue.takeIdle()) {
                taken.add(next);
                if (taken.size() > supply.size()) break;
            }
            taken.forEach(quiet::remove);
        } finally {
            supply.requeueAll(taken);
        }
    }
}
