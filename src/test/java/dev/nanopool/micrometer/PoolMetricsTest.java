package dev.nanopool.micrometer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.nanopool.Pool;
import dev.nanopool.PoolExhaustedException;
import dev.nanopool.PoolMXBean;
import dev.nanopool.PoolStats;
import dev.nanopool.PoolStats.Durations;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.PoolTestBase;
import io.micrometer.core.instrument.Meter;
import io.micrometer.core.instrument.Timer;
import io.micrometer.core.instrument.distribution.CountAtBucket;
import io.micrometer.core.instrument.simple.SimpleMeterRegistry;
import io.micrometer.prometheusmetrics.PrometheusConfig;
import io.micrometer.prometheusmetrics.PrometheusMeterRegistry;
import java.sql.Connection;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

/** What monitoring sees of a pool through Micrometer. */
class PoolMetricsTest extends PoolTestBase {
    private static final String NAMES = """
            db_client_connection_count gauge The number of connections that are currently in state described by the state attribute.
            db_client_connection_create_time_seconds histogram The time it took to create a new connection.
            db_client_connection_create_time_seconds_max gauge The time it took to create a new connection.
            db_client_connection_idle_max gauge The maximum number of idle open connections allowed.
            db_client_connection_idle_min gauge The minimum number of idle open connections allowed.
            db_client_connection_limit gauge The maximum number of open connections allowed.
            db_client_connection_pending_requests gauge The number of current pending requests for an open connection.
            db_client_connection_timeouts_total counter The number of connection timeouts that have occurred trying to obtain a connection from the pool.
            db_client_connection_use_time_seconds histogram The time between borrowing a connection and returning it to the pool.
            db_client_connection_use_time_seconds_max gauge The time between borrowing a connection and returning it to the pool.
            db_client_connection_wait_time_seconds histogram The time it took to obtain an open connection from the pool.
            db_client_connection_wait_time_seconds_max gauge The time it took to obtain an open connection from the pool.
            """;
    private static final String HIKARI_NAMES = """
            hikaricp_connections gauge Total connections
            hikaricp_connections_acquire_seconds histogram Connection acquire time
            hikaricp_connections_acquire_seconds_max gauge Connection acquire time
            hikaricp_connections_active gauge Active connections
            hikaricp_connections_creation_seconds histogram Connection creation time
            hikaricp_connections_creation_seconds_max gauge Connection creation time
            hikaricp_connections_idle gauge Idle connections
            hikaricp_connections_max gauge Max connections
            hikaricp_connections_min gauge Min connections
            hikaricp_connections_pending gauge Pending threads
            hikaricp_connections_timeout_total counter Connection timeout total count
            hikaricp_connections_usage_seconds histogram Connection usage time
            hikaricp_connections_usage_seconds_max gauge Connection usage time
            """;
    private static final String JDBC_NAMES = """
            jdbc_connections_active gauge Current number of active connections that have been allocated from the data source.
            jdbc_connections_idle gauge Number of established but idle connections.
            jdbc_connections_max gauge Maximum number of active connections that can be allocated at the same time.
            jdbc_connections_min gauge Minimum number of idle connections in the pool.
            """;

    private final PrometheusMeterRegistry registry = new PrometheusMeterRegistry(PrometheusConfig.DEFAULT);

    /** Name, type and description of each metric of a scrape. */
    private static String names(String scrape) {
        List<String> lines = scrape.lines().toList();
        return lines.stream()
                .filter(line -> line.startsWith("# TYPE "))
                .map(line -> {
                    String[] type = line.split(" ");
                    String help = "# HELP " + type[2] + " ";
                    return type[2] + " " + type[3] + " "
                            + lines.stream()
                                    .filter(other -> other.startsWith(help))
                                    .findFirst()
                                    .orElse(help)
                                    .substring(help.length());
                })
                .sorted()
                .collect(Collectors.joining("\n", "", "\n"));
    }

    private double value(String line) {
        String scrape = registry.scrape();
        List<String> found =
                scrape.lines().filter(each -> each.startsWith(line + " ")).toList();
        assertThat(found).as("%s in%n%s", line, scrape).hasSize(1);
        return Double.parseDouble(found.getFirst().substring(line.length() + 1));
    }

    private static String tags(Pool pool, String more) {
        PoolMXBean bean = (PoolMXBean) pool.dataSource();
        String server = bean.getServers().getFirst();
        return "{%sdb_client_connection_pool_name=\"%s\",%sdb_namespace=\"%s\",db_system_name=\"postgresql\",server_address=\"%s\",server_port=\"%s\"}"
                .formatted(
                        "",
                        pool.stats().name(),
                        more,
                        bean.getDatabase(),
                        server.substring(0, server.lastIndexOf(':')),
                        server.substring(server.lastIndexOf(':') + 1));
    }

    @Test
    void openTelemetryNamesMustBeThoseOfTheConventions() throws Exception {
        Pool pool = open(config().size(3).minIdle(2));
        try (var metrics = new PoolMetrics(pool);
                Connection client = pool.client()) {
            assertThat(client.isClosed()).isFalse();
            metrics.bindTo(registry);
            assertThat(names(registry.scrape())).isEqualTo(NAMES);
            assertThat(value("db_client_connection_count" + tags(pool, "db_client_connection_state=\"idle\",")))
                    .isEqualTo(1);
            assertThat(value("db_client_connection_count" + tags(pool, "db_client_connection_state=\"used\",")))
                    .isEqualTo(1);
            assertThat(value("db_client_connection_limit" + tags(pool, ""))).isEqualTo(3);
            assertThat(value("db_client_connection_idle_max" + tags(pool, ""))).isEqualTo(3);
            assertThat(value("db_client_connection_idle_min" + tags(pool, ""))).isEqualTo(2);
            assertThat(value("db_client_connection_pending_requests" + tags(pool, "")))
                    .isZero();
            assertThat(value("db_client_connection_timeouts_total" + tags(pool, "")))
                    .isZero();
        }
    }

    // A registry that keeps names and units apart has the units of the conventions.
    @Test
    void unitsMustBeThoseOfTheConventionsWhereNamesStayApart() throws Exception {
        var simple = new SimpleMeterRegistry();
        try (var metrics = new PoolMetrics(open(1))) {
            metrics.bindTo(simple);
        }
        assertThat(simple.getMeters().stream()
                        .map(Meter::getId)
                        .filter(id -> !id.getName().endsWith(".histogram"))
                        .map(id -> id.getName() + " " + id.getType() + " " + id.getBaseUnit())
                        .distinct())
                .containsExactlyInAnyOrder(
                        "db.client.connection.count GAUGE {connection}",
                        "db.client.connection.idle.max GAUGE {connection}",
                        "db.client.connection.idle.min GAUGE {connection}",
                        "db.client.connection.limit GAUGE {connection}",
                        "db.client.connection.pending_requests GAUGE {request}",
                        "db.client.connection.timeouts COUNTER {timeout}",
                        "db.client.connection.create_time TIMER seconds",
                        "db.client.connection.wait_time TIMER seconds",
                        "db.client.connection.use_time TIMER seconds");
    }

    @Test
    void namesOfOtherPoolsMustComeOnRequest() throws Exception {
        Pool pool = open(config().size(2));
        try (var metrics = new PoolMetrics(pool).withHikariNames().withJdbcNames("main");
                Connection client = pool.client()) {
            assertThat(client.isClosed()).isFalse();
            metrics.bindTo(registry);
            assertThat(names(registry.scrape())).isEqualTo(NAMES + HIKARI_NAMES + JDBC_NAMES);
            String hikari = "{pool=\"" + pool.stats().name() + "\"}";
            assertThat(value("hikaricp_connections" + hikari)).isEqualTo(2);
            assertThat(value("hikaricp_connections_active" + hikari)).isEqualTo(1);
            assertThat(value("hikaricp_connections_idle" + hikari)).isEqualTo(1);
            assertThat(value("hikaricp_connections_max" + hikari)).isEqualTo(2);
            assertThat(value("hikaricp_connections_min" + hikari)).isEqualTo(2);
            assertThat(value("hikaricp_connections_pending" + hikari)).isZero();
            assertThat(value("jdbc_connections_active{name=\"main\"}")).isEqualTo(1);
            assertThat(value("jdbc_connections_idle{name=\"main\"}")).isEqualTo(1);
            assertThat(value("jdbc_connections_max{name=\"main\"}")).isEqualTo(2);
            assertThat(value("jdbc_connections_min{name=\"main\"}")).isEqualTo(2);
        }
    }

    // What rate() works on.
    @Test
    void timersMustAgreeWithWhatThePoolHasCounted() throws Exception {
        Pool pool = open(config().size(2));
        try (var metrics = new PoolMetrics(pool).withHikariNames()) {
            metrics.bindTo(registry);
            for (int i = 0; i < 20; i++) {
                threads.start(() -> {
                    for (int n = 0; n < 50; n++) pool.client().close();
                });
            }
            threads.join();
            try (Connection first = pool.client();
                    Connection second = pool.client()) {
                assertThat(first).isNotSameAs(second);
                threads.start(() -> assertThatThrownBy(() -> pool.client(Duration.ofMillis(20)))
                        .isInstanceOf(PoolExhaustedException.class));
                threads.join();
            }
            metrics.record();
            PoolStats stats = pool.stats();
            assertThat(stats.leasesGranted()).isEqualTo(1_002);
            for (String[] each :
                    new String[][] {{"wait_time", "acquire"}, {"use_time", "usage"}, {"create_time", "creation"}}) {
                Durations counted = switch (each[0]) {
                    case "wait_time" -> stats.waits();
                    case "use_time" -> stats.uses();
                    default -> stats.connects();
                };
                assertAgree(registry.get("db.client.connection." + each[0]).timer(), counted);
                assertAgree(registry.get("hikaricp.connections." + each[1]).timer(), counted);
            }
            assertThat(value("hikaricp_connections_timeout_total{pool=\"" + stats.name() + "\"}"))
                    .isEqualTo(1);
        }
    }

    /** The count exactly, the sum to within rounding, each bucket exactly. */
    private static void assertAgree(Timer timer, Durations counted) {
        double sum = counted.sum().toNanos();
        assertThat(timer.count()).isEqualTo(counted.count());
        assertThat(timer.totalTime(TimeUnit.NANOSECONDS)).isCloseTo(sum, within(sum / 50 + counted.count()));
        long[] counts = counted.counts();
        List<Duration> bounds = Durations.buckets();
        CountAtBucket[] buckets = timer.takeSnapshot().histogramCounts();
        assertThat(buckets).hasSizeGreaterThanOrEqualTo(Timings.BUCKETS.length);
        for (Duration bucket : Timings.BUCKETS) {
            int last = bounds.indexOf(bucket);
            assertThat(last).as("%s is a bound of the pool", bucket).isNotNegative();
            assertThat(Arrays.stream(buckets)
                            .filter(each -> each.bucket(TimeUnit.NANOSECONDS) == bucket.toNanos())
                            .mapToDouble(CountAtBucket::count))
                    .as("up to %s", bucket)
                    .containsExactly((double) Arrays.stream(counts, 0, last + 1).sum());
        }
    }

    @Test
    void threadMustRecordOnceASecondAndEndWithThePool() throws Exception {
        Pool pool = open(1);
        try (var metrics = new PoolMetrics(pool)) {
            metrics.bindTo(registry);
            pool.client().close();
            Timer uses = registry.get("db.client.connection.use_time").timer();
            Await.until("it is recorded", () -> uses.count() == 1);
            pool.client().close();
            pool.close();
            Await.until("the last one, too", () -> uses.count() == 2);
        }
    }
}
