package dev.nanopool;

import static org.assertj.core.api.Assertions.assertThat;

import dev.nanopool.Failures.Kind;
import java.io.EOFException;
import java.io.IOException;
import java.lang.reflect.Field;
import java.lang.reflect.Modifier;
import java.net.ConnectException;
import java.net.NoRouteToHostException;
import java.net.SocketException;
import java.net.SocketTimeoutException;
import java.net.UnknownHostException;
import java.nio.channels.ClosedByInterruptException;
import java.nio.channels.ClosedChannelException;
import java.security.cert.CertificateException;
import java.sql.BatchUpdateException;
import java.sql.SQLClientInfoException;
import java.sql.SQLException;
import java.sql.SQLNonTransientConnectionException;
import java.sql.SQLTimeoutException;
import java.sql.SQLTransientConnectionException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Stream;
import javax.net.ssl.SSLException;
import javax.net.ssl.SSLHandshakeException;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.postgresql.util.PSQLException;
import org.postgresql.util.PSQLState;
import org.postgresql.util.ServerErrorMessage;

/** The table of what a failure means, row by row and without a server. */
class FailuresTest {
    /** All classes of PostgreSQL's error codes (appendix A of its manual), and the driver's own. */
    private static final List<String> CLASSES = List.of(
            "00", "01", "02", "03", "08", "09", "0A", "0B", "0F", "0L", "0P", "0Z", "10", "20", "21", "22", "23", "24",
            "25", "26", "27", "28", "2B", "2D", "2F", "34", "38", "39", "3B", "3D", "3F", "40", "42", "44", "53", "54",
            "55", "57", "58", "60", "72", "99", "F0", "HV", "P0", "XX");

    /** The server ends a session by a timeout of its own, which says nothing about other sessions. */
    private static final Set<String> TIMEOUTS = Set.of("57P05", "25P03", "25P04");

    /** Every class, every state of the driver and every state that has a name here. */
    static Stream<String> states() {
        var states = new TreeSet<String>();
        for (String each : CLASSES) {
            for (String rest : List.of("000", "001", "P01", "006")) states.add(each + rest);
        }
        for (PSQLState each : PSQLState.values()) states.add(each.getState());
        for (Field field : Failures.class.getDeclaredFields()) {
            if (field.getType() != String.class || !Modifier.isStatic(field.getModifiers())) continue;
            try {
                String value = (String) field.get(null);
                if (value != null && value.length() == 5) states.add(value);
            } catch (IllegalAccessException e) {
                // private, so no state
            }
        }
        return states.stream();
    }

    private static PSQLException ofServer(String severity, String state) {
        return ofServer(severity, state, "message");
    }

    private static PSQLException ofServer(String severity, String state, String text) {
        return new PSQLException(new ServerErrorMessage("S" + severity + "\0C" + state + "\0M" + text + "\0"));
    }

    /** In every form in which the driver hands it to the caller. */
    private static List<SQLException> forms(SQLException failure) {
        var chained = new SQLException("first", "22012");
        chained.setNextException(failure);
        return List.of(
                failure,
                new BatchUpdateException("batch", failure.getSQLState(), 0, new int[0], failure),
                new SQLClientInfoException("info", failure.getSQLState(), Map.of(), failure),
                chained);
    }

    // FATAL and PANIC end the session with every state.
    @ParameterizedTest
    @MethodSource("states")
    void fatalMessageMustEndTheSession(String state) {
        Kind expected = TIMEOUTS.contains(state) ? Kind.SERVER_TIMEOUT : Kind.LOST;
        for (String severity : List.of("FATAL", "PANIC")) {
            for (SQLException form : forms(ofServer(severity, state))) {
                for (boolean speaking : new boolean[] {true, false}) {
                    assertThat(Failures.kindOf(form, speaking)).as("%s", form).isEqualTo(expected);
                }
            }
        }
    }

    // ERROR ends it with no state, because the server has gone on.
    @ParameterizedTest
    @MethodSource("states")
    void errorMessageMustNotEndTheSession(String state) {
        Kind expected = switch (state) {
            case "57014" -> Kind.CANCELLED;
            case "25006" -> Kind.READ_ONLY;
            default -> Kind.STATEMENT;
        };
        PSQLException failure = ofServer("ERROR", state);
        assertThat(Failures.kindOf(failure, true)).isEqualTo(expected);
        assertThat(expected.endsSession()).isFalse();
    }

    // A stale cache of the session heals only by a new session; any other internal error is the statement's.
    @Test
    void staleCacheMustDifferFromOtherInternalErrors() {
        assertThat(Failures.kindOf(ofServer("ERROR", "XX000", "cache lookup failed for type 16423"), true))
                .isEqualTo(Kind.STALE_CACHE);
        assertThat(Failures.kindOf(ofServer("ERROR", "XX000", "tuple concurrently updated"), true))
                .isEqualTo(Kind.STATEMENT);
    }

    // Where no message of the server is, class 08 ends the session, and no other.
    @ParameterizedTest
    @MethodSource("states")
    void failureOfTheDriverMustEndTheSessionIfItsClassSaysSo(String state) {
        for (SQLException failure : List.of(
                new PSQLException("message", PSQLState.UNKNOWN_STATE) {
                    @Override
                    public String getSQLState() {
                        return state;
                    }
                },
                new SQLException("message", state),
                new SQLTimeoutException("message", state),
                new SQLException("message", state, new IOException("reset")))) {
            for (boolean speaking : new boolean[] {true, false}) {
                assertThat(Failures.kindOf(failure, speaking).endsSession())
                        .as("%s", failure)
                        .isEqualTo(state.startsWith("08"));
            }
        }
    }

    @Test
    void failureWithoutAStateMustNotEndTheSession() {
        assertThat(Failures.kindOf(new SQLException("message"), true)).isEqualTo(Kind.STATEMENT);
        assertThat(Failures.kindOf(new SQLException("message", (String) null, new IOException()), true))
                .isEqualTo(Kind.STATEMENT);
    }

    // The severity comes in the language of the server's messages.
    @Test
    void severityInAnotherLanguageMustBeReadFromTheState() {
        assertThat(Failures.kindOf(ofServer("致命错误", "57P01"), true)).isEqualTo(Kind.LOST);
        for (String state : TIMEOUTS) {
            assertThat(Failures.kindOf(ofServer("致命错误", state), true)).isEqualTo(Kind.SERVER_TIMEOUT);
        }
        assertThat(Failures.kindOf(ofServer("错误", "22012"), true)).isEqualTo(Kind.STATEMENT);
        assertThat(Failures.kindOf(ofServer("错误", "08P01"), true)).isEqualTo(Kind.STATEMENT);
    }

    // The statement fails, and then the session, so both are in one chain.
    @Test
    void worstFailureOfAChainMustDecide() {
        SQLException first = ofServer("ERROR", "22012");
        first.setNextException(ofServer("ERROR", "57014"));
        assertThat(Failures.kindOf(first, true)).isEqualTo(Kind.CANCELLED);
        first.setNextException(ofServer("FATAL", "57P01"));
        assertThat(Failures.kindOf(first, true)).isEqualTo(Kind.LOST);
        first.setNextException(ofServer("FATAL", "57P05"));
        first.setNextException(new SQLException("the end of the stream", "08006", new EOFException()));
        assertThat(Failures.kindOf(first, true)).isEqualTo(Kind.SERVER_TIMEOUT);
    }

    @Test
    @SuppressWarnings("ThrowableNotThrown")
    void chainThatLeadsBackMustEnd() {
        var one = new SQLException("one", "22012");
        var other = new SQLException("other", "08006", one);
        one.initCause(other);
        assertThat(Failures.kindOf(one, true)).isEqualTo(Kind.LOST);
    }

    @Test
    void interruptMustDifferFromALoss() {
        var closed = new ClosedByInterruptException();
        assertThat(Failures.kindOf(new SQLException("io", "08006", closed), true))
                .isEqualTo(Kind.INTERRUPTED);
        assertThat(Failures.kindOf(new SQLException("io", "08006", new IOException("Closed by interrupt")), true))
                .isEqualTo(Kind.INTERRUPTED);
    }

    static Stream<Throwable> others() {
        return Stream.of(
                new IllegalStateException("stream"),
                new NullPointerException(),
                new IOException("stream"),
                new StackOverflowError(),
                new OutOfMemoryError(),
                new AssertionError());
    }

    // What is no SQLException may have left half a message, but only in a call that sends one.
    @ParameterizedTest
    @MethodSource("others")
    void otherFailureMustEndTheSessionIfTheCallSpeaks(Throwable failure) {
        assertThat(Failures.kindOf(failure, true)).isEqualTo(Kind.UNFINISHED);
        assertThat(Failures.kindOf(failure, false)).isEqualTo(Kind.STATEMENT);
    }

    private static RuntimeException thrownIn(@Nullable RuntimeException failure, String... classes) {
        RuntimeException thrown = failure == null ? new IllegalStateException() : failure;
        thrown.setStackTrace(Arrays.stream(classes)
                .map(each -> new StackTraceElement(each, "m", "F.java", 1))
                .toArray(StackTraceElement[]::new));
        return thrown;
    }

    // The trace tells a caller's object that threw before the driver wrote from one that threw while it wrote.
    @Test
    void traceMustTellWhetherAMessageWasBegun() {
        String user = "app.Value";
        String surface = "org.postgresql.jdbc.PgPreparedStatement";
        String protocol = "org.postgresql.core.v3.QueryExecutorImpl";
        assertThat(Failures.kindOf(thrownIn(null, user, surface, "dev.nanopool.X"), true))
                .isEqualTo(Kind.STATEMENT);
        assertThat(Failures.kindOf(thrownIn(null, user, protocol, surface), true))
                .isEqualTo(Kind.UNFINISHED);
        assertThat(Failures.kindOf(thrownIn(null, user), true))
                .as("a trace of another call")
                .isEqualTo(Kind.UNFINISHED);
        assertThat(Failures.kindOf(thrownIn(null), true)).as("no trace").isEqualTo(Kind.UNFINISHED);
        var deep = new ArrayList<String>();
        for (int i = 0; i < 1_024; i++) deep.add(i == 5 ? surface : user);
        assertThat(Failures.kindOf(thrownIn(null, deep.toArray(String[]::new)), true))
                .as("a trace that is cut off")
                .isEqualTo(Kind.UNFINISHED);
    }

    // The driver tells of a caller's class that fails to read its value by 08006, although nothing is wrong with it.
    @Test
    void failingClassOfTheCallerMustNotEndTheSession() {
        var failure = new SQLException("Failed to create object", "08006", new NumberFormatException());
        failure.setStackTrace(
                new StackTraceElement[] {new StackTraceElement("org.postgresql.jdbc.PgConnection", "getObject", "F", 1)
                });
        assertThat(Failures.kindOf(failure, true)).isEqualTo(Kind.STATEMENT);
        failure.setStackTrace(new StackTraceElement[] {
            new StackTraceElement("org.postgresql.core.CommandCompleteParser", "parse", "F", 1)
        });
        assertThat(Failures.kindOf(failure, true)).isEqualTo(Kind.LOST);
    }

    private static PSQLException ofDriver(PSQLState state, String thrower, Throwable... causes) {
        Throwable cause = null;
        for (Throwable each : List.of(causes).reversed()) {
            if (cause != null) each.initCause(cause);
            cause = each;
        }
        var failure = new PSQLException("message", state, cause);
        failure.setStackTrace(new StackTraceElement[] {new StackTraceElement(thrower, "m", "F.java", 1)});
        return failure;
    }

    private static final String CONNECTING = "org.postgresql.core.v3.ConnectionFactoryImpl";
    private static final String TLS = "org.postgresql.ssl.MakeSSL";

    static Stream<Throwable> thatMayPass() {
        return Stream.of(
                ofDriver(PSQLState.CONNECTION_UNABLE_TO_CONNECT, CONNECTING, new ConnectException("refused")),
                ofDriver(PSQLState.CONNECTION_UNABLE_TO_CONNECT, CONNECTING, new UnknownHostException("db")),
                ofDriver(PSQLState.CONNECTION_UNABLE_TO_CONNECT, CONNECTING, new SocketTimeoutException()),
                ofDriver(PSQLState.CONNECTION_UNABLE_TO_CONNECT, CONNECTING, new NoRouteToHostException()),
                ofDriver(PSQLState.CONNECTION_FAILURE, CONNECTING, new EOFException()),
                ofDriver(PSQLState.CONNECTION_FAILURE, CONNECTING, new SocketException("reset")),
                ofDriver(PSQLState.CONNECTION_FAILURE, TLS, new SSLHandshakeException("ended"), new EOFException()),
                ofDriver(PSQLState.CONNECTION_FAILURE, TLS, new SSLException("reset"), new SocketException()),
                ofDriver(PSQLState.CONNECTION_FAILURE, TLS, new SSLException("cut"), new ClosedChannelException()),
                ofServer("FATAL", "57P01"),
                ofServer("FATAL", "57P02"),
                ofServer("FATAL", "57P03"),
                ofServer("FATAL", "53300"),
                ofServer("FATAL", "08P01"),
                new SQLTransientConnectionException("too late", "08001"));
    }

    static Stream<Throwable> thatStays() {
        return Stream.of(
                ofServer("FATAL", "28P01"),
                ofServer("FATAL", "28000"),
                ofServer("FATAL", "3D000"),
                ofServer("FATAL", "22023"),
                ofServer("FATAL", "42501"),
                ofServer("FATAL", "57P04"),
                ofServer("FATAL", "XX000"),
                ofDriver(PSQLState.CONNECTION_REJECTED, CONNECTING),
                ofDriver(PSQLState.CONNECTION_FAILURE, TLS, new SSLHandshakeException("handshake_failure")),
                ofDriver(
                        PSQLState.CONNECTION_FAILURE,
                        TLS,
                        new SSLHandshakeException("path"),
                        new CertificateException()),
                ofDriver(PSQLState.CONNECTION_FAILURE, TLS), // another host's name in the certificate
                new PSQLException("no state", null),
                new SQLException("the supplier of the credentials has failed", "08001"),
                new SQLNonTransientConnectionException("the pool is closed", "08003"),
                new IllegalStateException(),
                new StackOverflowError());
    }

    // An outage consists of failures that may pass by themselves. A failure that an operator must repair is thrown at
    // once.
    @ParameterizedTest
    @MethodSource("thatMayPass")
    void failureThatMayPassMustBeginAnOutage(Throwable failure) {
        assertThat(Failures.mayPass(failure)).isTrue();
    }

    @ParameterizedTest
    @MethodSource("thatStays")
    void failureThatStaysMustBeginNone(Throwable failure) {
        assertThat(Failures.mayPass(failure)).isFalse();
    }

    @ParameterizedTest
    @EnumSource(Kind.class)
    void kindMustSayWhetherItEndsTheSession(Kind kind) {
        assertThat(kind.endsSession())
                .isEqualTo(EnumSet.of(Kind.UNFINISHED, Kind.INTERRUPTED, Kind.SERVER_TIMEOUT, Kind.LOST)
                        .contains(kind));
    }
}
