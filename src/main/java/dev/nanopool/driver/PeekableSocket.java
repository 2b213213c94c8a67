package dev.nanopool.driver;

import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketAddress;
import java.net.SocketException;
import java.net.SocketImpl;
import java.net.SocketOption;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.function.LongSupplier;
import jdk.net.ExtendedSocketOptions;
import org.jspecify.annotations.Nullable;

/**
 * A TCP socket that can be asked, without waiting, whether the server has said something or is gone. A byte that was
 * peeked at is read again by the next read. Peeking belongs to whoever may read; closing never blocks, and ends every read
 * and write of other threads.
 */
public final class PeekableSocket extends Socket {
    private static final int KEEPALIVE_IDLE_SECONDS = 30;
    private static final int KEEPALIVE_INTERVAL_SECONDS = 10;
    private static final int KEEPALIVE_COUNT = 3;
    private static final int SKIPPED_BYTES = 8192; // at a time
    private static final int NOTHING = -1;
    private static final int ERROR_RESPONSE = 'E'; // what an idle session is told before the server ends it
    private static final int TLS_ALERT = 0x15; // the same below TLS; no message of the server begins with it

    private final LongSupplier shareNanos; // how long connecting may take
    private volatile SocketChannel channel = SocketChannel.open(); // another one for each address that is tried
    private volatile Socket socket = channel.socket();
    private volatile boolean closed;
    private @Nullable SocketAddress bound; // this end, if the driver chose it
    private final ByteBuffer one = ByteBuffer.allocate(1);
    private int peeked = NOTHING;
    private volatile boolean reading; // a thread waits in a read
    private final Handshake handshake = new Handshake();

    /** What a look at an idle connection shows. */
    public enum Peek {
        /** Nothing to read: alive, as far as this end can know. */
        QUIET,
        /** The server has said something that may be harmless: ask it. */
        DATA,
        /** The server has ended the session, or the network has. */
        GONE,
        /** A thread reads from the socket, which the caller took for idle. */
        IN_USE
    }

    PeekableSocket(LongSupplier shareNanos) throws IOException {
        super((SocketImpl) null); // every method that the driver and TLS use goes to the channel's socket
        this.shareNanos = shareNanos;
        keepAlive();
    }

    private void keepAlive() throws IOException {
        keepAlive(ExtendedSocketOptions.TCP_KEEPIDLE, KEEPALIVE_IDLE_SECONDS);
        keepAlive(ExtendedSocketOptions.TCP_KEEPINTERVAL, KEEPALIVE_INTERVAL_SECONDS);
        keepAlive(ExtendedSocketOptions.TCP_KEEPCOUNT, KEEPALIVE_COUNT);
    }

    /** When to probe a silent peer, where the system can be told; whether to, is the driver's tcpKeepAlive. */
    private void keepAlive(SocketOption<Integer> option, int value) throws IOException {
        if (channel.supportedOptions().contains(option)) channel.setOption(option, value);
    }

    /**
     * Looks at the connection: one system call that never waits; three on a platform thread.
     *
     * @return what it shows
     */
    public Peek peek() {
        if (reading) return Peek.IN_USE; // the reader holds the lock that a switch of the mode needs
        if (peeked != NOTHING) return hasFarewell() ? Peek.GONE : Peek.DATA;
        try {
            channel.configureBlocking(false);
            try {
                int count = channel.read(one.clear());
                if (count == 0) return Peek.QUIET;
                if (count < 0) return Peek.GONE;
                peeked = one.get(0) & 0xFF;
                return hasFarewell() ? Peek.GONE : Peek.DATA;
            } finally {
                channel.configureBlocking(true);
            }
        } catch (IOException e) {
            return Peek.GONE; // closed or reset
        }
    }

    /**
     * Returns whether the server has said why it ends the session.
     *
     * @return whether a read would answer that
     */
    public boolean hasFarewell() {
        return peeked == ERROR_RESPONSE || peeked == TLS_ALERT;
    }

    @Override
    public InputStream getInputStream() throws IOException {
        return new Input(socket.getInputStream());
    }

    private final class Input extends InputStream {
        private final InputStream in;

        Input(InputStream in) {
            this.in = in;
        }

        @Override
        public int read() throws IOException {
            byte[] bytes = new byte[1];
            return read(bytes, 0, 1) < 0 ? -1 : bytes[0] & 0xFF;
        }

        @Override
        public int read(byte[] bytes, int offset, int length) throws IOException {
            if (peeked == NOTHING || length == 0) {
                reading = true;
                try {
                    return in.read(bytes, offset, length);
                } finally {
                    reading = false;
                }
            }
            bytes[offset] = (byte) peeked;
            peeked = NOTHING;
            return 1;
        }

        /**
         * Throws at the end of the stream. The driver skips a row for which it has no memory, in a loop that would go on for
         * ever there.
         */
        @Override
        public long skip(long count) throws IOException {
            if (count <= 0) return 0;
            byte[] bytes = new byte[(int) Math.min(count, SKIPPED_BYTES)];
            int skipped = read(bytes, 0, bytes.length);
            if (skipped < 0) throw new EOFException("the server has closed the connection");
            return skipped;
        }

        @Override
        public int available() throws IOException {
            return in.available() + (peeked == NOTHING ? 0 : 1);
        }

        @Override
        public void close() throws IOException {
            in.close();
        }
    }

    // The rest is the channel's socket

    @Override
    public OutputStream getOutputStream() throws IOException {
        return handshake.watch(socket.getOutputStream());
    }

    /**
     * Returns how long connecting took.
     *
     * @return nanoseconds
     */
    public long connectNanos() {
        return handshake.connectNanos();
    }

    /**
     * Returns how long the TLS handshake took.
     *
     * @return nanoseconds; zero without TLS
     */
    public long tlsNanos() {
        return handshake.tlsNanos();
    }

    @Override
    public void connect(SocketAddress address) throws IOException {
        connect(address, 0);
    }

    @Override
    public void connect(SocketAddress address, int timeoutMillis) throws IOException {
        long timeoutNanos = timeoutMillis == 0 ? Long.MAX_VALUE : TimeUnit.MILLISECONDS.toNanos(timeoutMillis);
        long startNanos = System.nanoTime();
        List<SocketAddress> addresses = addresses(address);
        IOException failure = null;
        for (int i = 0; i < addresses.size(); i++) {
            try {
                if (i > 0) reopen();
                long left = Math.min(shareNanos.getAsLong(), timeoutNanos - (System.nanoTime() - startNanos));
                long millis = TimeUnit.NANOSECONDS.toMillis(left) / (addresses.size() - i);
                socket.connect(addresses.get(i), Math.clamp(millis, 1, Integer.MAX_VALUE));
                handshake.connected(System.nanoTime() - startNanos);
                return;
            } catch (IOException e) {
                if (failure == null) failure = e;
                else failure.addSuppressed(e);
            }
        }
        throw failure == null ? new IOException("no address of " + address) : failure;
    }

    /** All addresses of the name, so that a dead one does not keep the driver from the others. */
    private static List<SocketAddress> addresses(SocketAddress address) throws IOException {
        if (!(address instanceof InetSocketAddress inet) || inet.isUnresolved()) return List.of(address);
        List<SocketAddress> all = new ArrayList<>();
        all.add(address);
        for (InetAddress other : InetAddress.getAllByName(inet.getHostString())) {
            if (!other.equals(inet.getAddress())) all.add(new InetSocketAddress(other, inet.getPort()));
        }
        return all;
    }

    /** A channel that could not connect cannot be used again. */
    private void reopen() throws IOException {
        channel.close();
        channel = SocketChannel.open(); // THEN look; a closing thread sets the flag, THEN closes the channel
        socket = channel.socket();
        if (closed) {
            channel.close();
            throw new SocketException("closed while connecting");
        }
        keepAlive();
        if (bound != null) socket.bind(bound);
    }

    @Override
    public void bind(SocketAddress address) throws IOException {
        bound = address;
        socket.bind(address);
    }

    @Override
    public void close() throws IOException {
        closed = true;
        channel.close();
    }

    @Override
    public void shutdownInput() throws IOException {
        socket.shutdownInput();
    }

    @Override
    public void shutdownOutput() throws IOException {
        socket.shutdownOutput();
    }

    @Override
    public boolean isConnected() {
        return socket.isConnected();
    }

    @Override
    public boolean isBound() {
        return socket.isBound();
    }

    @Override
    public boolean isClosed() {
        return socket.isClosed();
    }

    @Override
    public boolean isInputShutdown() {
        return socket.isInputShutdown();
    }

    @Override
    public boolean isOutputShutdown() {
        return socket.isOutputShutdown();
    }

    @Override
    public SocketChannel getChannel() {
        return channel;
    }

    @Override
    public InetAddress getInetAddress() {
        return socket.getInetAddress();
    }

    @Override
    public InetAddress getLocalAddress() {
        return socket.getLocalAddress();
    }

    @Override
    public int getPort() {
        return socket.getPort();
    }

    @Override
    public int getLocalPort() {
        return socket.getLocalPort();
    }

    @Override
    public SocketAddress getRemoteSocketAddress() {
        return socket.getRemoteSocketAddress();
    }

    @Override
    public SocketAddress getLocalSocketAddress() {
        return socket.getLocalSocketAddress();
    }

    @Override
    public void setTcpNoDelay(boolean on) throws SocketException {
        socket.setTcpNoDelay(on);
    }

    @Override
    public boolean getTcpNoDelay() throws SocketException {
        return socket.getTcpNoDelay();
    }

    @Override
    public void setKeepAlive(boolean on) throws SocketException {
        socket.setKeepAlive(on);
    }

    @Override
    public boolean getKeepAlive() throws SocketException {
        return socket.getKeepAlive();
    }

    @Override
    public void setSoTimeout(int millis) throws SocketException {
        socket.setSoTimeout(millis);
    }

    @Override
    public int getSoTimeout() throws SocketException {
        return socket.getSoTimeout();
    }

    @Override
    public void setSoLinger(boolean on, int seconds) throws SocketException {
        socket.setSoLinger(on, seconds);
    }

    @Override
    public int getSoLinger() throws SocketException {
        return socket.getSoLinger();
    }

    @Override
    public void setSendBufferSize(int bytes) throws SocketException {
        socket.setSendBufferSize(bytes);
    }

    @Override
    public int getSendBufferSize() throws SocketException {
        return socket.getSendBufferSize();
    }

    @Override
    public void setReceiveBufferSize(int bytes) throws SocketException {
        socket.setReceiveBufferSize(bytes);
    }

    @Override
    public int getReceiveBufferSize() throws SocketException {
        return socket.getReceiveBufferSize();
    }

    @Override
    public void setReuseAddress(boolean on) throws SocketException {
        socket.setReuseAddress(on);
    }

    @Override
    public boolean getReuseAddress() throws SocketException {
        return socket.getReuseAddress();
    }

    @Override
    public void setTrafficClass(int trafficClass) throws SocketException {
        socket.setTrafficClass(trafficClass);
    }

    @Override
    public int getTrafficClass() throws SocketException {
        return socket.getTrafficClass();
    }

    @Override
    public <T> Socket setOption(SocketOption<T> option, T value) throws IOException {
        channel.setOption(option, value);
        return this;
    }

    @Override
    public <T> T getOption(SocketOption<T> option) throws IOException {
        return channel.getOption(option);
    }

    @Override
    public Set<SocketOption<?>> supportedOptions() {
        return channel.supportedOptions();
    }
}
