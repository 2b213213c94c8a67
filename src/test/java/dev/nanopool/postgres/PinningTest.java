package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import dev.nanopool.Pool;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.Stopwatch;
import dev.nanopool.testkit.TestServer;
import java.io.IOException;
import java.lang.management.ClassLoadingMXBean;
import java.lang.management.ManagementFactory;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.concurrent.locks.LockSupport;
import jdk.jfr.Recording;
import jdk.jfr.consumer.RecordedEvent;
import jdk.jfr.consumer.RecordedFrame;
import jdk.jfr.consumer.RecordingFile;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The JDK reports every virtual thread that parks and takes its carrier along, however short. */
class PinningTest extends PoolTestBase {
    private static final int CALLERS = 100;

    private static final ClassLoadingMXBean LOADED = ManagementFactory.getClassLoadingMXBean();

    @TempDir
    Path directory = Path.of("");

    /** Pins on every JDK: a class's initialisation does. */
    private static final class Pin {
        static {
            LockSupport.parkNanos(1_000_000);
        }

        static void touch() {}
    }

    // While classes are loaded, the driver's and the JDK's do pin. The pool's own code never does, and nothing does
    // in a pass in which no class is loaded.
    @Test
    void noVirtualThreadMustBePinned() throws Exception {
        List<RecordedEvent> events;
        Duration patience = Duration.ofSeconds(60);
        Pass pass;
        try (var recording = new Recording();
                var stopwatch = Stopwatch.start()) {
            recording
                    .enable("jdk.VirtualThreadPinned")
                    .withThreshold(Duration.ZERO)
                    .withStackTrace();
            recording.start();
            do {
                pass = pass();
            } while (pass.loaded > 0 && stopwatch.elapsed().compareTo(patience) < 0);
            threads.start(Pin::touch);
            threads.join();
            recording.stop();
            events = read(recording);
        }
        Instant warm = pass.begin;
        Instant end = pass.end;
        assertThat(events)
                .as("a deliberate one, so that the others would be seen")
                .anyMatch(event -> !event.getStartTime().isBefore(end));
        assertThat(events)
                .filteredOn(event -> event.getStartTime().isBefore(end))
                .noneMatch(PinningTest::isOfThePool);
        assertThat(events)
                .filteredOn(event -> event.getStartTime().isAfter(warm)
                        && event.getStartTime().isBefore(end))
                .isEmpty();
        System.getLogger("dev.nanopool.test")
                .log(
                        System.Logger.Level.INFO,
                        "pinned on Java " + Runtime.version().feature() + ": " + (events.size() - 1)
                                + " times while classes were loaded");
    }

    private List<RecordedEvent> read(Recording recording) throws IOException {
        Path file = directory.resolve("pinned.jfr");
        recording.dump(file);
        return RecordingFile.readAllEvents(file).stream()
                .filter(event -> event.getEventType().getName().equals("jdk.VirtualThreadPinned"))
                .toList();
    }

    /** Whether the pool's code has parked so, and not because of a class. */
    private static boolean isOfThePool(RecordedEvent event) {
        return !isOfAClassOrTheDriver(event)
                && event.getStackTrace() != null
                && event.getStackTrace().getFrames().stream().anyMatch(PinningTest::isOfThePool);
    }

    /**
     * Whether a class was being loaded or initialised, or the driver waited for a monitor of its own. The pool has none, so a
     * monitor for which one of its methods waits itself, and no method that it calls, is that of a class.
     */
    private static boolean isOfAClassOrTheDriver(RecordedEvent event) {
        List<RecordedFrame> frames = event.getStackTrace() == null
                ? List.of()
                : event.getStackTrace().getFrames();
        boolean isMonitorOfAClass = text(event, "blockingOperation").equals("Contended monitor enter")
                && !frames.isEmpty()
                && (isOfThePool(frames.getFirst()) || isOfTheDriver(frames.getFirst()));
        return text(event, "pinnedReason").contains("initialization")
                || isMonitorOfAClass
                || frames.stream().anyMatch(frame -> frame.getMethod().getName().matches("<clinit>|loadClass"));
    }

    /** Empty before Java 24. */
    private static String text(RecordedEvent event, String field) {
        return event.hasField(field) ? String.valueOf(event.getString(field)) : "";
    }

    private static boolean isOfThePool(RecordedFrame frame) {
        return frame.getMethod().getType().getName().matches("dev\\.nanopool\\.((driver|queue|sql)\\.)?[A-Z].*");
    }

    private static boolean isOfTheDriver(RecordedFrame frame) {
        return frame.getMethod().getType().getName().startsWith("org.postgresql.");
    }

    /** What was done once, and how many classes were loaded meanwhile. */
    private record Pass(Instant begin, Instant end, long loaded) {}

    private Pass pass() throws Exception {
        long before = LOADED.getTotalLoadedClassCount();
        Instant begin = Instant.now();
        doEverything();
        return new Pass(begin, Instant.now(), LOADED.getTotalLoadedClassCount() - before);
    }

    private void doEverything() throws Exception {
        String name;
        try (Pool pool = open(config().size(8).connectParallelism(8))) { // a storm of connects
            name = pool.stats().name();
            load(pool);
            long opened = pool.stats().opened();
            pool.refresh();
            Await.until("all are replaced", () -> {
                load(pool);
                return pool.stats().opened() >= opened + 8;
            });
            long replaced = pool.stats().opened();
            killAll(name);
            Await.until("all are back", () -> pool.stats().opened() >= replaced + 8);
            pool.resize(2);
            load(pool);
            pool.suspend();
            threads.start(() -> pool.client().close());
            pool.resume();
            threads.join();
            Connection held = pool.client();
            Connection other = pool.client();
            threads.start(() -> {
                Thread.currentThread().interrupt();
                assertThat(catchThrowable(pool::client)).isInstanceOf(SQLException.class);
            });
            threads.join();
            threads.start(pool::close); // waits for the leases
            held.close();
            other.close();
            threads.join();
        }
        Await.until("no session is left", () -> TestServer.sessions(name) == 0);
    }

    /** Clean leases, leases that leave something to reset, and callers whose time is up. */
    private void load(Pool pool) throws Exception {
        for (int i = 0; i < CALLERS; i++) {
            int number = i;
            threads.start(() -> {
                try (Connection client = pool.client(Duration.ofSeconds(20))) {
                    if (number % 10 == 1) TestServer.execute(client, "SET statement_timeout = 5000");
                    if (number % 10 == 2) client.setAutoCommit(false);
                    try (PreparedStatement select = client.prepareStatement("SELECT 1")) {
                        select.execute();
                    }
                }
            });
        }
        threads.join();
        var unused = pool.tryClient().map(PinningTest::close);
    }

    private static boolean close(Connection client) {
        try {
            client.close();
            return true;
        } catch (SQLException e) {
            throw new AssertionError(e);
        }
    }

    private static void killAll(String name) throws SQLException {
        try (Connection direct = TestServer.direct()) {
            TestServer.execute(
                    direct,
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '" + name + "'");
        }
    }
}
