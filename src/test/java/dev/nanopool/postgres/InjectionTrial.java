package dev.nanopool.postgres;

import dev.nanopool.Budget;
import dev.nanopool.Credentials;
import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import dev.nanopool.PoolListener;
import dev.nanopool.TestAccess;
import dev.nanopool.TlsMode;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.EmbeddedServer;
import dev.nanopool.testkit.InjectingLoader.Trial;
import dev.nanopool.testkit.Injection;
import dev.nanopool.testkit.TestServer;
import java.io.StringReader;
import java.lang.reflect.Field;
import java.nio.charset.StandardCharsets;
import java.sql.Array;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;
import org.postgresql.PGConnection;

/**
 * A pool of two, used in each way that there is, in about a second. Two lazy pools share its budget and take the third connection
 * from each other. For {@link InjectionTest}.
 */
public final class InjectionTrial implements Trial {
    private static final int SIZE = 2;
    private static final Duration ACQUIRE = Duration.ofMillis(400);
    private static final Duration PATIENCE = Duration.ofSeconds(8);

    private final String name;
    private final String url;
    private final Connection direct;
    private final List<Thread> started = new ArrayList<>();
    private final AtomicReference<@Nullable Throwable> unexpected = new AtomicReference<>();
    private final Budget budget = Budget.of(SIZE + 1);
    private final List<Pool> tenants = new ArrayList<>();
    private @Nullable Pool pool;
    private @Nullable Throwable notOpened;

    /** A step of the trial. */
    private interface Step {
        void run() throws Exception;
    }

    public InjectionTrial(String name, String url, Connection direct) throws Exception {
        this.name = name;
        this.url = url;
        this.direct = direct;
        // Once a second is too seldom here.
        shorten("Housekeeper", "SWEEP_NANOS", Duration.ofMillis(40));
        shorten("Checks", "TRUSTED_NANOS", Duration.ofMillis(200));
    }

    private static void shorten(String type, String field, Duration time) throws ReflectiveOperationException {
        Field nanos = Class.forName("dev.nanopool." + type).getDeclaredField(field);
        nanos.setAccessible(true);
        nanos.setLong(null, time.toNanos());
    }

    private Pool pool() {
        if (pool == null) throw new IllegalStateException("the pool was not opened");
        return pool;
    }

    @Override
    public @Nullable Throwable notOpened() {
        return notOpened;
    }

    @Override
    public void run() throws Exception {
        step(this::open);
        if (pool == null) return;
        for (int i = 0; i < 2; i++) step(this::openTenant);
        step(this::useCleanly);
        step(this::useWithStatements);
        step(this::leaveChanges);
        step(() -> leaveTransaction("BEGIN"));
        step(this::leaveTransactionOfJdbc);
        step(() -> fail("SELECT 1/0"));
        step(this::copy);
        step(this::leaveCopyOpen);
        step(this::cancel);
        step(this::closeWhileInside);
        step(this::loseLeased);
        step(this::loseIdle);
        step(this::validate);
        step(this::waitInLine);
        step(this::exhaust);
        step(this::interruptWaiter);
        step(this::deadlock);
        step(this::takeAtOnce);
        step(this::abort);
        step(this::forget);
        step(this::operate);
        step(this::moveUnit);
        step(this::waitForUnit);
        for (Thread thread : started) {
            if (!thread.join(PATIENCE)) {
                throw new AssertionError("stranded: " + List.of(thread.getStackTrace()));
            }
        }
        Throwable failure = unexpected.get();
        if (failure != null) throw new AssertionError("neither injected nor SQL's", failure);
    }

    private void open() throws SQLException {
        try {
            pool = Pool.create(config().name(name).build());
        } catch (Throwable e) {
            notOpened = e;
            throw e;
        }
    }

    private PoolConfig.Builder config() {
        return PoolConfig.builder(url)
                .tls(TlsMode.DISABLE)
                .size(SIZE)
                .budget(budget)
                .acquireTimeout(ACQUIRE)
                .connectTimeout(Duration.ofSeconds(5))
                .leakThreshold(Duration.ofSeconds(1))
                .initSql("SET statement_timeout = '7s'")
                .credentials(() -> new Credentials(EmbeddedServer.USER, EmbeddedServer.PASSWORD))
                .listener(new PoolListener() {});
    }

    private void openTenant() throws SQLException {
        String tenant = name + "-tenant-" + tenants.size();
        tenants.add(Pool.create(config().name(tenant).lazy(true).build()));
    }

    /** The idle connection of one tenant is closed in favour of a caller of the other one. */
    private void moveUnit() throws SQLException {
        for (int i = 0; i < 2; i++) {
            for (Pool tenant : tenants) tenant.client().close();
        }
    }

    /** A caller of one tenant waits for a unit, and gets it when the lease of the other one ends. */
    private void waitForUnit() throws Exception {
        if (tenants.size() < 2) return;
        try (Connection client = tenants.get(0).client()) {
            start(() -> tenants.get(1).client().close());
            Await.atMost(Duration.ofMillis(30), () -> tenants.get(1).stats().pending() > 0);
            TestServer.query(client, "SELECT 1");
        }
    }

    /** An injected failure and its consequences, which are the driver's and the pool's, end the step. */
    private void step(Step step) {
        try {
            step.run();
        } catch (SQLException e) {
            // the caller's affair
        } catch (Throwable e) {
            if (!Injection.isInjected(e)) unexpected.compareAndSet(null, e);
        }
    }

    private Thread start(Step step) {
        Thread thread = Thread.ofVirtual().unstarted(() -> step(step));
        started.add(thread);
        thread.start();
        return thread;
    }

    private void useCleanly() throws SQLException {
        for (int i = 0; i < 65; i++) pool().client().close(); // one in 64 is timed
    }

    private void useWithStatements() throws SQLException {
        try (Connection client = pool().client()) {
            TestServer.query(client, "SELECT 1");
            try (PreparedStatement prepared = client.prepareStatement("SELECT ?::int")) {
                prepared.setInt(1, 1);
                prepared.executeQuery().close();
                prepared.getMetaData();
                prepared.getParameterMetaData();
            }
            Array array = client.createArrayOf("int4", new Object[] {1});
            array.getArray();
            client.getMetaData().getDatabaseProductVersion();
            Object schema = client.getSchema();
            if (schema == null) client.getTransactionIsolation();
        }
    }

    private void leaveChanges() throws SQLException {
        try (Connection client = pool().client()) {
            TestServer.execute(client, "SET work_mem = '5MB'");
            client.setReadOnly(true);
            client.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
            client.unwrap(PGConnection.class).addDataType("t", org.postgresql.util.PGobject.class);
        }
        try (Connection client = pool().client()) {
            TestServer.execute(client, "SELECT set_config('my.tenant', '1', false)");
        }
    }

    private void leaveTransaction(String sql) throws SQLException {
        try (Connection client = pool().client()) {
            TestServer.execute(client, sql);
        }
    }

    private void leaveTransactionOfJdbc() throws SQLException {
        try (Connection client = pool().client()) {
            client.setAutoCommit(false);
            TestServer.execute(client, "SELECT 1");
            client.commit();
            TestServer.execute(client, "SELECT 1");
        }
    }

    private void fail(String sql) throws SQLException {
        try (Connection client = pool().client()) {
            TestServer.execute(client, sql);
        }
    }

    private void copy() throws Exception {
        try (Connection client = pool().client()) {
            TestServer.execute(client, "CREATE TEMP TABLE copied (n int)");
            client.unwrap(PGConnection.class).getCopyAPI().copyIn("COPY copied FROM STDIN", new StringReader("1\n"));
        }
    }

    private void leaveCopyOpen() throws Exception {
        try (Connection client = pool().client()) {
            TestServer.execute(client, "CREATE TEMP TABLE copied (n int)");
            byte[] row = "1\n".getBytes(StandardCharsets.US_ASCII);
            client.unwrap(PGConnection.class)
                    .getCopyAPI()
                    .copyIn("COPY copied FROM STDIN")
                    .writeToCopy(row, 0, row.length);
        }
    }

    private void cancel() throws Exception {
        try (Connection client = pool().client();
                Statement statement = client.createStatement()) {
            Thread canceller = start(() -> {
                awaitInside(client);
                statement.cancel();
            });
            try {
                statement.execute("SELECT pg_sleep(0.3)");
            } finally {
                canceller.join(PATIENCE);
            }
        }
    }

    /** Until a thread executes a statement of that client, or 0.1 s are over. */
    private static void awaitInside(Connection client) throws Exception {
        Await.atMost(Duration.ofMillis(100), TestAccess.isInside(client));
    }

    private void closeWhileInside() throws Exception {
        Connection client = pool().client();
        start(() -> TestServer.execute(client, "SELECT pg_sleep(0.2)"));
        try {
            awaitInside(client);
        } finally {
            client.close();
        }
    }

    private void loseLeased() throws SQLException {
        try (Connection client = pool().client()) {
            TestServer.query(client, "SELECT pg_terminate_backend(pg_backend_pid())");
        }
    }

    private void loseIdle() throws Exception {
        Consumer<Duration> aging;
        try (Connection client = pool().client()) {
            aging = TestAccess.aging(client);
            String pid = TestServer.query(client, "SELECT pg_backend_pid()");
            TestServer.query(direct, "SELECT pg_terminate_backend(" + pid + ", 1000)");
        }
        aging.accept(Duration.ofSeconds(1));
        useAll();
    }

    private void validate() throws Exception {
        List<Consumer<Duration>> aging = new ArrayList<>();
        try (Connection one = pool().client();
                Connection two = pool().client()) {
            aging.add(TestAccess.aging(one));
            aging.add(TestAccess.aging(two));
        }
        aging.forEach(connection -> connection.accept(Duration.ofSeconds(31)));
        useAll();
    }

    private void useAll() throws SQLException {
        try (Connection one = pool().client();
                Connection two = pool().client()) {
            TestServer.query(one, "SELECT 1");
            TestServer.query(two, "SELECT 1");
        }
    }

    /** Both are leased, three callers wait, and are served one after the other. */
    private void waitInLine() throws Exception {
        List<Thread> waiters = new ArrayList<>();
        try (Connection one = pool().client();
                Connection two = pool().client()) {
            for (int i = 0; i < 3; i++) {
                waiters.add(start(() -> {
                    try (Connection client = pool().client()) {
                        TestServer.query(client, "SELECT 1");
                    }
                }));
            }
            awaitPending(3);
            TestServer.execute(one, "SET work_mem = '5MB'");
        }
        for (Thread waiter : waiters) waiter.join(PATIENCE);
    }

    private void awaitPending(int callers) throws InterruptedException {
        Await.atMost(Duration.ofMillis(30), () -> pool().stats().pending() >= callers);
    }

    private void exhaust() throws Exception {
        try (Connection one = pool().client();
                Connection two = pool().client()) {
            Thread caller = start(() -> pool().client(Duration.ofMillis(20)).close());
            caller.join(PATIENCE);
            caller = start(() -> pool().client(Duration.ZERO).close());
            caller.join(PATIENCE);
        }
    }

    private void interruptWaiter() throws Exception {
        try (Connection one = pool().client();
                Connection two = pool().client()) {
            Thread caller = start(() -> pool().client().close());
            awaitPending(1);
            caller.interrupt();
            caller.join(PATIENCE);
        }
    }

    private void deadlock() throws SQLException {
        try (Connection one = pool().client();
                Connection two = pool().client()) {
            pool().client(Duration.ofMillis(150)).close();
        }
    }

    private void takeAtOnce() throws SQLException {
        Optional<Connection> client = pool().tryClient();
        if (client.isPresent()) client.get().close();
    }

    private void abort() throws SQLException {
        try (Connection client = pool().client()) {
            client.abort(Runnable::run);
        }
    }

    /** A client that is never closed, and so is reported, then taken back. */
    private void forget() throws Exception {
        long leaked = pool().stats().leaked();
        start(this::useAndForget).join(PATIENCE); // the lease's thread has ended, which is suspicious
        Await.atMost(Duration.ofMillis(300), () -> {
            System.gc();
            Await.pause(Duration.ofMillis(20)); // the housekeeper looks meanwhile
            return pool().stats().active() == 0;
        });
        if (leaked > pool().stats().leaked()) throw new IllegalStateException("bug: the count went down");
    }

    @SuppressWarnings("MustBeClosed") // forgotten on purpose
    private void useAndForget() throws SQLException {
        TestServer.query(pool().client(), "SELECT 1");
    }

    private void operate() throws Exception {
        step(() -> {
            try (Connection client = pool().client()) {
                pool().retire(client);
            }
        });
        step(() -> pool().refresh());
        awaitRound();
        step(() -> pool().resize(1));
        step(() -> pool().resize(3));
        step(this::useAll);
        step(() -> pool().resize(SIZE));
        step(() -> pool().suspend());
        step(() -> pool().resume());
        step(this::useAll);
        awaitRound();
    }

    /** Gives the housekeeper time for a look at everything. */
    private static void awaitRound() {
        Await.pause(Duration.ofMillis(80));
    }

    @Override
    public void settle() {
        pool().resize(SIZE);
        pool().resume();
    }

    @Override
    public String imbalance() {
        if (pool().stats().active() > 0) System.gc(); // a client may be forgotten
        String imbalance = TestAccess.imbalance(pool());
        for (Pool tenant : tenants) imbalance += TestAccess.imbalance(tenant);
        return imbalance;
    }

    @Override
    public void leaseAll() throws Exception {
        useAll();
    }

    @Override
    public long bugs() {
        return TestAccess.bugs(pool());
    }

    @Override
    public void close() {
        if (pool != null) pool.close(Duration.ZERO);
        for (Pool tenant : tenants) tenant.close(Duration.ZERO);
    }

    @Override
    public String unitsLeft() {
        return budget.used() == 0 ? "" : budget.toString();
    }
}
