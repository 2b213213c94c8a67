package dev.nanopool.frameworks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import jakarta.persistence.Entity;
import jakarta.persistence.Id;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.hibernate.SessionFactory;
import org.hibernate.exception.ConstraintViolationException;
import org.hibernate.jpa.HibernatePersistenceConfiguration;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class HibernateTest extends FrameworkTestBase {
    @Entity(name = "item")
    static class Item {
        @Id
        private int id;

        private String name = "";

        @SuppressWarnings("unused") // Hibernate calls it
        Item() {}

        Item(int id, String name) {
            this.id = id;
            this.name = name;
        }
    }

    private static Item item(int id) {
        return new Item(id, "item " + id);
    }

    // The schema, a batch, a scroll and a transaction that fails.
    @ParameterizedTest
    @EnumSource
    void entitiesMustBeStored(Door door) throws Exception {
        var configuration = new HibernatePersistenceConfiguration("items")
                .managedClass(Item.class)
                .property("jakarta.persistence.nonJtaDataSource", dataSource(door))
                .property("hibernate.hbm2ddl.auto", "create")
                .property("hibernate.jdbc.batch_size", 50);
        try (SessionFactory sessions = configuration.createEntityManagerFactory()) {
            sessions.inTransaction(session ->
                    IntStream.rangeClosed(1, 200).mapToObj(HibernateTest::item).forEach(session::persist));
            assertThat(select("SELECT count(*) || ' ' || max(name) FROM item")).isEqualTo("200 item 99");

            int sum = sessions.fromTransaction(session -> {
                try (Stream<Item> items = session.createSelectionQuery("from item", Item.class)
                        .setFetchSize(10)
                        .getResultStream()) {
                    return items.limit(150).mapToInt(item -> item.name.length()).sum();
                }
            });
            assertThat(sum).isGreaterThan(150 * 6);

            assertThatThrownBy(() -> sessions.inStatelessTransaction(session -> {
                        session.insert(item(201));
                        session.insert(item(1));
                    }))
                    .isInstanceOf(ConstraintViolationException.class);
            assertThat(select("SELECT count(*) FROM item")).isEqualTo("200");
        }
    }

    // Each session is a virtual thread's own, and there are more of them than connections.
    @ParameterizedTest
    @EnumSource
    void sessionsMustShareTheConnections(Door door) throws Exception {
        var configuration = new HibernatePersistenceConfiguration("items")
                .managedClass(Item.class)
                .property("jakarta.persistence.nonJtaDataSource", dataSource(door))
                .property("hibernate.hbm2ddl.auto", "create");
        try (SessionFactory sessions = configuration.createEntityManagerFactory()) {
            for (int i = 1; i <= 40; i++) {
                Item item = item(i);
                threads.start(() -> sessions.inTransaction(session -> session.persist(item)));
            }
            threads.join();
            assertThat(select("SELECT count(*) FROM item")).isEqualTo("40");
        }
    }
}
