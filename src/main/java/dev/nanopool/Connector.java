package dev.nanopool;

import dev.nanopool.Closing.Registration;
import dev.nanopool.driver.PeekableSocket;
import dev.nanopool.driver.PoolSocketFactory;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.sql.SQLException;
import java.sql.SQLNonTransientConnectionException;
import java.sql.SQLTransientConnectionException;
import java.sql.Statement;
import java.util.Locale;
import java.util.Objects;
import java.util.Properties;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import org.postgresql.Driver;
import org.postgresql.PGProperty;
import org.postgresql.core.BaseConnection;
import org.postgresql.core.ServerVersion;

/** Opens connections: URL, TLS, credentials, deadline. Thread-safe; blocks for {@code connectTimeout} at most. */
final class Connector {
    private static final Driver DRIVER = new Driver();

    private final PoolConfig config;
    private final PoolThreads threads;
    private final Closing closing;
    private final String url;
    private final Properties properties = new Properties();
    private final AtomicInteger attempts = new AtomicInteger(); // threads that have not ended

    Connector(PoolConfig config, PoolThreads threads, Closing closing) {
        this.config = config;
        this.threads = threads;
        this.closing = closing;
        this.url = "jdbc:postgresql://"
                + config.url.hosts.stream().map(Object::toString).collect(Collectors.joining(","))
                + "/"
                + (config.url.database == null ? "" : URLEncoder.encode(config.url.database, StandardCharsets.UTF_8));
        // The oldest server that is supported: saves the driver a round trip, and RESET returns to the application's
        // name.
        set(PGProperty.ASSUME_MIN_SERVER_VERSION, "12");
        set(PGProperty.GSS_ENC_MODE, "disable");
        set(PGProperty.TCP_KEEP_ALIVE, "true");
        set(PGProperty.APPLICATION_NAME, config.name);
        properties.putAll(config.url.properties);
        properties.putAll(config.driverProperties);
        set(PGProperty.SSL_MODE, config.tls.sslmode());
        // The driver counts in milliseconds, by an int; the real deadline is the pool's.
        long seconds = Math.min(config.connectTimeout.plusMillis(999).toSeconds(), Integer.MAX_VALUE / 1_000);
        set(PGProperty.CONNECT_TIMEOUT, Long.toString(seconds));
        set(PGProperty.LOGIN_TIMEOUT, "0"); // it costs a platform thread for each connection, and is no real deadline
        if (isSystemRoots(config)) {
            properties.remove(PGProperty.SSL_ROOT_CERT.getName());
            set(PGProperty.SSL_FACTORY, "org.postgresql.ssl.DefaultJavaSSLFactory");
        }
        parameters();
    }

    private void set(PGProperty property, String value) {
        properties.setProperty(property.getName(), value);
    }

    /** Puts the session's defaults into the startup packet: {@code -c name=value}, blanks and backslashes escaped. */
    private void parameters() {
        StringBuilder options = new StringBuilder(properties.getProperty(PGProperty.OPTIONS.getName(), ""));
        config.parameters.forEach((name, value) -> {
            if (name.toLowerCase(Locale.ROOT).equals("application_name")) {
                set(PGProperty.APPLICATION_NAME, value);
            } else {
                options.append(" -c ").append(name).append('=').append(value.replaceAll("[\\\\\\s]", "\\\\$0"));
            }
        });
        if (!options.isEmpty()) set(PGProperty.OPTIONS, options.toString().strip());
    }

    /** Whether the driver turns {@code {call f()}} into a SELECT, as it does unless told otherwise. */
    boolean isCallSelect() {
        return properties
                .getProperty(PGProperty.ESCAPE_SYNTAX_CALL_MODE.getName(), "select")
                .equals("select");
    }

    private static boolean isSystemRoots(PoolConfig config) {
        return "system"
                .equals(config.driverProperties.getOrDefault("sslrootcert", config.url.properties.get("sslrootcert")));
    }

    /**
     * A connection and its TCP socket.
     *
     * @param socket the socket below TLS; null if the user has a socket factory of its own
     * @param readOnlyInServer whether the driver keeps {@code setReadOnly} in the server ({@code readOnlyMode=always})
     * @param setUp the SQL that was executed after the login, which a reset repeats; empty if there was none
     */
    record Opened(BaseConnection connection, @Nullable PeekableSocket socket, boolean readOnlyInServer, String setUp) {
        void abort() throws SQLException {
            Connector.abort(connection, socket);
        }
    }

    /**
     * Opens a connection on a thread of its own; when the deadline has passed its socket is closed under it. The driver's
     * exceptions pass unchanged.
     */
    Opened open() throws SQLException {
        var attempt = new PoolSocketFactory.Attempt();
        var result = new CompletableFuture<Opened>();
        Thread thread = begin(attempt, result);
        boolean isTaken = false;
        try (Registration registered = closing.onClose(() -> result.completeExceptionally(closedException()))) {
            Opened opened = result.get(config.connectTimeout.toNanos(), TimeUnit.NANOSECONDS);
            isTaken = true;
            return opened;
        } catch (ExecutionException e) {
            Throwable cause = Objects.requireNonNull(e.getCause());
            if (cause instanceof SQLException drivers) throw drivers;
            // Not its message: it comes from the supplier of the credentials, perhaps with one in it.
            String what = config.name + ": opening a connection failed: "
                    + cause.getClass().getName();
            throw new SQLException(what, Failures.UNABLE_TO_CONNECT, cause);
        } catch (TimeoutException e) {
            throw new SQLTransientConnectionException(
                    "%s: no connection to %s within %d ms (connectTimeout)"
                            .formatted(config.name, config.url.hosts, config.connectTimeout.toMillis()),
                    Failures.UNABLE_TO_CONNECT);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new SQLException(
                    config.name + ": interrupted while opening a connection", Failures.CONNECTION_EXCEPTION, e);
        } finally {
            if (!isTaken) giveUp(attempt, result, thread);
        }
    }

    /** No thread waits for the attempt any longer. */
    private void giveUp(PoolSocketFactory.Attempt attempt, CompletableFuture<Opened> result, Thread thread) {
        try {
            // A connection that arrives before this line has no owner.
            if (!result.completeExceptionally(closedException()) && !result.isCompletedExceptionally())
                abortLate(result.join());
        } finally {
            attempt.cut();
            thread.interrupt(); // it may wait for the credentials
        }
    }

    /**
     * Starts the thread of an attempt, unless as many earlier ones hang as may run at a time: in the supplier of the
     * credentials, or in a name look-up, where nothing can end them.
     */
    private Thread begin(PoolSocketFactory.Attempt attempt, CompletableFuture<Opened> result) throws SQLException {
        boolean begun = false;
        try {
            if (attempts.incrementAndGet() > config.connectParallelism) {
                throw new SQLTransientConnectionException(
                        "%s: %d earlier attempts to connect still hang, in the supplier of the credentials or in a name look-up"
                                .formatted(config.name, config.connectParallelism),
                        Failures.UNABLE_TO_CONNECT);
            }
            // A platform thread: TLS and SCRAM compute for milliseconds, through which a virtual one would keep callers
            // off its carrier; and a thread that waits for another thread's class initialisation, as at the start,
            // would pin it.
            Thread thread = threads.platformThread("connect", () -> connect(attempt, result));
            // Where the driver finds the socket factory.
            thread.setContextClassLoader(Connector.class.getClassLoader());
            threads.start(thread);
            begun = true;
            return thread;
        } finally {
            if (!begun) {
                attempts.decrementAndGet();
                attempt.end();
            }
        }
    }

    private void connect(PoolSocketFactory.Attempt attempt, CompletableFuture<Opened> result) {
        Opened opened = null;
        Throwable failure = null;
        try {
            opened = open(attempt);
        } catch (Throwable e) {
            failure = e;
        }
        attempt.end();
        attempts.decrementAndGet(); // before the result is known, so that the next attempt does not count this one
        if (failure != null) result.completeExceptionally(failure);
        else if (!result.complete(opened)) abortLate(Objects.requireNonNull(opened));
    }

    private static void abortLate(Opened opened) {
        try {
            opened.abort();
        } catch (SQLException e) {
            System.getLogger("dev.nanopool").log(System.Logger.Level.DEBUG, "aborting a late connection failed", e);
        }
    }

    private SQLException closedException() {
        return new SQLNonTransientConnectionException(
                config.name + ": the pool is closed", Failures.CONNECTION_DOES_NOT_EXIST);
    }

    private Opened open(PoolSocketFactory.Attempt attempt) throws SQLException {
        Properties login = new Properties();
        login.putAll(properties);
        if (login.putIfAbsent(PGProperty.SOCKET_FACTORY.getName(), PoolSocketFactory.class.getName()) == null) {
            login.setProperty(PGProperty.SOCKET_FACTORY_ARG.getName(), attempt.key());
        }
        BaseConnection connection = login(login);
        PeekableSocket socket = attempt.end();
        try {
            boolean readOnlyInServer = "always".equals(login.getProperty(PGProperty.READ_ONLY_MODE.getName()));
            String setUp = SessionState.setUp(
                    connection,
                    isNamedBySql(login) ? login.getProperty(PGProperty.APPLICATION_NAME.getName()) : null,
                    readOnlyInServer && connection.isReadOnly(),
                    config.initSql);
            if (config.initSql != null) {
                try (Statement statement = connection.createStatement()) {
                    statement.execute(config.initSql);
                }
                SessionState.checkSetUp(connection);
            }
            return new Opened(connection, socket, readOnlyInServer, setUp);
        } catch (Throwable e) {
            abort(connection, socket);
            throw e;
        }
    }

    /** Whether the driver sets the application's name after the login: for servers that are too old for a better way. */
    private static boolean isNamedBySql(Properties login) {
        String oldest = login.getProperty(PGProperty.ASSUME_MIN_SERVER_VERSION.getName());
        return ServerVersion.from(oldest).getVersionNum() < ServerVersion.v9_0.getVersionNum();
    }

    /** Closes the socket, in two ways, because either of them may fail. Never blocks. */
    static void abort(BaseConnection connection, @Nullable PeekableSocket socket) throws SQLException {
        try {
            PoolSocketFactory.close(socket);
        } finally {
            connection.abort(Runnable::run);
        }
    }

    /** Logs in. A password that has been changed meanwhile is asked for once more. */
    private BaseConnection login(Properties login) throws SQLException {
        Credentials credentials = config.credentials.get();
        try {
            return login(login, credentials);
        } catch (SQLException e) {
            if (!Failures.INVALID_PASSWORD.equals(e.getSQLState())) throw e;
            Credentials fresh = config.credentials.get();
            if (fresh.equals(credentials)) throw e;
            return login(login, fresh);
        }
    }

    private BaseConnection login(Properties login, Credentials credentials) throws SQLException {
        login.setProperty(PGProperty.USER.getName(), credentials.user());
        login.remove(PGProperty.PASSWORD.getName());
        // An empty password is one only if it was given: the driver looks elsewhere for one that was not.
        if (!credentials.password().isEmpty() || config.url.password != null) {
            login.setProperty(PGProperty.PASSWORD.getName(), credentials.password());
        }
        BaseConnection connection = (BaseConnection) DRIVER.connect(url, login);
        if (connection == null)
            throw new SQLException(
                    config.name + ": the driver does not understand its URL", Failures.UNABLE_TO_CONNECT);
        return connection;
    }

    /** The servers that the connections may belong to. */
    ServerRole role() {
        return ServerRole.of(properties.getProperty(PGProperty.TARGET_SERVER_TYPE.getName()));
    }
}
