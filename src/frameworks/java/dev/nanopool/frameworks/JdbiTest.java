package dev.nanopool.frameworks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.stream.Stream;
import org.jdbi.v3.core.Jdbi;
import org.jdbi.v3.core.statement.PreparedBatch;
import org.jdbi.v3.core.statement.UnableToExecuteStatementException;
import org.jdbi.v3.core.transaction.TransactionIsolationLevel;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class JdbiTest extends FrameworkTestBase {
    // A batch, a savepoint, a read-only transaction of another isolation level, and a stream.
    @ParameterizedTest
    @EnumSource
    void rowsMustBeStored(Door door) throws Exception {
        Jdbi jdbi = Jdbi.create(dataSource(door));
        jdbi.useTransaction(handle -> {
            handle.execute("CREATE TABLE item (id int PRIMARY KEY, name text)");
            try (PreparedBatch batch = handle.prepareBatch("INSERT INTO item VALUES (:id, :name)")) {
                batch.bind("id", 1).bind("name", "one").add();
                batch.bind("id", 2).bind("name", "two").add();
                batch.execute();
            }
            handle.savepoint("before");
            handle.execute("UPDATE item SET name = 'changed'");
            handle.rollbackToSavepoint("before");
        });
        assertThat(select("SELECT string_agg(name, ' ' ORDER BY id) FROM item")).isEqualTo("one two");

        assertThatThrownBy(() -> jdbi.useTransaction(TransactionIsolationLevel.SERIALIZABLE, handle -> {
                    handle.setReadOnly(true);
                    handle.execute("DELETE FROM item");
                }))
                .isInstanceOf(UnableToExecuteStatementException.class)
                .hasMessageContaining("read-only transaction");
        String first =
                jdbi.inTransaction(handle -> {
                    try (Stream<String> names = handle
                            .createQuery("SELECT name FROM item ORDER BY id")
                            .setFetchSize(1)
                            .mapTo(String.class)
                            .stream()) {
                        return names.findFirst().orElseThrow();
                    }
                });
        assertThat(first).isEqualTo("one");
    }
}
