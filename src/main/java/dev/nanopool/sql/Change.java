package dev.nanopool.sql;

/** What a lease can change in its session. From {@link #ISOLATION} on it lives in the server. */
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
    /** Server parameters: SET, RESET, set_config. */
    SETTINGS,
    /** SET ROLE, SET SESSION AUTHORIZATION. */
    ROLE,
    LISTEN,
    /** Advisory locks of the session. */
    LOCKS,
    /** Temporary tables, and all else in pg_temp. */
    TEMP,
    /** PREPARE in SQL text; the driver's prepared statements are not meant. */
    PREPARED,
    /** DECLARE ... WITH HOLD. */
    CURSORS,
    /** Anything in the server: DO, CALL, LOAD. */
    UNKNOWN,
    /** Anything in the server and in the driver: the driver's own class, unwrapped. */
    UNWRAPPED;

    /** This change in a set of changes. */
    @SuppressWarnings("EnumOrdinal") // the order says only what is local; nothing is stored
    public int bit() {
        return 1 << ordinal();
    }
}
