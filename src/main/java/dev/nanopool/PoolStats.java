package dev.nanopool;

import java.time.Duration;

/**
 * What the pool holds and has done: a snapshot. Immutable. The numbers are read one by one while others change them, so they
 * may disagree by what happened in between; in a quiet pool they are exact. Counters count since the pool began.
 */
public final class PoolStats {
    private final Gauges gauges;
    private final long leasesGranted;
    private final long timeouts;
    private final long rejected;
    private final long opened;
    private final long closed;
    private final long lost;
    private final long leaked;
    private final long reset;
    private final long leftOpen;
    private final Duration waitP50;
    private final Duration waitP99;
    private final Duration waitP999;
    private final Duration waitMax;
    private final Duration useP50;
    private final Duration useP99;

    /** What the pool holds at the moment. */
    record Gauges(String name, int size, int active, int idle, int pending, int opening) {}

    PoolStats(Gauges gauges, long leasesGranted, Counters counters) {
        this.gauges = gauges;
        this.leasesGranted = leasesGranted;
        this.timeouts = counters.timeouts();
        this.rejected = counters.rejected();
        this.opened = counters.opened();
        this.closed = counters.closed();
        this.lost = counters.lost();
        this.leaked = counters.leaked();
        this.reset = counters.resets();
        this.leftOpen = counters.leftOpen();
        long unwaited = Math.max(0, leasesGranted - counters.hasWaited());
        this.waitP50 = counters.waits().percentile(50, unwaited);
        this.waitP99 = counters.waits().percentile(99, unwaited);
        this.waitP999 = counters.waits().percentile(99.9, unwaited);
        this.waitMax = counters.waits().max();
        this.useP50 = counters.uses().percentile(50, 0);
        this.useP99 = counters.uses().percentile(99, 0);
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
     * Returns how many connections are ready to be leased: open, not leased, and not being reset, validated or closed.
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
     * Returns how many connections are being opened, or will be opened again after a failure.
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
        return leasesGranted;
    }

    /**
     * Counts the callers whose deadline passed.
     *
     * @return callers since the start
     */
    public long timeouts() {
        return timeouts;
    }

    /**
     * Counts the callers that were refused for another reason: too many waiters, deadlock, database down, pool closed.
     *
     * @return callers since the start
     */
    public long rejected() {
        return rejected;
    }

    /**
     * Counts the connections that were opened.
     *
     * @return connections since the start
     */
    public long opened() {
        return opened;
    }

    /**
     * Counts the connections that were closed, for any reason.
     *
     * @return connections since the start
     */
    public long closed() {
        return closed;
    }

    /**
     * Counts the connections that broke: the server or the network ended them.
     *
     * @return connections since the start
     */
    public long lost() {
        return lost;
    }

    /**
     * Counts the leases that were reported as leaked, certain or suspected; each lease counts once.
     *
     * @return leases since the start
     */
    public long leaked() {
        return leaked;
    }

    /**
     * Counts the leases after which something had to be undone on the server.
     *
     * @return leases since the start
     */
    public long reset() {
        return reset;
    }

    /**
     * Counts the leases that ended in an open transaction, without a commit, on a sound connection.
     *
     * @return leases since the start
     */
    public long leftOpen() {
        return leftOpen;
    }

    /**
     * Returns how long callers that got a connection waited: the median since the pool began, to within 6 %.
     *
     * @return the wait, zero for callers that did not have to wait
     */
    public Duration waitP50() {
        return waitP50;
    }

    /**
     * Returns the 99th percentile of the wait.
     *
     * @return the wait, as {@link #waitP50}
     */
    public Duration waitP99() {
        return waitP99;
    }

    /**
     * Returns the 99.9th percentile of the wait.
     *
     * @return the wait, as {@link #waitP50}
     */
    public Duration waitP999() {
        return waitP999;
    }

    /**
     * Returns the longest wait.
     *
     * @return the wait
     */
    public Duration waitMax() {
        return waitMax;
    }

    /**
     * Returns how long leases lasted: the median of a sample of one in 64, to within 6 %.
     *
     * @return the duration
     */
    public Duration useP50() {
        return useP50;
    }

    /**
     * Returns the 99th percentile of how long leases lasted, of the same sample.
     *
     * @return the duration
     */
    public Duration useP99() {
        return useP99;
    }

    /** Names all numbers. */
    @Override
    public String toString() {
        return ("PoolStats[name=%s, size=%d, active=%d, idle=%d, pending=%d, opening=%d, leasesGranted=%d, timeouts=%d, "
                        + "rejected=%d, opened=%d, closed=%d, lost=%d, leaked=%d, reset=%d, leftOpen=%d, waitP50=%s, waitP99=%s, "
                        + "waitP999=%s, waitMax=%s, useP50=%s, useP99=%s]")
                .formatted(
                        name(),
                        size(),
                        active(),
                        idle(),
                        pending(),
                        opening(),
                        leasesGranted,
                        timeouts,
                        rejected,
                        opened,
                        closed,
                        lost,
                        leaked,
                        reset,
                        leftOpen,
                        waitP50,
                        waitP99,
                        waitP999,
                        waitMax,
                        useP50,
                        useP99);
    }
}
