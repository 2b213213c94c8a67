package dev.nanopool.frameworks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.apache.ibatis.annotations.Insert;
import org.apache.ibatis.annotations.Options;
import org.apache.ibatis.annotations.Param;
import org.apache.ibatis.annotations.Select;
import org.apache.ibatis.cursor.Cursor;
import org.apache.ibatis.exceptions.PersistenceException;
import org.apache.ibatis.mapping.Environment;
import org.apache.ibatis.session.Configuration;
import org.apache.ibatis.session.ExecutorType;
import org.apache.ibatis.session.SqlSession;
import org.apache.ibatis.session.SqlSessionFactory;
import org.apache.ibatis.session.SqlSessionFactoryBuilder;
import org.apache.ibatis.session.TransactionIsolationLevel;
import org.apache.ibatis.transaction.jdbc.JdbcTransactionFactory;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class MyBatisTest extends FrameworkTestBase {
    interface Items {
        @Insert("INSERT INTO item VALUES (#{id}, #{name})")
        void insert(@Param("id") int id, @Param("name") String name);

        @Select("SELECT name FROM item ORDER BY id")
        @Options(fetchSize = 1)
        Cursor<String> names();
    }

    // A batch, a cursor, an isolation level of one session, and a session without a commit.
    @ParameterizedTest
    @EnumSource
    void rowsMustBeStored(Door door) throws Exception {
        var configuration = new Configuration(new Environment("test", new JdbcTransactionFactory(), dataSource(door)));
        configuration.addMapper(Items.class);
        SqlSessionFactory sessions = new SqlSessionFactoryBuilder().build(configuration);
        execute("CREATE TABLE item (id int PRIMARY KEY, name text)");

        try (SqlSession session = sessions.openSession(ExecutorType.BATCH, TransactionIsolationLevel.SERIALIZABLE)) {
            Items items = session.getMapper(Items.class);
            items.insert(1, "one");
            items.insert(2, "two");
            session.commit();
        }
        try (SqlSession session = sessions.openSession()) {
            session.getMapper(Items.class).insert(3, "three"); // not committed
        }
        try (SqlSession session = sessions.openSession()) {
            assertThatThrownBy(() -> session.getMapper(Items.class).insert(1, "again"))
                    .isInstanceOf(PersistenceException.class);
        }
        assertThat(select("SELECT string_agg(name, ' ' ORDER BY id) FROM item")).isEqualTo("one two");
        try (SqlSession session = sessions.openSession();
                Cursor<String> names = session.getMapper(Items.class).names()) {
            assertThat(names.iterator().next()).isEqualTo("one");
        }
    }
}
