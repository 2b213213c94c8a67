package dev.nanopool.examples;

import static org.assertj.core.api.Assertions.assertThat;

import dev.nanopool.Pool;
import dev.nanopool.TlsMode;
import dev.nanopool.examples.TenantsExample.TenantConnections;
import dev.nanopool.examples.TenantsExample.TenantRouting;
import dev.nanopool.examples.TenantsExample.Tenants;
import dev.nanopool.testkit.TestServer;
import java.sql.Connection;
import java.util.List;
import java.util.concurrent.atomic.AtomicReference;
import org.hibernate.SessionFactory;
import org.hibernate.jpa.HibernatePersistenceConfiguration;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/** What the page about tenants shows runs. Each tenant has a pool, whose name the server sees. */
@Tag("server")
class TenantsExampleTest {
    private static final String WHO = "SHOW application_name";

    @Test
    void hibernateMustUseThePoolOfTheTenant() {
        try (var tenants = new Tenants(tenant -> TestServer.url());
                SessionFactory sessions = new HibernatePersistenceConfiguration("shop")
                        .property("hibernate.multi_tenant_connection_provider", new TenantConnections(tenants))
                        .createEntityManagerFactory()) {
            for (String tenant : List.of("acme", "globex")) {
                try (var session =
                        sessions.withOptions().tenantIdentifier((Object) tenant).openSession()) {
                    assertThat(session.createNativeQuery(WHO, String.class).getSingleResult())
                            .isEqualTo(tenant);
                }
            }
        }
    }

    @Test
    void springMustUseThePoolOfTheTenant() throws Exception {
        var current = new AtomicReference<>("acme");
        try (var tenants = new Tenants(tenant -> TestServer.url())) {
            var routing = new TenantRouting(tenants, current::get);
            routing.afterPropertiesSet();
            for (String tenant : List.of("acme", "globex")) {
                current.set(tenant);
                try (Connection client = routing.getConnection()) {
                    assertThat(TestServer.query(client, WHO)).isEqualTo(tenant);
                }
            }
        }
    }

    // The next lease does not see the tenant of the one before.
    @Test
    void schemaMustEndWithTheLease() throws Exception {
        try (Pool pool = Pool.create(TestServer.url(), TlsMode.PREFER, 1)) {
            String before;
            try (Connection client = pool.client()) {
                before = TestServer.query(client, "SHOW search_path");
            }
            try (Connection client = TenantsExample.client(pool, "acme")) {
                assertThat(TestServer.query(client, "SHOW search_path")).isEqualTo("acme");
            }
            try (Connection client = pool.client()) {
                assertThat(TestServer.query(client, "SHOW search_path")).isEqualTo(before);
            }
            assertThat(pool.stats().reset()).isEqualTo(1);
        }
    }
}
