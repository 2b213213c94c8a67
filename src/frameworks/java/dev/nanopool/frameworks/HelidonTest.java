package dev.nanopool.frameworks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.TestServer;
import io.helidon.config.Config;
import io.helidon.config.ConfigSources;
import io.helidon.dbclient.DbClient;
import io.helidon.dbclient.DbClientException;
import io.helidon.dbclient.DbTransaction;
import io.helidon.dbclient.jdbc.JdbcClientBuilder;
import io.helidon.dbclient.jdbc.JdbcConnectionPool;
import java.sql.SQLException;
import java.util.Map;
import javax.sql.DataSource;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class HelidonTest extends FrameworkTestBase {
    private static DbClient client(DataSource dataSource) {
        return JdbcClientBuilder.create()
                .connectionPool(() -> {
                    try {
                        return dataSource.getConnection();
                    } catch (SQLException e) {
                        throw new DbClientException("no connection", e);
                    }
                })
                .build();
    }

    // A commit, a rollback, and a statement that fails, after which Helidon itself closes the client.
    @ParameterizedTest
    @EnumSource
    void rowsMustBeStored(Door door) throws Exception {
        try (DbClient client = client(dataSource(door))) {
            assertRowsAreStored(client);
        }
    }

    // Helidon finds the provider, which takes its settings from the configuration. The client closes the pool.
    @Test
    void poolMustBeMadeOfTheConfiguration() throws Exception {
        dataSource(Door.BEAN); // whose schema and checks the test needs
        String name = name();
        Map<String, String> settings = Map.of(
                "source", "jdbc",
                "connection.url", TestServer.url(),
                "connection.maximum-pool-size", "2",
                "connection.pool-name", name,
                "connection.schema", "framework",
                "connection.helidon.pool-metrics", "true");
        try (DbClient client = DbClient.create(Config.just(ConfigSources.create(settings)))) {
            assertThat(client.dbType()).isEqualTo("postgresql");
            assertRowsAreStored(client);
            assertThat(TestServer.sessions(name)).isBetween(1, 2);
        }
        Await.until("the client has closed the pool", () -> TestServer.sessions(name) == 0);
    }

    @Test
    void unknownSettingMustBeRefused() throws Exception {
        dataSource(Door.BEAN);
        Config config = Config.just(ConfigSources.create(Map.of("url", TestServer.url(), "maximum-pol-size", "2")));
        assertThatThrownBy(() -> JdbcConnectionPool.create(config))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("maximum-pol-size")
                .hasMessageContaining("maximumPoolSize");
    }

    private static void assertRowsAreStored(DbClient client) throws Exception {
        execute("CREATE TABLE item (id int PRIMARY KEY, name text)");
        assertThat(client.execute().insert("INSERT INTO item VALUES (?, ?)", 1, "one"))
                .isEqualTo(1);
        DbTransaction committed = client.transaction();
        committed.insert("INSERT INTO item VALUES (?, ?)", 2, "two");
        committed.commit();
        DbTransaction rolledBack = client.transaction();
        rolledBack.insert("INSERT INTO item VALUES (?, ?)", 3, "three");
        rolledBack.rollback();
        DbTransaction failed = client.transaction();
        failed.insert("INSERT INTO item VALUES (?, ?)", 4, "four");
        assertThatThrownBy(() -> failed.insert("INSERT INTO item VALUES (?, ?)", 1, "again"))
                .isInstanceOf(DbClientException.class);
        assertThat(select("SELECT string_agg(name, ' ' ORDER BY id) FROM item")).isEqualTo("one two");
        assertThat(client.execute()
                        .query("SELECT name FROM item ORDER BY id")
                        .map(row -> row.column("name").getString())
                        .toList())
                .containsExactly("one", "two");
    }
}
