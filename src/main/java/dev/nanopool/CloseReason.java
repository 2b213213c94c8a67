package dev.nanopool;

/** Why the pool closed a connection. The phrases are fixed, so that logs can be searched for them. */
public enum CloseReason {
    /** The pool is closed. */
    POOL_CLOSED("pool closed"),
    /** The pool is closed, and this lease had not ended when the drain was over. */
    CUT("cut off by the pool's close"),
    /** It broke, because the server ended it, the network failed, or the driver closed it. */
    LOST("connection lost"),
    /** The server ended the session by a timeout of its own, such as {@code idle_session_timeout}. */
    SERVER_TIMEOUT("ended by a timeout of the server"),
    /** A thread that used it was interrupted, which closed its socket. */
    INTERRUPTED("closed by interrupt"),
    /** The client called {@code abort}. */
    ABORTED("aborted by the client"),
    /** An exception that did not come from the server, such as one of the caller's own stream, ended a statement half way. */
    UNFINISHED("a statement was left unfinished"),
    /** A cache of the session is stale for good. The server reported XX000, "cache lookup failed". */
    STALE_CACHE("stale cache in the session"),
    /** Its lease ended while another thread still used it, or while a COPY was open. */
    BUSY("still in use after its lease"),
    /** The lease did something that no statement undoes, such as {@code LOAD}. */
    IRREVERSIBLE("changed in a way that cannot be undone"),
    /** The pool could not undo in time what the last lease had changed. */
    RESET_FAILED("reset failed"),
    /** Its server is no longer what {@code target_session_attrs} asks for. It was promoted, demoted, or made read-only. */
    WRONG_ROLE("wrong role"),
    /** It had reached {@code maxLifetime}, or 75 to 100 % of it while no caller waited. */
    MAX_LIFETIME("max lifetime reached"),
    /** The pool did not need it for {@code idleTimeout}. */
    IDLE_TIMEOUT("idle timeout reached"),
    /** Its pool has a {@link Budget} that was used up, and a caller of another pool waited. */
    BUDGET("given to another pool of its budget"),
    /** {@code Pool.retire} or {@code Pool.refresh} replaced it. */
    RETIRED("retired"),
    /** {@code Pool.resize} made the pool smaller. */
    RESIZED("pool resized"),
    /** {@code Pool.suspend} closed it. */
    SUSPENDED("pool suspended"),
    /** The pool was closed when its client had become unreachable without being closed. */
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
