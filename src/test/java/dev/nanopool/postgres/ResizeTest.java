package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;

import dev.nanopool.Pool;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.TestServer;
import java.sql.Connection;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** A pool that changes its size closes exactly as many connections as it must, and opens as many as it lacks. */
class ResizeTest extends PoolTestBase {
    private static final int SIZE = 10;
    private static final int CALLERS = 20;
    private static final int STEPS = Integer.getInteger("nanopool.resize.steps", 40);

    private final AtomicBoolean ends = new AtomicBoolean();

    /** Callers that want more connections than there are, until the test says that it ends. */
    private void load(Pool pool) {
        for (int i = 0; i < CALLERS; i++) {
            threads.start(() -> {
                while (!ends.get()) {
                    try (Connection client = pool.client()) {
                        TestServer.execute(client, "SELECT pg_sleep(0.001)");
                    }
                }
            });
        }
    }

    private void endLoad() throws Exception {
        ends.set(true);
        threads.join();
    }

    private static long open(Pool pool) {
        return pool.stats().opened() - pool.stats().closed();
    }

    private static void awaitOpen(Pool pool, int size) throws Exception {
        Await.untilEmpty(
                size + " are open", () -> open(pool) == size ? "" : pool.stats().toString());
    }

    // Those that leave are busy, and all others come back before the first one is closed.
    @ParameterizedTest
    @CsvSource({"9, 1, 0", "1, 9, 0", "10, 0, 0", "15, 0, 5"})
    void resizeUnderLoadMustCloseExactlyAsManyAsItMust(int size, int closed, int opened) throws Exception {
        Pool pool = open(SIZE);
        load(pool);
        Await.until("all are in use", () -> pool.stats().leasesGranted() > 10 * CALLERS);
        pool.resize(size);
        awaitOpen(pool, size);
        long granted = pool.stats().leasesGranted();
        Await.until("the load goes on", () -> pool.stats().leasesGranted() > granted + 10 * CALLERS);
        endLoad();
        assertThat(pool.stats().closed()).as("closed").isEqualTo(closed);
        assertThat(pool.stats().opened()).as("opened").isEqualTo(SIZE + opened);
    }

    @ParameterizedTest
    @ValueSource(ints = {9, 1})
    void resizeOfAnIdlePoolMustCloseExactlyAsManyAsItMust(int size) throws Exception {
        Pool pool = open(SIZE);
        pool.resize(size);
        pool.resize(size); // while the first ones are being closed
        awaitOpen(pool, size);
        awaitBalance(pool);
        assertThat(pool.stats().closed()).isEqualTo(SIZE - size);
        assertThat(pool.stats().opened()).isEqualTo(SIZE);
    }

    // All are leased. As many as are too many are closed when they come back, and no more.
    @Test
    void leasedConnectionsMustBeClosedWhenTheyComeBack() throws Exception {
        Pool pool = open(SIZE);
        List<Connection> clients = new ArrayList<>();
        for (int i = 0; i < SIZE; i++) clients.add(pool.client());
        pool.resize(7);
        assertThat(pool.stats().closed()).isZero();
        for (Connection client : clients) client.close(); // faster than sockets are closed
        awaitBalance(pool);
        assertThat(pool.stats().closed()).isEqualTo(3);
        assertThat(pool.stats().opened()).isEqualTo(SIZE);
    }

    // After each step of a random sequence the pool has closed what was too many, opened what was missing, and nothing
    // else.
    @Test
    void eachStepOfARandomSequenceMustCloseAndOpenTheDifference() throws Exception {
        long seed = System.nanoTime();
        var random = new Random(seed);
        Pool pool = open(SIZE);
        load(pool);
        int size = SIZE;
        for (int step = 0; step < STEPS; step++) {
            long opened = pool.stats().opened();
            long closed = pool.stats().closed();
            int next = 1 + random.nextInt(15);
            pool.resize(next);
            awaitOpen(pool, next);
            String what = "seed " + seed + ", step " + step + ", from " + size + " to " + next;
            assertThat(pool.stats().closed() - closed).as("%s: closed", what).isEqualTo(Math.max(0, size - next));
            assertThat(pool.stats().opened() - opened).as("%s: opened", what).isEqualTo(Math.max(0, next - size));
            size = next;
        }
        endLoad();
    }

    // Steps overtake one another. No step closes more than it takes away, and the last one counts.
    @Test
    void randomStepsThatOvertakeOneAnotherMustCloseNoMoreThanTheyTakeAway() throws Exception {
        long seed = System.nanoTime();
        var random = new Random(seed);
        Pool pool = open(SIZE);
        load(pool);
        int size = SIZE;
        int taken = 0;
        int added = 0;
        for (int step = 0; step < STEPS; step++) {
            int next = 1 + random.nextInt(15);
            pool.resize(next);
            taken += Math.max(0, size - next);
            added += Math.max(0, next - size);
            size = next;
            long granted = pool.stats().leasesGranted();
            int leases = random.nextInt(20);
            Await.until("some leases end", () -> pool.stats().leasesGranted() >= granted + leases);
        }
        awaitOpen(pool, size);
        endLoad();
        assertThat(pool.stats().closed()).as("closed, seed %d", seed).isLessThanOrEqualTo(taken);
        assertThat(pool.stats().opened()).as("opened, seed %d", seed).isLessThanOrEqualTo(SIZE + added);
    }
}
