package dev.nanopool.examples;

import dev.nanopool.Pool;
import dev.nanopool.TlsMode;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;

/** The example of README and Javadoc: compiled, run, and compared with README by ReadmeTest. */
final class ReadmeExample {
    private ReadmeExample() {}

    static int sum(String url) throws SQLException {
        // @start region="example"
        try (Pool pool = Pool.create(url, TlsMode.PREFER, 4);
                Connection client = pool.client();
                PreparedStatement select = client.prepareStatement("SELECT 1 + 2");
                ResultSet row = select.executeQuery()) {
            row.next();
            return row.getInt(1);
        }
        // @end
    }
}
