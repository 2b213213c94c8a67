package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;

import dev.nanopool.Pool;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.TestServer;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.logging.Handler;
import java.util.logging.Level;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** A log handler that throws costs no connection, no permit and no caller. */
class ThrowingLogTest extends PoolTestBase {
    private static final int SIZE = 4;
    private static final Logger LOGGER = Logger.getLogger("dev.nanopool");

    private final AtomicInteger thrown = new AtomicInteger();

    /** Throws at each line of the log. */
    private final class Failing extends Handler {
        private final boolean isError;

        Failing(boolean isError) {
            this.isError = isError;
        }

        @Override
        public void publish(LogRecord line) {
            thrown.incrementAndGet();
            if (isError) throw new OutOfMemoryError("injected");
            throw new IllegalStateException("injected: queue full");
        }

        @Override
        public void flush() {}

        @Override
        public void close() {}
    }

    // All connections are lost, the idle ones, which the housekeeper finds, and a leased one. Each log line about them
    // fails.
    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void lostConnectionsMustBeReplacedWhenTheLogThrows(boolean isError) throws Exception {
        Level level = LOGGER.getLevel();
        boolean isPassedOn = LOGGER.getUseParentHandlers();
        var failing = new Failing(isError);
        LOGGER.setLevel(Level.ALL);
        LOGGER.setUseParentHandlers(false);
        LOGGER.addHandler(failing);
        try (Connection direct = TestServer.direct()) {
            Pool pool = open(config().size(SIZE).acquireTimeout(Duration.ofSeconds(5)));
            Connection leased = pool.client();
            TestServer.execute(
                    direct,
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = '"
                            + TestServer.query(leased, "SHOW application_name") + "'");
            leased.close(); // throws nothing
            // The first callers may meet a dead connection that was idle for less than 0.5 s.
            Await.until("all are alive", () -> useAll(pool) == SIZE);
            awaitBalance(pool);
        } finally {
            LOGGER.removeHandler(failing);
            LOGGER.setUseParentHandlers(isPassedOn);
            LOGGER.setLevel(level);
        }
        assertThat(thrown.get()).as("lines that failed").isGreaterThan(SIZE);
    }

    /** Leases all, and leaves a transaction open in each, which is logged. Answers how many are alive. */
    private static int useAll(Pool pool) throws SQLException {
        int alive = 0;
        List<Connection> all = new ArrayList<>();
        for (int i = 0; i < SIZE; i++) all.add(pool.client());
        for (Connection client : all) {
            if (client.isValid(5)) {
                alive++;
                TestServer.execute(client, "BEGIN");
            }
            client.close();
        }
        return alive;
    }
}
