package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.nanopool.NanoDataSource;
import dev.nanopool.Pool;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.TestServer;
import java.sql.Connection;
import java.util.List;
import javax.sql.DataSource;
import org.jdbi.v3.core.Jdbi;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.springframework.dao.DataAccessException;
import org.springframework.dao.DuplicateKeyException;
import org.springframework.jdbc.core.JdbcTemplate;
import org.springframework.jdbc.datasource.DataSourceTransactionManager;
import org.springframework.transaction.TransactionDefinition;
import org.springframework.transaction.support.TransactionTemplate;

/**
 * What programs put on top of a pool, through both of its data sources. The pool has one connection, so a library that
 * keeps it is found out.
 */
class FrameworksTest extends PoolTestBase {
    enum Door {
        POOL,
        BEAN
    }

    private static final class Failed extends RuntimeException {
        private static final long serialVersionUID = 1;
    }

    private final NanoDataSource bean = new NanoDataSource();

    @BeforeEach
    void createTable() throws Exception {
        try (Connection direct = TestServer.direct()) {
            TestServer.execute(
                    direct, "DROP TABLE IF EXISTS framework; CREATE TABLE framework (id int PRIMARY KEY, name text)");
        }
    }

    @AfterEach
    void closeBeanAndDropTable() throws Exception {
        bean.close();
        try (Connection direct = TestServer.direct()) {
            TestServer.execute(direct, "DROP TABLE framework");
        }
    }

    private DataSource dataSource(Door door) throws Exception {
        if (door == Door.POOL) return open(1).dataSource();
        bean.setUrl(TestServer.url());
        bean.setMaximumPoolSize(1);
        return bean;
    }

    private static void assertNames(DataSource dataSource, String... names) throws Exception {
        try (Connection direct = TestServer.direct()) {
            assertThat(TestServer.query(
                            direct, "SELECT coalesce(string_agg(name, ',' ORDER BY id), '') FROM framework"))
                    .isEqualTo(String.join(",", names));
        }
        awaitBalance(dataSource.unwrap(Pool.class));
    }

    @ParameterizedTest
    @EnumSource
    void springMustCommitAndRollBack(Door door) throws Exception {
        DataSource dataSource = dataSource(door);
        var jdbc = new JdbcTemplate(dataSource);
        var transaction = new TransactionTemplate(new DataSourceTransactionManager(dataSource));

        transaction.executeWithoutResult(status -> {
            jdbc.update("INSERT INTO framework VALUES (?, ?)", 1, "one");
            jdbc.update("INSERT INTO framework VALUES (?, ?)", 2, "two");
        });
        assertNames(dataSource, "one", "two");

        assertThatThrownBy(() -> transaction.executeWithoutResult(status -> {
                    jdbc.update("UPDATE framework SET name = 'changed'");
                    throw new Failed();
                }))
                .isInstanceOf(Failed.class);
        assertNames(dataSource, "one", "two");

        // A failed statement aborts the transaction; the next one on the same connection works.
        assertThatThrownBy(() -> transaction.executeWithoutResult(
                        status -> jdbc.update("INSERT INTO framework VALUES (?, ?), (?, ?)", 3, "three", 1, "again")))
                .isInstanceOf(DuplicateKeyException.class);
        assertThat(jdbc.queryForList("SELECT name FROM framework ORDER BY id", String.class))
                .containsExactly("one", "two");
        assertNames(dataSource, "one", "two");
    }

    // Spring sets and restores read-only mode and isolation level itself; nothing of it may reach the next client.
    @ParameterizedTest
    @EnumSource
    void springMustLeaveNothingOfATransactionsSettings(Door door) throws Exception {
        DataSource dataSource = dataSource(door);
        var jdbc = new JdbcTemplate(dataSource);
        var transaction = new TransactionTemplate(new DataSourceTransactionManager(dataSource));
        transaction.setReadOnly(true);
        transaction.setIsolationLevel(TransactionDefinition.ISOLATION_SERIALIZABLE);
        transaction.setTimeout(30);

        String inside = transaction.execute(status -> jdbc.queryForObject(
                "SELECT current_setting('transaction_isolation') || ' ' || current_setting('transaction_read_only')",
                String.class));
        assertThat(inside).isEqualTo("serializable on");
        assertThatThrownBy(() -> transaction.executeWithoutResult(
                        status -> jdbc.update("INSERT INTO framework VALUES (1, 'one')")))
                .isInstanceOf(DataAccessException.class)
                .hasMessageContaining("read-only transaction");

        try (Connection client = dataSource.getConnection()) {
            assertThat(client.getAutoCommit()).isTrue();
            assertThat(client.isReadOnly()).isFalse();
            assertThat(TestServer.query(client, "SHOW transaction_isolation")).isEqualTo("read committed");
            assertThat(TestServer.query(client, "SHOW transaction_read_only")).isEqualTo("off");
        }
        assertNames(dataSource);
    }

    @ParameterizedTest
    @EnumSource
    void springMustUseOneConnectionWithinATransaction(Door door) throws Exception {
        DataSource dataSource = dataSource(door);
        var jdbc = new JdbcTemplate(dataSource);
        var transaction = new TransactionTemplate(new DataSourceTransactionManager(dataSource));
        transaction.executeWithoutResult(status -> {
            Integer first = jdbc.queryForObject("SELECT pg_backend_pid()", Integer.class);
            Object savepoint = status.createSavepoint();
            jdbc.batchUpdate(
                    "INSERT INTO framework VALUES (?, ?)", List.of(new Object[] {1, "one"}, new Object[] {2, "two"}));
            status.rollbackToSavepoint(savepoint);
            jdbc.update("INSERT INTO framework VALUES (3, 'three')");
            assertThat(jdbc.queryForObject("SELECT pg_backend_pid()", Integer.class))
                    .isEqualTo(first);
        });
        assertNames(dataSource, "three");
    }

    @ParameterizedTest
    @EnumSource
    void jdbiMustCommitAndRollBack(Door door) throws Exception {
        DataSource dataSource = dataSource(door);
        Jdbi jdbi = Jdbi.create(dataSource);

        jdbi.useTransaction(handle -> {
            handle.execute("INSERT INTO framework VALUES (?, ?)", 1, "one");
            handle.createUpdate("INSERT INTO framework VALUES (:id, :name)")
                    .bind("id", 2)
                    .bind("name", "two")
                    .execute();
        });
        assertNames(dataSource, "one", "two");

        assertThatThrownBy(() -> jdbi.useTransaction(handle -> {
                    handle.execute("UPDATE framework SET name = 'changed'");
                    throw new Failed();
                }))
                .isInstanceOf(Failed.class);
        List<String> names = jdbi.withHandle(handle -> handle.createQuery("SELECT name FROM framework ORDER BY id")
                .mapTo(String.class)
                .list());
        assertThat(names).containsExactly("one", "two");
        assertNames(dataSource, "one", "two");
    }
}
