package dev.nanopool;

import dev.nanopool.Closing.Registration;
import dev.nanopool.driver.PeekableSocket;
import dev.nanopool.driver.PoolSocketFactory;
import java.io.IOException;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.SQLNonTransientConnectionException;
import java.sql.SQLTransientConnectionException;
import java.sql.Statement;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Properties;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import javax.net.ssl.SSLSocketFactory;
import org.jspecify.annotations.Nullable;
import org.postgresql.Driver;
import org.postgresql.PGProperty;
import org.postgresql.core.BaseConnection;
import org.postgresql.core.ServerVersion;
import org.postgresql.core.SocketFactoryFactory;

/** Opens connections, with URL, TLS, credentials and deadline. Thread-safe. Blocks for {@code connectTimeout} at most. */
final class Connector {
    private static final Driver DRIVER = new Driver();
    // The time in which an attempt ends that was given up.
    private static final long GIVEN_UP_NANOS = Duration.ofMillis(100).toNanos();

    private static final String SEARCH_PATH = "search_path";
    private static final Pattern UNSUPPORTED = Pattern.compile("unsupported startup parameter(?: in options)?: (\\S+)");

    private final PoolConfig config;
    private final PoolThreads threads;
    private final Closing closing;
    private final Semaphore attempts; // for the threads that ask for credentials, until they have ended

    Connector(PoolConfig config, PoolThreads threads, Closing closing) {
        this.config = config;
        this.threads = threads;
        this.closing = closing;
        this.attempts = new Semaphore(config.connectParallelism);
    }

    private String url() {
        return "jdbc:postgresql://"
                + config.url.hosts.stream().map(Object::toString).collect(Collectors.joining(","))
                + "/"
                + (config.url.database == null ? "" : URLEncoder.encode(config.url.database, StandardCharsets.UTF_8));
    }

    /** The driver's properties. Each call makes them anew, so that a pool which opens no connection keeps none. */
    private Properties properties() {
        var properties = new Properties();
        // The oldest supported server. This saves the driver a round trip, and RESET returns to the application's name.
        PGProperty.ASSUME_MIN_SERVER_VERSION.set(properties, "12");
        PGProperty.GSS_ENC_MODE.set(properties, "disable");
        PGProperty.TCP_KEEP_ALIVE.set(properties, "true");
        // Two seconds, so that the pool can close while the server is out of reach.
        PGProperty.CANCEL_SIGNAL_TIMEOUT.set(properties, "2");
        PGProperty.APPLICATION_NAME.set(properties, config.name);
        // The pooler may track no prepared statements. The URL or a driverProperty says so if it does.
        if (config.pooler == Pooler.TRANSACTION) PGProperty.PREPARE_THRESHOLD.set(properties, "0");
        properties.putAll(config.url.properties);
        properties.putAll(config.driverProperties);
        PGProperty.SSL_MODE.set(properties, config.tls.sslmode());
        // The driver counts milliseconds by an int. The pool itself keeps the real deadline.
        long seconds = Math.min(config.connectTimeout.plusMillis(999).toSeconds(), Integer.MAX_VALUE / 1_000);
        PGProperty.CONNECT_TIMEOUT.set(properties, Long.toString(seconds));
        // It costs a platform thread for each connection, and is no real deadline.
        PGProperty.LOGIN_TIMEOUT.set(properties, "0");
        if (isSystemRoots()) {
            properties.remove(PGProperty.SSL_ROOT_CERT.getName());
            PGProperty.SSL_FACTORY.set(properties, "org.postgresql.ssl.DefaultJavaSSLFactory");
        }
        config.parameters.forEach((name, value) -> {
            if (isApplicationName(name)) PGProperty.APPLICATION_NAME.set(properties, value);
        });
        if (config.pooler == Pooler.NONE) options(properties);
        else properties.remove(PGProperty.CURRENT_SCHEMA.getName());
        return properties;
    }

    private static boolean isApplicationName(String parameter) {
        return parameter.equalsIgnoreCase("application_name");
    }

    /** Puts the session's defaults into the startup packet: {@code -c name=value}, blanks and backslashes escaped. */
    private void options(Properties properties) {
        StringBuilder options = new StringBuilder(properties.getProperty(PGProperty.OPTIONS.getName(), ""));
        config.parameters.forEach((name, value) -> {
            if (isApplicationName(name)) return;
            options.append(" -c ").append(name).append('=').append(value.replaceAll("[\\\\\\s]", "\\\\$0"));
        });
        if (!options.isEmpty())
            PGProperty.OPTIONS.set(properties, options.toString().strip());
    }

    /** The session's defaults behind a pooler, which may refuse or drop them in the startup packet. Checked after the login. */
    private Map<String, String> defaults() {
        if (config.pooler == Pooler.NONE) return Map.of();
        Map<String, String> defaults = new TreeMap<>(config.parameters);
        defaults.keySet().removeIf(Connector::isApplicationName);
        String path = given(PGProperty.CURRENT_SCHEMA);
        if (path != null) defaults.put(SEARCH_PATH, path);
        return defaults;
    }

    /** Whether the driver turns {@code {call f()}} into a SELECT, as it does by default. */
    boolean isCallSelect() {
        String mode = given(PGProperty.ESCAPE_SYNTAX_CALL_MODE);
        return mode == null || mode.equals("select");
    }

    private boolean isSystemRoots() {
        return "system".equals(given(PGProperty.SSL_ROOT_CERT));
    }

    /** What the user has given the driver; null if nothing. */
    private @Nullable String given(PGProperty property) {
        return config.driverProperties.getOrDefault(property.getName(), config.url.properties.get(property.getName()));
    }

    /**
     * A connection and its TCP socket.
     *
     * @param socket the socket below TLS; null if the user has a socket factory of its own
     * @param readOnlyInServer whether the driver keeps {@code setReadOnly} in the server ({@code readOnlyMode=always})
     * @param setUp the SQL that was executed after the login, which a reset repeats; empty if there was none
     */
    record Opened(
            BaseConnection connection,
            @Nullable PeekableSocket socket,
            boolean readOnlyInServer,
            String setUp,
            Phases phases) {
        void abort() throws SQLException {
            Connector.abort(connection, socket);
        }

        /** Aborts the connection after a failure, which stays the one to be thrown. */
        void abortAfter(Throwable failure) {
            Connector.abortAfter(failure, connection, socket);
        }
    }

    /** Checks what needs no server, which are the files of certificates if the mode verifies the server. */
    void check() throws SQLException {
        if (config.tls.compareTo(TlsMode.VERIFY_CA) >= 0) {
            SSLSocketFactory unused = SocketFactoryFactory.getSslSocketFactory(properties());
        }
    }

    /**
     * Asks for the user and the password on the calling thread, and interrupts it when {@code connectTimeout} has passed.
     *
     * @throws SQLException if the supplier gives none; SQLState 08001
     */
    Credentials credentialsHere() throws SQLException {
        Thread caller = Thread.currentThread();
        var isOver = new CountDownLatch(1);
        var isLate = new AtomicBoolean();
        Thread alarm = threads.platformThread("connect", () -> {
            if (awaitOver(isOver)) return;
            isLate.set(true);
            caller.interrupt();
        });
        threads.start(alarm);
        try {
            return credentials();
        } catch (RuntimeException | Error e) {
            throw isLate.get() ? noCredentials(e) : asSQLException(e);
        } finally {
            isOver.countDown();
            boolean isInterrupted = awaitEnd(alarm);
            if (isInterrupted && !isLate.get()) caller.interrupt(); // else it was the alarm
        }
    }

    /** Waits for {@code connectTimeout} at most. Answers whether it is over. */
    private boolean awaitOver(CountDownLatch isOver) {
        try {
            return isOver.await(config.connectTimeout.toNanos(), TimeUnit.NANOSECONDS);
        } catch (InterruptedException e) {
            throw new IllegalStateException("bug: a thread of the pool was interrupted", e);
        }
    }

    /** Waits until the thread has ended, which it does at once. Answers whether the calling thread was interrupted. */
    private static boolean awaitEnd(Thread thread) {
        boolean wasInterrupted = Thread.interrupted();
        while (thread.isAlive()) {
            try {
                thread.join();
            } catch (InterruptedException e) {
                wasInterrupted = true;
            }
        }
        return Thread.interrupted() || wasInterrupted;
    }

    private Credentials credentials() {
        return config.credentials.get();
    }

    /**
     * Begins to open a connection on a thread of its own. Blocks for 0.1 s at most, while an attempt ends that was given up.
     *
     * @param credentials the user and the password; null if that thread asks for them
     * @throws SQLException if as many earlier attempts as may run at a time hang in the supplier of the credentials, or in a
     *     name look-up, where nothing can end them
     */
    Pending begin(@Nullable Credentials credentials) throws SQLException, InterruptedException {
        if (credentials == null) enter();
        boolean begun = false;
        try {
            var pending = new Pending(credentials);
            pending.start();
            begun = true;
            return pending;
        } finally {
            if (!begun) leave(credentials);
        }
    }

    private void enter() throws SQLException, InterruptedException {
        if (!attempts.tryAcquire(GIVEN_UP_NANOS, TimeUnit.NANOSECONDS)) {
            throw new SQLTransientConnectionException(
                    "%s: %d earlier attempts to connect still hang, in the supplier of the credentials or in a name look-up"
                            .formatted(config.name, config.connectParallelism),
                    Failures.UNABLE_TO_CONNECT);
        }
    }

    private void leave(@Nullable Credentials given) {
        if (given == null) attempts.release();
    }

    /** An attempt under way. When its deadline has passed, the pool closes its socket. */
    final class Pending {
        private final PoolSocketFactory.Attempt attempt =
                new PoolSocketFactory.Attempt(candidates(), config.connectTimeout);
        private final long beganNanos = Clock.nanoTime();
        private final CompletableFuture<Opened> result = new CompletableFuture<>();
        private final Thread thread;

        private Pending(@Nullable Credentials given) {
            // This is a platform thread, because TLS and SCRAM compute for milliseconds, and a virtual thread would
            // keep callers off its carrier. A virtual thread that waits for the initialisation of a class would pin
            // its carrier.
            this.thread = threads.platformThread("connect", () -> connect(attempt, given, result));
            // The driver looks for the socket factory here.
            thread.setContextClassLoader(Connector.class.getClassLoader());
        }

        private void start() {
            boolean started = false;
            try {
                threads.start(thread);
                started = true;
            } finally {
                if (!started) attempt.end();
            }
        }

        long beganNanos() {
            return beganNanos;
        }

        /**
         * Waits for the supplier of the credentials, and answers whether the calling thread holds it up. That is so if the
         * supplier has not answered in that time, and the calling thread initialises a class or the supplier waits for a
         * monitor.
         */
        boolean detectHoldUp(Duration patience) throws InterruptedException {
            try {
                awaitBegin(Math.min(patience.toNanos(), config.connectTimeout.toNanos() / 2));
            } catch (ExecutionException e) {
                return false; // await() throws it
            } catch (TimeoutException e) {
                return PoolThreads.isInitialising(Thread.currentThread()) || thread.getState() == Thread.State.BLOCKED;
            }
            return false;
        }

        /** Gives the attempt up. A closing pool does not wait for its thread, which may wait for the calling thread. */
        void leaveBehind() {
            giveUp();
            threads.leaveBehind(thread);
        }

        /** Gives the attempt up, and aborts its connection if it still comes. Does not block. */
        void giveUp() {
            try {
                // A connection that has come meanwhile has no owner.
                if (!result.completeExceptionally(closedException()) && !result.isCompletedExceptionally())
                    abortLate(result.join());
            } finally {
                attempt.cut();
                thread.interrupt(); // it may wait for the credentials
            }
        }

        /** Blocks until the connection is open. The driver's exceptions pass unchanged. */
        Opened await() throws SQLException {
            SQLException failure = null;
            boolean isTaken = false;
            try (Registration registered = closing.onClose(() -> result.completeExceptionally(closedException()))) {
                while (failure == null) {
                    long left = attempt.leftNanos();
                    try {
                        if (attempt.begun().isDone() || result.isDone()) {
                            Opened opened = result.get(Math.min(left, attempt.shareNanos()), TimeUnit.NANOSECONDS);
                            isTaken = true;
                            return opened;
                        }
                        awaitBegin(left);
                    } catch (TimeoutException e) {
                        if (attempt.leftNanos() > 0) attempt.giveUpHost();
                        else failure = tooLate();
                    }
                }
            } catch (ExecutionException e) {
                failure = asSQLException(Objects.requireNonNull(e.getCause()));
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                failure = new SQLException(
                        config.name + ": interrupted while opening a connection", Failures.CONNECTION_EXCEPTION, e);
            } finally {
                if (!isTaken) giveUp();
            }
            throw failure;
        }

        private void awaitBegin(long nanos) throws ExecutionException, InterruptedException, TimeoutException {
            var unused = CompletableFuture.anyOf(result, attempt.begun()).get(nanos, TimeUnit.NANOSECONDS);
        }

        private SQLException tooLate() {
            if (!attempt.begun().isDone()) return noCredentials(null);
            return new SQLTransientConnectionException(
                    "%s: no connection to %s within %d ms (connectTimeout)"
                            .formatted(config.name, config.url.hosts, config.connectTimeout.toMillis()),
                    Failures.UNABLE_TO_CONNECT);
        }
    }

    private void connect(
            PoolSocketFactory.Attempt attempt, @Nullable Credentials given, CompletableFuture<Opened> result) {
        Opened opened = null;
        Throwable failure = null;
        try {
            opened = open(attempt, given);
        } catch (Throwable e) {
            failure = e;
        }
        attempt.end();
        leave(given); // before the result is known, so that the next attempt does not count this one
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

    private SQLException noCredentials(@Nullable Throwable cause) {
        return new SQLTransientConnectionException(
                "%s: no credentials from their supplier within %d ms (connectTimeout)"
                        .formatted(config.name, config.connectTimeout.toMillis()),
                Failures.UNABLE_TO_CONNECT,
                cause);
    }

    /** Without the message of what the supplier of the credentials threw, which may hold a secret. */
    private SQLException asSQLException(Throwable cause) {
        if (cause instanceof SQLException drivers) return drivers;
        String what = config.name + ": opening a connection failed: "
                + cause.getClass().getName();
        return new SQLException(what, Failures.UNABLE_TO_CONNECT, cause);
    }

    private SQLException closedException() {
        return new SQLNonTransientConnectionException(
                config.name + ": the pool is closed", Failures.CONNECTION_DOES_NOT_EXIST);
    }

    private Opened open(PoolSocketFactory.Attempt attempt, @Nullable Credentials given) throws SQLException {
        Credentials credentials = given == null ? credentials() : given;
        Properties login = properties();
        if (login.putIfAbsent(PGProperty.SOCKET_FACTORY.getName(), PoolSocketFactory.class.getName()) == null) {
            login.setProperty(PGProperty.SOCKET_FACTORY_ARG.getName(), attempt.key());
        } else {
            attempt.begun().complete(null); // no socket of a foreign factory reports it
        }
        long startNanos = Clock.nanoTime();
        BaseConnection connection = login(attempt, login, credentials);
        long loggedInNanos = Clock.nanoTime();
        PeekableSocket socket = attempt.end();
        try {
            boolean readOnlyInServer = "always".equals(login.getProperty(PGProperty.READ_ONLY_MODE.getName()));
            String missing = missing(connection, defaults());
            String initSql =
                    missing.isEmpty() ? config.initSql : missing + Objects.requireNonNullElse(config.initSql, "");
            String setUp = SessionState.setUp(
                    connection,
                    isNamedBySql(login) ? login.getProperty(PGProperty.APPLICATION_NAME.getName()) : null,
                    readOnlyInServer && connection.isReadOnly(),
                    initSql);
            if (initSql != null) {
                try (Statement statement = connection.createStatement()) {
                    statement.execute(initSql);
                }
                SessionState.checkSetUp(connection);
            }
            var phases = Phases.of(
                    connection.getQueryExecutor().getHostSpec().toString(),
                    connection.getParameterStatus("server_version"),
                    socket == null ? 0 : socket.connectNanos(),
                    socket == null ? 0 : socket.tlsNanos(),
                    loggedInNanos - startNanos,
                    initSql == null ? 0 : Clock.nanoTime() - loggedInNanos);
            return new Opened(connection, socket, readOnlyInServer, setUp, phases);
        } catch (Throwable e) {
            abortAfter(e, connection, socket);
            throw e;
        }
    }

    /**
     * Asks which of its defaults the session lacks, in one round trip. Returns the SQL that sets them.
     *
     * @throws SQLException if the session is a transaction pooler's, where SQL would set them for another client; 22023
     */
    private String missing(BaseConnection connection, Map<String, String> defaults) throws SQLException {
        if (defaults.isEmpty()) return "";
        List<String> names = new ArrayList<>();
        StringBuilder sql = new StringBuilder();
        // A local value, in the server's own form, ends with the statement.
        try (PreparedStatement statement = connection.prepareStatement("""
                SELECT name, value, pg_catalog.current_setting(name, true), pg_catalog.set_config(name, value, true)
                FROM ROWS FROM (pg_catalog.unnest(?::text[]), pg_catalog.unnest(?::text[])) AS defaults (name, value)""")) {
            statement.setArray(
                    1, connection.createArrayOf("text", defaults.keySet().toArray()));
            statement.setArray(
                    2, connection.createArrayOf("text", defaults.values().toArray()));
            try (ResultSet row = statement.executeQuery()) {
                while (row.next()) {
                    String name = row.getString(1);
                    if (isSame(name, row.getString(3), row.getString(4))) continue;
                    names.add(name);
                    sql.append("SELECT pg_catalog.set_config('%s','%s',false);"
                            .formatted(name, connection.escapeString(row.getString(2))));
                }
            }
        }
        if (config.pooler == Pooler.SESSION || names.isEmpty()) return sql.toString();
        throw new SQLException(
                ("%s: behind a transaction pooler the pool cannot set parameter %s; "
                                + "write ALTER ROLE ... SET %s = ..., or SET LOCAL in each transaction")
                        .formatted(
                                config.name,
                                names.stream().map(Connector::settings).collect(Collectors.joining(", ")),
                                names.getFirst()),
                Failures.INVALID_PARAMETER_VALUE);
    }

    /** The parameter, and the settings that stand for it. */
    private static String settings(String name) {
        return name
                + switch (name.toLowerCase(Locale.ROOT)) {
                    case SEARCH_PATH -> " (schema, currentSchema)";
                    case "default_transaction_read_only" -> " (readOnly)";
                    case "default_transaction_isolation" -> " (transactionIsolation)";
                    default -> "";
                };
    }

    /** Whether both values mean the same. The server keeps blanks and quotes of a path as they were written. */
    private static boolean isSame(String name, @Nullable String actual, String wanted) {
        if (!name.equalsIgnoreCase(SEARCH_PATH) || actual == null) return wanted.equals(actual);
        return wanted.replaceAll("[\\s\"]", "").equals(actual.replaceAll("[\\s\"]", ""));
    }

    /** Whether the driver sets the application's name after the login, as it does for very old servers. */
    private static boolean isNamedBySql(Properties login) {
        String oldest = login.getProperty(PGProperty.ASSUME_MIN_SERVER_VERSION.getName());
        return ServerVersion.from(oldest).getVersionNum() < ServerVersion.v9_0.getVersionNum();
    }

    /** Aborts the connection after a failure, which stays the one to be thrown. */
    static void abortAfter(Throwable failure, BaseConnection connection, @Nullable PeekableSocket socket) {
        try {
            abort(connection, socket);
        } catch (Throwable closing) {
            failure.addSuppressed(closing);
        }
    }

    /**
     * Closes the socket in two ways, because either of them may fail. Throws if the first one fails, because the driver does
     * nothing for a connection that it takes for closed. Never blocks.
     */
    static void abort(BaseConnection connection, @Nullable PeekableSocket socket) throws SQLException {
        try {
            if (socket != null) socket.close();
        } catch (IOException e) {
            throw new SQLException("closing the socket failed", Failures.CONNECTION_EXCEPTION, e);
        } finally {
            connection
                    .getQueryExecutor()
                    .abort(); // abort() of older drivers asks for a permission that Java 24 has no more
        }
    }

    /**
     * Logs in. Begins again with the first host if the pool gave a host up just when it accepted the driver. Begins again once if
     * all hosts failed and the pool gave one of them up, because that host may only have been slow.
     */
    private BaseConnection login(PoolSocketFactory.Attempt attempt, Properties login, Credentials credentials)
            throws SQLException {
        boolean isSecondChance = false;
        while (true) {
            try {
                BaseConnection connection = loginTwice(attempt, login, credentials);
                if (attempt.loggedIn()) return connection;
                connection.getQueryExecutor().abort();
            } catch (SQLException e) {
                boolean isSlowHost = attempt.hasGivenUpHost() && !isSecondChance;
                if (attempt.leftNanos() <= 0 || (!attempt.isHostGivenUp() && !isSlowHost)) throw e;
                isSecondChance |= !attempt.isHostGivenUp();
            }
            attempt.beginAgain();
        }
    }

    /** Logs in. Asks once more for a password that has changed meanwhile. */
    private BaseConnection loginTwice(PoolSocketFactory.Attempt attempt, Properties login, Credentials credentials)
            throws SQLException {
        try {
            return loginOnce(login, credentials);
        } catch (SQLException e) {
            if (!Failures.INVALID_PASSWORD.equals(e.getSQLState())) throw e;
            Credentials fresh = credentials();
            if (fresh.equals(credentials)) throw e;
            attempt.beginAgain();
            return loginOnce(login, fresh);
        }
    }

    private BaseConnection loginOnce(Properties login, Credentials credentials) throws SQLException {
        login.setProperty(PGProperty.USER.getName(), credentials.user());
        login.remove(PGProperty.PASSWORD.getName());
        // An empty password counts only if the URL has it, because the driver looks elsewhere for a missing password.
        if (!credentials.password().isEmpty() || config.url.password != null) {
            login.setProperty(PGProperty.PASSWORD.getName(), credentials.password());
        }
        BaseConnection connection;
        try {
            connection = (BaseConnection) DRIVER.connect(url(), login);
        } catch (SQLException e) {
            throw explained(e);
        }
        if (connection == null)
            throw new SQLException(
                    config.name + ": the driver does not understand its URL", Failures.UNABLE_TO_CONNECT);
        return connection;
    }

    /** Says what to do if a pooler refuses a parameter, which does not pass by itself. */
    private SQLException explained(SQLException refused) {
        Matcher matcher = UNSUPPORTED.matcher(Objects.requireNonNullElse(refused.getMessage(), ""));
        if (!matcher.find()) return refused;
        String what =
                "%s: the pooler refuses the startup parameter %s; PgBouncer takes it with ignore_startup_parameters = %s"
                        .formatted(config.name, matcher.group(1), matcher.group(1));
        String more = config.pooler == Pooler.NONE ? ", and the pool sends fewer with the setting pooler" : "";
        return new SQLException(what + more, refused.getSQLState(), refused);
    }

    /** The servers that the connections may belong to. */
    ServerRole role() {
        return ServerRole.of(targetServerType());
    }

    private String targetServerType() {
        return Objects.requireNonNullElse(given(PGProperty.TARGET_SERVER_TYPE), "any");
    }

    /** How many hosts the driver tries at most. For a preference it tries all of them, and then all of them in any role. */
    private int candidates() {
        int hosts = config.url.hosts.size();
        return targetServerType().toLowerCase(Locale.ROOT).startsWith("prefer") ? 2 * hosts : hosts;
    }
}
