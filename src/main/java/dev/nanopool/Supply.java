package dev.nanopool;

import dev.nanopool.queue.LeaseQueue;
import dev.nanopool.queue.RefusedException.Reason;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Semaphore;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import java.util.function.UnaryOperator;
import org.jspecify.annotations.Nullable;

/**
 * How many connections there are: opens them, closes them, replaces them, and says how many there may be. Thread-safe.
 * Blocks in {@link #connect} and on threads of its own only.
 */
final class Supply {
    // capacity: permits in circulation, wherever they are; target: how many there shall be (0 when suspended or
    // closed).
    //           Whoever holds a permit without a connection takes it out of circulation while capacity > target.
    //           That is how the pool is closed, suspended, resized, and lives with less than it asked for. Connections
    //           that exist or are being opened <= capacity, since a permit moves on only after its socket is closed.
    private final AtomicInteger capacity = new AtomicInteger();
    private volatile int target;
    private volatile int size;
    private volatile int limit = Integer.MAX_VALUE; // what the server lets in, once it has refused more (53300)
    private volatile State state = State.OPEN;

    private final PoolConfig config;
    private final Connector connector;
    private final LeaseQueue<PhysicalConnection> queue;
    private final Events events;
    private final Clock clock;
    private final Background background;
    private final Losses losses;
    private final Set<PhysicalConnection> connections = ConcurrentHashMap.newKeySet();
    private final Semaphore connects; // opens at the same time
    private final AtomicInteger opening = new AtomicInteger(); // permits in open(), those that back off included
    private final AtomicInteger generation = new AtomicInteger();
    private final AtomicBoolean rotating = new AtomicBoolean(); // one connection at a time is replaced for its age
    private final Set<Thread> backingOff = ConcurrentHashMap.newKeySet();
    private final CountDownLatch closed = new CountDownLatch(1); // no permit left, no socket open

    private enum State {
        OPEN,
        SUSPENDED,
        CLOSED
    }

    /** Who is told that the database may be in trouble. */
    interface Losses {
        void discarded(PhysicalConnection connection, CloseReason reason);

        void refused(SQLException refusal);
    }

    Supply(
            PoolConfig config,
            Connector connector,
            LeaseQueue<PhysicalConnection> queue,
            Events events,
            Clock clock,
            Background background,
            Losses losses) {
        this.config = config;
        this.connector = connector;
        this.queue = queue;
        this.events = events;
        this.clock = clock;
        this.background = background;
        this.losses = losses;
        this.connects = new Semaphore(config.connectParallelism);
        this.size = config.size;
        this.target = config.size;
    }

    /** All that are open, leased ones included. */
    Set<PhysicalConnection> connections() {
        return connections;
    }

    int size() {
        return size;
    }

    /** How many there may be at present: fewer than the size while the server lets no more in. */
    int effectiveSize() {
        return Math.min(size, limit);
    }

    int opening() {
        return opening.get();
    }

    /** Whether connections are being opened, reset, validated or closed. */
    boolean isAtWork() {
        return opening.get() > 0 || connections.stream().anyMatch(connection -> connection.isServiced);
    }

    int capacity() {
        return capacity.get();
    }

    boolean isSuspended() {
        return state == State.SUSPENDED;
    }

    boolean isClosed() {
        return state == State.CLOSED;
    }

    // How many there shall be

    /** Brings the first permits into circulation: the caller's, to open connections for. */
    void begin(int permits) {
        capacity.set(permits);
    }

    /** Takes permits out of circulation again that the caller has not used. */
    void forgo(int permits) {
        capacity.addAndGet(-permits);
    }

    void resize(int newSize) {
        size = newSize;
        retarget();
    }

    void suspend() {
        aim(old -> old == State.OPEN ? State.SUSPENDED : old);
        adjust();
    }

    void resume() {
        aim(old -> old == State.SUSPENDED ? State.OPEN : old);
        adjust();
    }

    void close() {
        aim(old -> State.CLOSED);
        connector.close();
        endBackOff();
        adjust();
        if (capacity.get() == 0) closed.countDown();
    }

    /** Whether all sockets are closed; waits for it. */
    boolean awaitClosed(long nanos) throws InterruptedException {
        return closed.await(nanos, TimeUnit.NANOSECONDS);
    }

    /** Has every connection of now replaced, when it is idle or comes back. */
    void refresh() {
        generation.incrementAndGet();
    }

    /** The server refused a connection because it has too many: live with those that are there. */
    private void lower() {
        int open = Math.max(1, connections.size());
        if (open < effectiveSize()) events.lowered(open, size);
        limit = open;
        retarget();
    }

    /** Tries whether the server lets one more in, if it refused more. */
    void raise() {
        int more = connections.size() + 1;
        if (more <= limit || limit == Integer.MAX_VALUE) return;
        limit = more < size ? more : Integer.MAX_VALUE;
        retarget();
    }

    private void retarget() {
        aim(UnaryOperator.identity());
        adjust();
    }

    /** Of several that change what the target depends on, the last one here has seen what the others changed. */
    private synchronized void aim(UnaryOperator<State> change) {
        state = change.apply(state);
        target = state == State.OPEN ? effectiveSize() : 0;
    }

    /**
     * Brings as many permits into or out of circulation as can be at once; the rest follows as leases end. Once a second
     * as well: a free permit may have been in somebody's hand for a moment.
     */
    void adjust() {
        for (int i = capacity.get() - target; i > 0; i--) {
            var idle = new ArrayList<PhysicalConnection>(1);
            if (!queue.withdraw(idle::add)) break;
            if (!idle.isEmpty()) discard(idle.getFirst(), surplusReason());
            else if (!dropSurplus()) vacancy(); // the target has risen meanwhile; this thread opens nothing
        }
        for (int current = capacity.get(); current < target; current = capacity.get()) {
            if (capacity.compareAndSet(current, current + 1)) background.run("open", this::settle);
        }
    }

    // Connections that come back

    /** Makes a sound connection idle, or gives it to who waits, unless it is to go. */
    void give(PhysicalConnection connection) {
        if (capacity.get() > target) {
            discard(connection, surplusReason());
        } else if (connection.retired) {
            discard(connection, CloseReason.RETIRED);
        } else if (isStale(connection) && rotating.compareAndSet(false, true)) {
            boolean isOld = connection.generation == generation.get();
            discard(connection, isOld ? CloseReason.MAX_LIFETIME : CloseReason.RETIRED, this::rotateNext);
        } else {
            queue.give(connection);
            if (capacity.get() > target)
                adjust(); // the target fell meanwhile, and who lowered it may have looked too early
        }
    }

    /**
     * Whether it is to be replaced. For its age alone that is done when nobody waits, while it has not reached the full
     * lifetime, and never while the database lets nobody in: an old connection is better than none.
     */
    private boolean isStale(PhysicalConnection connection) {
        if (connection.generation != generation.get()) return true;
        long now = clock.coarseNanos();
        return connection.expiresNanos <= now
                && events.lastFailure() == null
                && (queue.pending() == 0 || connection.openedNanos + config.maxLifetime.toNanos() <= now);
    }

    private CloseReason surplusReason() {
        return switch (state) {
            case OPEN -> CloseReason.RESIZED;
            case SUSPENDED -> CloseReason.SUSPENDED;
            case CLOSED -> CloseReason.POOL_CLOSED;
        };
    }

    /** Takes a connection out of use: a thread of the pool closes it, and then decides what becomes of the permit. */
    void discard(PhysicalConnection connection, CloseReason reason) {
        discard(connection, reason, () -> {});
    }

    private void discard(PhysicalConnection connection, CloseReason reason, Runnable afterwards) {
        connection.endLease();
        connection.isServiced = true;
        losses.discarded(connection, reason);
        background.run("close", () -> {
            try {
                try {
                    connection.close(reason.leavesAStatementRunning());
                } catch (SQLException | RuntimeException e) {
                    events.closingFailed(e);
                }
                connections.remove(connection);
                events.closed(connection, reason);
            } finally {
                try {
                    settle();
                } finally {
                    afterwards.run();
                }
            }
        });
    }

    private void rotateNext() {
        rotating.set(false);
        if (connections.stream().anyMatch(this::isStale)) takeIdle().forEach(this::give);
    }

    /** Takes out all idle connections, to look at each and give it back. */
    List<PhysicalConnection> takeIdle() {
        List<PhysicalConnection> all = new ArrayList<>();
        for (int i = connections.size(); i > 0; i--) {
            PhysicalConnection idle = queue.takeIdle();
            if (idle == null) break;
            all.add(idle);
        }
        return all;
    }

    // Permits without a connection

    /** Takes over a permit without a connection: one is opened if somebody waits. */
    void vacancy() {
        background.run("open", () -> open(false));
    }

    /** The same for a caller who does not wait, but may come again: one is opened in any case. */
    void open() {
        background.run("open", () -> open(true));
    }

    /** Decides what becomes of a permit without a connection. */
    private void settle() {
        if (dropSurplus()) return;
        open(false);
    }

    /** Takes the caller's permit out of circulation if there are too many. */
    private boolean dropSurplus() {
        int current = capacity.get();
        while (current > target) {
            if (capacity.compareAndSet(current, current - 1)) {
                if (current == 1 && state == State.CLOSED) closed.countDown();
                return true;
            }
            current = capacity.get();
        }
        return false;
    }

    /** Holds a permit, and opens a connection for it as long as somebody wants one; {@code asked}: or tries once. */
    private void open(boolean asked) {
        PhysicalConnection connection = null;
        opening.incrementAndGet();
        try {
            for (int failures = 0; connection == null; failures++) {
                if (failures > 0) backOff(failures - 1);
                if (dropSurplus()) return;
                if (!isWanted() && (failures > 0 || !asked)) {
                    queue.release();
                    return;
                }
                connection = tryOpen();
            }
        } catch (InterruptedException e) {
            throw new IllegalStateException("bug: a thread of the pool was interrupted", e);
        } finally {
            opening.decrementAndGet(); // before it counts as open, else others that open would find it enough
        }
        admit(connection);
        give(connection);
        raise();
        endBackOff();
    }

    private boolean isWanted() {
        return queue.pending() > 0 || connections.size() + opening.get() <= Math.min(config.minIdle, size);
    }

    /** Waits 10 to 20 ms after the first failure, up to 1 s after many; not at all once the pool is closed. */
    private void backOff(int failures) {
        long millis = Math.min(1_000, 20L << Math.min(failures, 10));
        millis = millis / 2 + ThreadLocalRandom.current().nextLong(millis / 2 + 1);
        backingOff.add(Thread.currentThread()); // THEN look whether it is closed; who closes looks here after that
        if (state != State.CLOSED) LockSupport.parkNanos(this, TimeUnit.MILLISECONDS.toNanos(millis));
        backingOff.remove(Thread.currentThread());
    }

    /** The database lets connections in again, or nobody wants them any more. */
    private void endBackOff() {
        backingOff.forEach(LockSupport::unpark);
    }

    private @Nullable PhysicalConnection tryOpen() throws InterruptedException {
        connects.acquire();
        long startNanos = Clock.nanoTime();
        try {
            return login();
        } catch (SQLException | RuntimeException | Error e) { // credentials and drivers are other people's code
            if (state == State.CLOSED) return null;
            events.openFailed(e);
            if (e instanceof SQLException refusal) {
                if ("53300".equals(refusal.getSQLState())) lower();
                losses.refused(refusal);
            }
            // Nobody can give a connection back to those who have waited through the whole attempt.
            if (connections.isEmpty()) queue.refuse(Reason.DATABASE_DOWN, startNanos);
            return null;
        } finally {
            connects.release();
        }
    }

    /** Opens a connection; it belongs to the caller, and counts. */
    PhysicalConnection connect() throws SQLException {
        PhysicalConnection connection = login();
        admit(connection);
        return connection;
    }

    private PhysicalConnection login() throws SQLException {
        long startNanos = Clock.nanoTime();
        int current = generation.get();
        var raw = connector.open();
        try {
            return new PhysicalConnection(raw, config, startNanos, Clock.nanoTime(), current);
        } catch (SQLException | RuntimeException | Error e) {
            raw.abort(); // it broke meanwhile, and nobody else knows of it
            throw e;
        }
    }

    private void admit(PhysicalConnection connection) {
        connections.add(connection);
        events.opened(connection, Duration.ofNanos(connection.openedNanos - connection.beganNanos));
    }
}
