package dev.nanopool.frameworks;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.atomic.AtomicInteger;
import javax.sql.DataSource;
import org.flywaydb.core.Flyway;
import org.flywaydb.core.api.configuration.FluentConfiguration;
import org.flywaydb.database.postgresql.PostgreSQLConfigurationExtension;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class FlywayTest extends FrameworkTestBase {
    @TempDir
    private Path scripts = Path.of("");

    @BeforeEach
    void writeScripts() throws IOException {
        // The setting of the first script must not reach the next lease.
        script("V1__items.sql", "SET statement_timeout = 12345; CREATE TABLE item (id int PRIMARY KEY, name text);");
        script("V2__rows.sql", "INSERT INTO item SELECT n, 'item ' || n FROM generate_series(1, 10) AS n;");
        script("V3__index.sql", "CREATE INDEX CONCURRENTLY item_name ON item (name);");
    }

    private void script(String name, String sql) throws IOException {
        Files.writeString(scripts.resolve(name), sql);
    }

    private Flyway flyway(DataSource dataSource) {
        FluentConfiguration configuration =
                Flyway.configure().dataSource(dataSource).locations("filesystem:" + scripts);
        // CREATE INDEX CONCURRENTLY would wait for the transaction that holds the lock.
        configuration
                .getConfigurationExtension(PostgreSQLConfigurationExtension.class)
                .setTransactionalLock(false);
        return configuration.load();
    }

    // Two instances start at once. One of them migrates, and the other one waits for it.
    @ParameterizedTest
    @EnumSource
    void eachMigrationMustRunOnce(Door door) throws Exception {
        DataSource dataSource = dataSource(door);
        var executed = new AtomicInteger();
        for (int instance = 0; instance < 2; instance++) {
            threads.start(() -> executed.addAndGet(flyway(dataSource).migrate().migrationsExecuted));
        }
        threads.join();
        assertThat(executed).hasValue(3);
        assertThat(
                        select(
                                "SELECT string_agg(version, ' ' ORDER BY installed_rank) FROM flyway_schema_history WHERE success"))
                .isEqualTo("1 2 3");
        assertThat(select("SELECT count(*) FROM item")).isEqualTo("10");
        assertThat(select("SELECT indisvalid FROM pg_index WHERE indexrelid = 'item_name'::regclass"))
                .isEqualTo("t");
        assertThat(flyway(dataSource).validateWithResult().validationSuccessful).isTrue();
    }
}
