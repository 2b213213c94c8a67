package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;

import dev.nanopool.NanoDataSource;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.TestServer;
import java.net.URI;
import java.sql.Connection;
import java.util.Objects;
import javax.sql.DataSource;
import org.junit.jupiter.api.Test;
import org.springframework.boot.autoconfigure.AutoConfigurations;
import org.springframework.boot.jdbc.autoconfigure.DataSourceAutoConfiguration;
import org.springframework.boot.jdbc.autoconfigure.JdbcConnectionDetails;
import org.springframework.boot.test.context.runner.ApplicationContextRunner;

/** Spring Boot makes the data source by its own auto-configuration. */
class SpringBootTest extends PoolTestBase {
    /** What a container of Testcontainers gives to Spring Boot, which is credentials, and a URL without them. */
    private static final class DetailsOfAContainer implements JdbcConnectionDetails {
        private final URI url = URI.create(TestServer.url());
        private final String[] user = Objects.requireNonNullElse(url.getUserInfo(), System.getProperty("user.name"))
                .split(":", 2);

        @Override
        public String getUsername() {
            return user[0];
        }

        @Override
        public String getPassword() {
            return user.length > 1 ? user[1] : "";
        }

        @Override
        public String getJdbcUrl() {
            String more = url.getRawQuery() == null ? "" : "&" + url.getRawQuery();
            return "jdbc:postgresql://%s:%d%s?loggerLevel=OFF%s"
                    .formatted(url.getHost(), url.getPort(), url.getRawPath(), more);
        }
    }

    // The URL of a container, with a parameter that the driver has retired, comes through Spring Boot's connection
    // details.
    @Test
    void connectionDetailsOfAContainerMustWork() {
        new ApplicationContextRunner()
                .withConfiguration(AutoConfigurations.of(DataSourceAutoConfiguration.class))
                .withPropertyValues("spring.datasource.type=" + NanoDataSource.class.getName())
                .withBean(JdbcConnectionDetails.class, DetailsOfAContainer::new)
                .run(context -> {
                    DataSource dataSource = context.getBean(DataSource.class);
                    assertThat(dataSource).isInstanceOf(NanoDataSource.class);
                    try (Connection client = dataSource.getConnection()) {
                        assertThat(TestServer.query(client, "SELECT 1")).isEqualTo("1");
                    }
                });
    }
}
