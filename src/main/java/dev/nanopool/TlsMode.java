package dev.nanopool;

import java.util.Arrays;

/**
 * How the connection to the server is encrypted and whom it trusts; the names follow libpq's {@code sslmode}.
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
    /** Plain text. For loopback and unit tests. */
    DISABLE("disable"),
    /** TLS if the server offers it, else plain text. No protection against somebody who alters the traffic. */
    PREFER("prefer"),
    /** TLS or no connection. Any certificate is accepted: protects against listeners, not against an impostor. */
    REQUIRE("require"),
    /** TLS, and the certificate must descend from a trusted root ({@code sslrootcert}). */
    VERIFY_CA("verify-ca"),
    /** As {@link #VERIFY_CA}, and the certificate must name the host: libpq's {@code verify-full}. The one to use. */
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

    /** The mode of an {@code sslmode}; {@code allow} is refused, since it promises nothing that PREFER does not. */
    static TlsMode of(String sslmode) {
        for (TlsMode mode : values()) {
            if (mode.sslmode.equals(sslmode)) return mode;
        }
        // The value is not repeated: behind a wrong separator it may have a password in it.
        throw new IllegalArgumentException(
                "sslmode: must be one of disable, prefer, require, verify-ca and verify-full");
    }
}
