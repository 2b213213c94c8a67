package dev.nanopool.spring;

import dev.nanopool.NanoDataSource;
import dev.nanopool.Pool;
import dev.nanopool.PoolMXBean;
import dev.nanopool.micrometer.PoolMetrics;
import io.micrometer.core.instrument.Meter;
import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.Tag;
import io.micrometer.core.instrument.binder.MeterBinder;
import java.util.Collections;
import java.util.List;
import javax.sql.DataSource;
import org.jspecify.annotations.Nullable;
import org.springframework.aot.hint.MemberCategory;
import org.springframework.aot.hint.RuntimeHints;
import org.springframework.aot.hint.RuntimeHintsRegistrar;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.condition.ConditionalOnCheckpointRestore;
import org.springframework.boot.autoconfigure.condition.ConditionalOnClass;
import org.springframework.boot.jdbc.DataSourceUnwrapper;
import org.springframework.boot.jdbc.metadata.AbstractDataSourcePoolMetadata;
import org.springframework.boot.jdbc.metadata.DataSourcePoolMetadataProvider;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.annotation.ImportRuntimeHints;
import org.springframework.core.env.Environment;

/** Makes the pools among an application's beans known to Spring Boot. Its own bean of a {@code DataSource} stays. */
@AutoConfiguration(
        afterName = {
            "org.springframework.boot.jdbc.autoconfigure.DataSourceAutoConfiguration",
            "org.springframework.boot.autoconfigure.jdbc.DataSourceAutoConfiguration"
        })
@ConditionalOnClass(DataSourceUnwrapper.class)
@ImportRuntimeHints(PoolAutoConfiguration.Hints.class)
final class PoolAutoConfiguration {
    @Bean
    static Pools nanopools(Environment environment) {
        return new Pools(environment);
    }

    @Bean
    DataSourcePoolMetadataProvider nanopoolMetadata() {
        return dataSource -> {
            PoolMXBean numbers = DataSourceUnwrapper.unwrap(dataSource, PoolMXBean.class);
            return numbers == null ? null : new Metadata(dataSource, numbers);
        };
    }

    @Bean
    @ConditionalOnCheckpointRestore
    Checkpoints nanopoolCheckpoints(Pools pools, ConfigurableApplicationContext context) {
        return new Checkpoints(pools, context);
    }

    @Configuration(proxyBeanMethods = false)
    @ConditionalOnClass(MeterRegistry.class)
    static class Metrics {
        @Bean
        MeterBinder nanopoolMetrics(Pools pools) {
            return registry -> pools.onStart(pool -> {
                forget(pool.stats().name(), registry);
                metrics(pool, pools).bindTo(registry);
            });
        }

        /** Removes the meters of an earlier pool of that name, because a registry keeps the first of two equal ones. */
        private static void forget(String name, MeterRegistry registry) {
            List<Tag> tags = List.of(Tag.of("db.client.connection.pool.name", name), Tag.of("pool", name));
            for (Meter meter : registry.getMeters()) {
                if (!Collections.disjoint(meter.getId().getTags(), tags)) registry.remove(meter);
            }
        }

        private static PoolMetrics metrics(Pool pool, Pools pools) {
            var metrics = new PoolMetrics(pool);
            return pools.isOn("hikari-metrics", false) ? metrics.withHikariNames() : metrics;
        }
    }

    /** What Spring Boot publishes as {@code jdbc.connections.*}. */
    private static final class Metadata extends AbstractDataSourcePoolMetadata<DataSource> {
        private final PoolMXBean numbers;

        Metadata(DataSource dataSource, PoolMXBean numbers) {
            super(dataSource);
            this.numbers = numbers;
        }

        @Override
        public Integer getActive() {
            return numbers.getActiveConnections();
        }

        @Override
        public Integer getIdle() {
            return numbers.getIdleConnections();
        }

        @Override
        public Integer getMax() {
            return numbers.getSize();
        }

        @Override
        public Integer getMin() {
            return numbers.getMinIdle();
        }

        @Override
        public @Nullable String getValidationQuery() {
            return null;
        }

        @Override
        public Boolean getDefaultAutoCommit() {
            return !(numbers instanceof NanoDataSource bean) || bean.isAutoCommit();
        }
    }

    /** What a native image must keep, because Spring Boot calls the setters by their names, and the driver the constructor. */
    static final class Hints implements RuntimeHintsRegistrar {
        @Override
        public void registerHints(RuntimeHints hints, @Nullable ClassLoader loader) {
            hints.reflection()
                    .registerType(
                            NanoDataSource.class,
                            MemberCategory.INVOKE_PUBLIC_CONSTRUCTORS,
                            MemberCategory.INVOKE_PUBLIC_METHODS)
                    .registerTypeIfPresent(
                            loader, "dev.nanopool.driver.PoolSocketFactory", MemberCategory.INVOKE_PUBLIC_CONSTRUCTORS);
        }
    }
}
