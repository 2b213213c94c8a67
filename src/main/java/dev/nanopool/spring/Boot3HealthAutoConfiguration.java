package dev.nanopool.spring;

import javax.sql.DataSource;
import org.springframework.beans.factory.config.ConfigurableListableBeanFactory;
import org.springframework.boot.actuate.autoconfigure.health.CompositeHealthContributorConfiguration;
import org.springframework.boot.actuate.autoconfigure.health.ConditionalOnEnabledHealthIndicator;
import org.springframework.boot.actuate.health.Health;
import org.springframework.boot.actuate.health.HealthContributor;
import org.springframework.boot.actuate.health.HealthIndicator;
import org.springframework.boot.actuate.jdbc.DataSourceHealthIndicator;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.condition.ConditionalOnBean;
import org.springframework.boot.autoconfigure.condition.ConditionalOnClass;
import org.springframework.boot.autoconfigure.condition.ConditionalOnMissingBean;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Conditional;

/**
 * The same as {@link Boot4HealthAutoConfiguration} with the classes of Spring Boot 3.
 */
@AutoConfiguration(
        after = PoolAutoConfiguration.class,
        beforeName = "org.springframework.boot.actuate.autoconfigure.jdbc.DataSourceHealthContributorAutoConfiguration")
@ConditionalOnClass(CompositeHealthContributorConfiguration.class)
@ConditionalOnBean(DataSource.class)
@Conditional(PoolReport.IfPool.class)
@ConditionalOnEnabledHealthIndicator("db")
@ConditionalOnMissingBean(name = {"dbHealthIndicator", "dbHealthContributor"})
final class Boot3HealthAutoConfiguration extends CompositeHealthContributorConfiguration<HealthIndicator, DataSource> {
    Boot3HealthAutoConfiguration() {
        super(Boot3HealthAutoConfiguration::indicator);
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
