package dev.nanopool.queue;

/** Tells when the callers came that wait in a {@link LeaseQueue}. Thread-safe, never blocks. */
public final class Arrivals {
    /** What {@link #nanos} answers if so many callers do not wait. */
    public static final long NONE = Long.MAX_VALUE;

    private final WaitingLine waiters;

    public Arrivals(LeaseQueue<?> queue) {
        this.waiters = queue.waiters;
    }

    /** When the caller came that has so many others before it. Walks the line up to it. */
    public long nanos(int ahead) {
        return waiters.isEmpty() ? NONE : waiters.arrivalNanos(ahead);
    }
}
