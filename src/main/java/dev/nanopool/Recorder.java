package dev.nanopool;

import dev.nanopool.queue.LeaseQueue;
import java.time.Duration;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Supplier;
import jdk.jfr.Category;
import jdk.jfr.Description;
import jdk.jfr.FlightRecorder;
import jdk.jfr.FlightRecorderListener;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.Period;
import jdk.jfr.StackTrace;
import jdk.jfr.Threshold;
import jdk.jfr.Timespan;
import org.jspecify.annotations.Nullable;

/**
 * What Flight Recorder shows of a pool. Thread-safe, never blocks. No other class names {@code jdk.jfr}, whose module may be
 * missing: an application must start without it. No event has SQL text, a password or a URL.
 */
@SuppressWarnings("UnusedVariable") // Flight Recorder reads the fields of the events
final class Recorder implements Event.Sink {
    static final boolean IS_PRESENT = ModuleLayer.boot()
            .findModule("jdk.jfr")
            .filter(Recorder.class.getModule()::canRead)
            .isPresent();

    private static final Set<Supplier<PoolStats>> POOLS = ConcurrentHashMap.newKeySet();

    private final String pool;

    Recorder(String pool) {
        this.pool = pool;
    }

    // While no recording asks for an event, isEnabled() is an empty method that answers false, and the compiler removes
    // what depends on it. Before the first recording of the JVM, no class of an event is loaded, because the first one
    // costs a cold JVM 70 ms.

    private static boolean isOff() {
        return !IS_PRESENT || !FlightRecorder.isInitialized();
    }

    /** A caller begins to wait, in the line or for an idle connection to be validated. Null: it is not recorded. */
    static @Nullable Object waiting(LeaseQueue<?> queue, boolean isInLine) {
        if (isOff()) return null;
        var wait = new Acquire();
        if (!wait.isEnabled()) return null;
        wait.place = isInLine ? queue.pending() + 1 : 0;
        wait.begin();
        return wait;
    }

    /** A lease begins. Null: it is not recorded. */
    static @Nullable Object leasing() {
        if (isOff()) return null;
        var lease = new Held();
        if (!lease.isEnabled()) return null;
        lease.begin();
        return lease;
    }

    /** The pool's numbers are recorded from time to time, until {@link #forget}. */
    static void watch(Supplier<PoolStats> pool) {
        if (!IS_PRESENT) return;
        Hook.add(); // THEN the pool is watched, because this may throw, and then no pool is made
        POOLS.add(pool);
    }

    static void forget(Supplier<PoolStats> pool) {
        if (POOLS.remove(pool)) Hook.remove();
    }

    private static void recordPools() {
        for (Supplier<PoolStats> pool : POOLS) {
            PoolStats stats = pool.get();
            var event = new Numbers();
            event.pool = stats.name();
            event.size = stats.size();
            event.active = stats.active();
            event.idle = stats.idle();
            event.pending = stats.pending();
            event.opening = stats.opening();
            event.budget = stats.budget();
            event.budgetUsed = stats.budgetUsed();
            event.commit();
        }
    }

    @Override
    public void accept(Event happened) {
        if (isOff()) return;
        switch (happened) {
            case Event.Waited waited -> waited(waited);
            case Event.Held held -> held(held);
            case Event.Opened opened -> opened(opened);
            case Event.Closed closed -> closed(closed);
            case Event.Reset reset -> reset(reset);
            case Event.GivenUp it -> cancel(it.backendPid(), it.reason().toString(), it.took());
            case Event.Cancelled it -> cancel(it.backendPid(), "interrupted", it.took());
            case Event.Leaked leaked -> leaked(leaked);
            case Event.OutageEnded ended -> outage(ended.cause(), ended.nanos(), ended.refused());
            case Event.OutageForgotten forgotten -> outage(forgotten.cause(), forgotten.nanos(), forgotten.refused());
            default -> {} // not recorded
        }
    }

    private void waited(Event.Waited waited) {
        if (!(waited.recording() instanceof Acquire event) || !event.shouldCommit()) return;
        event.pool = pool;
        event.verdict = waited.verdict();
        event.commit();
    }

    private void held(Event.Held held) {
        if (!(held.recording() instanceof Held event) || !event.shouldCommit()) return;
        Thread owner = held.owner();
        event.pool = pool;
        event.backendPid = held.backendPid();
        event.holder = Stacks.name(owner);
        event.site = owner == Thread.currentThread() ? Stacks.callSite() : Stacks.site(List.of(owner.getStackTrace()));
        event.commit();
    }

    private void opened(Event.Opened opened) {
        var event = new Connect();
        if (!event.isEnabled()) return;
        Phases phases = opened.phases();
        event.pool = pool;
        event.backendPid = opened.backendPid();
        event.host = phases.host();
        event.took = opened.took().toNanos();
        event.tcp = phases.tcp().toNanos();
        event.tls = phases.tls().toNanos();
        event.login = phases.login().toNanos();
        event.initSql = phases.initSql().toNanos();
        event.commit();
    }

    private void closed(Event.Closed closed) {
        var event = new Close();
        if (!event.isEnabled()) return;
        event.pool = pool;
        event.backendPid = closed.backendPid();
        event.reason = closed.reason().toString();
        event.age = closed.age().toNanos();
        event.leases = closed.leases();
        event.commit();
    }

    private void reset(Event.Reset reset) {
        var event = new Reset();
        if (!event.isEnabled()) return;
        event.pool = pool;
        event.undone = reset.undone();
        event.took = reset.took().toNanos();
        event.commit();
    }

    private void cancel(int backendPid, String reason, Duration took) {
        var event = new Cancel();
        if (!event.isEnabled()) return;
        event.pool = pool;
        event.backendPid = backendPid;
        event.reason = reason;
        event.took = took.toNanos();
        event.commit();
    }

    private void leaked(Event.Leaked leaked) {
        var event = new Leak();
        if (!event.isEnabled()) return;
        event.pool = pool;
        event.holder = leaked.holder().thread();
        event.held = leaked.holder().heldFor().toNanos();
        event.site = Stacks.site(leaked.holder().stack());
        event.certain = leaked.isCertain();
        event.commit();
    }

    private void outage(Throwable cause, long nanos, long refused) {
        var event = new Outage();
        if (!event.isEnabled()) return;
        event.pool = pool;
        event.cause = Event.rootCause(cause);
        event.lasted = nanos;
        event.refused = refused;
        event.commit();
    }

    /** Asks Flight Recorder to call, from the first pool until the last one. Afterwards the JDK does not keep our classes. */
    private static final class Hook implements FlightRecorderListener {
        private static final ReentrantLock LOCK = new ReentrantLock();
        private static @Nullable Hook added; // under the lock
        private static int users; // under the lock

        private final Runnable recording = Recorder::recordPools;

        static void add() {
            LOCK.lock();
            try {
                if (added == null) {
                    var hook = new Hook();
                    // Nothing of Flight Recorder is started here; if it starts, recorderInitialized is called.
                    FlightRecorder.addListener(hook);
                    added = hook;
                }
                users++;
            } finally {
                LOCK.unlock();
            }
        }

        static void remove() {
            LOCK.lock();
            try {
                if (--users > 0 || added == null) return;
                FlightRecorder.removeListener(added);
                boolean unused = FlightRecorder.removePeriodicEvent(added.recording);
                added = null;
            } finally {
                LOCK.unlock();
            }
        }

        @Override
        public void recorderInitialized(FlightRecorder recorder) {
            FlightRecorder.addPeriodicEvent(Numbers.class, recording);
        }
    }

    // The events

    @Name("dev.nanopool.Acquire")
    @Label("Acquire")
    @Description("A caller waited for a connection; the duration is its wait")
    @Category("nanopool")
    @Threshold("10 ms")
    @StackTrace(false) // in an overload every caller waits for longer than the threshold
    private static final class Acquire extends jdk.jfr.Event {
        @Label("Pool")
        @Nullable
        String pool;

        @Label("Place in Line")
        int place;

        @Label("Verdict")
        @Description("Why the caller was refused; null if it got a connection")
        @Nullable
        String verdict;
    }

    @Name("dev.nanopool.Lease")
    @Label("Lease")
    @Description("A connection was leased; the duration is that of the lease")
    @Category("nanopool")
    @Threshold("1 s")
    private static final class Held extends jdk.jfr.Event {
        @Label("Pool")
        @Nullable
        String pool;

        @Label("Backend")
        int backendPid;

        @Label("Holder")
        @Description("The thread that leased the connection")
        @Nullable
        String holder;

        @Label("Site")
        @Description("Where the holder was when the lease ended")
        @Nullable
        String site;
    }

    @Name("dev.nanopool.Connect")
    @Label("Connect")
    @Description("A connection was opened")
    @Category("nanopool")
    @StackTrace(false)
    private static final class Connect extends jdk.jfr.Event {
        @Label("Pool")
        @Nullable
        String pool;

        @Label("Backend")
        int backendPid;

        @Label("Host")
        @Nullable
        String host;

        @Label("Time")
        @Description("From asking for the credentials to the end of initSql")
        @Timespan
        long took;

        @Label("TCP")
        @Timespan
        long tcp;

        @Label("TLS")
        @Description("The handshake; 0 without TLS")
        @Timespan
        long tls;

        @Label("Login")
        @Timespan
        long login;

        @Label("initSql")
        @Timespan
        long initSql;
    }

    @Name("dev.nanopool.Close")
    @Label("Close")
    @Description("A connection was closed")
    @Category("nanopool")
    @StackTrace(false)
    private static final class Close extends jdk.jfr.Event {
        @Label("Pool")
        @Nullable
        String pool;

        @Label("Backend")
        int backendPid;

        @Label("Reason")
        @Nullable
        String reason;

        @Label("Age")
        @Timespan
        long age;

        @Label("Leases")
        long leases;
    }

    @Name("dev.nanopool.Reset")
    @Label("Reset")
    @Description("What a lease had changed in its session was undone")
    @Category("nanopool")
    @StackTrace(false)
    private static final class Reset extends jdk.jfr.Event {
        @Label("Pool")
        @Nullable
        String pool;

        @Label("Undone")
        @Nullable
        String undone;

        @Label("Time")
        @Timespan
        long took;
    }

    @Name("dev.nanopool.Cancel")
    @Label("Cancel")
    @Description("The pool told the server to end a statement")
    @Category("nanopool")
    @StackTrace(false)
    private static final class Cancel extends jdk.jfr.Event {
        @Label("Pool")
        @Nullable
        String pool;

        @Label("Backend")
        int backendPid;

        @Label("Reason")
        @Description("Why the connection is closed; \"interrupted\" if it stays")
        @Nullable
        String reason;

        @Label("Time")
        @Timespan
        long took;
    }

    @Name("dev.nanopool.Leak")
    @Label("Leak")
    @Description("A client was not closed")
    @Category("nanopool")
    @StackTrace(false)
    private static final class Leak extends jdk.jfr.Event {
        @Label("Pool")
        @Nullable
        String pool;

        @Label("Holder")
        @Description("The thread that leased the connection")
        @Nullable
        String holder;

        @Label("Held For")
        @Timespan
        long held;

        @Label("Site")
        @Description("Where the lease began, with leakThreshold; else where its thread is")
        @Nullable
        String site;

        @Label("Certain")
        @Description("No thread can reach the client")
        boolean certain;
    }

    @Name("dev.nanopool.Outage")
    @Label("Outage")
    @Description("The database let no connection in; recorded at the end")
    @Category("nanopool")
    @StackTrace(false)
    private static final class Outage extends jdk.jfr.Event {
        @Label("Pool")
        @Nullable
        String pool;

        @Label("Cause")
        @Nullable
        String cause;

        @Label("Lasted")
        @Timespan
        long lasted;

        @Label("Refused Callers")
        long refused;
    }

    @Name("dev.nanopool.Pool")
    @Label("Pool")
    @Description("What a pool holds")
    @Category("nanopool")
    @Period("5 s")
    @StackTrace(false)
    private static final class Numbers extends jdk.jfr.Event {
        @Label("Pool")
        @Nullable
        String pool;

        @Label("Size")
        int size;

        @Label("Active")
        int active;

        @Label("Idle")
        int idle;

        @Label("Pending")
        int pending;

        @Label("Opening")
        int opening;

        @Label("Budget")
        @Description("How many connections the pools of its budget may have together; 0 if there is none")
        int budget;

        @Label("Budget Used")
        @Description("How many they have")
        int budgetUsed;
    }
}
