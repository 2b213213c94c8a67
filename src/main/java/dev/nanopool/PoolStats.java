package dev.nanopool;

import java.time.Duration;

/**
 * A snapshot of what the pool holds and has done. Immutable. The pool reads the numbers one by one while other threads change
 * them, so they may disagree by what happened in between. In a quiet pool they are exact. Counters count since the pool began.
 */
public final class PoolStats {
    private final Gauges gauges;
    private final Totals totals;

    /** What the pool holds. */
    record Gauges(String name, int size, int active, int idle, int pending, int opening) {}

    /** What the pool has done. */
    record Totals(
            long leasesGranted,
            long timeouts,
            long rejected,
            long opened,
            long closed,
            long lost,
            long cancelled,
            long leaked,
            long reset,
            long leftOpen,
            Duration waitP50,
            Duration waitP99,
            Duration waitP999,
            Duration waitMax,
            Duration useP50,
            Duration useP99) {}

    PoolStats(Gauges gauges, Totals totals) {
        this.gauges = gauges;
        this.totals = totals;
    }

    /**
     * Returns the pool's name.
     *
     * @return the name
     */
    public String name() {
        return gauges.name;
    }

    /**
     * Returns how many connections the pool may hold.
     *
     * @return the size
     */
    public int size() {
        return gauges.size;
    }

    /**
     * Returns how many connections are leased.
     *
     * @return connections
     */
    public int active() {
        return gauges.active;
    }

    /**
     * Returns how many connections are ready to be leased. They are open and not leased, and the pool does not reset, validate
     * or close them.
     *
     * @return connections
     */
    public int idle() {
        return gauges.idle;
    }

    /**
     * Returns how many callers wait.
     *
     * @return callers
     */
    public int pending() {
        return gauges.pending;
    }

    /**
     * Returns how many connections the pool is opening, those included that it tries again after a failure.
     *
     * @return connections
     */
    public int opening() {
        return gauges.opening;
    }

    /**
     * Counts the leases.
     *
     * @return leases since the start
     */
    public long leasesGranted() {
        return totals.leasesGranted;
    }

    /**
     * Counts the callers whose deadline passed.
     *
     * @return callers since the start
     */
    public long timeouts() {
        return totals.timeouts;
    }

    /**
     * Counts the callers that were refused for another reason, such as too many waiters, a deadlock, a database that is down,
     * or a closed pool.
     *
     * @return callers since the start
     */
    public long rejected() {
        return totals.rejected;
    }

    /**
     * Counts the connections that were opened.
     *
     * @return connections since the start
     */
    public long opened() {
        return totals.opened;
    }

    /**
     * Counts the connections that were closed, for any reason.
     *
     * @return connections since the start
     */
    public long closed() {
        return totals.closed;
    }

    /**
     * Counts the connections that broke because the server or the network ended them.
     *
     * @return connections since the start
     */
    public long lost() {
        return totals.lost;
    }

    /**
     * Counts the statements that an interrupt of their virtual thread has cancelled. Their connections stay, so that
     * {@link #lost} does not count them.
     *
     * @return statements since the start
     */
    public long cancelled() {
        return totals.cancelled;
    }

    /**
     * Counts the leases that were reported as leaked, certain or suspected; each lease counts once.
     *
     * @return leases since the start
     */
    public long leaked() {
        return totals.leaked;
    }

    /**
     * Counts the leases after which something had to be undone on the server.
     *
     * @return leases since the start
     */
    public long reset() {
        return totals.reset;
    }

    /**
     * Counts the leases that ended in an open transaction, without a commit, on a sound connection.
     *
     * @return leases since the start
     */
    public long leftOpen() {
        return totals.leftOpen;
    }

    /**
     * Returns the median, since the pool began, of how long callers waited for their connection, to within 6 %.
     *
     * @return the wait; a caller that did not have to wait counts as zero
     */
    public Duration waitP50() {
        return totals.waitP50;
    }

    /**
     * Returns the 99th percentile of the wait.
     *
     * @return the wait, as {@link #waitP50}
     */
    public Duration waitP99() {
        return totals.waitP99;
    }

    /**
     * Returns the 99.9th percentile of the wait.
     *
     * @return the wait, as {@link #waitP50}
     */
    public Duration waitP999() {
        return totals.waitP999;
    }

    /**
     * Returns the longest wait.
     *
     * @return the wait
     */
    public Duration waitMax() {
        return totals.waitMax;
    }

    /**
     * Returns the median of how long leases lasted, of a sample of one lease in 64, to within 6 %.
     *
     * @return the duration
     */
    public Duration useP50() {
        return totals.useP50;
    }

    /**
     * Returns the 99th percentile of how long leases lasted, of the same sample.
     *
     * @return the duration
     */
    public Duration useP99() {
        return totals.useP99;
    }

    /** Names all numbers. */
    @Override
    public String toString() {
        return ("PoolStats[name=%s, size=%d, active=%d, idle=%d, pending=%d, opening=%d, leasesGranted=%d, timeouts=%d, "
                        + "rejected=%d, opened=%d, closed=%d, lost=%d, cancelled=%d, leaked=%d, reset=%d, leftOpen=%d, waitP50=%s, waitP99=%s, "
                        + "waitP999=%s, waitMax=%s, useP50=%s, useP99=%s]")
                .formatted(
                        name(),
                        size(),
                        active(),
                        idle(),
                        pending(),
                        opening(),
                        totals.leasesGranted,
                        totals.timeouts,
                        totals.rejected,
                        totals.opened,
                        totals.closed,
                        totals.lost,
                        totals.cancelled,
                        totals.leaked,
                        totals.reset,
                        totals.leftOpen,
                        totals.waitP50,
                        totals.waitP99,
                        totals.waitP999,
                        totals.waitMax,
                        totals.useP50,
                        totals.useP99);
    }
}
