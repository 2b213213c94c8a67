package dev.nanopool;

import java.io.EOFException;
import java.io.IOException;
import java.net.SocketException;
import java.net.SocketTimeoutException;
import java.nio.channels.ClosedByInterruptException;
import java.nio.channels.ClosedChannelException;
import java.security.cert.CertificateException;
import java.sql.SQLException;
import java.sql.SQLTransientException;
import java.util.ArrayDeque;
import java.util.Collections;
import java.util.Deque;
import java.util.IdentityHashMap;
import java.util.Set;
import javax.net.ssl.SSLException;
import org.jspecify.annotations.Nullable;
import org.postgresql.util.PSQLException;
import org.postgresql.util.ServerErrorMessage;

/**
 * The one table of what a failure means for the session, and of the names of the SQLStates that the pool uses. Its functions are
 * pure and do no I/O.
 */
final class Failures {
    /** Class 08, which concerns the connection itself. */
    static final String CONNECTION_CLASS = "08";

    static final String CONNECTION_EXCEPTION = "08000";
    static final String UNABLE_TO_CONNECT = "08001";
    static final String CONNECTION_DOES_NOT_EXIST = "08003";
    static final String CONNECTION_REJECTED = "08004";
    static final String FEATURE_NOT_SUPPORTED = "0A000";
    static final String INVALID_PARAMETER_VALUE = "22023";
    static final String ACTIVE_SQL_TRANSACTION = "25001";
    static final String READ_ONLY_SQL_TRANSACTION = "25006";
    static final String NO_ACTIVE_SQL_TRANSACTION = "25P01";
    static final String IN_FAILED_SQL_TRANSACTION = "25P02";
    static final String IDLE_IN_TRANSACTION_SESSION_TIMEOUT = "25P03";
    static final String TRANSACTION_TIMEOUT = "25P04";
    static final String INVALID_PASSWORD = "28P01";
    static final String INVALID_CATALOG_NAME = "3D000";
    static final String INSUFFICIENT_PRIVILEGE = "42501";
    static final String UNDEFINED_OBJECT = "42704";
    static final String WRONG_OBJECT_TYPE = "42809";
    static final String TOO_MANY_CONNECTIONS = "53300";
    static final String OBJECT_NOT_IN_STATE = "55000";
    static final String OBJECT_IN_USE = "55006";
    static final String QUERY_CANCELED = "57014";
    static final String ADMIN_SHUTDOWN = "57P01";
    static final String CRASH_SHUTDOWN = "57P02";
    static final String CANNOT_CONNECT_NOW = "57P03";
    static final String DATABASE_DROPPED = "57P04";
    static final String IDLE_SESSION_TIMEOUT = "57P05";
    static final String INTERNAL_ERROR = "XX000";

    /** The states that the server sends with severity FATAL only. They count if the severity is in an unknown language. */
    private static final Set<String> ENDS = Set.of(
            IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
            TRANSACTION_TIMEOUT,
            ADMIN_SHUTDOWN,
            CRASH_SHUTDOWN,
            CANNOT_CONNECT_NOW,
            DATABASE_DROPPED,
            IDLE_SESSION_TIMEOUT);

    /** Timeouts of the server that end a session. */
    private static final Set<String> TIMEOUTS =
            Set.of(IDLE_IN_TRANSACTION_SESSION_TIMEOUT, TRANSACTION_TIMEOUT, IDLE_SESSION_TIMEOUT);

    /** The driver's code that writes and reads messages. No other code of the driver can leave a message unfinished. */
    private static final String DRIVERS_PROTOCOL = "org.postgresql.core.v3.";

    private static final String DRIVERS_SURFACE = "org.postgresql.jdbc.";
    private static final String DRIVERS_TLS = "org.postgresql.ssl.";

    /** How many frames a stack trace has at most, by the default of the JVM. The rest is missing. */
    private static final int WHOLE_TRACE = 1_024;

    /** What a failure means. Of several failures in one chain, the last one in this order decides. */
    enum Kind {
        /** The statement failed, or its arguments did. The session is sound. */
        STATEMENT,
        /**
         * A cache of the session is stale for good (XX000, "cache lookup failed"). The session is sound, and yet only a new one
         * helps.
         */
        STALE_CACHE,
        /** The server refuses to write (25006), because the lease asked for it or the server is a standby. */
        READ_ONLY,
        /** A cancel has hit the statement (57014). The session is sound, and another cancel may be under way. */
        CANCELLED,
        /** The driver or the caller's stream threw in the middle of a message. It says nothing about the server. */
        UNFINISHED,
        /** An interrupt of the calling thread closed the socket. It says nothing about the server. */
        INTERRUPTED,
        /** The server has ended the session, or the network has. */
        LOST,
        /**
         * The server has ended the session by a timeout of its own, which it named. The end of the network, in the same chain,
         * is its consequence. It says nothing about other sessions.
         */
        SERVER_TIMEOUT;

        /** Whether no thread may use the connection again. */
        boolean endsSession() {
            return compareTo(UNFINISHED) >= 0;
        }
    }

    private Failures() {}

    /** Whether it is an {@code SQLException} of that state. */
    static boolean isState(@Nullable Throwable thrown, String state) {
        return thrown instanceof SQLException exception && state.equals(exception.getSQLState());
    }

    /**
     * Whether an attempt to connect failed for a reason that may pass by itself. The connection may be refused, reset or timed
     * out, the host may be unknown, or the server may start, stop or be full. Credentials, an unknown database, TLS and a bad
     * configuration do not pass.
     */
    static boolean mayPass(Throwable thrown) {
        // What the supplier of the credentials throws comes as a plain SQLException.
        if (!(thrown instanceof PSQLException) && !(thrown instanceof SQLTransientException)) return false;
        var exception = (SQLException) thrown;
        String state = exception.getSQLState();
        if (state == null) return false;
        if (isOfTls(exception)) return false;
        if (state.equals(CONNECTION_REJECTED))
            return false; // the driver says so if, for example, the server has no TLS
        return state.startsWith(CONNECTION_CLASS)
                || state.equals(TOO_MANY_CONNECTIONS)
                || state.equals(ADMIN_SHUTDOWN)
                || state.equals(CRASH_SHUTDOWN)
                || state.equals(CANNOT_CONNECT_NOW);
    }

    /** Whether the two ends could not agree on TLS. A network that failed meanwhile is another case. */
    private static boolean isOfTls(SQLException exception) {
        StackTraceElement[] trace = exception.getStackTrace();
        boolean isOfTls = trace.length > 0 && trace[0].getClassName().startsWith(DRIVERS_TLS);
        for (Throwable cause = exception.getCause(); cause != null; cause = cause.getCause()) {
            if (cause instanceof CertificateException) return true;
            if (cause instanceof EOFException || cause instanceof SocketException) return false;
            if (cause instanceof SocketTimeoutException || cause instanceof ClosedChannelException) return false;
            isOfTls |= cause instanceof SSLException;
        }
        return isOfTls;
    }

    /**
     * What the failure means. If the server has sent a message, its severity decides. FATAL and PANIC end the session, and ERROR
     * never does, for any SQLState. If there is no message of the server, the driver's class 08 ends the session. All failures
     * of the chain count, causes and next exceptions.
     *
     * @param thrown what the driver, the pool or the caller's own code threw
     * @param speaking whether a call that speaks to the server threw it
     */
    static Kind kindOf(Throwable thrown, boolean speaking) {
        if (!(thrown instanceof SQLException)) {
            return speaking && mayLeaveAMessageUnfinished(thrown) ? Kind.UNFINISHED : Kind.STATEMENT;
        }
        Kind worst = Kind.STATEMENT;
        Set<Throwable> seen = Collections.newSetFromMap(new IdentityHashMap<>()); // a chain may lead back into itself
        Deque<Throwable> open = new ArrayDeque<>();
        open.add(thrown);
        for (Throwable each = open.poll(); each != null; each = open.poll()) {
            if (!seen.add(each)) continue;
            Kind kind = each instanceof SQLException exception ? kindOfOne(exception) : Kind.STATEMENT;
            if (kind.compareTo(worst) > 0) worst = kind;
            if (each.getCause() != null) open.add(each.getCause());
            if (each instanceof SQLException exception && exception.getNextException() != null) {
                open.add(exception.getNextException());
            }
        }
        return worst;
    }

    private static Kind kindOfOne(SQLException exception) {
        String state = exception.getSQLState();
        ServerErrorMessage message =
                exception instanceof PSQLException drivers ? drivers.getServerErrorMessage() : null;
        if (message != null) return kindOfMessage(message, state);
        if (state == null) return Kind.STATEMENT;
        if (state.startsWith(CONNECTION_CLASS)) return kindOfConnectionFailure(exception);
        return switch (state) {
            case QUERY_CANCELED -> Kind.CANCELLED;
            case READ_ONLY_SQL_TRANSACTION -> Kind.READ_ONLY;
            default -> Kind.STATEMENT;
        };
    }

    /** The severity comes in the language of {@code lc_messages}. If it is an unknown word, the SQLState decides. */
    private static Kind kindOfMessage(ServerErrorMessage message, @Nullable String state) {
        String severity = message.getSeverity();
        boolean isEnd = "FATAL".equals(severity) || "PANIC".equals(severity);
        if (state == null) return isEnd ? Kind.LOST : Kind.STATEMENT;
        if (isEnd || (!"ERROR".equals(severity) && ENDS.contains(state))) {
            return TIMEOUTS.contains(state) ? Kind.SERVER_TIMEOUT : Kind.LOST;
        }
        return switch (state) {
            case QUERY_CANCELED -> Kind.CANCELLED;
            case READ_ONLY_SQL_TRANSACTION -> Kind.READ_ONLY;
            case INTERNAL_ERROR -> isStaleCache(message) ? Kind.STALE_CACHE : Kind.STATEMENT;
            default -> Kind.STATEMENT;
        };
    }

    /** Whether a cache is stale. The server does not translate messages of internal errors. */
    private static boolean isStaleCache(ServerErrorMessage message) {
        String text = message.getMessage();
        return text != null && text.contains("cache lookup failed");
    }

    private static Kind kindOfConnectionFailure(SQLException exception) {
        if (isInterrupt(exception)) return Kind.INTERRUPTED;
        return isOfACallersType(exception) ? Kind.STATEMENT : Kind.LOST;
    }

    /** Whether a class of the caller could not read its value. The driver reports that as 08006, with its failure as cause. */
    private static boolean isOfACallersType(SQLException exception) {
        Throwable cause = exception.getCause();
        if (cause == null || cause instanceof IOException || cause instanceof SQLException) return false;
        StackTraceElement[] trace = exception.getStackTrace();
        return trace.length > 0 && trace[0].getClassName().startsWith(DRIVERS_SURFACE);
    }

    /**
     * Whether the failure may have left a message unfinished. A caller's object that throws before the driver has begun a
     * message, such as {@code PGobject.getValue}, leaves none unfinished. The stack trace shows that, if it is complete and
     * belongs to this call. In doubt the message is unfinished.
     */
    private static boolean mayLeaveAMessageUnfinished(Throwable thrown) {
        if (thrown instanceof Error) return true;
        StackTraceElement[] trace = thrown.getStackTrace();
        if (trace.length == 0 || trace.length >= WHOLE_TRACE) return true;
        boolean isOfThisCall = false;
        for (StackTraceElement frame : trace) {
            if (frame.getClassName().startsWith(DRIVERS_PROTOCOL)) return true;
            isOfThisCall |= frame.getClassName().startsWith(DRIVERS_SURFACE);
        }
        return !isOfThisCall;
    }

    /** Whether an interrupt of the thread that used the connection closed its socket. */
    private static boolean isInterrupt(Throwable thrown) {
        Set<Throwable> seen = Collections.newSetFromMap(new IdentityHashMap<>());
        for (Throwable cause = thrown; cause != null && seen.add(cause); cause = cause.getCause()) {
            if (cause instanceof ClosedByInterruptException || "Closed by interrupt".equals(cause.getMessage())) {
                return true;
            }
        }
        return false;
    }
}
