package dev.nanopool;

import java.time.Duration;
import org.jspecify.annotations.Nullable;

/**
 * How a pool is, as far as the pool knows it without a lease: for the health page of a server.
 *
 * @param status the answer in a word
 * @param reason why, in a sentence; empty if the pool is {@link Status#UP}
 * @param age how long the outage has lasted; zero if there is none
 * @param cause why the last attempt to open a connection failed; null if that is not the reason
 */
public record PoolHealth(
        Status status,
        String reason,
        Duration age,
        @Nullable Throwable cause) {
    /** How a pool is, best first. */
    public enum Status {
        /** Callers get connections. */
        UP,
        /** Callers wait for longer than half of {@code acquireTimeout}, or wait in vain. */
        BUSY,
        /** The pool has fewer connections than it wants, because the server does not let it open more. */
        DEGRADED,
        /** Callers get no connection: the database lets none in and none is open, or the pool is suspended or closed. */
        DOWN
    }
}
