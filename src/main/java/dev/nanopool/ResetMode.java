package dev.nanopool;

/**
 * What is undone between two leases of a connection. An open transaction is rolled back, and what the JDBC setters changed
 * on the client's side is set back, in every mode.
 */
public enum ResetMode {
    /**
     * Just what the lease changed: by JDBC setters, by SQL text, or by whatever the server reports. A lease that changed
     * nothing costs no round trip. Not seen: what a function does inside, unless the server reports it. The default.
     */
    TRACKED,
    /** Everything, after each lease that executed anything: one round trip each. */
    ALWAYS,
    /** Nothing in the server. For servers behind a transaction pooler, and for those who know what they do. */
    NONE
}
