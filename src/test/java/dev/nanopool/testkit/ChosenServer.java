package dev.nanopool.testkit;

import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.StringJoiner;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;
import org.postgresql.Driver;

/**
 * The PostgreSQL that an environment variable chooses: {@code NANOPOOL_TEST_URL} is {@code embedded}, {@code docker} or a
 * URL. Each choice is tried once. A server that was started here ends with the JVM at the latest.
 */
public final class ChosenServer implements AutoCloseable {
    private static final String VARIABLE = "NANOPOOL_TEST_URL";
    private static final int OLDEST_MAJOR = 14;

    /** No network is that slow; a machine that does more than run tests may need more until the login is complete. */
    private static final int CONNECT_SECONDS = 4;

    private static final int LOGIN_SECONDS = 8;

    private final String url;
    private final String name;
    private final String reason;
    private final AutoCloseable resource;

    private ChosenServer(String url, String name, String reason, AutoCloseable resource) {
        this.url = url;
        this.name = name;
        this.reason = reason;
        this.resource = resource;
    }

    /** Says in one sentence which server was chosen and why, what went wrong, and what to do. */
    public static final class UnusableException extends RuntimeException {
        private static final long serialVersionUID = 1;

        private UnusableException(String name, String reason, String trouble, String remedy) {
            super(
                    "The server is " + name + " because " + reason + ", but " + oneLine(trouble) + ", so " + remedy
                            + ".",
                    null,
                    false,
                    false); // the sentence says all that a stack trace would
        }
    }

    /**
     * The server of the tests. It is a container if no variable is set and Docker can give the image, else an embedded
     * server. The user must be a superuser, and the server a primary of a supported major version.
     */
    static ChosenServer ofTests() {
        String given = variable(VARIABLE);
        ChosenServer server = given == null ? byDefault() : named(given, VARIABLE, true);
        server.check();
        return server;
    }

    /** The server of the demo: {@code NANOPOOL_TEST_URL}, else {@code DATABASE_URL}, else an embedded server. */
    public static ChosenServer ofDemo() {
        for (String variable : new String[] {VARIABLE, "DATABASE_URL"}) {
            String given = variable(variable);
            if (given != null) return named(given, variable, false);
        }
        return embedded("neither " + VARIABLE + " nor DATABASE_URL is set", false);
    }

    private static @Nullable String variable(String name) {
        String value = System.getenv(name);
        return value == null || value.isBlank() ? null : value.strip();
    }

    private static ChosenServer byDefault() {
        String unset = VARIABLE + " is not set and ";
        if (!Containers.isEngineThere()) return embedded(unset + "no Docker engine runs", true);
        try {
            Containers.provideImage();
        } catch (Containers.NoImageException e) {
            return embedded(
                    unset + "the Docker engine cannot give the image " + Containers.image() + " ("
                            + oneLine(String.valueOf(e.getMessage())) + ")",
                    true);
        }
        return container(unset + "a Docker engine runs");
    }

    private static ChosenServer named(String given, String variable, boolean tests) {
        return switch (given.toLowerCase(Locale.ROOT)) {
            case "embedded" -> embedded(variable + " is embedded", tests);
            case "docker" -> docker(variable);
            default ->
                tests
                        ? normalized(given, variable + " names it")
                        : new ChosenServer(given, "the given one", variable + " names it", () -> {});
        };
    }

    private static ChosenServer docker(String variable) {
        String reason = variable + " is docker";
        if (!Containers.isEngineThere()) {
            throw new UnusableException(
                    containerName(),
                    reason,
                    "no Docker engine runs",
                    "start it or set " + variable + " to embedded or a superuser's URL");
        }
        try {
            Containers.provideImage();
        } catch (Containers.NoImageException e) {
            throw new UnusableException(
                    containerName(),
                    reason,
                    "the Docker engine cannot give the image (" + e.getMessage() + ")",
                    "pull it, name another image in " + Containers.IMAGE_VARIABLE + ", or set " + variable
                            + " to embedded or a superuser's URL");
        }
        return container(reason);
    }

    /** The demo closes its server itself when it is interrupted, after the pool. */
    private static ChosenServer embedded(String reason, boolean endsWithJvm) {
        String name = "an embedded PostgreSQL";
        try {
            EmbeddedServer server = EmbeddedServer.start(builder -> builder.setRegisterShutdownHook(endsWithJvm));
            return new ChosenServer(server.url(), name, reason, server);
        } catch (RuntimeException e) {
            throw new UnusableException(
                    name,
                    reason,
                    "it does not start (" + e + ")",
                    "see the log of the tests, or set " + VARIABLE + " to docker or a superuser's URL");
        }
    }

    private static String containerName() {
        return "a container of " + Containers.image();
    }

    private static ChosenServer container(String reason) {
        try {
            var container = Containers.start();
            String url = "postgresql://" + EmbeddedServer.USER + ":" + EmbeddedServer.PASSWORD + "@"
                    + container.getHost() + ":" + container.getFirstMappedPort() + "/" + EmbeddedServer.DATABASE;
            return new ChosenServer(url, containerName(), reason, container);
        } catch (RuntimeException e) {
            Throwable cause = e;
            while (cause.getCause() != null) cause = cause.getCause();
            throw new UnusableException(
                    containerName(),
                    reason,
                    "it does not start (" + cause + ")",
                    "see `docker ps -a`, or set " + VARIABLE + " to embedded or a superuser's URL");
        }
    }

    /** Any form of a URL that the driver takes becomes {@code postgresql://user:password@host:port/database?...}. */
    private static ChosenServer normalized(String given, String reason) {
        Properties parsed = given.contains(":") ? Driver.parseURL(TestServer.jdbc(given), null) : null;
        if (parsed == null) {
            throw new UnusableException("the one of " + VARIABLE, "it is set", "its value is no URL", remedy());
        }
        Map<String, String> left = new TreeMap<>();
        for (String key : parsed.stringPropertyNames()) left.put(key, parsed.getProperty(key));
        String host = left.remove("PGHOST");
        String port = left.remove("PGPORT");
        String database = left.remove("PGDBNAME");
        String user = left.remove("user");
        String password = left.remove("password");
        if (user == null) user = System.getProperty("user.name");
        String address = host + ":" + port + "/" + encoded(database == null ? user : database);
        if (address.contains(",")) {
            throw new UnusableException("the one at " + address, reason, "the tests need a single server", remedy());
        }
        StringJoiner query = new StringJoiner("&", "?", "").setEmptyValue("");
        left.forEach((key, value) -> query.add(encoded(key) + "=" + encoded(value)));
        String credentials = encoded(user) + (password == null ? "" : ":" + encoded(password));
        return new ChosenServer(
                "postgresql://" + credentials + "@" + address + query, "the one at " + address, reason, () -> {});
    }

    private static String encoded(String text) {
        return URLEncoder.encode(text, StandardCharsets.UTF_8).replace("+", "%20");
    }

    private static String remedy() {
        return "set " + VARIABLE + " to embedded, docker or a superuser's URL of a PostgreSQL " + OLDEST_MAJOR
                + " or newer";
    }

    private void check() {
        var login = new Properties();
        login.setProperty("connectTimeout", Integer.toString(CONNECT_SECONDS));
        login.setProperty("loginTimeout", Integer.toString(LOGIN_SECONDS));
        try (Connection direct = DriverManager.getConnection(TestServer.jdbc(url), login)) {
            int major = direct.getMetaData().getDatabaseMajorVersion();
            String user = TestServer.query(direct, "SELECT current_user");
            String trouble = null;
            if (major < OLDEST_MAJOR) trouble = "it is a PostgreSQL " + major;
            else if (!TestServer.query(direct, "SHOW is_superuser").equals("on"))
                trouble = "its user " + user + " is no superuser";
            else if (TestServer.query(direct, "SELECT pg_is_in_recovery()").equals("t")) trouble = "it is a standby";
            if (trouble != null) throw new UnusableException(name, reason, trouble, remedy());
        } catch (SQLException e) {
            throw new UnusableException(
                    name,
                    reason,
                    "it refuses the tests (" + e.getSQLState() + " " + e.getMessage() + ")",
                    "start it, or " + remedy());
        }
    }

    /** Without line breaks, and without a stop at the end. */
    private static String oneLine(String text) {
        return text.strip()
                .replaceAll("\\s+", " ")
                .replaceAll("\\.+ ?(\\)?)$", "$1")
                .replace(" )", ")");
    }

    /** In one of the forms that pools accept. */
    public String url() {
        return url;
    }

    /** Which server it is, and why. */
    @Override
    public String toString() {
        return name + " because " + reason;
    }

    /** Ends a server that was started here. */
    @Override
    public void close() throws Exception {
        resource.close();
    }
}
