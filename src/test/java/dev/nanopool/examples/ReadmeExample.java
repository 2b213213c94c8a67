package dev.nanopool.examples;

// @start region="program"
import dev.nanopool.Pool;
import dev.nanopool.TlsMode;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;

class ReadmeExample {
    public static void main(String[] args) throws SQLException {
        // @start region="example"
        try (Pool pool = Pool.create(args[0], TlsMode.PREFER, 4);
                Connection client = pool.client();
                PreparedStatement select = client.prepareStatement("SELECT 1 + 2");
                ResultSet row = select.executeQuery()) {
            row.next();
            System.out.println(row.getInt(1));
        }
        // @end
    }
}
// @end
