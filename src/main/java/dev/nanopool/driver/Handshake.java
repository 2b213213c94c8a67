package dev.nanopool.driver;

import java.io.FilterOutputStream;
import java.io.IOException;
import java.io.OutputStream;

/**
 * How long connecting and the TLS handshake took, as the socket below TLS sees them. Written by the thread that connects and
 * logs in, before another thread has the connection.
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

    /** Zero: no TLS. */
    long tlsNanos() {
        return tlsNanos;
    }

    /** The handshake begins with the first record of its type, and has ended when application data is written. */
    private void wrote(int first) {
        if (tlsNanos != 0 || (beganNanos == 0 && writes >= LATEST_BEGIN)) return;
        writes++;
        if (beganNanos == 0 && first == HANDSHAKE) beganNanos = System.nanoTime();
        else if (beganNanos != 0 && first == APPLICATION_DATA) tlsNanos = Math.max(1, System.nanoTime() - beganNanos);
    }

    OutputStream watch(OutputStream stream) {
        return new FilterOutputStream(stream) {
            @Override
            public void write(int single) throws IOException {
                wrote(single);
                out.write(single);
            }

            @Override
            public void write(byte[] bytes, int offset, int length) throws IOException {
                if (length > 0) wrote(bytes[offset]);
                out.write(bytes, offset, length);
            }

            @Override
            public void close() throws IOException {
                out.close();
            }
        };
    }
}
