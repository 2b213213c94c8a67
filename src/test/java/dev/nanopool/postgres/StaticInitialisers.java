package dev.nanopool.postgres;

import dev.nanopool.Credentials;
import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import dev.nanopool.PoolListener;
import dev.nanopool.TlsMode;
import dev.nanopool.testkit.Stopwatch;
import dev.nanopool.testkit.TestServer;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.jspecify.annotations.Nullable;

/**
 * A program that makes pools in static initialisers, while other threads wait for the same class. {@code StaticInitialiserTest}
 * runs it in a JVM of its own, because a virtual thread that waits for a class holds its carrier. Prints one line for each
 * class, and a line {@code done}.
 */
public final class StaticInitialisers {
    private static final Duration BOUND = Duration.ofSeconds(5);

    private static volatile String url = "";
    private static volatile String user = "";
    private static volatile String password = "";

    private static final CountDownLatch INSIDE = new CountDownLatch(1);

    private StaticInitialisers() {}

    private static PoolConfig.Builder config(int size) {
        return PoolConfig.builder(url).tls(TlsMode.DISABLE).size(size).connectTimeout(Duration.ofSeconds(10));
    }

    /** The supplier and the listener belong to the class that is being initialised. */
    private static final class Three {
        private static final AtomicInteger OPENED = new AtomicInteger();
        private static final Pool POOL =
                create(config(4).credentials(Three::login).listener(new PoolListener() {
                    @Override
                    public void opened(String pool, int backendPid, Duration took) {
                        OPENED.incrementAndGet();
                    }
                }));

        private static Credentials login() {
            return new Credentials(user, password);
        }
    }

    private static final class TwoHundred {
        private static final AtomicInteger OPENED = new AtomicInteger();
        private static final Pool POOL =
                create(config(4).credentials(TwoHundred::login).listener(new PoolListener() {
                    @Override
                    public void opened(String pool, int backendPid, Duration took) {
                        OPENED.incrementAndGet();
                    }
                }));

        private static Credentials login() {
            return new Credentials(user, password);
        }
    }

    private static final class OfAPlatformThread {
        private static final Pool POOL = create(config(4).credentials(OfAPlatformThread::login));

        private static Credentials login() {
            return new Credentials(user, password);
        }
    }

    /**
     * The initialiser uses the pool, too, so that the only connection must be reset before it can be lent again. It runs on a
     * platform thread, because JDK 25 reads a virtual thread's socket with the help of another virtual thread.
     */
    private static final class Using {
        private static final Pool POOL;

        static {
            INSIDE.countDown(); // now the others may come
            POOL = create(config(1).credentials(Using::login));
            for (int i = 0; i < 3; i++) use("SET work_mem = '2MB'");
        }

        private static void use(String sql) {
            try (Connection client = POOL.client(Duration.ofSeconds(3))) {
                TestServer.execute(client, sql);
            } catch (SQLException e) {
                throw new IllegalStateException(e);
            }
        }

        private static Credentials login() {
            return new Credentials(user, password);
        }
    }

    /** The second connection cannot be set up, so that the pool closes the first one again. */
    private static final class Failing {
        private static final String SECOND_FAILS = "SELECT 1 / CASE WHEN count(*) > 1 THEN 0 ELSE 1 END"
                + " FROM pg_stat_activity WHERE application_name = 'failing'";
        private static @Nullable Pool pool;

        static {
            try {
                pool = Pool.create(config(4)
                        .name("failing")
                        .credentials(Failing::login)
                        .initSql(SECOND_FAILS)
                        .build());
            } catch (SQLException e) {
                pool = null;
            }
        }

        private static Credentials login() {
            return new Credentials(user, password);
        }
    }

    private static Pool create(PoolConfig.Builder config) {
        try {
            return Pool.create(config.build());
        } catch (SQLException e) {
            throw new IllegalStateException(e);
        }
    }

    /** What a thread does with the class. */
    private interface Use {
        void run() throws Exception;
    }

    private static void measure(String name, int threads, boolean isVirtual, Use use) throws Exception {
        var failure = new AtomicReference<@Nullable Throwable>();
        var ended = new CountDownLatch(threads);
        List<Thread> all = new ArrayList<>();
        for (int i = 0; i < threads; i++) {
            Runnable body = () -> {
                try {
                    use.run();
                } catch (Throwable e) {
                    failure.set(e);
                } finally {
                    ended.countDown();
                }
            };
            all.add(
                    isVirtual
                            ? Thread.ofVirtual().unstarted(body)
                            : Thread.ofPlatform().daemon().unstarted(body));
        }
        try (var stopwatch = Stopwatch.start()) {
            all.forEach(Thread::start);
            boolean hasEnded = ended.await(60, TimeUnit.SECONDS);
            Throwable thrown = failure.get();
            System.out.println(name + " " + (hasEnded ? outcome(stopwatch, BOUND) : "hangs")
                    + (thrown == null ? "" : " " + thrown + " " + thrown.getCause()));
        }
    }

    /** {@code in time}, or how long it took and how long it may take on this machine. */
    static String outcome(Stopwatch stopwatch, Duration bound) {
        Duration elapsed = stopwatch.elapsed();
        Duration allowed = stopwatch.allowing(bound);
        return elapsed.compareTo(allowed) < 0 ? "in time" : elapsed + " of " + allowed;
    }

    private static void use(Pool pool) throws SQLException {
        try (Connection client = pool.client()) {
            TestServer.query(client, "SELECT 1");
        }
    }

    // Its arguments are the URL without credentials, the user and the password.
    public static void main(String[] arguments) throws Exception {
        url = arguments[0];
        user = arguments[1];
        password = arguments[2];
        // The classes of the driver and the JDK, whose loading takes a second of computing. Those of the pool stay
        // unloaded.
        try (Connection direct = DriverManager.getConnection(TestServer.jdbc(url), user, password)) {
            TestServer.query(direct, "SELECT 1");
        }
        measure("three", 3, true, () -> use(Three.POOL));
        measure("two-hundred", 200, true, () -> use(TwoHundred.POOL));
        measure("platform", 3, false, () -> use(OfAPlatformThread.POOL));
        Thread initialising = Thread.ofPlatform().daemon().start(() -> System.out.println("made " + Using.POOL));
        INSIDE.await();
        measure("using", 200, true, () -> use(Using.POOL));
        initialising.join();
        measure("failing", 200, true, () -> {
            if (Failing.pool != null) throw new IllegalStateException("it started");
        });
        System.out.println("listeners " + Three.OPENED + " " + TwoHundred.OPENED);
        System.out.println("done");
        System.exit(0);
    }
}
