package dev.nanopool.sql;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.management.ManagementFactory;
import java.sql.SQLException;
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
import org.postgresql.core.Parser;
import org.postgresql.jdbc.EscapeSyntaxCallMode;

/**
 * Random SQL text, made of words and characters that mean something to the classification and of others. {@code
 * junit-platform.properties} has the number of inputs. A failure names its seed.
 */
@Tag("slow")
class SqlTextFuzzTest {
    /** The classification of any text takes less. */
    private static final Duration HANG = Duration.ofSeconds(2);

    @Property
    void anySqlTextMustBeJudged(@ForAll("sql") String sql, @ForAll boolean callIsSelect) {
        long start = cpuNanos();
        int changes = SqlText.classify(sql, callIsSelect);
        assertThat(cpuNanos() - start).as("nanoseconds").isLessThan(HANG.toNanos());
        assertThat(new SqlText(callIsSelect).changes(sql)).isEqualTo(changes);
    }

    // The reader finds a statement behind every other statement that is properly ended.
    @Property
    void changeMustBeFoundBehindAnyStatement(@ForAll("whole") String sql) {
        assertThat(SqlText.classify(sql + "; SET work_mem = 1", true) & Change.SETTINGS.bit())
                .isNotZero();
        assertThat(SqlText.classify(sql + "; LISTEN x", true) & Change.LISTEN.bit())
                .isNotZero();
    }

    // The text that the driver sends changes no more than the text that it was given, or that one may change anything.
    @Property
    void textThatTheDriverSendsMustBeTheOneThatWasClassified(
            @ForAll("escaped") String sql, @ForAll boolean callIsSelect, @ForAll boolean isCall) {
        int changes = SqlText.classify(sql, callIsSelect);
        String sent;
        try {
            sent = Parser.replaceProcessing(sql, true, true);
            if (isCall)
                sent = Parser.modifyJdbcCall(sent, true, 180_000, mode(callIsSelect))
                        .getSql();
        } catch (SQLException e) {
            return; // the driver sends nothing
        }
        if ((changes & Change.UNKNOWN.bit()) == 0) {
            // The driver replaces no escape twice, and the server refuses the braces that are left.
            int known = sent.contains("{") ? changes | Change.UNKNOWN.bit() : changes;
            assertThat(SqlText.classify(sent, callIsSelect) & ~known)
                    .as("changes of %s only, which was %s", sent, sql)
                    .isZero();
        }
    }

    private static EscapeSyntaxCallMode mode(boolean callIsSelect) {
        return callIsSelect ? EscapeSyntaxCallMode.SELECT : EscapeSyntaxCallMode.CALL;
    }

    /** Text in which most braces mean something to the driver, and what they hide or show changes something. */
    @Provide
    Arbitrary<String> escaped() {
        Arbitrary<String> piece = Arbitraries.frequencyOf(
                Tuple.of(
                        6,
                        Arbitraries.of(
                                "{d '1'}",
                                "{t '1'}",
                                "{ts '1'}",
                                "{escape '\\'}",
                                "{fn f(1)}",
                                "{fn lcase(",
                                "{fn concat(",
                                "{oj ",
                                "{call ",
                                "{? = call ",
                                "/*/{call ",
                                "/*/ {call g(1)} -- */",
                                "{d '",
                                "{t'",
                                "{ts  '",
                                "{fn ",
                                "{fn",
                                "{FN \"",
                                "{oj(",
                                "{Escape '",
                                "}",
                                "}",
                                "}",
                                ")}",
                                "'}",
                                ")",
                                "(")),
                Tuple.of(
                        3,
                        Arbitraries.of(
                                "; SET x = 1",
                                ";LISTEN a",
                                "pg_temp",
                                "set",
                                "se",
                                "t x = 1",
                                "LISTEN",
                                "INTO",
                                "TEMP")),
                Tuple.of(
                        3,
                        Arbitraries.of(
                                "'", "'", "\"", "$$", "$a$", "$1", "$", "/*", "*/", "--", "\n", "E'", "e", "u&", "U&'",
                                "\\", ",", ";", "?", "-", "/", "*", "1", "x", "é")),
                Tuple.of(1, Arbitraries.of(WORDS)));
        return Combinators.combine(
                        Arbitraries.of("SELECT ", "SELECT 1 ", "", "(", "x", "/*/", "-- a\n", "\u2003"),
                        piece.list().ofMinSize(1).ofMaxSize(14),
                        Arbitraries.of("", "", " "))
                .as((start, pieces, between) -> start + String.join(between, pieces));
    }

    @Provide
    Arbitrary<String> sql() {
        Arbitrary<String> piece = Arbitraries.oneOf(
                Arbitraries.of(WORDS),
                Arbitraries.of(
                        "'", "\"", "$", "$$", "$a$", "$1", "/*", "*/", "--", "\n", "E'", "\\", "U&\"", "U&'", "e", "u&",
                        "{", "}", "(", ")", ";", ".", "=", "?", "\0", "\uFEFF"),
                Arbitraries.strings().ofMaxLength(4));
        return Combinators.combine(piece.list().ofMaxSize(40), Arbitraries.of("", " "))
                .as((pieces, between) -> String.join(between, pieces));
    }

    /** Statements in which everything that is begun is ended. */
    @Provide
    Arbitrary<String> whole() {
        Arbitrary<String> piece = Arbitraries.oneOf(
                Arbitraries.of(WORDS),
                Arbitraries.of(
                        "'a;b'",
                        "''",
                        "'it''s'",
                        "\"a;\"",
                        "\"\"\"\"",
                        "$$a;'$$",
                        "$x$ $$ ' $x$",
                        "/* ' /* ; */ */",
                        "-- ' ;\n",
                        "E'\\''",
                        "U&'\\0041'",
                        "U&\"a\"",
                        "$1",
                        "1e5",
                        ";",
                        "(",
                        ")",
                        ".",
                        ","));
        return piece.list().ofMaxSize(20).map(pieces -> String.join(" ", pieces));
    }

    private static final List<String> WORDS = List.of(
            "SELECT",
            "set",
            "Set",
            "SESSION",
            "local",
            "RESET",
            "ALL",
            "role",
            "authorization",
            "LISTEN",
            "prepare",
            "transaction",
            "declare",
            "c",
            "cursor",
            "with",
            "hold",
            "for",
            "do",
            "call",
            "load",
            "create",
            "temp",
            "into",
            "insert",
            "merge",
            "or",
            "replace",
            "pg_temp",
            "pg_advisory_lock",
            "set_config",
            "explain",
            "x",
            "1");

    private static long cpuNanos() {
        return ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime();
    }
}
