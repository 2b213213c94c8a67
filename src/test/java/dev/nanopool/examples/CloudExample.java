package dev.nanopool.examples;

import dev.nanopool.Credentials;
import dev.nanopool.NanoDataSource;

/** The bean of cloud-logins.md. */
final class CloudExample {
    /** What knows the token of the moment. */
    interface Tokens {
        String current();
    }

    private CloudExample() {}

    static NanoDataSource withTokens(Tokens tokens) {
        // @start region="tokens"
        NanoDataSource dataSource = new NanoDataSource();
        dataSource.setJdbcUrl("jdbc:postgresql://db.example.org/orders?sslmode=verify-full");
        dataSource.setCredentials(() -> new Credentials("orders", tokens.current()));
        // @end
        return dataSource;
    }

    static void cloudSql(NanoDataSource dataSource) {
        // @start region="cloud-sql"
        dataSource.addDataSourceProperty("socketFactory", "com.google.cloud.sql.postgres.SocketFactory");
        dataSource.addDataSourceProperty("cloudSqlInstance", "project:region:instance");
        // @end
    }
}
