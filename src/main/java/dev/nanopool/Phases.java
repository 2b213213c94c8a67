package dev.nanopool;

import java.time.Duration;
import org.jspecify.annotations.Nullable;

/**
 * What opening a connection took, part by part.
 *
 * @param host the host that let it in
 * @param server the version that the server reports; null if it reports none
 * @param tcp until that host had accepted the socket
 * @param tls the handshake; zero: no TLS
 * @param login the rest of the login, hosts that were tried before included
 * @param initSql zero: there is none
 */
record Phases(String host, @Nullable String server, Duration tcp, Duration tls, Duration login, Duration initSql) {
    static Phases of(
            String host, @Nullable String server, long tcpNanos, long tlsNanos, long loginNanos, long initSqlNanos) {
        return new Phases(
                host,
                server,
                Duration.ofNanos(tcpNanos),
                Duration.ofNanos(tlsNanos),
                Duration.ofNanos(Math.max(0, loginNanos - tcpNanos - tlsNanos)),
                Duration.ofNanos(initSqlNanos));
    }

    /** What a line of the log says of the server. */
    String line() {
        String version = server == null ? "" : ", PostgreSQL " + server;
        boolean isKnown = !tcp.isZero(); // no socket of a foreign factory tells it
        return host + version + (!isKnown ? "" : tls.isZero() ? ", without TLS" : ", TLS");
    }
}
