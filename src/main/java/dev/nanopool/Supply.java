package dev.nanopool;

import dev.nanopool.Fate.Fact;
import dev.nanopool.Permits.Permit;
import dev.nanopool.queue.LeaseQueue;
import dev.nanopool.queue.RefusedException.Reason;
import java.sql.SQLException;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Semaphore;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;

/**
 * How many connections there are: opens them, closes them, replaces them, and says how many there may be. Thread-safe.
 * Blocks in {@link #start} and on threads of its own only.
 */
final class Supply {
    // A thread without a connection holds a Permit object; an open connection carries its permit. A permit moves on
    // only after its socket is closed, so there are never more sockets than permits.
    private final PoolConfig config;
    private final Connector connector;
    private final LeaseQueue<PhysicalConnection> queue;
    private final Events events;
    private final Clock clock;
    private final PoolThreads threads;
    private final Alarm alarm;
    private final Suspicion suspicion;
    private final Set<PhysicalConnection> connections = ConcurrentHashMap.newKeySet();
    private final Capacity capacity;
    private final Permits permits = new Permits();
    private final Semaphore connects; // attempts at the same time
    private final AtomicInteger opening = new AtomicInteger(); // threads in fill(), those that back off included
    private final AtomicInteger generation = new AtomicInteger();
    private final AtomicReference<@Nullable PhysicalConnection> rotating = new AtomicReference<>();
    private final ReentrantLock backOffLock = new ReentrantLock();
    private final Condition backOffEnds = backOffLock.newCondition();
    private long backOffsEnded; // how often all were told to go on; guarded by backOffLock
    private final CountDownLatch closed = new CountDownLatch(1); // no permit left, no socket open
    private volatile @Nullable Lender<PhysicalConnection> lender; // written before the first connection is opened
    private volatile @Nullable OpenFailure lastFailure;

    /** The last attempt to open a connection, if it failed. */
    record OpenFailure(Throwable cause, long nanos) {}

    Supply(
            PoolConfig config,
            Connector connector,
            Events events,
            Clock clock,
            PoolThreads threads,
            Alarm alarm,
            Suspicion suspicion) {
        this.config = config;
        this.connector = connector;
        this.events = events;
        this.clock = clock;
        this.threads = threads;
        this.alarm = alarm;
        this.suspicion = suspicion;
        this.connects = new Semaphore(config.connectParallelism);
        this.capacity = new Capacity(config.size);
        this.queue = new LeaseQueue<>(config.maxWaiters, Clock::nanoTime, new Demand());
    }

    /** What the queue asks of the pool. */
    private final class Demand implements LeaseQueue.Owner {
        @Override
        public void fillForWaiter() {
            startFilling(false);
        }

        @Override
        public void fillForLater() {
            startFilling(true);
        }

        @Override
        public void wake() {
            alarm.ring();
        }
    }

    LeaseQueue<PhysicalConnection> queue() {
        return queue;
    }

    /** All that are open, leased ones included. */
    Set<PhysicalConnection> connections() {
        return connections;
    }

    int size() {
        return capacity.size();
    }

    /** How many there may be at present: fewer than the size while the server lets no more in. */
    int effectiveSize() {
        return capacity.effectiveSize();
    }

    int opening() {
        return opening.get();
    }

    boolean isSuspended() {
        return capacity.isSuspended();
    }

    boolean isClosed() {
        return capacity.isClosed();
    }

    /** Null while the database lets connections in. */
    @Nullable
    OpenFailure lastFailure() {
        return lastFailure;
    }

    // The start

    /**
     * Opens {@code minIdle} connections: the first one alone, because if it fails, so would the others; then all others,
     * {@code connectParallelism} at a time. Blocks until all are open or one has failed.
     *
     * @throws SQLException the first failure
     */
    void start(Lender<PhysicalConnection> lends) throws SQLException, InterruptedException {
        lender = lends;
        List<Permit> toOpen = new ArrayList<>();
        for (int i = 0; i < config.size && capacity.add(); i++) {
            if (i < config.minIdle) toOpen.add(permits.hold());
            else queue.release();
        }
        var failure = new AtomicReference<@Nullable Throwable>();
        var rest = new CountDownLatch(Math.max(0, toOpen.size() - 1));
        int passedOn = 0;
        try {
            for (Permit permit : toOpen) {
                if (passedOn++ == 0) openAtStart(permit, failure);
                else startOpening(permit, failure, rest);
            }
        } finally {
            toOpen.subList(passedOn, toOpen.size()).forEach(Permit::close);
        }
        rest.await();
        Throwable first = failure.get();
        if (first instanceof SQLException e) throw e;
        if (first != null)
            throw new SQLException(config.name + ": cannot open a connection", Failures.UNABLE_TO_CONNECT, first);
    }

    private void startOpening(Permit permit, AtomicReference<@Nullable Throwable> failure, CountDownLatch rest) {
        boolean started = false;
        try {
            threads.start("open", () -> {
                try {
                    openAtStart(permit, failure);
                } finally {
                    rest.countDown();
                }
            });
            started = true;
        } finally {
            if (!started) permit.close();
        }
    }

    /** Opens one, unless another attempt has failed. */
    private void openAtStart(Permit permit, AtomicReference<@Nullable Throwable> failure) {
        try (permit) {
            connects.acquire();
            try {
                if (failure.get() == null) admit(login(), permit);
            } finally {
                connects.release();
                if (!permit.isUsed()) release(permit); // so that no other thread tries to open a connection for it
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            String what = config.name + ": interrupted while opening the pool";
            failure.compareAndSet(null, new SQLException(what, Failures.CONNECTION_EXCEPTION, e));
        } catch (SQLException | RuntimeException | Error e) {
            failure.compareAndSet(null, e);
        }
    }

    // How many there shall be

    void resize(int newSize) {
        capacity.resize(newSize);
        adjust();
    }

    void suspend() {
        capacity.suspend();
        adjust();
    }

    void resume() {
        capacity.resume();
        adjust();
    }

    void close() {
        capacity.close();
        endBackOff();
        adjust();
        countDownIfClosed();
    }

    /** Whether all sockets are closed; waits for it. */
    boolean awaitClosed(long nanos) throws InterruptedException {
        return closed.await(nanos, TimeUnit.NANOSECONDS);
    }

    private void countDownIfClosed() {
        if (isClosed() && capacity.expected() == 0) closed.countDown();
    }

    /** Every connection that is open now is replaced, when it is idle or comes back. */
    void refresh() {
        generation.incrementAndGet();
        alarm.ringForSweep();
    }

    /**
     * Brings as many permits into or out of circulation as can be at once; the rest follows as leases end. Once a second as
     * well, because a free permit may have been in a thread's hand for a moment.
     */
    void adjust() {
        var passed = new ArrayDeque<PhysicalConnection>();
        try {
            boolean isFree = true;
            while (isFree && (capacity.hasSurplus() || capacity.hasSurplusWithoutConnection())) isFree = drop(passed);
        } finally {
            for (PhysicalConnection next = passed.poll(); next != null; next = passed.poll()) giveBack(next);
        }
        boolean isMissing = true;
        while (isMissing) isMissing = addPermit();
    }

    /**
     * Takes one free permit out of circulation, and closes the idle connection that belongs to it. The queue hands out the
     * idle connections first; one that is to stay goes to {@code passed}. False: no permit is free.
     */
    private boolean drop(Deque<PhysicalConnection> passed) {
        try (Permit permit = permits.hold()) {
            var idle = new AtomicReference<@Nullable PhysicalConnection>();
            boolean isFree = withdraw(permit, idle);
            PhysicalConnection connection = idle.get();
            if (isFree && connection == null) {
                if (!withdraw(permit)) release(permit);
                return true;
            }
            permits.use(permit); // it stood for nothing, or the connection has the permit
            if (connection != null) drop(connection, passed);
            return connection != null;
        }
    }

    private void drop(PhysicalConnection connection, Deque<PhysicalConnection> passed) {
        boolean passedOn = false;
        try {
            Fact why = capacity.surplus();
            if (claim(connection, why)) discard(connection, why);
            else passed.add(connection);
            passedOn = true;
        } finally {
            if (!passedOn) connection.abandon();
        }
    }

    private void giveBack(PhysicalConnection connection) {
        boolean passedOn = false;
        try {
            give(connection);
            passedOn = true;
        } finally {
            if (!passedOn) connection.abandon();
        }
    }

    private boolean withdraw(Permit permit, AtomicReference<@Nullable PhysicalConnection> idle) {
        boolean isDone = false;
        try {
            boolean isFree = queue.withdraw(idle::set);
            isDone = true;
            return isFree;
        } finally {
            if (!isDone) permits.use(permit); // the queue has kept what it has, so that this permit stands for nothing
        }
    }

    /** Brings one more permit into circulation, and opens a connection for it if one is wanted. False: none is missing. */
    private boolean addPermit() {
        Permit permit = permits.hold();
        boolean isAdded = capacity.add();
        if (isAdded) startFilling(permit, false);
        else permits.use(permit);
        return isAdded;
    }

    /** Takes the permit out of circulation if there are too many. */
    private boolean withdraw(Permit permit) {
        boolean isWithdrawn = capacity.withdraw();
        if (isWithdrawn) {
            permits.use(permit);
            countDownIfClosed();
        }
        return isWithdrawn;
    }

    /** The server refused a connection because it has too many: this permit waits, unless it is the only one. */
    private boolean withhold(Permit permit) {
        boolean isFirst = !capacity.isWithholding();
        boolean isWithheld = capacity.withhold();
        if (isWithheld) {
            permits.use(permit);
            events.happened(new Event.Withheld(capacity.effectiveSize(), size(), isFirst));
        }
        return isWithheld;
    }

    /** Tries whether the server lets one more in, if it refused some. Once a second. */
    void raise() {
        if (!capacity.isWithholding() || opening() > 0) return;
        Permit permit = permits.hold();
        if (capacity.readmit()) startFilling(permit, false);
        else permits.use(permit);
    }

    // Connections in hand

    /** What the pool's numbers say about a connection that is idle or comes back, as {@linkplain Fact#bit facts}. */
    int facts(PhysicalConnection connection) {
        int facts = capacity.hasSurplus() ? capacity.surplus().bit() : 0;
        if (connection.isRetired()) facts |= Fact.RETIRED.bit();
        if (connection.generation() != generation.get()) {
            if (rotating.get() == null) facts |= Fact.OUTDATED.bit();
        } else if (connection.expiresNanos() <= clock.coarseNanos()) {
            if (rotating.get() == null && isExpired(connection)) facts |= Fact.EXPIRED.bit();
        }
        return facts;
    }

    /**
     * For its age alone a connection is replaced when no caller waits, while it has not reached the full lifetime, and never
     * while the database lets no connection in: an old connection is better than none.
     */
    private boolean isExpired(PhysicalConnection connection) {
        return lastFailure == null
                && (queue.pending() == 0
                        || connection.openedNanos() + config.maxLifetime.toNanos() <= clock.coarseNanos());
    }

    /** Whether this connection is the one to close for this reason, of all to which it applies. */
    boolean claim(PhysicalConnection connection, Fact why) {
        return switch (why) {
            case POOL_CLOSED, SUSPENDED, SURPLUS -> capacity.claim();
            case OUTDATED, EXPIRED -> rotating.compareAndSet(null, connection); // one at a time
            default -> true;
        };
    }

    /** Makes a connection idle, or hands it to a waiting caller. If this throws, the caller still has the connection. */
    void give(PhysicalConnection connection) {
        queue.give(connection); // nothing may follow: the connection is not the caller's any longer
    }

    /**
     * Takes a connection out of use, which was claimed: a thread of the pool closes it, then sees to its permit. If this
     * throws, the caller still has the connection.
     */
    void discard(PhysicalConnection connection, Fact why) {
        boolean isLeaving = why == Fact.POOL_CLOSED || why == Fact.SUSPENDED || why == Fact.SURPLUS;
        CloseReason reason = why.reason();
        if (reason == null) throw new IllegalStateException("bug: " + why + " closes nothing");
        connection.idleToClosing(reason, isLeaving);
        startClosing(connection);
    }

    private void startClosing(PhysicalConnection connection) {
        threads.start("close", () -> close(connection));
    }

    private void close(PhysicalConnection connection) {
        boolean settled = false;
        try {
            try {
                connection.session().close(connection.closeReason());
            } catch (SQLException | RuntimeException | Error e) {
                events.happened(new Event.ClosingFailed(e));
                connection.session().kill(new SQLException("closing failed", Failures.CONNECTION_EXCEPTION, e));
            }
            settle(connection);
            settled = true;
        } finally {
            if (!settled) connection.abandon();
        }
    }

    /** The socket is closed: the permit leaves circulation with the connection, or another connection is opened for it. */
    private void settle(PhysicalConnection connection) {
        try (Permit permit = permits.hold()) {
            connection.closingToClosed();
            connections.remove(connection);
            if (!connection.isLeaving()) capacity.empty();
            Session session = connection.session();
            events.happened(new Event.Closed(
                    session.backendPid(), connection.closeReason(), connection.leases(), session.failure()));
            if (connection.isLeaving()) {
                permits.use(permit);
                capacity.left();
                countDownIfClosed();
                adjust();
            } else {
                fill(permit, false);
            }
        } finally {
            if (rotating.compareAndSet(connection, null)) alarm.ringForSweep();
        }
    }

    // Permits in hand

    private void release(Permit permit) {
        queue.release(); // THEN it is no longer in hand, because this may throw
        permits.use(permit);
    }

    // The audit

    /** How many permits must be found somewhere: in the queue, with a connection, or in hand. */
    int expectedPermits() {
        return capacity.expected();
    }

    /** How many permits threads of the pool have in hand. */
    int permitsInHand() {
        return permits.count();
    }

    /** Gives up a connection that is lost in the pool: closes its socket, and counts it no longer. */
    void forget(PhysicalConnection connection) {
        Session session = connection.session();
        session.kill(new SQLException("the pool has lost track of this connection", Failures.CONNECTION_EXCEPTION));
        connections.remove(connection);
        capacity.empty();
        events.happened(
                new Event.Closed(session.backendPid(), CloseReason.LOST, connection.leases(), session.failure()));
    }

    /** Makes missing permits anew, or lets those that are too many leave. */
    void correct(int missing) {
        for (int i = 0; i < missing; i++) queue.release();
        if (missing < 0) capacity.admitSurplus(-missing);
        adjust();
    }

    /** Goes on with what threads of the pool have abandoned. For the housekeeper. */
    void recover() {
        permits.recover(permit -> startFilling(permit, false));
        for (PhysicalConnection connection : connections) {
            if (connection.isAbandoned() && connection.state() == PhysicalConnection.State.CLOSING) {
                connection.recovered();
                boolean started = false;
                try {
                    startClosing(connection);
                    started = true;
                } finally {
                    if (!started) connection.abandon();
                }
            }
        }
    }

    /** As {@link #startFilling(Permit, boolean)} for a permit of the queue, which keeps it if this throws. */
    private void startFilling(boolean isAsked) {
        Permit permit = permits.hold();
        boolean started = false;
        try {
            threads.start("open", () -> fill(permit, isAsked));
            started = true;
        } finally {
            if (!started) permits.use(permit);
        }
    }

    /** A thread of the pool opens a connection for the permit, if one is wanted. */
    private void startFilling(Permit permit, boolean isAsked) {
        boolean started = false;
        try {
            threads.start("open", () -> fill(permit, isAsked));
            started = true;
        } finally {
            if (!started) permit.close();
        }
    }

    /** Opens a connection for the permit as long as one is wanted; {@code isAsked}: tries once in any case. */
    private void fill(Permit permit, boolean isAsked) {
        try (permit) {
            opening.incrementAndGet();
            PhysicalConnection connection = null;
            try {
                for (int failures = 0; connection == null; failures++) {
                    if (failures > 0) backOff(failures - 1);
                    if (withdraw(permit)) return;
                    if (!isWanted() && (failures > 0 || !isAsked)) {
                        release(permit);
                        return;
                    }
                    connection = tryOpen(permit);
                    if (permit.isUsed()) return; // withheld
                }
            } catch (InterruptedException e) {
                throw new IllegalStateException("bug: a thread of the pool was interrupted", e);
            } finally {
                opening.decrementAndGet(); // before it counts as open, else other openers would find it enough
            }
            admit(connection, permit);
            if (capacity.hasSurplus()) adjust(); // the target fell while the connection was being opened
            endBackOff();
        }
    }

    private boolean isWanted() {
        return queue.pending() > 0 || connections.size() + opening() <= Math.min(config.minIdle, size());
    }

    /** Waits 10 to 20 ms after the first failure, up to 1 s after many; not at all once the pool is closed. */
    private void backOff(int failures) throws InterruptedException {
        long millis = Math.min(1_000, 20L << Math.min(failures, 10));
        millis = millis / 2 + ThreadLocalRandom.current().nextLong(millis / 2 + 1);
        long nanos = TimeUnit.MILLISECONDS.toNanos(millis);
        backOffLock.lock();
        try {
            long before = backOffsEnded;
            while (nanos > 0 && backOffsEnded == before && !isClosed()) nanos = backOffEnds.awaitNanos(nanos);
        } finally {
            backOffLock.unlock();
        }
    }

    /** The database lets connections in again, or the pool is closed. */
    private void endBackOff() {
        backOffLock.lock();
        try {
            backOffsEnded++;
            backOffEnds.signalAll();
        } finally {
            backOffLock.unlock();
        }
    }

    private @Nullable PhysicalConnection tryOpen(Permit permit) throws InterruptedException {
        connects.acquire();
        long startNanos = Clock.nanoTime();
        try {
            return login();
        } catch (SQLException | RuntimeException | Error e) { // credentials and drivers are other people's code
            if (!isClosed()) openFailed(e, permit, startNanos);
            return null;
        } finally {
            connects.release();
        }
    }

    private void openFailed(Throwable failure, Permit permit, long startNanos) {
        boolean isFirst = lastFailure == null;
        lastFailure = new OpenFailure(failure, Clock.nanoTime());
        events.happened(new Event.OpenFailed(failure, isFirst));
        boolean isWithheld = Failures.isState(failure, Failures.TOO_MANY_CONNECTIONS) && withhold(permit);
        if (Failures.isState(failure, Failures.CANNOT_CONNECT_NOW)) {
            suspicion.raise("the server is starting up or shutting down", connections);
        }
        // No lease can end in favour of those that have waited through the whole attempt.
        if (!isWithheld && connections.isEmpty()) queue.refuse(Reason.DATABASE_DOWN, startNanos);
    }

    private PhysicalConnection login() throws SQLException {
        long startNanos = Clock.nanoTime();
        int current = generation.get();
        Connector.Opened opened = connector.open();
        try {
            return new PhysicalConnection(
                    new Session(opened, config),
                    Objects.requireNonNull(lender),
                    config.maxLifetime,
                    startNanos,
                    Clock.nanoTime(),
                    current);
        } catch (SQLException | RuntimeException | Error e) {
            opened.abort(); // no other thread knows of it
            throw e;
        }
    }

    /** The connection is open, and takes the permit over. */
    private void admit(PhysicalConnection connection, Permit permit) {
        boolean admitted = false;
        try {
            boolean isAfterFailure = lastFailure != null;
            lastFailure = null;
            events.happened(
                    new Event.Opened(connection.session().backendPid(), connection.openingTook(), isAfterFailure));
            connections.add(connection);
            capacity.fill();
            permits.use(permit);
            admitted = true;
        } finally {
            if (!admitted) connection.session().kill(new SQLException("the pool could not take it over", "08000"));
        }
        connection.openingToIdle();
        giveBack(connection);
    }
}
