package dev.nanopool;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.time.Duration;
import java.util.Objects;
import java.util.concurrent.ThreadLocalRandom;
import org.jspecify.annotations.Nullable;

/**
 * A connection and its life. The description of the package shows its states and edges in a picture.
 *
 * <p>Each edge is a method. An edge that is not allowed is a bug of the pool. An IDLE connection has no lease and no task of the
 * pool. It is in the queue, or in the hand of the one thread that took it out of the queue, ended its lease or has just opened
 * it. That thread passes it on. If anything is thrown first, the thread <em>abandons</em> the connection, and the housekeeper
 * recovers it.
 */
final class PhysicalConnection {
    // life: a State, or the Lease in the state LEASED. Only the thread that has the connection in its hand leaves IDLE.
    //   Only the task of the pool leaves SERVICED and CLOSING. Several threads may try to end a lease (its client, a
    //   leak, a cut), and the compare-and-set in leasedToIdle decides which of them does.
    // ledger, idleNanos, answeredNanos, aliveNanos: the thread that has the connection in its hand, or its task, writes
    //   them. All threads read them, perhaps a moment late.
    // retired: any thread sets it, and no thread clears it.
    // abandoned: the thread that lost hold of the connection sets it, and the housekeeper clears it.
    // closeReason, leaving: the thread that has the connection in its hand writes them before CLOSING.
    private static final VarHandle LIFE;

    static {
        try {
            LIFE = MethodHandles.lookup().findVarHandle(PhysicalConnection.class, "life", Object.class);
        } catch (ReflectiveOperationException e) {
            throw new ExceptionInInitializerError(e);
        }
    }

    enum State {
        OPENING,
        IDLE,
        LEASED,
        SERVICED,
        CLOSING,
        CLOSED
    }

    private final Session session;
    private final Lender<PhysicalConnection> lender;
    private final long beganNanos;
    private final long openedNanos;
    private final long expiresNanos;
    private final int generation;
    private final Ledger ledger;
    private final long leasesBefore; // of earlier connections with the same ledger

    private Object life = State.OPENING;
    private long idleNanos;
    private long answeredNanos;
    private long aliveNanos;
    private volatile boolean retired;
    /**
     * A thread sets this when it cannot go on with the connection in its hand, and the housekeeper recovers the connection. A
     * mere write sets it, because after an error there may be neither stack nor memory for a call.
     */
    volatile boolean abandoned;

    private @Nullable CloseReason closeReason;
    private boolean leaving; // its permit leaves circulation with it

    PhysicalConnection(
            Session session,
            Lender<PhysicalConnection> lender,
            Duration maxLifetime,
            long beganNanos,
            long nowNanos,
            int generation,
            Ledger ledger) {
        this.session = session;
        this.lender = lender;
        this.beganNanos = beganNanos;
        this.openedNanos = nowNanos;
        this.idleNanos = nowNanos;
        this.answeredNanos = nowNanos;
        this.aliveNanos = nowNanos;
        this.expiresNanos =
                nowNanos + jittered(maxLifetime, ThreadLocalRandom.current().nextDouble());
        this.generation = generation;
        this.ledger = ledger;
        this.leasesBefore = ledger.leases();
    }

    /** Returns 75 to 100 % of a lifetime, so that the pool does not replace all connections at once that it opened at once. */
    static long jittered(Duration lifetime, double random) {
        return (long) (lifetime.toNanos() * (0.75 + 0.25 * random));
    }

    // The edges

    void openingToIdle() {
        edge(State.OPENING, State.IDLE);
    }

    /**
     * Begins the lease.
     *
     * @param waitNanos how long the caller waited, zero if it did not
     */
    void idleToLeased(Lease lease, long waitNanos) {
        if (life != State.IDLE) throw bug(State.LEASED);
        ledger.lent(waitNanos);
        LIFE.setRelease(this, lease);
    }

    /** Ends the lease, so that the calling thread has the connection in its hand. False if another thread has ended it. */
    boolean leasedToIdle(Lease ended) {
        for (Object now = LIFE.getVolatile(this); isLease(now, ended); now = LIFE.getVolatile(this)) {
            if (LIFE.compareAndSet(this, now, State.IDLE)) return true; // else the housekeeper made it a Lasting
        }
        return false;
    }

    /** Ends the lease and passes the connection on. False if another thread has ended the lease. */
    boolean end(Lease lease, int forced) {
        if (!leasedToIdle(lease)) return false;
        Runnable report;
        boolean passedOn = false;
        try {
            report = lender.ended(this, lease, forced);
            passedOn = true;
        } finally {
            if (!passedOn) abandoned = true;
        }
        if (report != null) report.run();
        return true;
    }

    void idleToServiced() {
        edge(State.IDLE, State.SERVICED);
    }

    void servicedToIdle() {
        edge(State.SERVICED, State.IDLE);
    }

    void idleToClosing(CloseReason reason, boolean isLeaving) {
        if (life != State.IDLE) throw bug(State.CLOSING);
        closeReason = reason;
        leaving = isLeaving;
        LIFE.setRelease(this, State.CLOSING);
    }

    void closingToClosed() {
        edge(State.CLOSING, State.CLOSED);
    }

    private void edge(State from, State to) {
        if (life != from) throw bug(to);
        LIFE.setRelease(this, to);
    }

    private IllegalStateException bug(State to) {
        return new IllegalStateException(
                "bug: backend " + session.backendPid() + " must not go from " + state() + " to " + to);
    }

    // What the state says

    State state() {
        Object now = LIFE.getVolatile(this);
        return now instanceof State state ? state : State.LEASED;
    }

    /** The lease in the state LEASED, else null. */
    @Nullable
    Lease lease() {
        return LIFE.getVolatile(this) instanceof Lease lease ? lease : null;
    }

    /** Whether that lease has not ended. */
    boolean isLeasedBy(Lease lease) {
        return isLease(LIFE.getVolatile(this), lease);
    }

    /** A lease and the same lease as a {@link Lease.Lasting} are one. */
    @SuppressWarnings("ReferenceEquality") // the same lease is meant
    private static boolean isLease(Object life, Lease lease) {
        if (life == lease) return true;
        return life instanceof Lease.Lasting lasting && lease instanceof Client client && lasting.refersTo(client);
    }

    /** Returns the lease, which from now on does not keep its client from the garbage collector. Null if there is none. */
    Lease.@Nullable Lasting lastingLease() {
        Object now = LIFE.getVolatile(this);
        if (now instanceof Lease.Lasting lasting) return lasting;
        if (!(now instanceof Client client)) return null;
        var lasting = new Lease.Lasting(client);
        return LIFE.compareAndSet(this, now, lasting) ? lasting : null;
    }

    // What belongs to the whole life

    Session session() {
        return session;
    }

    /** The part of the pool that takes the connection over when a lease ends. */
    Lender<PhysicalConnection> lender() {
        return lender;
    }

    long leases() {
        return ledger.leases() - leasesBefore;
    }

    Ledger ledger() {
        return ledger;
    }

    /** When the last lease ended, to within 0.1 s. */
    long idleNanos() {
        return idleNanos;
    }

    /** Records when the lease ended that has just ended. */
    void usedUntil(long nowNanos) {
        idleNanos = nowNanos;
    }

    /** When the pool last knew that the connection was alive. The server may have said something since then. */
    long aliveNanos() {
        return aliveNanos;
    }

    /** The same, with what the server has said since then. */
    long heardNanos() {
        aliveNanos = Math.max(aliveNanos, session.heardNanos(idleNanos));
        return aliveNanos;
    }

    /** Records that a check of the socket, which began at that time, found it alive. */
    void seenAlive(long nowNanos) {
        aliveNanos = nowNanos;
    }

    /** When the server last answered a question of the pool. */
    long answeredNanos() {
        return answeredNanos;
    }

    /** Records that the server has answered a question of the pool. */
    void answered(long nowNanos) {
        answeredNanos = nowNanos;
        idleNanos = nowNanos;
        aliveNanos = nowNanos;
    }

    long openedNanos() {
        return openedNanos;
    }

    Duration openingTook() {
        return Duration.ofNanos(openedNanos - beganNanos);
    }

    /** From this time on the pool replaces the connection when no caller waits. */
    long expiresNanos() {
        return expiresNanos;
    }

    int generation() {
        return generation;
    }

    boolean isRetired() {
        return retired;
    }

    /** Marks the connection, so that the pool replaces it when its lease ends. */
    void retire() {
        retired = true;
    }

    /** Records that the housekeeper has the connection in its hand. */
    void recovered() {
        abandoned = false;
    }

    /** Why the pool closes the connection. Only in the states CLOSING and CLOSED. */
    CloseReason closeReason() {
        return Objects.requireNonNull(closeReason);
    }

    /** Whether the permit leaves circulation with the connection. Only in the states CLOSING and CLOSED. */
    boolean isLeaving() {
        return leaving;
    }
}
