package dev.nanopool.frameworks;

import static org.assertj.core.api.Assertions.assertThat;

import dev.nanopool.testkit.Await;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.Objects;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.ConcurrentSkipListSet;
import java.util.concurrent.atomic.AtomicInteger;
import javax.sql.DataSource;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.quartz.Job;
import org.quartz.JobBuilder;
import org.quartz.JobExecutionContext;
import org.quartz.Scheduler;
import org.quartz.SchedulerException;
import org.quartz.TriggerBuilder;
import org.quartz.impl.StdSchedulerFactory;
import org.quartz.impl.jdbcjobstore.Constants;
import org.quartz.impl.jdbcjobstore.JobStoreTX;
import org.quartz.impl.jdbcjobstore.PostgreSQLDelegate;
import org.quartz.simpl.SimpleThreadPool;
import org.quartz.utils.ConnectionProvider;
import org.quartz.utils.DBConnectionManager;

class QuartzTest extends FrameworkTestBase {
    private static final int JOBS = 50;
    private static final AtomicInteger RUNS = new AtomicInteger();
    private static final Set<String> NAMES = new ConcurrentSkipListSet<>();

    /** Quartz makes one for each run. */
    public static final class Counted implements Job {
        @Override
        public void execute(JobExecutionContext context) {
            RUNS.incrementAndGet();
            NAMES.add(context.getJobDetail().getKey().getName());
        }
    }

    /** Quartz's door to a {@code DataSource} that it has not made itself. */
    private record Given(DataSource dataSource) implements ConnectionProvider {
        @Override
        public Connection getConnection() throws SQLException {
            return dataSource.getConnection();
        }

        @Override
        public void initialize() {}

        @Override
        public void shutdown() {}
    }

    private static String tables() throws Exception {
        try (InputStream script = Constants.class.getResourceAsStream("tables_postgres.sql")) {
            return new String(Objects.requireNonNull(script).readAllBytes(), StandardCharsets.UTF_8);
        }
    }

    private static Scheduler scheduler(String instance, String source) throws SchedulerException {
        var properties = new Properties();
        properties.setProperty("org.quartz.scheduler.instanceName", source);
        properties.setProperty("org.quartz.scheduler.instanceId", instance);
        properties.setProperty("org.quartz.scheduler.idleWaitTime", "1000");
        properties.setProperty("org.quartz.threadPool.class", SimpleThreadPool.class.getName());
        properties.setProperty("org.quartz.threadPool.threadCount", "3");
        properties.setProperty("org.quartz.jobStore.class", JobStoreTX.class.getName());
        properties.setProperty("org.quartz.jobStore.driverDelegateClass", PostgreSQLDelegate.class.getName());
        properties.setProperty("org.quartz.jobStore.dataSource", source);
        properties.setProperty("org.quartz.jobStore.isClustered", "true");
        return new StdSchedulerFactory(properties).getScheduler();
    }

    // The job store locks rows, and each job runs once.
    @ParameterizedTest
    @EnumSource
    void eachJobMustRunOnce(Door door) throws Exception {
        String source = "quartz-" + door;
        DBConnectionManager.getInstance().addConnectionProvider(source, new Given(dataSource(door)));
        execute(tables());
        RUNS.set(0);
        NAMES.clear();
        Scheduler scheduler = scheduler("one", source);
        try {
            scheduler.start();
            for (int i = 0; i < JOBS; i++) {
                scheduler.scheduleJob(
                        JobBuilder.newJob(Counted.class)
                                .withIdentity("job-" + i)
                                .build(),
                        TriggerBuilder.newTrigger().startNow().build());
            }
            Await.untilEmpty("no job is left", () -> {
                String left = select("SELECT count(*) FROM qrtz_job_details");
                return left.equals("0") ? "" : left;
            });
            assertThat(select("SELECT count(*) FROM qrtz_scheduler_state")).isEqualTo("1");
        } finally {
            scheduler.shutdown(true);
        }
        assertThat(RUNS).hasValue(JOBS);
        assertThat(NAMES).hasSize(JOBS);
    }
}
