package dev.nanopool.micrometer;

import dev.nanopool.Pool;
import dev.nanopool.PoolMXBean;
import dev.nanopool.PoolStats;
import io.micrometer.core.instrument.FunctionCounter;
import io.micrometer.core.instrument.Gauge;
import io.micrometer.core.instrument.Meter;
import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.Tag;
import io.micrometer.core.instrument.Tags;
import io.micrometer.core.instrument.Timer;
import io.micrometer.core.instrument.binder.MeterBinder;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.ToDoubleFunction;
import org.jspecify.annotations.Nullable;

/**
 * The metrics of a pool: {@code db.client.connection.*} with the names, units and attributes of OpenTelemetry's conventions
 * (1.45), and on request {@code hikaricp.connections.*} and {@code jdbc.connections.*}, so that a dashboard made for these
 * shows this pool, too. The timers are histograms with fixed buckets, from 0.1 ms to 1 min.
 *
 * <p>A lease costs no more than without metrics: a thread of its own reads the pool's {@link PoolStats} once a second, and
 * ends when the pool or these metrics are closed. Thread-safe.
 */
@SuppressWarnings("exports") // "requires transitive" would make each user of the pool require Micrometer
public final class PoolMetrics implements MeterBinder, AutoCloseable {
    private static final long PERIOD_NANOS = TimeUnit.SECONDS.toNanos(1);
    private static final String OTEL = "db.client.connection.";
    private static final String HIKARI = "hikaricp.connections";

    private final Pool pool;
    private final @Nullable String jdbcName;
    private final boolean isHikari;
    private final ReentrantLock recording = new ReentrantLock();
    private final Collection<Bound> bounds = new ConcurrentLinkedQueue<>();
    private final AtomicBoolean isStarted = new AtomicBoolean();
    private volatile boolean closed;

    /** One registry that shows the pool. */
    private record Bound(Timings waits, Timings uses, Timings connects) {
        void record(PoolStats stats) {
            waits.record(stats.waits());
            uses.record(stats.uses());
            connects.record(stats.connects());
        }
    }

    /**
     * Makes the metrics of a pool, with OpenTelemetry's names only.
     *
     * @param pool the pool
     */
    public PoolMetrics(Pool pool) {
        this(pool, null, false);
    }

    private PoolMetrics(Pool pool, @Nullable String jdbcName, boolean isHikari) {
        this.pool = pool;
        this.jdbcName = jdbcName;
        this.isHikari = isHikari;
    }

    /**
     * Adds {@code jdbc.connections.*}, as Spring Boot publishes them for the pools that it knows.
     *
     * @param name the value of the tag {@code name}: in Spring Boot, the name of the bean without "DataSource" at its end
     * @return metrics with these names as well
     */
    public PoolMetrics withJdbcNames(String name) {
        return new PoolMetrics(pool, name, isHikari);
    }

    /**
     * Adds {@code hikaricp.connections.*}, as HikariCP publishes them.
     *
     * @return metrics with these names as well
     */
    public PoolMetrics withHikariNames() {
        return new PoolMetrics(pool, jdbcName, true);
    }

    @Override
    public void bindTo(MeterRegistry registry) {
        bindOpenTelemetry(registry);
        if (isHikari) bindHikari(registry);
        if (jdbcName != null) bindJdbc(registry, Tags.of("name", jdbcName));
        var bound = new Bound(
                timings(
                        registry,
                        "wait_time",
                        "acquire",
                        "The time it took to obtain an open connection from the pool."),
                timings(
                        registry,
                        "use_time",
                        "usage",
                        "The time between borrowing a connection and returning it to the pool."),
                timings(registry, "create_time", "creation", "The time it took to create a new connection."));
        bounds.add(bound);
        if (isStarted.compareAndSet(false, true)) {
            Thread.ofVirtual()
                    .name("nanopool-metrics")
                    .inheritInheritableThreadLocals(false)
                    .start(this::run);
        }
    }

    private void bindOpenTelemetry(MeterRegistry registry) {
        Tags tags = openTelemetryTags();
        String state = OTEL + "state";
        String count = "The number of connections that are currently in state described by the state attribute.";
        String connection = "{connection}";
        gauge(registry, OTEL + "count", tags.and(state, "idle"), count, connection, PoolStats::idle);
        gauge(registry, OTEL + "count", tags.and(state, "used"), count, connection, PoolStats::active);
        gauge(
                registry,
                OTEL + "idle.max",
                tags,
                "The maximum number of idle open connections allowed.",
                connection,
                PoolStats::size);
        gauge(
                registry,
                OTEL + "idle.min",
                tags,
                "The minimum number of idle open connections allowed.",
                connection,
                PoolStats::minIdle);
        gauge(
                registry,
                OTEL + "limit",
                tags,
                "The maximum number of open connections allowed.",
                connection,
                PoolStats::size);
        gauge(
                registry,
                OTEL + "pending_requests",
                tags,
                "The number of current pending requests for an open connection.",
                "{request}",
                PoolStats::pending);
        counter(
                registry,
                OTEL + "timeouts",
                tags,
                "The number of connection timeouts that have occurred trying to obtain a connection from the pool.",
                "{timeout}");
    }

    private void bindHikari(MeterRegistry registry) {
        Tags tags = hikariTags();
        gauge(registry, HIKARI, tags, "Total connections", null, stats -> stats.opened() - stats.closed());
        gauge(registry, HIKARI + ".idle", tags, "Idle connections", null, PoolStats::idle);
        gauge(registry, HIKARI + ".active", tags, "Active connections", null, PoolStats::active);
        gauge(registry, HIKARI + ".pending", tags, "Pending threads", null, PoolStats::pending);
        gauge(registry, HIKARI + ".max", tags, "Max connections", null, PoolStats::size);
        gauge(registry, HIKARI + ".min", tags, "Min connections", null, PoolStats::minIdle);
        counter(registry, HIKARI + ".timeout", tags, "Connection timeout total count", null);
    }

    private void bindJdbc(MeterRegistry registry, Tags tags) {
        String active = "Current number of active connections that have been allocated from the data source.";
        String max = "Maximum number of active connections that can be allocated at the same time.";
        gauge(registry, "jdbc.connections.active", tags, active, null, PoolStats::active);
        gauge(
                registry,
                "jdbc.connections.idle",
                tags,
                "Number of established but idle connections.",
                null,
                PoolStats::idle);
        gauge(registry, "jdbc.connections.max", tags, max, null, PoolStats::size);
        gauge(
                registry,
                "jdbc.connections.min",
                tags,
                "Minimum number of idle connections in the pool.",
                null,
                PoolStats::minIdle);
    }

    private Tags hikariTags() {
        return Tags.of("pool", pool.stats().name());
    }

    private Tags openTelemetryTags() {
        PoolMXBean bean = (PoolMXBean) pool.dataSource();
        List<String> servers = bean.getServers();
        List<Tag> tags = new ArrayList<>();
        tags.add(Tag.of(OTEL + "pool.name", pool.stats().name()));
        tags.add(Tag.of("db.system.name", "postgresql"));
        tags.add(Tag.of("db.namespace", bean.getDatabase()));
        if (servers.size() == 1) {
            String server = servers.getFirst();
            int colon = server.lastIndexOf(':');
            tags.add(Tag.of("server.address", server.substring(0, colon)));
            tags.add(Tag.of("server.port", server.substring(colon + 1)));
        } else {
            tags.add(Tag.of("server.address", String.join(",", servers)));
        }
        return Tags.of(tags);
    }

    private void gauge(
            MeterRegistry registry,
            String name,
            Tags tags,
            String description,
            @Nullable String unit,
            ToDoubleFunction<PoolStats> number) {
        Gauge unused = Gauge.builder(name, pool, of -> number.applyAsDouble(of.stats()))
                .tags(tags)
                .description(description)
                .baseUnit(unit(registry, name, Meter.Type.GAUGE, unit))
                .strongReference(true)
                .register(registry);
    }

    private void counter(MeterRegistry registry, String name, Tags tags, String description, @Nullable String unit) {
        FunctionCounter unused = FunctionCounter.builder(
                        name, pool, of -> of.stats().timeouts())
                .tags(tags)
                .description(description)
                .baseUnit(unit(registry, name, Meter.Type.COUNTER, unit))
                .register(registry);
    }

    /** The unit, unless the registry would make it a part of the name, which the conventions do not do with braces. */
    private static @Nullable String unit(MeterRegistry registry, String name, Meter.Type type, @Nullable String unit) {
        var convention = registry.config().namingConvention();
        return convention.name(name, type, unit).equals(convention.name(name, type, null)) ? unit : null;
    }

    private Timings timings(MeterRegistry registry, String name, String hikariName, String description) {
        List<Timer> timers = new ArrayList<>();
        timers.add(timer(registry, OTEL + name, openTelemetryTags(), description));
        if (isHikari) {
            String words = "Connection %s time".formatted(hikariName);
            timers.add(timer(registry, HIKARI + "." + hikariName, hikariTags(), words));
        }
        return new Timings(timers);
    }

    private static Timer timer(MeterRegistry registry, String name, Tags tags, String description) {
        return Timer.builder(name)
                .tags(tags)
                .description(description)
                .serviceLevelObjectives(Timings.BUCKETS)
                .register(registry);
    }

    /** Hands on what the pool has counted since the last time. */
    void record() {
        recording.lock();
        try {
            PoolStats stats = pool.stats();
            for (Bound bound : bounds) bound.record(stats);
        } finally {
            recording.unlock();
        }
    }

    private void run() {
        boolean isLast = false;
        while (!isLast) {
            LockSupport.parkNanos(this, PERIOD_NANOS);
            isLast = closed || pool.isClosed();
            record();
        }
    }

    /** Ends the thread that reads the pool's numbers. The timers keep what they have, the other meters stay alive. */
    @Override
    public void close() {
        closed = true;
    }
}
