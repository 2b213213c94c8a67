package dev.nanopool.frameworks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.jooq.impl.DSL.field;
import static org.jooq.impl.DSL.table;

import org.jooq.Cursor;
import org.jooq.DSLContext;
import org.jooq.Field;
import org.jooq.Record;
import org.jooq.SQLDialect;
import org.jooq.Table;
import org.jooq.exception.IntegrityConstraintViolationException;
import org.jooq.impl.DSL;
import org.jooq.impl.SQLDataType;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class JooqTest extends FrameworkTestBase {
    private static final Table<Record> ITEM = table(DSL.name("item"));
    private static final Field<Integer> ID = field(DSL.name("id"), SQLDataType.INTEGER);
    private static final Field<String> NAME = field(DSL.name("name"), SQLDataType.VARCHAR);

    // RETURNING, a batch, a transaction within a transaction, and a cursor.
    @ParameterizedTest
    @EnumSource
    void rowsMustBeStored(Door door) throws Exception {
        DSLContext dsl = DSL.using(dataSource(door), SQLDialect.POSTGRES);
        dsl.createTable(ITEM).column(ID).column(NAME).primaryKey(ID).execute();
        assertThat(dsl.insertInto(ITEM, ID, NAME).values(1, "one").returning(ID).fetchOne(ID))
                .isEqualTo(1);
        dsl.batch(dsl.insertInto(ITEM, ID, NAME).values((Integer) null, null))
                .bind(2, "two")
                .bind(3, "three")
                .execute();

        dsl.transaction(outer -> {
            outer.dsl().insertInto(ITEM, ID, NAME).values(4, "four").execute();
            assertThatThrownBy(() -> outer.dsl().transaction(inner -> {
                        inner.dsl().update(ITEM).set(NAME, "changed").execute();
                        inner.dsl()
                                .insertInto(ITEM, ID, NAME)
                                .values(1, "again")
                                .execute();
                    }))
                    .isInstanceOf(IntegrityConstraintViolationException.class);
        });
        assertThat(select("SELECT string_agg(name, ' ' ORDER BY id) FROM item")).isEqualTo("one two three four");

        try (Cursor<?> cursor = dsl.selectFrom(ITEM).orderBy(ID).fetchSize(1).fetchLazy()) {
            assertThat(cursor.fetchNext(2).getValues(NAME)).containsExactly("one", "two");
        }
    }
}
