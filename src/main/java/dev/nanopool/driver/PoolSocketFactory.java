package dev.nanopool.driver;

import java.io.IOException;
import java.net.InetAddress;
import java.net.Socket;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;
import javax.net.SocketFactory;
import org.jspecify.annotations.Nullable;

/**
 * The driver's socket factory, made by the driver for each login: so the pool knows the TCP socket, below TLS. Closing that
 * one never blocks and ends every read and write on it, which closing the connection does not.
 */
public final class PoolSocketFactory extends SocketFactory {
    // The driver gives a factory a text and nothing else: the key under which it finds its attempt.
    private static final Map<String, Attempt> ATTEMPTS = new ConcurrentHashMap<>();
    private static final AtomicLong KEYS = new AtomicLong();

    private final @Nullable Attempt attempt;

    /**
     * An attempt to open a connection: possibly to several hosts one after the other, and by several logins. Thread-safe.
     */
    public static final class Attempt {
        private final String key = Long.toString(KEYS.incrementAndGet());
        private volatile @Nullable PeekableSocket latest;
        private volatile boolean cut;

        /** Begins an attempt. */
        public Attempt() {
            ATTEMPTS.put(key, this);
        }

        /**
         * Returns what the driver gives to the factory.
         *
         * @return the driver's property {@code socketFactoryArg}
         */
        public String key() {
            return key;
        }

        /** Closes the attempt's socket, and every one that it would still make. Never blocks. */
        public void cut() {
            cut = true; // THEN look; who makes a socket looks here after it
            close(latest);
        }

        /**
         * Ends the attempt. Sockets that the driver makes later, to cancel statements, are not its.
         *
         * @return its last socket, the connection's; null if the driver has not made any
         */
        public @Nullable PeekableSocket end() {
            ATTEMPTS.remove(key);
            return latest;
        }
    }

    /**
     * For the driver.
     *
     * @param key what {@link Attempt#key} returned
     */
    public PoolSocketFactory(String key) {
        attempt = ATTEMPTS.get(key);
    }

    /**
     * Closes a socket: never blocks, never fails.
     *
     * @param socket the socket, or null
     */
    public static void close(@Nullable Socket socket) {
        try {
            if (socket != null) socket.close();
        } catch (IOException e) {
            System.getLogger("dev.nanopool").log(System.Logger.Level.DEBUG, "closing a socket failed", e);
        }
    }

    @Override
    public Socket createSocket() throws IOException {
        var socket = new PeekableSocket();
        if (attempt == null || !ATTEMPTS.containsKey(attempt.key)) return socket;
        attempt.latest = socket;
        if (attempt.cut) {
            socket.close();
            throw new IOException("the attempt to connect took too long");
        }
        return socket;
    }

    @Override
    public Socket createSocket(String host, int port) {
        throw unused();
    }

    @Override
    public Socket createSocket(String host, int port, InetAddress localAddress, int localPort) {
        throw unused();
    }

    @Override
    public Socket createSocket(InetAddress address, int port) {
        throw unused();
    }

    @Override
    public Socket createSocket(InetAddress address, int port, InetAddress localAddress, int localPort) {
        throw unused();
    }

    private static UnsupportedOperationException unused() {
        return new UnsupportedOperationException("the driver connects its sockets itself");
    }
}
