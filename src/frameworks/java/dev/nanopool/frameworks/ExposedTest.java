package dev.nanopool.frameworks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.jetbrains.exposed.sql.transactions.ThreadLocalTransactionManagerKt.transaction;

import java.util.List;
import java.util.ServiceLoader;
import javax.sql.DataSource;
import kotlin.Unit;
import org.jetbrains.exposed.exceptions.ExposedSQLException;
import org.jetbrains.exposed.sql.Column;
import org.jetbrains.exposed.sql.Database;
import org.jetbrains.exposed.sql.DatabaseConfig;
import org.jetbrains.exposed.sql.DatabaseConnectionAutoRegistration;
import org.jetbrains.exposed.sql.QueriesKt;
import org.jetbrains.exposed.sql.SchemaUtils;
import org.jetbrains.exposed.sql.Table;
import org.jetbrains.exposed.sql.transactions.ThreadLocalTransactionManager;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class ExposedTest extends FrameworkTestBase {
    private static final class Items extends Table {
        private final Column<Integer> id = integer("id", null);
        private final Column<String> name = text("name", null, false);

        Items() {
            super("item");
        }
    }

    /** What Kotlin's default arguments say. */
    private static Database connect(DataSource dataSource) {
        return Database.Companion.connect(
                dataSource,
                client -> Unit.INSTANCE,
                DatabaseConfig.Companion.invoke(builder -> Unit.INSTANCE),
                ServiceLoader.load(DatabaseConnectionAutoRegistration.class)
                        .findFirst()
                        .orElseThrow(),
                database -> new ThreadLocalTransactionManager(database, null));
    }

    // A table, a batch, and a transaction that fails.
    @ParameterizedTest
    @EnumSource
    void rowsMustBeStored(Door door) throws Exception {
        Database database = connect(dataSource(door));
        var items = new Items();
        transaction(database, transaction -> {
            SchemaUtils.INSTANCE.create(new Table[] {items}, false);
            return QueriesKt.batchInsert(items, List.of("one", "two"), false, false, (batch, name) -> {
                batch.set(items.id, name.equals("one") ? 1 : 2);
                batch.set(items.name, name);
                return Unit.INSTANCE;
            });
        });
        assertThatThrownBy(() -> transaction(database, transaction -> {
                    QueriesKt.insert(items, (table, row) -> {
                        row.set(items.id, 3);
                        row.set(items.name, "three");
                        return Unit.INSTANCE;
                    });
                    transaction.execInBatch(List.of("INSERT INTO item VALUES (4, NULL)"));
                    return Unit.INSTANCE;
                }))
                .isInstanceOf(ExposedSQLException.class);
        assertThat(select("SELECT string_agg(name, ' ' ORDER BY id) FROM item")).isEqualTo("one two");
    }
}
