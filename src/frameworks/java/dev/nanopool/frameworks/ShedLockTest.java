package dev.nanopool.frameworks;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.time.Instant;
import java.util.concurrent.atomic.AtomicInteger;
import javax.sql.DataSource;
import net.javacrumbs.shedlock.core.DefaultLockingTaskExecutor;
import net.javacrumbs.shedlock.core.LockConfiguration;
import net.javacrumbs.shedlock.core.SimpleLock;
import net.javacrumbs.shedlock.provider.jdbc.JdbcLockProvider;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class ShedLockTest extends FrameworkTestBase {
    private static LockConfiguration job() {
        return new LockConfiguration(Instant.now(), "job", Duration.ofMinutes(5), Duration.ZERO);
    }

    // While one instance holds the lock, no other one gets it. Afterwards one more does.
    @ParameterizedTest
    @EnumSource
    void lockMustHaveOneHolder(Door door) throws Exception {
        DataSource dataSource = dataSource(door);
        execute(
                "CREATE TABLE shedlock (name text PRIMARY KEY, lock_until timestamp NOT NULL, locked_at timestamp NOT NULL,"
                        + " locked_by text NOT NULL)");
        SimpleLock held = new JdbcLockProvider(dataSource).lock(job()).orElseThrow();
        var runs = new AtomicInteger();
        for (int i = 0; i < 20; i++) {
            threads.start(() -> new DefaultLockingTaskExecutor(new JdbcLockProvider(dataSource))
                    .executeWithLock((Runnable) runs::incrementAndGet, job()));
        }
        threads.join();
        assertThat(runs).hasValue(0);
        assertThat(select("SELECT lock_until > timezone('UTC', now()) FROM shedlock"))
                .isEqualTo("t");
        held.unlock();
        new DefaultLockingTaskExecutor(new JdbcLockProvider(dataSource))
                .executeWithLock((Runnable) runs::incrementAndGet, job());
        assertThat(runs).hasValue(1);
        assertThat(select("SELECT lock_until > timezone('UTC', now()) FROM shedlock"))
                .isEqualTo("f");
    }
}
