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
 * The driver's socket factory, made by the driver for each connection: it remembers the TCP socket, below TLS. Closing that
 * one never blocks and ends every read and write on it, which closing the connection does not.
 */
public final class PoolSocketFactory extends SocketFactory {
    // The driver gives a factory a text and nothing else: the key under which the connector finds it again.
    private static final Map<String, PoolSocketFactory> CONNECTING = new ConcurrentHashMap<>();
    private static final AtomicLong KEYS = new AtomicLong();

    // Latest first: once the attempt has ended, the driver makes sockets here only to cancel statements.
    private volatile @Nullable Socket latest;
    private volatile boolean cut;

    /**
     * For the driver.
     *
     * @param key what {@link #newKey} returned
     */
    public PoolSocketFactory(String key) {
        CONNECTING.put(key, this);
    }

    /**
     * Returns a key for one attempt to connect.
     *
     * @return the driver's property {@code socketFactoryArg}
     */
    public static String newKey() {
        return Long.toString(KEYS.incrementAndGet());
    }

    /**
     * Ends the attempt with that key, and returns its last socket: the connection's. Sockets that the driver makes later,
     * to cancel statements, are not remembered.
     *
     * @param key the attempt's key
     * @return the socket; null if the driver has not made any
     */
    public static @Nullable Socket finish(String key) {
        PoolSocketFactory factory = CONNECTING.remove(key);
        return factory == null ? null : factory.latest;
    }

    /**
     * Closes the socket of an attempt that takes too long, and every one that it would still make.
     *
     * @param key the attempt's key
     */
    public static void cut(String key) {
        PoolSocketFactory factory = CONNECTING.get(key);
        if (factory != null) {
            factory.cut = true;
            close(factory.latest);
        }
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
        Socket socket = new Socket();
        latest = socket;
        if (cut) {
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
