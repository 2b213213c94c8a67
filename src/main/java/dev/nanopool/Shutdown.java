package dev.nanopool;

import java.time.Duration;
import java.util.concurrent.atomic.AtomicBoolean;

/** Ends a pool. It waits for leases, ends those that stay, and waits until no socket and no thread is left. */
final class Shutdown {
    private static final Duration PATIENCE = Duration.ofSeconds(5); // beyond connectTimeout, for the server's answers
    private static final Duration ENDING = Duration.ofSeconds(2); // for a thread that only has to notice its end
    private static final long LOOK_NANOS = Duration.ofMillis(10).toNanos(); // how often close() checks its progress

    private final PoolConfig config;
    private final Supply supply;
    private final Housekeeper housekeeper;
    private final Closing closing;
    private final PoolThreads threads;
    private final Events events;
    private final AtomicBoolean isToldOf = new AtomicBoolean(true);

    Shutdown(
            PoolConfig config,
            Supply supply,
            Housekeeper housekeeper,
            Closing closing,
            PoolThreads threads,
            Events events) {
        this.config = config;
        this.supply = supply;
        this.housekeeper = housekeeper;
        this.closing = closing;
        this.threads = threads;
        this.events = events;
    }

    /** The pool has started, so that the log shows its end. */
    void started() {
        isToldOf.set(false);
    }

    /** Closes the pool; the contract is that of {@link Pool#close(Duration)}. */
    boolean run(long drainNanos) {
        long startNanos = Clock.nanoTime();
        supply.queue().close();
        supply.close();
        closing.close();
        boolean drained = false;
        boolean interrupted = Thread.interrupted(); // an interrupt ends the waiting for leases only
        try {
            drained = !interrupted && awaitLeases(drainNanos);
        } catch (InterruptedException e) {
            interrupted = true;
        }
        int cut = drained ? 0 : leased();
        boolean isClosed = drained ? awaitClosed(() -> {}) : awaitClosed(this::cutAll);
        if (!isClosed) events.happened(new Event.NotClosed(supply.connections().size()));
        boolean isStopped = housekeeper.stop();
        Thread running = threads.awaitEnd(ENDING);
        if (running != null) events.happened(new Event.NotEnded(running.getName()));
        else if (!isStopped) events.happened(new Event.NotEnded("nanopool-clock"));
        if (!isToldOf.getAndSet(true)) {
            events.happened(new Event.Stopped(cut, Duration.ofNanos(Clock.nanoTime() - startNanos)));
        }
        if (interrupted) Thread.currentThread().interrupt();
        return drained;
    }

    private int leased() {
        int leased = 0;
        for (PhysicalConnection connection : supply.connections()) leased += connection.lease() == null ? 0 : 1;
        return leased;
    }

    /** Waits until only this thread has leases. */
    private boolean awaitLeases(long drainNanos) throws InterruptedException {
        long deadline = Clock.nanoTime() + drainNanos;
        while (!supply.awaitClosed(Math.clamp(deadline - Clock.nanoTime(), LOOK_NANOS / 10, LOOK_NANOS))) {
            boolean mine = false;
            boolean others = false;
            boolean inHand = false; // on its way to a caller, or being checked, which ends soon
            for (PhysicalConnection connection : supply.connections()) {
                Lease lease = connection.lease();
                if (lease == null) inHand |= connection.state() == PhysicalConnection.State.IDLE;
                else if (lease.owner() == Thread.currentThread()) mine = true;
                else others = true;
            }
            if (!others && !inHand) return !mine;
            if (Clock.nanoTime() - deadline >= (others ? 0 : 10 * LOOK_NANOS)) return false;
            supply.adjust(); // closes connections that have become idle meanwhile
        }
        return true;
    }

    /**
     * Waits until all sockets are closed, and does {@code meanwhile} again and again. An interrupt does not end this waiting,
     * because it is bounded. The flag is set at the end.
     */
    private boolean awaitClosed(Runnable meanwhile) {
        long deadline = Clock.nanoTime() + config.connectTimeout.plus(PATIENCE).toNanos();
        boolean closed = false;
        boolean interrupted = false;
        do {
            meanwhile.run();
            supply.adjust();
            try {
                closed = supply.awaitClosed(LOOK_NANOS);
            } catch (InterruptedException e) {
                interrupted = true;
            }
        } while (!closed && Clock.nanoTime() < deadline);
        if (interrupted) Thread.currentThread().interrupt();
        return closed;
    }

    /** Ends every lease by force, those included that begin meanwhile. */
    private void cutAll() {
        supply.connections().forEach(Shutdown::cut);
    }

    private static void cut(PhysicalConnection connection) {
        Lease lease = connection.lease();
        if (lease == null) return;
        Client client = lease.client();
        if (client != null) {
            client.cut();
        } else {
            boolean unused = connection.end(lease, Fate.Fact.FORGOTTEN.bit());
        }
    }
}
