package dev.nanopool;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import dev.nanopool.testkit.Canary;
import java.lang.management.ManagementFactory;
import java.time.Duration;
import java.util.List;
import net.jqwik.api.Arbitraries;
import net.jqwik.api.Arbitrary;
import net.jqwik.api.Combinators;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.Provide;
import net.jqwik.api.Tag;
import net.jqwik.api.Tuple;
import org.jspecify.annotations.Nullable;
import org.postgresql.PGProperty;

/**
 * Random text from outside, made of parts that mean something to its reader and of parts that do not. The reader throws
 * only documented exceptions, and no message has a piece of a password in it. {@code junit-platform.properties} has the
 * number of inputs. A failure names its seed.
 */
@Tag("slow")
class FuzzTest {
    /** Reading any text takes less of a processor's time. */
    private static final Duration HANG = Duration.ofSeconds(2);

    private static long cpuNanos() {
        return ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime();
    }

    // URLs

    @Property
    void anyTextMustBeReadOrRefusedAsAUrl(@ForAll("urls") String url) {
        read(url);
    }

    // No exception repeats the password, even if the URL has it in a malformed form.
    @Property
    void messageMustHaveNoPieceOfThePassword(
            @ForAll("passwords") String password, @ForAll("withPasswords") String url) {
        Throwable thrown = read(url.replace("PASSWORD", password));
        for (Throwable cause = thrown; cause != null; cause = cause.getCause()) {
            assertThat(cause.toString()).doesNotContainIgnoringCase("hunter").doesNotContainIgnoringCase("sesame");
        }
    }

    private static @Nullable Throwable read(String url) {
        long start = cpuNanos();
        Throwable thrown =
                catchThrowable(() -> assertThat(PoolConfig.builder(url).build().toString())
                        .doesNotContainIgnoringCase("hunter")
                        .doesNotContainIgnoringCase("sesame"));
        if (thrown instanceof AssertionError error) throw error;
        if (thrown != null) assertThat(thrown).isInstanceOf(IllegalArgumentException.class);
        assertThat(cpuNanos() - start).as("nanoseconds").isLessThan(HANG.toNanos());
        assertThat(System.getProperty(Canary.SIGN))
                .as("a class that the URL names")
                .isNull();
        return thrown;
    }

    @Provide
    Arbitrary<String> urls() {
        Arbitrary<String> piece = Arbitraries.frequencyOf(
                Tuple.of(6, Arbitraries.of(PIECES)),
                Tuple.of(2, parameter()),
                Tuple.of(1, Arbitraries.strings().ofMaxLength(6)),
                Tuple.of(1, Arbitraries.strings().ascii().ofMaxLength(6)));
        Arbitrary<String> start =
                Arbitraries.of("postgresql://", "postgres://", "jdbc:postgresql://", "jdbc:postgresql:", "");
        return Combinators.combine(start, piece.list().ofMaxSize(20))
                .as((first, rest) -> first + String.join("", rest));
    }

    private static final List<String> PIECES = List.of(
            ":",
            ":",
            "@",
            "/",
            "/",
            "?",
            "?",
            "&",
            "&",
            "=",
            "=",
            "%",
            "%2",
            "%40",
            "%C3",
            "%00",
            "[",
            "]",
            "[::1]",
            ",",
            ";",
            "#",
            "+",
            " ",
            "\t",
            "\0",
            "user",
            "host",
            "localhost",
            "db",
            "5432",
            "99999",
            "-1",
            "true",
            "\uD83D");

    /** Any parameter, with a value that some parameter takes. */
    private static Arbitrary<String> parameter() {
        Arbitrary<String> names = Arbitraries.oneOf(
                Arbitraries.of(PGProperty.values()).map(PGProperty::getName),
                Arbitraries.of(
                        "sslmode",
                        "host",
                        "port",
                        "dbname",
                        "hostaddr",
                        "connect_timeout",
                        "target_session_attrs",
                        "load_balance_hosts",
                        "keepalives",
                        "client_encoding",
                        "requiressl",
                        "service",
                        "passfile"));
        Arbitrary<String> values = Arbitraries.of(
                "",
                "true",
                "require",
                "verify-full",
                "1",
                "0",
                "-1",
                "any",
                "a,b",
                "x",
                "system",
                "direct",
                Canary.NAME);
        return Combinators.combine(Arbitraries.of("?", "&", "&", "&"), names, values)
                .as((separator, name, value) -> separator + name + "=" + value);
    }

    /** Two words, and between them what means something in a URL. */
    @Provide
    Arbitrary<String> passwords() {
        Arbitrary<String> between = Arbitraries.oneOf(
                Arbitraries.of(PIECES),
                Arbitraries.strings().ascii().ofMaxLength(3),
                Arbitraries.of("%zz", "://", "&x=", "?a"));
        return Combinators.combine(between.list().ofMaxSize(3), between.list().ofMaxSize(3))
                .as((first, second) -> "hunter" + String.join("", first) + "sesame" + String.join("", second));
    }

    /** Where a password may stand. */
    @Provide
    Arbitrary<String> withPasswords() {
        Arbitrary<String> forms = Arbitraries.of(
                "postgresql://user:PASSWORD@host/db",
                "postgresql://user:PASSWORD@host:5433,host:99999/db?sslmode=require",
                "postgresql://:PASSWORD@[::1]/db",
                "postgresql://user:PASSWORD@",
                "postgres://host/db?user=user&password=PASSWORD",
                "postgres://host/db?password=PASSWORD&sslmode=require",
                "jdbc:postgresql://host/db?user=user&password=PASSWORD",
                "jdbc:postgresql://host/db?password=PASSWORD&user=user",
                "jdbc:postgresql://user:PASSWORD@host/db",
                "jdbc:postgresql:db?password=PASSWORD",
                "mysql://user:PASSWORD@host/db",
                "user:PASSWORD@host/db");
        Arbitrary<String> more = Arbitraries.of("", "", "", "&bogus=1", "?bogus=1", "&port=x", "&sslmode=none", "%");
        return Combinators.combine(forms, more).as(String::concat);
    }

    // Configurations

    @Property
    void anyValueMustBeTakenOrRefused(
            @ForAll int size,
            @ForAll int minIdle,
            @ForAll int maxWaiters,
            @ForAll int parallelism,
            @ForAll("durations") Duration timeout,
            @ForAll("durations") Duration lifetime,
            @ForAll("names") String name,
            @ForAll String value) {
        Throwable thrown = catchThrowable(() -> {
            var builder = PoolConfig.builder("postgresql://user:sesame@host/db");
            // One at a time, so that the first bad one does not hide the others.
            switch (Math.floorMod(size, 9)) {
                case 0 -> builder.size(size);
                case 1 -> builder.minIdle(minIdle);
                case 2 -> builder.maxWaiters(maxWaiters);
                case 3 -> builder.connectParallelism(parallelism);
                case 4 -> builder.acquireTimeout(timeout);
                case 5 -> builder.connectTimeout(timeout);
                case 6 -> builder.maxLifetime(lifetime);
                case 7 -> builder.parameter(name, value);
                default -> builder.driverProperty(name, value);
            }
            builder.build();
        });
        if (thrown == null) return;
        assertThat(thrown).isInstanceOf(IllegalArgumentException.class);
        assertThat(thrown.getMessage()).matches("(?s)[a-zA-Z]+: .*").doesNotContain("sesame");
    }

    @Provide
    Arbitrary<Duration> durations() {
        return Arbitraries.longs()
                .flatMap(seconds -> Arbitraries.integers()
                        .between(0, 999_999_999)
                        .map(nanos -> Duration.ofSeconds(seconds, nanos)));
    }

    @Provide
    Arbitrary<String> names() {
        return Arbitraries.oneOf(
                Arbitraries.strings().ofMaxLength(5),
                Arbitraries.of(PGProperty.values()).map(PGProperty::getName),
                Arbitraries.of("statement_timeout", "a.b", "application_name"));
    }
}
