package dev.nanopool;

import dev.nanopool.Permits.Permit;
import dev.nanopool.queue.Arrivals;
import dev.nanopool.queue.StackReserve;
import java.lang.ref.WeakReference;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * How many connections several pools may have together, open ones and those that are being opened.
 * {@link PoolConfig.Builder#budget} takes it. Thread-safe; no method blocks.
 *
 * <p>If a caller waits whose pool may grow and the budget is used up, the connection that has been idle longest in another pool is
 * closed in its favour. If none is idle, it is the next connection that comes back in any of the pools, in the order in which
 * callers began to wait. Because each such move costs a login, a caller of the pool that has the connection goes first if it came
 * later by less than twice the time of a login, 0.1 s at most. {@code minIdle} of a pool is reserved, so no connection is closed
 * if its pool would then have fewer.
 */
public final class Budget {
    static final long NO_CLAIM = Long.MAX_VALUE;
    static final long REFILL = Long.MAX_VALUE - 1; // a claim without a caller, for minIdle

    // A unit is the right to have one connection on the server. A permit takes it before it connects, the open
    // connection has it, and it is free again only after the socket is closed. So there are never more sockets than
    // units.
    //
    // A permit that needs a unit is parked with its pool, and no thread waits with it. A thread parks the permit or
    // frees a unit, THEN settles. So one of the two sees the other.
    //
    // One thread at a time settles. Another one leaves its wish in `work` and goes on, so no thread waits for another,
    // and no lock is held while a pool is called.
    private static final long AGAIN_NANOS = 50_000_000; // a parked permit may have got another caller meanwhile

    private static final long MOST_HANDICAP_NANOS = 100_000_000;

    private final int size;
    private final AtomicInteger free;
    private final AtomicInteger reserved = new AtomicInteger(); // the sum of minIdle
    private final AtomicInteger parked = new AtomicInteger();
    private final AtomicInteger giving = new AtomicInteger(); // connections that are being closed for a claim
    private final AtomicInteger work = new AtomicInteger(); // above 0 while a thread settles
    private volatile boolean isUnfinished; // an error has ended the settling
    private volatile long settledNanos; // when the clock last did it
    private volatile long openingNanos; // about how long it takes to open a connection
    private final Set<Member> members = ConcurrentHashMap.newKeySet();

    private static final Map<String, WeakReference<Budget>> NAMED = new ConcurrentHashMap<>();

    /** A pool. No method blocks. */
    interface Member {
        String name();

        /** How many units it has. */
        int units();

        /** When the caller came for which it needs the next unit; {@link #REFILL} for minIdle; {@link #NO_CLAIM}. */
        long claimNanos();

        /** For how many callers it needs a unit now, of those that came before that time. */
        int claims(long beforeNanos);

        /** Takes a unit over, for the permit that it returns. Null if it needs none any longer. */
        @Nullable
        Permit grant();

        /** Opens a connection for that permit. */
        void open(Permit granted);

        /** Since when its longest idle connection is idle, of those that it may give; {@link #NO_CLAIM} if there is none. */
        long idleNanos();

        /** Closes that connection after {@link Budget#giving}, and frees its unit afterwards. False if it cannot give one. */
        boolean giveIdle();
    }

    private Budget(int size) {
        this.size = size;
        this.free = new AtomicInteger(size);
    }

    /**
     * Makes a budget, for pools that get this very object.
     *
     * @param size how many connections the pools may have together, from 1 to 100,000
     * @return the budget
     * @throws IllegalArgumentException if the size is out of bounds
     */
    public static Budget of(int size) {
        if (size < 1 || size > 100_000) {
            throw new IllegalArgumentException("budget: " + size + " is out of bounds; must be 1 to 100000");
        }
        return new Budget(size);
    }

    /** The budget of a text such as {@code main:500}. All pools of the JVM that name it share it. */
    static Budget named(String text) {
        int colon = text.lastIndexOf(':');
        Budget wanted = of(Integer.parseInt(text.substring(colon + 1)));
        String name = text.substring(0, colon);
        Budget[] found = {wanted};
        NAMED.compute(name, (unused, before) -> {
            Budget known = before == null ? null : before.get();
            if (known == null) return new WeakReference<>(wanted);
            found[0] = known;
            return before;
        });
        if (found[0].size != wanted.size) {
            throw new IllegalArgumentException("budget: " + name + " has " + found[0].size + " connections, and not "
                    + wanted.size + "; all pools must say the same");
        }
        return found[0];
    }

    /**
     * Returns how many connections the pools may have together.
     *
     * @return the size
     */
    public int size() {
        return size;
    }

    /**
     * Returns how many connections the pools have, open ones and those that are being opened.
     *
     * @return connections
     */
    public int used() {
        return size - free.get();
    }

    /** Names the numbers. */
    @Override
    public String toString() {
        return "Budget[" + used() + " of " + size + " connections, " + members.size() + " pools]";
    }

    /** The line of a message that says who has the connections; empty if the budget is not used up. */
    String usedUp() {
        if (free.get() > 0) return "";
        List<Member> most = members.stream()
                .sorted(Comparator.comparingInt(Member::units).reversed())
                .limit(3)
                .toList();
        return "; the budget of %d connections is used up, by %s"
                .formatted(
                        size,
                        most.stream()
                                .map(member -> member.name() + " " + member.units())
                                .collect(Collectors.joining(", ")));
    }

    // For the pools

    /** @throws IllegalArgumentException if the budget is smaller than the sum of all minIdle */
    void join(Member member, int minIdle) {
        int sum = reserved.addAndGet(minIdle);
        if (sum > size) {
            reserved.addAndGet(-minIdle);
            throw new IllegalArgumentException(
                    "minIdle: with the %d of %s, the pools would keep %d connections, which is more than their budget of %d"
                            .formatted(minIdle, member.name(), sum, size));
        }
        members.add(member);
    }

    void leave(Member member, int minIdle) {
        if (members.remove(member)) reserved.addAndGet(-minIdle);
    }

    /** Takes a free unit if no pool claims it. */
    boolean tryTake() {
        return parked.get() == 0 && take();
    }

    private boolean take() {
        return free.getAndUpdate(now -> Math.max(0, now - 1)) > 0;
    }

    /** Frees a unit. */
    void free() {
        free.incrementAndGet(); // THEN look for claims
        settle();
    }

    /** Frees the unit of a connection that was closed for a claim. */
    void freeGiven() {
        free.incrementAndGet(); // THEN it is no longer expected, else another one would be closed
        notGiving();
        settle();
    }

    /**
     * Expects a unit of a pool that is about to close an idle connection. The pool has it in its hand already, else a connection
     * that comes back meanwhile would not go to the older caller.
     */
    void giving() {
        giving.incrementAndGet();
    }

    /** Expects that unit no longer. */
    void notGiving() {
        giving.updateAndGet(now -> Math.max(0, now - 1));
    }

    void parked() {
        parked.incrementAndGet();
    }

    void unparked() {
        parked.decrementAndGet();
    }

    boolean hasClaims() {
        return parked.get() > 0;
    }

    /** Records how long it took to open a connection. Threads may overwrite each other's result, which does no harm. */
    void opened(long tookNanos) {
        long before = openingNanos;
        openingNanos = before == 0 ? tookNanos : before + (tookNanos - before) / 8;
    }

    /** As long as it takes to move connections to another pool, the callers of their own pool use them. */
    private long handicapNanos() {
        return Math.min(2 * openingNanos, MOST_HANDICAP_NANOS);
    }

    /**
     * Whether a unit is missing for a caller of another pool that came before that time. Moving a connection takes longer than
     * most leases, so that caller must have come earlier by twice the time that opening one takes.
     */
    boolean isWantedBefore(Member own, long sinceNanos) {
        if (!hasClaims()) return false;
        long limit = sinceNanos == Arrivals.NONE ? Arrivals.NONE : sinceNanos - handicapNanos();
        int missing = -giving.get() - free.get();
        for (Member member : members) missing += member.equals(own) ? 0 : member.claims(limit);
        return missing > 0;
    }

    /** Claims a connection of that pool, which then closes it. False if no older caller needs it. */
    boolean claimGiving(Member own, long sinceNanos) {
        int now = giving.get();
        while (isWantedBefore(own, sinceNanos)) {
            if (giving.compareAndSet(now, now + 1)) return true;
            now = giving.get();
        }
        return false;
    }

    // The settling

    /** Brings units and claims together. Throws nothing; after an error the next {@link #settleAll} does it. */
    void settle() {
        try {
            if (hasClaims()) settleAll();
        } catch (RuntimeException | Error e) {
            isUnfinished = true; // a mere write, because there may be neither stack nor memory for a call
        }
    }

    /** The same from time to time, for the clock, which reports what is thrown. */
    void settleAgain(long nowNanos) {
        if (!isUnfinished && (!hasClaims() || nowNanos - settledNanos < AGAIN_NANOS)) return;
        settledNanos = nowNanos;
        settleAll();
    }

    private void settleAll() {
        StackReserve.requireMuch();
        if (work.getAndIncrement() > 0) return; // the thread that settles sees it
        boolean isDone = false;
        try {
            int seen;
            do {
                seen = work.get();
                isUnfinished = false;
                distribute();
            } while (!work.compareAndSet(seen, 0));
            isDone = true;
        } finally {
            if (!isDone) {
                isUnfinished = true;
                work.set(0);
            }
        }
    }

    private void distribute() {
        for (Member first = first(); first != null && take(); first = first()) {
            Permit granted = null;
            try {
                granted = first.grant();
            } finally {
                if (granted == null) free.incrementAndGet();
            }
            if (granted != null) first.open(granted); // if this throws, the permit keeps the unit
        }
        int missing = -giving.get() - free.get();
        for (Member member : members) missing += member.claims(Arrivals.NONE);
        while (missing-- > 0 && closeIdle()) {}
    }

    /** The pool whose caller has waited longest, of those that need a unit. */
    private @Nullable Member first() {
        Member first = null;
        long least = NO_CLAIM;
        for (Member member : members) {
            long nanos = member.claimNanos();
            if (nanos >= least) continue;
            least = nanos;
            first = member;
        }
        return first;
    }

    private boolean closeIdle() {
        Set<Member> asked = new HashSet<>();
        for (Member idle = longestIdle(asked); idle != null; idle = longestIdle(asked)) {
            if (idle.giveIdle()) return true;
            asked.add(idle);
        }
        return false;
    }

    private @Nullable Member longestIdle(Set<Member> besides) {
        Member longest = null;
        long least = NO_CLAIM;
        for (Member member : members) {
            long nanos = besides.contains(member) ? NO_CLAIM : member.idleNanos();
            if (nanos >= least) continue;
            least = nanos;
            longest = member;
        }
        return longest;
    }
}
