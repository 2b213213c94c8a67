package dev.nanopool;

import dev.nanopool.Permits.Permit;
import dev.nanopool.queue.Arrivals;
import dev.nanopool.queue.StackReserve;
import java.sql.SQLException;
import java.sql.SQLTransientConnectionException;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/** A pool's share in a {@link Budget}: the units that it has, and its permits that wait for one. Thread-safe. */
final class Share implements Budget.Member {
    private static final long LOOK_NANOS = 10_000_000; // how often a starting pool looks at its deadline

    private final Budget budget;
    private final PoolConfig config;
    private final Owner owner;
    private final AtomicInteger units = new AtomicInteger();
    private final AtomicInteger opening = new AtomicInteger(); // units of permits in hand
    private final Queue<Permit> parked = new ConcurrentLinkedQueue<>();
    private volatile @Nullable Thread starter; // of a pool that starts, and waits for a unit
    private volatile @Nullable Permit startPermit; // the starter's; it stays, because the starter goes on at any moment
    private volatile long startNanos;

    /** What the share asks of the pool. No method blocks. */
    interface Owner {
        /** When the caller came that has so many others before it; {@link Arrivals#NONE} if so many do not wait. */
        long arrivalNanos(int ahead);

        /** How many connections may be opened at the same time now; 0 if the pool is closed or suspended. */
        int mostOpening();

        /** Whether some permits without a connection shall leave circulation. */
        boolean hasTooManyPermits();

        boolean isBelowMinIdle();

        boolean isAboveMinIdle();

        /** Since when its longest idle connection is idle; {@link Budget#NO_CLAIM} if none is. */
        long idleNanos();

        boolean giveIdle();

        /** Opens a connection for the permit, which has a unit. */
        void open(Permit permit);

        /** Takes back a permit for which no connection is wanted. */
        void giveUp(Permit permit);
    }

    Share(Budget budget, PoolConfig config, Owner owner) {
        this.budget = budget;
        this.config = config;
        this.owner = owner;
    }

    Budget budget() {
        return budget;
    }

    void join() {
        budget.join(this, config.minIdle);
    }

    void leave() {
        budget.leave(this, config.minIdle);
    }

    // Permits in hand

    /** Gets the permit its unit if one is free, no caller of another pool claims it, and not too many are opened. */
    boolean acquire(Permit permit) {
        if (permit.hasUnit()) return true;
        StackReserve.require();
        if (opening.get() >= owner.mostOpening() || !budget.tryTake()) return false;
        units.incrementAndGet();
        hold(permit);
        return true;
    }

    private void hold(Permit permit) {
        opening.incrementAndGet();
        permit.putUnit();
    }

    /** Frees the permit's unit, if it has one. */
    void release(Permit permit) {
        if (!permit.takeUnit()) return;
        opening.decrementAndGet();
        free();
    }

    private void free() {
        units.decrementAndGet();
        budget.free();
    }

    /** Lets the permit wait until it gets a unit. From now on it is in no thread's hand. */
    void park(Permit permit) {
        StackReserve.require();
        permit.park();
        boolean isParked = false;
        try {
            parked.add(permit);
            isParked = true;
        } finally {
            if (!isParked && permit.unpark()) permit.abandon();
        }
        budget.parked(); // THEN look for units
        budget.settle();
    }

    /** Takes a parked permit in hand; null if there is none. */
    private @Nullable Permit unpark() {
        for (Permit permit = parked.poll(); permit != null; permit = parked.poll()) {
            budget.unparked();
            if (permit.unpark()) return permit;
        }
        return null;
    }

    /** Gives parked permits back if no caller wants a connection any longer. Else tries to get them units. */
    void reconsider(long nowNanos) {
        budget.settleAgain(nowNanos);
        if (parked.isEmpty()) return;
        boolean isWanted = starter != null || owner.arrivalNanos(0) != Arrivals.NONE || owner.isBelowMinIdle();
        if (isWanted && owner.mostOpening() > 0 && !owner.hasTooManyPermits()) return;
        for (Permit permit = unpark(); permit != null; permit = unpark()) {
            permit.takeInHand();
            try (Permit inHand = permit) {
                owner.giveUp(inHand);
            }
        }
    }

    /** Blocks until the permit has a unit, for a pool that starts. */
    void await(Permit permit, long deadlineNanos) throws SQLException, InterruptedException {
        if (acquire(permit)) return;
        startNanos = Clock.nanoTime();
        startPermit = permit;
        starter = Thread.currentThread(); // THEN park
        try {
            park(permit);
            while (!permit.hasUnit()) {
                long left = deadlineNanos - Clock.nanoTime();
                boolean isInterrupted = Thread.currentThread().isInterrupted();
                if ((left <= 0 || isInterrupted) && permit.unpark()) {
                    permit.takeInHand();
                    if (parked.remove(permit)) budget.unparked();
                    if (Thread.interrupted()) throw new InterruptedException();
                    throw new SQLTransientConnectionException(
                            "%s: no connection within %d ms (connectTimeout)%s"
                                    .formatted(config.name, config.connectTimeout.toMillis(), budget.usedUp()),
                            Failures.UNABLE_TO_CONNECT);
                }
                LockSupport.parkNanos(this, Math.min(Math.max(left, 100_000), LOOK_NANOS));
            }
            permit.takeInHand();
        } finally {
            starter = null;
        }
    }

    // Connections

    /** The permit's unit is the open connection's. */
    void opened(Permit permit, long tookNanos) {
        if (!permit.takeUnit()) throw new IllegalStateException("bug: a connection was opened without a unit");
        opening.decrementAndGet();
        budget.opened(tookNanos);
        budget.settle(); // one more may be opened
    }

    /** A connection is closed. Its unit goes to the permit, unless it was closed for another pool, or a caller there is older. */
    void closed(Permit permit, boolean isGiven) {
        if (isGiven) {
            units.decrementAndGet();
            budget.freeGiven();
        } else if (!owner.isBelowMinIdle() && budget.isWantedBefore(this, owner.arrivalNanos(opening.get()))) {
            free();
        } else {
            hold(permit);
        }
    }

    /** A connection was given up, and its permit with it. */
    void forgotten() {
        free();
    }

    /** A connection is idle again, or another caller has it. */
    void returned() {
        budget.settle();
    }

    /** Whether a connection that comes back shall be closed for an older caller of another pool. */
    boolean isWantedElsewhere() {
        return budget.hasClaims() && owner.isAboveMinIdle() && budget.isWantedBefore(this, owner.arrivalNanos(0));
    }

    /** Claims the connection that comes back for that caller. */
    boolean claimGiving() {
        return budget.claimGiving(this, owner.arrivalNanos(0));
    }

    // What the budget asks

    @Override
    public String name() {
        return config.name;
    }

    @Override
    public int units() {
        return units.get();
    }

    @Override
    public long claimNanos() {
        if (parked.isEmpty()) return Budget.NO_CLAIM;
        if (starter != null) return startNanos;
        if (opening.get() >= owner.mostOpening()) return Budget.NO_CLAIM;
        long nanos = owner.arrivalNanos(opening.get());
        if (nanos != Arrivals.NONE) return nanos;
        return owner.isBelowMinIdle() ? Budget.REFILL : Budget.NO_CLAIM;
    }

    @Override
    public int claims(long beforeNanos) {
        if (parked.isEmpty()) return 0;
        if (starter != null) return startNanos < beforeNanos ? 1 : 0;
        int before = opening.get();
        int most = Math.min(parked.size(), owner.mostOpening() - before);
        int claims = 0;
        while (claims < most && owner.arrivalNanos(before + claims) < beforeNanos) claims++;
        return claims;
    }

    @Override
    public @Nullable Permit grant() {
        Permit permit = unpark();
        if (permit == null) return null;
        units.incrementAndGet();
        hold(permit);
        return permit;
    }

    @Override
    @SuppressWarnings("ReferenceEquality") // this very permit
    public void open(Permit granted) {
        if (granted == startPermit) LockSupport.unpark(starter);
        else owner.open(granted);
    }

    @Override
    public long idleNanos() {
        return owner.isAboveMinIdle() ? owner.idleNanos() : Budget.NO_CLAIM;
    }

    /** The pool is about to close an idle connection for a caller of another pool. */
    void giving() {
        budget.giving();
    }

    /** It does not. */
    void notGiving() {
        budget.notGiving();
    }

    @Override
    public boolean giveIdle() {
        return owner.isAboveMinIdle() && owner.giveIdle();
    }
}
