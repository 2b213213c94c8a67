package dev.nanopool.sql;

/** What a lease can change in its session. The changes before {@link #ISOLATION} are in the driver, the others in the server. */
public enum Change {
    AUTO_COMMIT,
    READ_ONLY,
    HOLDABILITY,
    NETWORK_TIMEOUT,
    TYPE_MAP,
    /** The driver's own settings: prepare threshold, fetch size, query timeout, adaptive fetch, autosave. */
    DRIVER,
    ISOLATION,
    SCHEMA,
    CLIENT_INFO,
    /** Server parameters: SET, RESET, set_config, UPDATE pg_settings. */
    SETTINGS,
    /** SET ROLE, SET SESSION AUTHORIZATION, and their RESET. */
    ROLE,
    /** LISTEN and UNLISTEN. */
    LISTEN,
    /** Advisory locks of the session. */
    LOCKS,
    /** Temporary tables, and everything else in pg_temp. */
    TEMP,
    /** PREPARE and DEALLOCATE in SQL text, but not the driver's own prepared statements. */
    PREPARED,
    /** DECLARE ... WITH HOLD. */
    CURSORS,
    /** Anything in the server that a statement can undo, by DO, CALL, DISCARD ALL, or text that the driver may garble. */
    UNKNOWN,
    /** Anything in the server and in the driver, because the caller unwrapped the driver's own class. */
    UNWRAPPED,
    /** A change of the server that no statement undoes, such as a loaded library, a replication origin or a temporary slot. */
    IRREVERSIBLE;

    /** This change in a set of changes. */
    @SuppressWarnings("EnumOrdinal") // the order says only which changes are local; no set is stored
    public int bit() {
        return 1 << ordinal();
    }
}
