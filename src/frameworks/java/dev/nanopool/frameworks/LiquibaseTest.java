package dev.nanopool.frameworks;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import javax.sql.DataSource;
import liquibase.Scope;
import liquibase.command.CommandScope;
import liquibase.command.core.UpdateCommandStep;
import liquibase.command.core.helpers.DbUrlConnectionArgumentsCommandStep;
import liquibase.database.Database;
import liquibase.database.DatabaseFactory;
import liquibase.database.jvm.JdbcConnection;
import liquibase.resource.DirectoryResourceAccessor;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class LiquibaseTest extends FrameworkTestBase {
    private static final String CHANGES = """
            --liquibase formatted sql
            --changeset test:items
            CREATE TABLE item (id int PRIMARY KEY, name text);
            --changeset test:rows
            SET statement_timeout = 12345;
            INSERT INTO item SELECT n, 'item ' || n FROM generate_series(1, 10) AS n;
            --changeset test:index runInTransaction:false
            CREATE INDEX CONCURRENTLY item_name ON item (name);
            """;

    @TempDir
    private Path folder = Path.of("");

    private void update(DataSource dataSource) throws Exception {
        try (Connection client = dataSource.getConnection()) {
            Database database =
                    DatabaseFactory.getInstance().findCorrectDatabaseImplementation(new JdbcConnection(client));
            Scope.child(
                    Scope.Attr.resourceAccessor,
                    new DirectoryResourceAccessor(folder),
                    () -> new CommandScope(UpdateCommandStep.COMMAND_NAME)
                            .addArgumentValue(DbUrlConnectionArgumentsCommandStep.DATABASE_ARG, database)
                            .addArgumentValue(UpdateCommandStep.CHANGELOG_FILE_ARG, "changes.sql")
                            .execute());
        }
    }

    // The second run finds the first one's changes. Neither leaves its lock.
    @ParameterizedTest
    @EnumSource
    void eachChangeSetMustRunOnce(Door door) throws Exception {
        Files.writeString(folder.resolve("changes.sql"), CHANGES);
        DataSource dataSource = dataSource(door);
        for (int run = 0; run < 2; run++) {
            update(dataSource);
            assertThat(select("SELECT string_agg(id, ' ' ORDER BY orderexecuted) FROM databasechangelog"))
                    .isEqualTo("items rows index");
            assertThat(select("SELECT count(*) FROM item")).isEqualTo("10");
            assertThat(select("SELECT indisvalid FROM pg_index WHERE indexrelid = 'item_name'::regclass"))
                    .isEqualTo("t");
            assertThat(select("SELECT bool_or(locked) FROM databasechangeloglock"))
                    .isEqualTo("f");
        }
    }
}
