package dev.nanopool.examples;

import dev.nanopool.Pool;
import dev.nanopool.TlsMode;
import java.sql.SQLException;
import org.hibernate.SessionFactory;
import org.hibernate.jpa.HibernatePersistenceConfiguration;

/** Hibernate on a pool, as README shows it. */
final class HibernateExample {
    private HibernateExample() {}

    static int sum(String url) throws SQLException {
        // @start region="hibernate"
        try (Pool pool = Pool.create(url, TlsMode.PREFER, 8);
                SessionFactory sessions = new HibernatePersistenceConfiguration("shop")
                        .property("jakarta.persistence.nonJtaDataSource", pool.dataSource())
                        .createEntityManagerFactory()) {
            return sessions.fromTransaction(session ->
                    session.createSelectionQuery("select 1 + 2", Integer.class).getSingleResult());
        }
        // @end
    }
}
