package dev.nanopool.testkit;

import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** A PgBouncer in front of the server of the tests. It lets its users in without a password, as the server's superuser. */
public final class PgBouncer implements AutoCloseable {
    /** How many sessions of the server each database has. */
    public static final int SESSIONS = 3;

    private static final String VARIABLE = "NANOPOOL_PGBOUNCER";

    private final String binary;
    private final int port = freePort();
    private final Path directory = Files.createTempDirectory("nanopool-pgbouncer");
    private @Nullable Process process;

    /** The paths of the programs. Empty if there are none. */
    public static List<String> binaries() {
        String paths = System.getenv(VARIABLE);
        return paths == null || paths.isEmpty() ? List.of() : List.of(paths.split(":"));
    }

    /** Why a test has no PgBouncer, and what to do. */
    public static String missing() {
        return "there is no PgBouncer here: " + VARIABLE + "=$(.ci/pgbouncer) mvn verify";
    }

    /** Starts it, with more lines for its configuration. */
    public PgBouncer(String binary, String... more) throws Exception {
        this.binary = binary;
        URI server = URI.create(TestServer.url());
        String[] user = server.getUserInfo().split(":", 2);
        // By number, because localhost may mean ::1, where the server does not listen.
        String host = server.getHost().equals("localhost") ? "127.0.0.1" : server.getHost();
        String database = "host=%s port=%d dbname=%s user=%s password=%s pool_size=%d pool_mode="
                .formatted(host, server.getPort(), server.getPath().substring(1), user[0], user[1], SESSIONS);
        List<String> lines = new ArrayList<>(List.of(
                "[databases]",
                "transaction = " + database + "transaction",
                "session = " + database + "session",
                "[pgbouncer]",
                "listen_addr = 127.0.0.1",
                "listen_port = " + port,
                "unix_socket_dir =",
                "auth_type = trust",
                "auth_file = " + directory.resolve("users"),
                "admin_users = admin",
                "server_login_retry = 1"));
        lines.addAll(List.of(more));
        // Readable for the user as which it runs.
        Files.setPosixFilePermissions(directory, PosixFilePermissions.fromString("rwxr-xr-x"));
        Files.writeString(directory.resolve("users"), "\"admin\" \"\"\n\"client\" \"\"\n");
        Files.write(ini(), lines);
        start();
    }

    private static int freePort() throws IOException {
        try (var socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            return socket.getLocalPort();
        }
    }

    private Path ini() {
        return directory.resolve("pgbouncer.ini");
    }

    /** Starts it on the same port as before. Returns when it lets clients in. */
    public void start() throws Exception {
        List<String> command = new ArrayList<>(List.of(binary));
        if (System.getProperty("user.name").equals("root")) command.addAll(List.of("-u", "nobody")); // it refuses root
        command.add(ini().toString());
        Path log = directory.resolve("log");
        Process started = new ProcessBuilder(command)
                .redirectErrorStream(true)
                .redirectOutput(ProcessBuilder.Redirect.appendTo(log.toFile()))
                .start();
        process = started;
        boolean isUp = false;
        try {
            Await.untilEmpty("PgBouncer lets clients in", () -> {
                if (!started.isAlive()) throw new IllegalStateException(Files.readString(log));
                try {
                    command("SHOW VERSION");
                    return "";
                } catch (IOException e) {
                    return e.toString();
                }
            });
            isUp = true;
        } finally {
            if (!isUp) close();
        }
    }

    /** Kills it. Returns when it has ended. */
    public void kill() throws InterruptedException {
        Process killed = process;
        if (killed != null) killed.destroyForcibly().waitFor();
    }

    /**
     * Executes a command of its console, such as {@code PAUSE}. By messages, because the driver would set up a session,
     * which the console refuses.
     */
    public void command(String command) throws IOException {
        try (var socket = new Socket(InetAddress.getLoopbackAddress(), port)) {
            var to = new DataOutputStream(new BufferedOutputStream(socket.getOutputStream()));
            byte[] startup = "user\0admin\0database\0pgbouncer\0\0".getBytes(StandardCharsets.UTF_8);
            to.writeInt(8 + startup.length);
            to.writeInt(3 << 16); // the version of the protocol
            to.write(startup);
            to.flush(); // PgBouncer 1.18 wants it in one piece
            var from = new DataInputStream(socket.getInputStream());
            awaitReady(from);
            byte[] query = (command + "\0").getBytes(StandardCharsets.UTF_8);
            to.write('Q');
            to.writeInt(4 + query.length);
            to.write(query);
            to.flush();
            awaitReady(from);
        }
    }

    private static void awaitReady(DataInputStream from) throws IOException {
        for (int type = 0; type != 'Z'; ) {
            type = from.readByte();
            byte[] body = from.readNBytes(from.readInt() - 4);
            if (type == 'E') throw new IOException(new String(body, StandardCharsets.UTF_8));
        }
    }

    /** The URL of the database with that pool mode. */
    public String url(String mode) {
        return "postgresql://client:any@127.0.0.1:" + port + "/" + mode;
    }

    @Override
    public void close() throws Exception {
        kill();
        for (String name : List.of("pgbouncer.ini", "users", "log", "")) Files.deleteIfExists(directory.resolve(name));
    }
}
