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
 *
 * <p>Over a network, use {@link #VERIFY_IDENTITY}. The default is that of libpq, {@link #PREFER}.
 *
 * <table class="striped">
 * <caption>What each mode makes of a server; a refusal has this SQLState</caption>
 * <thead><tr><th scope="col">Mode</th><th scope="col">right CA</th><th scope="col">wrong CA</th>
 *     <th scope="col">wrong name</th><th scope="col">expired</th><th scope="col">server without TLS</th>
 *     <th scope="col">server wants TLS</th></tr></thead>
 * <tbody>
 * <tr><th scope="row">{@link #DISABLE}</th><td>plain</td><td>plain</td><td>plain</td><td>plain</td><td>plain</td>
 *     <td>refused: 28000</td></tr>
 * <tr><th scope="row">{@link #PREFER}</th><td>TLS</td><td>TLS</td><td>TLS</td><td>TLS</td><td>plain</td><td>TLS</td></tr>
 * <tr><th scope="row">{@link #REQUIRE}</th><td>TLS</td><td>TLS</td><td>TLS</td><td>TLS</td><td>refused: 08004</td>
 *     <td>TLS</td></tr>
 * <tr><th scope="row">{@link #VERIFY_CA}</th><td>TLS</td><td>refused: 08006</td><td>TLS</td><td>refused: 08006</td>
 *     <td>refused: 08004</td><td>TLS</td></tr>
 * <tr><th scope="row">{@link #VERIFY_IDENTITY}</th><td>TLS</td><td>refused: 08006</td><td>refused: 08006</td>
 *     <td>refused: 08006</td><td>refused: 08004</td><td>TLS</td></tr>
 * </tbody>
 * </table>
 *
 * <p>These parameters of the URL, or properties of the driver, belong to the mode:
 *
 * <dl>
 *   <dt>{@code sslrootcert}: the trusted roots
 *   <dd>A file in PEM with one or several certificates; without it, the driver reads {@code ~/.postgresql/root.crt}.
 *       {@code sslrootcert=system} takes the JVM's trust store, with {@link #VERIFY_IDENTITY} only. {@link #DISABLE},
 *       {@link #PREFER} and {@link #REQUIRE} refuse roots, because no part of the driver would look at them. (libpq turns
 *       {@code require} with roots into {@code verify-ca}; write {@code verify-ca}.)
 *   <dt>{@code sslcert} and {@code sslkey}: the client's certificate
 *   <dd>Two files in PEM, with {@code pemKeyAlgorithm=EC} unless the key is RSA; or {@code sslkey=<file>.p12} with
 *       {@code sslpassword}, the key under the alias {@code user}. The owner alone may have the right to read the key file.
 *   <dt>{@code sslnegotiation=direct}
 *   <dd>saves a round trip with PostgreSQL 17 and newer, with {@link #REQUIRE} or stricter.
 *   <dt>{@code channel_binding=require}
 *   <dd>refuses a server that does not know the password's verifier, even with {@link #REQUIRE}.
 *   <dt>{@code sslcrl}
 *   <dd>is refused, because the driver does not check revocation.
 * </dl>
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
