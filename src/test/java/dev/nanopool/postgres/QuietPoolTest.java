package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import dev.nanopool.PoolExhaustedException;
import dev.nanopool.PoolExhaustedException.Verdict;
import dev.nanopool.PoolHealth;
import dev.nanopool.TestAccess;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.FaultProxy;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.TestServer;
import java.sql.Connection;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.function.BooleanSupplier;
import java.util.function.Consumer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** A pool that no caller has used for a while asks the server first. That wait is not a wait for a turn. */
class QuietPoolTest extends PoolTestBase {
    private static final Duration QUIET = Duration.ofSeconds(33);

    /** A pool whose connections look as if no caller had used them for 33 s. */
    private Pool openQuiet(PoolConfig.Builder config, int size) throws Exception {
        Pool pool = open(config.size(size));
        List<Connection> clients = new ArrayList<>();
        List<Consumer<Duration>> aging = new ArrayList<>();
        for (int i = 0; i < size; i++) clients.add(pool.client());
        for (Connection client : clients) aging.add(TestAccess.aging(client));
        for (Connection client : clients) client.close();
        awaitBalance(pool);
        aging.forEach(age -> age.accept(QUIET));
        return pool;
    }

    // Each caller is alone. All connections are idle, so that none is refused.
    @ParameterizedTest
    @CsvSource({"0, 1", "0, 3", "1, 3", "3, 3"})
    void callerMustNotBeRefusedBecauseConnectionsAreValidated(int maxWaiters, int size) throws Exception {
        Pool pool = openQuiet(config().maxWaiters(maxWaiters), size);
        for (int i = 0; i < 3 * size; i++) pool.client().close();
        assertThat(pool.stats().rejected()).isZero();
        assertThat(pool.stats().opened()).isEqualTo(size);
    }

    // As many callers at a time as there are connections. Each has one that is being validated, and none waits for a
    // turn.
    @ParameterizedTest
    @ValueSource(ints = {0, 1, 2})
    void asManyCallersAsConnectionsMustBeServed(int maxWaiters) throws Exception {
        FaultProxy proxy = proxy();
        int size = 4;
        Pool pool = openQuiet(config(proxy).maxWaiters(maxWaiters), size);
        proxy.latency(Duration.ofMillis(200)); // each validation takes so long
        var begin = new CountDownLatch(1);
        for (int i = 0; i < size; i++) {
            threads.start(() -> {
                begin.await();
                pool.client().close();
            });
        }
        begin.countDown();
        threads.join();
        assertThat(pool.stats().rejected()).isZero();
    }

    // The bound still holds for callers that wait for a turn.
    @Test
    void callerThatWaitsForATurnMustBeRefused() throws Exception {
        Pool pool = openQuiet(config().maxWaiters(0), 1);
        var ends = new CountDownLatch(1);
        threads.start(() -> {
            try (Connection client = pool.client()) {
                ends.await();
                assertThat(client.isClosed()).isFalse();
            }
        });
        Await.until("another thread has it", () -> pool.stats().active() == 1);
        assertThatThrownBy(pool::client)
                .isInstanceOfSatisfying(
                        PoolExhaustedException.class,
                        e -> assertThat(e.verdict()).isEqualTo(Verdict.OVERLOAD));
        ends.countDown();
        threads.join();
    }

    // The opposite of a verdict that sends its reader to the database. Nothing is wrong except that the pool may not
    // let callers wait.
    @Test
    void refusalDuringAResetMustNotBlameTheDatabase() throws Exception {
        FaultProxy proxy = proxy();
        Pool pool = open(config(proxy).size(1).maxWaiters(0));
        try (Connection client = pool.client()) {
            TestServer.execute(client, "SET work_mem = '2MB'");
            proxy.latency(Duration.ofMillis(500));
        }
        assertThatThrownBy(pool::client)
                .isInstanceOfSatisfying(
                        PoolExhaustedException.class,
                        e -> assertThat(e.verdict()).isEqualTo(Verdict.OVERLOAD));
        awaitBalance(pool);
    }

    // No load is too high where the operator has told the pool to lend nothing.
    @Test
    void suspendedPoolMustSayThatItIs() throws Exception {
        Pool pool = open(2);
        pool.suspend();
        assertThatThrownBy(() -> pool.client(Duration.ofMillis(100)))
                .isInstanceOfSatisfying(
                        PoolExhaustedException.class,
                        e -> assertThat(e.verdict().name()).isEqualTo("SUSPENDED"));
        pool.resume();
        pool.client().close();
    }

    // The validation may end at any moment of the caller's way into the line.
    @Test
    void callerMustNotBeRefusedWheneverTheValidationEnds() throws Exception {
        Pool pool = open(config().size(1).maxWaiters(0));
        for (int i = 0; i < 2_000; i++) {
            Consumer<Duration> age;
            try (Connection client = pool.client()) {
                age = TestAccess.aging(client);
            }
            age.accept(QUIET);
        }
        assertThat(pool.stats().rejected()).isZero();
    }

    // A pool that has been quiet for half a minute looks at its connections twice a minute. It looks once a second if a
    // caller asks for its health.
    @Test
    void poolWhoseHealthIsAskedForMustLookOnceASecond() throws Exception {
        Pool pool = open(1);
        Await.pause(Duration.ofSeconds(32)); // its first seldom look was one or two seconds ago
        try (Connection direct = TestServer.direct()) {
            TestServer.query(
                    direct,
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = '"
                            + pool.stats().name() + "'");
        }
        assertThat(pool.health().status()).as("not yet known").isEqualTo(PoolHealth.Status.UP);
        long start = System.nanoTime();
        Await.until("the connection is replaced", () -> pool.stats().opened() == 2);
        assertThat(Duration.ofNanos(System.nanoTime() - start)).isLessThan(Duration.ofSeconds(10));
    }

    // What is due between two seldom looks, the second of which comes after a minute, is done at its time.
    @Test
    void longQuietPoolMustDoWhatIsDue() throws Exception {
        long start = System.nanoTime();
        Pool asking = open(config().size(1).keepalive(Duration.ofSeconds(36)));
        Pool replacing = open(config().size(1).maxLifetime(Duration.ofSeconds(44))); // after 33 to 44 s
        try (Connection direct = TestServer.direct()) {
            String asked = "SELECT coalesce(query_start::text, '') FROM pg_stat_activity WHERE application_name = '"
                    + asking.stats().name() + "'";
            String before = TestServer.query(direct, asked);
            Await.until("it is asked", () -> !TestServer.query(direct, asked).equals(before));
            Await.until("it is replaced", () -> replacing.stats().opened() == 2);
        }
        assertThat(Duration.ofNanos(System.nanoTime() - start))
                .isBetween(Duration.ofSeconds(33), Duration.ofSeconds(55));
        assertThat(asking.stats().opened()).isEqualTo(1);
    }

    // A connection that no caller has used for half a minute holds no selector, and works as before.
    @Test
    void connectionThatIsIdleForLongMustHoldNoSelector() throws Exception {
        Pool pool = open(1);
        for (int round = 0; round < 3; round++) {
            Connection client = pool.client();
            BooleanSupplier holds = TestAccess.holdingSelector(client);
            Consumer<Duration> age = TestAccess.aging(client);
            assertThat(TestServer.query(client, "SELECT 1")).isEqualTo("1");
            assertThat(holds.getAsBoolean()).as("it has waited for the answer").isTrue();
            client.close();
            awaitBalance(pool);
            age.accept(QUIET);
            Await.until("it holds no selector", () -> !holds.getAsBoolean());
        }
        assertThat(pool.stats().opened()).isEqualTo(1);
    }
}
