/** A PostgreSQL connection pool for virtual threads. */
module dev.nanopool {
    requires transitive java.sql;
    requires java.logging;
    requires jdk.net;
    requires org.postgresql.jdbc;
    requires static java.management; // an application must start without it
    requires static jdk.jfr; // the same
    requires static micrometer.core; // for dev.nanopool.micrometer alone
    requires static org.jspecify;

    exports dev.nanopool;
    exports dev.nanopool.micrometer;
    exports dev.nanopool.driver to
            org.postgresql.jdbc;
}
