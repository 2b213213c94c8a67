package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.nanopool.Pool;
import dev.nanopool.TestAccess;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.FaultProxy;
import dev.nanopool.testkit.LeaseObjects;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.TestServer;
import java.io.InputStream;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.sql.Array;
import java.sql.Blob;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.ParameterMetaData;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.postgresql.PGConnection;
import org.postgresql.geometric.PGpoint;
import org.postgresql.jdbc.PgDatabaseMetaData;
import org.postgresql.jdbc.PgResultSet;
import org.postgresql.jdbc.PgStatement;
import org.postgresql.util.PGmoney;
import org.postgresql.util.PGobject;

/** Every object that a lease hands out leads back through the lease. */
@Timeout(300)
class DoorTest extends PoolTestBase {
    private static final Set<String> ENDED = Set.of("08003", "55000");

    @BeforeAll
    static void createTables() throws SQLException {
        try (Connection direct = TestServer.direct()) {
            TestServer.execute(direct, LeaseObjects.TABLES);
        }
    }

    /** What the call throws, or null. */
    private static @Nullable Throwable thrownBy(Object object, Method method) {
        try {
            method.invoke(object, LeaseObjects.arguments(method));
            return null;
        } catch (InvocationTargetException e) {
            return e.getCause();
        } catch (IllegalAccessException e) {
            throw new AssertionError(method.toString(), e);
        }
    }

    /** The SQLState of an exception or of its causes. */
    private static @Nullable String state(@Nullable Throwable thrown) {
        for (Throwable cause = thrown; cause != null; cause = cause.getCause()) {
            if (cause instanceof SQLException exception) return exception.getSQLState();
        }
        return null;
    }

    // A new type in the JDK's or the driver's interfaces must be wrapped, or be known to be a plain value.
    @Test
    void everyTypeThatALeaseHandsOutMustBeKnown() {
        Set<String> values = Set.of(
                "java.sql.Savepoint",
                "java.sql.SQLWarning",
                "java.sql.RowIdLifetime",
                "java.sql.Date",
                "java.sql.Time",
                "java.sql.Timestamp",
                "java.sql.NClob", // a Clob
                "java.sql.Ref", // the driver has none of these three
                "java.sql.RowId",
                "java.sql.Struct",
                "java.io.Writer", // the driver's Clob has none
                "org.postgresql.fastpath.FastpathArg",
                "org.postgresql.PGNotification",
                "org.postgresql.jdbc.PreferQueryMode",
                "org.postgresql.jdbc.AutoSave",
                "org.postgresql.replication.PGReplicationConnection"); // costs the connection
        Set<String> unknown = new TreeSet<>();
        for (Class<?> type : LeaseObjects.TYPES) {
            for (Method method : type.getMethods()) {
                Class<?> returned = method.getReturnType();
                while (returned.isArray()) returned = returned.getComponentType();
                String name = returned.getName();
                if (!name.matches("(java\\.sql|java\\.io|org\\.postgresql).*")) continue;
                if (!LeaseObjects.TYPES.contains(returned) && !values.contains(name)) unknown.add(name);
            }
        }
        assertThat(unknown).isEmpty();
    }

    // A method that the wrapper does not declare would be the interface's default, or an AbstractMethodError.
    @Test
    void everyMethodOfTheDriversInterfacesMustBeForwarded() throws Exception {
        Pool pool = open(1);
        Set<String> missing = new TreeSet<>();
        try (Connection client = pool.client();
                Statement statement = client.createStatement()) {
            for (Object object : List.of(client, statement)) {
                for (Class<?> type : List.of(PGConnection.class, org.postgresql.PGStatement.class)) {
                    if (!type.isInstance(object)) continue;
                    for (Method method : type.getMethods()) {
                        if (Modifier.isStatic(method.getModifiers())) continue;
                        Method own = object.getClass().getMethod(method.getName(), method.getParameterTypes());
                        if (own.getDeclaringClass().isInterface()) missing.add(method.toString());
                    }
                }
            }
        }
        assertThat(missing).isEmpty();
    }

    // An ended lease has no effect on the next one, through each method of each object of it.
    @Test
    void noObjectOfAnEndedLeaseMustReachTheNextOne() throws Exception {
        FaultProxy proxy = proxy();
        Pool pool = open(config(proxy).size(1));
        Connection first = pool.client();
        int backend = first.unwrap(PGConnection.class).getBackendPID();
        Map<String, Object> objects = LeaseObjects.of(first);
        first.close();
        Set<String> local = LeaseObjects.local();
        List<String> wrong = new ArrayList<>();
        int calls = 0;
        try (Connection next = pool.client()) {
            assertThat(next.unwrap(PGConnection.class).getBackendPID()).isEqualTo(backend);
            next.setAutoCommit(false);
            TestServer.execute(next, "INSERT INTO door_log VALUES (4711)");
            for (Map.Entry<String, Object> object : objects.entrySet()) {
                for (Method method : LeaseObjects.methods(object.getValue())) {
                    long before = proxy.messages();
                    Throwable thrown = thrownBy(object.getValue(), method);
                    boolean isRefused = ENDED.contains(String.valueOf(state(thrown)));
                    String call = object.getKey() + ": " + method + ": " + thrown;
                    if (!isRefused && !LeaseObjects.isLocal(local, method)) wrong.add("not refused: " + call);
                    if (proxy.messages() != before) wrong.add("sends: " + call);
                    calls++;
                }
            }
            assertThat(wrong).isEmpty();
            assertThat(calls).isGreaterThan(1_500);
            assertThat(next.getAutoCommit()).isFalse();
            assertThat(next.isReadOnly()).isFalse();
            next.commit();
        }
        assertThat(pool.stats().lost()).isZero();
        try (Connection last = pool.client()) {
            assertThat(last.unwrap(PGConnection.class).getBackendPID()).isEqualTo(backend);
            assertThat(TestServer.query(last, "SELECT count(*) FROM door_log WHERE n = 4711"))
                    .isEqualTo("1");
            TestServer.execute(last, "DELETE FROM door_log");
        }
    }

    // The server does not answer, and another thread closes the client meanwhile.
    @Test
    void callThatTheServerDoesNotAnswerMustFailWhenItsClientIsClosed() throws Exception {
        FaultProxy proxy = proxy();
        Pool pool = open(config(proxy).size(1));
        List<String> kinds = new ArrayList<>();
        try (Connection client = pool.client()) {
            kinds.addAll(LeaseObjects.of(client).keySet());
        }
        List<String> wrong = new ArrayList<>();
        Set<String> held = new TreeSet<>();
        for (String kind : kinds) {
            int at = 0;
            boolean isDone = false;
            while (!isDone) {
                Connection client = pool.client();
                Object object = LeaseObjects.of(client).get(kind);
                List<Method> methods = List.copyOf(LeaseObjects.methods(object));
                proxy.now(FaultProxy.Fault.UNANSWERED);
                boolean isHeld = false;
                while (at < methods.size() && !isHeld) {
                    Method method = methods.get(at++);
                    if (method.getName().matches("close|abort|free")) continue;
                    if (kind.equals("connection") && method.getName().matches("getReplicationAPI|addDataType"))
                        continue;
                    isHeld = isHeld(client, object, method, kind, wrong);
                    if (isHeld) held.add(kind + "." + method.getName());
                }
                client.abort(Runnable::run); // no-op if a call was held; else the server would not answer the reset
                isDone = at >= methods.size();
                try (Connection next = pool.client()) {
                    if (!next.getAutoCommit()
                            || !TestServer.query(next, "SELECT 42").equals("42"))
                        wrong.add("the lease after " + kind + " is not right");
                }
            }
        }
        assertThat(wrong).isEmpty();
        assertThat(held)
                .contains(
                        "connection.commit",
                        "database metadata.getSchemas",
                        "prepared statement.getParameterMetaData",
                        "blob.length",
                        "rows by cursor.next",
                        "rows to update.updateRow");
    }

    /** Calls the method in another thread. If the server holds it up, closes the client and looks what comes of it. */
    private boolean isHeld(Connection client, Object object, Method method, String kind, List<String> wrong)
            throws Exception {
        BooleanSupplier isInside = TestAccess.isInside(client);
        var call = new FutureTask<>(() -> thrownBy(object, method));
        Thread caller = Thread.ofVirtual().start(call);
        Await.until("it waits or is done", () -> call.isDone() || caller.getState() == Thread.State.WAITING);
        if (call.isDone()) return false;
        if (!isInside.getAsBoolean() && !call.isDone()) wrong.add(kind + ": waits outside: " + method);
        long start = System.nanoTime();
        client.close();
        Duration taken = Duration.ofNanos(System.nanoTime() - start);
        if (taken.compareTo(TOLERANCE) > 0) wrong.add(kind + ": close took " + taken + ": " + method);
        boolean isSilent = call.get(20, TimeUnit.SECONDS) == null;
        // The driver's stream catches what its mark() meets, and declares no exception.
        if (isSilent && !method.getName().equals("mark")) wrong.add(kind + ": no exception: " + method);
        return true;
    }

    // Metadata was in flight when another thread closed the client, and the next lease ran in its transaction.
    @Test
    void nextLeaseMustKeepItsWriteWhenMetadataWasInFlightAtTheEndOfTheLast() throws Exception {
        FaultProxy proxy = proxy();
        Pool pool = open(config(proxy).size(1));
        Connection client = pool.client();
        client.setAutoCommit(false);
        DatabaseMetaData metaData = client.getMetaData();
        BooleanSupplier isInside = TestAccess.isInside(client);
        proxy.now(FaultProxy.Fault.UNANSWERED);
        threads.start(() -> assertThatThrownBy(metaData::getSchemas).isInstanceOf(SQLException.class));
        Await.until("it is inside", isInside::getAsBoolean);
        client.close();
        try (Connection next = pool.client()) {
            TestServer.execute(next, "INSERT INTO door_log VALUES (2)");
        }
        threads.join();
        try (Connection direct = TestServer.direct()) {
            assertThat(TestServer.query(direct, "DELETE FROM door_log WHERE n = 2 RETURNING n"))
                    .isEqualTo("2");
        }
    }

    // Stale metadata of parameters and rows asked the server in the next lease's transaction.
    @Test
    void staleMetadataMustNotAbortTheNextTransaction() throws Exception {
        Pool pool = open(1);
        Connection client = pool.client();
        PreparedStatement select = client.prepareStatement("SELECT id FROM door WHERE id = ?");
        ParameterMetaData parameters = select.getParameterMetaData();
        select.setInt(1, 1);
        ResultSetMetaData columns = select.executeQuery().getMetaData();
        client.close();
        try (Connection next = pool.client()) {
            next.setAutoCommit(false);
            TestServer.execute(next, "INSERT INTO door_log VALUES (3)");
            assertThatThrownBy(select::getParameterMetaData).hasFieldOrPropertyWithValue("SQLState", "55000");
            assertThatThrownBy(() -> columns.isNullable(1)).hasFieldOrPropertyWithValue("SQLState", "08003");
            assertThatThrownBy(() -> parameters.getParameterTypeName(1))
                    .hasFieldOrPropertyWithValue("SQLState", "08003");
            next.commit();
            assertThat(TestServer.query(next, "DELETE FROM door_log WHERE n = 3 RETURNING n"))
                    .isEqualTo("3");
            next.commit();
        }
    }

    // The numbers of open large objects are small, so a stale Blob read another lease's object.
    @Test
    void staleBlobMustNotReadTheNextLeasesObject() throws Exception {
        Pool pool = open(1);
        Connection client = pool.client();
        client.setAutoCommit(false);
        Blob blob = blob(client, 1);
        InputStream stream = blob.getBinaryStream();
        assertThat(blob.length()).isEqualTo(3);
        client.close();
        try (Connection next = pool.client()) {
            next.setAutoCommit(false);
            assertThat(blob(next, 2).length()).isEqualTo(3);
            assertThatThrownBy(() -> blob.getBytes(1, 3)).hasFieldOrPropertyWithValue("SQLState", "08003");
            assertThatThrownBy(stream::read).hasRootCauseInstanceOf(SQLException.class);
            next.rollback();
        }
    }

    private static Blob blob(Connection client, int id) throws SQLException {
        try (Statement select = client.createStatement();
                ResultSet row = select.executeQuery("SELECT large FROM door WHERE id = " + id)) {
            row.next();
            return row.getBlob(1);
        }
    }

    // Part B: a Blob or its stream is all that the caller holds; the collector must not end the lease.
    @Test
    void blobInUseMustKeepItsLease() throws Exception {
        Pool pool = open(1);
        Blob[] blob = new Blob[1];
        threads.start(() -> {
            Connection client = pool.client();
            client.setAutoCommit(false);
            blob[0] = blob(client, 1);
        });
        threads.join();
        for (int i = 0; i < 5; i++) {
            System.gc();
            long end = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(300);
            Await.until("the housekeeper has looked", () -> System.nanoTime() > end);
        }
        assertThat(blob[0].getBytes(1, 3)).hasSize(3);
        blob[0] = null;
        Await.until("the lease is found", () -> {
            System.gc();
            return pool.stats().active() == 0;
        });
    }

    // Each way to an object of the driver lets its user change anything, so everything is reset.
    @Test
    void everyUnwrapMustBeUndone() throws Exception {
        Pool pool = open(1);
        List<String> wrong = new ArrayList<>();
        for (int way = 0; way < 4; way++) {
            Connection client = pool.client();
            Statement statement = client.createStatement();
            ResultSet rows = statement.executeQuery("SELECT tags FROM door");
            rows.next();
            Statement raw = switch (way) {
                case 0 -> statement.unwrap(PgStatement.class);
                case 1 -> rows.unwrap(PgResultSet.class).getStatement();
                case 2 ->
                    client.getMetaData()
                            .unwrap(PgDatabaseMetaData.class)
                            .getConnection()
                            .createStatement();
                default -> rows.getObject(1, Array.class).getResultSet().getStatement();
            };
            raw.execute("SET statement_timeout = '77s'");
            client.close();
            try (Connection next = pool.client()) {
                String timeout = TestServer.query(next, "SHOW statement_timeout");
                if (!timeout.equals("0")) wrong.add("way " + way + ": " + timeout);
            }
        }
        assertThat(wrong).isEmpty();
    }

    // The pool took the refusal of a stale call for a failure of the next lease's connection.
    @Test
    void refusalOfAStaleCallMustNotCostTheNextLeaseItsConnection() throws Exception {
        Pool pool = open(1);
        Connection client = pool.client();
        Statement statement = client.createStatement();
        client.close();
        try (Connection next = pool.client()) {
            assertThatThrownBy(() -> statement.addBatch("SELECT 1")).isInstanceOf(SQLException.class);
            assertThat(TestServer.query(next, "SELECT 1")).isEqualTo("1");
        }
        assertThat(pool.stats().lost()).isZero();
        assertThat(pool.stats().closed()).isZero();
    }

    // Part B: the driver cannot forget a type, but there is nothing to forget if the type had the class before.
    @Test
    void typeThatIsRegisteredAgainMustNotCostTheConnection() throws Exception {
        Pool pool = open(1);
        for (int i = 0; i < 3; i++) {
            try (Connection client = pool.client()) {
                client.unwrap(PGConnection.class).addDataType("money", PGmoney.class);
            }
        }
        assertThat(pool.stats().closed()).isZero();
    }

    // The driver must get its own object instead of a wrapper as an argument, and the value must arrive.
    /** A class that a lease registers for a type of the server. */
    public static final class OwnRange extends PGobject {
        private static final long serialVersionUID = 1;
    }

    // Users of extensions register their classes on each lease. It must cost nothing, and must not reach the next
    // lease.
    @Test
    void typeThatALeaseRegistersMustNotCostTheConnectionNorStay() throws Exception {
        Pool pool = open(1);
        for (int i = 0; i < 3; i++) {
            try (Connection client = pool.client()) {
                assertThat(valueOf(client, "SELECT '[1,2)'::int4range").getClass())
                        .isEqualTo(PGobject.class);
                assertThat(valueOf(client, "SELECT '(1,2)'::point").getClass()).isEqualTo(PGpoint.class);
                client.unwrap(PGConnection.class).addDataType("int4range", OwnRange.class);
                client.unwrap(PGConnection.class).addDataType("point", OwnRange.class);
                assertThat(valueOf(client, "SELECT '[1,2)'::int4range")).isInstanceOf(OwnRange.class);
                assertThat(valueOf(client, "SELECT '(1,2)'::point")).isInstanceOf(OwnRange.class);
            }
        }
        assertThat(pool.stats().opened()).isEqualTo(1);
        assertThat(pool.stats().reset()).isZero();
        // How the driver itself reads a number is then unknown.
        try (Connection client = pool.client()) {
            client.unwrap(PGConnection.class).addDataType("int4", OwnRange.class);
        }
        pool.client().close();
        assertThat(pool.stats().opened()).isEqualTo(2);
    }

    private static Object valueOf(Connection client, String sql) throws SQLException {
        try (Statement statement = client.createStatement();
                ResultSet row = statement.executeQuery(sql)) {
            row.next();
            return row.getObject(1);
        }
    }

    @Test
    void objectsOfALeaseMustBeAcceptedAsItsParameters() throws Exception {
        Pool pool = open(1);
        try (Connection client = pool.client()) {
            client.setAutoCommit(false);
            PreparedStatement select = client.prepareStatement("SELECT ?::text[], ?::xml, ?::oid");
            ResultSet rows = client.createStatement().executeQuery("SELECT tags, doc, large FROM door");
            rows.next();
            select.setArray(1, rows.getArray(1));
            select.setSQLXML(2, rows.getSQLXML(2));
            select.setBlob(3, rows.getBlob(3));
            ResultSet copy = select.executeQuery();
            copy.next();
            assertThat(copy.getString(1)).isEqualTo("{a,b}");
            assertThat(copy.getString(2)).isEqualTo("<a/>");
            assertThat(copy.getBlob(3).getBytes(1, 3)).containsExactly(0xaa, 0xbb, 0xcc);
            assertThatCode(() -> client.createStatement().close()).doesNotThrowAnyException();
            client.rollback();
        }
    }
}
