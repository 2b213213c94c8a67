package dev.nanopool.driver;

/**
 * Measures how long connecting and the TLS handshake take, as the socket below TLS sees them. The thread that connects and logs in
 * writes it, before another thread has the connection.
 */
final class Handshake {
    private static final int HANDSHAKE = 0x16; // a TLS record begins with its type
    private static final int APPLICATION_DATA = 0x17;
    private static final int LATEST_BEGIN = 2; // the driver asks for TLS first, unless sslnegotiation is direct

    private long connectNanos;
    private long tlsNanos;
    private int writes;
    private long beganNanos;

    void connected(long nanos) {
        connectNanos = nanos;
    }

    long connectNanos() {
        return connectNanos;
    }

    /** Answers zero without TLS. */
    long tlsNanos() {
        return tlsNanos;
    }

    /** Begins with the first record of a handshake, and ends when application data is written. */
    void wrote(int firstByte) {
        if (tlsNanos != 0 || (beganNanos == 0 && writes >= LATEST_BEGIN)) return;
        writes++;
        if (beganNanos == 0 && firstByte == HANDSHAKE) beganNanos = System.nanoTime();
        else if (beganNanos != 0 && firstByte == APPLICATION_DATA)
            tlsNanos = Math.max(1, System.nanoTime() - beganNanos);
    }
}
