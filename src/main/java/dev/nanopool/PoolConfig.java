package dev.nanopool;

import dev.nanopool.DriverProperties.Door;
import dev.nanopool.sql.SqlText;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Supplier;
import org.jspecify.annotations.Nullable;

/**
 * What a pool is made of. Immutable. {@link #builder} makes it. It refuses a bad value, with its name, the value and the bound,
 * and never corrects it.
 */
public final class PoolConfig {
    private static final Logger LOGGER = System.getLogger("dev.nanopool");
    private static final AtomicInteger POOLS = new AtomicInteger();
    private static final Duration LONGEST = Duration.ofDays(365);

    // The defaults, which all pools of a JVM share.
    private static final Duration ACQUIRE_TIMEOUT = Duration.ofSeconds(5);
    private static final Duration CANCEL_PATIENCE = Duration.ofSeconds(5);
    private static final Duration CONNECT_TIMEOUT = Duration.ofSeconds(10);
    private static final Duration MAX_LIFETIME = Duration.ofMinutes(30);
    private static final Duration IDLE_TIMEOUT = Duration.ofMinutes(10);
    private static final Duration KEEPALIVE = Duration.ofMinutes(2);

    final ConnectionUrl url;
    final TlsMode tls;
    final int size;
    final int minIdle;
    final boolean lazy;
    final @Nullable Budget budget;
    final Duration acquireTimeout;
    final Duration outagePatience;
    final Duration cancelPatience;
    final int maxWaiters;
    final Duration connectTimeout;
    final int connectParallelism;
    final Duration maxLifetime;
    final Duration idleTimeout;
    final Duration keepalive;
    final Duration leakThreshold;
    final String name;
    final Supplier<Credentials> credentials;
    final Map<String, String> parameters;
    final Map<String, String> driverProperties;
    final @Nullable String initSql;
    final PoolListener listener;
    final ResetMode resetMode;
    final Pooler pooler;
    final boolean strictCommit;
    final boolean jmx;

    /** The line of the log that names the properties without effect; null if there are none. */
    private final @Nullable String ignored;

    private PoolConfig(Builder builder) {
        url = ConnectionUrl.parse(builder.url, builder.driverProperties);
        tls = tls(builder.tls, url);
        size = within("size", builder.size, 1, 10_000);
        lazy = builder.lazy;
        budget = builder.budget;
        minIdle = minIdle(builder);
        acquireTimeout = within("acquireTimeout", builder.acquireTimeout, Duration.ZERO);
        outagePatience = within(
                "outagePatience",
                builder.outagePatience == null ? acquireTimeout : builder.outagePatience,
                Duration.ZERO);
        cancelPatience = within("cancelPatience", builder.cancelPatience, Duration.ZERO);
        maxWaiters = within("maxWaiters", builder.maxWaiters, 0, Integer.MAX_VALUE);
        connectTimeout = within("connectTimeout", connectTimeout(builder), Duration.ofMillis(100));
        connectParallelism = within(
                "connectParallelism",
                builder.connectParallelism == null ? Math.min(4, size) : builder.connectParallelism,
                1,
                size);
        maxLifetime = within("maxLifetime", builder.maxLifetime, Duration.ofSeconds(1));
        idleTimeout = within("idleTimeout", builder.idleTimeout, Duration.ofSeconds(1));
        pooler = builder.pooler;
        keepalive = zeroOrWithin("keepalive", keepalive(builder), Duration.ofSeconds(1));
        leakThreshold = zeroOrWithin("leakThreshold", builder.leakThreshold, Duration.ofSeconds(1));
        name = builder.name == null ? "nanopool-" + POOLS.incrementAndGet() : builder.name;
        credentials = builder.credentials == null ? fixed(credentials(url)) : builder.credentials;
        parameters = Map.copyOf(builder.parameters);
        driverProperties = DriverProperties.check(Door.BUILDER, "driverProperty", builder.driverProperties);
        initSql = builder.initSql;
        listener = builder.listener;
        resetMode = pooler == Pooler.TRANSACTION ? ResetMode.NONE : builder.resetMode;
        strictCommit = builder.strictCommit;
        jmx = builder.jmx;
        Set<String> names = new TreeSet<>(builder.driverProperties.keySet());
        names.addAll(url.otherDrivers);
        ignored = OtherDrivers.warning(names);
        Map<String, String> given = new HashMap<>(url.properties);
        given.putAll(driverProperties);
        DriverProperties.checkTogether(given, parameters.keySet(), tls);
        if (pooler == Pooler.TRANSACTION) checkShared(builder.resetMode, given);
    }

    private int minIdle(Builder builder) {
        if (builder.minIdle == null) return lazy ? 0 : size;
        if (lazy && builder.minIdle > 0) {
            throw new IllegalArgumentException(
                    "minIdle: " + builder.minIdle + " contradicts lazy; must be 0, or leave one of them out");
        }
        return within("minIdle", builder.minIdle, 0, size);
    }

    private static Duration keepalive(Builder builder) {
        if (builder.keepalive != null) return builder.keepalive;
        return builder.pooler == Pooler.TRANSACTION ? Duration.ZERO : KEEPALIVE;
    }

    /** Refuses what needs a session of its own. */
    private void checkShared(ResetMode given, Map<String, String> properties) {
        String why = null;
        if (given == ResetMode.ALWAYS) {
            why = "resetMode: ALWAYS resets a session, which belongs to the pooler; leave it out";
        } else if (initSql != null && (new SqlText(true).changes(initSql) & ~SqlText.ENDS_TRANSACTION) != 0) {
            why = "initSql: changes a session, but each transaction may run in another one; use ALTER ROLE ... SET";
        } else if ("always".equals(properties.get("readOnlyMode"))) {
            why = "readOnlyMode: always sets it in the session; use transaction, or ALTER ROLE ... SET "
                    + "default_transaction_read_only";
        }
        if (why != null) throw new IllegalArgumentException(why + " (pooler " + pooler + ")");
    }

    /** Logs which properties were accepted and have no effect. */
    void warnOfIgnored() {
        String what = ignored;
        if (what != null) LOGGER.log(Level.WARNING, () -> name + ": " + what);
    }

    private static TlsMode tls(@Nullable TlsMode given, ConnectionUrl url) {
        TlsMode inUrl = url.tls;
        if (given != null && inUrl != null && given != inUrl) {
            throw new IllegalArgumentException("tls: " + given + " contradicts sslmode=" + inUrl.sslmode() + " ("
                    + inUrl + ") in the URL; leave one of them out");
        }
        return given != null ? given : inUrl != null ? inUrl : TlsMode.PREFER;
    }

    private Duration connectTimeout(Builder builder) {
        if (builder.connectTimeout != null) return builder.connectTimeout;
        // libpq's zero means for ever, which this pool does not offer.
        return url.connectTimeout != null && !url.connectTimeout.isZero() ? url.connectTimeout : CONNECT_TIMEOUT;
    }

    private static Credentials credentials(ConnectionUrl url) {
        String user = url.user != null ? url.user : System.getProperty("user.name", "postgres");
        return new Credentials(user, url.password != null ? url.password : "");
    }

    private static Supplier<Credentials> fixed(Credentials credentials) {
        return () -> credentials;
    }

    private static int within(String name, int value, int least, int most) {
        if (value >= least && value <= most) return value;
        throw new IllegalArgumentException(name + ": " + value + " is out of bounds; must be " + least
                + (most == Integer.MAX_VALUE ? " or more" : " to " + most));
    }

    private static Duration within(String name, Duration value, Duration least) {
        if (value.compareTo(least) >= 0 && value.compareTo(LONGEST) <= 0) return value;
        throw new IllegalArgumentException(
                name + ": " + value + " is out of bounds; must be " + least + " to " + LONGEST);
    }

    private static Duration zeroOrWithin(String name, Duration value, Duration least) {
        return value.isZero() ? value : within(name, value, least);
    }

    /**
     * Starts a configuration.
     *
     * <p><b>Form.</b> The URL is a libpq URI, as hosts of applications put it into {@code DATABASE_URL}, or a
     * {@code jdbc:postgresql:} URL:
     *
     * <pre>
     * postgresql://user:password@host:port,host:port/database?parameter=value&amp;...
     * jdbc:postgresql://host:port,host:port/database?user=...&amp;password=...&amp;...
     * </pre>
     *
     * <p>An IPv6 address stands in {@code [brackets]}. In the user, the password, a host, the database and a value, special
     * characters are written {@code %XX}; a {@code +} is a plus sign in a libpq URI and a blank in a jdbc: URL. Parts that
     * the URL leaves out have defaults: {@code localhost}, {@code 5432}, the operating system's user, and the database that
     * has the user's name.
     *
     * <table class="striped">
     * <caption>Parameters</caption>
     * <thead><tr><th scope="col">In the URL</th><th scope="col">Meaning</th></tr></thead>
     * <tbody>
     * <tr><th scope="row">{@code host}, {@code hostaddr}, {@code port}, {@code dbname}, {@code user},
     *     {@code password}</th><td>have the meaning of the parts before the {@code ?}, and win over them; commas part the
     *     entries of a list; one port serves all hosts</td></tr>
     * <tr><th scope="row">{@code sslmode}</th><td>the {@link TlsMode}: {@code disable}, {@code prefer}, {@code require},
     *     {@code verify-ca}, {@code verify-full}; must not contradict {@link Builder#tls}</td></tr>
     * <tr><th scope="row">{@code ssl=true}, {@code requiressl=1}</th><td>{@link TlsMode#REQUIRE}; in a jdbc: URL,
     *     {@code ssl} and {@code ssl=true} mean {@link TlsMode#VERIFY_IDENTITY}, as in the driver; {@code sslmode} wins over
     *     them</td></tr>
     * <tr><th scope="row">{@code sslrootcert}, {@code sslcert}, {@code sslkey}, {@code sslpassword},
     *     {@code sslnegotiation}</th><td>see {@link TlsMode}</td></tr>
     * <tr><th scope="row">{@code connect_timeout}, {@code connectTimeout}, {@code loginTimeout}</th>
     *     <td>{@link Builder#connectTimeout}, in seconds; the longest of them counts, and 0 means the default</td></tr>
     * <tr><th scope="row">{@code target_session_attrs}</th><td>the driver's {@code targetServerType}: {@code any};
     *     {@code primary} for {@code primary} and {@code read-write}; {@code secondary} for {@code standby} and
     *     {@code read-only}; {@code preferSecondary} for {@code prefer-standby}</td></tr>
     * <tr><th scope="row">{@code load_balance_hosts}, {@code keepalives}</th><td>the driver's {@code loadBalanceHosts}
     *     ({@code disable}, {@code random}) and {@code tcpKeepAlive} ({@code 0}, {@code 1}; on by default)</td></tr>
     * <tr><th scope="row">{@code application_name}, {@code fallback_application_name}, {@code options},
     *     {@code channel_binding}, {@code require_auth}, {@code gssencmode}, {@code krbsrvname}</th><td>the driver's property
     *     of that meaning</td></tr>
     * <tr><th scope="row">{@code schema}</th><td>the driver's {@code currentSchema}</td></tr>
     * <tr><th scope="row">{@code client_encoding}</th><td>UTF8 only</td></tr>
     * <tr><th scope="row">{@code PGHOST}, {@code PGPORT}, {@code PGDBNAME}</th><td>have the meaning of {@code host},
     *     {@code port} and {@code dbname}, which win over them</td></tr>
     * <tr><th scope="row">pgJDBC's names, such as {@code prepareThreshold}, with those that it ignores
     *     ({@code loggerLevel}) or once had ({@code loglevel})</th><td>the pool passes them to the driver</td></tr>
     * <tr><th scope="row">tuning of other drivers, such as MySQL's {@code cachePrepStmts}</th><td>has no effect; one warning
     *     names pgJDBC's own property</td></tr>
     * </tbody>
     * </table>
     *
     * <p><b>Refusals.</b> {@link Builder#build} refuses everything else. The message names the parameter if the name cannot
     * be a piece of a password, and it never shows a value. Refused are
     *
     * <ul>
     *   <li>misspelt names, with the nearest known name; other unknown names, which the driver alone would ignore; names that
     *       are given twice;
     *   <li>parameters that name classes: {@code socketFactory}, {@code sslfactory}, {@code sslhostnameverifier},
     *       {@code sslpasswordcallback}, {@code authenticationPluginClassName}, {@code xmlFactoryFactory},
     *       {@code connectExecutor}, their {@code ...arg}s, {@code classLoaderStrategy} and {@code datatype.*}.
     *       {@link Builder#driverProperty} takes them, except {@code connectExecutor}, because the pool connects on threads of
     *       its own;
     *   <li>{@code replication}, {@code service}, {@code passfile}, {@code logUnclosedConnections} and
     *       {@code cleanupSavepoints}, which contradict the pool;
     *   <li>properties of other drivers that protect the connection, such as MySQL's {@code useSSL=true}; the message says
     *       what to write;
     *   <li>unix-domain sockets;
     *   <li>{@code sslmode=allow}, which protects from nothing.
     * </ul>
     *
     * <p>A parameter that would be refused is accepted if its value is the driver's default, such as
     * {@code cleanupSavepoints=false}. A name that the driver lacks passes if {@link Builder#driverProperty} sets
     * {@code socketFactory}, {@code sslfactory} or {@code authenticationPluginClassName}, because such a class reads
     * properties of its own.
     *
     * <p>{@link Builder#driverProperty} and {@link NanoDataSource#addDataSourceProperty} follow the same rules, but refuse
     * {@code user}, {@code password}, {@code ssl}, {@code sslmode}, the time limits and the server's address, because the pool
     * has settings for these.
     *
     * @param url a libpq URI ({@code postgresql://}, {@code postgres://}) or a {@code jdbc:postgresql:} URL
     * @return the builder
     */
    public static Builder builder(String url) {
        return new Builder(url);
    }

    /** Names the pool, its servers and its size, but neither the credentials nor the URL. */
    @Override
    public String toString() {
        return "PoolConfig[name=" + name + ", hosts=" + url.hosts + ", tls=" + tls + ", size=" + size + "]";
    }

    /** Collects the values. Not thread-safe. Each method returns the builder, and replaces what was set before. */
    public static final class Builder {
        private final String url;
        private final Map<String, String> parameters = new TreeMap<>();
        private final Map<String, String> driverProperties = new TreeMap<>();
        private @Nullable TlsMode tls;
        private int size = 10;
        private @Nullable Integer minIdle;
        private boolean lazy;
        private @Nullable Budget budget;
        private Duration acquireTimeout = ACQUIRE_TIMEOUT;
        private @Nullable Duration outagePatience;
        private Duration cancelPatience = CANCEL_PATIENCE;
        private int maxWaiters = Integer.MAX_VALUE;
        private @Nullable Duration connectTimeout;
        private @Nullable Integer connectParallelism;
        private Duration maxLifetime = MAX_LIFETIME;
        private Duration idleTimeout = IDLE_TIMEOUT;
        private @Nullable Duration keepalive;
        private Duration leakThreshold = Duration.ZERO;
        private @Nullable String name;
        private @Nullable Supplier<Credentials> credentials;
        private @Nullable String initSql;
        private PoolListener listener = new PoolListener() {};
        private ResetMode resetMode = ResetMode.TRACKED;
        private Pooler pooler = Pooler.NONE;
        private boolean strictCommit;
        private boolean jmx;

        private Builder(String url) {
            this.url = Objects.requireNonNull(url, "url");
        }

        /**
         * Sets how connections are encrypted. Default: the URL's {@code sslmode}, else {@link TlsMode#PREFER} as in libpq.
         *
         * @param tls the mode; an {@code sslmode} in the URL must not contradict it
         * @return this
         */
        public Builder tls(TlsMode tls) {
            this.tls = Objects.requireNonNull(tls, "tls");
            return this;
        }

        /**
         * Sets how many connections the pool may hold. Default: 10.
         *
         * @param size the number of connections, from 1 to 10,000
         * @return this
         */
        public Builder size(int size) {
            this.size = size;
            return this;
        }

        /**
         * Sets how many connections the pool keeps open even if no caller uses them. Default: {@code size}, a pool of fixed
         * size, which most servers want. With 0, {@link Pool#create} opens no connection, so it does not find out whether
         * there is a server.
         *
         * @param minIdle the number of connections, from 0 to {@code size}
         * @return this
         */
        public Builder minIdle(int minIdle) {
            this.minIdle = minIdle;
            return this;
        }

        /**
         * Sets whether the first caller opens the first connection, so that {@link Pool#create} speaks to no server and asks for
         * no credentials. The default of {@code minIdle} is then 0, and no other value is taken. {@code create} still reads the
         * files of certificates if the {@link TlsMode} verifies the server. A lazy pool has no thread and takes less than
         * 8 KB, for servers with a pool for each tenant. Default: false.
         *
         * @param lazy true: {@code create} opens no connection
         * @return this
         */
        public Builder lazy(boolean lazy) {
            this.lazy = lazy;
            return this;
        }

        /**
         * Sets the budget that this pool shares with others. Their connections together, open ones and those that are being
         * opened, are never more than its size. {@link Pool#create} refuses the pool if the sum of {@code minIdle} is more than
         * that. Default: none.
         *
         * @param budget the same object for all pools that share it
         * @return this
         */
        public Builder budget(Budget budget) {
            this.budget = Objects.requireNonNull(budget, "budget");
            return this;
        }

        /**
         * Sets how long {@link Pool#client()} waits. Default: 5 s. With zero it does not wait. Where the pool may grow, it then
         * opens a connection in the background for a later caller.
         *
         * @param acquireTimeout the longest wait, met to within 20 ms; at most 365 days
         * @return this
         */
        public Builder acquireTimeout(Duration acquireTimeout) {
            this.acquireTimeout = Objects.requireNonNull(acquireTimeout, "acquireTimeout");
            return this;
        }

        /**
         * Sets how long callers wait while the database accepts no connection. An outage begins with the first attempt to
         * connect that fails for a reason which may pass. A caller waits until its own deadline or until the outage has lasted
         * for this time, whichever comes first. From then on the pool refuses callers at once, with the cause, until the first
         * attempt succeeds. With zero the pool refuses callers after the first failed attempt. Default:
         * {@code acquireTimeout}.
         *
         * <p>The pool throws a failure at once, however long this time is, if credentials are refused, the database is unknown,
         * or TLS or the configuration is wrong. Where a host may not answer at all, {@code connectTimeout} should be shorter
         * than this time, because an attempt fails no sooner. {@code socketTimeout}, a property of the driver, does the same for
         * connections that are open.
         *
         * @param outagePatience the patience, met to within 20 ms; at most 365 days
         * @return this
         */
        public Builder outagePatience(Duration outagePatience) {
            this.outagePatience = Objects.requireNonNull(outagePatience, "outagePatience");
            return this;
        }

        /**
         * Sets how long an interrupted virtual thread waits for the server's answer to its cancelled statement. If the server
         * does not answer in time, the pool closes the connection. With zero an interrupt closes the connection at once, and
         * the server ends the statement. Default: 5 s.
         *
         * <p>Before Java 25 an interrupt of a virtual thread always closes its connection. An interrupt of a platform thread
         * cancels and closes nothing, on any Java.
         *
         * @param cancelPatience the patience, met to within 0.25 s; at most 365 days
         * @return this
         */
        public Builder cancelPatience(Duration cancelPatience) {
            this.cancelPatience = Objects.requireNonNull(cancelPatience, "cancelPatience");
            return this;
        }

        /**
         * Sets how many callers may wait, those included for which the pool is opening a connection. The pool refuses one more
         * at once, but does not count a caller whose connection is being validated. Default: no bound.
         *
         * @param maxWaiters the number of callers, 0 or more; with 0 no caller waits, so that the pool never has more than
         *     {@code minIdle} connections
         * @return this
         */
        public Builder maxWaiters(int maxWaiters) {
            this.maxWaiters = maxWaiters;
            return this;
        }

        /**
         * Sets how long opening a connection may take, from asking for the credentials until {@code initSql} has run. All hosts
         * of the URL share this time, and each of them gets an equal part of what is left. Default: the URL's
         * {@code connect_timeout} if it is not 0, else 10 s.
         *
         * @param connectTimeout the longest time of an attempt, from 100 ms to 365 days
         * @return this
         */
        public Builder connectTimeout(Duration connectTimeout) {
            this.connectTimeout = Objects.requireNonNull(connectTimeout, "connectTimeout");
            return this;
        }

        /**
         * Sets how many connections the pool opens at the same time. Default: 4, or {@code size} if that is less.
         *
         * @param connectParallelism the number of connections, from 1 to {@code size}
         * @return this
         */
        public Builder connectParallelism(int connectParallelism) {
            this.connectParallelism = connectParallelism;
            return this;
        }

        /**
         * Sets the age that a connection reaches at most. The pool replaces a leased connection when its client is closed. From
         * 75 to 100 % of this age on, at random, the pool replaces an idle connection when no caller waits. It replaces one at a
         * time and closes it first, because the server must never see more than {@code size} sessions. It replaces none while
         * the database accepts no connection. Default: 30 min.
         *
         * @param maxLifetime the age, from 1 s to 365 days
         * @return this
         */
        public Builder maxLifetime(Duration maxLifetime) {
            this.maxLifetime = Objects.requireNonNull(maxLifetime, "maxLifetime");
            return this;
        }

        /**
         * Sets the window over which the pool measures its surplus. If a number of connections stayed idle throughout, the pool
         * closes that many, down to {@code minIdle}. Callers take turns at all connections, so only the number counts, and not
         * how long a single connection was idle. Default: 10 min.
         *
         * @param idleTimeout the window, from 1 s to 365 days
         * @return this
         */
        public Builder idleTimeout(Duration idleTimeout) {
            this.idleTimeout = Objects.requireNonNull(idleTimeout, "idleTimeout");
            return this;
        }

        /**
         * Sets how long a connection may be idle before the pool sends the server an empty query in the background. The query
         * shows whether the server is still there, and keeps firewalls from forgetting the connection. Default: 2 min, or never
         * with {@link Pooler#TRANSACTION}.
         *
         * @param keepalive the idle time, from 1 s to 365 days; with zero the pool never asks
         * @return this
         */
        public Builder keepalive(Duration keepalive) {
            this.keepalive = Objects.requireNonNull(keepalive, "keepalive");
            return this;
        }

        /**
         * Sets how long a lease may last before the pool reports it as a suspected leak, by {@link PoolListener#leaked} and a
         * warning. The pool does not report a lease that waits for the server, because a slow query is no leak. With this
         * setting each lease remembers where it began, which costs some microseconds. Default: zero, off. The pool finds a
         * client that no thread can reach without this setting.
         *
         * @param leakThreshold the age of a lease, from 1 s to 365 days; zero switches it off
         * @return this
         */
        public Builder leakThreshold(Duration leakThreshold) {
            this.leakThreshold = Objects.requireNonNull(leakThreshold, "leakThreshold");
            return this;
        }

        /**
         * Sets the pool's name, which stands in messages, thread names and statistics, and which is the
         * {@code application_name} unless the URL has one. Default: {@code nanopool-1} and so on.
         *
         * @param name the name, not blank
         * @return this
         * @throws IllegalArgumentException if it is blank
         */
        public Builder name(String name) {
            if (name.isBlank()) throw new IllegalArgumentException("name: must not be blank");
            this.name = name;
            return this;
        }

        /**
         * Sets where user and password come from. Default: the URL. A thread of the pool asks the supplier for each connection
         * that it opens, and several threads may ask at the same time. The supplier may block. The pool interrupts it when
         * {@code connectTimeout} has passed or the pool is closed. {@link Pool#create} asks on the calling thread if the pool's
         * thread waits for a monitor or for a class that the calling thread initialises. If the server refuses the password
         * (28P01), the pool asks once more, because the password may have changed. If the supplier throws, the attempt to open
         * a connection has failed.
         *
         * @param credentials the supplier, which the pool asks before each login
         * @return this
         */
        public Builder credentials(Supplier<Credentials> credentials) {
            this.credentials = Objects.requireNonNull(credentials, "credentials");
            return this;
        }

        /**
         * Sets a server parameter, such as {@code statement_timeout} or {@code search_path}, as the session's default. It
         * travels in the startup packet and costs no round trip, and {@code RESET} returns to it. {@link #build} refuses the
         * parameters that the driver itself sets at login, which are {@code TimeZone}, {@code DateStyle},
         * {@code client_encoding} and {@code extra_float_digits}.
         *
         * @param name the server's parameter
         * @param value its value, as {@code SET} would take it, without quotes around it
         * @return this
         * @throws IllegalArgumentException if the name cannot be the name of a parameter
         */
        public Builder parameter(String name, String value) {
            if (!name.matches("[A-Za-z_][\\w.]*")) {
                throw new IllegalArgumentException("parameter: \"" + name
                        + "\" is not a name of a server parameter; must be of letters, digits, '_' and '.'");
            }
            parameters.put(name, Objects.requireNonNull(value, "value"));
            return this;
        }

        /**
         * Sets a property of the driver, such as {@code prepareThreshold}. Wins over the URL. {@link #build} takes every
         * property that the driver has or once had. It refuses those that the pool sets itself, such as {@code user} and
         * {@code sslmode}, and those that contradict the pool, such as {@code replication}. With the driver's default as
         * their value it accepts and ignores them. It refuses a misspelt name and says the nearest name of the driver. It takes
         * {@code datatype.*}. It also takes a name that the driver lacks if {@code socketFactory}, {@code sslfactory} or
         * {@code authenticationPluginClassName} names a class from outside of the driver, because that class may read it.
         * It always refuses {@code connectExecutor}, because the pool connects on threads of its own.
         *
         * <p>{@link #build} accepts the well-known tuning properties of other databases' drivers, such as
         * {@code cachePrepStmts}, without effect, and logs one warning that names pgJDBC's own. It refuses those whose loss
         * would weaken the connection's protection, such as {@code useSSL=true}.
         *
         * @param name pgJDBC's name of the property, case included
         * @param value its value
         * @return this
         */
        public Builder driverProperty(String name, String value) {
            driverProperties.put(Objects.requireNonNull(name, "name"), Objects.requireNonNull(value, "value"));
            return this;
        }

        /**
         * Sets the SQL that sets each new connection up, within {@code connectTimeout}. If it fails, the pool does not open the
         * connection. Default: none. A reset runs it again, in its own round trip, because the session must be as it was when
         * it was opened. If it fails then, the pool replaces the connection. So it must be able to run twice, and it must not
         * leave a transaction open (SQLState 25001). {@link #parameter} is cheaper where it is enough. Rows that a lease writes
         * into a temporary table of this SQL stay until a reset. {@link ResetMode#ALWAYS} resets after each lease.
         *
         * @param initSql one or more statements
         * @return this
         */
        public Builder initSql(String initSql) {
            this.initSql = Objects.requireNonNull(initSql, "initSql");
            return this;
        }

        /**
         * Sets the listener that receives what happens to the connections. Default: none.
         *
         * @param listener the listener, which must be thread-safe
         * @return this
         */
        public Builder listener(PoolListener listener) {
            this.listener = Objects.requireNonNull(listener, "listener");
            return this;
        }

        /**
         * Sets what the pool undoes between two leases. Default: {@link ResetMode#TRACKED}.
         *
         * @param resetMode the mode
         * @return this
         */
        public Builder resetMode(ResetMode resetMode) {
            this.resetMode = Objects.requireNonNull(resetMode, "resetMode");
            return this;
        }

        /**
         * Sets which pooler stands between the pool and the server. Default: {@link Pooler#NONE}. With
         * {@link Pooler#TRANSACTION} the pool undoes nothing in the server, as with {@link ResetMode#NONE}.
         *
         * @param pooler how the pooler shares the server's sessions
         * @return this
         */
        public Builder pooler(Pooler pooler) {
            this.pooler = Objects.requireNonNull(pooler, "pooler");
            return this;
        }

        /**
         * Sets whether {@code commit()} of a transaction that has failed throws (SQLState 25P02). Default: false, as in the
         * driver, which rolls back and says nothing.
         *
         * @param strictCommit true if it throws
         * @return this
         */
        public Builder strictCommit(boolean strictCommit) {
            this.strictCommit = strictCommit;
            return this;
        }

        /**
         * Sets whether JMX shows the pool, as {@link PoolMXBean}. If another pool has the same name, JMX shows the older one, and
         * the log has a warning. Default: false.
         *
         * @param jmx true: from the start of the pool until its end
         * @return this
         */
        public Builder jmx(boolean jmx) {
            this.jmx = jmx;
            return this;
        }

        /**
         * Checks all values and makes the configuration. Opens no connection.
         *
         * @return the configuration
         * @throws IllegalArgumentException if a value is wrong; the message says the name, the value and the bound
         */
        public PoolConfig build() {
            PoolConfig config = buildQuietly();
            config.warnOfIgnored();
            return config;
        }

        /** As {@link #build}, and logs nothing. */
        PoolConfig buildQuietly() {
            return new PoolConfig(this);
        }
    }
}
