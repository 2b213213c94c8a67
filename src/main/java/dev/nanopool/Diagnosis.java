package dev.nanopool;

import dev.nanopool.OpenFailures.OpenFailure;
import dev.nanopool.PoolExhaustedException.Holder;
import dev.nanopool.PoolExhaustedException.Verdict;
import dev.nanopool.queue.RefusedException;
import dev.nanopool.queue.RefusedException.Reason;
import dev.nanopool.queue.StackReserve;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.jspecify.annotations.Nullable;

/**
 * Says why a caller gets no connection. A caller that gets one does not come here. Thread-safe. Blocks only while another caller
 * reads the stacks, and for a second at most.
 */
final class Diagnosis {
    private static final int MOST_HOLDERS = 5; // in a message
    private static final long REUSED_NANOS = Duration.ofMillis(100).toNanos();
    private static final long PATIENCE_NANOS = Duration.ofSeconds(1).toNanos(); // with another caller that reads

    private final PoolConfig config;
    private final Supply supply;
    private final Deadlocks deadlocks;
    private final Statistics statistics;

    /** Stacks are expensive, so callers that give up at the same time share them, and wait for one reader. */
    private volatile @Nullable Reading latest;

    /** @param text what a message says of them */
    private record Holders(List<Holder> all, String text) {}

    /**
     * One look at the stacks. The callers share no lock, because a virtual thread with a deep stack may fail to park. It would
     * stay in the lock's queue after its end, and no later caller would get the lock.
     */
    private static final class Reading extends FutureTask<Holders> {
        private final long startNanos = Clock.nanoTime();

        Reading(Callable<Holders> look) {
            super(look);
        }

        boolean isOld() {
            return Clock.nanoTime() - startNanos >= (isDone() ? REUSED_NANOS : PATIENCE_NANOS);
        }
    }

    Diagnosis(PoolConfig config, Supply supply, Deadlocks deadlocks, Statistics statistics) {
        this.config = config;
        this.supply = supply;
        this.deadlocks = deadlocks;
        this.statistics = statistics;
    }

    /** @param startNanos when the caller came */
    PoolExhaustedException explain(RefusedException refused, long startNanos, long timeoutNanos) {
        long waitedNanos = Clock.nanoTime() - startNanos;
        Holders recent = recentHolders();
        List<Holder> holders = recent.all;
        PoolStats stats = statistics.snapshot();
        boolean isDown = refused.reason() == Reason.DATABASE_DOWN;
        Outage outage = supply.outage();
        long outageNanos = isDown ? outage.nanosFor(startNanos) : outage.nanos();
        OpenFailures failures = supply.openFailures();
        OpenFailure failure = isDown ? failures.latest() : failures.last();
        // Without formatted(), which is slow, because thousands may be refused at the same time.
        StringBuilder message = new StringBuilder(config.name + ": no connection within " + waitedNanos / 1_000_000
                + " ms (timeout " + timeoutNanos / 1_000_000 + " ms)");
        if (refused.place() > 0) message.append(", place " + refused.place() + " in the line");
        if (refused.reason() == Reason.HOPELESS) {
            message.append(", which would get one after " + refused.expectedNanos() / 1_000_000 + " ms");
        }
        if (refused.reason() == Reason.QUEUE_FULL) message.append(", maxWaiters " + config.maxWaiters);
        message.append("; max " + stats.size() + ", active " + stats.active() + ", idle " + stats.idle() + ", pending "
                + stats.pending());
        if (supply.isSuspended()) message.append("; the pool is suspended");
        if (supply.effectiveSize() < supply.size()) {
            message.append("; the server lets in " + supply.effectiveSize() + " at present");
        }
        Share share = supply.share();
        if (share != null && supply.connections().size() < supply.effectiveSize()) {
            message.append(share.budget().usedUp());
        }
        if (outageNanos >= 0) {
            message.append("; the database has let no connection in for " + outageNanos / 1_000_000 + " ms");
        }
        if (failure != null) {
            message.append("; last open failed " + (Clock.nanoTime() - failure.nanos()) / 1_000_000 + " ms ago: "
                    + withoutStop(Event.rootCause(failure.cause())));
        }
        return new PoolExhaustedException(
                message.append(recent.text).append('.').toString(),
                verdict(refused.reason(), holders, timeoutNanos),
                stats,
                holders,
                failure == null ? null : failure.cause());
    }

    private static String line(Holder holder) {
        return "held for %d ms by %s%s"
                .formatted(holder.heldFor().toMillis(), holder.thread(), Stacks.at(holder.stack()));
    }

    /** A line for each lease. */
    List<String> holders() {
        return recentHolders().all.stream().map(Diagnosis::line).toList();
    }

    private Verdict verdict(Reason reason, List<Holder> holders, long timeoutNanos) {
        if (supply.isSuspended()) return Verdict.SUSPENDED;
        if (reason == Reason.HOPELESS) return Verdict.OVERLOAD;
        if (reason == Reason.DATABASE_DOWN) return Verdict.DATABASE_DOWN;
        if (reason == Reason.DEADLOCK || deadlocks.isPartOfOne()) return Verdict.DEADLOCK;
        // No lease holds a connection, and yet there is none, because the server answers neither callers nor the pool.
        // A caller that is refused at once has not waited for the server's answer.
        boolean hasWaited = reason != Reason.QUEUE_FULL || supply.openFailures().last() != null;
        if (holders.isEmpty() && hasWaited && statistics.isPoolAtWork()) return Verdict.DATABASE_DOWN;
        for (PhysicalConnection connection : supply.connections()) {
            Lease lease = connection.lease();
            if (lease != null && !lease.owner().isAlive() && !lease.isShared()) return Verdict.LEAK;
        }
        long slow = holders.stream()
                .filter(holder -> holder.heldFor().toNanos() >= timeoutNanos)
                .count();
        return slow > 0 && slow * 2 >= holders.size() ? Verdict.SLOW_HOLDERS : Verdict.OVERLOAD;
    }

    private static String withoutStop(String sentence) {
        return sentence.endsWith(".") ? sentence.substring(0, sentence.length() - 1) : sentence;
    }

    /** Where the holder is; if it has ended, where its lease began, which is known with {@code leakThreshold}. */
    private static List<StackTraceElement> stack(Lease lease) {
        StackTraceElement[] now = lease.owner().getStackTrace();
        Usage usage = lease.usage();
        Throwable leasedAt = now.length > 0 || usage == null ? null : usage.leasedAt();
        return List.of(leasedAt == null ? now : leasedAt.getStackTrace());
    }

    /** All leases, and what their threads do, as it was up to 0.1 s ago. */
    private Holders recentHolders() {
        Reading reading = latest;
        if (reading != null && reading.isOld()) reading = null;
        if (reading != null && reading.state() == Future.State.SUCCESS) return reading.resultNow();
        StackReserve.requireMuch(); // else a virtual thread whose stack is read would stay suspended for ever
        if (reading == null) {
            reading = new Reading(this::holdersNow);
            latest = reading; // two at the same time do no harm
        }
        reading.run(); // the first caller reads; for the others this does nothing
        try {
            return reading.get(PATIENCE_NANOS, TimeUnit.NANOSECONDS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        } catch (ExecutionException | TimeoutException e) {
            // its reader had neither stack nor memory, or cannot go on
        }
        return holdersNow();
    }

    private Holders holdersNow() {
        List<Holder> holders = new ArrayList<>();
        for (PhysicalConnection connection : supply.connections()) {
            Lease lease = connection.lease();
            if (lease != null) holders.add(Stacks.holder(lease, stack(lease)));
        }
        StringBuilder text = new StringBuilder();
        for (Holder holder : holders.subList(0, Math.min(MOST_HOLDERS, holders.size()))) {
            text.append("; ").append(line(holder));
        }
        if (holders.size() > MOST_HOLDERS) text.append("; and so on: holders()");
        return new Holders(holders, text.toString());
    }
}
