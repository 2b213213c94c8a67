package dev.nanopool;

/**
 * What the pool undoes between two leases of a connection. In every mode the pool rolls back an open transaction, and sets back
 * what the JDBC setters changed on the client's side.
 */
public enum ResetMode {
    /**
     * The pool undoes only what the lease changed, by JDBC setters, by SQL text, or by a change that the server reports. A
     * lease that changed nothing costs no round trip. The pool does not see what a function does inside, unless the server
     * reports it. This mode is the default.
     */
    TRACKED,
    /** The pool undoes everything, after each lease that executed anything, in one round trip. */
    ALWAYS,
    /** The pool undoes nothing in the server. For programs that reset themselves. {@link Pooler#TRANSACTION} implies it. */
    NONE
}
