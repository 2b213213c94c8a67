package dev.nanopool.frameworks;

import dev.nanopool.NanoDataSource;
import jakarta.enterprise.context.ApplicationScoped;
import jakarta.enterprise.inject.Disposes;
import jakarta.enterprise.inject.Produces;
import javax.sql.DataSource;

/** The pool as a bean of Quarkus. */
final class QuarkusExample {
    private QuarkusExample() {}

    // @start region="quarkus"
    @ApplicationScoped
    static class Pools {
        @Produces
        @ApplicationScoped
        DataSource dataSource() {
            var pool = new NanoDataSource();
            pool.setUrl(System.getenv("DATABASE_URL"));
            pool.setMaximumPoolSize(8);
            return pool;
        }

        void close(@Disposes DataSource pool) {
            ((NanoDataSource) pool).close();
        }
    }
    // @end
}
