package dev.nanopool;

import dev.nanopool.DriverProperties.Door;
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
 * What a pool is made of. Immutable; made by {@link #builder}. A bad value is refused with its name, the value and the
 * bound, never corrected.
 */
public final class PoolConfig {
    private static final Logger LOGGER = System.getLogger("dev.nanopool");
    private static final AtomicInteger POOLS = new AtomicInteger();
    private static final Duration LONGEST = Duration.ofDays(365);

    final ConnectionUrl url;
    final TlsMode tls;
    final int size;
    final int minIdle;
    final Duration acquireTimeout;
    final Duration outagePatience;
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
    final boolean strictCommit;
    final boolean jmx;

    /** Which properties have no effect, for the log; null: none. */
    private final @Nullable String ignored;

    private PoolConfig(Builder builder) {
        url = ConnectionUrl.parse(builder.url, builder.driverProperties);
        tls = tls(builder.tls, url);
        size = within("size", builder.size, 1, 10_000);
        minIdle = within("minIdle", builder.minIdle == null ? size : builder.minIdle, 0, size);
        acquireTimeout = within("acquireTimeout", builder.acquireTimeout, Duration.ZERO);
        outagePatience = within(
                "outagePatience",
                builder.outagePatience == null ? acquireTimeout : builder.outagePatience,
                Duration.ZERO);
        maxWaiters = within("maxWaiters", builder.maxWaiters, 0, Integer.MAX_VALUE);
        connectTimeout = within("connectTimeout", connectTimeout(builder), Duration.ofMillis(100));
        connectParallelism = within(
                "connectParallelism",
                builder.connectParallelism == null ? Math.min(4, size) : builder.connectParallelism,
                1,
                size);
        maxLifetime = within("maxLifetime", builder.maxLifetime, Duration.ofSeconds(1));
        idleTimeout = within("idleTimeout", builder.idleTimeout, Duration.ofSeconds(1));
        keepalive = zeroOrWithin("keepalive", builder.keepalive, Duration.ofSeconds(1));
        leakThreshold = zeroOrWithin("leakThreshold", builder.leakThreshold, Duration.ofSeconds(1));
        name = builder.name == null ? "nanopool-" + POOLS.incrementAndGet() : builder.name;
        credentials = builder.credentials == null ? fixed(credentials(url)) : builder.credentials;
        parameters = Map.copyOf(builder.parameters);
        driverProperties = DriverProperties.check(Door.BUILDER, "driverProperty", builder.driverProperties);
        initSql = builder.initSql;
        listener = builder.listener;
        resetMode = builder.resetMode;
        strictCommit = builder.strictCommit;
        jmx = builder.jmx;
        Set<String> names = new TreeSet<>(builder.driverProperties.keySet());
        names.addAll(url.otherDrivers);
        ignored = OtherDrivers.warning(names);
        Map<String, String> given = new HashMap<>(url.properties);
        given.putAll(driverProperties);
        DriverProperties.checkTogether(given, parameters.keySet(), tls);
    }

    /** Logs what was accepted and has no effect. */
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
        return url.connectTimeout != null && !url.connectTimeout.isZero() ? url.connectTimeout : Duration.ofSeconds(10);
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
     * @param url a libpq URI ({@code postgresql://}, {@code postgres://}) or a {@code jdbc:postgresql:} URL
     * @return the builder
     */
    public static Builder builder(String url) {
        return new Builder(url);
    }

    /** Names the pool, its servers and its size; no credentials, no URL. */
    @Override
    public String toString() {
        return "PoolConfig[name=" + name + ", hosts=" + url.hosts + ", tls=" + tls + ", size=" + size + "]";
    }

    /** Collects the values; not thread-safe. Each method returns the builder, and replaces what was set before. */
    public static final class Builder {
        private final String url;
        private final Map<String, String> parameters = new TreeMap<>();
        private final Map<String, String> driverProperties = new TreeMap<>();
        private @Nullable TlsMode tls;
        private int size = 10;
        private @Nullable Integer minIdle;
        private Duration acquireTimeout = Duration.ofSeconds(5);
        private @Nullable Duration outagePatience;
        private int maxWaiters = Integer.MAX_VALUE;
        private @Nullable Duration connectTimeout;
        private @Nullable Integer connectParallelism;
        private Duration maxLifetime = Duration.ofMinutes(30);
        private Duration idleTimeout = Duration.ofMinutes(10);
        private Duration keepalive = Duration.ofMinutes(2);
        private Duration leakThreshold = Duration.ZERO;
        private @Nullable String name;
        private @Nullable Supplier<Credentials> credentials;
        private @Nullable String initSql;
        private PoolListener listener = new PoolListener() {};
        private ResetMode resetMode = ResetMode.TRACKED;
        private boolean strictCommit;
        private boolean jmx;

        private Builder(String url) {
            this.url = Objects.requireNonNull(url, "url");
        }

        /**
         * How connections are encrypted. Default: the URL's {@code sslmode}, else {@link TlsMode#PREFER} as in libpq.
         *
         * @param tls the mode; an {@code sslmode} in the URL must not contradict it
         * @return this
         */
        public Builder tls(TlsMode tls) {
            this.tls = Objects.requireNonNull(tls, "tls");
            return this;
        }

        /**
         * How many connections the pool may hold. Default: 10.
         *
         * @param size from 1 to 10,000
         * @return this
         */
        public Builder size(int size) {
            this.size = size;
            return this;
        }

        /**
         * How many connections the pool keeps open though nobody uses them. Default: {@code size}, a pool of fixed size,
         * which is what most servers want. With 0, {@link Pool#create} opens none, and does not find out whether there is a
         * server.
         *
         * @param minIdle from 0 to {@code size}
         * @return this
         */
        public Builder minIdle(int minIdle) {
            this.minIdle = minIdle;
            return this;
        }

        /**
         * How long {@link Pool#client()} waits. Default: 5 s. Zero: it does not wait; where the pool may grow, a connection
         * is opened in the background for who comes next.
         *
         * @param acquireTimeout kept to within 20 ms; at most 365 days
         * @return this
         */
        public Builder acquireTimeout(Duration acquireTimeout) {
            this.acquireTimeout = Objects.requireNonNull(acquireTimeout, "acquireTimeout");
            return this;
        }

        /**
         * How long callers wait while the database lets no connection in. An outage begins with the first attempt to connect
         * that fails for a reason which may pass. A caller waits until its own deadline or until the outage has lasted for
         * this time, whichever comes first; from then on callers are refused at once, with the cause, until the first attempt
         * succeeds. Zero: callers are refused after the first failed attempt. Default: {@code acquireTimeout}.
         * Refused credentials, an unknown database, TLS and a bad configuration are thrown at once, whatever the patience.
         * Where hosts may answer nothing at all, {@code connectTimeout} should be shorter than this time, because an attempt
         * fails no sooner.
         *
         * @param outagePatience kept to within 20 ms; at most 365 days
         * @return this
         */
        public Builder outagePatience(Duration outagePatience) {
            this.outagePatience = Objects.requireNonNull(outagePatience, "outagePatience");
            return this;
        }

        /**
         * How many callers may wait, those included for whom a connection is just being opened; one more is refused at
         * once. Default: no bound.
         *
         * @param maxWaiters 0 or more; 0 means nobody waits, so that the pool never has more than {@code minIdle}
         * @return this
         */
        public Builder maxWaiters(int maxWaiters) {
            this.maxWaiters = maxWaiters;
            return this;
        }

        /**
         * How long opening a connection may take, from asking for the credentials until {@code initSql} has run, with all
         * hosts of the URL together, which share it: each gets an equal part of what is left. Default: the URL's {@code connect_timeout}, if it is not 0, else 10 s.
         *
         * @param connectTimeout from 100 ms to 365 days
         * @return this
         */
        public Builder connectTimeout(Duration connectTimeout) {
            this.connectTimeout = Objects.requireNonNull(connectTimeout, "connectTimeout");
            return this;
        }

        /**
         * How many connections are opened at the same time. Default: 4, or {@code size} if that is less.
         *
         * @param connectParallelism from 1 to {@code size}
         * @return this
         */
        public Builder connectParallelism(int connectParallelism) {
            this.connectParallelism = connectParallelism;
            return this;
        }

        /**
         * The age that a connection reaches at most; a leased one is replaced when it comes back. From 75 to 100 % of it
         * on, at random, it is replaced at a moment when nobody waits: one at a time, closed first, since the server must
         * never see more than {@code size} sessions, and not while the database lets nobody in. Default: 30 min.
         *
         * @param maxLifetime from 1 s to 365 days
         * @return this
         */
        public Builder maxLifetime(Duration maxLifetime) {
            this.maxLifetime = Objects.requireNonNull(maxLifetime, "maxLifetime");
            return this;
        }

        /**
         * Over which time connections must have been idle to count as unneeded: so many are closed, down to
         * {@code minIdle}. Callers take turns at all connections, so what counts is how many were idle all the time.
         * Default: 10 min.
         *
         * @param idleTimeout from 1 s to 365 days
         * @return this
         */
        public Builder idleTimeout(Duration idleTimeout) {
            this.idleTimeout = Objects.requireNonNull(idleTimeout, "idleTimeout");
            return this;
        }

        /**
         * How long a connection may be idle until the pool asks the server, by an empty query in the background, whether it
         * is still there: keeps firewalls from forgetting it. Default: 2 min.
         *
         * @param keepalive from 1 s to 365 days; zero: never
         * @return this
         */
        public Builder keepalive(Duration keepalive) {
            this.keepalive = Objects.requireNonNull(keepalive, "keepalive");
            return this;
        }

        /**
         * How long a lease may last until it is told of as a possible leak, by {@link PoolListener#leaked} and a warning,
         * unless it waits for the server: a slow query is no leak. Also has each lease remember where it began, which costs
         * some microseconds. Default: zero, off. A client that nobody can reach any more is found without it.
         *
         * @param leakThreshold from 1 s to 365 days; zero: off
         * @return this
         */
        public Builder leakThreshold(Duration leakThreshold) {
            this.leakThreshold = Objects.requireNonNull(leakThreshold, "leakThreshold");
            return this;
        }

        /**
         * The pool's name in messages, thread names and statistics, and as {@code application_name} unless the URL has
         * one. Default: {@code nanopool-1} and so on.
         *
         * @param name not blank
         * @return this
         * @throws IllegalArgumentException if it is blank
         */
        public Builder name(String name) {
            if (name.isBlank()) throw new IllegalArgumentException("name: must not be blank");
            this.name = name;
            return this;
        }

        /**
         * Where user and password come from. Default: the URL. Asked for each connection that is opened, on a thread
         * of the pool, possibly by several at once; it may block, and is interrupted when {@code connectTimeout} has passed
         * or the pool is closed. {@link Pool#create} asks on the calling thread if the pool's thread waits for a monitor or
         * for a class that the calling thread initialises. Asked once more where the server refuses the password (28P01): it may have been changed
         * meanwhile. Whatever it throws is an attempt that has failed.
         *
         * @param credentials asked before each login
         * @return this
         */
        public Builder credentials(Supplier<Credentials> credentials) {
            this.credentials = Objects.requireNonNull(credentials, "credentials");
            return this;
        }

        /**
         * Sets a server parameter as the session's default: it travels in the startup packet, costs no round trip, and
         * {@code RESET} returns to it. For example {@code statement_timeout}, {@code search_path}. {@link #build} refuses
         * what the driver sets at login itself: {@code TimeZone}, {@code DateStyle}, {@code client_encoding},
         * {@code extra_float_digits}.
         *
         * @param name the server's parameter
         * @param value its value, as {@code SET} would take it, without quotes around it
         * @return this
         * @throws IllegalArgumentException if the name is none
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
         * property that the driver has or once had, and refuses those that the pool sets itself, such as {@code user} and
         * {@code sslmode}, and those that contradict the pool, such as {@code replication}; with the driver's default as
         * their value it accepts and ignores them. It refuses a misspelt name with the nearest name of the driver.
         * {@code datatype.*} passes, and so does a name that the driver lacks where {@code socketFactory},
         * {@code sslfactory} or {@code authenticationPluginClassName} names a class from outside of the driver, because
         * that class may read it.
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
         * SQL that sets each new connection up, within {@code connectTimeout}. If it fails, the connection is not opened.
         * Default: none. A reset runs it again, in its own round trip, because the session must be as it was when it was
         * opened; if it fails then, the pool replaces the connection. So it must be such that it can run twice, and it must
         * not leave a transaction open (SQLState 25001). {@link #parameter} is cheaper where it will do. Rows that a lease
         * writes into a temporary table of this SQL stay until a reset; {@link ResetMode#ALWAYS} resets after each lease.
         *
         * @param initSql one or more statements
         * @return this
         */
        public Builder initSql(String initSql) {
            this.initSql = Objects.requireNonNull(initSql, "initSql");
            return this;
        }

        /**
         * Who is told what happens to the connections. Default: nobody.
         *
         * @param listener thread-safe
         * @return this
         */
        public Builder listener(PoolListener listener) {
            this.listener = Objects.requireNonNull(listener, "listener");
            return this;
        }

        /**
         * What is undone between two leases. Default: {@link ResetMode#TRACKED}.
         *
         * @param resetMode the mode
         * @return this
         */
        public Builder resetMode(ResetMode resetMode) {
            this.resetMode = Objects.requireNonNull(resetMode, "resetMode");
            return this;
        }

        /**
         * Whether {@code commit()} of a transaction that has failed throws (SQLState 25P02). Default: false, the driver's
         * way, which rolls back and says nothing.
         *
         * @param strictCommit true: throw
         * @return this
         */
        public Builder strictCommit(boolean strictCommit) {
            this.strictCommit = strictCommit;
            return this;
        }

        /**
         * Whether JMX shows the pool, as {@link PoolMXBean}. If another pool has the same name, JMX shows the older one, and
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
         * Checks all values and makes the configuration. Opens nothing.
         *
         * @return the configuration
         * @throws IllegalArgumentException naming what is wrong, what was given and what is allowed
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
