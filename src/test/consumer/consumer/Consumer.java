package consumer;

import dev.nanopool.NanoDataSource;
import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import dev.nanopool.PoolListener;
import dev.nanopool.PoolStats;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import javax.sql.DataSource;

/** A user's program: it touches what has annotations in its signature, and prints the sum of two numbers. */
public final class Consumer {
    private Consumer() {}

    /**
     * Borrows one connection from a pool and one from a data source.
     *
     * @param arguments the URL of the server
     * @throws SQLException if the server does not answer
     */
    public static void main(String[] arguments) throws SQLException {
        PoolConfig config = PoolConfig.builder(arguments[0])
                .size(2)
                .acquireTimeout(Duration.ofSeconds(10))
                .listener(new Quiet())
                .build();
        try (Pool pool = Pool.create(config);
                NanoDataSource dataSource = new NanoDataSource()) {
            dataSource.setUrl(arguments[0]);
            dataSource.setMaximumPoolSize(1);
            int sum = one(pool.dataSource()) + one(dataSource) + one(dataSource);
            PoolStats stats = pool.stats();
            System.out.println(sum + " from " + stats.size());
        }
    }

    private static int one(DataSource source) throws SQLException {
        try (Connection client = source.getConnection();
                Statement statement = client.createStatement();
                ResultSet row = statement.executeQuery("SELECT 1")) {
            row.next();
            return row.getInt(1);
        }
    }

    private static final class Quiet implements PoolListener {
        @Override
        public void lost(String pool, int backendPid, Throwable cause) {
            System.out.println(pool + " has lost " + backendPid);
        }
    }
}
