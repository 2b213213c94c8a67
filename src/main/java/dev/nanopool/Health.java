package dev.nanopool;

import dev.nanopool.OpenFailures.OpenFailure;
import dev.nanopool.PoolHealth.Status;
import java.time.Duration;
import java.util.concurrent.atomic.AtomicReference;
import org.jspecify.annotations.Nullable;

/** Tells how the pool is. Thread-safe, never blocks; walks the connections. */
final class Health {
    private static final long LEAST_NANOS = Duration.ofSeconds(1).toNanos();

    private final Supply supply;
    private final Statistics statistics;
    private final Alarm alarm;
    private final long patienceNanos; // a longer wait is a sign of a busy pool
    private final long windowNanos;
    private final AtomicReference<Window> window;

    private record Sample(PoolStats stats, long nanos) {}

    /** Two samples, the later of which replaces the earlier one when it is old enough. So a short burst does not flap. */
    private record Window(Sample earlier, Sample later) {}

    Health(PoolConfig config, Supply supply, Statistics statistics, Alarm alarm) {
        this.supply = supply;
        this.statistics = statistics;
        this.alarm = alarm;
        this.patienceNanos = config.acquireTimeout.toNanos() / 2;
        this.windowNanos = Math.max(LEAST_NANOS, patienceNanos);
        var first = new Sample(PoolStats.NOTHING, Clock.nanoTime());
        this.window = new AtomicReference<>(new Window(first, first));
    }

    PoolHealth now() {
        alarm.ringIfQuiet(); // so that the pool looks at its connections once a second from now on
        if (supply.isClosed()) return of(Status.DOWN, "the pool is closed", null);
        if (supply.isSuspended()) return of(Status.DOWN, "the pool is suspended", null);
        OpenFailure failure = supply.openFailures().last();
        int open = supply.connections().size();
        int size = supply.size();
        if (failure != null) {
            Status status = open == 0 ? Status.DOWN : Status.DEGRADED;
            String reason = "%d of %d connections are open; the last attempt to open one failed: %s"
                    .formatted(open, size, Event.rootCause(failure.cause()));
            return of(status, reason, failure.cause());
        }
        int effectiveSize = supply.effectiveSize();
        if (effectiveSize < size) {
            return of(Status.DEGRADED, "the server lets in %d of %d connections".formatted(effectiveSize, size), null);
        }
        String load = load();
        return of(load.isEmpty() ? Status.UP : Status.BUSY, load, null);
    }

    private PoolHealth of(Status status, String reason, @Nullable Throwable cause) {
        long outageNanos = Math.max(0, supply.outage().nanos());
        return new PoolHealth(status, reason, Duration.ofNanos(outageNanos), cause);
    }

    /** What callers went through of late; empty if they had no reason to complain. */
    private String load() {
        var latest = new Sample(statistics.snapshot(), Clock.nanoTime());
        Window now = window.get();
        if (latest.nanos - now.later.nanos >= windowNanos) {
            var next = new Window(now.later, latest);
            if (window.compareAndSet(now, next)) now = next;
        }
        PoolStats since = latest.stats.since(now.earlier.stats);
        long millis = (latest.nanos - now.earlier.nanos) / 1_000_000;
        long inVain = since.timeouts() + since.rejected();
        if (inVain > 0) {
            return "in %d ms, %d callers got no connection in time".formatted(millis, inVain);
        }
        Duration wait = since.waits().percentile(99);
        if (patienceNanos > 0 && wait.toNanos() > patienceNanos) {
            return "in %d ms, one of a hundred callers waited for %d ms".formatted(millis, wait.toMillis());
        }
        boolean isStuck = since.pending() > 0 && since.leasesGranted() == 0;
        if (isStuck && latest.nanos - now.earlier.nanos >= windowNanos) {
            return "%d callers wait, and none got a connection in %d ms".formatted(since.pending(), millis);
        }
        return "";
    }
}
