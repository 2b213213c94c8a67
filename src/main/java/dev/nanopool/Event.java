package dev.nanopool;

import dev.nanopool.PoolExhaustedException.Holder;
import dev.nanopool.sql.Change;
import java.io.IOException;
import java.lang.System.Logger.Level;
import java.sql.SQLException;
import java.time.Duration;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/** Something that happened in a pool, as a value. {@link Events} counts it, logs it and reports it to the listener. */
sealed interface Event {
    /** Receives events. */
    interface Sink {
        void accept(Event event);
    }

    /** The log level. {@link Level#OFF} if the event is not logged. */
    default Level level() {
        return Level.DEBUG;
    }

    /** The line of the log, without the pool's name. */
    default String line() {
        return "";
    }

    /** The failure of which the log shows the stack. Null if there is none. */
    default @Nullable Throwable stack() {
        return null;
    }

    /**
     * A connection was opened.
     *
     * @param afterFailure whether the attempt before had failed
     */
    record Opened(int backendPid, Duration took, Phases phases, boolean afterFailure) implements Event {
        @Override
        public Level level() {
            return afterFailure ? Level.INFO : Level.DEBUG;
        }

        @Override
        public String line() {
            return "connection opened%s (backend %d) in %d ms"
                    .formatted(afterFailure ? " again" : "", backendPid, took.toMillis());
        }
    }

    /**
     * An attempt to open a connection failed.
     *
     * @param isFirst whether the attempt before had succeeded, so that each series of failures has one warning
     */
    record OpenFailed(Throwable cause, boolean isFirst) implements Event {
        @Override
        public Level level() {
            return isFirst ? Level.WARNING : Level.DEBUG;
        }

        @Override
        public String line() {
            return "opening a connection failed: " + rootCause(cause);
        }
    }

    record OutageBegan(String hosts, Throwable cause) implements Event {
        @Override
        public Level level() {
            return Level.WARNING;
        }

        @Override
        public String line() {
            return "the database at " + hosts + " lets no connection in: " + rootCause(cause);
        }
    }

    record OutageDeclared(Throwable cause, long nanos) implements Event {
        @Override
        public Level level() {
            return Level.WARNING;
        }

        @Override
        public String line() {
            return "the database has let no connection in for %d ms, so callers are refused at once: %s"
                    .formatted(nanos / 1_000_000, rootCause(cause));
        }
    }

    /**
     * An attempt has succeeded after an outage.
     *
     * @param refused callers that were refused because of it
     */
    record OutageEnded(Throwable cause, long nanos, long refused) implements Event {
        @Override
        public Level level() {
            return Level.INFO;
        }

        @Override
        public String line() {
            return "the database lets connections in again, after %d ms; %d callers were refused"
                    .formatted(nanos / 1_000_000, refused);
        }
    }

    /** No permit of the pool can probe the database any longer. */
    record OutageForgotten(Throwable cause, long nanos, long refused) implements Event {
        @Override
        public Level level() {
            return Level.INFO;
        }

        @Override
        public String line() {
            return "after %d ms without a new connection, no connection is wanted: the pool tries again when one is"
                    .formatted(nanos / 1_000_000);
        }
    }

    /** The driver's message, and the reason below it. */
    static String rootCause(Throwable cause) {
        Throwable root = cause;
        while (root.getCause() != null) root = root.getCause();
        return cause.getCause() == null ? message(cause) : message(cause) + " (" + message(root) + ")";
    }

    /** Only the driver and the network may be quoted, because other code can put a secret into its message. */
    private static String message(Throwable thrown) {
        String message = thrown.getMessage();
        boolean isQuoted = thrown instanceof SQLException || thrown instanceof IOException;
        return isQuoted && message != null ? message : thrown.getClass().getSimpleName();
    }

    /** The server refused a connection because it has too many. */
    record Withheld(int open, int size, boolean isFirst) implements Event {
        @Override
        public Level level() {
            return isFirst ? Level.WARNING : Level.DEBUG;
        }

        @Override
        public String line() {
            return "the server lets in %d of %d connections; one more is tried each second".formatted(open, size);
        }
    }

    /** A connection broke. {@link Unexplained} is the warning, if no other line says why. */
    record Lost(int backendPid, @Nullable Throwable cause) implements Event {
        @Override
        public String line() {
            return "connection lost (backend %d): %s"
                    .formatted(backendPid, cause == null ? "the server or the network has ended it" : cause);
        }
    }

    /** A line that {@link Outage} has held back, and that no outage has explained. */
    record Unexplained(String line) implements Event {
        @Override
        public Level level() {
            return Level.WARNING;
        }
    }

    /** An interrupt of its thread cancels a statement. The connection stays. */
    record Cancelled(int backendPid, Duration took) implements Event {
        @Override
        public String line() {
            return "an interrupt cancels a statement (backend %d)".formatted(backendPid);
        }
    }

    record Doubted(String why) implements Event {
        @Override
        public Level level() {
            return Level.WARNING;
        }

        @Override
        public String line() {
            return why + ": asking all connections whether they are alive";
        }
    }

    /**
     * A caller has waited, and Flight Recorder records waits.
     *
     * @param recording what {@link Recorder#waiting} answered
     * @param verdict why the caller got no connection; null: it got one
     */
    record Waited(Object recording, @Nullable String verdict) implements Event {
        @Override
        public Level level() {
            return Level.OFF;
        }
    }

    /**
     * A lease has ended, and Flight Recorder records leases.
     *
     * @param recording what {@link Recorder#leasing} answered
     */
    record Held(Object recording, int backendPid, Thread owner) implements Event {
        @Override
        public Level level() {
            return Level.OFF;
        }
    }

    record Reset(String undone, Duration took) implements Event {
        @Override
        public Level level() {
            return Level.OFF;
        }
    }

    /** The pool has told the server to end the statement of a connection that it closes. */
    record GivenUp(int backendPid, CloseReason reason, Duration took) implements Event {
        @Override
        public String line() {
            return "statement given up (backend %d): %s".formatted(backendPid, reason);
        }
    }

    record ServiceFailed(String what, Throwable cause) implements Event {
        @Override
        public String line() {
            return what + " failed";
        }

        @Override
        public Throwable stack() {
            return cause;
        }
    }

    record ClosingFailed(Throwable cause) implements Event {
        @Override
        public String line() {
            return "closing a connection failed";
        }

        @Override
        public Throwable stack() {
            return cause;
        }
    }

    record Closed(
            int backendPid,
            CloseReason reason,
            Duration age,
            long leases,
            @Nullable Throwable cause) implements Event {
        @Override
        public Level level() {
            return reason == CloseReason.SERVER_TIMEOUT ? Level.INFO : Level.DEBUG;
        }

        @Override
        public String line() {
            String detail = reason == CloseReason.SERVER_TIMEOUT && cause != null ? ": " + cause.getMessage() : "";
            return "connection closed (backend %d): %s%s".formatted(backendPid, reason, detail);
        }
    }

    /**
     * The pool has started.
     *
     * @param phases of one of the connections; null: none is open yet
     */
    record Started(Level level, @Nullable Phases phases, String hosts, int open, int size, Duration took)
            implements Event {
        @Override
        public String line() {
            return "started in %d ms: %d of %d connections are open; %s"
                    .formatted(took.toMillis(), open, size, phases == null ? hosts : phases.line());
        }
    }

    /** The driver on the class path is older than it should be. */
    record OldDriver(String lacks) implements Event {
        @Override
        public Level level() {
            return Level.WARNING;
        }

        @Override
        public String line() {
            return lacks;
        }
    }

    /** The pool, which had started, is closed. */
    record Stopped(int cut, Duration took) implements Event {
        @Override
        public Level level() {
            return Level.INFO;
        }

        @Override
        public String line() {
            return "stopped in %d ms: %s"
                    .formatted(took.toMillis(), cut == 0 ? "all leases had ended" : cut + " leases were cut off");
        }
    }

    /** From time to time, if the log wants it. */
    record Numbers(PoolStats stats) implements Event {
        @Override
        public String line() {
            return stats.toString();
        }
    }

    record JmxFailed(Throwable cause) implements Event {
        @Override
        public Level level() {
            return Level.WARNING;
        }

        @Override
        public String line() {
            return "JMX does not show the pool: " + cause;
        }
    }

    record NotClosed(int connections) implements Event {
        @Override
        public Level level() {
            return Level.WARNING;
        }

        @Override
        public String line() {
            return "closed, but " + connections + " connections did not close in time";
        }
    }

    record NotEnded(String thread) implements Event {
        @Override
        public Level level() {
            return Level.WARNING;
        }

        @Override
        public String line() {
            return "closed, but the thread " + thread + " did not end in time";
        }
    }

    /**
     * A client was not closed.
     *
     * @param isKnown whether the lease was reported before, when it was a suspicion
     */
    record Leaked(Holder holder, boolean isCertain, boolean isKnown) implements Event {
        @Override
        public Level level() {
            return Level.WARNING;
        }

        @Override
        public String line() {
            return "%s, leased %d ms ago by thread %s%s"
                    .formatted(
                            isCertain ? "a client was never closed and is taken back" : "a client may be leaked",
                            holder.heldFor().toMillis(),
                            holder.thread(),
                            Stacks.at(holder.stack()));
        }
    }

    /** A lease has changed a session that a transaction pooler shares. */
    record SharedSessionChanged(Change change, String instead, String site) implements Event {
        @Override
        public Level level() {
            return Level.WARNING;
        }

        @Override
        public String line() {
            String what = change.name().toLowerCase(Locale.ROOT).replace('_', ' ');
            return "a lease %s its session (%s), which a transaction pooler lends to others: the next transaction may run "
                            .formatted(change.compareTo(Change.UNKNOWN) >= 0 ? "may change" : "changes", what)
                    + "without that change, and another client with it; write %s; at %s".formatted(instead, site);
        }
    }

    /**
     * A lease ended in an open transaction, without a commit. The line does not show the SQL text, which may hold secrets.
     *
     * @param isReported whether the caller began the transaction, and this is the first report of the place
     */
    record TransactionLeftOpen(String site, @Nullable String sql, boolean isReported) implements Event {
        @Override
        public Level level() {
            return isReported ? Level.WARNING : Level.DEBUG;
        }

        @Override
        public String line() {
            return "a client was closed in a transaction without a commit; closed at " + site;
        }
    }

    /** A caller left without a connection, for another reason than the pool's end. */
    record Exhausted(PoolExhaustedException exception, boolean isTimeout) implements Event {
        @Override
        public Level level() {
            return Level.OFF;
        }
    }

    /** A caller was refused because the pool is closed. */
    record RefusedClosed() implements Event {
        @Override
        public Level level() {
            return Level.OFF;
        }
    }

    /** A fault of the pool's own, which it has noticed and survived. */
    record Bug(String what, @Nullable Throwable cause) implements Event {
        @Override
        public Level level() {
            return Level.ERROR;
        }

        @Override
        public String line() {
            return "bug: " + what;
        }

        @Override
        public @Nullable Throwable stack() {
            return cause;
        }
    }
}
