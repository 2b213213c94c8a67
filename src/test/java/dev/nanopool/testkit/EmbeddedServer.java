package dev.nanopool.testkit;

import io.zonky.test.db.postgres.embedded.EmbeddedPostgres;
import io.zonky.test.db.postgres.util.LinuxUtils;
import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;

/**
 * A PostgreSQL of a test's own, which the test may stop, kill, freeze, start again, and copy to a standby. Ends with
 * the JVM at the latest.
 */
public final class EmbeddedServer implements AutoCloseable {
    /** The superuser, as in compose.yaml; no role is named postgres. */
    public static final String USER = "nanopool";

    public static final String PASSWORD = "nanopool";

    public static final String DATABASE = "nanopool";

    private final EmbeddedPostgres server;
    private final Path data;

    /** How a server ends. */
    public enum Stop {
        /** It tells its sessions, and ends in order. */
        FAST,
        /** It ends its sessions at once, and recovers at the next start. */
        IMMEDIATE,
        /** All its processes are killed. */
        CRASH
    }

    private EmbeddedServer(EmbeddedPostgres server, Path data) {
        this.server = server;
        this.data = data;
    }

    public static EmbeddedServer start() {
        return start(builder -> builder);
    }

    /** Starts a server of that configuration; its data directory is made here. */
    public static EmbeddedServer start(UnaryOperator<EmbeddedPostgres.Builder> configuration) {
        try {
            EmbeddedServer server = start(Files.createTempDirectory("nanopool-pg"), configuration);
            server.createDatabase();
            return server;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        } catch (SQLException e) {
            throw new IllegalStateException(e);
        }
    }

    private static EmbeddedServer start(Path data, UnaryOperator<EmbeddedPostgres.Builder> configuration)
            throws IOException {
        TestServer.requireWanted();
        Path password = Files.createTempFile("nanopool", ".password");
        try {
            Files.writeString(password, PASSWORD);
            // These options of initdb go the way of the locale's; the last one of a name counts.
            EmbeddedPostgres.Builder builder = EmbeddedPostgres.builder()
                    .setDataDirectory(data)
                    .setLocaleConfig("username", USER)
                    .setLocaleConfig("pwfile", password.toString())
                    .setLocaleConfig("auth-host", "scram-sha-256")
                    .setConnectConfig("user", USER)
                    .setConnectConfig("password", PASSWORD);
            return new EmbeddedServer(configuration.apply(builder).start(), data);
        } finally {
            Files.delete(password);
        }
    }

    private void createDatabase() throws SQLException {
        String maintenance = "jdbc:postgresql://localhost:" + port() + "/postgres";
        try (Connection direct = DriverManager.getConnection(maintenance, USER, PASSWORD)) {
            TestServer.execute(direct, "CREATE DATABASE " + DATABASE);
        }
    }

    /** A superuser's URL. */
    public String url() {
        return url(USER + ":" + PASSWORD);
    }

    /** The URL of another user, {@code user[:password]}. */
    public String url(String user) {
        return "postgresql://" + user + "@localhost:" + port() + "/" + DATABASE;
    }

    public int port() {
        return server.getPort();
    }

    /** A superuser's connection that no pool knows of. */
    public Connection direct() throws SQLException {
        return DriverManager.getConnection(TestServer.jdbc(url()));
    }

    /** Whether the server lets clients in. */
    public boolean isAnswering() {
        try (Connection direct = direct()) {
            return direct.isValid(1);
        } catch (SQLException e) {
            return false;
        }
    }

    /** Returns when no server listens. */
    public void stop(Stop how) throws Exception {
        if (how == Stop.CRASH) {
            String pid = Files.readAllLines(data.resolve("postmaster.pid")).getFirst();
            ProcessHandle postmaster =
                    ProcessHandle.of(Long.parseLong(pid.strip())).orElseThrow();
            List<ProcessHandle> children = postmaster.children().toList();
            postmaster.destroyForcibly();
            children.forEach(ProcessHandle::destroyForcibly);
            // Not only dead but forgotten by the system, which may take a second or two, because else it still counts
            // as running.
            Await.until("it has ended", () -> !postmaster.isAlive());
        } else {
            control("stop", "-m", how.name().toLowerCase(Locale.ROOT), "-w");
        }
    }

    /** Starts it again after {@link #stop}; returns before it lets clients in. */
    public void startAgain() throws Exception {
        control("restart", "-W"); // start would not know the options of the first time
    }

    private void control(String... arguments) throws Exception {
        List<String> command = new ArrayList<>();
        if (LinuxUtils.isUnshareAvailable())
            command.addAll(List.of("unshare", "-U")); // for root, which the server refuses
        String postgres = Files.readString(data.resolve("postmaster.opts")).split(" \"")[0];
        command.add(Path.of(postgres).resolveSibling("pg_ctl").toString());
        command.addAll(List.of(
                "-D", data.toString(), "-s", "-l", data.resolve("again.log").toString()));
        command.addAll(List.of(arguments));
        File log = data.resolve("pg_ctl.log").toFile();
        int status = new ProcessBuilder(command)
                .redirectErrorStream(true)
                .redirectOutput(log)
                .start()
                .waitFor();
        if (status != 0) throw new IllegalStateException(command + ": " + Files.readString(log.toPath()));
    }

    /** Kills a server process; the postmaster takes it for a crash, and ends all sessions. */
    public static void kill(int backendPid) {
        ProcessHandle.of(backendPid).orElseThrow().destroyForcibly();
    }

    /** Stops a server process where it is, until {@link #thaw}. */
    public static void freeze(int backendPid) throws Exception {
        signal("-STOP", backendPid);
    }

    public static void thaw(int backendPid) throws Exception {
        signal("-CONT", backendPid);
    }

    private static void signal(String signal, int pid) throws Exception {
        int status = new ProcessBuilder("kill", signal, Integer.toString(pid))
                .inheritIO()
                .start()
                .waitFor();
        if (status != 0) throw new IllegalStateException("kill " + signal + " " + pid + " failed");
    }

    /** A standby that follows this server by streaming. This one must have {@code wal_level=replica}, which is the default. */
    public EmbeddedServer standby() throws Exception {
        Path copy = Files.createTempDirectory("nanopool-pg");
        try (Connection direct = direct()) {
            TestServer.execute(direct, "SELECT pg_backup_start('standby', true)");
            copyTo(copy);
            Files.writeString(
                    copy.resolve("backup_label"),
                    TestServer.query(direct, "SELECT labelfile FROM pg_backup_stop(false)"));
        }
        Files.writeString(copy.resolve("standby.signal"), "");
        Files.writeString(
                copy.resolve("postgresql.auto.conf"),
                "primary_conninfo = 'host=localhost port=" + port() + " user=" + USER + " password=" + PASSWORD
                        + "'\n");
        return start(copy, builder -> builder.setCleanDataDirectory(false)); // else it would be made anew
    }

    /** All files but those of the running server, and the log, which the standby gets by streaming. */
    private void copyTo(Path copy) throws IOException {
        try (Stream<Path> files = Files.walk(data)) {
            for (Path file : (Iterable<Path>) files::iterator) {
                Path name = data.relativize(file);
                boolean isDirectory = Files.isDirectory(file);
                if (name.toString().matches("postmaster\\..*|epg-lock|pg_replslot/.*")) continue;
                if (name.startsWith("pg_wal") && !isDirectory) continue;
                try {
                    if (isDirectory) Files.createDirectories(copy.resolve(name));
                    else Files.copy(file, copy.resolve(name), StandardCopyOption.COPY_ATTRIBUTES);
                } catch (NoSuchFileException e) {
                    // dropped meanwhile; the standby does the same when it replays the log
                }
            }
        }
    }

    /** Makes a standby a primary; returns when it is one. */
    public void promote() throws SQLException {
        try (Connection direct = direct()) {
            TestServer.execute(direct, "SELECT pg_promote()");
        }
    }

    @Override
    public void close() throws IOException {
        server.close();
        if (!Files.exists(data)) return;
        try (Stream<Path> files = Files.walk(data)) {
            for (Path file : files.sorted(Comparator.reverseOrder()).toList()) Files.delete(file);
        }
    }
}
