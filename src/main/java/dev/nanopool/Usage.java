package dev.nanopool;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.sql.SQLException;
import java.time.Duration;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReadWriteLock;
import java.util.concurrent.locks.ReentrantReadWriteLock;
import java.util.function.BooleanSupplier;
import org.jspecify.annotations.Nullable;

/**
 * Records what a lease does with its connection, which are the threads inside it, its open statements, its COPY and its cancels.
 * The lease makes it when it first needs it. It ends with the lease. Thread-safe. It does not lead to the client, unless the
 * client must stay reachable.
 */
final class Usage {
    private static final VarHandle INSIDE;
    private static final VarHandle CANCELS;

    static {
        try {
            INSIDE = MethodHandles.lookup().findVarHandle(Usage.class, "inside", int.class);
            CANCELS = MethodHandles.lookup().findVarHandle(Usage.class, "cancels", Cancels.class);
        } catch (ReflectiveOperationException e) {
            throw new ExceptionInInitializerError(e);
        }
    }

    private final OpenStatements statements = new OpenStatements();
    private volatile int inside; // how many threads may wait for the server's answer
    private int entered; // how often a thread entered; a lost update does no harm
    private volatile boolean shared; // a thread other than the lease's own has entered
    private volatile @Nullable CopyProgress copy; // the last COPY that the lease began
    private volatile @Nullable Cancels cancels; // null: the lease sent no cancel
    private volatile boolean cancellable; // an interrupt cancels what the lease executes
    private boolean manualCommit; // the pool's configuration, and not the caller, begins transactions

    @SuppressWarnings("UnusedVariable") // the reference is the purpose
    private @Nullable Object kept; // keeps the client reachable while an object of the driver may be in use

    private @Nullable Object recording; // Flight Recorder's, if it records leases

    private final @Nullable Throwable leasedAt;

    /** The cancels of one lease. They share the lock. A reset takes it alone, and so waits for all of them. */
    static final class Cancels {
        private final ReadWriteLock underWay = new ReentrantReadWriteLock();

        /** Waits until all cancels have been sent; SQLState 57014 if that takes longer than {@code patience}. */
        void await(Duration patience) throws SQLException {
            try {
                if (!underWay.writeLock().tryLock(patience.toNanos(), TimeUnit.NANOSECONDS)) {
                    throw new SQLException("a cancel is still under way", Failures.QUERY_CANCELED);
                }
                underWay.writeLock().unlock();
            } catch (InterruptedException e) {
                throw new SQLException("interrupted while waiting for a cancel", Failures.CONNECTION_EXCEPTION, e);
            }
        }
    }

    /** @param leasedAt where the lease began, if the pool traces leases */
    Usage(@Nullable Throwable leasedAt) {
        this.leasedAt = leasedAt;
    }

    /** Records that a thread is about to call the driver. The caller checks afterwards whether the lease has ended. */
    void enter(boolean isOwner) {
        INSIDE.getAndAdd(this, 1);
        entered++;
        if (!cancellable) cancellable = true;
        if (!isOwner && !shared) shared = true;
    }

    void exit() {
        INSIDE.getAndAdd(this, -1);
    }

    /** Whether a thread may wait for the server's answer. */
    boolean isInside() {
        return inside != 0;
    }

    /** Whether a thread or an open COPY uses the connection. */
    boolean isBusy() {
        if (isInside()) return true; // first, because a thread that begins a COPY records it before it exits
        CopyProgress last = copy;
        return last != null && last.isOpen();
    }

    /** Whether a thread other than the lease's own has used the client, and so may close it. */
    boolean isShared() {
        return shared;
    }

    /** Tells one call of the lease from the next one. A COPY is one call as long as it is open. */
    Object call() {
        CopyProgress last = copy;
        return last != null && last.isOpen() ? last : entered;
    }

    /** How often a thread has entered. */
    int entered() {
        return entered;
    }

    OpenStatements statements() {
        return statements;
    }

    /** The present call ends something, and its outcome is awaited. */
    void cannotBeCancelled() {
        cancellable = false;
    }

    /** Whether the lease executes what no interrupt cancels. An unwrapped object of the driver is used without entering. */
    boolean isAwaited() {
        return isInside() && !cancellable;
    }

    void beginWithoutAutoCommit() {
        manualCommit = true;
    }

    /** Whether the pool's configuration, and not the caller, begins transactions. */
    boolean isManualCommit() {
        return manualCommit;
    }

    void begin(CopyProgress begun) {
        copy = begun;
    }

    void keep(Object client) {
        kept = client;
    }

    void records(Object begun) {
        recording = begun;
    }

    @Nullable
    Object recording() {
        return recording;
    }

    @Nullable
    Throwable leasedAt() {
        return leasedAt;
    }

    /** Records a cancel of the pool, the driver or the server, which must not hit a statement of the next lease. */
    Cancels cancelled() {
        Cancels known = cancels;
        if (known != null) return known;
        var made = new Cancels();
        Cancels before = (Cancels) CANCELS.compareAndExchange(this, null, made);
        return before == null ? made : before;
    }

    /** Sends a cancel for what the lease executes, unless the lease has ended. Blocks until it is sent. */
    void cancel(BooleanSupplier isEnded, SqlAction cancel) throws SQLException {
        if (isEnded.getAsBoolean()) return;
        Cancels all = cancelled();
        all.underWay.readLock().lock(); // THEN check; the thread that ends the lease takes the lock after ending it
        try {
            if (!isEnded.getAsBoolean()) cancel.run();
        } finally {
            all.underWay.readLock().unlock();
        }
    }

    /** The cancels that must not reach the next lease. Null if there are none. */
    @Nullable
    Cancels cancels() {
        return cancels;
    }
}
