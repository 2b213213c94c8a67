package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.nanopool.Pool;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.Log;
import dev.nanopool.testkit.PoolTestBase;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.List;
import java.util.logging.Level;
import java.util.logging.Logger;
import org.junit.jupiter.api.Test;

/** What the log says of a pool that starts, works and stops. */
class LogLinesTest extends PoolTestBase {
    private static List<String> lines(Log log, Pool pool) {
        String name = pool.stats().name() + ": ";
        return log.lines().stream()
                .filter(line -> line.startsWith(name))
                .map(line -> line.substring(name.length()))
                .toList();
    }

    @Test
    void startAndStopMustHaveOneLineEach() throws Exception {
        try (Log log = Log.of(Level.INFO)) {
            Pool pool = open(config().size(3).minIdle(2));
            pool.client().close();
            assertThat(pool.close(Duration.ofSeconds(5))).isTrue();
            pool.close();
            assertThat(lines(log, pool)).hasSize(2);
            assertThat(lines(log, pool).getFirst())
                    .matches("started in \\d+ ms: 2 of 3 connections are open; "
                            + "\\S+:\\d+, PostgreSQL \\d+\\.\\d+[^,]*, (TLS|without TLS)");
            assertThat(lines(log, pool).getLast()).matches("stopped in \\d+ ms: all leases had ended");
        }
    }

    @Test
    void poolWithoutAConnectionMustNameItsHosts() throws Exception {
        try (Log log = Log.of(Level.INFO)) {
            Pool pool = open(config().size(3).minIdle(0));
            Await.until("the line comes", () -> !lines(log, pool).isEmpty());
            assertThat(lines(log, pool))
                    .singleElement()
                    .asString()
                    .matches("started in \\d+ ms: 0 of 3 connections are open; \\S+:\\d+");
        }
    }

    // Thousands of lazy pools may start at once, and none has reached a server yet.
    @Test
    void lazyPoolMustStartQuietly() throws Exception {
        try (Log log = Log.of(Level.INFO)) {
            Pool pool = open(config().size(3).lazy(true));
            pool.client().close();
            assertThat(pool.close(Duration.ofSeconds(5))).isTrue();
            assertThat(lines(log, pool)).singleElement().asString().startsWith("stopped in");
        }
    }

    @Test
    void stopMustTellHowManyLeasesWereCutOff() throws Exception {
        try (Log log = Log.of(Level.INFO)) {
            Pool pool = open(3);
            try (Connection first = pool.client();
                    Connection second = pool.client()) {
                threads.start(() -> assertThat(pool.close(Duration.ZERO)).isFalse());
                threads.join();
                assertThat(first.isClosed() && second.isClosed()).isTrue();
            }
            assertThat(lines(log, pool).getLast()).matches("stopped in \\d+ ms: 2 leases were cut off");
        }
    }

    @Test
    void poolThatCannotStartMustNotSayThatItStopped() throws Exception {
        try (Log log = Log.of(Level.INFO)) {
            assertThatThrownBy(() -> open(config().name("no-start").initSql("no SQL")))
                    .isInstanceOf(SQLException.class);
            assertThat(log.lines()).noneMatch(line -> line.startsWith("no-start: st"));
        }
    }

    // Its level is a logger's of its own, because the numbers are of interest where nothing else is.
    @Test
    void numbersMustBeLoggedOnRequest() throws Exception {
        Logger statistics = Logger.getLogger("dev.nanopool.statistics");
        Level before = statistics.getLevel();
        statistics.setLevel(Level.FINE);
        try (Log log = Log.of(Level.FINE)) {
            Pool pool = open(1);
            Await.until(
                    "a line comes", () -> lines(log, pool).stream().anyMatch(line -> line.startsWith("PoolStats[")));
        } finally {
            statistics.setLevel(before);
        }
    }
}
