package dev.nanopool;

import dev.nanopool.Fate.Fact;
import dev.nanopool.Permits.Permit;
import dev.nanopool.queue.LeaseQueue;
import dev.nanopool.queue.RefusedException.Reason;
import java.sql.SQLException;
import java.time.Duration;
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
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import org.jspecify.annotations.Nullable;

/**
 * How many connections there are: opens them, closes them, replaces them, and says how many there may be. Thread-safe.
 * Blocks in {@link #start} and on threads of its own only.
 */
final class Supply {
    private static final Duration PATIENCE_WITH_CREDENTIALS = Duration.ofMillis(500);
    private static final long CANCEL_NANOS = Duration.ofMillis(500).toNanos();
    private static final long WHILE_OTHERS_PROBE_NANOS = Duration.ofSeconds(1).toNanos(); // then a permit looks again

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
    private final Outage outage;
    private final Ledger.Book book = new Ledger.Book();
    private final Set<PhysicalConnection> connections = ConcurrentHashMap.newKeySet();
    private final Capacity capacity;
    private final Permits permits = new Permits();
    private final Semaphore connects; // attempts at the same time
    private final AtomicInteger opening = new AtomicInteger(); // threads in fill(), those that back off included
    private final AtomicLong removed = new AtomicLong(); // how many connections have been closed
    private final AtomicInteger generation = new AtomicInteger();
    private final AtomicReference<@Nullable PhysicalConnection> rotating = new AtomicReference<>();
    private final ReentrantLock backOffLock = new ReentrantLock();
    private final Condition backOffEnds = backOffLock.newCondition();
    private final AtomicLong backOffsEnded = new AtomicLong(); // how often all were told to go on
    private final CountDownLatch closed = new CountDownLatch(1); // no permit left, no socket open
    private volatile @Nullable Lender<PhysicalConnection> lender; // written before the first connection is opened
    private volatile @Nullable OpenFailure lastFailure; // null once an attempt has succeeded
    private volatile @Nullable OpenFailure latestFailure; // the same, and never null again

    /** The last attempt to open a connection, if it failed. */
    record OpenFailure(Throwable cause, long nanos) {}

    Supply(
            PoolConfig config,
            Connector connector,
            Events events,
            Clock clock,
            PoolThreads threads,
            Alarm alarm,
            Suspicion suspicion,
            Outage outage) {
        this.config = config;
        this.connector = connector;
        this.events = events;
        this.clock = clock;
        this.threads = threads;
        this.alarm = alarm;
        this.suspicion = suspicion;
        this.outage = outage;
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

    Ledger.Book book() {
        return book;
    }

    int size() {
        return capacity.size();
    }

    /** How many connections stay open though no caller uses them. */
    int minIdle() {
        return Math.min(config.minIdle, size());
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

    /** The latest attempt that failed, though another one may have succeeded since. */
    @Nullable
    OpenFailure latestFailure() {
        return latestFailure;
    }

    // The start

    /**
     * Opens {@code minIdle} connections: the first one alone, because if it fails, so would the others; then all others,
     * {@code connectParallelism} at a time. Blocks until all are open or one has failed. Where the server is full, the pool
     * starts with what there is.
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
        if (toOpen.isEmpty()) return;
        // All on this thread and on the threads that connect, which are platform threads: this thread may initialise a
        // class that other threads wait for, and pin all carriers by it. No thread but those runs the user's code.
        try {
            Credentials credentials = openFirst(toOpen.removeFirst());
            openRest(toOpen, credentials);
        } finally {
            for (Permit permit : toOpen) release(permit);
        }
    }

    /** Opens the first connection; answers the credentials if this thread had to ask for them. */
    private @Nullable Credentials openFirst(Permit permit) throws SQLException, InterruptedException {
        Connector.Pending first = null;
        opening.incrementAndGet();
        try {
            first = connector.begin(null);
            Credentials credentials = null;
            if (first.waitsForThisThread(PATIENCE_WITH_CREDENTIALS)) {
                first.leaveBehind();
                credentials = connector.credentialsHere();
                first = connector.begin(credentials);
            }
            admit(login(first), permit);
            return credentials;
        } finally {
            opening.decrementAndGet();
            if (!permit.isUsed()) {
                if (first != null) first.giveUp();
                release(permit);
            }
        }
    }

    /** Opens the others, {@code connectParallelism} at a time. */
    private void openRest(List<Permit> permits, @Nullable Credentials credentials)
            throws SQLException, InterruptedException {
        var underWay = new ArrayDeque<Connector.Pending>();
        opening.incrementAndGet(); // so that the housekeeper does not raise the size meanwhile
        try {
            while (!permits.isEmpty()) {
                while (underWay.size() < Math.min(config.connectParallelism, permits.size())) {
                    underWay.add(connector.begin(credentials));
                }
                Connector.Pending next = underWay.remove();
                Permit permit = permits.removeFirst();
                try {
                    admit(login(next), permit);
                } catch (SQLException e) {
                    if (!Failures.isState(e, Failures.TOO_MANY_CONNECTIONS) || !withhold(permit)) throw e;
                } finally {
                    if (!permit.isUsed()) release(permit);
                }
            }
        } finally {
            opening.decrementAndGet();
            underWay.forEach(Connector.Pending::giveUp);
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
            giveBack(passed);
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
            if (!passedOn) connection.abandoned = true;
        }
    }

    /** Gives back all of them. If this throws, those that are left are abandoned. */
    void giveBack(Deque<PhysicalConnection> inHand) {
        try {
            for (PhysicalConnection next = inHand.poll(); next != null; next = inHand.poll()) giveBack(next);
        } finally {
            for (PhysicalConnection left : inHand) left.abandoned = true;
        }
    }

    private void giveBack(PhysicalConnection connection) {
        boolean passedOn = false;
        try {
            give(connection);
            passedOn = true;
        } finally {
            if (!passedOn) connection.abandoned = true;
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
                if (connection.session().close(connection.closeReason())) cancel(connection);
            } catch (SQLException | RuntimeException | Error e) {
                events.happened(new Event.ClosingFailed(e));
                connection.session().kill(new SQLException("closing failed", Failures.CONNECTION_EXCEPTION, e));
            }
            settle(connection);
            settled = true;
        } finally {
            if (!settled) connection.abandoned = true;
        }
    }

    /** Waits for the cancel for a moment only, because the server may be out of reach, which a new attempt finds out. */
    private void cancel(PhysicalConnection connection) {
        Session session = connection.session();
        var isSent = new CountDownLatch(1);
        threads.start("cancel", () -> {
            try {
                long startNanos = Clock.nanoTime();
                session.cancel();
                events.happened(new Event.GivenUp(
                        session.backendPid(),
                        connection.closeReason(),
                        Duration.ofNanos(Clock.nanoTime() - startNanos)));
            } catch (SQLException e) {
                events.happened(new Event.ClosingFailed(e));
            } finally {
                isSent.countDown();
            }
        });
        try {
            boolean unused = isSent.await(CANCEL_NANOS, TimeUnit.NANOSECONDS);
        } catch (InterruptedException e) {
            throw new IllegalStateException("bug: a thread of the pool was interrupted", e);
        }
    }

    /** The socket is closed: the permit leaves circulation with the connection, or another connection is opened for it. */
    private void settle(PhysicalConnection connection) {
        try (Permit permit = permits.hold()) {
            connection.closingToClosed();
            connections.remove(connection);
            removed.incrementAndGet(); // THEN it may be opened again
            if (!connection.isLeaving()) capacity.empty();
            events.happened(closed(connection, connection.closeReason()));
            book.release(connection.ledger());
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
        events.happened(closed(connection, CloseReason.LOST));
    }

    private static Event.Closed closed(PhysicalConnection connection, CloseReason reason) {
        Session session = connection.session();
        var age = Duration.ofNanos(Clock.nanoTime() - connection.openedNanos());
        return new Event.Closed(session.backendPid(), reason, age, connection.leases(), session.failure());
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
            if (connection.abandoned && connection.state() == PhysicalConnection.State.CLOSING) {
                connection.recovered();
                boolean started = false;
                try {
                    startClosing(connection);
                    started = true;
                } finally {
                    if (!started) connection.abandoned = true;
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
                int failures = 0;
                long ends = backOffsEnded.get(); // THEN look whether an outage is on
                while (connection == null) {
                    if (failures > 0) backOff(permit, failures - 1, ends);
                    if (withdraw(permit)) return;
                    ends = backOffsEnded.get();
                    boolean isProber = outage.isOn() && outage.isProber(permit);
                    if (!isProber && !isWanted() && (failures > 0 || !isAsked)) {
                        release(permit);
                        return;
                    }
                    if (outage.isOn() && !isProber) {
                        awaitEndOfBackOff(WHILE_OTHERS_PROBE_NANOS, ends);
                        continue;
                    }
                    connection = tryOpen(permit);
                    failures++;
                    if (permit.isUsed()) return; // withheld
                }
            } catch (InterruptedException e) {
                throw new IllegalStateException("bug: a thread of the pool was interrupted", e);
            } finally {
                opening.decrementAndGet(); // before it counts as open, else other openers would find it enough
                if (outage.leaveProbing(permit) && outage.isOn()) endBackOff(); // another permit probes
            }
            admit(connection, permit);
            if (capacity.hasSurplus()) adjust(); // the target fell while the connection was being opened
            endBackOff();
        }
    }

    /**
     * Whether a caller waits, or fewer others than {@code minIdle} are open or being opened. One that is closed and opened
     * again between the two looks would count twice, so then it looks again.
     */
    private boolean isWanted() {
        if (queue.pending() > 0) return true;
        long before;
        int supplied;
        do {
            before = removed.get();
            // In the reverse order, one that has just been opened would count twice.
            supplied = connections.size() + opening();
        } while (removed.get() != before);
        return supplied <= minIdle();
    }

    /**
     * Waits after a failed attempt: in an outage as long as its age says, if this permit probes; else for 5 to 10 ms after the
     * first failure, and up to 1 s later. Not at all once the pool is closed.
     */
    private void backOff(Permit permit, int failures, long ends) throws InterruptedException {
        if (outage.isOn()) {
            if (outage.isProber(permit)) awaitEndOfBackOff(outage.pauseNanos(), ends);
            return;
        }
        long millis = Math.min(1_000, 10L << Math.min(failures, 10));
        millis = millis / 2 + ThreadLocalRandom.current().nextLong(millis / 2 + 1);
        awaitEndOfBackOff(TimeUnit.MILLISECONDS.toNanos(millis), ends);
    }

    /**
     * If an outage has no prober, because that one's permit has left circulation, a free permit takes its place. Without a
     * free permit the pool cannot see the end of the outage, so it forgets the outage; the next failed attempt begins another.
     */
    void probe() {
        if (!outage.isOn() || outage.hasProber()) return;
        PhysicalConnection idle = queue.tryTakeOrFill();
        if (idle != null) giveBack(idle);
        if (permitsInHand() > 0 || capacity.isWithholding()) return;
        outage.forget();
        lastFailure = null;
    }

    /** @param before how often they had ended when the calling thread last looked */
    private void awaitEndOfBackOff(long atMostNanos, long before) throws InterruptedException {
        long nanos = atMostNanos;
        backOffLock.lock();
        try {
            while (nanos > 0 && backOffsEnded.get() == before && !isClosed()) nanos = backOffEnds.awaitNanos(nanos);
        } finally {
            backOffLock.unlock();
        }
    }

    /** The database lets connections in again, or the pool is closed. */
    private void endBackOff() {
        backOffLock.lock();
        try {
            backOffsEnded.incrementAndGet();
            backOffEnds.signalAll();
        } finally {
            backOffLock.unlock();
        }
    }

    private @Nullable PhysicalConnection tryOpen(Permit permit) throws InterruptedException {
        connects.acquire();
        long startNanos = Clock.nanoTime();
        try {
            boolean othersProbe = outage.isOn() && !outage.isProber(permit); // an outage has begun meanwhile
            return othersProbe ? null : login();
        } catch (SQLException | RuntimeException | Error e) { // credentials and drivers are other people's code
            if (!isClosed()) openFailed(e, permit, startNanos);
            return null;
        } finally {
            connects.release();
        }
    }

    private void openFailed(Throwable failure, Permit permit, long startNanos) {
        OpenFailure before = lastFailure;
        var latest = new OpenFailure(failure, Clock.nanoTime());
        latestFailure = latest;
        if (!outage.hasSucceededSince(startNanos)) lastFailure = latest;
        boolean isFull = Failures.isState(failure, Failures.TOO_MANY_CONNECTIONS);
        boolean mayPass = Failures.mayPass(failure);
        boolean isNews = !mayPass && (before == null || Failures.mayPass(before.cause)); // an outage has its own line
        events.happened(new Event.OpenFailed(failure, isNews));
        if (isFull && withhold(permit)) return;
        if (mayPass) outage.begin(failure, startNanos);
        if (Failures.isState(failure, Failures.CANNOT_CONNECT_NOW)) {
            suspicion.raise("the server is starting up or shutting down", connections);
        }
        // A failure that stays is thrown at once, unless a lease can still end in favour of the waiting callers.
        if (connections.isEmpty() && (!mayPass || outage.isDeclared())) {
            queue.refuse(Reason.DATABASE_DOWN, mayPass ? Long.MAX_VALUE : startNanos);
        }
    }

    Outage outage() {
        return outage;
    }

    /** Whether callers are refused at once, because the outage has lasted too long and no connection is left. */
    boolean refusesCallers() {
        return dependsOnNewConnections() && outage.isDeclared();
    }

    /** Whether callers have nothing else to hope for than a connection that has yet to be opened. */
    boolean dependsOnNewConnections() {
        return connections.isEmpty() && !isSuspended();
    }

    private PhysicalConnection login() throws SQLException, InterruptedException {
        return login(connector.begin(null));
    }

    private PhysicalConnection login(Connector.Pending pending) throws SQLException {
        int current = generation.get();
        Connector.Opened opened = pending.await();
        try {
            return new PhysicalConnection(
                    new Session(opened, config),
                    Objects.requireNonNull(lender),
                    config.maxLifetime,
                    pending.beganNanos(),
                    Clock.nanoTime(),
                    current,
                    book.take());
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
            isAfterFailure &= !outage.end(); // whose end has a line of its own
            Session session = connection.session();
            events.happened(
                    new Event.Opened(session.backendPid(), connection.openingTook(), session.phases(), isAfterFailure));
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
