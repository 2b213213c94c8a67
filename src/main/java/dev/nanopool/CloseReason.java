package dev.nanopool;

/** Why the pool closed a connection: fixed phrases, to search logs for. */
public enum CloseReason {
    /** The pool is closed. */
    POOL_CLOSED("pool closed"),
    /** The pool is closed, and this lease had not ended when the drain was over. */
    CUT("cut off by the pool's close"),
    /** It broke: the server ended it, the network failed, or the driver closed it. */
    LOST("connection lost"),
    /** The server ended the session by a timeout of its own: {@code idle_session_timeout} and the like. */
    SERVER_TIMEOUT("ended by a timeout of the server"),
    /** An interrupt of the thread that used it closed its socket. */
    INTERRUPTED("closed by interrupt"),
    /** The client called {@code abort}. */
    ABORTED("aborted by the client"),
    /** An exception that was not the server's ended a statement half way, such as one of the caller's own stream. */
    UNFINISHED("a statement was left unfinished"),
    /** A cache of the session is stale for good: the server reported XX000, "cache lookup failed". */
    STALE_CACHE("stale cache in the session"),
    /** Its lease was ended while another thread still used it, or with a COPY open. */
    BUSY("still in use after its lease"),
    /** The lease did what no statement undoes, such as {@code LOAD}. */
    IRREVERSIBLE("changed in a way that cannot be undone"),
    /** What the last lease had changed could not be undone in time. */
    RESET_FAILED("reset failed"),
    /** Its server is not what {@code target_session_attrs} asks for any more: promoted, demoted, or made read-only. */
    WRONG_ROLE("wrong role"),
    /** It had reached {@code maxLifetime}, or 75 to 100 % of it at a moment when nobody waited. */
    MAX_LIFETIME("max lifetime reached"),
    /** It was not needed for {@code idleTimeout}. */
    IDLE_TIMEOUT("idle timeout reached"),
    /** {@code Pool.retire} or {@code Pool.refresh}. */
    RETIRED("retired"),
    /** {@code Pool.resize} made the pool smaller. */
    RESIZED("pool resized"),
    /** {@code Pool.suspend}. */
    SUSPENDED("pool suspended"),
    /** Its client became unreachable without having been closed, in a pool that is closed. */
    LEAKED("leaked");

    private final String phrase;

    CloseReason(String phrase) {
        this.phrase = phrase;
    }

    /** Whether the server may still execute what was sent last. */
    boolean leavesAStatementRunning() {
        return switch (this) {
            case CUT, ABORTED, INTERRUPTED, BUSY, UNFINISHED, RESET_FAILED -> true;
            default -> false;
        };
    }

    /** Returns the phrase that logs show. */
    @Override
    public String toString() {
        return phrase;
    }
}
