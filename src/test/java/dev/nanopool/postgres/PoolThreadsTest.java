package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;

import dev.nanopool.CloseReason;
import dev.nanopool.Credentials;
import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import dev.nanopool.PoolExhaustedException;
import dev.nanopool.PoolListener;
import dev.nanopool.TestAccess;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.TestServer;
import java.sql.Connection;
import java.time.Duration;
import java.util.ConcurrentModificationException;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.postgresql.PGConnection;

/** What the pool's own threads inherit of the caller that starts them, and how many of them there may be. */
class PoolThreadsTest extends PoolTestBase {
    /** The user of a request, which its code passes on to the threads that it starts. */
    private static final class User extends InheritableThreadLocal<@Nullable String> {
        private final AtomicInteger inherited = new AtomicInteger();
        private volatile boolean fails;

        @Override
        protected @Nullable String childValue(@Nullable String parent) {
            if (isForACarrier()) return null;
            inherited.incrementAndGet();
            if (fails) throw new ConcurrentModificationException("a map was copied while it changed");
            return parent;
        }
    }

    /** The JVM makes a new carrier on the thread that starts a virtual one. It copies the values, and then drops them. */
    private static boolean isForACarrier() {
        return StackWalker.getInstance()
                .walk(frames ->
                        frames.anyMatch(frame -> frame.getClassName().equals("jdk.internal.misc.CarrierThread")));
    }

    private final User user = new User();
    private final Queue<String> seen = new ConcurrentLinkedQueue<>();

    private void note(String where) {
        String name = user.get();
        if (name != null && Thread.currentThread().getName().startsWith("nanopool-")) seen.add(where + " sees " + name);
    }

    private final PoolListener listener = new PoolListener() {
        @Override
        public void opened(String pool, int backendPid, Duration took) {
            note("opened");
        }

        @Override
        public void closed(String pool, int backendPid, CloseReason reason) {
            note("closed");
        }

        @Override
        public void lost(String pool, int backendPid, @Nullable Throwable cause) {
            note("lost");
        }

        @Override
        public void openFailed(String pool, Throwable cause) {
            note("openFailed");
        }

        @Override
        public void leaked(String pool, PoolExhaustedException.Holder holder, boolean isCertain) {
            note("leaked");
        }
    };

    private PoolConfig.Builder noting() {
        String url = TestServer.url();
        String[] login =
                url.substring(url.indexOf("://") + 3, url.lastIndexOf('@')).split(":", 2);
        return config().listener(listener).credentials(() -> {
            note("credentials");
            return new Credentials(login[0], login.length > 1 ? login[1] : "");
        });
    }

    @BeforeEach
    void startTheServer() {
        assertThat(TestServer.url()).isNotEmpty(); // before there is a thread-local that its threads would inherit
    }

    @AfterEach
    @Override
    protected void nothingMustBeLostOrLeft() throws Exception {
        user.remove();
        super.nothingMustBeLostOrLeft();
    }

    /** Has the pool start every kind of thread that it has. */
    private void useEverything() throws Exception {
        Pool pool = open(noting().size(3).minIdle(0).leakThreshold(Duration.ofSeconds(1)));
        try (Connection client = pool.client()) {
            TestServer.execute(client, "SET work_mem = '2MB'"); // a reset
        }
        try (Connection client = pool.client()) {
            pool.retire(client);
        }
        try (Connection client = pool.client()) {
            TestAccess.aging(client).accept(Duration.ofSeconds(33)); // a validation
        }
        try (Connection client = pool.client()) {
            TestServer.execute(client, "CREATE TEMP TABLE t (n int)");
            ((PGConnection) client).getCopyAPI().copyIn("COPY t FROM STDIN"); // left open
        }
        try (Connection client = pool.client()) {
            client.abort(Runnable::run);
        }
        pool.resize(1);
        pool.refresh();
        pool.suspend();
        pool.resume();
        Connection held = pool.client();
        Await.until("the leak is reported", () -> pool.stats().leaked() > 0);
        held.close();
        awaitBalance(pool);
        assertThat(pool.close(Duration.ofSeconds(5))).isTrue();
    }

    // The value of one request must not reach the code of another, nor stay with the pool for its life.
    @Test
    void noThreadOfThePoolMustInheritAThreadLocal() throws Exception {
        user.set("alice");
        useEverything();
        assertThat(seen).isEmpty();
        assertThat(user.inherited.get()).as("threads that have inherited").isZero();
    }

    // The code of a thread-local that is copied must not run in the middle of the pool.
    @Test
    void threadLocalThatCannotBeCopiedMustCostNothing() throws Exception {
        user.set("alice");
        user.fails = true;
        useEverything();
    }

    // A supplier that hangs cannot be ended. It holds as many threads as may connect at a time, however many callers
    // try.
    @ParameterizedTest
    @ValueSource(ints = {1, 3})
    void hangingSupplierMustHoldNoMoreThreadsThanMayConnectAtATime(int parallelism) throws Exception {
        var released = new CountDownLatch(1);
        var hanging = new AtomicInteger();
        var most = new AtomicInteger();
        var login =
                TestServer.url().substring(TestServer.url().indexOf("://") + 3).split("[:@]", 3);
        Pool pool = open(config().size(5)
                .minIdle(0)
                .connectParallelism(parallelism)
                .connectTimeout(Duration.ofMillis(200))
                .credentials(() -> {
                    most.accumulateAndGet(hanging.incrementAndGet(), Math::max);
                    while (released.getCount() > 0) awaitIgnoringInterrupts(released);
                    hanging.decrementAndGet();
                    return new Credentials(login[0], login[1]);
                }));
        List<Connection> clients = new CopyOnWriteArrayList<>();
        for (int i = 0; i < 10; i++) {
            threads.start(() -> {
                long end = System.nanoTime() + Duration.ofSeconds(4).toNanos();
                while (System.nanoTime() - end < 0) {
                    try {
                        clients.add(pool.client(Duration.ofMillis(500)));
                    } catch (PoolExhaustedException e) {
                        assertThat(e.verdict()).isEqualTo(PoolExhaustedException.Verdict.DATABASE_DOWN);
                    }
                }
            });
        }
        threads.join();
        assertThat(clients).isEmpty();
        assertThat(most.get()).isBetween(1, parallelism);
        released.countDown();
        Await.until("the pool is well again", () -> {
            try {
                pool.client().close();
                return true;
            } catch (PoolExhaustedException e) {
                return false; // an attempt has not ended yet
            }
        });
    }

    private static void awaitIgnoringInterrupts(CountDownLatch latch) {
        try {
            latch.await();
        } catch (InterruptedException e) {
            assertThat(Thread.currentThread().isInterrupted()).isFalse(); // the supplier goes on
        }
    }
}
