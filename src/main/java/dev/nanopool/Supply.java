package dev.nanopool;

import dev.nanopool.Fate.Fact;
import dev.nanopool.Permits.Permit;
import dev.nanopool.driver.PeekableSocket;
import dev.nanopool.queue.Arrivals;
import dev.nanopool.queue.LeaseQueue;
import dev.nanopool.queue.RefusedException.Reason;
import dev.nanopool.queue.StackReserve;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Comparator;
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
import org.jspecify.annotations.Nullable;

/**
 * Opens, closes and replaces connections, and says how many there may be. Thread-safe. Blocks only in {@link #start},
 * {@link #awaitClosed} and on threads of its own.
 */
final class Supply {
    private static final Duration PATIENCE_WITH_CREDENTIALS = Duration.ofMillis(500);
    private static final long CANCEL_NANOS = Duration.ofMillis(500).toNanos();
    private static final long WHILE_OTHERS_PROBE_NANOS = Duration.ofSeconds(1).toNanos(); // then a permit checks again

    // A thread without a connection holds a Permit object. An open connection carries its permit. A permit moves on
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
    private final OpenFailures openFailures;
    private final @Nullable SharedSessions shared; // behind a transaction pooler
    private final Ledger.Book book = new Ledger.Book();
    private final Set<PhysicalConnection> connections = ConcurrentHashMap.newKeySet(1); // small at first
    private final Capacity capacity;
    private final Permits permits = new Permits();
    private final @Nullable Share share; // in a budget
    private final Semaphore connects; // how many attempts run at the same time
    private final AtomicInteger opening = new AtomicInteger(); // threads in fill(), including those that back off
    private final AtomicLong removed = new AtomicLong(); // how many connections have been closed
    private final AtomicInteger generation = new AtomicInteger();
    private final AtomicReference<@Nullable PhysicalConnection> rotating = new AtomicReference<>();
    private final AtomicReference<CountDownLatch> backOffEnds =
            new AtomicReference<>(new CountDownLatch(1)); // of the present pauses
    private final CountDownLatch closed = new CountDownLatch(1); // open until no permit is left and no socket is open
    private volatile @Nullable Lender<PhysicalConnection> lender; // written before the first connection is opened

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
        this.openFailures = new OpenFailures(outage);
        this.shared = config.pooler == Pooler.TRANSACTION ? new SharedSessions(events) : null;
        this.connects = new Semaphore(config.connectParallelism);
        this.capacity = new Capacity(config.size);
        this.queue = new LeaseQueue<>(config.size, config.maxWaiters, Clock::nanoTime, new Demand());
        this.share = config.budget == null ? null : new Share(config.budget, config, new Sharing(new Arrivals(queue)));
    }

    /** When a thread that has a permit opens a connection. */
    private enum Need {
        /** While a caller waits, or fewer than {@code minIdle} are open. */
        IF_WANTED,
        /** The same, but one attempt in any case, for a caller that did not wait and may come again. */
        ONE_ATTEMPT
    }

    /** What the queue asks of the pool. */
    private final class Demand implements LeaseQueue.Owner {
        @Override
        public void fillForWaiter() {
            startFilling(Need.IF_WANTED);
        }

        @Override
        public void fillForLater() {
            startFilling(Need.ONE_ATTEMPT);
        }

        @Override
        public void wake() {
            alarm.ring();
        }

        @Override
        public int hopeful() {
            return isSuspended() || opening() > 0 || outage.isOn() ? Integer.MAX_VALUE : size();
        }
    }

    /** What the budget asks of the pool. */
    private final class Sharing implements Share.Owner {
        private final Arrivals arrivals;

        Sharing(Arrivals arrivals) {
            this.arrivals = arrivals;
        }

        @Override
        public long arrivalNanos(int ahead) {
            return arrivals.nanos(ahead);
        }

        @Override
        public int mostOpening() {
            if (isClosed() || isSuspended()) return 0;
            return outage.isOn() ? 1 : config.connectParallelism;
        }

        @Override
        public boolean hasTooManyPermits() {
            return capacity.hasSurplusWithoutConnection();
        }

        @Override
        public boolean isBelowMinIdle() {
            return connections.size() + opening() < minIdle();
        }

        @Override
        public boolean isAboveMinIdle() {
            int open = 0;
            for (PhysicalConnection connection : connections) {
                if (connection.state() != PhysicalConnection.State.CLOSING) open++;
            }
            return open > minIdle();
        }

        @Override
        public long idleNanos() {
            long longest = Budget.NO_CLAIM;
            for (PhysicalConnection connection : connections) {
                if (connection.state() == PhysicalConnection.State.IDLE)
                    longest = Math.min(longest, connection.idleNanos());
            }
            return longest;
        }

        @Override
        public boolean giveIdle() {
            return discardLongestIdle(Objects.requireNonNull(share));
        }

        @Override
        public void open(Permit permit) {
            startFilling(permit, Need.IF_WANTED);
        }

        @Override
        public void giveUp(Permit permit) {
            if (!withdraw(permit)) release(permit);
        }
    }

    /** The share in the budget; null if the pool has none. */
    @Nullable
    Share share() {
        return share;
    }

    /** Gets the permit its unit of the budget, if the pool has one. Blocks for {@code connectTimeout} at most. */
    private void awaitUnit(Permit permit) throws SQLException, InterruptedException {
        if (share != null) share.await(permit, Clock.nanoTime() + config.connectTimeout.toNanos());
    }

    private void releaseUnit(Permit permit) {
        if (share != null) share.release(permit);
    }

    /** Uses the permit, and frees its unit of the budget. */
    private void use(Permit permit) {
        permits.use(permit);
        releaseUnit(permit);
    }

    /** Closes the connection that has been idle longest, for a caller of another pool. False if no connection is idle. */
    private boolean discardLongestIdle(Share from) {
        var idle = new ArrayDeque<PhysicalConnection>(size() + 1);
        try {
            for (PhysicalConnection next = queue.takeIdle(); next != null; next = queue.takeIdle()) {
                idle.add(next);
                if (idle.size() > size()) break; // leases come and go
            }
            PhysicalConnection longest = idle.stream()
                    .min(Comparator.comparingLong(PhysicalConnection::idleNanos))
                    .orElse(null);
            if (longest == null) return false;
            idle.remove(longest);
            boolean passedOn = false;
            from.giving();
            try {
                discard(longest, Fact.BUDGET);
                passedOn = true;
            } finally {
                if (!passedOn && longest.state() != PhysicalConnection.State.CLOSING) from.notGiving();
                if (!passedOn) longest.abandoned = true;
            }
            return true;
        } finally {
            requeueAll(idle);
        }
    }

    LeaseQueue<PhysicalConnection> queue() {
        return queue;
    }

    /** All open connections, including the leased ones. */
    Set<PhysicalConnection> connections() {
        return connections;
    }

    Ledger.Book book() {
        return book;
    }

    /** Whether no caller waits, all permits are there, no thread has one in hand, and there is no trouble. */
    boolean isQuiet() {
        return queue.pending() == 0 && permits.isEmpty() && capacity.isAtRest() && outage.isAtRest();
    }

    /** Whether there is nothing to look after: no connection, and no missing permit. */
    boolean isEmpty() {
        return connections.isEmpty() && queue.free() == expectedPermits();
    }

    int size() {
        return capacity.size();
    }

    /** How many connections stay open though no caller uses them. */
    int minIdle() {
        return Math.min(config.minIdle, size());
    }

    /** How many connections there may be now. The number is below the size while the server accepts no more. */
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

    OpenFailures openFailures() {
        return openFailures;
    }

    // The start

    /**
     * Opens {@code minIdle} connections. The first attempt runs alone, because if it fails, so would the others. Then all
     * others follow, {@code connectParallelism} at a time. If the server is full, the pool starts with the connections that it
     * has.
     *
     * @param awaitsAll whether to block until all are open or one has failed; else the first one decides, and the others open
     *     as in a running pool, unless only the calling thread can get the credentials
     * @throws SQLException the first failure
     */
    void start(Lender<PhysicalConnection> lends, boolean awaitsAll) throws SQLException, InterruptedException {
        lender = lends;
        if (config.lazy) connector.check();
        if (share != null) share.join();
        List<Permit> toOpen = new ArrayList<>();
        // Only this thread and the threads that connect, which are platform threads, run the user's code. This thread
        // may initialise a class. Virtual threads that wait for that class would pin all carriers.
        try {
            for (int i = 0; i < config.size && capacity.add(); i++) {
                Permit permit = permits.hold();
                if (i < config.minIdle) {
                    toOpen.add(permit);
                } else {
                    try (permit) {
                        release(permit);
                    }
                }
            }
            if (toOpen.isEmpty()) return;
            Credentials credentials = openFirst(toOpen.removeFirst());
            if (awaitsAll || credentials != null) openRest(toOpen, credentials);
            else while (!toOpen.isEmpty()) startFilling(toOpen.removeFirst(), Need.IF_WANTED);
        } finally {
            for (Permit permit : toOpen) release(permit);
        }
    }

    /** Opens the first connection. Returns the credentials if this thread had to ask for them. */
    private @Nullable Credentials openFirst(Permit permit) throws SQLException, InterruptedException {
        Connector.Pending first = null;
        opening.incrementAndGet();
        try {
            awaitUnit(permit);
            first = connector.begin(null);
            Credentials credentials = null;
            if (first.detectHoldUp(PATIENCE_WITH_CREDENTIALS)) {
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
        opening.incrementAndGet(); // so that the housekeeper readmits no permit meanwhile
        try {
            while (!permits.isEmpty()) {
                while (underWay.size() < Math.min(config.connectParallelism, permits.size())) {
                    awaitUnit(permits.get(underWay.size()));
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
        alarm.ringIfQuiet(); // what is left is done within a second
    }

    void suspend() {
        capacity.suspend();
        adjust();
        alarm.ringIfQuiet(); // as above
    }

    void resume() {
        capacity.resume();
        adjust();
        alarm.ringIfQuiet(); // as above
    }

    void close() {
        capacity.close();
        endBackOff();
        adjust();
        countDownIfClosed();
    }

    /** Waits until all sockets are closed. Answers whether they are. */
    boolean awaitClosed(long nanos) throws InterruptedException {
        return closed.await(nanos, TimeUnit.NANOSECONDS);
    }

    private void countDownIfClosed() {
        if (isClosed() && capacity.expected() == 0) closed.countDown();
    }

    /** Replaces every connection that is open now, when it is idle or its lease has ended. */
    void refresh() {
        generation.incrementAndGet();
        alarm.ringForSweep();
    }

    /**
     * Brings as many permits into or out of circulation as possible at once. The rest follows when leases end. The housekeeper
     * calls this once a second, too, because a free permit may have been in a thread's hand for a moment.
     */
    void adjust() {
        var passed = new ArrayDeque<PhysicalConnection>();
        try {
            boolean isFree = true;
            while (isFree && (capacity.hasSurplus() || capacity.hasSurplusWithoutConnection()))
                isFree = withdrawOne(passed);
        } finally {
            requeueAll(passed);
        }
        if (share != null) share.reconsider(Clock.nanoTime());
        boolean isMissing = true;
        while (isMissing) isMissing = addPermit();
    }

    /**
     * Takes one free permit out of circulation, and closes the idle connection that belongs to it. The queue hands out the idle
     * connections first. A connection that stays goes to {@code passed}. False if no permit is free.
     */
    private boolean withdrawOne(Deque<PhysicalConnection> passed) {
        try (Permit permit = permits.hold()) {
            var idle = new AtomicReference<@Nullable PhysicalConnection>();
            boolean isFree = withdraw(permit, idle);
            PhysicalConnection connection = idle.get();
            if (isFree && connection == null) {
                if (!withdraw(permit)) release(permit);
                return true;
            }
            use(permit); // the permit stood for nothing, or the connection has it
            if (connection != null) discardOrPass(connection, passed);
            return connection != null;
        }
    }

    private void discardOrPass(PhysicalConnection connection, Deque<PhysicalConnection> passed) {
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

    /** Requeues all of them. If this throws, it has abandoned those that are left. */
    void requeueAll(Deque<PhysicalConnection> inHand) {
        try {
            for (PhysicalConnection next = inHand.poll(); next != null; next = inHand.poll()) requeueOrAbandon(next);
        } finally {
            for (PhysicalConnection left : inHand) left.abandoned = true;
        }
    }

    private void requeueOrAbandon(PhysicalConnection connection) {
        boolean passedOn = false;
        try {
            requeue(connection);
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
            if (!isDone) use(permit); // the queue has kept its permit, so this one stands for nothing
        }
    }

    /** Brings one more permit into circulation, and opens a connection if one is wanted. False if no permit is missing. */
    private boolean addPermit() {
        Permit permit = permits.hold();
        boolean isAdded = capacity.add();
        if (isAdded) startFilling(permit, Need.IF_WANTED);
        else use(permit);
        return isAdded;
    }

    /** Takes the permit out of circulation if there are too many permits. */
    private boolean withdraw(Permit permit) {
        boolean isWithdrawn = capacity.withdraw();
        if (isWithdrawn) {
            use(permit);
            countDownIfClosed();
        }
        return isWithdrawn;
    }

    /** Withholds the permit, because the server refused a connection, unless it is the only one. Answers whether it did. */
    private boolean withhold(Permit permit) {
        boolean isFirst = !capacity.isWithholding();
        boolean isWithheld = capacity.withhold();
        if (isWithheld) {
            use(permit);
            events.happened(new Event.Withheld(capacity.effectiveSize(), size(), isFirst));
        }
        return isWithheld;
    }

    /** Tries whether the server accepts one more connection, if it refused some. The housekeeper calls it once a second. */
    void readmit() {
        if (!capacity.isWithholding() || opening() > 0) return;
        Permit permit = permits.hold();
        if (capacity.readmit()) startFilling(permit, Need.IF_WANTED);
        else use(permit);
    }

    // Connections in hand

    /** The {@linkplain Fact#bit facts} about a connection in hand that follow from the pool's numbers. */
    int facts(PhysicalConnection connection) {
        int facts = capacity.hasSurplus() ? capacity.surplus().bit() : 0;
        if (share != null && share.isWantedElsewhere()) facts |= Fact.BUDGET.bit();
        if (connection.isRetired()) facts |= Fact.RETIRED.bit();
        if (connection.generation() != generation.get()) {
            if (rotating.get() == null) facts |= Fact.OUTDATED.bit();
        } else if (connection.expiresNanos() <= clock.coarseNanos()) {
            if (rotating.get() == null && isExpired(connection)) facts |= Fact.EXPIRED.bit();
        }
        return facts;
    }

    /**
     * Whether the connection is too old. Before it has reached its full lifetime, the pool replaces it only when no caller waits.
     * The pool never replaces it while the database accepts no connection, because an old connection is better than none.
     */
    private boolean isExpired(PhysicalConnection connection) {
        return openFailures.last() == null
                && (queue.pending() == 0
                        || connection.openedNanos() + config.maxLifetime.toNanos() <= clock.coarseNanos());
    }

    /** Claims this connection for closing, among all to which the reason applies. False if the reason needs no more of them. */
    boolean claim(PhysicalConnection connection, Fact why) {
        return switch (why) {
            case POOL_CLOSED, SUSPENDED, SURPLUS -> capacity.claim();
            case BUDGET -> share != null && share.claimGiving();
            case OUTDATED, EXPIRED -> rotating.compareAndSet(null, connection); // the pool replaces one at a time
            default -> true;
        };
    }

    /** Requeues a connection, or hands it to a waiting caller. If this throws, the caller still has the connection. */
    void requeue(PhysicalConnection connection) {
        if (share != null) StackReserve.require(); // for what follows
        queue.give(connection); // nothing that can fail may follow, because the caller has the connection no longer
        if (share != null) share.returned();
    }

    /**
     * Discards a claimed connection. A thread of the pool closes it, and then uses its permit again or takes it out of
     * circulation. If this throws, the caller still has the connection.
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
        boolean isReused = false;
        try {
            try {
                if (connection.session().close(connection.closeReason())) cancel(connection);
            } catch (SQLException | RuntimeException | Error e) {
                events.happened(new Event.ClosingFailed(e));
                connection.session().abort(new SQLException("closing failed", Failures.CONNECTION_EXCEPTION, e));
            }
            reusePermit(connection);
            isReused = true;
        } finally {
            if (!isReused) connection.abandoned = true;
        }
    }

    /** Sends a cancel, and waits for it for a moment only, because the server may be out of reach. */
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

    /** After the socket is closed, the permit leaves circulation with the connection, or gets another connection. */
    private void reusePermit(PhysicalConnection connection) {
        try (Permit permit = permits.hold()) {
            connection.closingToClosed();
            boolean isKnown = connections.remove(connection); // else the audit has given it up
            removed.incrementAndGet(); // THEN the permit may open another one
            if (share != null && isKnown) share.closed(permit, connection.closeReason() == CloseReason.BUDGET);
            if (!connection.isLeaving()) capacity.empty();
            events.happened(closed(connection, connection.closeReason()));
            book.release(connection.ledger());
            if (connection.isLeaving()) {
                use(permit);
                capacity.left();
                countDownIfClosed();
                adjust();
            } else {
                fill(permit, Need.IF_WANTED);
            }
        } finally {
            if (rotating.compareAndSet(connection, null)) alarm.ringForSweep();
        }
    }

    // Permits in hand

    private void release(Permit permit) {
        queue.release(); // THEN it is no longer in hand, because this may throw
        use(permit);
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

    /** Gives up a connection that the pool has lost. Closes its socket, and counts it no longer. */
    void forget(PhysicalConnection connection) {
        Session session = connection.session();
        session.abort(new SQLException("the pool has lost track of this connection", Failures.CONNECTION_EXCEPTION));
        boolean isKnown = connections.remove(connection);
        if (share != null && isKnown) share.forgotten();
        capacity.empty();
        events.happened(closed(connection, CloseReason.LOST));
    }

    private static Event.Closed closed(PhysicalConnection connection, CloseReason reason) {
        Session session = connection.session();
        var age = Duration.ofNanos(Clock.nanoTime() - connection.openedNanos());
        return new Event.Closed(session.backendPid(), reason, age, connection.leases(), session.failure());
    }

    /** Makes missing permits anew, or lets surplus permits leave. */
    void correct(int missing) {
        for (int i = 0; i < missing; i++) queue.release();
        if (missing < 0) capacity.admitSurplus(-missing);
        adjust();
    }

    /** Continues what threads of the pool have abandoned. For the housekeeper. */
    void recover() {
        permits.recover(permit -> startFilling(permit, Need.IF_WANTED));
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

    /** As {@link #startFilling(Permit, Need)} for a permit of the queue, which keeps it if this throws. */
    private void startFilling(Need need) {
        Permit permit = permits.hold();
        boolean started = false;
        try {
            threads.start("open", () -> fill(permit, need));
            started = true;
        } finally {
            if (!started) use(permit);
        }
    }

    /** Starts a thread that opens a connection for the permit, if one is wanted. */
    private void startFilling(Permit permit, Need need) {
        boolean started = false;
        try {
            threads.start("open", () -> fill(permit, need));
            started = true;
        } finally {
            if (!started) permit.abandon();
        }
    }

    /** Opens a connection for the permit as long as one is wanted, but makes one attempt in any case if the need says so. */
    private void fill(Permit permit, Need need) {
        permit.takeInHand();
        try (permit) {
            opening.incrementAndGet();
            PhysicalConnection connection = null;
            boolean isStarved = false; // the budget is used up
            try {
                int failures = 0;
                CountDownLatch ends = backOffEnds.get(); // THEN look whether an outage is on
                while (connection == null && !isStarved) {
                    if (failures > 0) backOff(permit, failures - 1, ends);
                    if (withdraw(permit)) return;
                    ends = backOffEnds.get();
                    boolean isProber = outage.isOn() && outage.tryProbe(permit);
                    if (!isProber && !isWanted() && (failures > 0 || need == Need.IF_WANTED)) {
                        release(permit);
                        return;
                    }
                    if (outage.isOn() && !isProber) {
                        releaseUnit(permit);
                        awaitEndOfBackOff(WHILE_OTHERS_PROBE_NANOS, ends);
                        continue;
                    }
                    if (share != null && !share.acquire(permit)) {
                        isStarved = isWanted();
                        if (isStarved) continue;
                        release(permit);
                        return;
                    }
                    connection = tryOpen(permit);
                    failures++;
                    if (permit.isUsed()) return; // the permit is withheld
                    if (connection == null) releaseUnit(permit);
                }
            } catch (InterruptedException e) {
                throw new IllegalStateException("bug: a thread of the pool was interrupted", e);
            } finally {
                opening.decrementAndGet(); // before it counts as open, else others would find enough of them
                // Another permit probes. If this one has a connection, nothing that may fail comes before `admit`.
                if (outage.leaveProbing(permit) && outage.isOn() && connection == null) endBackOff();
            }
            if (connection == null) {
                Objects.requireNonNull(share).park(permit);
                return;
            }
            admit(connection, permit);
            if (capacity.hasSurplus()) adjust(); // the target fell while the connection was being opened
            endBackOff();
        }
    }

    /**
     * Whether a caller waits, or fewer other connections than {@code minIdle} are open or being opened. A connection that is
     * closed and opened again between the two readings would count twice, so then the method reads again.
     */
    private boolean isWanted() {
        if (queue.pending() > 0) return true;
        long before;
        int supplied;
        do {
            before = removed.get();
            // In the reverse order, a connection that has just been opened would count twice.
            supplied = connections.size() + opening();
        } while (removed.get() != before);
        return supplied <= minIdle();
    }

    /**
     * Waits after a failed attempt. In an outage the permit that probes waits as long as the age of the outage says. Otherwise
     * the thread waits for 5 to 10 ms after the first failure, and for up to 1 s later. After the pool is closed it does not
     * wait.
     */
    private void backOff(Permit permit, int failures, CountDownLatch ends) throws InterruptedException {
        if (outage.isOn()) {
            if (outage.tryProbe(permit)) awaitEndOfBackOff(outage.pauseNanos(), ends);
            return;
        }
        long millis = Math.min(1_000, 10L << Math.min(failures, 10));
        millis = millis / 2 + ThreadLocalRandom.current().nextLong(millis / 2 + 1);
        awaitEndOfBackOff(TimeUnit.MILLISECONDS.toNanos(millis), ends);
    }

    /**
     * Finds a prober for an outage that has none, because the prober's permit has left circulation. A free permit takes its
     * place. Without a free permit the pool cannot see the end of the outage, so it forgets the outage. The next failed attempt
     * begins another one.
     */
    void probe() {
        if (!outage.isOn() || outage.hasProber()) return;
        PhysicalConnection idle = queue.tryTakeOrFill();
        if (idle != null) requeueOrAbandon(idle);
        if (permitsInHand() > 0 || capacity.isWithholding()) return;
        outage.forget();
        openFailures.forget();
    }

    /** @param ends of the pauses, from the last check of the calling thread */
    private void awaitEndOfBackOff(long atMostNanos, CountDownLatch ends) throws InterruptedException {
        if (isClosed()) return;
        boolean unused = ends.await(atMostNanos, TimeUnit.NANOSECONDS);
    }

    /** Ends all pauses, because the database accepts connections again or the pool is closed. */
    private void endBackOff() {
        backOffEnds.getAndSet(new CountDownLatch(1)).countDown();
    }

    private @Nullable PhysicalConnection tryOpen(Permit permit) throws InterruptedException {
        connects.acquire();
        long startNanos = Clock.nanoTime();
        try {
            boolean othersProbe = outage.isOn() && !outage.tryProbe(permit); // an outage may have begun meanwhile
            return othersProbe ? null : login();
        } catch (SQLException | RuntimeException | Error e) { // the supplier and the driver may throw anything
            if (!isClosed()) openFailed(e, permit, startNanos);
            return null;
        } finally {
            connects.release();
        }
    }

    private void openFailed(Throwable failure, Permit permit, long startNanos) {
        boolean isNews = openFailures.failed(failure, startNanos);
        boolean isFull = Failures.isState(failure, Failures.TOO_MANY_CONNECTIONS);
        boolean mayPass = Failures.mayPass(failure);
        events.happened(new Event.OpenFailed(failure, isNews));
        if (isFull && withhold(permit)) return;
        if (mayPass) outage.begin(failure, startNanos);
        if (Failures.isState(failure, Failures.CANNOT_CONNECT_NOW)) {
            suspicion.raise("the server is starting up or shutting down", connections);
        }
        // The pool throws a lasting failure at once, unless the end of a lease can still serve the waiting callers.
        if (connections.isEmpty() && (!mayPass || outage.declareIfDue())) {
            queue.refuse(Reason.DATABASE_DOWN, mayPass ? Long.MAX_VALUE : startNanos);
        }
    }

    Outage outage() {
        return outage;
    }

    /**
     * Declares the outage if it has lasted for the patience and no connection is left. Answers whether callers are refused at
     * once.
     */
    boolean declareOutageIfDue() {
        return dependsOnNewConnections() && outage.declareIfDue();
    }

    /** Whether only a connection that is still to be opened can serve the callers. */
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
            var session = new Session(opened, config);
            if (shared != null) session.state().reportTo(shared);
            var connection = new PhysicalConnection(
                    session,
                    Objects.requireNonNull(lender),
                    config.maxLifetime,
                    pending.beganNanos(),
                    Clock.nanoTime(),
                    current,
                    book.take());
            PeekableSocket socket = opened.socket();
            if (socket != null) {
                socket.interrupts(new Interruption(connection, threads, events, config.cancelPatience));
            }
            return connection;
        } catch (SQLException | RuntimeException | Error e) {
            opened.abortAfter(e); // no other thread knows of it
            throw e;
        }
    }

    /** Takes the open connection into the pool. The connection takes the permit over. */
    private void admit(PhysicalConnection connection, Permit permit) {
        boolean admitted = false;
        try {
            boolean isAfterFailure = openFailures.succeeded();
            Session session = connection.session();
            Phases phases = Objects.requireNonNull(session.phases(), "a new session was at rest");
            events.happened(new Event.Opened(session.backendPid(), connection.openingTook(), phases, isAfterFailure));
            connections.add(connection);
            capacity.fill();
            if (share != null) share.opened(permit, connection.openingTook().toNanos());
            use(permit);
            admitted = true;
        } finally {
            if (!admitted)
                connection
                        .session()
                        .abort(new SQLException("the pool could not take it over", Failures.CONNECTION_EXCEPTION));
        }
        connection.openingToIdle();
        requeueOrAbandon(connection);
    }
}
