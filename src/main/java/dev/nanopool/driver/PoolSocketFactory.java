package dev.nanopool.driver;

import java.io.IOException;
import java.net.InetAddress;
import java.net.Socket;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import javax.net.SocketFactory;
import org.jspecify.annotations.Nullable;

/**
 * The driver's socket factory. The driver makes one for each login, so that the pool knows the TCP socket, below TLS. Closing
 * that socket never blocks and ends every read and write on it. Closing the connection does not.
 */
public final class PoolSocketFactory extends SocketFactory {
    // The driver gives a factory only a text, which is the key of its attempt.
    private static final Map<Long, Attempt> ATTEMPTS = new ConcurrentHashMap<>();
    private static final AtomicLong KEYS = new AtomicLong();

    private final long key; // not the attempt, because the driver keeps the factory as long as the connection

    /**
     * An attempt to open a connection, possibly to several hosts one after the other, and by several logins. Each host gets
     * its share of the time that is left, so that a dead one does not keep the attempt from the others. Thread-safe.
     */
    public static final class Attempt {
        private static final Object CUT = new Object();
        // How often the pool checks whether the driver is at the next host.
        private static final long LOOK_NANOS = TimeUnit.MILLISECONDS.toNanos(20);

        private final long key = KEYS.incrementAndGet();
        private final int hosts;
        private final long deadlineNanos;
        private final AtomicInteger sockets = new AtomicInteger();
        private final CompletableFuture<@Nullable Void> begun = new CompletableFuture<>();
        private final AtomicReference<@Nullable Object> latest = new AtomicReference<>(); // a Turn, or CUT
        private volatile boolean hasGivenUp; // a host, since the driver began with the first one

        /** A host's turn, with its socket, the end of its share of the time, and whether the pool closed the socket then. */
        private record Turn(PeekableSocket socket, long endsNanos, boolean isGivenUp) {}

        /**
         * Begins an attempt.
         *
         * @param hosts how many hosts there are to try
         * @param timeout how long the attempt may take
         */
        public Attempt(int hosts, Duration timeout) {
            this.hosts = hosts;
            this.deadlineNanos = System.nanoTime() + timeout.toNanos();
            ATTEMPTS.put(key, this);
        }

        /**
         * Returns what the driver gives to the factory.
         *
         * @return the driver's property {@code socketFactoryArg}
         */
        public String key() {
            return Long.toString(key);
        }

        /** Records that the driver has made a socket, for the next host. False if the attempt is cut. */
        private boolean made(PeekableSocket socket) {
            int hostsLeft = Math.max(1, hosts - sockets.getAndIncrement());
            long now = System.nanoTime();
            var turn = new Turn(socket, now + (deadlineNanos - now) / hostsLeft, false);
            boolean isMine = latest.getAndUpdate(old -> old == CUT ? CUT : turn) != CUT;
            begun.complete(null); // THEN wake the waiting thread, which reads the share
            return isMine;
        }

        /**
         * Returns when the driver begins to connect.
         *
         * @return not done while it waits for the credentials
         */
        public CompletableFuture<@Nullable Void> begun() {
            return begun;
        }

        /**
         * Returns how long the attempt may still take.
         *
         * @return nanoseconds, zero or less if it is over
         */
        public long leftNanos() {
            return deadlineNanos - System.nanoTime();
        }

        /**
         * Returns how long the present host may still take. The last one has all the time that is left to the attempt.
         *
         * @return nanoseconds, zero or less if its share is over
         */
        public long shareNanos() {
            return (latest.get() instanceof Turn turn ? turn.endsNanos : deadlineNanos) - System.nanoTime();
        }

        /**
         * Records that the login is done. What follows has all the time that is left.
         *
         * @return false if the host was given up meanwhile, so that the connection is closed
         */
        public boolean loggedIn() {
            latest.updateAndGet(now ->
                    now instanceof Turn turn && !turn.isGivenUp ? new Turn(turn.socket, deadlineNanos, false) : now);
            return !isHostGivenUp();
        }

        /**
         * If the present host's share is over, closes its socket, so that the driver tries the next host. A host whose turn
         * has just begun is left alone. {@link #shareNanos} tells when to call this again. Never blocks.
         */
        public void giveUpHost() {
            Object now = latest.get();
            if (!(now instanceof Turn turn) || turn.endsNanos - System.nanoTime() > 0) return;
            if (!latest.compareAndSet(now, new Turn(turn.socket, System.nanoTime() + LOOK_NANOS, true))) return;
            hasGivenUp = true;
            close(turn.socket);
        }

        /**
         * Returns whether the pool gave the present host up. If the host had just accepted the driver, the driver itself does not
         * try the next host.
         *
         * @return true until the driver tries another host
         */
        public boolean isHostGivenUp() {
            return latest.get() instanceof Turn turn && turn.isGivenUp;
        }

        /**
         * Returns whether the pool gave a host up since the driver began with the first one. That host may be slow and not dead.
         *
         * @return false after {@link #beginAgain}
         */
        public boolean hasGivenUpHost() {
            return hasGivenUp;
        }

        /** Begins again with the first host. All hosts share the time that is left. */
        public void beginAgain() {
            sockets.set(0);
            hasGivenUp = false;
        }

        /** Closes the attempt's socket, and every socket that it makes later. Never blocks. */
        public void cut() {
            if (latest.getAndSet(CUT) instanceof Turn turn) close(turn.socket);
        }

        /**
         * Ends the attempt. Sockets that the driver makes later, to cancel statements, are not its.
         *
         * @return its last socket, the connection's; null if the driver has not made any, or the attempt is cut
         */
        public @Nullable PeekableSocket end() {
            ATTEMPTS.remove(key);
            return latest.get() instanceof Turn turn ? turn.socket : null;
        }
    }

    /**
     * Makes a factory. For the driver.
     *
     * @param key what {@link Attempt#key} returned
     */
    public PoolSocketFactory(String key) {
        this.key = Long.parseLong(key);
    }

    /**
     * Closes a socket. Never blocks and never throws.
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
        Attempt attempt = ATTEMPTS.get(key);
        if (attempt == null) return new PeekableSocket(PeekableSocket.UNBOUNDED);
        var socket = new PeekableSocket(attempt::shareNanos);
        if (!attempt.made(socket)) {
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
