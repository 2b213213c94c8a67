package dev.nanopool.examples;

import dev.nanopool.Budget;
import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Function;
import java.util.function.Supplier;
import javax.sql.DataSource;
import org.hibernate.engine.jdbc.connections.spi.AbstractDataSourceBasedMultiTenantConnectionProviderImpl;
import org.springframework.jdbc.datasource.lookup.AbstractRoutingDataSource;

/** A database for each tenant, as the page about tenants shows it. */
final class TenantsExample {
    private TenantsExample() {}

    // @start region="pools"
    static final class Tenants implements AutoCloseable {
        private final Budget budget = Budget.of(40); // for all tenants together
        private final Map<String, Pool> pools = new ConcurrentHashMap<>();
        private final Function<String, String> urls;

        Tenants(Function<String, String> urls) {
            this.urls = urls;
        }

        Pool of(String tenant) {
            return pools.computeIfAbsent(tenant, this::open); // a lazy pool does not ask the database
        }

        private Pool open(String tenant) {
            try {
                return Pool.create(PoolConfig.builder(urls.apply(tenant))
                        .name(tenant)
                        .lazy(true)
                        .size(5)
                        .idleTimeout(Duration.ofMinutes(1))
                        .budget(budget)
                        .build());
            } catch (SQLException e) {
                throw new IllegalStateException("tenant " + tenant, e);
            }
        }

        @Override
        public void close() {
            pools.values().forEach(Pool::close);
        }
    }
    // @end

    // @start region="hibernate-tenants"
    // new HibernatePersistenceConfiguration("shop").property("hibernate.multi_tenant_connection_provider", provider)
    static final class TenantConnections extends AbstractDataSourceBasedMultiTenantConnectionProviderImpl<String> {
        private static final long serialVersionUID = 1;
        private final transient Tenants tenants;

        TenantConnections(Tenants tenants) {
            this.tenants = tenants;
        }

        @Override
        protected DataSource selectAnyDataSource() {
            return tenants.of("main").dataSource();
        }

        @Override
        protected DataSource selectDataSource(String tenant) {
            return tenants.of(tenant).dataSource();
        }
    }
    // @end

    // @start region="spring-tenants"
    static final class TenantRouting extends AbstractRoutingDataSource {
        private final Tenants tenants;
        private final Supplier<String> current;

        TenantRouting(Tenants tenants, Supplier<String> current) {
            this.tenants = tenants;
            this.current = current;
            setTargetDataSources(Map.of()); // the pools are made when they are needed
        }

        @Override
        protected String determineCurrentLookupKey() {
            return current.get();
        }

        @Override
        protected DataSource determineTargetDataSource() {
            return tenants.of(determineCurrentLookupKey()).dataSource();
        }
    }
    // @end

    // @start region="schema"
    static Connection client(Pool pool, String tenant) throws SQLException {
        Connection client = pool.client();
        try (Statement statement = client.createStatement()) {
            statement.execute("SET search_path = " + statement.enquoteIdentifier(tenant, true));
            return client;
        } catch (SQLException | RuntimeException e) {
            client.close();
            throw e;
        }
    }
    // @end
}
