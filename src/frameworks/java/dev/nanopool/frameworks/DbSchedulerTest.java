package dev.nanopool.frameworks;

import static org.assertj.core.api.Assertions.assertThat;

import com.github.kagkarlsson.scheduler.Scheduler;
import com.github.kagkarlsson.scheduler.task.helper.OneTimeTask;
import com.github.kagkarlsson.scheduler.task.helper.Tasks;
import dev.nanopool.testkit.Await;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import javax.sql.DataSource;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class DbSchedulerTest extends FrameworkTestBase {
    private static final int JOBS = 50;

    /** As the documentation of db-scheduler has it. */
    private static final String TABLE = """
            CREATE TABLE scheduled_tasks (task_name text, task_instance text, task_data bytea,
                execution_time timestamptz NOT NULL, picked boolean NOT NULL, picked_by text, last_success timestamptz,
                last_failure timestamptz, consecutive_failures int, last_heartbeat timestamptz, version bigint NOT NULL,
                priority smallint, PRIMARY KEY (task_name, task_instance))""";

    // Two schedulers fetch the jobs with SKIP LOCKED, and each job runs once.
    @ParameterizedTest
    @EnumSource
    void eachJobMustRunOnce(Door door) throws Exception {
        DataSource dataSource = dataSource(door);
        execute(TABLE + "; CREATE TABLE done (job text)");
        var running = new AtomicInteger();
        OneTimeTask<Void> task = Tasks.oneTime("job").execute((instance, context) -> {
            try (var client = dataSource.getConnection();
                    var insert = client.prepareStatement("INSERT INTO done VALUES (?)")) {
                insert.setString(1, instance.getId());
                running.addAndGet(insert.executeUpdate());
            } catch (java.sql.SQLException e) {
                throw new IllegalStateException(e);
            }
        });
        List<Scheduler> schedulers = new ArrayList<>();
        try {
            for (int i = 0; i < 2; i++) {
                Scheduler scheduler = Scheduler.create(dataSource, task)
                        .pollUsingLockAndFetch(0.5, 1.0)
                        .pollingInterval(Duration.ofMillis(100))
                        .threads(3)
                        .schedulerName(new com.github.kagkarlsson.scheduler.SchedulerName.Fixed("scheduler-" + i))
                        .build();
                schedulers.add(scheduler);
                scheduler.start();
            }
            for (int i = 0; i < JOBS; i++) {
                schedulers.getFirst().schedule(task.instance("job-" + i), Instant.now());
            }
            Await.untilEmpty("no job is left", () -> {
                String left = select("SELECT count(*) FROM scheduled_tasks");
                return left.equals("0") ? "" : left;
            });
        } finally {
            schedulers.forEach(Scheduler::stop);
        }
        assertThat(running).hasValue(JOBS);
        assertThat(select("SELECT count(*) || ' ' || count(DISTINCT job) FROM done"))
                .isEqualTo(JOBS + " " + JOBS);
    }
}
