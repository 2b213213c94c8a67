package dev.nanopool;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.postgresql.PGProperty;
import org.postgresql.util.DriverInfo;

/** Walks over all properties of the driver on the class path; the build does that with each version that it names. */
class DriverPropertiesTest {
    private static final String URL = "jdbc:postgresql://h/db";

    /** A value that each property takes, and that is not its default. */
    private static final String VALUE = "7";

    /** The doors through which a property comes; each gives the refusal, or null. */
    enum Entrance {
        LIBPQ,
        JDBC,
        BUILDER,
        ADDED,
        SET;

        @Nullable
        String refusal(String name, String value) {
            Throwable thrown = catchThrowable(() -> build(name, value));
            if (thrown != null) assertThat(thrown).isExactlyInstanceOf(IllegalArgumentException.class);
            return thrown == null ? null : thrown.getMessage();
        }

        PoolConfig build(String name, String value) {
            String query = "?" + name + "=" + URLEncoder.encode(value, StandardCharsets.UTF_8);
            var bean = new NanoDataSource();
            bean.setJdbcUrl(URL);
            return switch (this) {
                case LIBPQ -> PoolConfig.builder("postgresql://h/db" + query).buildQuietly();
                case JDBC -> PoolConfig.builder(URL + query).buildQuietly();
                case BUILDER ->
                    PoolConfig.builder(URL).driverProperty(name, value).buildQuietly();
                case ADDED -> {
                    bean.addDataSourceProperty(name, value);
                    yield bean.config();
                }
                case SET -> {
                    var properties = new Properties();
                    properties.setProperty(name, value);
                    bean.setDataSourceProperties(properties);
                    yield bean.config();
                }
            };
        }

        /** What the driver gets. */
        Map<String, String> passed(String name, String value) {
            PoolConfig config = build(name, value);
            Map<String, String> passed = new HashMap<>(config.url.properties);
            passed.putAll(config.driverProperties);
            return passed;
        }

        boolean isUrl() {
            return this == LIBPQ || this == JDBC;
        }
    }

    /** The properties that some door refuses. The URL refuses some because they name a class. */
    private static final Set<String> CLASSES = Set.of(
            "socketFactory",
            "socketFactoryArg",
            "sslfactory",
            "sslfactoryarg",
            "sslhostnameverifier",
            "sslpasswordcallback",
            "authenticationPluginClassName",
            "xmlFactoryFactory",
            "classLoaderStrategy",
            "connectExecutor",
            "connectExecutorArg");

    /** ... outside of the URL because the pool sets them itself. */
    private static final Set<String> OWN = Set.of(
            "user",
            "password",
            "ssl",
            "sslmode",
            "connectTimeout",
            "loginTimeout",
            "connectExecutor",
            "connectExecutorArg",
            "PGHOST",
            "PGPORT",
            "PGDBNAME");

    /** ... everywhere because they contradict the pool. */
    private static final Set<String> CONTRADICTIONS =
            Set.of("replication", "service", "logUnclosedConnections", "cleanupSavepoints");

    private static Stream<String> names() {
        return Arrays.stream(PGProperty.values()).map(PGProperty::getName);
    }

    /** The value that a property must have to be understood, where the driver or the pool reads it early. */
    private static String value(String name) {
        return switch (name) {
            case "ssl" -> "true";
            case "sslmode" -> "require";
            case "sslrootcert" -> "system";
            default -> VALUE;
        };
    }

    // Each door accepts every property of the driver except the named ones, and those keep their message.
    @ParameterizedTest
    @EnumSource
    void everyPropertyOfTheDriverMustBeAcceptedUnlessItContradictsThePool(Entrance entrance) {
        Map<String, String> wrong = new TreeMap<>();
        names().filter(name -> !name.equals("sslrootcert")).forEach(name -> {
            String refusal = entrance.refusal(name, value(name));
            if (!isExpected(entrance, name, refusal)) wrong.put(name, String.valueOf(refusal));
        });
        assertThat(wrong).isEmpty();
    }

    private static boolean isExpected(Entrance entrance, String name, @Nullable String refusal) {
        String expected = CONTRADICTIONS.contains(name)
                ? ": not supported: "
                : entrance.isUrl() && CLASSES.contains(name)
                        ? ": names a class"
                        : entrance.isUrl() || !OWN.contains(name)
                                ? null
                                : entrance == Entrance.BUILDER
                                        ? " is set by the pool; use "
                                        : " is not taken here; use ";
        if (refusal == null || expected == null) return refusal == null && expected == null;
        return refusal.contains('"' + name + '"' + expected) && !refusal.contains(VALUE);
    }

    // An accepted property reaches the driver, except those that the URL translates into settings of the pool.
    @ParameterizedTest
    @EnumSource
    void everyAcceptedPropertyMustReachTheDriver(Entrance entrance) {
        names().filter(name -> !OWN.contains(name) && !CONTRADICTIONS.contains(name))
                .filter(name -> !name.equals("sslrootcert"))
                .filter(name -> !entrance.isUrl() || !CLASSES.contains(name))
                .forEach(name -> assertThat(entrance.passed(name, value(name))).containsEntry(name, value(name)));
    }

    // With the driver's default a property changes nothing, so that each door accepts it; where another value would be
    // refused, the driver does not even get it.
    @ParameterizedTest
    @EnumSource
    void everyPropertyMustBeAcceptedWithItsDefault(Entrance entrance) {
        for (PGProperty property : PGProperty.values()) {
            String standard = property == PGProperty.REPLICATION ? "false" : property.getDefaultValue();
            if (standard == null) continue;
            String name = property.getName();
            assertThat(entrance.refusal(name, standard)).as(name).isNull();
            if (entrance.refusal(name, VALUE) != null) {
                assertThat(entrance.passed(name, standard)).as(name).doesNotContainKey(name);
            }
        }
    }

    // The driver itself understands each property that is passed on, so none was renamed in this version.
    @Test
    void namesOfTheTableMustBeTheDrivers() throws Exception {
        Set<String> names =
                Stream.of(CLASSES, OWN, CONTRADICTIONS).flatMap(Set::stream).collect(Collectors.toSet());
        // Older drivers lack them.
        if (!DriverInfo.DRIVER_VERSION.equals(driverVersion()))
            names.removeAll(Set.of("connectExecutor", "connectExecutorArg", "classLoaderStrategy"));
        assertThat(names().toList()).containsAll(names);
    }

    // Names that older drivers had, which every driver of today ignores.
    @ParameterizedTest
    @ValueSource(strings = {"loglevel", "charSet", "compatible"})
    void retiredPropertyMustBeAcceptedAndDropped(String name) {
        for (Entrance entrance : Entrance.values())
            assertThat(entrance.passed(name, "2")).isEmpty();
    }

    // One wrong letter in any name of the driver, near its begin, its middle and its end, of each kind, and the message
    // names the right one.
    @ParameterizedTest
    @MethodSource("names")
    void misspeltPropertyMustBeRefusedWithItsNearestNeighbour(String name) {
        for (int at : new int[] {1, name.length() / 2, name.length() - 1}) {
            String before = name.substring(0, at);
            String after = name.substring(at);
            // A letter that no name begins with leaves one nearest name, unless the name is short.
            for (String misspelt : List.of(before + "q" + after, before + "q" + after.substring(1))) {
                String nearest = DriverProperties.nearest(misspelt, Set.of());
                if (name.length() > 7) assertThat(nearest).as(misspelt).isEqualTo(name);
                else assertThat(nearest).as(misspelt).isNotNull();
            }
            String swapped = before.substring(0, at - 1) + after.charAt(0) + before.charAt(at - 1) + after.substring(1);
            for (String misspelt : List.of(before + after.substring(1), swapped)) {
                if (DriverProperties.isKnown(misspelt)) continue;
                assertThat(DriverProperties.nearest(misspelt, Set.of()))
                        .as(misspelt)
                        .isNotNull();
            }
        }
        for (Entrance entrance : Entrance.values()) {
            assertThat(entrance.refusal(name + "Q", VALUE)).matches("(?s).*\"" + name + "Q\".*did you mean \\w+\\?");
        }
        for (String otherCase : List.of(name.toLowerCase(Locale.ROOT), name.toUpperCase(Locale.ROOT))) {
            if (DriverProperties.isKnown(otherCase) || ConnectionUrl.OWN_NAMES.contains(otherCase)) continue;
            assertThat(Entrance.JDBC.refusal(otherCase, VALUE)).endsWith("did you mean " + name + "?");
        }
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            aplicationName  | ApplicationName
            applicationName | ApplicationName
            SSLMODE         | sslmode
            sslMode         | sslmode
            prepareTreshold | prepareThreshold
            conectTimout    | connectTimeout
            aplication_name | application_name
            targetsessionattrs | target_session_attrs
            """)
    void nearestNameMustBeTheOneThatWasMeant(String misspelt, String meant) {
        assertThat(Entrance.LIBPQ.refusal(misspelt, VALUE)).endsWith("unknown; did you mean " + meant + "?");
    }

    // A name that is like none gets no false advice.
    @ParameterizedTest
    @ValueSource(strings = {"bogus", "x", "", "connection_limit", "pgbouncer", "cloudSqlInstance", "azure.scopes"})
    void strangeNameMustBeRefusedWithoutAdvice(String name) {
        for (Entrance entrance : Entrance.values()) {
            assertThat(entrance.refusal(name, VALUE)).isNotNull().doesNotContain("did you mean");
        }
    }

    // Foreign code reads properties of its own, which the driver hands to it; a misspelt property is still one.
    @ParameterizedTest
    @ValueSource(strings = {"socketFactory", "sslfactory", "authenticationPluginClassName"})
    void strangeNameMustPassWhereForeignCodeMayReadIt(String property) {
        Map<String, String> strange = Map.of("cloudSqlInstance", "p:r:i", "azure.scopes", "s");
        var bean = new NanoDataSource();
        bean.setJdbcUrl(URL);
        bean.addDataSourceProperty(property, "com.example.Factory");
        PoolConfig.Builder builder = PoolConfig.builder(URL);
        strange.forEach(builder::driverProperty);
        strange.forEach(bean::addDataSourceProperty);
        builder.driverProperty(property, "com.example.Factory");
        assertThat(builder.build().driverProperties).containsAllEntriesOf(strange);
        assertThat(bean.config().driverProperties).containsAllEntriesOf(strange);
        assertThat(PoolConfig.builder(URL + "?cloudSqlInstance=x")
                        .driverProperty(property, "com.example.Factory")
                        .build()
                        .url
                        .properties)
                .containsEntry("cloudSqlInstance", "x");
        assertThat(catchThrowable(
                        () -> builder.driverProperty("prepareTreshold", "1").build()))
                .hasMessageEndingWith("did you mean prepareThreshold?");
        assertThat(catchThrowable(() -> PoolConfig.builder(URL)
                        .driverProperty(property, "org.postgresql.ssl.DefaultJavaSSLFactory")
                        .driverProperty("cloudSqlInstance", "x")
                        .build()))
                .hasMessageContaining("\"cloudSqlInstance\" is not a property of the driver");
    }

    // The driver loads a class for each of these if the program, and not the URL, names it.
    @Test
    void classOfATypeMustPassButNotFromTheUrl() {
        String name = "datatype.vector";
        for (Entrance entrance : Entrance.values()) {
            if (entrance.isUrl()) {
                assertThat(entrance.refusal(name, "com.example.Vector")).contains("\"" + name + "\": names a class");
            } else {
                assertThat(entrance.passed(name, "com.example.Vector")).containsEntry(name, "com.example.Vector");
            }
        }
    }

    // Recipes of other drivers

    private static Stream<String> recipes() {
        return OtherDrivers.counterparts().keySet().stream();
    }

    // A tuning property of another driver is accepted without effect; a protecting one only when it is off.
    @ParameterizedTest
    @MethodSource("recipes")
    void propertyOfAnotherDriverMustBeAcceptedAndDroppedUnlessItProtects(String name) {
        Set<String> protecting = Set.of("usessl", "requiressl", "verifyservercertificate", "encrypt");
        for (Entrance entrance : Entrance.values()) {
            boolean isLibpqs = entrance.isUrl() && name.equals("requiressl"); // with 0 and 1 only
            if (isLibpqs) continue;
            assertThat(entrance.passed(name, "false")).isEmpty();
            if (!protecting.contains(name))
                assertThat(entrance.passed(name, "true")).isEmpty();
        }
    }

    // What is to be used instead is a property of the driver, or the message says why there is none.
    @Test
    void counterpartMustBeAPropertyOfTheDriverOrAReason() {
        assertThat(OtherDrivers.counterparts().values())
                .allMatch(counterpart -> DriverProperties.isDriverProperty(counterpart) || counterpart.contains(" "));
        assertThat(OtherDrivers.counterparts().keySet()).noneMatch(DriverProperties::isDriverProperty);
    }

    @ParameterizedTest
    @CsvSource({
        "useSSL, sslmode=require",
        "requireSSL, sslmode=require",
        "verifyServerCertificate, sslmode=verify-full",
        "encrypt, sslmode=require"
    })
    void protectingPropertyOfAnotherDriverMustBeRefusedWithItsCounterpart(String name, String instead) {
        for (Entrance entrance : Entrance.values()) {
            assertThat(entrance.refusal(name, "TRUE")).contains("\"" + name + "\"", instead);
            assertThat(entrance.refusal(name, "false")).isNull();
        }
    }

    // One line tells of all, with the driver's own names.
    @Test
    void warningMustNameTheCounterparts() {
        assertThat(OtherDrivers.warning(List.of("prepareThreshold"))).isNull();
        assertThat(OtherDrivers.warning(List.of(
                        "rewriteBatchedStatements", "prepareThreshold", "cachePrepStmts", "useLocalSessionState")))
                .isEqualTo("properties of another driver have no effect:"
                        + " cachePrepStmts (pgJDBC has preparedStatementCacheQueries),"
                        + " rewriteBatchedStatements (pgJDBC has reWriteBatchedInserts),"
                        + " useLocalSessionState (not needed: the driver knows the session's state)");
    }

    // The driver on the class path is the one that this run is to try.
    @Test
    void driverMustBeTheNamedVersion() throws Exception {
        assertThat(System.getProperty("nanopool.driver.version", driverVersion()))
                .isEqualTo(driverVersion());
    }

    /** The compiler has copied the constant of the driver that it saw. */
    private static String driverVersion() throws Exception {
        return String.valueOf(DriverInfo.class.getField("DRIVER_VERSION").get(null));
    }
}
