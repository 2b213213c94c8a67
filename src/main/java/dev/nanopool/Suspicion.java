package dev.nanopool;

import java.util.Collection;

/**
 * Whether the pool suspects its connections: after a sign of trouble, a connection that the server has not answered on since
 * then is validated before it is lent. Thread-safe, never blocks.
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

    /** Whether a connection that has been idle since that time may be dead, so that its socket is looked at. */
    boolean distrusts(long idleNanos) {
        return idleNanos <= distrustedNanos;
    }

    /** A connection was lost, so the others may be: each idle one is looked at before it is lent. */
    void distrust() {
        distrustedNanos = Clock.nanoTime();
        alarm.ringForSweep();
    }

    /** All these connections are suspect from now on. The housekeeper has the idle ones validated at once. */
    void raise(String why, Collection<PhysicalConnection> connections) {
        if (connections.stream().allMatch(this::covers)) return; // nothing new
        sinceNanos = Clock.nanoTime();
        outage.warn(new Event.Doubted(why));
        alarm.ringForSweep();
    }
}
