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
 * a couple of seconds is a bug of the pool, which the audit reports and repairs. For the housekeeper alone.
 */
final class Audit {
    private static final long PATIENCE_NANOS = Duration.ofSeconds(2).toNanos();
    // If two checks are farther apart, the process stood still, and so did the thread that has the permit in its hand.
    private static final long CHECK_NANOS = Duration.ofMillis(300).toNanos();

    private final Supply supply;
    private final LeaseQueue<PhysicalConnection> queue;
    private final Events events;
    private Map<PhysicalConnection, Long> quiet = Map.of(); // leases of the idle ones when suspicion began
    private boolean suspicious;
    private int smallest; // the smallest difference of all checks since the suspicion began
    private long checkedNanos;
    private long suspiciousNanos; // how long the suspicion has lasted while the process ran

    Audit(Supply supply, Events events) {
        this.supply = supply;
        this.queue = supply.queue();
        this.events = events;
    }

    boolean isSuspicious() {
        return suspicious;
    }

    /** Compares the numbers. The housekeeper calls it several times a second while {@link #isSuspicious}, else once. */
    void compare(long now) {
        int difference = missingPermits();
        if (difference == 0 || (suspicious && Integer.signum(difference) != Integer.signum(smallest))) {
            trust();
        } else if (!suspicious) {
            suspicious = true;
            suspiciousNanos = 0;
            smallest = difference;
            quiet = new HashMap<>();
            for (PhysicalConnection connection : supply.connections()) {
                if (connection.state() == State.IDLE) quiet.put(connection, connection.leases());
            }
        } else {
            if (Math.abs(difference) < Math.abs(smallest)) smallest = difference;
            suspiciousNanos += Math.min(now - checkedNanos, CHECK_NANOS);
            if (suspiciousNanos >= PATIENCE_NANOS) repair();
        }
        checkedNanos = now;
    }

    private void trust() {
        suspicious = false;
        quiet = Map.of();
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
        trust();
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
