package dev.nanopool;

import dev.nanopool.DriverProperties.Door;
import java.time.DateTimeException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.BiConsumer;
import java.util.function.Function;
import java.util.function.Predicate;
import java.util.function.Supplier;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * The one table of the bean's properties, and the values that one bean has. The bean's setters, its properties as text,
 * HikariCP's names and README's list of them all come from here. Any thread may read. The bean's lock guards all changes.
 */
final class Settings {
    private static final Duration UNLIMITED = Duration.ofDays(365);
    private static final long LONGEST = UNLIMITED.toMillis();
    private static final Pattern TIME = Pattern.compile("([+-]?\\d+) ?(ms|s|m|h|d)?", Pattern.CASE_INSENSITIVE);
    private static final Map<String, Integer> MILLIS =
            Map.of("ms", 1, "s", 1_000, "m", 60_000, "h", 3_600_000, "d", 86_400_000);

    /** The levels by name and by the numbers of {@link java.sql.Connection}, as text. */
    private static final Map<String, String> ISOLATIONS = Map.of(
            "READ_UNCOMMITTED", "read uncommitted",
            "READ_COMMITTED", "read committed",
            "REPEATABLE_READ", "repeatable read",
            "SERIALIZABLE", "serializable",
            "1", "read uncommitted",
            "2", "read committed",
            "4", "repeatable read",
            "8", "serializable");

    /**
     * What a value may be.
     *
     * @param what the noun for a text that can be read
     * @param allowed the end of a message about a bad value
     * @param reader null if no text can be read
     * @param unit what stands behind the number; null if the value is no number
     */
    private record Kind<T>(
            String what,
            String allowed,
            @Nullable String unit,
            @Nullable Function<String, T> reader,
            Predicate<T> isAllowed) {
        T read(String name, String text) {
            if (reader == null) throw new IllegalArgumentException(noSuch(name, text));
            try {
                return reader.apply(text);
            } catch (IllegalArgumentException | DateTimeException | ArithmeticException e) {
                throw new IllegalArgumentException(noSuch(name, text), e);
            }
        }

        void check(String name, T value) {
            if (isAllowed.test(value)) return;
            throw new IllegalArgumentException(
                    unit == null ? noSuch(name, value) : name + ": " + value + unit + " is out of bounds; " + allowed);
        }

        private String noSuch(String name, Object value) {
            return name + ": \"" + value + "\" is not " + what + "; " + allowed;
        }
    }

    /** A property of the bean. */
    static final class Row<T> {
        /** Its name on the bean. */
        final String name;

        /** Its name in a message of {@link PoolConfig}; empty if PoolConfig lacks it. */
        final String inPool;

        /** What README says about HikariCP's property of that name; empty if HikariCP lacks it. */
        final String hikari;

        private final Kind<T> kind;
        private final @Nullable T byDefault;
        private final BiConsumer<PoolConfig.Builder, T> action;

        private Row(
                String name,
                String inPool,
                String hikari,
                Kind<T> kind,
                @Nullable T byDefault,
                BiConsumer<PoolConfig.Builder, T> action) {
            this.name = name;
            this.inPool = inPool;
            this.hikari = hikari;
            this.kind = kind;
            this.byDefault = byDefault;
            this.action = action;
            TABLE.add(this);
        }

        /** The default as text; empty if there is none. */
        String defaultText() {
            return byDefault == null ? "" : byDefault.toString();
        }
    }

    /** A value, and the name by which the user has set it. */
    private record Given(String name, Object value) {}

    /** All rows, in the order in which a pool gets them. */
    static final List<Row<?>> TABLE = new ArrayList<>();

    private static final String SAME = "same";
    private static final String FROM_1_S = "same; from 1 s";

    private static final Kind<String> TEXT = new Kind<>("text", "", null, Function.identity(), text -> true);
    private static final Kind<Boolean> FLAG =
            new Kind<>("a boolean", "must be true or false", null, Settings::flag, flag -> true);
    private static final Kind<String> ISOLATION = new Kind<>(
            "an isolation level",
            "use READ_COMMITTED, REPEATABLE_READ, SERIALIZABLE or READ_UNCOMMITTED,"
                    + " or the number of java.sql.Connection: 2, 4, 8 or 1",
            null,
            Function.identity(),
            text -> ISOLATIONS.containsKey(level(text)));
    private static final Kind<Map<String, String>> MAP = new Kind<>(
            "a map", "write each entry as a property of its own, with a dot before its name", null, null, map -> true);

    static final Row<String> JDBC_URL = new Row<>("jdbcUrl", "url", SAME, TEXT, null, Settings::ofTheBean);
    static final Row<String> USERNAME = new Row<>("username", "", SAME, TEXT, null, Settings::ofTheBean);
    static final Row<String> PASSWORD = new Row<>("password", "", SAME, TEXT, null, Settings::ofTheBean);
    static final Row<Supplier<Credentials>> CREDENTIALS = new Row<>(
            "credentials",
            "credentials",
            "same, but a `Supplier`, which the pool asks before each login",
            code("setCredentials"),
            null,
            PoolConfig.Builder::credentials);
    static final Row<Integer> MAXIMUM_POOL_SIZE =
            new Row<>("maximumPoolSize", "size", SAME, count(1, 10_000), 10, PoolConfig.Builder::size);
    static final Row<Integer> MINIMUM_IDLE =
            new Row<>("minimumIdle", "minIdle", SAME, count(-1, 10_000), -1, (builder, number) -> {
                if (number >= 0) builder.minIdle(number);
            });
    static final Row<Boolean> LAZY = new Row<>("lazy", "lazy", "", FLAG, false, PoolConfig.Builder::lazy);
    static final Row<String> BUDGET = new Row<>(
            "budget",
            "budget",
            "",
            new Kind<>(
                    "a budget",
                    "must be a name and the number of connections, such as main:500",
                    null,
                    Function.identity(),
                    text -> text.matches("(?s).+:[1-9]\\d{0,5}")),
            null,
            (builder, text) -> builder.budget(Budget.named(text)));
    static final Row<Long> CONNECTION_TIMEOUT = new Row<>(
            "connectionTimeout",
            "acquireTimeout",
            "same; default 5 s, not 30 s",
            millis(0, LONGEST),
            5_000L,
            (builder, millis) -> builder.acquireTimeout(unlessZero(millis)));
    static final Row<Integer> MAX_WAITERS = new Row<>(
            "maxWaiters",
            "maxWaiters",
            "",
            count(0, Integer.MAX_VALUE),
            Integer.MAX_VALUE,
            PoolConfig.Builder::maxWaiters);
    static final Row<Long> OUTAGE_PATIENCE =
            new Row<>("outagePatience", "outagePatience", "", millis(-1, LONGEST), -1L, (builder, millis) -> {
                if (millis >= 0) builder.outagePatience(Duration.ofMillis(millis));
            });
    static final Row<Long> CANCEL_PATIENCE = new Row<>(
            "cancelPatience",
            "cancelPatience",
            "",
            millis(0, LONGEST),
            5_000L,
            (builder, millis) -> builder.cancelPatience(Duration.ofMillis(millis)));
    static final Row<Long> CONNECT_TIMEOUT =
            new Row<>("connectTimeout", "connectTimeout", "", millisOr(-1, 100), -1L, (builder, millis) -> {
                if (millis >= 0) builder.connectTimeout(Duration.ofMillis(millis));
            });
    static final Row<Integer> CONNECT_PARALLELISM =
            new Row<>("connectParallelism", "connectParallelism", "", count(-1, 10_000), -1, (builder, number) -> {
                if (number >= 0) builder.connectParallelism(number);
            });
    static final Row<Long> MAX_LIFETIME = new Row<>(
            "maxLifetime",
            "maxLifetime",
            FROM_1_S,
            millisOr(0, 1_000),
            1_800_000L,
            (builder, millis) -> builder.maxLifetime(unlessZero(millis)));
    static final Row<Long> IDLE_TIMEOUT = new Row<>(
            "idleTimeout",
            "idleTimeout",
            FROM_1_S,
            millisOr(0, 1_000),
            600_000L,
            (builder, millis) -> builder.idleTimeout(unlessZero(millis)));
    static final Row<Long> KEEPALIVE_TIME = new Row<>(
            "keepaliveTime",
            "keepalive",
            FROM_1_S,
            millisOr(0, 1_000),
            120_000L,
            (builder, millis) -> builder.keepalive(Duration.ofMillis(millis)));
    static final Row<Long> LEAK_DETECTION_THRESHOLD = new Row<>(
            "leakDetectionThreshold",
            "leakThreshold",
            SAME,
            millisOr(0, 1_000),
            0L,
            (builder, millis) -> builder.leakThreshold(Duration.ofMillis(millis)));
    static final Row<Long> DRAIN = new Row<>("drain", "", "", millis(0, LONGEST), 5_000L, Settings::ofTheBean);
    static final Row<String> POOL_NAME = new Row<>("poolName", "name", SAME, TEXT, null, PoolConfig.Builder::name);
    static final Row<String> CONNECTION_INIT_SQL =
            new Row<>("connectionInitSql", "initSql", SAME, TEXT, null, PoolConfig.Builder::initSql);
    static final Row<Boolean> AUTO_COMMIT = new Row<>("autoCommit", "", SAME, FLAG, true, Settings::ofTheBean);
    static final Row<String> SCHEMA =
            parameter("schema", "search_path", TEXT, null, schema -> '"' + schema.replace("\"", "\"\"") + '"');
    static final Row<Boolean> READ_ONLY =
            parameter("readOnly", "default_transaction_read_only", FLAG, false, isReadOnly -> isReadOnly ? "on" : null);
    static final Row<String> TRANSACTION_ISOLATION = parameter(
            "transactionIsolation",
            "default_transaction_isolation",
            ISOLATION,
            null,
            name -> ISOLATIONS.get(level(name)));
    static final Row<Map<String, String>> PARAMETERS =
            new Row<>("parameters", "parameter", "", MAP, Map.of(), (builder, all) -> all.forEach(builder::parameter));
    static final Row<Map<String, String>> DATA_SOURCE_PROPERTIES = new Row<>(
            "dataSourceProperties",
            "driverProperty",
            SAME,
            MAP,
            Map.of(),
            (builder, all) -> all.forEach(builder::driverProperty));
    static final Row<TlsMode> TLS_MODE =
            new Row<>("tlsMode", "tls", "", choice(TlsMode.class), null, PoolConfig.Builder::tls);
    static final Row<ResetMode> RESET_MODE = new Row<>(
            "resetMode", "resetMode", "", choice(ResetMode.class), ResetMode.TRACKED, PoolConfig.Builder::resetMode);
    static final Row<Pooler> POOLER =
            new Row<>("pooler", "pooler", "", choice(Pooler.class), Pooler.NONE, PoolConfig.Builder::pooler);
    static final Row<Boolean> STRICT_COMMIT =
            new Row<>("strictCommit", "strictCommit", "", FLAG, false, PoolConfig.Builder::strictCommit);
    static final Row<PoolListener> LISTENER =
            new Row<>("listener", "listener", "", code("setListener"), null, PoolConfig.Builder::listener);
    static final Row<Boolean> REGISTER_MBEANS =
            new Row<>("registerMbeans", "jmx", SAME, FLAG, false, PoolConfig.Builder::jmx);

    /** HikariCP's properties that have no meaning here, and what README and the log say about each. */
    static final Map<String, String> MEANINGLESS = new LinkedHashMap<>();

    /** All names that {@link #configure} knows, in canonical form, but not those of {@link #MEANINGLESS}. */
    private static final Map<String, Row<?>> NAMES = new HashMap<>();

    static {
        meaningless("`credentials`", "credentialsProvider", "credentialsProviderClassName");
        meaningless(
                "not needed; the pool looks at the socket, or asks by an empty query",
                "connectionTestQuery",
                "validationTimeout",
                "isolateInternalQueries");
        meaningless("none; the first connection starts the pool, and a failure is thrown", "initializationFailTimeout");
        meaningless("none; `Pool.suspend` always works", "allowPoolSuspension");
        meaningless(
                "none; the URL says it",
                "catalog",
                "driverClassName",
                "dataSource",
                "dataSourceClassName",
                "dataSourceJNDI");
        meaningless("none; the pool has its own threads", "threadFactory", "scheduledExecutor");
        meaningless("none; SQLStates decide", "exceptionOverride", "exceptionOverrideClassName");
        meaningless(
                "`PoolMetrics`, `Pool.health`; see [Watching a pool](src/site/watching.md)",
                "metricRegistry",
                "metricsTrackerFactory",
                "healthCheckRegistry",
                "healthCheckProperties");
        for (Row<?> row : TABLE) NAMES.put(canonical(row.name), row);
        NAMES.put("url", JDBC_URL);
        NAMES.put("driverproperties", DATA_SOURCE_PROPERTIES);
    }

    private final Map<Row<?>, Given> values = new ConcurrentHashMap<>();

    // How the table is written

    private static void meaningless(String instead, String... names) {
        for (String name : names) MEANINGLESS.put(name, instead);
    }

    private static Kind<Integer> count(int least, int most) {
        return new Kind<>(
                "a number",
                bounds(least, most, ""),
                "",
                text -> Integer.valueOf(text.strip()),
                number -> number >= least && number <= most);
    }

    private static Kind<Long> millis(long least, long most) {
        return new Kind<>(
                "a time such as 30s, PT30S or 30000",
                bounds(least, most, " ms"),
                " ms",
                Settings::millis,
                millis -> millis >= least && millis <= most);
    }

    /** Times with a value that has a meaning of its own. */
    private static Kind<Long> millisOr(long other, long least) {
        Kind<Long> times = millis(least, LONGEST);
        return new Kind<>(
                times.what,
                times.allowed,
                times.unit,
                times.reader,
                millis -> millis == other || times.isAllowed.test(millis));
    }

    private static <E extends Enum<E>> Kind<E> choice(Class<E> type) {
        E[] all = Objects.requireNonNull(type.getEnumConstants());
        return new Kind<>(
                "a " + type.getSimpleName(),
                "must be " + Stream.of(all).map(Enum::name).collect(Collectors.joining(", ")),
                null,
                text -> Arrays.stream(all)
                        .filter(each -> canonical(each.name()).equals(canonical(text.strip())))
                        .findAny()
                        .orElseThrow(IllegalArgumentException::new),
                each -> true);
    }

    /** An object, which has no text. */
    private static <T> Kind<T> code(String setter) {
        return new Kind<>("an object", "use " + setter, null, null, object -> true);
    }

    private static <T> Row<T> parameter(
            String name, String parameter, Kind<T> kind, @Nullable T byDefault, Function<T, @Nullable String> value) {
        return new Row<>(name, inPool(parameter), SAME, kind, byDefault, (builder, given) -> {
            String text = value.apply(given);
            if (text != null) builder.parameter(parameter, text);
        });
    }

    private static String inPool(String parameter) {
        return "parameter: \"" + parameter + '"';
    }

    private static <T> void ofTheBean(PoolConfig.Builder builder, T value) {}

    private static String bounds(long least, long most, String unit) {
        return "must be " + least + (most == Integer.MAX_VALUE ? " or more" : " to " + most + unit);
    }

    private static Duration unlessZero(long millis) {
        return millis == 0 ? UNLIMITED : Duration.ofMillis(millis);
    }

    // How text is read

    private static String canonical(String name) {
        return name.replaceAll("[-_]", "").toLowerCase(Locale.ROOT);
    }

    private static String level(String name) {
        return name.toUpperCase(Locale.ROOT).replaceFirst("^TRANSACTION_(?=[A-Z])", "");
    }

    private static Boolean flag(String text) {
        return switch (text.strip().toLowerCase(Locale.ROOT)) {
            case "true", "on", "yes", "1" -> true;
            case "false", "off", "no", "0" -> false;
            default -> throw new IllegalArgumentException();
        };
    }

    private static Long millis(String text) {
        Matcher time = TIME.matcher(text.strip());
        if (time.matches()) {
            String unit = Objects.requireNonNullElse(time.group(2), "ms").toLowerCase(Locale.ROOT);
            return Math.multiplyExact(Long.parseLong(time.group(1)), Objects.requireNonNull(MILLIS.get(unit)));
        }
        Duration duration = Duration.parse(text.strip());
        if (duration.toNanosPart() % 1_000_000 != 0) throw new ArithmeticException("a part of a millisecond");
        return duration.toMillis();
    }

    // The values

    /** The value of a row that always has one. */
    <T> T get(Row<T> row) {
        return Objects.requireNonNull(find(row));
    }

    /** The value of a row; null if it was not set and has no default. */
    @SuppressWarnings("unchecked") // put() takes values of the row's type only
    <T> @Nullable T find(Row<T> row) {
        Given given = values.get(row);
        return given == null ? row.byDefault : (T) given.value;
    }

    /** Sets a value, or with null the default. */
    <T> void put(Row<T> row, String name, @Nullable T value) {
        if (value == null) {
            values.remove(row);
            return;
        }
        row.kind.check(name, value);
        values.put(row, new Given(name, value));
    }

    /** Adds to the entries of a map. */
    void add(Row<Map<String, String>> row, String name, Map<String, String> added) {
        Map<String, String> all = new TreeMap<>(get(row));
        all.putAll(added);
        if (row == DATA_SOURCE_PROPERTIES) DriverProperties.check(Door.BEAN, name, all);
        put(row, name, Map.copyOf(all));
    }

    /** The row that a property given as text belongs to. Null if there is none. */
    private static @Nullable Row<?> row(String name) {
        int dot = name.indexOf('.');
        if (dot < 0) return NAMES.get(canonical(name));
        String map = canonical(name.substring(0, dot));
        Row<?> row = map.equals("datasource") ? DATA_SOURCE_PROPERTIES : NAMES.get(map); // dataSource.NAME: HikariCP's
        return row != null && row.byDefault instanceof Map ? row : null;
    }

    private static @Nullable String meaningless(String name) {
        String whole = canonical(name.replaceFirst("(?i)^(health.?check.?properties)\\..*", "$1"));
        return MEANINGLESS.keySet().stream()
                .filter(each -> canonical(each).equals(whole))
                .findAny()
                .orElse(null);
    }

    static boolean isKnown(String name) {
        return row(name) != null || meaningless(name) != null;
    }

    /**
     * Sets properties that are given as text. If one of them is bad, it sets none.
     *
     * @return the line of the log about properties that have no meaning; null if there are none
     */
    @Nullable
    String configure(Map<String, String> properties) {
        var read = new Settings();
        read.values.putAll(values);
        Map<Row<?>, String> names = new HashMap<>();
        Map<Row<Map<String, String>>, Map<String, String>> maps = new HashMap<>();
        Map<String, String> meaningless = new TreeMap<>();
        new TreeMap<>(properties).forEach((name, text) -> {
            Row<?> row = row(name);
            String hikari = row == null ? meaningless(name) : null;
            if (hikari != null) {
                meaningless.put(name, MEANINGLESS.getOrDefault(hikari, ""));
                return;
            }
            if (row == null) throw new IllegalArgumentException(name + ": unknown; " + advice(name));
            int dot = name.indexOf('.');
            String before = names.put(row, dot < 0 ? name : name.substring(0, dot));
            if (dot >= 0) {
                maps.computeIfAbsent(map(row), each -> new TreeMap<>()).put(name.substring(dot + 1), text);
                return;
            }
            if (before != null) throw new IllegalArgumentException(name + ": is the same as " + before);
            read.putText(row, name, text);
        });
        maps.forEach((row, added) -> read.add(row, names.getOrDefault(row, row.name), added));
        values.putAll(read.values);
        return meaningless.isEmpty() ? null : "properties of HikariCP have no meaning here: " + listed(meaningless);
    }

    private <T> void putText(Row<T> row, String name, String text) {
        put(row, name, row.kind.read(name, text));
    }

    @SuppressWarnings("unchecked") // a row of that kind has values of that type
    private static Row<Map<String, String>> map(Row<?> row) {
        return (Row<Map<String, String>>) row;
    }

    private static String listed(Map<String, String> meaningless) {
        return meaningless.entrySet().stream()
                .map(each -> each.getKey() + " (" + each.getValue().replaceAll("`|; see .*", "") + ")")
                .collect(Collectors.joining(", "));
    }

    private static String advice(String name) {
        if (DriverProperties.isDriverProperty(name))
            return "did you mean " + DATA_SOURCE_PROPERTIES.name + "." + name + "?";
        Map<String, String> meant = new TreeMap<>();
        MEANINGLESS.keySet().forEach(each -> meant.put(canonical(each), each));
        for (Row<?> row : TABLE) meant.put(canonical(row.inPool), row.name);
        NAMES.forEach((each, row) -> meant.put(each, row.name));
        meant.remove("");
        String nearest = DriverProperties.nearestOf(canonical(name), meant.keySet());
        return nearest == null ? "must be a property of NanoDataSource" : "did you mean " + meant.get(nearest) + "?";
    }

    // What the pool gets

    /** Makes a configuration, whose refusals name the properties as the user has written them. */
    PoolConfig config() {
        String url = find(JDBC_URL);
        if (url == null) throw new IllegalArgumentException("jdbcUrl: is not set");
        try {
            PoolConfig.Builder builder = PoolConfig.builder(url);
            String user = find(USERNAME);
            String secret = find(PASSWORD);
            if (user != null || secret != null) {
                Credentials fixed = credentials(ConnectionUrl.parse(url, get(DATA_SOURCE_PROPERTIES)), user, secret);
                builder.credentials(() -> fixed);
            }
            for (Row<?> row : TABLE) apply(row, builder);
            return builder.buildQuietly();
        } catch (IllegalArgumentException e) {
            throw new IllegalArgumentException(translated(String.valueOf(e.getMessage())), e);
        }
    }

    /** What was not set has the default of {@link PoolConfig}, which may depend on other settings. */
    private <T> void apply(Row<T> row, PoolConfig.Builder builder) {
        if (!values.containsKey(row)) return;
        for (String name : get(PARAMETERS).keySet()) {
            if (row.inPool.equalsIgnoreCase(inPool(name))) {
                throw new IllegalArgumentException(
                        row.inPool + ": contradicts " + PARAMETERS.name + "." + name + "; leave one of them out");
            }
        }
        row.action.accept(builder, get(row));
    }

    private static Credentials credentials(ConnectionUrl url, @Nullable String user, @Nullable String secret) {
        String login = user != null ? user : url.user;
        String password = secret != null ? secret : url.password;
        return new Credentials(
                login != null ? login : System.getProperty("user.name", "postgres"), password != null ? password : "");
    }

    /** The message with the user's name of the property before it, instead of the builder's. */
    private String translated(String message) {
        for (Row<?> row : TABLE) {
            Given given = values.get(row);
            int end = row.inPool.length();
            if (given == null || end == 0 || end >= message.length() || !message.startsWith(row.inPool)) continue;
            if (message.charAt(end) == ':') return given.name + message.substring(end);
            if (message.charAt(end) == ' ') return given.name + ":" + message.substring(end);
        }
        return message;
    }
}
