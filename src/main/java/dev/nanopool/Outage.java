package dev.nanopool;

import dev.nanopool.Permits.Permit;
import java.time.Duration;
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
 * The time in which the database lets no connection in. It begins with the first attempt that fails for a reason which may
 * pass, and ends with the first attempt that succeeds. Callers wait through it until it is declared. From then on the pool
 * refuses them at once, while one permit goes on probing. Thread-safe, never blocks.
 */
final class Outage {
    private static final long FIRST_NANOS = Duration.ofSeconds(5).toNanos(); // in which the pool probes often
    private static final long LEAST_PAUSE_NANOS = Duration.ofMillis(10).toNanos();
    private static final long GRACE_NANOS = Duration.ofMillis(200).toNanos(); // in which an outage explains a loss

    private final String hosts;
    private final long patienceNanos;
    private final Events events;
    private final Alarm alarm;
    private final AtomicReference<@Nullable Current> current = new AtomicReference<>();
    private volatile @Nullable Current past; // the latest that has ended
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
        this.hosts = config.url.hosts.stream().map(Object::toString).collect(Collectors.joining(", "));
        this.patienceNanos = config.outagePatience.toNanos();
        this.events = events;
        this.alarm = alarm;
    }

    // The beginning and the end

    /**
     * An attempt that began at that time has failed, for a reason that may pass.
     */
    void begin(Throwable cause, long sinceNanos) {
        if (hasSucceededSince(sinceNanos)) return;
        if (!current.compareAndSet(null, new Current(cause, sinceNanos))) return;
        warnings.clear();
        events.happened(new Event.OutageBegan(hosts, cause));
        alarm.ring(); // the housekeeper declares it in time
    }

    /** Whether an attempt has succeeded since then, so that one that began then and failed says nothing of today. */
    boolean hasSucceededSince(long nanos) {
        return nanos < succeededNanos.get();
    }

    /** An attempt has succeeded. Answers whether it ended an outage. */
    boolean end() {
        succeededNanos.accumulateAndGet(Clock.nanoTime(), Math::max);
        Current ended = current.get();
        if (ended == null) return false;
        ended.endedNanos = Clock.nanoTime();
        past = ended; // THEN it is over, so that a refused caller finds it in one of the two
        if (!current.compareAndSet(ended, null)) return false;
        events.happened(new Event.OutageEnded(ended.cause, Clock.nanoTime() - ended.sinceNanos, ended.refused.get()));
        return true;
    }

    /** No permit can probe any longer, so that its end cannot be seen. */
    void forget() {
        Current forgotten = current.getAndSet(null);
        if (forgotten == null) return;
        events.happened(new Event.OutageForgotten(
                forgotten.cause, Clock.nanoTime() - forgotten.sinceNanos, forgotten.refused.get()));
    }

    boolean isOn() {
        return current.get() != null;
    }

    /** How long it has lasted; -1: there is none. */
    long nanos() {
        Current now = current.get();
        return now == null ? -1 : Clock.nanoTime() - now.sinceNanos;
    }

    /** As {@link #nanos}, for a caller that came at that time and was refused: the outage may have ended meanwhile. */
    long nanosFor(long cameNanos) {
        long nanos = nanos(); // THEN look at the past one
        Current ended = past;
        if (nanos >= 0 || ended == null || ended.endedNanos < cameNanos) return nanos;
        return ended.endedNanos - ended.sinceNanos;
    }

    // The patience

    /** Whether callers are refused at once. The first thread that finds it so reports it. */
    boolean isDeclared() {
        Current now = current.get();
        if (now == null || Clock.nanoTime() - now.sinceNanos < patienceNanos) return false;
        if (now.declared.compareAndSet(false, true)) {
            events.happened(new Event.OutageDeclared(now.cause, Clock.nanoTime() - now.sinceNanos));
        }
        return true;
    }

    /** When it will be declared; the end of time if there is none, or if it is declared. */
    long declaredNanos() {
        Current now = current.get();
        return now == null || now.declared.get() ? Long.MAX_VALUE : now.sinceNanos + patienceNanos;
    }

    /** A caller was refused because of it. */
    void refused() {
        Current now = current.get();
        if (now != null) now.refused.incrementAndGet();
    }

    // The probes

    /** Whether this is the one permit that probes. */
    boolean isProber(Permit permit) {
        return prober.get() == permit || (prober.get() == null && prober.compareAndSet(null, permit));
    }

    boolean hasProber() {
        return prober.get() != null;
    }

    /** That permit probes no longer. Answers whether it did. */
    boolean leaveProbing(Permit permit) {
        return prober.compareAndSet(permit, null);
    }

    /** How long the prober waits before it tries again: from 10 ms on, half of the outage's age, with jitter. */
    long pauseNanos() {
        return pauseNanos(nanos(), ThreadLocalRandom.current().nextDouble());
    }

    static long pauseNanos(long ageNanos, double random) {
        long most = ageNanos < FIRST_NANOS ? TimeUnit.MILLISECONDS.toNanos(250) : TimeUnit.SECONDS.toNanos(1);
        long pause = Math.clamp(ageNanos / 2, LEAST_PAUSE_NANOS, most);
        return (long) (pause * (0.5 + 0.5 * random));
    }

    // The log

    /** Reports what an outage would explain, unless an outage is on or begins at once. */
    void warn(Event event) {
        if (!isOn()) warnings.add(new Warning(event, Clock.nanoTime()));
    }

    /** Reports what no outage has explained. For the housekeeper. Answers when to look again. */
    long report(long nowNanos) {
        if (isOn()) warnings.clear(); // one may have come in the moment of the beginning
        for (Warning next = warnings.peek(); next != null; next = warnings.peek()) {
            if (nowNanos - next.nanos < GRACE_NANOS) return next.nanos + GRACE_NANOS;
            if (warnings.remove(next)) events.happened(next.event);
        }
        return Long.MAX_VALUE;
    }
}
