package dev.nanopool.testkit;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.jar.JarEntry;
import java.util.jar.JarFile;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/** The PostgreSQL of the tests, one for the whole run. See {@link ChosenServer}. */
public final class TestServer {
    private static final FutureTask<ChosenServer> CHOSEN = new FutureTask<>(ChosenServer::ofTests);

    private TestServer() {}

    /** A URL with a superuser's credentials: {@code postgresql://user[:password]@host:port/database[?...]}. */
    public static String url() {
        return chosen().url();
    }

    /** Whether the build asks for that: {@code first}, a server before the first test, or {@code none}, because {@code mvn test} starts no server. */
    static boolean isWanted(String what) {
        return what.equals(System.getProperty("nanopool.server"));
    }

    /** Fails a test that needs a server and does not say so. */
    static void requireWanted() {
        if (isWanted("none"))
            throw new IllegalStateException("mvn test starts no server; the class of this test needs @Tag(\"server\")");
    }

    /** The server, which is tried once, so each later call fails as the first one did. */
    static ChosenServer chosen() {
        requireWanted();
        CHOSEN.run();
        try {
            return CHOSEN.get();
        } catch (ExecutionException e) {
            if (e.getCause() instanceof ChosenServer.UnusableException unusable) throw unusable;
            throw new IllegalStateException(e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException(e);
        }
    }

    /**
     * A server of an older major, one for the whole run. Its binaries are not on the class path, which has room for one
     * version, so the build copies them to {@code target/older-postgresql}.
     */
    public static synchronized String olderUrl() throws IOException {
        if (older == null) {
            try (Stream<Path> jars = Files.list(Path.of("target", "older-postgresql"));
                    JarFile jar = new JarFile(jars.findFirst().orElseThrow().toFile())) {
                JarEntry archive = jar.stream()
                        .filter(entry -> entry.getName().endsWith(".txz"))
                        .findFirst()
                        .orElseThrow();
                byte[] bytes = jar.getInputStream(archive).readAllBytes();
                older = EmbeddedServer.start(
                        builder -> builder.setPgBinaryResolver((system, machine) -> new ByteArrayInputStream(bytes)));
            }
        }
        return older.url();
    }

    private static @Nullable EmbeddedServer older;

    /** A connection that no pool knows of. */
    public static Connection direct() throws SQLException {
        return DriverManager.getConnection(jdbc(url()));
    }

    /** The driver's form of a URL made here: {@code postgresql://user[:password]@host:port/database}. */
    public static String jdbc(String url) {
        if (url.startsWith("jdbc:")) return url;
        String rest = url.substring(url.indexOf("://") + 3);
        int at = rest.lastIndexOf('@');
        String[] user = rest.substring(0, Math.max(at, 0)).split(":", 2);
        String address = rest.substring(at + 1);
        if (at < 0) return "jdbc:postgresql://" + address;
        return "jdbc:postgresql://" + address + (address.contains("?") ? "&" : "?") + "user=" + user[0]
                + (user.length > 1 ? "&password=" + user[1] : "");
    }

    /** The first column of the first row. */
    public static String query(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement();
                ResultSet row = statement.executeQuery(sql)) {
            row.next();
            return row.getString(1);
        }
    }

    public static void execute(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute(sql);
        }
    }

    /** How many sessions of that application name the server of the tests has. */
    public static int sessions(String applicationName) throws SQLException {
        return sessions(url(), applicationName);
    }

    /** How many sessions of that application name that server has. */
    public static int sessions(String url, String applicationName) throws SQLException {
        try (Connection direct = DriverManager.getConnection(jdbc(url))) {
            return Integer.parseInt(query(
                    direct,
                    "SELECT count(*) FROM pg_stat_activity WHERE application_name = '" + applicationName + "'"));
        }
    }
}
