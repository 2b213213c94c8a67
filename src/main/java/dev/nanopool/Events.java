package dev.nanopool;

import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Consumer;

/**
 * The one funnel for what happens in a pool. Each event goes to the counters, Flight Recorder, the log and the listener, in this
 * order. What a log handler or a listener throws ends here, because the caller may be between a permit and its connection.
 * The clock only counts, and another thread tells the others, because a log handler or a listener may block. Thread-safe.
 */
final class Events {
    private static final int MOST_DEFERRED = 1_000;
    private static final Logger STATISTICS = System.getLogger("dev.nanopool.statistics");

    private final String pool;
    private final Logger logger;
    private final Counters counters = new Counters();
    private final List<Event.Sink> sinks; // besides the counters
    private final AtomicLong sinksFailed = new AtomicLong();
    private final Queue<Event> deferred = new ConcurrentLinkedQueue<>(); // of the clock
    private final AtomicBoolean isTelling = new AtomicBoolean(); // a thread tells the deferred events
    private volatile Consumer<Runnable> starter = Runnable::run;

    Events(String pool, PoolListener listener) {
        this(pool, listener, System.getLogger("dev.nanopool"));
    }

    Events(String pool, PoolListener listener, Logger logger) {
        this.pool = pool;
        this.logger = logger;
        Event.Sink recorder = Recorder.IS_PRESENT ? new Recorder(pool) : event -> {};
        this.sinks = List.of(recorder, this::log, event -> tell(event, listener));
    }

    /** Sets what starts a thread for the events of the clock. */
    void startsBy(Consumer<Runnable> threads) {
        starter = threads;
    }

    Counters counters() {
        return counters;
    }

    /** Whether the log takes lines of that level. */
    boolean isLogged(Level level) {
        try {
            return logger.isLoggable(level);
        } catch (Throwable e) {
            sinkFailed(e);
            return false;
        }
    }

    /** Whether the log wants the pool's numbers from time to time: the logger of their own has its level at DEBUG. */
    boolean wantsNumbers() {
        try {
            return STATISTICS.isLoggable(Level.DEBUG);
        } catch (Throwable e) {
            sinkFailed(e);
            return false;
        }
    }

    /** Hands the event to all sinks. Throws nothing that a sink throws. */
    void happened(Event event) {
        tell(event, counters);
        if (JvmClock.isCurrent()) defer(event);
        else sinks.forEach(sink -> tell(event, sink));
    }

    private void defer(Event event) {
        if (deferred.size() >= MOST_DEFERRED) {
            sinksFailed.incrementAndGet(); // they have been hanging for long
            return;
        }
        deferred.add(event);
        tellDeferred();
    }

    private void tell(Event event, Event.Sink sink) {
        try {
            sink.accept(event);
        } catch (Throwable e) {
            sinkFailed(e);
        }
    }

    boolean isAtRest() {
        return deferred.isEmpty();
    }

    /** Starts a thread that tells the events of the clock if there are any. If this fails, the next call does it. */
    void tellDeferred() {
        if (deferred.isEmpty() || !isTelling.compareAndSet(false, true)) return;
        boolean started = false;
        try {
            starter.accept(this::tellAllDeferred);
            started = true;
        } finally {
            if (!started) isTelling.set(false);
        }
    }

    private void tellAllDeferred() {
        try {
            for (Event next = deferred.poll(); next != null; next = deferred.poll()) {
                Event event = next;
                sinks.forEach(sink -> tell(event, sink));
            }
        } finally {
            isTelling.set(false); // THEN look again, because the clock may have seen it set
        }
        tellDeferred();
    }

    private void sinkFailed(Throwable failure) {
        sinksFailed.incrementAndGet();
        try {
            logger.log(Level.WARNING, () -> pool + ": the listener failed", failure);
        } catch (Throwable e) {
            sinksFailed.incrementAndGet(); // the log fails, too, so only the count can show it
        }
    }

    private void log(Event event) {
        Level level = event.level();
        Logger to = event instanceof Event.Numbers ? STATISTICS : logger;
        if (level == Level.OFF || !to.isLoggable(level)) return;
        Throwable stack = event.stack();
        if (stack == null) to.log(level, pool + ": " + event.line());
        else to.log(level, pool + ": " + event.line(), stack);
    }

    private void tell(Event event, PoolListener listener) {
        switch (event) {
            case Event.Opened opened -> listener.opened(pool, opened.backendPid(), opened.took());
            case Event.OpenFailed failed -> listener.openFailed(pool, failed.cause());
            case Event.Closed closed -> {
                try {
                    if (closed.reason() == CloseReason.LOST) listener.lost(pool, closed.backendPid(), closed.cause());
                } finally {
                    listener.closed(pool, closed.backendPid(), closed.reason());
                }
            }
            case Event.Cancelled cancelled -> listener.cancelled(pool, cancelled.backendPid());
            case Event.Leaked leaked -> listener.leaked(pool, leaked.holder(), leaked.isCertain());
            case Event.TransactionLeftOpen left -> {
                if (left.isReported()) listener.transactionLeftOpen(pool, left.site(), left.sql());
            }
            case Event.Exhausted exhausted -> listener.exhausted(pool, exhausted.exception());
            default -> {} // the listener does not receive the others
        }
    }
}
