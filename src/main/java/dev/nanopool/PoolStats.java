package dev.nanopool;

import java.time.Duration;
import java.util.Arrays;
import java.util.List;

/**
 * A snapshot of what the pool holds and has done. Immutable. The pool reads the numbers one by one while other threads change
 * them, so they may disagree by what happened in between. In a quiet pool they are exact. Counters count since the pool began, and
 * never decrease. {@link #since} tells what happened between two snapshots.
 */
public final class PoolStats {
    /** A pool that has done nothing. */
    static final PoolStats NOTHING = new PoolStats(
            new Gauges("", 0, 0, 0, 0, 0, 0, 0, 0),
            new Totals(0, 0, 0, 0, 0, 0, 0, 0, Durations.NONE, Durations.NONE, Durations.NONE, Durations.NONE));

    private final Gauges gauges;
    private final Totals totals;

    /** What the pool holds. */
    record Gauges(
            String name,
            int size,
            int minIdle,
            int active,
            int idle,
            int pending,
            int opening,
            int budget,
            int budgetUsed) {}

    /** What the pool has done. */
    record Totals(
            long timeouts,
            long rejected,
            long opened,
            long closed,
            long lost,
            long cancelled,
            long leaked,
            long leftOpen,
            Durations waits,
            Durations uses,
            Durations connects,
            Durations resets) {}

    /**
     * How often something happened, and how long it took, counted in fixed buckets: ten for each power of ten from 1 us to
     * 1,000 s, and one for zero. Immutable.
     */
    public static final class Durations {
        /** The largest duration of each bucket, in nanoseconds; one more bucket has what is longer. */
        static final long[] BOUNDS = bounds();

        static final Durations NONE = new Durations(new long[BOUNDS.length + 1], 0, 0);

        private final long[] counts;
        private final long sumNanos;
        private final long maxNanos;

        Durations(long[] counts, long sumNanos, long maxNanos) {
            this.counts = counts;
            this.sumNanos = sumNanos;
            this.maxNanos = maxNanos;
        }

        private static long[] bounds() {
            int[] steps = {10, 12, 15, 20, 25, 30, 40, 50, 60, 80};
            long[] bounds = new long[2 + 9 * steps.length];
            int i = 1;
            for (long unit = 100; unit < 100_000_000_000L; unit *= 10) {
                for (int step : steps) bounds[i++] = unit * step;
            }
            bounds[i] = 1_000_000_000_000L;
            return bounds;
        }

        /**
         * Returns the largest duration of each bucket, zero first. What is longer than the last is in one more bucket.
         *
         * @return the bounds, ascending, the same for all
         */
        public static List<Duration> buckets() {
            return Arrays.stream(BOUNDS).mapToObj(Duration::ofNanos).toList();
        }

        /**
         * Returns how often it happened.
         *
         * @return the count
         */
        public long count() {
            return Arrays.stream(counts).sum();
        }

        /**
         * Returns how often it happened in each bucket.
         *
         * @return a count for each bound, and one more
         */
        public long[] counts() {
            return counts.clone();
        }

        /**
         * Returns how long it took altogether.
         *
         * @return the sum
         */
        public Duration sum() {
            return Duration.ofNanos(sumNanos);
        }

        /**
         * Returns the longest. Between two snapshots it is known to within its bucket.
         *
         * @return the longest duration, zero if there is none
         */
        public Duration max() {
            return percentile(100);
        }

        /**
         * Returns a percentile, rounded up to the bound of its bucket, which is at most a third above the bound before.
         *
         * @param percent from 0 to 100
         * @return the duration, zero if there is none
         */
        public Duration percentile(double percent) {
            long rank = (long) Math.ceil(count() * percent / 100);
            for (int i = 0; i < counts.length && rank > 0; i++) {
                rank -= counts[i];
                if (rank <= 0) return Duration.ofNanos(i < BOUNDS.length ? Math.min(BOUNDS[i], maxNanos) : maxNanos);
            }
            return Duration.ZERO;
        }

        private Durations since(Durations earlier) {
            long[] difference = counts.clone();
            for (int i = 0; i < difference.length; i++) difference[i] = Math.max(0, difference[i] - earlier.counts[i]);
            return new Durations(difference, Math.max(0, sumNanos - earlier.sumNanos), maxNanos);
        }

        @Override
        public String toString() {
            return "%d, sum %s, p50 %s, p99 %s, p99.9 %s, max %s"
                    .formatted(count(), sum(), percentile(50), percentile(99), percentile(99.9), max());
        }
    }

    PoolStats(Gauges gauges, Totals totals) {
        this.gauges = gauges;
        this.totals = totals;
    }

    /**
     * Returns what happened since an earlier snapshot of the same pool: counters and durations are those between the two,
     * what the pool holds is that of this one.
     *
     * @param earlier the earlier snapshot
     * @return the difference
     */
    public PoolStats since(PoolStats earlier) {
        Totals before = earlier.totals;
        return new PoolStats(
                gauges,
                new Totals(
                        totals.timeouts - before.timeouts,
                        totals.rejected - before.rejected,
                        totals.opened - before.opened,
                        totals.closed - before.closed,
                        totals.lost - before.lost,
                        totals.cancelled - before.cancelled,
                        totals.leaked - before.leaked,
                        totals.leftOpen - before.leftOpen,
                        totals.waits.since(before.waits),
                        totals.uses.since(before.uses),
                        totals.connects.since(before.connects),
                        totals.resets.since(before.resets)));
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
     * Returns how many connections stay open though no caller uses them.
     *
     * @return connections
     */
    public int minIdle() {
        return gauges.minIdle;
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
     * Returns how many connections the pools of this pool's {@link Budget} may have together.
     *
     * @return the size of the budget; 0 if the pool has none
     */
    public int budget() {
        return gauges.budget;
    }

    /**
     * Returns how many connections the pools of this pool's {@link Budget} have, open ones and those that are being opened.
     *
     * @return connections; 0 if the pool has no budget
     */
    public int budgetUsed() {
        return gauges.budgetUsed;
    }

    /**
     * Counts the leases.
     *
     * @return leases since the start
     */
    public long leasesGranted() {
        return totals.waits.count();
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
     * Counts the callers that were refused for another reason, such as too many waiters, a turn that would come too late, a
     * deadlock, a database that is down, or a closed pool.
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
        return totals.resets.count();
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
     * Returns how long callers waited for their connection. There is one duration for each lease, which is zero if the caller did
     * not have to wait.
     *
     * @return the waits
     */
    public Durations waits() {
        return totals.waits;
    }

    /**
     * Returns how long leases lasted: one for each lease that has ended. Each is timed as long as callers lease fewer than
     * 10,000 connections a second. In a busier pool one of 64 is timed and stands for those after it; a lease of 0.1 s and
     * more always counts with its own duration, to within 10 ms.
     *
     * @return the durations
     */
    public Durations uses() {
        return totals.uses;
    }

    /**
     * Returns how long it took to open the connections that were opened, from asking for the credentials until
     * {@code initSql} has run.
     *
     * @return the durations
     */
    public Durations connects() {
        return totals.connects;
    }

    /**
     * Returns how long it took to undo what leases had changed, where that took the server.
     *
     * @return the durations
     */
    public Durations resets() {
        return totals.resets;
    }

    /** Names all numbers. */
    @Override
    public String toString() {
        return ("PoolStats[name=%s, size=%d, minIdle=%d, active=%d, idle=%d, pending=%d, opening=%d, "
                        + "budget=%d, budgetUsed=%d, leasesGranted=%d, timeouts=%d, rejected=%d, opened=%d, closed=%d, lost=%d, cancelled=%d, leaked=%d, leftOpen=%d, "
                        + "waits=[%s], uses=[%s], connects=[%s], resets=[%s]]")
                .formatted(
                        name(),
                        size(),
                        minIdle(),
                        active(),
                        idle(),
                        pending(),
                        opening(),
                        budget(),
                        budgetUsed(),
                        leasesGranted(),
                        timeouts(),
                        rejected(),
                        opened(),
                        closed(),
                        lost(),
                        cancelled(),
                        leaked(),
                        leftOpen(),
                        waits(),
                        uses(),
                        connects(),
                        resets());
    }
}
