package dev.nanopool.bench;

import com.mchange.v2.c3p0.ComboPooledDataSource;
import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import dev.nanopool.NanoDataSource;
import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import io.agroal.api.AgroalDataSource;
import io.agroal.api.configuration.AgroalConnectionPoolConfiguration.ConnectionValidator;
import io.agroal.api.configuration.supplier.AgroalDataSourceConfigurationSupplier;
import java.awt.Color;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.time.Duration;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import org.apache.commons.dbcp2.BasicDataSource;
import org.apache.tomcat.jdbc.pool.PoolProperties;
import org.vibur.dbcp.ViburDBCPDataSource;

/**
 * The pools that are compared, and their settings. All get the same URL and so the same driver; a fixed number of
 * connections, opened at the start; the same maximum lifetime where they have one; and ten minutes to wait, so that no
 * caller is refused.
 *
 * <p>If checks are off, no pool speaks to the server between two leases. If checks are on, each validates every
 * connection before it lends it, by {@code Connection.isValid}; nanopool has no such check, because its own (a look at
 * what the driver knows) is always on. Everything else is as each project ships it.
 */
enum Contender {
    NANOPOOL("nanopool", Pool.class, 0xd62728) {
        @Override
        Source start(Settings settings) throws Exception {
            return nanopool(settings, settings.size);
        }
    },
    /** For the start-up, because its first connection is usable before the last one is open, as it is with HikariCP. */
    NANOPOOL_FIRST("nanopool, minIdle(1)", Pool.class, 0xff9896) {
        @Override
        Source start(Settings settings) throws Exception {
            return nanopool(settings, 1);
        }
    },
    /** For the start-up: the bean, which starts at its first call and opens the others after the first connection. */
    NANOPOOL_BEAN("nanopool, NanoDataSource", Pool.class, 0xe7969c) {
        @Override
        Source start(Settings settings) {
            NanoDataSource pool = new NanoDataSource();
            pool.setJdbcUrl(settings.url);
            pool.setMaximumPoolSize(settings.size);
            pool.setConnectionTimeout(PATIENCE.toMillis());
            pool.setMaxLifetime(settings.maxLifetime.toMillis());
            pool.setKeepaliveTime(0);
            return source(pool::getConnection, pool);
        }
    },
    /** For the overload, see {@link Overload}. */
    NANOPOOL_PATIENT("nanopool, no refusal at arrival", Pool.class, 0xad494a) {
        @Override
        Source start(Settings settings) throws Exception {
            return nanopool(settings, settings.size);
        }
    },
    HIKARI("HikariCP", HikariDataSource.class, 0x1f77b4) {
        @Override
        Source start(Settings settings) {
            // By default it validates what has been idle for 500 ms.
            System.setProperty("com.zaxxer.hikari.aliveBypassWindowMs", settings.checks ? "0" : "86400000");
            HikariConfig config = new HikariConfig();
            config.setJdbcUrl(settings.url);
            config.setMaximumPoolSize(settings.size);
            config.setConnectionTimeout(PATIENCE.toMillis());
            config.setMaxLifetime(settings.maxLifetime.toMillis()); // less than 30 s is not accepted
            config.setKeepaliveTime(0);
            HikariDataSource pool = new HikariDataSource(config);
            return source(pool::getConnection, pool);
        }
    },
    AGROAL("Agroal", io.agroal.pool.DataSource.class, 0xff7f0e) {
        @Override
        Source start(Settings settings) throws Exception {
            AgroalDataSource pool = AgroalDataSource.from(new AgroalDataSourceConfigurationSupplier()
                    .connectionPoolConfiguration(config -> config.initialSize(settings.size)
                            .minSize(settings.size)
                            .maxSize(settings.size)
                            .acquisitionTimeout(PATIENCE)
                            .maxLifetime(settings.maxLifetime)
                            .validateOnBorrow(settings.checks)
                            .connectionValidator(ConnectionValidator.defaultValidator())
                            .connectionFactoryConfiguration(factory -> factory.jdbcUrl(settings.url))));
            return source(pool::getConnection, pool);
        }
    },
    TOMCAT("Tomcat JDBC", org.apache.tomcat.jdbc.pool.DataSource.class, 0x2ca02c) {
        @Override
        Source start(Settings settings) {
            PoolProperties config = new PoolProperties();
            config.setUrl(settings.url);
            config.setDriverClassName("org.postgresql.Driver");
            config.setInitialSize(settings.size);
            config.setMinIdle(settings.size);
            config.setMaxIdle(settings.size);
            config.setMaxActive(settings.size);
            config.setMaxWait((int) PATIENCE.toMillis());
            config.setMaxAge(settings.maxLifetime.toMillis());
            config.setTestOnBorrow(settings.checks);
            config.setValidationInterval(0);
            var pool = new org.apache.tomcat.jdbc.pool.DataSource(config);
            return source(pool::getConnection, pool::close);
        }
    },
    DBCP2("DBCP", BasicDataSource.class, 0x9467bd) {
        @Override
        Source start(Settings settings) {
            BasicDataSource pool = new BasicDataSource();
            pool.setUrl(settings.url);
            pool.setInitialSize(settings.size);
            pool.setMinIdle(settings.size);
            pool.setMaxIdle(settings.size);
            pool.setMaxTotal(settings.size);
            pool.setMaxWait(PATIENCE);
            pool.setMaxConn(settings.maxLifetime);
            pool.setTestOnBorrow(settings.checks);
            return source(pool::getConnection, pool);
        }
    },
    VIBUR("vibur-dbcp", ViburDBCPDataSource.class, 0x8c564b) {
        @Override
        Source start(Settings settings) {
            ViburDBCPDataSource pool = new ViburDBCPDataSource(); // has no maximum lifetime
            pool.setJdbcUrl(settings.url);
            pool.setUsername(""); // must be set, but the URL wins
            pool.setPassword("");
            pool.setPoolInitialSize(settings.size);
            pool.setPoolMaxSize(settings.size);
            pool.setConnectionTimeoutInMs(PATIENCE.toMillis());
            pool.setConnectionIdleLimitInSeconds(settings.checks ? 0 : -1);
            pool.start();
            return source(pool::getConnection, pool);
        }
    },
    C3P0("c3p0", ComboPooledDataSource.class, 0xe377c2) {
        @Override
        Source start(Settings settings) {
            ComboPooledDataSource pool = new ComboPooledDataSource();
            pool.setJdbcUrl(settings.url);
            pool.setInitialPoolSize(settings.size);
            pool.setMinPoolSize(settings.size);
            pool.setMaxPoolSize(settings.size);
            pool.setCheckoutTimeout((int) PATIENCE.toMillis());
            pool.setMaxConnectionAge((int) settings.maxLifetime.toSeconds());
            pool.setTestConnectionOnCheckout(settings.checks);
            return source(pool::getConnection, pool);
        }
    },
    /** No pool, but the driver's connection, which the thread that opened this source has to itself. */
    RAW("raw driver", org.postgresql.Driver.class, 0x7f7f7f) {
        @Override
        Source start(Settings settings) throws Exception {
            Connection connection = DriverManager.getConnection(settings.url);
            return new Source() {
                @Override
                public Connection borrow() {
                    return connection;
                }

                @Override
                public void giveBack(Connection borrowed) {}

                @Override
                public void close() throws Exception {
                    connection.close();
                }
            };
        }
    };

    private static final Duration PATIENCE = Duration.ofMinutes(10);

    /** Other ways of nanopool, which take part only in the benchmarks that name them. */
    static final Set<Contender> VARIANTS = EnumSet.of(NANOPOOL_FIRST, NANOPOOL_BEAN, NANOPOOL_PATIENT);

    private final String title;
    private final Class<?> type;
    final Color color;

    Contender(String title, Class<?> type, int rgb) {
        this.title = title;
        this.type = type;
        this.color = new Color(rgb);
    }

    /** Name and version, the latter by the name of the jar. */
    @Override
    public String toString() {
        Path jar =
                Path.of(type.getProtectionDomain().getCodeSource().getLocation().getPath());
        String version = jar.getFileName().toString().replaceFirst(".*?-(\\d.*)\\.jar", "$1");
        return type == Pool.class ? title : title + " " + version;
    }

    private static Source nanopool(Settings settings, int minIdle) throws Exception {
        Pool pool = Pool.create(PoolConfig.builder(settings.url)
                .size(settings.size)
                .minIdle(minIdle)
                .acquireTimeout(PATIENCE)
                .maxLifetime(settings.maxLifetime)
                .keepalive(Duration.ZERO)
                .build());
        return source(pool::client, pool);
    }

    /** What all contenders are told. */
    record Settings(String url, int size, boolean checks, Duration maxLifetime) {
        static final Duration LASTING = Duration.ofMinutes(30);

        /** Checks off. */
        Settings(String url, int size) {
            this(url, size, false, LASTING);
        }
    }

    /** Where connections come from, and where they go back to. */
    interface Source extends AutoCloseable {
        Connection borrow() throws Exception;

        default void giveBack(Connection borrowed) throws Exception {
            borrowed.close();
        }
    }

    /** Starts it as its project says, and waits for nothing. */
    abstract Source start(Settings settings) throws Exception;

    /** Starts it, and waits until all connections are open. */
    Source open(Settings settings) throws Exception {
        Source source = start(settings);
        source.giveBack(source.borrow()); // some begin only now
        Thread.sleep(1_000); // Agroal may overlook a connection that comes while a caller waits
        List<Connection> all = new ArrayList<>();
        for (int i = 0; i < (this == RAW ? 1 : settings.size); i++) all.add(source.borrow());
        for (Connection connection : all) source.giveBack(connection);
        return source;
    }

    private interface Borrowing {
        Connection borrow() throws Exception;
    }

    private static Source source(Borrowing borrowing, AutoCloseable pool) {
        return new Source() {
            @Override
            public Connection borrow() throws Exception {
                return borrowing.borrow();
            }

            @Override
            public void close() throws Exception {
                pool.close();
            }
        };
    }
}
