package dev.nanopool.frameworks;

import static org.assertj.core.api.Assertions.assertThat;

import dev.nanopool.NanoDataSource;
import dev.nanopool.Pool;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.TestServer;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import javax.sql.DataSource;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;

/**
 * A framework above the pool, through each of its two data sources, in a schema of the test's own. After each test no
 * connection is leased, and no session has anything that it did not have at its beginning.
 */
abstract class FrameworkTestBase extends PoolTestBase {
    private static final String SCHEMA = "framework";

    private static final int SIZE = 4;

    /** What a lease can leave in a session. The driver's own prepared statements do not count. */
    private static final String SESSION = """
            SELECT concat_ws('; ',
                (SELECT string_agg(name || '=' || setting, ', ' ORDER BY name) FROM pg_settings
                    WHERE source = 'session' AND setting IS DISTINCT FROM reset_val),
                'search_path=' || current_setting('search_path'),
                'role=' || current_user,
                (SELECT 'cursor ' || string_agg(name, ', ') FROM pg_cursors WHERE name NOT LIKE 'C\\_%'),
                (SELECT 'statement ' || string_agg(name, ', ') FROM pg_prepared_statements WHERE name NOT LIKE 'S\\_%'),
                (SELECT 'channel ' || string_agg(channel, ', ') FROM pg_listening_channels() AS channel),
                (SELECT 'advisory lock' FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory' LIMIT 1),
                (SELECT 'temporary ' || string_agg(relname, ', ') FROM pg_class WHERE relnamespace = pg_my_temp_schema()))""";

    /** The two data sources of the pool. */
    enum Door {
        POOL,
        BEAN
    }

    private final NanoDataSource bean = new NanoDataSource();
    private @Nullable DataSource dataSource;
    private String fresh = "";

    @BeforeEach
    void createSchema() throws SQLException {
        try (Connection direct = TestServer.direct()) {
            TestServer.execute(direct, "DROP SCHEMA IF EXISTS framework CASCADE; CREATE SCHEMA framework");
        }
    }

    /** The data source under test. Each test calls it once, first. */
    final DataSource dataSource(Door door) throws SQLException {
        DataSource made;
        if (door == Door.POOL) {
            made = open(config().size(SIZE).parameter("search_path", SCHEMA)).dataSource();
        } else {
            bean.setUrl(TestServer.url());
            bean.setMaximumPoolSize(SIZE);
            bean.setPoolName(name());
            bean.setSchema(SCHEMA);
            made = bean;
        }
        dataSource = made;
        fresh = sessions().getFirst();
        return made;
    }

    /** What the server has, as a session outside of the pool sees it. */
    static String select(String sql) throws SQLException {
        try (Connection direct = TestServer.direct()) {
            TestServer.execute(direct, "SET search_path = " + SCHEMA);
            return String.valueOf(TestServer.query(direct, sql));
        }
    }

    /** For what the framework cannot do itself. */
    static void execute(String sql) throws SQLException {
        try (Connection direct = TestServer.direct()) {
            TestServer.execute(direct, "SET search_path = " + SCHEMA + "; " + sql);
        }
    }

    /** The state of each session, when all of them are leased. */
    private List<String> sessions() throws SQLException {
        List<Connection> clients = new ArrayList<>();
        List<String> states = new ArrayList<>();
        try {
            for (int i = 0; i < SIZE; i++) clients.add(given().getConnection());
            for (Connection client : clients) {
                states.add(client.getAutoCommit() + " " + client.isReadOnly() + " " + client.getTransactionIsolation()
                        + " " + client.getHoldability() + " " + TestServer.query(client, SESSION));
            }
        } finally {
            for (Connection client : clients) client.close();
        }
        return states;
    }

    private DataSource given() {
        if (dataSource == null) throw new IllegalStateException("the test has not called dataSource()");
        return dataSource;
    }

    @AfterEach
    void nothingMustBeLeft() throws Exception {
        try {
            awaitBalance(given().unwrap(Pool.class));
            assertThat(sessions()).as("the sessions").hasSize(SIZE).containsOnly(fresh);
        } finally {
            bean.close();
        }
        try (Connection direct = TestServer.direct()) {
            TestServer.execute(direct, "DROP SCHEMA framework CASCADE");
        }
    }
}
