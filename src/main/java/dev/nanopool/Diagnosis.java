package dev.nanopool;

import dev.nanopool.Events.OpenFailure;
import dev.nanopool.PoolExhaustedException.Holder;
import dev.nanopool.PoolExhaustedException.Verdict;
import dev.nanopool.queue.LeaseQueue;
import dev.nanopool.queue.RefusedException;
import dev.nanopool.queue.RefusedException.Reason;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** Why a caller gets no connection. Thread-safe, never blocks; nothing here is on the way of one that gets one. */
final class Diagnosis {
    private static final int MOST_HOLDERS = 5; // in a message
    private static final long REUSED_NANOS = Duration.ofMillis(100).toNanos();

    private final PoolConfig config;
    private final Supply supply;
    private final LeaseQueue<?> queue;
    private final Events events;

    /** Stacks are dear: callers that give up at the same time share them. */
    private volatile @Nullable Holders latest;

    private record Holders(List<Holder> all, long nanos) {}

    Diagnosis(PoolConfig config, Supply supply, LeaseQueue<?> queue, Events events) {
        this.config = config;
        this.supply = supply;
        this.queue = queue;
        this.events = events;
    }

    /**
     * A thread that waits in a deadlock, or null. All connections are leased, the owner of every lease waits for one more,
     * and no other thread has used one of the clients, so no lease ends before a deadline.
     */
    @Nullable
    Thread deadlocked() {
        var any = supply.connections().stream().findFirst();
        Lease lease = any.isPresent() ? any.get().lease : null;
        if (lease == null || !isDeadlock(lease.owner())) return null;
        return queue.hasWaiting(lease.owner()) ? lease.owner() : null;
    }

    /** Whether every lease's owner is this thread or waits, and this thread has a lease. */
    private boolean isDeadlock(Thread thread) {
        boolean isMine = false;
        for (PhysicalConnection connection : supply.connections()) {
            Lease lease = connection.lease;
            if (lease == null || lease.client() == null || connection.isBusy() || connection.shared)
                return false; // mostly the first
            isMine |= lease.owner() == thread;
        }
        if (!isMine || supply.connections().size() < supply.size()) return false; // one more may be opened
        for (PhysicalConnection connection : supply.connections()) {
            Lease lease = connection.lease;
            if (lease == null) return false;
            if (lease.owner() != thread && !queue.hasWaiting(lease.owner())) return false;
        }
        return true;
    }

    PoolExhaustedException explain(RefusedException refused, PoolStats stats, long waitedNanos, long timeoutNanos) {
        List<Holder> holders = recentHolders();
        OpenFailure failure = events.lastFailure();
        StringBuilder message = new StringBuilder("%s: no connection within %d ms (timeout %d ms)"
                .formatted(config.name, waitedNanos / 1_000_000, timeoutNanos / 1_000_000));
        if (refused.place() > 0) message.append(", place %d in the line".formatted(refused.place()));
        if (refused.reason() == Reason.QUEUE_FULL) message.append(", maxWaiters %d".formatted(config.maxWaiters));
        message.append("; max %d, active %d, idle %d, pending %d"
                .formatted(stats.size(), stats.active(), stats.idle(), stats.pending()));
        if (supply.isSuspended()) message.append("; the pool is suspended");
        if (supply.effectiveSize() < supply.size()) {
            message.append("; the server lets in %d at present".formatted(supply.effectiveSize()));
        }
        if (failure != null) {
            message.append("; last open failed %d ms ago: %s"
                    .formatted(
                            (Clock.nanoTime() - failure.nanos()) / 1_000_000,
                            failure.cause().getMessage()));
        }
        for (Holder holder : holders.subList(0, Math.min(MOST_HOLDERS, holders.size()))) {
            message.append("; held for %d ms by %s%s"
                    .formatted(holder.heldFor().toMillis(), holder.thread(), at(holder.stack())));
        }
        if (holders.size() > MOST_HOLDERS) message.append("; and so on: holders()");
        return new PoolExhaustedException(
                message.append('.').toString(),
                verdict(refused.reason(), holders, timeoutNanos),
                stats,
                holders,
                failure == null ? null : failure.cause());
    }

    private Verdict verdict(Reason reason, List<Holder> holders, long timeoutNanos) {
        if (reason == Reason.DATABASE_DOWN) return Verdict.DATABASE_DOWN;
        if (reason == Reason.DEADLOCK || isDeadlock(Thread.currentThread())) return Verdict.DEADLOCK;
        // Nobody holds one, and yet there is none: the server answers neither those that ask for one nor the pool.
        if (holders.isEmpty() && !supply.isSuspended() && supply.isAtWork()) return Verdict.DATABASE_DOWN;
        for (PhysicalConnection connection : supply.connections()) {
            Lease lease = connection.lease;
            if (lease != null && !lease.owner().isAlive()) return Verdict.LEAK;
        }
        long slow = holders.stream()
                .filter(holder -> holder.heldFor().toNanos() >= timeoutNanos)
                .count();
        return slow > 0 && slow * 2 >= holders.size() ? Verdict.SLOW_HOLDERS : Verdict.OVERLOAD;
    }

    private List<Holder> recentHolders() {
        long now = Clock.nanoTime();
        Holders known = latest;
        if (known != null && now - known.nanos < REUSED_NANOS) return known.all;
        List<Holder> holders = new ArrayList<>();
        for (PhysicalConnection connection : supply.connections()) {
            Lease lease = connection.lease;
            if (lease != null) holders.add(holder(lease, List.of(lease.owner().getStackTrace())));
        }
        latest = new Holders(holders, now);
        return holders;
    }

    static Holder holder(Lease lease, List<StackTraceElement> stack) {
        Thread owner = lease.owner();
        String name = owner.getName().isEmpty() ? "#" + owner.threadId() : owner.getName();
        long heldNanos = Math.max(0, Clock.nanoTime() - lease.startNanos());
        return new Holder(name, Duration.ofNanos(heldNanos), stack);
    }

    /** Where in the user's code a stack is, for a message. */
    static String at(List<StackTraceElement> stack) {
        for (StackTraceElement frame : stack) {
            String name = frame.getClassName();
            if (!isOwn(name)
                    && !name.startsWith("java.")
                    && !name.startsWith("jdk.")
                    && !name.startsWith("sun.")
                    && !name.startsWith("org.postgresql.")) return " at " + frame;
        }
        return "";
    }

    /** Whether a class is the pool's. */
    static boolean isOwn(String className) {
        int dot = className.lastIndexOf('.');
        return dot >= 0 && className.substring(0, dot).equals(Pool.class.getPackageName());
    }
}
