package dev.nanopool.spring;

import javax.sql.DataSource;
import org.springframework.beans.factory.config.ConfigurableListableBeanFactory;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.condition.ConditionalOnBean;
import org.springframework.boot.autoconfigure.condition.ConditionalOnClass;
import org.springframework.boot.autoconfigure.condition.ConditionalOnMissingBean;
import org.springframework.boot.health.autoconfigure.contributor.CompositeHealthContributorConfiguration;
import org.springframework.boot.health.autoconfigure.contributor.ConditionalOnEnabledHealthIndicator;
import org.springframework.boot.health.contributor.Health;
import org.springframework.boot.health.contributor.HealthContributor;
import org.springframework.boot.health.contributor.HealthIndicator;
import org.springframework.boot.jdbc.health.DataSourceHealthIndicator;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Conditional;

/**
 * Puts {@link PoolReport} in the place of Spring Boot's check {@code db} for the pools of this library, because that check leases a
 * connection, and so calls an exhausted pool down. Other data sources keep it.
 */
@AutoConfiguration(
        after = PoolAutoConfiguration.class,
        beforeName = "org.springframework.boot.jdbc.autoconfigure.health.DataSourceHealthContributorAutoConfiguration")
@ConditionalOnClass(CompositeHealthContributorConfiguration.class)
@ConditionalOnBean(DataSource.class)
@Conditional(PoolReport.IfPool.class)
@ConditionalOnEnabledHealthIndicator("db")
@ConditionalOnMissingBean(name = {"dbHealthIndicator", "dbHealthContributor"})
final class Boot4HealthAutoConfiguration extends CompositeHealthContributorConfiguration<HealthIndicator, DataSource> {
    Boot4HealthAutoConfiguration() {
        super(Boot4HealthAutoConfiguration::indicator);
    }

    @Bean
    HealthContributor dbHealthContributor(ConfigurableListableBeanFactory beans) {
        return createContributor(beans, DataSource.class);
    }

    private static HealthIndicator indicator(DataSource dataSource) {
        return PoolReport.isPool(dataSource) ? () -> health(dataSource) : new DataSourceHealthIndicator(dataSource);
    }

    private static Health health(DataSource dataSource) {
        PoolReport report = PoolReport.of(dataSource);
        Health.Builder health = new Health.Builder().status(report.status()).withDetails(report.details());
        return (report.cause() == null ? health : health.withException(report.cause())).build();
    }
}
