/** A PostgreSQL connection pool for virtual threads. */
module dev.nanopool {
    requires transitive java.sql;
    requires java.logging;
    requires jdk.net;
    requires org.postgresql.jdbc;
    requires static io.helidon.dbclient.jdbc; // for dev.nanopool.helidon alone
    requires static java.management; // an application must start without it
    requires static jdk.jfr; // the same
    requires static micrometer.core; // for dev.nanopool.micrometer alone
    requires static org.jspecify;
    // for dev.nanopool.spring alone
    requires static com.fasterxml.jackson.annotation; // in the class file of Spring Boot's Health
    requires static spring.beans;
    requires static spring.boot;
    requires static spring.boot.actuator; // of Spring Boot 3
    requires static spring.boot.actuator.autoconfigure;
    requires static spring.boot.autoconfigure;
    requires static spring.boot.health; // of Spring Boot 4
    requires static spring.boot.jdbc;
    requires static spring.context;
    requires static spring.core;

    exports dev.nanopool;
    exports dev.nanopool.helidon;
    exports dev.nanopool.micrometer;
    exports dev.nanopool.driver to
            org.postgresql.jdbc;

    opens dev.nanopool.spring; // Spring calls it by reflection

    provides io.helidon.dbclient.jdbc.spi.JdbcConnectionPoolProvider with
            dev.nanopool.helidon.NanoPoolProvider;
}
