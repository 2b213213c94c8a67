package dev.nanopool.spring;

import dev.nanopool.Pool;
import dev.nanopool.PoolHealth;
import dev.nanopool.PoolHealth.Status;
import dev.nanopool.PoolMXBean;
import dev.nanopool.PoolStats;
import java.sql.SQLException;
import java.util.LinkedHashMap;
import java.util.Map;
import javax.sql.DataSource;
import org.jspecify.annotations.Nullable;
import org.springframework.boot.autoconfigure.condition.AnyNestedCondition;
import org.springframework.boot.autoconfigure.condition.ConditionalOnBean;
import org.springframework.boot.autoconfigure.condition.ConditionalOnProperty;
import org.springframework.boot.jdbc.DataSourceUnwrapper;

/**
 * What the health page says about a pool. It leases no connection, so that it answers at once, also for a pool that is exhausted.
 * Such a pool is up, because its server is, and a restart of the application would not help. In an outage it is down.
 */
record PoolReport(
        String status,
        Map<String, Object> details,
        @Nullable Throwable cause) {
    private static final String DOWN = "DOWN";

    /** Whether a data source is one of this library. */
    static boolean isPool(DataSource dataSource) {
        return DataSourceUnwrapper.unwrap(dataSource, PoolMXBean.class) != null;
    }

    static PoolReport of(DataSource dataSource) {
        try {
            return of(dataSource.unwrap(Pool.class));
        } catch (SQLException e) {
            return new PoolReport(DOWN, Map.of("error", String.valueOf(e.getMessage())), e);
        }
    }

    private static PoolReport of(Pool pool) {
        PoolHealth health = pool.health();
        PoolStats stats = pool.stats();
        Map<String, Object> details = new LinkedHashMap<>();
        details.put("pool", stats.name());
        details.put("state", health.status().name());
        if (!health.reason().isEmpty()) details.put("reason", health.reason());
        if (!health.age().isZero()) details.put("outageMillis", health.age().toMillis());
        details.put("size", stats.size());
        details.put("active", stats.active());
        details.put("idle", stats.idle());
        details.put("pending", stats.pending());
        return new PoolReport(health.status() == Status.DOWN ? DOWN : "UP", details, health.cause());
    }

    /** Whether the application has a pool of this library. */
    static final class IfPool extends AnyNestedCondition {
        IfPool() {
            super(ConfigurationPhase.REGISTER_BEAN);
        }

        @ConditionalOnProperty(name = "spring.datasource.type", havingValue = "dev.nanopool.NanoDataSource")
        static class OfBoot {}

        @ConditionalOnBean(type = "dev.nanopool.NanoDataSource")
        static class OfTheProgram {}

        @ConditionalOnBean(type = "dev.nanopool.Pool")
        static class View {}
    }
}
