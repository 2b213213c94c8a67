package dev.nanopool;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.zaxxer.hikari.HikariConfig;
import dev.nanopool.testkit.Log;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.function.Supplier;
import java.util.logging.Level;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

/** The bean, PoolConfig, HikariCP and README against the one table of the bean's properties. */
class SettingsTest {
    private static final String URL = "postgresql://alice:wonder@localhost/app";

    /** What the pool's message about a value of {@link #BEYOND} would call it, if the bean did not check it before. */
    private static final Map<Class<?>, List<Object>> BEYOND = Map.of(
            int.class,
            List.of(-2, Integer.MIN_VALUE),
            long.class,
            List.of(-2L, Duration.ofDays(366).toMillis()));

    /** Properties of the bean that the pool is configured with in another way, or not at all. */
    private static final Set<String> OF_THE_BEAN = Set.of("username", "password", "drain", "autoCommit");

    private final NanoDataSource dataSource = new NanoDataSource();

    SettingsTest() {
        dataSource.setJdbcUrl(URL);
    }

    static List<Settings.Row<?>> rows() {
        return List.copyOf(Settings.TABLE);
    }

    private static Method setter(String name) {
        String method = "set" + Character.toUpperCase(name.charAt(0)) + name.substring(1);
        return Stream.of(NanoDataSource.class.getMethods())
                .filter(each -> each.getName().equals(method))
                .findAny()
                .orElseThrow(() -> new AssertionError("no " + method));
    }

    private static Object got(NanoDataSource of, String name) throws Exception {
        Class<?> type = setter(name).getParameterTypes()[0];
        String method =
                (type == boolean.class ? "is" : "get") + setter(name).getName().substring(3);
        Method getter = NanoDataSource.class.getMethod(method);
        assertThat(getter.getReturnType()).isEqualTo(type);
        return getter.invoke(of);
    }

    private static void set(NanoDataSource of, String name, Object value) throws Throwable {
        try {
            setter(name).invoke(of, value);
        } catch (InvocationTargetException e) {
            throw e.getCause();
        }
    }

    private static String kebab(String name) {
        return name.replaceAll("([A-Z])", "-$1").toLowerCase(Locale.ROOT);
    }

    /** A value that is neither the default nor out of bounds, as text. Null for an object. */
    private static String sample(Class<?> type, String name) {
        if (type == int.class) return "1";
        if (type == long.class) return "7s";
        if (type == boolean.class) return name.equals("autoCommit") ? "off" : "on";
        if (type == TlsMode.class) return "verify-ca";
        if (type == ResetMode.class) return "Always";
        if (type == Pooler.class) return "session";
        if (name.equals("transactionIsolation")) return "SERIALIZABLE";
        if (name.equals("budget")) return "main:5";
        return name.equals("jdbcUrl") ? "postgresql://bob@elsewhere/app" : "a " + name;
    }

    // The table is whole

    @Test
    void eachMethodOfTheBuilderMustHaveARow() {
        Set<String> builder = Stream.of(PoolConfig.Builder.class.getDeclaredMethods())
                .filter(method -> Modifier.isPublic(method.getModifiers()))
                .map(Method::getName)
                .filter(name -> !name.equals("build"))
                .collect(Collectors.toSet());
        Set<String> inPool = Settings.TABLE.stream()
                .map(row -> row.inPool.replaceAll(":.*", ""))
                .collect(Collectors.toSet());
        assertThat(builder).hasSizeGreaterThan(20);
        builder.addAll(List.of("url", "")); // the way to the builder, and the bean's own
        assertThat(inPool).isEqualTo(builder);
        assertThat(Settings.TABLE)
                .filteredOn(row -> row.inPool.isEmpty())
                .extracting(row -> row.name)
                .containsExactlyInAnyOrderElementsOf(OF_THE_BEAN);
    }

    @Test
    void eachSetterOfTheBeanMustHaveARow() {
        Set<String> setters = setters(NanoDataSource.class);
        setters.remove("url"); // another name of jdbcUrl
        assertThat(Settings.TABLE.stream().map(row -> row.name)).containsExactlyInAnyOrderElementsOf(setters);
    }

    @Test
    void eachPropertyOfHikariCpMustHaveARowOrAReason() {
        Set<String> listed = new TreeSet<>(Settings.MEANINGLESS.keySet());
        Settings.TABLE.stream().filter(row -> !row.hikari.isEmpty()).forEach(row -> listed.add(row.name));
        assertThat(listed).isEqualTo(setters(HikariConfig.class));
        assertThat(Settings.TABLE.stream().filter(row -> row.hikari.isEmpty()).map(row -> row.name))
                .doesNotContainAnyElementsOf(setters(HikariConfig.class));
    }

    private static Set<String> setters(Class<?> type) {
        return Arrays.stream(type.getMethods())
                .filter(method -> method.getName().matches("set[A-Z]\\w*") && method.getParameterCount() == 1)
                .filter(method -> !Set.of("setLogWriter", "setLoginTimeout").contains(method.getName()))
                .map(method -> Character.toLowerCase(method.getName().charAt(3))
                        + method.getName().substring(4))
                .collect(Collectors.toCollection(TreeSet::new));
    }

    // Each row

    // What the getters show is what PoolConfig does without a value.
    @Test
    void eachDefaultMustBeThatOfPoolConfig() throws Throwable {
        for (Settings.Row<?> row : Settings.TABLE) {
            Object shown = got(dataSource, row.name);
            if (shown == null || row == Settings.JDBC_URL) continue;
            assertThat(shown.toString()).as(row.name).isEqualTo(row.defaultText());
            set(dataSource, row.name, shown);
        }
        assertThat(dataSource.config())
                .usingRecursiveComparison()
                .ignoringFields("name", "url", "credentials", "listener")
                .isEqualTo(PoolConfig.builder(URL).build());
        assertThat(Duration.ofMillis(dataSource.getDrain())).isEqualTo(Duration.ofSeconds(5)); // as Pool.close() says
    }

    @ParameterizedTest
    @MethodSource("rows")
    void configureMustSetEachProperty(Settings.Row<?> row) throws Throwable {
        Class<?> type = setter(row.name).getParameterTypes()[0];
        for (String written : List.of(
                row.name, kebab(row.name), kebab(row.name).replace('-', '_').toUpperCase(Locale.ROOT))) {
            var fresh = new NanoDataSource();
            assertThat(NanoDataSource.isProperty(written)).isTrue();
            boolean isMap = type == Map.class || type == Properties.class;
            if (isMap || type.isInterface()) {
                refused(() -> fresh.configure(Map.of(written, "x")), written + ": \"x\" is not ", "; ");
                if (!isMap) continue;
                fresh.configure(Map.of(written + ".ApplicationName", "A b", written + ".options", "c"));
                assertThat(got(fresh, row.name)).isEqualTo(Map.of("ApplicationName", "A b", "options", "c"));
                assertThat(NanoDataSource.isProperty(written + ".any.name")).isTrue();
            } else {
                Object before = got(fresh, row.name);
                fresh.configure(Map.of(written, sample(type, row.name)));
                Object after = got(fresh, row.name);
                assertThat(after).isNotEqualTo(before);
                var bySetter = new NanoDataSource();
                set(bySetter, row.name, Objects.requireNonNull(after));
                assertThat(got(bySetter, row.name)).isEqualTo(after);
                assertThat(NanoDataSource.isProperty(written + ".x")).isFalse();
                fresh.setJdbcUrl(URL);
                bySetter.setJdbcUrl(URL);
                bySetter.setPoolName("a poolName");
                fresh.setPoolName("a poolName");
                assertThat(fresh.config())
                        .usingRecursiveComparison()
                        .ignoringFields("credentials")
                        .isEqualTo(bySetter.config());
            }
        }
    }

    // The bean's setter and its property as text check the same, and both name the property as the user wrote it.
    @ParameterizedTest
    @MethodSource("rows")
    void badValueMustBeRefusedByTheNameThatTheUserWrote(Settings.Row<?> row) {
        Class<?> type = setter(row.name).getParameterTypes()[0];
        for (Object value : BEYOND.getOrDefault(type, List.of())) {
            String allowed = " is out of bounds; must be ";
            refused(() -> set(dataSource, row.name, value), row.name + ": " + value, allowed);
            refused(
                    () -> dataSource.configure(Map.of(kebab(row.name), value.toString())),
                    kebab(row.name) + ": " + value,
                    allowed);
        }
        if (type == String.class && row != Settings.TRANSACTION_ISOLATION) return; // any text is good
        refused(
                () -> dataSource.configure(Map.of(kebab(row.name), "seven")),
                kebab(row.name) + ": \"seven\" is not a",
                "; ");
    }

    private static void refused(ThrowingCallable call, String begin, String part) {
        assertThatThrownBy(call)
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageStartingWith(begin)
                .hasMessageContaining(part);
    }

    // What only the start of the pool can see has the user's name, too.
    @Test
    void startMustNameThePropertyThatTheUserWrote() {
        Map<Map<String, String>, String> refusals = Map.of(
                Map.of("minimum-idle", "11"), "minimum-idle: 11 is out of bounds; must be 0 to 10",
                Map.of("minimumIdle", "11"), "minimumIdle: 11 is out of bounds; must be 0 to 10",
                Map.of("connect_parallelism", "11"), "connect_parallelism: 11 is out of bounds; must be 1 to 10",
                Map.of("pool-name", " "), "pool-name: must not be blank",
                Map.of("url", "http://x"), "url: ",
                Map.of("jdbc-url", "http://x"), "jdbc-url: ",
                Map.of("url", URL + "?sslmode=disable", "TLS_MODE", "require"), "TLS_MODE: REQUIRE contradicts sslmode",
                Map.of("schema", "a", "url", URL + "?currentSchema=b"), "schema: contradicts currentSchema in the URL",
                Map.of("read-only", "true", "parameters.default_transaction_read_only", "on"),
                        "read-only: contradicts parameters.default_transaction_read_only; leave one of them out",
                Map.of("parameters.a-b", "c"), "parameters: \"a-b\" is not a name of a server parameter");
        refusals.forEach((properties, message) -> {
            var bean = new NanoDataSource();
            bean.setJdbcUrl(URL);
            bean.configure(properties);
            refused(bean::config, message, "");
        });
        dataSource.setMinimumIdle(11);
        refused(dataSource::config, "minimumIdle: 11 is out of bounds; must be 0 to 10", "");
        dataSource.configure(Map.of("minimum-idle", "12"));
        refused(dataSource::config, "minimum-idle: 12 is", "");
    }

    // A default that depends on another setting is PoolConfig's business.
    @Test
    void keepaliveMustFollowThePoolerUnlessGiven() {
        dataSource.setPooler(Pooler.TRANSACTION);
        assertThat(dataSource.config().keepalive).isZero();
        dataSource.setKeepaliveTime(120_000);
        assertThat(dataSource.config().keepalive).isEqualTo(Duration.ofMinutes(2));
    }

    // Text

    @ParameterizedTest
    @CsvSource({
        "30s, 30000",
        "30S, 30000",
        "500ms, 500",
        "5m, 300000",
        "1h, 3600000",
        "1d, 86400000",
        "PT30S, 30000",
        "pt1m, 60000",
        "PT0.5S, 500",
        "1234, 1234",
        "' 7 s ', 7000",
        "0, 0"
    })
    void timeMustBeRead(String text, long millis) {
        dataSource.configure(Map.of("connection-timeout", text));
        assertThat(dataSource.getConnectionTimeout()).isEqualTo(millis);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {"", "s", "1.5s", "5 minutes", "PT", "PT0.0005S", "9223372036854775807d", "99999999999999999999"})
    void badTimeMustBeRefused(String text) {
        refused(
                () -> dataSource.configure(Map.of("connection-timeout", text)),
                "connection-timeout: \"" + text + "\" is not a time such as 30s, PT30S or 30000; must be 0 to",
                "31536000000 ms");
    }

    @ParameterizedTest
    @CsvSource({
        "maximumPoolSze, maximumPoolSize",
        "max-lifetme, maxLifetime",
        "size, maximumPoolSize",
        "min-idle, minimumIdle",
        "acquireTimeout, connectionTimeout",
        "initSql, connectionInitSql",
        "prepareThreshold, dataSourceProperties.prepareThreshold",
        "connectionTestQery, connectionTestQuery",
    })
    void unknownNameMustBeRefusedWithTheNearest(String name, String nearest) {
        assertThat(NanoDataSource.isProperty(name)).isFalse();
        refused(
                () -> dataSource.configure(Map.of(name, "secret")),
                name + ": unknown; did you mean " + nearest + "?",
                "");
    }

    @Test
    void unknownNameMustBeRefusedWithoutANearest() {
        for (String name : List.of("", ".", "foo.bar", "quite-another-thing")) {
            refused(() -> dataSource.configure(Map.of(name, "secret")), name + ": unknown; ", "NanoDataSource");
        }
    }

    @Test
    void refusalMustLeaveEverythingAsItWas() {
        List<Map<String, String>> bad = List.of(
                Map.of("maximum-pool-size", "7", "zzz", "1"),
                Map.of("maximum-pool-size", "7", "maximumPoolSize", "7"),
                Map.of("jdbcUrl", "a", "url", "b"),
                Map.of("maximum-pool-size", "7", "data-source-properties.prepareTreshold", "1"));
        for (Map<String, String> each : bad) {
            assertThatThrownBy(() -> dataSource.configure(each)).isInstanceOf(IllegalArgumentException.class);
            assertThat(dataSource.getMaximumPoolSize()).isEqualTo(10);
            assertThat(dataSource.getJdbcUrl()).isEqualTo(URL);
        }
        refused(() -> dataSource.configure(bad.get(1)), "maximumPoolSize: is the same as maximum-pool-size", "");
        refused(
                () -> dataSource.configure(bad.get(3)),
                "data-source-properties: \"prepareTreshold\" is not a property of the driver;",
                "did you mean prepareThreshold?");
    }

    // HikariCP's dataSource.NAME, and both names of the map, add to each other.
    @Test
    void mapsMustTakeTheirEntriesUnderEachName() {
        dataSource.addDataSourceProperty("prepareThreshold", 3);
        dataSource.configure(Map.of(
                "dataSource.options", "-c geqo=off",
                "driver-properties.datatype.box", "org.postgresql.geometric.PGbox",
                "parameters.app.tenant", "7"));
        assertThat(dataSource.getDataSourceProperties())
                .containsOnlyKeys("prepareThreshold", "options", "datatype.box");
        assertThat(dataSource.config().parameters).isEqualTo(Map.of("app.tenant", "7"));
    }

    // One line for all of them, with what to use instead.
    @Test
    void propertiesWithoutMeaningMustBeWarnedOfOnce() {
        Map<String, String> properties = new TreeMap<>();
        Settings.MEANINGLESS.keySet().forEach(name -> properties.put(kebab(name), "org.example.Secret"));
        properties.put("healthCheckProperties.expected99thPercentileMs", "10");
        properties.put("maximum-pool-size", "3");
        Log log = Log.of(Level.WARNING);
        try (log) {
            dataSource.configure(properties);
        }
        assertThat(log.lines()).singleElement().satisfies(line -> {
            for (String name : properties.keySet()) {
                assertThat(NanoDataSource.isProperty(name)).isTrue();
                assertThat(line.contains(name)).as(name).isEqualTo(!name.equals("maximum-pool-size"));
            }
            assertThat(line)
                    .startsWith("nanopool: properties of HikariCP have no meaning here: ")
                    .contains(
                            "connection-test-query (not needed; the pool looks at the socket, or asks by an empty query)")
                    .contains("credentials-provider-class-name (credentials)")
                    .doesNotContain("Secret", "`");
        });
        assertThat(dataSource.getMaximumPoolSize()).isEqualTo(3);
    }

    // No message has a secret.
    @Test
    void passwordMustNotStandInAMessage() {
        dataSource.configure(Map.of("password", "land", "username", "bob"));
        assertThat(dataSource.getPassword()).isEqualTo("land");
        assertThatThrownBy(() -> dataSource.configure(Map.of("password", "hidden", "PASSWORD", "hidden")))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageNotContaining("hidden");
        assertThatThrownBy(() -> dataSource.configure(Map.of("driverProperties.password", "hidden")))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("driverProperties: \"password\" is not taken here; use password");
    }

    // Objects

    @Test
    void credentialsSupplierMustWinAndAnswerAnew() {
        List<String> tokens = new ArrayList<>(List.of("first", "second"));
        Supplier<Credentials> supplier = () -> new Credentials("carol", tokens.remove(0));
        dataSource.setUsername("bob");
        dataSource.setCredentials(supplier);
        PoolConfig config = dataSource.config();
        assertThat(config.credentials).isSameAs(supplier);
        assertThat(config.credentials.get().password()).isEqualTo("first");
        assertThat(config.credentials.get().password()).isEqualTo("second");
    }

    @Test
    void nullMustMeanTheDefault() {
        var listener = new PoolListener() {};
        dataSource.setListener(listener);
        assertThat(dataSource.config().listener).isSameAs(listener);
        dataSource.setListener(null);
        dataSource.setResetMode(ResetMode.NONE);
        dataSource.setResetMode(null);
        dataSource.setCredentials(null);
        assertThat(dataSource.getResetMode()).isEqualTo(ResetMode.TRACKED);
        assertThat(dataSource.getListener()).isNull();
        assertThat(dataSource.config().credentials.get()).isEqualTo(new Credentials("alice", "wonder"));
    }
}
