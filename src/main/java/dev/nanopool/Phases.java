package dev.nanopool;

import java.time.Duration;

/**
 * What opening a connection took, part by part.
 *
 * @param host the host that let it in
 * @param tcp until that host had accepted the socket
 * @param tls the handshake; zero: no TLS
 * @param login the rest of the login, hosts that were tried before included
 * @param initSql zero: there is none
 */
record Phases(String host, Duration tcp, Duration tls, Duration login, Duration initSql) {
    static Phases of(String host, long tcpNanos, long tlsNanos, long loginNanos, long initSqlNanos) {
        return new Phases(
                host,
                Duration.ofNanos(tcpNanos),
                Duration.ofNanos(tlsNanos),
                Duration.ofNanos(Math.max(0, loginNanos - tcpNanos - tlsNanos)),
                Duration.ofNanos(initSqlNanos));
    }
}
