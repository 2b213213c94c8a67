package dev.nanopool;

import dev.nanopool.Permits.Permit;
import java.time.Duration;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * The time in which the database accepts no connection. It begins with the first attempt that fails for a reason which may pass,
 * and ends with the first attempt that succeeds. Callers wait through it until it is declared. From then on the pool refuses
 * them at once, while one permit goes on probing. Thread-safe, never blocks.
 */
final class Outage {
    private static final long FIRST_NANOS = Duration.ofSeconds(5).toNanos(); // in which the pool probes often
    private static final long LEAST_PAUSE_NANOS = Duration.ofMillis(10).toNanos();
    private static final long GRACE_NANOS = Duration.ofMillis(200).toNanos(); // in which an outage explains a loss

    private final List<ConnectionUrl.Host> hosts;
    private final long patienceNanos;
    private final Events events;
    private final Alarm alarm;
    private final AtomicReference<@Nullable Current> current = new AtomicReference<>();
    private volatile @Nullable Current past; // the latest outage that has ended
    private final AtomicReference<@Nullable Permit> prober = new AtomicReference<>();
    private final AtomicLong succeededNanos = new AtomicLong(); // when the latest attempt succeeded
    private final Queue<Warning> warnings = new ConcurrentLinkedQueue<>(); // that an outage may explain

    private record Warning(Event event, long nanos) {}

    private static final class Current {
        private final Throwable cause;
        private final long sinceNanos;
        private final AtomicLong refused = new AtomicLong();
        private final AtomicBoolean declared = new AtomicBoolean();
        private volatile long endedNanos;

        Current(Throwable cause, long sinceNanos) {
            this.cause = cause;
            this.sinceNanos = sinceNanos;
        }
    }

    Outage(PoolConfig config, Events events, Alarm alarm) {
        this.hosts = config.url.hosts;
        this.patienceNanos = config.outagePatience.toNanos();
        this.events = events;
        this.alarm = alarm;
    }

    // The beginning and the end

    /** Begins an outage, because an attempt that began at that time has failed for a reason that may pass. */
    void begin(Throwable cause, long sinceNanos) {
        if (hasSucceededSince(sinceNanos)) return;
        if (!current.compareAndSet(null, new Current(cause, sinceNanos))) return;
        warnings.clear();
        String at = hosts.stream().map(Object::toString).collect(Collectors.joining(", "));
        events.happened(new Event.OutageBegan(at, cause));
        alarm.ring(); // the housekeeper declares it in time
    }

    /** Whether an attempt has succeeded since then. If so, an attempt that began then and failed says nothing about now. */
    boolean hasSucceededSince(long nanos) {
        return nanos < succeededNanos.get();
    }

    /** Records that an attempt has succeeded. Answers whether it ended an outage. */
    boolean end() {
        succeededNanos.accumulateAndGet(Clock.nanoTime(), Math::max);
        Current ended = current.get();
        if (ended == null) return false;
        ended.endedNanos = Clock.nanoTime();
        past = ended; // THEN it is over, so that a refused caller finds it in one of the two fields
        if (!current.compareAndSet(ended, null)) return false;
        events.happened(new Event.OutageEnded(ended.cause, Clock.nanoTime() - ended.sinceNanos, ended.refused.get()));
        return true;
    }

    /** Forgets the outage, because no permit can probe, so that the pool cannot see its end. */
    void forget() {
        Current forgotten = current.getAndSet(null);
        if (forgotten == null) return;
        events.happened(new Event.OutageForgotten(
                forgotten.cause, Clock.nanoTime() - forgotten.sinceNanos, forgotten.refused.get()));
    }

    /** Whether there is no outage, and no warning that one may explain. */
    boolean isAtRest() {
        return !isOn() && warnings.isEmpty();
    }

    boolean isOn() {
        return current.get() != null;
    }

    /** How long the outage has lasted, in nanoseconds. -1 if there is none. */
    long nanos() {
        Current now = current.get();
        return now == null ? -1 : Clock.nanoTime() - now.sinceNanos;
    }

    /** As {@link #nanos}, for a refused caller that came at that time, because the outage may have ended meanwhile. */
    long nanosFor(long cameNanos) {
        long nanos = nanos(); // THEN read the past one
        Current ended = past;
        if (nanos >= 0 || ended == null || ended.endedNanos < cameNanos) return nanos;
        return ended.endedNanos - ended.sinceNanos;
    }

    // The patience

    /** Declares the outage, and reports that, if it has lasted for the patience. Answers whether it is declared. */
    boolean declareIfDue() {
        Current now = current.get();
        if (now == null || Clock.nanoTime() - now.sinceNanos < patienceNanos) return false;
        if (now.declared.compareAndSet(false, true)) {
            events.happened(new Event.OutageDeclared(now.cause, Clock.nanoTime() - now.sinceNanos));
        }
        return true;
    }

    /** When the outage will be declared. The end of time if there is none, or if it is declared. */
    long declaredNanos() {
        Current now = current.get();
        return now == null || now.declared.get() ? Long.MAX_VALUE : now.sinceNanos + patienceNanos;
    }

    /** Counts a caller that the pool refused because of the outage. */
    void refused() {
        Current now = current.get();
        if (now != null) now.refused.incrementAndGet();
    }

    // The probes

    /** Makes this permit the one that probes if no permit does. Answers whether this permit probes. */
    boolean tryProbe(Permit permit) {
        return prober.get() == permit || (prober.get() == null && prober.compareAndSet(null, permit));
    }

    boolean hasProber() {
        return prober.get() != null;
    }

    /** Ends the probing of that permit. Answers whether it was the one that probed. */
    boolean leaveProbing(Permit permit) {
        return prober.compareAndSet(permit, null);
    }

    /** How long the prober waits before it tries again, which is half of the outage's age, with jitter, and 10 ms or more. */
    long pauseNanos() {
        return pauseNanos(nanos(), ThreadLocalRandom.current().nextDouble());
    }

    static long pauseNanos(long ageNanos, double random) {
        long most = ageNanos < FIRST_NANOS ? TimeUnit.MILLISECONDS.toNanos(250) : TimeUnit.SECONDS.toNanos(1);
        long pause = Math.clamp(ageNanos / 2, LEAST_PAUSE_NANOS, most);
        return (long) (pause * (0.5 + 0.5 * random));
    }

    // The log

    /** Keeps a warning that an outage would explain, unless an outage is on. */
    void warn(Event event) {
        if (!isOn()) warnings.add(new Warning(event, Clock.nanoTime()));
    }

    /** Reports the warnings that no outage has explained. Answers when to check again. For the housekeeper. */
    long report(long nowNanos) {
        if (isOn()) warnings.clear(); // a warning may have come just when the outage began
        for (Warning next = warnings.peek(); next != null; next = warnings.peek()) {
            if (nowNanos - next.nanos < GRACE_NANOS) return next.nanos + GRACE_NANOS;
            if (warnings.remove(next)) events.happened(next.event);
        }
        return Long.MAX_VALUE;
    }
}
