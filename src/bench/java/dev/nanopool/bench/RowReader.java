package dev.nanopool.bench;

import java.io.IOException;
import java.io.InputStream;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.function.ToLongFunction;

/** Reads a table of 1,000 rows and 5 columns by a prepared statement. */
public final class RowReader implements ToLongFunction<Connection> {
    /**
     * A reader whose code belongs to one contender alone. A call of JDBC that has met the classes of two contenders is
     * compiled to slower code than one that knows a single class, and two that are compared in one JVM would share
     * that.
     */
    @SuppressWarnings("unchecked")
    static ToLongFunction<Connection> alone() throws ReflectiveOperationException {
        var loader = new ClassLoader(RowReader.class.getClassLoader()) {
            Class<?> copy() throws ReflectiveOperationException {
                try (InputStream code = RowReader.class.getResourceAsStream("RowReader.class")) {
                    byte[] bytes = code.readAllBytes();
                    return defineClass(RowReader.class.getName(), bytes, 0, bytes.length);
                } catch (IOException e) {
                    throw new ReflectiveOperationException(e);
                }
            }
        };
        return (ToLongFunction<Connection>)
                loader.copy().getDeclaredConstructor().newInstance();
    }

    @Override
    public long applyAsLong(Connection connection) {
        try (PreparedStatement select =
                connection.prepareStatement("SELECT id, amount, name, ratio, at FROM bench_rows WHERE id > ?")) {
            select.setInt(1, 0);
            long sum = 0;
            try (ResultSet row = select.executeQuery()) {
                while (row.next()) {
                    sum += row.getInt(1) + row.getLong(2) + row.getString(3).length();
                    sum += (long) row.getDouble(4) + row.getTimestamp(5).getTime();
                }
            }
            return sum;
        } catch (SQLException e) {
            throw new IllegalStateException(e);
        }
    }
}
