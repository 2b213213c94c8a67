package dev.nanopool;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatNullPointerException;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.function.UnaryOperator;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.EnumSource.Mode;
import org.junit.jupiter.params.provider.ValueSource;

class PoolConfigTest {
    private static final String URL = "postgresql://app:s3cret@localhost/app";

    private static PoolConfig.Builder builder() {
        return PoolConfig.builder(URL);
    }

    private static String refusal(ThrowingCallable call) {
        return String.valueOf(
                catchThrowableOfType(IllegalArgumentException.class, call).getMessage());
    }

    // The defaults are those that the components' documentation promises.
    @Test
    void defaultsMustBeAsDocumented() {
        PoolConfig config = builder().build();
        assertThat(config.tls).isEqualTo(TlsMode.PREFER);
        assertThat(config.size).isEqualTo(10);
        assertThat(config.minIdle).isEqualTo(10);
        assertThat(config.acquireTimeout).isEqualTo(Duration.ofSeconds(5));
        assertThat(config.outagePatience).isEqualTo(Duration.ofSeconds(5));
        assertThat(config.cancelPatience).isEqualTo(Duration.ofSeconds(5));
        assertThat(config.maxWaiters).isEqualTo(Integer.MAX_VALUE);
        assertThat(config.connectTimeout).isEqualTo(Duration.ofSeconds(10));
        assertThat(config.connectParallelism).isEqualTo(4);
        assertThat(config.maxLifetime).isEqualTo(Duration.ofMinutes(30));
        assertThat(config.name).matches("nanopool-\\d+");
        assertThat(config.credentials.get()).isEqualTo(new Credentials("app", "s3cret"));
        assertThat(config.initSql).isNull();
    }

    // Some defaults follow from other values.
    @Test
    void defaultsMustFollowTheSizeAndTheUrl() {
        PoolConfig small = builder().size(2).build();
        assertThat(small.minIdle).isEqualTo(2);
        assertThat(builder().acquireTimeout(Duration.ofSeconds(7)).build().outagePatience)
                .isEqualTo(Duration.ofSeconds(7));
        assertThat(small.connectParallelism).isEqualTo(2);
        assertThat(PoolConfig.builder(URL + "?connect_timeout=3").build().connectTimeout)
                .isEqualTo(Duration.ofSeconds(3));
        assertThat(PoolConfig.builder(URL + "?connect_timeout=0").build().connectTimeout)
                .isEqualTo(Duration.ofSeconds(10));
        assertThat(PoolConfig.builder(URL + "?connect_timeout=3")
                        .connectTimeout(Duration.ofSeconds(4))
                        .build()
                        .connectTimeout)
                .isEqualTo(Duration.ofSeconds(4));
        assertThat(PoolConfig.builder("postgresql://h").build().credentials.get())
                .isEqualTo(new Credentials(System.getProperty("user.name"), ""));
    }

    // A number out of bounds is refused with the component, the value and the bound; the bounds themselves are allowed.
    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            # component         | least | most       | said
            size                | 1     | 10000      | must be 1 to 10000
            minIdle             | 0     | 20         | must be 0 to 20
            connectParallelism  | 1     | 20         | must be 1 to 20
            maxWaiters          | 0     | 2147483647 | must be 0 or more
            """)
    void numberMustBeWithinItsBounds(String component, int least, int most, String said) {
        assertThat(number(component, least)).isEqualTo(least);
        assertThat(number(component, most)).isEqualTo(most);
        for (int bad : new int[] {least - 1, Integer.MIN_VALUE, most == Integer.MAX_VALUE ? -7 : most + 1}) {
            assertThat(refusal(() -> number(component, bad)))
                    .isEqualTo(component + ": " + bad + " is out of bounds; " + said);
        }
    }

    private static int number(String component, int value) {
        PoolConfig.Builder builder = builder().size(20);
        return switch (component) {
            case "size" -> builder.size(value).build().size;
            case "minIdle" -> builder.minIdle(value).build().minIdle;
            case "connectParallelism" -> builder.connectParallelism(value).build().connectParallelism;
            case "maxWaiters" -> builder.maxWaiters(value).build().maxWaiters;
            default -> throw new AssertionError(component);
        };
    }

    // A duration out of bounds is refused with the component, the value and the bound; the bounds themselves are
    // allowed.
    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            # component    | least
            acquireTimeout | PT0S
            outagePatience | PT0S
            cancelPatience | PT0S
            connectTimeout | PT0.1S
            maxLifetime    | PT1S
            idleTimeout    | PT1S
            keepalive      | PT1S
            leakThreshold  | PT1S
            """)
    void durationMustBeWithinItsBounds(String component, Duration least) {
        Duration most = Duration.ofDays(365);
        assertThat(duration(component, least)).isEqualTo(least);
        assertThat(duration(component, most)).isEqualTo(most);
        boolean isOptional = component.equals("keepalive") || component.equals("leakThreshold");
        if (isOptional) assertThat(duration(component, Duration.ZERO)).isZero();
        for (Duration bad : new Duration[] {
            least.minusNanos(1),
            most.plusNanos(1),
            Duration.ofSeconds(Long.MIN_VALUE),
            Duration.ofSeconds(Long.MAX_VALUE)
        }) {
            assertThat(refusal(() -> duration(component, bad)))
                    .isEqualTo(component + ": " + bad + " is out of bounds; must be " + least + " to PT8760H");
        }
    }

    private static Duration duration(String component, Duration value) {
        return switch (component) {
            case "acquireTimeout" -> builder().acquireTimeout(value).build().acquireTimeout;
            case "outagePatience" -> builder().outagePatience(value).build().outagePatience;
            case "cancelPatience" -> builder().cancelPatience(value).build().cancelPatience;
            case "connectTimeout" -> builder().connectTimeout(value).build().connectTimeout;
            case "maxLifetime" -> builder().maxLifetime(value).build().maxLifetime;
            case "idleTimeout" -> builder().idleTimeout(value).build().idleTimeout;
            case "keepalive" -> builder().keepalive(value).build().keepalive;
            case "leakThreshold" -> builder().leakThreshold(value).build().leakThreshold;
            default -> throw new AssertionError(component);
        };
    }

    // A missing value is refused where it is given, by name.
    @Test
    void nullMustBeRefusedByName() {
        assertThatNullPointerException()
                .isThrownBy(() -> PoolConfig.builder(none()))
                .withMessage("url");
        assertThatNullPointerException().isThrownBy(() -> builder().tls(none())).withMessage("tls");
        assertThatNullPointerException()
                .isThrownBy(() -> builder().credentials(none()))
                .withMessage("credentials");
        assertThatNullPointerException()
                .isThrownBy(() -> builder().connectTimeout(none()))
                .withMessage("connectTimeout");
    }

    @SuppressWarnings({"NullAway", "TypeParameterUnusedInFormals"})
    private static <T> T none() {
        return null;
    }

    @Test
    void nameMustNotBeBlank() {
        assertThat(refusal(() -> builder().name(" \t"))).isEqualTo("name: must not be blank");
    }

    // A server parameter's name goes into the startup packet as it is.
    @ParameterizedTest
    @ValueSource(strings = {"", "a b", "a=b", "-c", "1a", "a\\b", "a;b"})
    void serverParameterMustHaveAName(String name) {
        assertThat(refusal(() -> builder().parameter(name, "x")))
                .isEqualTo("parameter: \"" + name
                        + "\" is not a name of a server parameter; must be of letters, digits, '_' and '.'");
    }

    // The driver sends these at login itself, and the server lets it win.
    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            TimeZone           | is set by the driver: it is the JVM's; change that, or use initSql
            DATESTYLE          | is set by the driver: it reads ISO only; leave it out
            client_encoding    | is set by the driver: it reads UTF8 only; leave it out
            extra_float_digits | is set by the driver: use initSql
            """)
    void serverParameterOfTheDriverMustBeRefused(String name, String said) {
        assertThat(refusal(() -> builder().parameter(name, "x").build()))
                .isEqualTo("parameter: \"" + name + "\" " + said);
    }

    // A session that a transaction pooler lends to others is not the pool's to change.
    @Test
    void settingsThatNeedASessionMustBeRefusedBehindATransactionPooler() {
        Map<UnaryOperator<PoolConfig.Builder>, String> refused = Map.of(
                builder -> builder.resetMode(ResetMode.ALWAYS), "resetMode: ALWAYS resets a session",
                builder -> builder.initSql("SET work_mem = '1MB'"), "initSql: changes a session",
                builder -> builder.driverProperty("readOnlyMode", "always"), "readOnlyMode: always sets it");
        refused.forEach((setting, said) -> {
            assertThat(refusal(() ->
                            setting.apply(builder().pooler(Pooler.TRANSACTION)).build()))
                    .startsWith(said)
                    .endsWith(" (pooler TRANSACTION)");
            setting.apply(builder().pooler(Pooler.SESSION)).build();
        });
        PoolConfig config =
                builder().pooler(Pooler.TRANSACTION).initSql("SELECT 1").build();
        assertThat(config.keepalive).isZero();
        assertThat(config.resetMode).isEqualTo(ResetMode.NONE);
        Duration minute = Duration.ofMinutes(1);
        assertThat(builder().pooler(Pooler.TRANSACTION).keepalive(minute).build().keepalive)
                .isEqualTo(minute);
        assertThat(builder().pooler(Pooler.SESSION).build().keepalive).isEqualTo(Duration.ofMinutes(2));
    }

    @Test
    void searchPathMustNotBeGivenTwice() {
        for (PoolConfig.Builder twice : List.of(
                PoolConfig.builder(URL + "?currentSchema=a").parameter("search_path", "b"),
                builder().driverProperty("currentSchema", "a").parameter("search_path", "b"))) {
            assertThat(refusal(twice::build)).startsWith("parameter: \"search_path\" contradicts currentSchema");
        }
        assertThat(builder().parameter("search_path", "b").build().parameters).containsEntry("search_path", "b");
    }

    // A mistyped property would be ignored by the driver, and one that the pool sets would be lost.
    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            prepareTreshold | is not a property of the driver; did you mean prepareThreshold?
            bogus           | is not a property of the driver; must be one of pgJDBC's, case included
            SSLMODE         | is set by the pool; use tls
            serverName      | is set by the pool; use the URL
            user            | is set by the pool; use credentials
            password        | is set by the pool; use credentials
            ssl             | is set by the pool; use tls
            sslmode         | is set by the pool; use tls
            connectTimeout  | is set by the pool; use connectTimeout
            loginTimeout    | is set by the pool; use connectTimeout
            PGHOST          | is set by the pool; use the URL
            PGPORT          | is set by the pool; use the URL
            PGDBNAME        | is set by the pool; use the URL
            """)
    void driverPropertyMustBeRefusedByNameIfItWouldHaveNoEffect(String property, String said) {
        assertThat(refusal(() -> builder().driverProperty(property, "s3cret").build()))
                .isEqualTo("driverProperty: \"" + property + "\" " + said);
    }

    // tls and the URL's sslmode may both be given, but not disagree. The message names both.
    @ParameterizedTest
    @EnumSource
    void tlsMustNotContradictTheUrl(TlsMode mode) {
        for (TlsMode inUrl : TlsMode.values()) {
            PoolConfig.Builder builder =
                    PoolConfig.builder(URL + "?sslmode=" + inUrl.sslmode()).tls(mode);
            if (mode == inUrl) {
                assertThat(builder.build().tls).isEqualTo(mode);
            } else {
                assertThat(refusal(builder::build))
                        .isEqualTo("tls: " + mode + " contradicts sslmode=" + inUrl.sslmode() + " (" + inUrl
                                + ") in the URL; leave one of them out");
            }
        }
        assertThat(PoolConfig.builder(URL + "?sslmode=" + mode.sslmode()).build().tls)
                .isEqualTo(mode);
        assertThat(builder().tls(mode).build().tls).isEqualTo(mode);
    }

    // Roots that no part of the driver would look at are refused, from the URL or as a property, also beside a factory
    // of the user's own.
    @Test
    void rootsMustBeRefusedWhereTheyAreNotLookedAt() {
        for (TlsMode mode : TlsMode.values()) {
            UnaryOperator<PoolConfig.Builder> property = builder -> builder.driverProperty("sslrootcert", "ca.crt");
            PoolConfig.Builder both = property.apply(builder().tls(mode));
            PoolConfig.Builder inUrl =
                    PoolConfig.builder(URL + "?sslrootcert=ca.crt").tls(mode);
            if (mode == TlsMode.VERIFY_CA || mode == TlsMode.VERIFY_IDENTITY) {
                assertThat(both.build().tls).isEqualTo(inUrl.build().tls);
                assertThat(refusal(() ->
                                inUrl.driverProperty("sslfactory", "x.Factory").build()))
                        .contains("sslrootcert", "sslfactory x.Factory");
            } else {
                assertThat(refusal(both::build)).contains("sslrootcert", mode.name(), "VERIFY_IDENTITY");
                assertThat(refusal(inUrl::build)).contains("sslrootcert", mode.name(), "VERIFY_IDENTITY");
            }
        }
    }

    // A public authority signs for every applicant, so its signature proves nothing without the name.
    @ParameterizedTest
    @EnumSource(mode = Mode.EXCLUDE, names = "VERIFY_IDENTITY")
    void systemRootsMustBeRefusedWithoutTheIdentity(TlsMode mode) {
        assertThat(refusal(() -> PoolConfig.builder(URL + "?sslrootcert=system")
                        .tls(mode)
                        .build()))
                .startsWith("sslrootcert: system wants tls VERIFY_IDENTITY, not " + mode + ",");
    }

    // The driver would fall back to plain text in silence, which libpq refuses as well.
    @ParameterizedTest
    @EnumSource
    void directNegotiationMustBeRefusedWithoutRequiredTls(TlsMode mode) {
        PoolConfig.Builder builder =
                PoolConfig.builder(URL + "?sslnegotiation=direct").tls(mode);
        if (mode == TlsMode.DISABLE || mode == TlsMode.PREFER) {
            assertThat(refusal(builder::build))
                    .isEqualTo("sslNegotiation: direct wants tls REQUIRE or stricter, not " + mode);
        } else {
            assertThat(builder.build().tls).isEqualTo(mode);
        }
    }

    // The driver's factory that trusts every server must not stand behind a mode that promises a check.
    @ParameterizedTest
    @EnumSource(names = {"VERIFY_CA", "VERIFY_IDENTITY"})
    void nonValidatingFactoryMustBeRefusedWhereCertificatesAreChecked(TlsMode mode) {
        assertThat(refusal(() -> builder()
                        .tls(mode)
                        .driverProperty("sslfactory", "org.postgresql.ssl.NonValidatingFactory")
                        .build()))
                .contains("sslfactory", "NonValidatingFactory", mode.name());
    }

    // What is printed in logs has neither the password nor the URL.
    @Test
    void toStringMustNotShowCredentials() {
        PoolConfig config = PoolConfig.builder("postgresql://app:s3cret@a:1,[::1]:2/db?sslmode=require")
                .name("orders")
                .size(3)
                .build();
        assertThat(config).hasToString("PoolConfig[name=orders, hosts=[a:1, [::1]:2], tls=REQUIRE, size=3]");
        assertThat(new Credentials("app", "s3cret")).hasToString("Credentials[user=app, password=***]");
    }

    // A builder used further does not change what it has built.
    @Test
    void configMustNotChangeWithItsBuilder() {
        PoolConfig.Builder builder = builder().parameter("statement_timeout", "1s");
        PoolConfig config = builder.build();
        builder.parameter("statement_timeout", "2s")
                .driverProperty("prepareThreshold", "1")
                .size(1);
        assertThat(config.parameters).containsExactlyEntriesOf(Map.of("statement_timeout", "1s"));
        assertThat(config.driverProperties).isEmpty();
        assertThat(config.size).isEqualTo(10);
    }
}
