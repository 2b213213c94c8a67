package dev.nanopool;

import java.util.Collection;

/**
 * Knows whether the pool suspects its connections. After a sign of trouble, the pool validates a connection before it lends it,
 * unless the server has answered on that connection since then. Thread-safe, never blocks.
 */
final class Suspicion {
    private final Outage outage;
    private final Alarm alarm;
    private volatile long sinceNanos;
    private volatile long distrustedNanos;

    Suspicion(Outage outage, Alarm alarm) {
        this.outage = outage;
        this.alarm = alarm;
    }

    boolean covers(PhysicalConnection connection) {
        return connection.answeredNanos() < sinceNanos;
    }

    /** Whether a connection that was last known to be alive at that time may be dead, so that the pool checks its socket. */
    boolean distrusts(long aliveNanos) {
        return aliveNanos <= distrustedNanos;
    }

    /** Distrusts all idle connections, because one was lost. The pool checks each of them before it lends it. */
    void distrust() {
        distrustedNanos = Clock.nanoTime();
        alarm.ringForSweep();
    }

    /** Suspects all these connections from now on. The housekeeper starts to validate the idle ones at once. */
    void raise(String why, Collection<PhysicalConnection> connections) {
        if (connections.stream().allMatch(this::covers)) return; // nothing new
        sinceNanos = Clock.nanoTime();
        outage.warn(new Event.Doubted(why));
        alarm.ringForSweep();
    }
}
