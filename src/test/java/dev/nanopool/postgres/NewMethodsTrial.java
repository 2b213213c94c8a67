package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.nanopool.Pool;
import dev.nanopool.TlsMode;
import dev.nanopool.testkit.TestServer;
import java.lang.reflect.InvocationTargetException;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.SQLFeatureNotSupportedException;
import java.sql.Statement;
import java.util.concurrent.Callable;
import org.postgresql.PGConnection;
import org.postgresql.PGResultSetMetaData;
import org.postgresql.PGStatement;

/** Calls the method {@code later} of the driver of its loader, which the pool does not know. */
final class NewMethodsTrial implements Callable<Void> {
    private final String url;

    NewMethodsTrial(String url) {
        this.url = url;
    }

    @Override
    public Void call() throws Exception {
        try (Pool pool = Pool.create(url, TlsMode.DISABLE, 1);
                Connection client = pool.client();
                Statement plain = client.createStatement();
                PreparedStatement prepared = client.prepareStatement("SELECT 1");
                Statement callable = client.prepareCall("SELECT 1");
                ResultSet rows = prepared.executeQuery();
                ResultSet tables = client.getMetaData().getTableTypes()) {
            refused(PGConnection.class, client);
            refused(PGConnection.class, client.unwrap(PGConnection.class));
            assertThat(client.unwrap(PGConnection.class)).isSameAs(client);
            assertThat(prepared.getConnection()).isSameAs(client);
            for (Statement statement : new Statement[] {plain, prepared, callable, tables.getStatement()})
                refused(PGStatement.class, statement);
            refused(PGResultSetMetaData.class, rows.getMetaData());
            assertThat(TestServer.query(client, "SELECT 2")).isEqualTo("2");
            pool.retire(client);
            client.close();
            assertThatThrownBy(() -> client.prepareStatement("SELECT 1")).isInstanceOf(SQLException.class);
        }
        return null;
    }

    private static void refused(Class<?> type, Object object) throws Exception {
        var later = type.getMethod("later", String.class, long.class, double[].class);
        assertThatThrownBy(() -> later.invoke(object, "", 1L, null))
                .isInstanceOf(InvocationTargetException.class)
                .cause()
                .isInstanceOf(SQLFeatureNotSupportedException.class)
                .hasMessageStartingWith(type.getSimpleName() + ".later: the driver is newer than the pool");
    }
}
