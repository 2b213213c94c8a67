package dev.nanopool;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.time.Duration;
import java.util.Objects;
import java.util.concurrent.ThreadLocalRandom;
import org.jspecify.annotations.Nullable;

/**
 * The life of a connection:
 *
 * <pre>
 * OPENING -> IDLE -> LEASED -> IDLE -> SERVICED -> IDLE ... -> CLOSING -> CLOSED
 * </pre>
 *
 * Each edge is a method; an edge that is not allowed is a bug of the pool. IDLE means: no lease, and no task of the pool. Such
 * a connection is in the queue, or in the hand of the one thread that took it out of the queue, ended its lease or has just
 * opened it. That thread gives it on, or it <em>abandons</em> the connection when anything is thrown, and the housekeeper
 * recovers it.
 */
final class PhysicalConnection {
    // life: a State, or the Lease in the state LEASED. Only the thread that has the connection in its hand leaves IDLE,
    //       only its task leaves SERVICED and CLOSING. Several threads may try to end a lease (its client, a leak, a
    // cut):
    //       the compare-and-set in endLease decides.
    // ledger, idleNanos, provenNanos: written by the thread that has the connection in its hand or its task; read by
    // all,
    //       perhaps a moment late.
    // retired: set by any thread, never cleared. abandoned: set by the thread that lost hold of it, cleared by the
    //       housekeeper.
    // closeReason, leaving: written before CLOSING by the thread that has the connection in its hand.
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
    private long provenNanos;
    private volatile boolean retired;
    /**
     * Set by a thread that cannot go on with the connection in its hand; the housekeeper recovers the connection. Set by a
     * mere write, because after an error there may be neither stack nor memory for a call.
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
        this.provenNanos = nowNanos;
        this.expiresNanos =
                nowNanos + jittered(maxLifetime, ThreadLocalRandom.current().nextDouble());
        this.generation = generation;
        this.ledger = ledger;
        this.leasesBefore = ledger.leases();
    }

    /** 75 to 100 % of a lifetime, so that connections that were opened together do not all go together. */
    static long jittered(Duration lifetime, double random) {
        return (long) (lifetime.toNanos() * (0.75 + 0.25 * random));
    }

    // The edges

    void openingToIdle() {
        edge(State.OPENING, State.IDLE);
    }

    /** The lease begins; {@code waitNanos}: how long its caller waited, zero if it did not. */
    void idleToLeased(Lease lease, long waitNanos) {
        if (life != State.IDLE) throw bug(State.LEASED);
        ledger.lent(waitNanos);
        LIFE.setRelease(this, lease);
    }

    /** The lease ends, and its connection is in the hand of the calling thread. False: another thread has ended it. */
    boolean leasedToIdle(Lease ended) {
        for (Object now = LIFE.getVolatile(this); isLease(now, ended); now = LIFE.getVolatile(this)) {
            if (LIFE.compareAndSet(this, now, State.IDLE)) return true; // else the housekeeper made it a Lasting
        }
        return false;
    }

    /** Ends the lease and passes the connection on. False: another thread has ended the lease. */
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

    // What the state tells

    State state() {
        Object now = LIFE.getVolatile(this);
        return now instanceof State state ? state : State.LEASED;
    }

    /** The lease in the state LEASED, else null. */
    @Nullable
    Lease lease() {
        return LIFE.getVolatile(this) instanceof Lease lease ? lease : null;
    }

    /** Whether that lease goes on. */
    boolean isLeasedBy(Lease lease) {
        return isLease(LIFE.getVolatile(this), lease);
    }

    /** A lease and the same lease as a {@link Lease.Lasting} are one. */
    @SuppressWarnings("ReferenceEquality") // the same lease is meant
    private static boolean isLease(Object life, Lease lease) {
        if (life == lease) return true;
        return life instanceof Lease.Lasting lasting && lease instanceof Client client && lasting.refersTo(client);
    }

    /** The lease, from now on without keeping its client from the garbage collector. Null: there is none. */
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

    /** What its leases come back to. */
    Lender<PhysicalConnection> lender() {
        return lender;
    }

    long leases() {
        return ledger.leases() - leasesBefore;
    }

    Ledger ledger() {
        return ledger;
    }

    /** Since when no lease has used it, to within 0.1 s. */
    long idleNanos() {
        return idleNanos;
    }

    /** The lease that has just ended was in use until now. */
    void usedUntil(long nowNanos) {
        idleNanos = nowNanos;
    }

    /** When the server last answered the pool itself. */
    long provenNanos() {
        return provenNanos;
    }

    /** The server has answered the pool itself. */
    void proven(long nowNanos) {
        provenNanos = nowNanos;
        idleNanos = nowNanos;
    }

    long openedNanos() {
        return openedNanos;
    }

    Duration openingTook() {
        return Duration.ofNanos(openedNanos - beganNanos);
    }

    /** From when on it is replaced, if no caller waits. */
    long expiresNanos() {
        return expiresNanos;
    }

    int generation() {
        return generation;
    }

    boolean isRetired() {
        return retired;
    }

    /** The connection is replaced when it comes back. */
    void retire() {
        retired = true;
    }

    /** The housekeeper takes the connection in its hand. */
    void recovered() {
        abandoned = false;
    }

    /** Why it is closed; in the states CLOSING and CLOSED. */
    CloseReason closeReason() {
        return Objects.requireNonNull(closeReason);
    }

    /** Whether its permit leaves circulation with it; in the states CLOSING and CLOSED. */
    boolean isLeaving() {
        return leaving;
    }
}
