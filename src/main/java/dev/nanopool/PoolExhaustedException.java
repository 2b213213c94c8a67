package dev.nanopool;

import java.io.Serializable;
import java.sql.SQLTransientConnectionException;
import java.time.Duration;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Thrown when a caller gets no connection in time, or when the pool refuses it at once. SQLState 08001. {@link #verdict()} says
 * why, and the message has the numbers. The cause is the last failure to open a connection, if there is one. A server that does
 * not answer leaves no such failure.
 */
public final class PoolExhaustedException extends SQLTransientConnectionException {
    private static final long serialVersionUID = 1;

    /** What the pool thinks is wrong. */
    public enum Verdict {
        /** Leases are held longer than callers are willing to wait: long transactions, slow queries. */
        SLOW_HOLDERS("leases last longer than callers wait: look for long transactions and slow queries"),
        /** A thread has ended and has not closed its client, and no other thread has used that client. */
        LEAK("a thread has ended without closing its client: use try-with-resources"),
        /** Every lease belongs to a thread that waits for another lease of this pool. */
        DEADLOCK("every lease's thread itself waits here for another: lease one client per task, or hand it down"),
        /**
         * Leases come and go, but there are more callers than the pool can serve in time. The pool refuses a caller at its
         * arrival if all callers before it take longer than it would wait, at the pace of the last second.
         */
        OVERLOAD("more callers than the pool can serve in time: limit the load, or shorten the leases"),
        /** {@link Pool#suspend} was called, and {@link Pool#resume} was not called after it. */
        SUSPENDED("the pool is suspended and lends nothing until Pool.resume()"),
        /** The database accepts no connection, or does not answer. */
        DATABASE_DOWN("the database accepts no connection, or does not answer: see the cause, if there is one");

        private final String advice;

        Verdict(String advice) {
            this.advice = advice;
        }
    }

    /**
     * A lease, and what its thread was doing when the exception was made.
     *
     * @param thread the thread's name, or its id if it has none
     * @param heldFor how long the thread has held the lease, to within 0.1 s
     * @param stack where the thread was, innermost frame first; empty if it has ended
     */
    public record Holder(String thread, Duration heldFor, List<StackTraceElement> stack) implements Serializable {
        /**
         * Copies the stack.
         */
        public Holder {
            stack = List.copyOf(stack);
        }
    }

    /** What the pool thinks is wrong. */
    private final Verdict verdict;

    private final transient @Nullable PoolStats stats;
    private final transient @Nullable List<Holder> holders;

    PoolExhaustedException(
            String message, Verdict verdict, PoolStats stats, List<Holder> holders, @Nullable Throwable cause) {
        super(message + " " + verdict + ": " + verdict.advice + ".", Failures.UNABLE_TO_CONNECT, cause);
        this.verdict = verdict;
        this.stats = stats;
        this.holders = List.copyOf(holders);
    }

    /**
     * Returns what the pool thinks is wrong.
     *
     * @return the verdict
     */
    public Verdict verdict() {
        return verdict;
    }

    /**
     * Returns the pool's numbers at the time when the exception was made.
     *
     * @return the numbers; null after deserialization
     */
    public @Nullable PoolStats stats() {
        return stats;
    }

    /**
     * Returns which threads held the connections when the exception was made.
     *
     * @return one holder for each lease, as it was up to 0.1 s before; empty after deserialization, or if there was no lease
     */
    public List<Holder> holders() {
        return holders == null ? List.of() : holders;
    }
}
