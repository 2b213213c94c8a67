package dev.nanopool.testkit;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.Reader;
import java.io.StringReader;
import java.io.UncheckedIOException;
import java.io.Writer;
import java.lang.reflect.Array;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Blob;
import java.sql.CallableStatement;
import java.sql.Clob;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.JDBCType;
import java.sql.ParameterMetaData;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.SQLType;
import java.sql.SQLXML;
import java.sql.Statement;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Calendar;
import java.util.Collection;
import java.util.Deque;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.Executor;
import org.postgresql.PGConnection;
import org.postgresql.PGResultSetMetaData;
import org.postgresql.PGStatement;
import org.postgresql.copy.CopyDual;
import org.postgresql.copy.CopyIn;
import org.postgresql.copy.CopyManager;
import org.postgresql.copy.CopyOut;
import org.postgresql.fastpath.Fastpath;
import org.postgresql.jdbc.AutoSave;
import org.postgresql.largeobject.LargeObject;
import org.postgresql.largeobject.LargeObjectManager;
import org.postgresql.util.PGmoney;

/** One object of each kind that a lease can hand out, and all the methods that callers can call on them. */
public final class LeaseObjects {
    /** The types of the objects that {@link #of} makes. */
    public static final Set<Class<?>> TYPES = Set.of(
            Connection.class,
            PGConnection.class,
            Statement.class,
            PGStatement.class,
            PreparedStatement.class,
            CallableStatement.class,
            ResultSet.class,
            DatabaseMetaData.class,
            ResultSetMetaData.class,
            PGResultSetMetaData.class,
            ParameterMetaData.class,
            java.sql.Array.class,
            Blob.class,
            Clob.class,
            SQLXML.class,
            InputStream.class,
            OutputStream.class,
            Reader.class,
            CopyManager.class,
            CopyIn.class,
            CopyOut.class,
            CopyDual.class,
            LargeObjectManager.class,
            LargeObject.class,
            Fastpath.class);

    /** Creates the tables that the objects need. */
    public static final String TABLES = """
            DROP TABLE IF EXISTS door; DROP TABLE IF EXISTS door_log;
            CREATE TABLE door (id int PRIMARY KEY, tags text[], large oid, doc xml, day uuid, mood text);
            CREATE TABLE door_log (n int);
            INSERT INTO door SELECT n, '{a,b}', lo_from_bytea(0, '\\xaabbcc'), '<a/>', gen_random_uuid(), 'fine'
            FROM generate_series(1, 9) n;
            CREATE OR REPLACE FUNCTION door_cursor() RETURNS refcursor LANGUAGE plpgsql AS
            $$ DECLARE c refcursor := 'c'; BEGIN OPEN c FOR SELECT 1 AS n; RETURN c; END $$""";

    private LeaseObjects() {}

    /** The objects of that client, which is left in a transaction. */
    public static Map<String, Object> of(Connection client) throws SQLException, IOException {
        Map<String, Object> objects = new LinkedHashMap<>();
        client.setAutoCommit(false);
        PGConnection pg = client.unwrap(PGConnection.class);
        objects.put("connection", client);
        objects.put("statement", client.createStatement());
        PreparedStatement prepared = client.prepareStatement("SELECT * FROM door WHERE id = ?");
        objects.put("prepared statement", prepared);
        objects.put("parameter metadata", prepared.getParameterMetaData());
        objects.put("prepared metadata", prepared.getMetaData());
        objects.put("callable statement", client.prepareCall("{? = call door_cursor()}"));
        ResultSet rows = rows(client, "SELECT * FROM door ORDER BY id", ResultSet.CONCUR_READ_ONLY, 0);
        objects.put("rows in memory", rows);
        objects.put("metadata of rows", rows.getMetaData());
        objects.put("array", rows.getArray("tags"));
        objects.put("array by class", rows.getObject("tags", java.sql.Array.class));
        objects.put("array made", client.createArrayOf("int4", new Integer[] {1}));
        objects.put("rows of array", rows.getArray(2).getResultSet());
        Blob blob = rows.getBlob("large");
        objects.put("blob", blob);
        objects.put("blob by class", rows.getObject("large", Blob.class));
        objects.put("blob to read", blob.getBinaryStream());
        objects.put("blob to write", rows.getBlob("large").setBinaryStream(1));
        Clob clob = rows.getClob("large");
        objects.put("clob", clob);
        objects.put("clob to read", clob.getCharacterStream());
        objects.put("clob as ascii", clob.getAsciiStream());
        objects.put("xml", rows.getSQLXML("doc"));
        objects.put("xml made", client.createSQLXML());
        objects.put("rows by cursor", rows(client, "SELECT * FROM door", ResultSet.CONCUR_READ_ONLY, 1));
        objects.put("rows to update", rows(client, "SELECT id, mood FROM door", ResultSet.CONCUR_UPDATABLE, 0));
        Statement keys = client.createStatement();
        keys.executeUpdate("INSERT INTO door_log VALUES (1)", Statement.RETURN_GENERATED_KEYS);
        objects.put("generated keys", keys.getGeneratedKeys());
        ResultSet cursor = rows(client, "SELECT door_cursor()", ResultSet.CONCUR_READ_ONLY, 0);
        objects.put("rows of refcursor", cursor.getObject(1));
        DatabaseMetaData metaData = client.getMetaData();
        objects.put("database metadata", metaData);
        objects.put("rows of metadata", metaData.getTables(null, null, "door", null));
        LargeObjectManager manager = pg.getLargeObjectAPI();
        objects.put("large objects", manager);
        LargeObject large = manager.open(rows.getLong("large"));
        objects.put("large object", large);
        objects.put("large object copied", large.copy());
        objects.put("large object to read", large.getInputStream());
        objects.put("large object to write", large.getOutputStream());
        objects.put("fast path", pg.getFastpathAPI());
        CopyManager copy = pg.getCopyAPI();
        objects.put("copies", copy);
        CopyIn in = copy.copyIn("COPY door_log FROM STDIN");
        in.endCopy();
        objects.put("copy", in);
        return objects;
    }

    private static ResultSet rows(Connection client, String sql, int concurrency, int fetchSize) throws SQLException {
        Statement statement = client.createStatement(ResultSet.TYPE_FORWARD_ONLY, concurrency);
        statement.setFetchSize(fetchSize);
        ResultSet rows = statement.executeQuery(sql);
        rows.next();
        return rows;
    }

    /** The methods of all public types of the object, each once, as the type nearest to it declares it. */
    public static Collection<Method> methods(Object object) {
        Map<String, Method> methods = new LinkedHashMap<>();
        Deque<Class<?>> types = new ArrayDeque<>(List.of(object.getClass()));
        while (!types.isEmpty()) {
            Class<?> type = types.removeFirst();
            if (type.getSuperclass() != null) types.addLast(type.getSuperclass());
            types.addAll(List.of(type.getInterfaces()));
            if (type == Object.class || !isPublic(type)) continue;
            for (Method method : type.getMethods()) {
                boolean isOfObject = method.getDeclaringClass() == Object.class;
                if (isOfObject || Modifier.isStatic(method.getModifiers()) || method.isBridge()) continue;
                methods.putIfAbsent(method.getName() + List.of(method.getParameterTypes()), method);
            }
        }
        return methods.values();
    }

    /** Whether a caller can name the type. A member of an interface of the pool is public, and yet out of reach. */
    private static boolean isPublic(Class<?> type) {
        Class<?> outer = type.getEnclosingClass();
        return Modifier.isPublic(type.getModifiers()) && (outer == null || isPublic(outer));
    }

    /** Arguments with which the method at least begins. */
    public static Object[] arguments(Method method) {
        return List.of(method.getParameterTypes()).stream()
                .map(type -> argument(method, type))
                .toArray();
    }

    private static Object argument(Method method, Class<?> type) {
        if (type == int.class) return 1;
        if (type == long.class) return 1L;
        if (type == short.class) return (short) 1;
        if (type == byte.class) return (byte) 1;
        if (type == float.class) return 1f;
        if (type == double.class) return 1d;
        if (type == boolean.class) return true;
        if (type == char.class) return 'a';
        if (type == String.class) return text(method);
        if (type == Class.class && method.getName().equals("addDataType")) return PGmoney.class;
        if (type == Class.class) return method.getName().equals("unwrap") ? Void.class : Integer.class;
        if (type == InputStream.class) return new ByteArrayInputStream(new byte[1]);
        if (type == Reader.class) return new StringReader("a");
        if (type == OutputStream.class) return OutputStream.nullOutputStream();
        if (type == Writer.class) return Writer.nullWriter();
        if (type.isArray()) return Array.newInstance(type.getComponentType(), 1);
        if (type == Map.class) return Map.of();
        if (type == Properties.class) return new Properties();
        if (type == Calendar.class) return Calendar.getInstance();
        if (type == Executor.class) return (Executor) Runnable::run;
        if (type == SQLType.class) return JDBCType.INTEGER;
        if (type == AutoSave.class) return AutoSave.NEVER;
        return null;
    }

    private static String text(Method method) {
        if (method.getName().startsWith("copy")) return "COPY door_log FROM STDIN";
        boolean isSql = method.getName().matches("execute.*|prepare.*|addBatch|nativeSQL");
        return isSql ? "SELECT 1" : "id";
    }

    /** The methods of {@code local-methods.txt}, as "type.name" or "type.name(types)". */
    public static Set<String> local() {
        Set<String> names = new TreeSet<>();
        try {
            for (String line : Files.readAllLines(Path.of("src/build/resources/local-methods.txt"))) {
                if (line.isBlank() || line.startsWith("#")) continue;
                String[] words = line.split("[: ]+");
                for (int i = 2; i < words.length; i++) names.add(words[0] + "." + words[i]);
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        return names;
    }

    /** Whether {@link #local} has the method. */
    public static boolean isLocal(Set<String> local, Method method) {
        String name = method.getDeclaringClass().getName() + "." + method.getName();
        List<String> types = new ArrayList<>();
        for (Class<?> type : method.getParameterTypes()) types.add(type.getName());
        return local.contains(name) || local.contains(name + "(" + String.join(",", types) + ")");
    }
}
