package dev.nanopool.frameworks;

import dev.nanopool.NanoDataSource;
import io.micronaut.context.annotation.Factory;
import jakarta.annotation.PreDestroy;
import jakarta.inject.Named;
import jakarta.inject.Singleton;
import javax.sql.DataSource;

/** The pool as a bean of Micronaut. */
final class MicronautExample {
    private MicronautExample() {}

    // @start region="micronaut"
    @Factory
    static class Pools {
        private final NanoDataSource pool = new NanoDataSource();

        @Singleton
        @Named("default")
        DataSource dataSource() {
            pool.setUrl(System.getenv("DATABASE_URL"));
            pool.setMaximumPoolSize(8);
            return pool;
        }

        @PreDestroy
        void close() {
            pool.close();
        }
    }
    // @end
}
