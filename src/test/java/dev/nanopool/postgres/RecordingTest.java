package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import dev.nanopool.PoolExhaustedException;
import dev.nanopool.PoolListener;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.ChildJvm;
import dev.nanopool.testkit.FaultProxy;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.Recorded;
import dev.nanopool.testkit.TestServer;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import jdk.jfr.EventType;
import jdk.jfr.ValueDescriptor;
import jdk.jfr.consumer.RecordedEvent;
import org.junit.jupiter.api.Test;

/** What Flight Recorder shows of a pool: each event is provoked, and its fields are right. */
class RecordingTest extends PoolTestBase {
    private static final String SECRET = "'a secret'";

    private static List<RecordedEvent> named(String name, List<RecordedEvent> events) {
        return events.stream()
                .filter(event -> event.getEventType().getName().equals("dev.nanopool." + name))
                .toList();
    }

    private static RecordedEvent single(String name, List<RecordedEvent> events) {
        assertThat(named(name, events)).as(name).hasSize(1);
        return named(name, events).getFirst();
    }

    private static int pid(Connection client) throws SQLException {
        return Integer.parseInt(TestServer.query(client, "SELECT pg_backend_pid()"));
    }

    private static String name(Pool pool) {
        return pool.stats().name();
    }

    @Test
    void connectMustTellHostAndPhases() throws Exception {
        try (var recorded = Recorded.start()) {
            Pool pool = open(config().size(1).initSql("SELECT pg_sleep(0.05)"));
            try (Connection client = pool.client()) {
                int pid = pid(client);
                RecordedEvent connect = single("Connect", recorded.of(name(pool)));
                var address = URI.create(TestServer.jdbc(server()).substring("jdbc:".length()));
                assertThat(connect.getInt("backendPid")).isEqualTo(pid);
                assertThat(connect.getString("host")).isEqualTo(address.getHost() + ":" + address.getPort());
                assertThat(connect.getDuration("tcp")).isPositive();
                assertThat(connect.getDuration("login")).isPositive();
                assertThat(connect.getDuration("initSql")).isGreaterThanOrEqualTo(Duration.ofMillis(50));
                assertThat(connect.getDuration("tcp")
                                .plus(connect.getDuration("tls"))
                                .plus(connect.getDuration("login"))
                                .plus(connect.getDuration("initSql")))
                        .isLessThanOrEqualTo(connect.getDuration("took"));
            }
        }
    }

    @Test
    void acquireMustTellPlaceAndVerdict() throws Exception {
        Pool pool = open(1);
        try (var recorded = Recorded.start()) {
            try (Connection client = pool.client()) {
                assertThat(client.isClosed()).isFalse();
                threads.start(() -> assertThatThrownBy(() -> pool.client(Duration.ofMillis(30)))
                        .isInstanceOf(PoolExhaustedException.class));
                threads.join();
                threads.start(() -> pool.client().close());
                Await.until("it waits", () -> pool.stats().pending() == 1);
            }
            threads.join();
            List<RecordedEvent> waits = named("Acquire", recorded.of(name(pool))).stream()
                    .filter(event -> event.getInt("place") > 0) // no wait for a validation
                    .toList();
            assertThat(waits).hasSize(2);
            RecordedEvent refused = waits.getFirst();
            assertThat(refused.getString("verdict")).isEqualTo("SLOW_HOLDERS");
            assertThat(refused.getInt("place")).isEqualTo(1);
            assertThat(refused.getDuration())
                    .isBetween(Duration.ofMillis(30), Duration.ofMillis(30).plus(TOLERANCE));
            assertThat(waits.getLast().getString("verdict")).isNull();
            assertThat(waits.getLast().getInt("place")).isEqualTo(1);
            assertThat(waits.getLast().getDuration()).isPositive();
        }
    }

    @Test
    void leaseMustTellHolderAndSite() throws Exception {
        Pool pool = open(1);
        try (var recorded = Recorded.start()) {
            int pid;
            try (Connection client = pool.client()) {
                pid = pid(client);
                Await.pause(Duration.ofMillis(20));
            }
            RecordedEvent lease = single("Lease", recorded.of(name(pool)));
            assertThat(lease.getDuration()).isGreaterThanOrEqualTo(Duration.ofMillis(20));
            assertThat(lease.getInt("backendPid")).isEqualTo(pid);
            assertThat(lease.getString("holder"))
                    .isEqualTo(Thread.currentThread().getName());
            assertThat(lease.getString("site")).contains("RecordingTest.leaseMustTellHolderAndSite");
        }
    }

    @Test
    void eventsMustHaveTextsAndThresholds() throws Exception {
        Pool unused = open(1); // Flight Recorder knows a period only while a pool is open
        List<EventType> types = Stream.of(Class.forName("dev.nanopool.Recorder").getDeclaredClasses())
                .filter(jdk.jfr.Event.class::isAssignableFrom)
                .map(type -> EventType.getEventType(type.asSubclass(jdk.jfr.Event.class)))
                .toList();
        assertThat(types.stream().map(EventType::getName))
                .containsExactlyInAnyOrder(
                        "dev.nanopool.Acquire",
                        "dev.nanopool.Lease",
                        "dev.nanopool.Connect",
                        "dev.nanopool.Close",
                        "dev.nanopool.Reset",
                        "dev.nanopool.Cancel",
                        "dev.nanopool.Leak",
                        "dev.nanopool.Outage",
                        "dev.nanopool.Pool");
        assertThat(types).allSatisfy(type -> {
            assertThat(type.getCategoryNames()).containsExactly("nanopool");
            assertThat(type.getLabel()).isNotBlank();
            assertThat(type.getDescription()).isNotBlank();
            assertThat(type.getFields().stream().map(ValueDescriptor::getLabel)).doesNotContainNull();
        });
        assertThat(types.stream()
                        .flatMap(type -> type.getSettingDescriptors().stream()
                                .filter(setting -> setting.getName().matches("threshold|period"))
                                .filter(setting -> !setting.getDefaultValue().equals("0 ns"))
                                .map(setting ->
                                        type.getLabel() + " " + setting.getName() + " " + setting.getDefaultValue())))
                .containsExactlyInAnyOrder("Acquire threshold 10 ms", "Lease threshold 1 s", "Pool period 5 s");
    }

    @Test
    void resetMustTellWhatWasUndone() throws Exception {
        Pool pool = open(1);
        try (var recorded = Recorded.start()) {
            try (Connection client = pool.client()) {
                client.setAutoCommit(false);
                TestServer.execute(client, "SET work_mem = '77MB'");
            }
            pool.client().close();
            RecordedEvent reset = single("Reset", recorded.of(name(pool)));
            assertThat(reset.getString("undone")).startsWith("transaction, auto commit, settings");
            assertThat(reset.getDuration("took")).isPositive();
        }
    }

    @Test
    void cancelAndCloseMustTellTheirReason() throws Exception {
        Pool pool = open(1);
        var isIn = new CountDownLatch(1);
        try (var recorded = Recorded.start()) {
            pool.client().close();
            threads.start(() -> {
                try (Connection client = pool.client()) {
                    isIn.countDown();
                    assertThatThrownBy(() -> TestServer.execute(client, "SELECT pg_sleep(40), " + SECRET))
                            .isInstanceOf(SQLException.class);
                }
            });
            assertThat(isIn.await(60, TimeUnit.SECONDS)).isTrue();
            Await.until("it runs", () -> running(name(pool)) == 1);
            assertThat(pool.close(Duration.ZERO)).isFalse();
            threads.join();
            List<RecordedEvent> events = recorded.of(name(pool));
            RecordedEvent cancel = single("Cancel", events);
            assertThat(cancel.getString("reason")).isEqualTo("cut off by the pool's close");
            assertThat(cancel.getInt("backendPid")).isPositive();
            assertThat(cancel.getDuration("took")).isPositive();
            RecordedEvent close = single("Close", events);
            assertThat(close.getString("reason")).isEqualTo("cut off by the pool's close");
            assertThat(close.getInt("backendPid")).isEqualTo(cancel.getInt("backendPid"));
            assertThat(close.getLong("leases")).isEqualTo(2);
            assertThat(close.getDuration("age")).isPositive();
            assertThat(events.toString()).doesNotContain(SECRET, "pg_sleep");
        }
    }

    private static int running(String pool) throws SQLException {
        try (Connection direct = TestServer.direct()) {
            return Integer.parseInt(TestServer.query(
                    direct,
                    "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND application_name = '" + pool
                            + "'"));
        }
    }

    @Test
    void leakMustTellHolderAndWhereTheLeaseBegan() throws Exception {
        var isReported = new CountDownLatch(1); // the listener comes after Flight Recorder
        Pool pool = open(config().size(1).leakThreshold(Duration.ofSeconds(1)).listener(new PoolListener() {
            @Override
            public void leaked(String name, PoolExhaustedException.Holder holder, boolean isCertain) {
                isReported.countDown();
            }
        }));
        try (var recorded = Recorded.start()) {
            try (Connection client = pool.client()) {
                assertThat(client.isClosed()).isFalse();
                assertThat(isReported.await(60, TimeUnit.SECONDS)).isTrue();
            }
            RecordedEvent leak = single("Leak", recorded.of(name(pool)));
            assertThat(leak.getString("holder"))
                    .isEqualTo(Thread.currentThread().getName());
            assertThat(leak.getDuration("held")).isGreaterThanOrEqualTo(Duration.ofSeconds(1));
            assertThat(leak.getString("site")).contains("RecordingTest.leakMustTellHolderAndWhereTheLeaseBegan");
            assertThat(leak.getBoolean("certain")).isFalse();
        }
    }

    @Test
    void outageMustTellCauseAndRefusedCallers() throws Exception {
        FaultProxy proxy = proxy();
        Pool pool = open(config(proxy).size(1).outagePatience(Duration.ZERO));
        try (var recorded = Recorded.start()) {
            proxy.refuse();
            proxy.now(FaultProxy.Fault.RST);
            Await.until("a caller is refused", () -> isRefused(pool));
            proxy.listen();
            Await.until("it is over", () -> pool.stats().idle() == 1);
            List<RecordedEvent> events = recorded.of(name(pool));
            RecordedEvent outage = single("Outage", events);
            assertThat(outage.getString("cause")).contains("refused");
            assertThat(outage.getDuration("lasted")).isPositive();
            assertThat(outage.getLong("refused")).isPositive();
            assertThat(named("Acquire", events))
                    .anySatisfy(wait -> assertThat(wait.getString("verdict")).isEqualTo("DATABASE_DOWN"));
            assertThat(events.toString()).as("no URL").doesNotContain("postgresql:");
        }
    }

    private static boolean isRefused(Pool pool) throws SQLException {
        try (Connection client = pool.client()) {
            return client.isClosed();
        } catch (PoolExhaustedException e) {
            return true;
        }
    }

    @Test
    void poolMustBeRecordedFromTimeToTime() throws Exception {
        Pool pool = open(config().size(3).minIdle(2));
        try (var recorded = Recorded.start();
                Connection client = pool.client()) {
            assertThat(client.isClosed()).isFalse();
            Await.pause(Duration.ofMillis(500));
            List<RecordedEvent> numbers = named("Pool", recorded.of(name(pool)));
            assertThat(numbers).isNotEmpty();
            RecordedEvent last = numbers.getLast();
            assertThat(last.getInt("size")).isEqualTo(3);
            assertThat(last.getInt("active")).isEqualTo(1);
            assertThat(last.getInt("idle")).isEqualTo(1);
            assertThat(last.getInt("pending")).isZero();
            assertThat(last.getInt("opening")).isZero();
        }
    }

    /** Opens a pool where there is no Flight Recorder. */
    static final class WithoutRecorder {
        private WithoutRecorder() {}

        public static void main(String[] arguments) throws SQLException {
            if (ModuleLayer.boot().findModule("jdk.jfr").isPresent())
                throw new IllegalStateException("jdk.jfr is here");
            try (Pool pool = Pool.create(arguments[0], dev.nanopool.TlsMode.PREFER, 1);
                    Connection client = pool.client()) {
                System.out.println("selected " + TestServer.query(client, "SELECT 1"));
            }
        }
    }

    // A run-time image need not have the module.
    @Test
    void poolMustStartWithoutFlightRecorder() throws Exception {
        Process process = new ProcessBuilder(
                        System.getProperty("java.home") + "/bin/java",
                        "--limit-modules",
                        "java.sql,java.naming,java.security.jgss,java.security.sasl,jdk.net",
                        "-cp",
                        System.getProperty("java.class.path"),
                        WithoutRecorder.class.getName(),
                        server())
                .redirectErrorStream(true)
                .start();
        try {
            String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            assertThat(output).contains("selected 1");
            assertThat(process.waitFor()).isZero();
        } finally {
            process.destroyForcibly();
        }
    }

    /** Uses a pool in many ways. */
    static final class Program {
        private Program() {}

        public static void main(String[] arguments) throws SQLException {
            try (Pool pool = Pool.create(PoolConfig.builder(arguments[0])
                    .size(1)
                    .leakThreshold(Duration.ofSeconds(1))
                    .build())) {
                try (Connection client = pool.client()) {
                    TestServer.execute(client, "SET work_mem = '8MB'");
                    assertThatThrownBy(() -> pool.client(Duration.ofMillis(20)))
                            .isInstanceOf(PoolExhaustedException.class);
                    pool.retire(client);
                }
                try (Connection client = pool.client()) {
                    assertThat(TestServer.query(client, "SHOW work_mem")).isNotEqualTo("8MB");
                }
            }
            System.out.println("done");
        }
    }

    // The first class of an event costs a cold JVM 70 ms, and the first login would wait for it.
    @Test
    void withoutRecordingNoEventMustBeLoaded() throws Exception {
        Map<String, String> lines = ChildJvm.run(
                Path.of(System.getProperty("java.home")),
                Program.class,
                List.of("-Xlog:class+load:stdout:none"),
                server());
        List<String> loaded = lines.keySet().stream()
                .filter(name -> name.startsWith("dev.nanopool.") && !name.contains("/")) // no lambda
                .toList();
        assertThat(loaded).contains("dev.nanopool.Recorder");
        for (String name : loaded) {
            Class<?> type = Class.forName(name, false, getClass().getClassLoader());
            assertThat(jdk.jfr.Event.class.isAssignableFrom(type)).as(name).isFalse();
        }
    }
}
