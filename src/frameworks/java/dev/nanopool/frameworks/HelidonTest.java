package dev.nanopool.frameworks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.helidon.dbclient.DbClient;
import io.helidon.dbclient.DbClientException;
import io.helidon.dbclient.DbTransaction;
import io.helidon.dbclient.jdbc.JdbcClientBuilder;
import java.sql.SQLException;
import javax.sql.DataSource;
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
