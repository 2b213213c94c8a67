package dev.nanopool;

import java.util.Arrays;

/**
 * How the connection to the server is encrypted, and which server it trusts. The names follow libpq's {@code sslmode}.
 *
 * <table>
 * <caption>What each mode checks</caption>
 * <tr><th>Mode</th><th>Encrypted</th><th>Certificate</th><th>Host name</th></tr>
 * <tr><td>{@link #DISABLE}</td><td>no</td><td>-</td><td>-</td></tr>
 * <tr><td>{@link #PREFER}</td><td>if the server offers it</td><td>no</td><td>no</td></tr>
 * <tr><td>{@link #REQUIRE}</td><td>yes</td><td>no</td><td>no</td></tr>
 * <tr><td>{@link #VERIFY_CA}</td><td>yes</td><td>yes</td><td>no</td></tr>
 * <tr><td>{@link #VERIFY_IDENTITY}</td><td>yes</td><td>yes</td><td>yes</td></tr>
 * </table>
 */
public enum TlsMode {
    /** The connection is plain text. For loopback and unit tests. */
    DISABLE("disable"),
    /** TLS if the server offers it, else plain text. It does not protect against an attacker that alters the traffic. */
    PREFER("prefer"),
    /** TLS or no connection. It accepts any certificate, so it protects against listeners, but not against an impostor. */
    REQUIRE("require"),
    /** TLS, and the certificate must descend from a trusted root ({@code sslrootcert}). */
    VERIFY_CA("verify-ca"),
    /** As {@link #VERIFY_CA}, and the certificate must name the host, as libpq's {@code verify-full}. Use this one. */
    VERIFY_IDENTITY("verify-full");

    private final String sslmode;

    TlsMode(String sslmode) {
        this.sslmode = sslmode;
    }

    /**
     * Returns the value of libpq's and pgJDBC's {@code sslmode}.
     *
     * @return the parameter value, such as {@code verify-full}
     */
    public String sslmode() {
        return sslmode;
    }

    static boolean isSslmode(String text) {
        return Arrays.stream(values()).anyMatch(mode -> mode.sslmode.equals(text));
    }

    /** The mode of an {@code sslmode}. It refuses {@code allow}, because that promises no more than PREFER. */
    static TlsMode of(String sslmode) {
        for (TlsMode mode : values()) {
            if (mode.sslmode.equals(sslmode)) return mode;
        }
        // The message does not repeat the value, because behind a wrong separator it may hold a password.
        throw new IllegalArgumentException(
                "sslmode: must be one of disable, prefer, require, verify-ca and verify-full");
    }
}
