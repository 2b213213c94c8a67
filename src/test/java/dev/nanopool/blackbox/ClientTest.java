package dev.nanopool.blackbox;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.nanopool.Pool;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.TestServer;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.sql.Array;
import java.sql.CallableStatement;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.LocalDateTime;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.CyclicBarrier;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.postgresql.PGConnection;
import org.postgresql.PGStatement;
import org.postgresql.core.TransactionState;
import org.postgresql.jdbc.PgConnection;
import org.postgresql.util.PGobject;

class ClientTest extends PoolTestBase {
    private static final Set<String> STILL_ANSWER = Set.of("close", "isClosed", "abort", "isValid");

    // In every method of every interface, a closed client reaches nothing and says so by SQLState 08003.
    @Test
    void closedClientMustRefuseEveryMethod() throws Exception {
        Pool pool = open(1);
        Connection client = pool.client();
        client.close();
        List<String> wrong = new ArrayList<>();
        int checked = 0;
        for (Method method : methods(Connection.class, PGConnection.class)) {
            if (STILL_ANSWER.contains(method.getName())) continue;
            checked++;
            try {
                method.invoke(client, arguments(method));
                wrong.add(method + " answered");
            } catch (InvocationTargetException e) {
                Throwable thrown = e.getCause();
                if (thrown instanceof IllegalStateException) thrown = thrown.getCause();
                boolean right = thrown instanceof SQLException closed && "08003".equals(closed.getSQLState());
                if (!right) wrong.add(method + " threw " + thrown);
            }
        }
        assertThat(wrong).isEmpty();
        assertThat(checked).isGreaterThan(70);
        assertThat(client.isClosed()).isTrue();
        assertThat(client.isValid(1)).isFalse();
        assertThatCode(client::close).doesNotThrowAnyException();
        assertThatCode(() -> client.abort(Runnable::run)).doesNotThrowAnyException();
    }

    private static List<Method> methods(Class<?>... types) {
        return Stream.of(types)
                .flatMap(type -> Arrays.stream(type.getMethods()))
                .filter(method -> !Modifier.isStatic(method.getModifiers()))
                .toList();
    }

    private static Object[] arguments(Method method) {
        return Arrays.stream(method.getParameterTypes())
                .map(type -> type == int.class
                        ? (Object) 1
                        : type == boolean.class
                                ? (Object) true
                                : type == long.class ? (Object) 1L : type == char.class ? (Object) 'x' : argument(type))
                .toArray();
    }

    private static Object argument(Class<?> type) {
        if (type == String.class) return "SELECT 1";
        if (type == Class.class) return Connection.class;
        return null;
    }

    // Two threads that close the same client at the same time give its connection back once.
    @Test
    void clientMustBeGivenBackOnceWhenTwoThreadsCloseIt() throws Exception {
        Pool pool = open(2);
        for (int round = 0; round < 500; round++) {
            Connection client = pool.client();
            var together = new CyclicBarrier(2);
            for (int i = 0; i < 2; i++) {
                threads.start(() -> {
                    together.await();
                    client.close();
                });
            }
            threads.join();
            awaitBalance(pool);
        }
        assertThat(pool.stats().leasesGranted()).isEqualTo(500);
    }

    @Test
    void everythingMustLeadBackToTheClient() throws Exception {
        Pool pool = open(1);
        try (Connection client = pool.client();
                Statement statement = client.createStatement();
                PreparedStatement prepared = client.prepareStatement("SELECT ARRAY[1, 2, 3]");
                CallableStatement call = client.prepareCall("{? = call abs(?)}")) {
            assertThat(statement.getConnection()).isSameAs(client);
            assertThat(prepared.getConnection()).isSameAs(client);
            assertThat(call.getConnection()).isSameAs(client);
            try (ResultSet rows = statement.executeQuery("SELECT 1")) {
                assertThat(rows.getStatement()).isSameAs(statement);
                assertThat(statement.getResultSet()).isSameAs(rows);
            }
            DatabaseMetaData metaData = client.getMetaData();
            assertThat(metaData.getConnection()).isSameAs(client);
            try (ResultSet schemas = metaData.getSchemas()) {
                assertThat(schemas.getStatement().getConnection()).isSameAs(client);
            }
            try (ResultSet rows = prepared.executeQuery()) {
                rows.next();
                for (Array array : List.of(
                        rows.getArray(1), (Array) rows.getObject(1), client.createArrayOf("int4", new Object[] {1}))) {
                    try (ResultSet elements = array.getResultSet()) {
                        assertThat(elements.getStatement().getConnection()).isSameAs(client);
                    }
                }
            }
        }
    }

    // A cursor that comes as a value has a statement of the driver's own making.
    @Test
    void cursorMustLeadBackToTheClient() throws Exception {
        Pool pool = open(1);
        try (Connection client = pool.client()) {
            client.setAutoCommit(false);
            TestServer.execute(client, """
                    CREATE FUNCTION pg_temp.numbers() RETURNS refcursor LANGUAGE plpgsql AS $$
                    DECLARE c refcursor := 'numbers'; BEGIN OPEN c FOR SELECT 7; RETURN c; END $$""");
            try (CallableStatement call = client.prepareCall("{? = call pg_temp.numbers()}")) {
                call.registerOutParameter(1, java.sql.Types.REF_CURSOR);
                call.execute();
                try (ResultSet rows = (ResultSet) call.getObject(1)) {
                    assertThat(rows.next()).isTrue();
                    assertThat(rows.getInt(1)).isEqualTo(7);
                    assertThat(rows.getStatement().getConnection()).isSameAs(client);
                }
            }
        }
    }

    // The driver's public interfaces are there without unwrapping, and its class with it.
    @Test
    void driverInterfacesMustBeReachable() throws Exception {
        Pool pool = open(1);
        try (Connection client = pool.client();
                Statement statement = client.prepareStatement("SELECT 1")) {
            assertThat(client).isInstanceOf(PGConnection.class);
            assertThat(statement).isInstanceOf(PGStatement.class);
            assertThat(client.unwrap(PGConnection.class)).isSameAs(client);
            assertThat(client.isWrapperFor(PGConnection.class)).isTrue();
            assertThat(client.unwrap(PgConnection.class).getBackendPID())
                    .isEqualTo(((PGConnection) client).getBackendPID());
            assertThat(statement.unwrap(PGStatement.class)).isSameAs(statement);
            assertThat(((PGStatement) statement).isUseServerPrepare()).isFalse();
            assertThatThrownBy(() -> client.unwrap(Runnable.class)).isInstanceOf(SQLException.class);
        }
    }

    // Programs log prepared statements, so the text is the driver's, with the parameters.
    @Test
    void preparedStatementMustPrintItsSql() throws Exception {
        Pool pool = open(1);
        try (Connection client = pool.client();
                PreparedStatement select = client.prepareStatement("SELECT ?::int")) {
            select.setInt(1, 42);
            assertThat(select.toString()).contains("SELECT").contains("42");
        }
    }

    @Test
    void closingTheClientMustCloseItsStatements() throws Exception {
        Pool pool = open(1);
        Connection client = pool.client();
        Statement statement = client.createStatement();
        ResultSet rows = statement.executeQuery("SELECT generate_series(1, 10)");
        ResultSet schemas = client.getMetaData().getSchemas();
        client.close();
        assertThat(statement.isClosed()).isTrue();
        assertThat(rows.isClosed()).isTrue();
        assertThat(schemas.isClosed()).isTrue();
        assertThatThrownBy(() -> statement.execute("SELECT 1"))
                .isInstanceOfSatisfying(
                        SQLException.class, e -> assertThat(e.getSQLState()).isEqualTo("55000"));
    }

    // closeOnCompletion is the driver's affair. The statement closes with its last result, and is forgotten.
    @Test
    void closeOnCompletionMustCloseTheStatementWithItsResult() throws Exception {
        Pool pool = open(1);
        try (Connection client = pool.client()) {
            Statement statement = client.createStatement();
            statement.closeOnCompletion();
            statement.executeQuery("SELECT 1").close();
            assertThat(statement.isClosed()).isTrue();
        }
    }

    @Test
    void valuesMustGoInAndOut() throws Exception {
        Pool pool = open(1);
        UUID uuid = UUID.randomUUID();
        LocalDateTime time = LocalDateTime.of(2026, 2, 28, 23, 59, 59, 123_456_000);
        PGobject json = new PGobject();
        json.setType("jsonb");
        json.setValue("{\"a\": [1, 2]}");
        try (Connection client = pool.client();
                PreparedStatement select =
                        client.prepareStatement("SELECT ?::uuid, ?::timestamp, ?::int[], ?::jsonb, ?::text[]")) {
            for (int execution = 0;
                    execution < 7;
                    execution++) { // text first, binary once the statement is server-prepared
                select.setObject(1, uuid);
                select.setObject(2, time);
                select.setArray(3, client.createArrayOf("int4", new Object[] {1, 2, 3}));
                select.setObject(4, json);
                select.setObject(5, client.createArrayOf("text", new Object[] {"a", null}));
                try (ResultSet row = select.executeQuery()) {
                    assertThat(row.next()).isTrue();
                    assertThat(row.getObject(1, UUID.class)).isEqualTo(uuid);
                    assertThat(row.getObject(2, LocalDateTime.class)).isEqualTo(time);
                    assertThat((Integer[]) row.getArray(3).getArray()).containsExactly(1, 2, 3);
                    assertThat(row.getString(4)).isEqualTo("{\"a\": [1, 2]}");
                    assertThat((String[]) row.getArray(5).getArray()).containsExactly("a", null);
                }
            }
        }
    }

    // A transaction left open, by JDBC or by SQL text, sound or failed, is rolled back and never reaches the next
    // client.
    @Test
    void transactionLeftOpenMustBeRolledBack() throws Exception {
        Pool pool = open(1);
        String table = "left_open_" + System.nanoTime();
        try (Connection direct = TestServer.direct()) {
            TestServer.execute(direct, "CREATE TABLE " + table + " (n int)");
            try {
                try (Connection client = pool.client()) {
                    client.setAutoCommit(false);
                    TestServer.execute(client, "INSERT INTO " + table + " VALUES (1)");
                }
                mustBeClean(pool);
                try (Connection client = pool.client()) {
                    TestServer.execute(client, "BEGIN; INSERT INTO " + table + " VALUES (2)");
                }
                mustBeClean(pool);
                try (Connection client = pool.client()) {
                    client.setAutoCommit(false);
                    assertThatThrownBy(() -> TestServer.execute(client, "SELECT 1 / 0"))
                            .isInstanceOf(SQLException.class);
                }
                mustBeClean(pool);
                assertThat(TestServer.query(direct, "SELECT count(*) FROM " + table))
                        .isEqualTo("0");
            } finally {
                TestServer.execute(direct, "DROP TABLE " + table);
            }
        }
        assertThat(pool.stats().opened()).as("the connection was kept").isEqualTo(1);
    }

    private static void mustBeClean(Pool pool) throws SQLException {
        try (Connection client = pool.client()) {
            assertThat(client.getAutoCommit()).isTrue();
            assertThat(client.unwrap(PgConnection.class).getTransactionState()).isEqualTo(TransactionState.IDLE);
        }
    }

    // The place of an aborted connection is free again without a close, and the session is gone.
    @Test
    void abortMustFreeThePlaceAtOnce() throws Exception {
        Pool pool = open(1);
        Connection client = pool.client();
        client.abort(Runnable::run);
        assertThat(client.isClosed()).isTrue();
        try (Connection next = pool.client()) {
            assertThat(TestServer.query(next, "SELECT 1")).isEqualTo("1");
        }
        client.close();
        awaitBalance(pool);
        assertThat(pool.stats().opened()).isEqualTo(2);
    }
}
