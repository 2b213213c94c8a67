package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import dev.nanopool.PoolExhaustedException;
import dev.nanopool.Pooler;
import dev.nanopool.TestAccess;
import dev.nanopool.sql.Change;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.Log;
import dev.nanopool.testkit.PgBouncer;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.TestServer;
import java.io.BufferedReader;
import java.io.StringReader;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Queue;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.ConcurrentSkipListSet;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import java.util.logging.Level;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.postgresql.PGConnection;

/** Pools behind real PgBouncers, an old one and a new one. {@link SharedSessionTest} needs none. */
class PoolerTest extends PoolTestBase {
    private static final int THREADS = 16;
    private static final int LEASES = 1_600;
    private static final int TRESPASSES = 16; // one lease in so many

    private static final Map<String, PgBouncer> BOUNCERS = new TreeMap<>();

    @FunctionalInterface
    interface Deed {
        void in(Connection client, int number) throws Exception;
    }

    /** What a lease may do. */
    private static final List<Deed> DEEDS = List.of(
            (client, n) -> {
                for (int i = 0; i < 6; i++) assertThat(echo(client, n + i)).isEqualTo(n + i);
            },
            (client, n) -> {
                client.setAutoCommit(false);
                for (int i = 0; i < 6; i++) assertThat(echo(client, n + i)).isEqualTo(n + i);
                client.commit();
            },
            (client, n) -> {
                client.setAutoCommit(false);
                try (PreparedStatement statement = client.prepareStatement("SELECT generate_series(1, ?)")) {
                    statement.setFetchSize(3);
                    statement.setInt(1, 10);
                    int count = 0;
                    try (ResultSet rows = statement.executeQuery()) {
                        while (rows.next()) count++;
                    }
                    assertThat(count).isEqualTo(10);
                }
                client.commit();
            },
            (client, n) -> {
                try (PreparedStatement insert = client.prepareStatement(
                        "INSERT INTO pooler_rows (n) VALUES (?)", Statement.RETURN_GENERATED_KEYS)) {
                    for (int i = 0; i < 4; i++) {
                        insert.setInt(1, i);
                        insert.addBatch();
                    }
                    assertThat(insert.executeBatch()).hasSize(4);
                    try (ResultSet keys = insert.getGeneratedKeys()) {
                        assertThat(keys.next()).isTrue();
                    }
                }
            },
            (client, n) -> {
                client.setAutoCommit(false);
                TestServer.execute(client, "SET LOCAL my.local = '" + n + "'");
                assertThat(TestServer.query(client, "SHOW my.local")).isEqualTo(Integer.toString(n));
                TestServer.query(client, "SELECT set_config('my.local', '', true), pg_advisory_xact_lock_shared(7)");
                client.commit();
            },
            (client, n) -> {
                try (PreparedStatement statement = client.prepareStatement("SELECT n FROM pooler_rows WHERE n = ?")) {
                    assertThat(statement.getParameterMetaData().getParameterCount())
                            .isEqualTo(1);
                    statement.setInt(1, 1);
                    try (ResultSet rows = statement.executeQuery()) {
                        assertThat(rows.getMetaData().getColumnCount()).isEqualTo(1);
                        assertThat(statement.getMetaData().getColumnCount()).isEqualTo(1);
                    }
                }
                try (ResultSet tables = client.getMetaData().getTables(null, null, "pooler_rows", null)) {
                    assertThat(tables.next()).isTrue();
                }
            },
            (client, n) -> client.unwrap(PGConnection.class)
                    .getCopyAPI()
                    .copyIn("COPY pooler_rows (n) FROM STDIN", new StringReader("1\n2\n")),
            (client, n) -> {
                client.setAutoCommit(n % 2 == 0);
                assertThatThrownBy(() -> TestServer.query(client, "SELECT 1 / 0"))
                        .hasMessageContaining("by zero");
                if (n % 2 != 0) client.rollback();
                assertThat(echo(client, n)).isEqualTo(n);
            },
            (client, n) -> {
                client.setAutoCommit(false); // and left open
                assertThat(echo(client, n)).isEqualTo(n);
            });

    /** How a lease may change its session, how another one notices, and what is reported. */
    record Trespass(String sql, String probe, Change change) {}

    private static final List<Trespass> TRESPASSES_BY_KIND = List.of(
            new Trespass("SET my.tenant = 'x'", "current_setting('my.tenant', true) = 'x'", Change.SETTINGS),
            new Trespass(
                    "CREATE TEMP TABLE IF NOT EXISTS trespass (n int)",
                    "to_regclass('pg_temp.trespass') IS NOT NULL",
                    Change.TEMP),
            new Trespass("LISTEN trespass", "EXISTS (SELECT FROM pg_listening_channels())", Change.LISTEN),
            new Trespass(
                    "SELECT pg_advisory_lock_shared(4711)",
                    "EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())",
                    Change.LOCKS));

    private static int echo(Connection client, int n) throws SQLException {
        try (PreparedStatement statement = client.prepareStatement("SELECT ?::int")) {
            statement.setInt(1, n);
            try (ResultSet row = statement.executeQuery()) {
                row.next();
                return row.getInt(1);
            }
        }
    }

    @BeforeAll
    static void startPoolers() throws Exception {
        assumeFalse(PgBouncer.binaries().isEmpty(), PgBouncer.missing());
        for (String binary : PgBouncer.binaries()) {
            PgBouncer bouncer = new PgBouncer(binary);
            BOUNCERS.put(binary, bouncer);
        }
        try (Connection direct = TestServer.direct()) {
            TestServer.execute(
                    direct, "CREATE TABLE IF NOT EXISTS pooler_rows (id bigint GENERATED ALWAYS AS IDENTITY, n int)");
        }
    }

    @AfterAll
    static void stopPoolers() throws Exception {
        for (PgBouncer bouncer : BOUNCERS.values()) bouncer.close();
    }

    static Stream<Arguments> modes() {
        return BOUNCERS.keySet().stream()
                .flatMap(binary ->
                        Stream.of(Pooler.SESSION, Pooler.TRANSACTION).map(mode -> Arguments.of(binary, mode)));
    }

    static Set<String> binaries() {
        return BOUNCERS.keySet();
    }

    private static PgBouncer bouncer(String binary) {
        return Objects.requireNonNull(BOUNCERS.get(binary));
    }

    private static String url(PgBouncer bouncer, Pooler mode) {
        return bouncer.url(mode.name().toLowerCase(Locale.ROOT));
    }

    /** Its name is not awaited at the end, because the pooler keeps the sessions. */
    private static PoolConfig.Builder config(PgBouncer bouncer, Pooler mode) {
        return PoolConfig.builder(url(bouncer, mode))
                .pooler(mode)
                .size(mode == Pooler.SESSION ? PgBouncer.SESSIONS : 8);
    }

    /** The changes that a lease finds in its session before it does anything. */
    private static Set<Change> found(Connection client) throws SQLException {
        List<String> probes = TRESPASSES_BY_KIND.stream().map(Trespass::probe).toList();
        Set<Change> found = new TreeSet<>();
        try (Statement statement = client.createStatement();
                ResultSet row = statement.executeQuery("SELECT " + String.join(", ", probes))) {
            row.next();
            for (int i = 0; i < probes.size(); i++) {
                if (row.getBoolean(i + 1)) found.add(TRESPASSES_BY_KIND.get(i).change);
            }
        }
        return found;
    }

    /** Lends as often as that, in many threads, and returns which changes a lease has found in its session. */
    private Set<Change> mixedLeases(Pool pool, int leases) throws Exception {
        Set<Change> crossed = new ConcurrentSkipListSet<>();
        AtomicInteger next = new AtomicInteger();
        Queue<Throwable> failures = new ConcurrentLinkedQueue<>();
        for (int i = 0; i < THREADS; i++) {
            threads.start(() -> {
                for (int n = next.getAndIncrement(); n < leases; n = next.getAndIncrement()) {
                    try (Connection client = pool.client()) {
                        crossed.addAll(found(client));
                        int trespass = n / TRESPASSES % TRESPASSES_BY_KIND.size();
                        if (n % TRESPASSES == 0) TestServer.execute(client, TRESPASSES_BY_KIND.get(trespass).sql);
                        else DEEDS.get(n % DEEDS.size()).in(client, n);
                    } catch (Throwable e) {
                        failures.add(e);
                    }
                }
            });
        }
        threads.join();
        assertThat(failures).isEmpty();
        assertThat(next.get()).isGreaterThanOrEqualTo(leases);
        return crossed;
    }

    private static List<String> reports(Log log, Pool pool) {
        String name = pool.stats().name() + ": a lease ";
        return log.lines().stream().filter(line -> line.startsWith(name)).toList();
    }

    // No statement fails for a name (42P05, 26000), and what crosses to another lease was reported, once for its place.
    @ParameterizedTest
    @MethodSource("binaries")
    void mixedLeasesBehindATransactionPooler(String binary) throws Exception {
        try (Log log = Log.of(Level.WARNING);
                Pool pool = open(config(bouncer(binary), Pooler.TRANSACTION))) {
            Set<Change> crossed = mixedLeases(pool, LEASES);
            assertThat(crossed).as("sessions are shared").isNotEmpty();
            List<String> reports = reports(log, pool);
            for (Trespass trespass : TRESPASSES_BY_KIND) {
                String kind = "(" + trespass.change.name().toLowerCase(Locale.ROOT) + ")";
                assertThat(reports)
                        .filteredOn(line -> line.contains(kind))
                        .as(kind)
                        .hasSize(1);
            }
            assertThat(reports).hasSize(TRESPASSES_BY_KIND.size());
            assertThat(pool.stats().closed()).isZero();
        }
    }

    // Where the pooler tracks prepared statements, the driver may prepare them, also to describe them.
    @ParameterizedTest
    @MethodSource("binaries")
    void statementsMayBePreparedWhereThePoolerTracksThem(String binary) throws Exception {
        try (PgBouncer tracking = newest(binary, "max_prepared_statements = 100");
                Pool pool = open(config(tracking, Pooler.TRANSACTION).driverProperty("prepareThreshold", "1"))) {
            mixedLeases(pool, LEASES / 4);
            try (Connection client = pool.client();
                    PreparedStatement statement = client.prepareStatement("SELECT 1")) {
                assertThat(statement.getMetaData().getColumnCount()).isEqualTo(1);
            }
        }
    }

    private static PgBouncer newest(String binary, String setting) throws Exception {
        String version;
        try (BufferedReader output =
                new ProcessBuilder(binary, "--version").start().inputReader()) {
            version = output.readLine();
        }
        assumeFalse(version.matches("\\D*1\\.(1\\d|20)\\..*"), "it does not know " + setting + ": " + version);
        return new PgBouncer(binary, setting);
    }

    // A session belongs to its connection, so that the pool resets it as it does without a pooler.
    @ParameterizedTest
    @MethodSource("binaries")
    void mixedLeasesBehindASessionPooler(String binary) throws Exception {
        try (Log log = Log.of(Level.WARNING);
                Pool pool = open(config(bouncer(binary), Pooler.SESSION)
                        .parameter("statement_timeout", "55s")
                        .driverProperty("currentSchema", "public,pg_catalog"))) {
            assertThat(mixedLeases(pool, LEASES / 4)).isEmpty();
            assertThat(reports(log, pool)).isEmpty();
            assertThat(pool.stats().reset()).isPositive();
            try (Connection client = pool.client()) {
                assertThat(TestServer.query(client, "SHOW statement_timeout")).isEqualTo("55s");
                assertThat(TestServer.query(client, "SHOW search_path")).isEqualTo("public,pg_catalog");
            }
        }
    }

    // A refusal of the pooler says what to set, there and here, and is no outage that callers wait for.
    @ParameterizedTest
    @MethodSource("modes")
    void refusalMustSayWhatToSet(String binary, Pooler mode) {
        PgBouncer bouncer = bouncer(binary);
        assertThatThrownBy(() -> open(PoolConfig.builder(url(bouncer, mode)).parameter("statement_timeout", "55s")))
                .isInstanceOf(SQLException.class)
                .hasMessageMatching(
                        "nanopool-\\d+: the pooler refuses the startup parameter (options|statement_timeout); "
                                + "PgBouncer takes it with ignore_startup_parameters = \\1, and the pool sends fewer with the "
                                + "setting pooler");
        if (mode == Pooler.SESSION) return;
        assertThatThrownBy(() -> open(config(bouncer, mode).parameter("statement_timeout", "55s")))
                .hasMessageContaining("cannot set parameter statement_timeout; write ALTER ROLE");
    }

    // While the pooler is paused, statements wait, and none fails. A cancel goes by the pooler's own keys.
    @ParameterizedTest
    @MethodSource("binaries")
    void pauseMustCostNoStatement(String binary) throws Exception {
        PgBouncer bouncer = bouncer(binary);
        try (Pool pool = open(config(bouncer, Pooler.TRANSACTION))) {
            bouncer.command("PAUSE transaction");
            List<BooleanSupplier> insides = new ArrayList<>();
            for (int i = 0; i < 4; i++) {
                Connection client = pool.client();
                insides.add(TestAccess.isInside(client));
                int n = i;
                threads.start(() -> {
                    try (client) {
                        assertThat(echo(client, n)).isEqualTo(n);
                    }
                });
            }
            Await.until("they wait", () -> insides.stream().allMatch(BooleanSupplier::getAsBoolean));
            Await.pause(Duration.ofMillis(100));
            assertThat(insides).allMatch(BooleanSupplier::getAsBoolean);
            bouncer.command("RESUME transaction");
            threads.join();
            assertThat(pool.stats().closed()).isZero();
        }
    }

    @ParameterizedTest
    @MethodSource("modes")
    void cancelMustReachTheServer(String binary, Pooler mode) throws Exception {
        try (Pool pool = open(config(bouncer(binary), mode));
                Connection client = pool.client();
                Statement statement = client.createStatement()) {
            threads.start(() -> {
                try (Connection direct = TestServer.direct()) {
                    String running = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
                    Await.until(
                            "it runs", () -> !TestServer.query(direct, running).equals("0"));
                }
                statement.cancel();
            });
            assertThatThrownBy(() -> statement.execute("SELECT pg_sleep(60)"))
                    .isInstanceOfSatisfying(
                            SQLException.class, e -> assertThat(e.getSQLState()).isEqualTo("57014"));
            threads.join();
        }
    }

    // A restart costs what was under way, and nothing else. The pool finds the pooler again by itself.
    @ParameterizedTest
    @MethodSource("modes")
    void restartMustCostOnlyWhatWasUnderWay(String binary, Pooler mode) throws Exception {
        PgBouncer bouncer = bouncer(binary);
        try (Pool pool = open(config(bouncer, mode).acquireTimeout(Duration.ofSeconds(30)))) {
            try (Connection client = pool.client()) {
                assertThat(echo(client, 1)).isEqualTo(1);
            }
            bouncer.kill();
            for (int i = 0; i < 4; i++) {
                int n = i;
                threads.start(() -> {
                    for (boolean isDone = false; !isDone; ) {
                        try (Connection client = pool.client()) { // waits for the pooler
                            assertThat(echo(client, n)).isEqualTo(n);
                            isDone = true;
                        } catch (SQLException e) {
                            // Its connection was lent in the moment of its end.
                            if (e instanceof PoolExhaustedException) throw e;
                            assertThat(e.getSQLState()).startsWith("08");
                        }
                    }
                });
            }
            Await.until("callers wait", () -> pool.stats().pending() > 0);
            bouncer.start();
            threads.join();
            Await.until(
                    "all are back", () -> pool.stats().idle() == pool.stats().size());
        }
    }
}
