package dev.nanopool.examples;

import dev.nanopool.Pool;
import dev.nanopool.TlsMode;
import java.sql.SQLException;
import org.jooq.DSLContext;
import org.jooq.SQLDialect;
import org.jooq.impl.DSL;

/** jOOQ on a pool, as README shows it. */
final class JooqExample {
    private JooqExample() {}

    static int sum(String url) throws SQLException {
        // @start region="jooq"
        try (Pool pool = Pool.create(url, TlsMode.PREFER, 8)) {
            DSLContext jooq = DSL.using(pool.dataSource(), SQLDialect.POSTGRES);
            return jooq.transactionResult(transaction ->
                    transaction.dsl().select(DSL.val(1).plus(2)).fetchSingle().value1());
        }
        // @end
    }
}
