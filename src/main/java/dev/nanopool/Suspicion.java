package dev.nanopool;

import java.util.Collection;

/**
 * Whether the pool suspects its connections: after a sign of trouble, a connection that the server has not answered on since
 * then is validated before it is lent. Thread-safe, never blocks.
 */
final class Suspicion {
    private final Events events;
    private final Alarm alarm;
    private volatile long sinceNanos;

    Suspicion(Events events, Alarm alarm) {
        this.events = events;
        this.alarm = alarm;
    }

    boolean covers(PhysicalConnection connection) {
        return connection.provenNanos() < sinceNanos;
    }

    /** All these connections are suspect from now on. The housekeeper has the idle ones validated at once. */
    void raise(String why, Collection<PhysicalConnection> connections) {
        if (connections.stream().allMatch(this::covers)) return; // nothing new
        sinceNanos = Clock.nanoTime();
        events.happened(new Event.Doubted(why));
        alarm.ringForSweep();
    }
}
