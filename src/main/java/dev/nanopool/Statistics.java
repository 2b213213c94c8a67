package dev.nanopool;

import dev.nanopool.PhysicalConnection.State;
import java.time.Duration;

/** Reads the pool's numbers. Thread-safe, never blocks; walks the connections. */
final class Statistics {
    private static final long PATIENCE_NANOS = Duration.ofSeconds(1).toNanos();

    private final String pool;
    private final Supply supply;
    private final Counters counters;

    Statistics(String pool, Supply supply, Counters counters) {
        this.pool = pool;
        this.supply = supply;
        this.counters = counters;
    }

    PoolStats snapshot() {
        int active = 0;
        int idle = 0;
        for (PhysicalConnection connection : supply.connections()) {
            State state = connection.state();
            if (state == State.LEASED) active++;
            else if (state == State.IDLE) idle++;
        }
        Share share = supply.share();
        Budget budget = share == null ? null : share.budget();
        var gauges = new PoolStats.Gauges(
                pool,
                supply.size(),
                supply.minIdle(),
                active,
                idle,
                supply.queue().pending(),
                supply.opening(),
                budget == null ? 0 : budget.size(),
                budget == null ? 0 : budget.used());
        Ledger.Book book = supply.book();
        return new PoolStats(gauges, counters.totals(book.waits(), book.uses()));
    }

    /** Whether connections are being opened or closed, or the server has kept the pool waiting for a second. */
    boolean isPoolAtWork() {
        return supply.opening() > 0 || supply.connections().stream().anyMatch(Statistics::isWorkedOn);
    }

    private static boolean isWorkedOn(PhysicalConnection connection) {
        State state = connection.state();
        if (state == State.CLOSING) return true;
        return state == State.SERVICED && Clock.nanoTime() - connection.idleNanos() >= PATIENCE_NANOS;
    }
}
