package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.nanopool.Credentials;
import dev.nanopool.NanoDataSource;
import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import dev.nanopool.TlsMode;
import dev.nanopool.testkit.Containers;
import dev.nanopool.testkit.TestServer;
import java.sql.Connection;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.testcontainers.containers.PostgreSQLContainer;
import org.testcontainers.utility.DockerImageName;

/** The URL that a container of Testcontainers gives, as it is. */
@Tag("server")
class ContainerUrlTest {
    private static PostgreSQLContainer<?> container;

    @BeforeAll
    static void start() {
        String obstacle = Containers.obstacle();
        assumeTrue(obstacle == null, obstacle);
        container = new PostgreSQLContainer<>(
                DockerImageName.parse(Containers.image()).asCompatibleSubstituteFor("postgres"));
        container.start();
    }

    @AfterAll
    static void stop() {
        if (container != null) container.close();
    }

    // A pool takes the container's URL, with credentials in the URL and beside it.
    @Test
    void poolMustTakeTheUrlOfAContainer() throws Exception {
        String url = container.getJdbcUrl();
        assertThat(url).as("a parameter that the driver has retired").contains("?loggerLevel=OFF");
        String user = "&user=" + container.getUsername() + "&password=" + container.getPassword();
        try (Pool pool = Pool.create(url + user, TlsMode.DISABLE, 1);
                Connection client = pool.client()) {
            assertThat(TestServer.query(client, "SELECT 1")).isEqualTo("1");
        }
        var credentials = new Credentials(container.getUsername(), container.getPassword());
        try (Pool pool = Pool.create(PoolConfig.builder(url)
                        .credentials(() -> credentials)
                        .tls(TlsMode.DISABLE)
                        .size(1)
                        .build());
                Connection client = pool.client()) {
            assertThat(TestServer.query(client, "SELECT 1")).isEqualTo("1");
        }
    }

    // Spring Boot gives the URL, the user and the password of its JdbcConnectionDetails to these setters, one by one.
    @Test
    void dataSourceMustTakeTheUrlOfAContainer() throws Exception {
        try (var dataSource = new NanoDataSource()) {
            dataSource.setJdbcUrl(container.getJdbcUrl());
            dataSource.setUsername(container.getUsername());
            dataSource.setPassword(container.getPassword());
            dataSource.setTlsMode(TlsMode.DISABLE);
            dataSource.setMaximumPoolSize(1);
            try (Connection client = dataSource.getConnection()) {
                assertThat(TestServer.query(client, "SELECT 1")).isEqualTo("1");
            }
        }
    }
}
