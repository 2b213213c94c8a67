package dev.nanopool.helidon;

import dev.nanopool.NanoDataSource;
import io.helidon.config.Config;
import io.helidon.dbclient.DbClientException;
import io.helidon.dbclient.jdbc.CloseableJdbcConnectionPool;
import io.helidon.dbclient.jdbc.JdbcConnectionPool;
import io.helidon.dbclient.jdbc.spi.JdbcConnectionPoolProvider;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.Map;
import java.util.TreeMap;

/**
 * The pool of a {@code DbClient} of Helidon 4.5 or newer. Helidon finds this class by the service loader, and calls it with the
 * settings below {@code connection}. These are the properties of {@link NanoDataSource#configure}, for example {@code url},
 * {@code maximum-pool-size} and {@code connection-timeout}.
 *
 * <p>The pool starts at the first statement. {@code DbClient.close()} closes it. Thread-safe.
 */
@SuppressWarnings("exports") // "requires transitive" would make each user of the pool require Helidon
public final class NanoPoolProvider implements JdbcConnectionPoolProvider {
    private static final String KEY = "nanopool";

    /** Helidon's own settings below {@code connection}. */
    private static final String RESERVED = "helidon";

    /** Makes a provider, as the service loader does. */
    public NanoPoolProvider() {}

    /** The pool's name in a configuration, {@code nanopool}. */
    @Override
    public String configKey() {
        return KEY;
    }

    /**
     * Makes a pool, without a connection to the server.
     *
     * @param config the settings below {@code connection}
     * @param name the name that Helidon gives to the pool
     * @return the pool
     * @throws IllegalArgumentException if a setting is unknown or has a bad value
     */
    @Override
    public JdbcConnectionPool create(Config config, String name) {
        Map<String, String> settings = new TreeMap<>(config.detach().asMap().orElse(Map.of()));
        settings.keySet().removeIf(key -> key.equals(RESERVED) || key.startsWith(RESERVED + "."));
        var dataSource = new NanoDataSource();
        dataSource.configure(settings);
        return new NanoPool(dataSource, name);
    }

    private record NanoPool(NanoDataSource dataSource, String name) implements CloseableJdbcConnectionPool {
        @Override
        public Connection connection() {
            try {
                return dataSource.getConnection();
            } catch (SQLException e) {
                throw new DbClientException("no connection from the pool", e);
            }
        }

        @Override
        public String type() {
            return KEY;
        }

        @Override
        public String dbType() {
            return "postgresql";
        }

        @Override
        public void close() {
            dataSource.close();
        }
    }
}
