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
import java.net.SocketTimeoutException;
import java.net.StandardSocketOptions;
import java.net.UnknownHostException;
import java.nio.ByteBuffer;
import java.nio.channels.CancelledKeyException;
import java.nio.channels.ClosedByInterruptException;
import java.nio.channels.ClosedChannelException;
import java.nio.channels.SelectionKey;
import java.nio.channels.SocketChannel;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.function.LongSupplier;
import jdk.net.ExtendedSocketOptions;
import org.jspecify.annotations.Nullable;

/**
 * A TCP socket that can be asked, without waiting, whether the server has said something or is gone. What a peek has read is
 * read again by the next read. Peeking belongs to the thread that may read. Closing never blocks, and ends every read and
 * write of other threads.
 *
 * <p>An interrupt closes no socket, because a thread waits in a selector, and not in the channel. If the interrupted thread is
 * a platform thread, it goes on waiting. If it is a virtual thread, {@link Interrupts} decides. Before Java 25 a virtual thread
 * in a selector holds its carrier, so there it waits in the channel, which an interrupt closes.
 */
public final class PeekableSocket extends Socket {
    private static final int KEEPALIVE_IDLE_SECONDS = 30;
    private static final int KEEPALIVE_INTERVAL_SECONDS = 10;
    private static final int KEEPALIVE_COUNT = 3;
    private static final int BUFFERED_BYTES = 8192; // TLS reads a record's header and its rest
    private static final int PEEKED_BYTES = 256;
    private static final ByteBuffer NOTHING = ByteBuffer.allocate(0);
    static final LongSupplier UNBOUNDED = () -> Long.MAX_VALUE;
    private static final int ERROR_RESPONSE = 'E'; // what an idle session is told before the server ends it
    private static final int TLS_ALERT = 0x15; // the same below TLS; no message of the server begins with it
    private static final boolean SELECTOR_FREES_CARRIER = Runtime.version().feature() >= 25;

    private LongSupplier shareNanos; // how long connecting may take
    private volatile SocketChannel channel = SocketChannel.open(); // another one for each address that is tried
    private volatile boolean closed;
    private @Nullable SocketAddress bound; // this end, if the driver chose it
    private @Nullable Handshake handshake = new Handshake(); // null in a pool, after the login

    // A thread makes a selector, THEN looks whether the socket is closed; a closing thread sets the flag, THEN closes
    // them.
    private volatile @Nullable Readiness readable; // also used to connect
    private volatile @Nullable Readiness writable; // null until the send buffer is full for the first time
    private volatile int timeoutMillis; // of a read; 0: none

    private volatile @Nullable Interrupts
            interrupts; // null: not yet part of a pool, so that an interrupt changes nothing
    private boolean mayBeCancelled; // a cancel was sent, or is being sent, for the statement that was sent last

    private ByteBuffer unread = NOTHING; // what was read too early
    private boolean isAtEnd; // the last read that did not wait found the end of the stream
    private boolean isAnswering = true; // something was read since the last write; else a read can only wait
    private volatile boolean reading; // a thread is in a read
    private long heardNanos; // when a read last received something

    /** What a check of an idle connection shows. */
    public enum Peek {
        /** There is nothing to read, so the server is alive, as far as this end can know. */
        QUIET,
        /** The server has sent something that may be harmless, so ask it. */
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

    /** Sets when the system probes a silent peer, where it has the option. The driver's tcpKeepAlive says whether it does. */
    private void keepAlive(SocketOption<Integer> option, int value) throws IOException {
        if (channel.supportedOptions().contains(option)) channel.setOption(option, value);
    }

    /**
     * Returns whether {@link Interrupts} decides what an interrupt of the calling thread does.
     *
     * @return true on a virtual thread that leaves its carrier while it waits in a selector
     */
    public static boolean isInterruptDecided() {
        return SELECTOR_FREES_CARRIER && Thread.currentThread().isVirtual();
    }

    /**
     * Says what an interrupt of a virtual thread does from now on. The socket is then part of a pool, and forgets how long its
     * login took.
     *
     * @param interrupts what decides
     */
    public void interrupts(Interrupts interrupts) {
        this.interrupts = interrupts;
        handshake = null;
    }

    /**
     * Checks the connection by one system call that never waits, or by three on a platform thread.
     *
     * @return what it shows
     */
    public Peek peek() {
        if (reading) return Peek.IN_USE;
        try {
            if (!unread.hasRemaining() && receiveUnread(PEEKED_BYTES) <= 0) return isAtEnd ? Peek.GONE : Peek.QUIET;
            return hasFarewell() ? Peek.GONE : Peek.DATA;
        } catch (IOException e) {
            return Peek.GONE; // closed or reset
        }
    }

    /**
     * Returns when a read last received something.
     *
     * @return a time of {@link System#nanoTime}, perhaps a moment old on another thread than the reading one
     */
    public long heardNanos() {
        return heardNanos;
    }

    /** Reads what has arrived, and has room for at least so many bytes. Does not wait. Nothing may be unread. */
    private int receiveUnread(int bytes) throws IOException {
        neverBlock();
        if (unread.capacity() < bytes) unread = ByteBuffer.allocate(bytes).limit(0); // few connections need a large one
        int count = 0;
        try {
            count = channel.read(unread.clear());
        } finally {
            unread.limit(Math.max(count, 0)).position(0);
        }
        isAtEnd = count < 0;
        return count;
    }

    /**
     * Closes the selectors, which hold file descriptors, and drops the empty buffer. The next wait or peek makes them again. Does
     * nothing while a thread reads. Belongs to the thread that may read. Does not wait.
     *
     * @throws IOException if a selector cannot be closed
     */
    public void rest() throws IOException {
        if (reading) return;
        forgetSelectors();
        if (!unread.hasRemaining()) unread = NOTHING;
    }

    /**
     * Returns whether the server has said why it ends the session.
     *
     * @return whether a read would answer that
     */
    public boolean hasFarewell() {
        if (!unread.hasRemaining()) return false;
        int first = unread.get(unread.position());
        return first == ERROR_RESPONSE || first == TLS_ALERT;
    }

    // Waiting

    private static boolean waitsInSelector() {
        return SELECTOR_FREES_CARRIER || !Thread.currentThread().isVirtual();
    }

    private void neverBlock() throws IOException {
        if (channel.isBlocking()) channel.configureBlocking(false);
    }

    /** For a thread that waits in the channel itself. A channel that belongs to a selector cannot block. */
    private void block() throws IOException {
        if (channel.isBlocking()) return;
        forgetSelectors();
        channel.configureBlocking(true);
    }

    private void forgetSelectors() throws IOException {
        closeSelectors();
        readable = null;
        writable = null;
    }

    private Readiness readiness(int operation) throws IOException {
        Readiness known = operation == SelectionKey.OP_WRITE ? writable : readable;
        try {
            if (known != null) {
                known.operation(operation);
                return known;
            }
            var made = new Readiness(channel, operation);
            if (operation == SelectionKey.OP_WRITE) writable = made;
            else readable = made;
            if (!closed) return made;
            made.close(); // the closing thread may not have seen it
            throw closedException();
        } catch (CancelledKeyException e) {
            throw closedException();
        }
    }

    /**
     * Waits until the channel is ready. The flag of an interrupted thread is set again at the end.
     *
     * @param nanos how long to wait at most; {@code Long.MAX_VALUE}: without a limit
     * @throws SocketTimeoutException if that time is over
     * @throws ClosedByInterruptException if the thread was interrupted, and has given the connection up
     */
    private void await(int operation, long nanos) throws IOException {
        boolean wasInterrupted = false;
        try {
            long startNanos = System.nanoTime();
            while (true) {
                if (closed) throw closedException();
                wasInterrupted |= Thread.interrupted();
                long left = nanos == Long.MAX_VALUE ? nanos : nanos - (System.nanoTime() - startNanos);
                if (left <= 0) throw new SocketTimeoutException("the server has not answered in time");
                if (wasInterrupted) left = Math.min(left, interrupted());
                if (readiness(operation).await(left)) return;
            }
        } finally {
            if (wasInterrupted) Thread.currentThread().interrupt();
        }
    }

    /** The thread is interrupted. Answers how long it may wait before it asks again. */
    private long interrupted() throws IOException {
        Interrupts decision = interrupts;
        if (decision == null || !Thread.currentThread().isVirtual()) return Long.MAX_VALUE;
        mayBeCancelled = true;
        long nanos = decision.interrupted();
        if (nanos > 0) return nanos;
        close();
        throw new ClosedByInterruptException();
    }

    private SocketException closedException() {
        return new SocketException("the socket is closed");
    }

    @Override
    public InputStream getInputStream() throws IOException {
        requireConnected();
        return new Input();
    }

    private void requireConnected() throws SocketException {
        if (isClosed()) throw closedException();
        if (!isConnected()) throw new SocketException("the socket is not connected");
    }

    private final class Input extends InputStream {
        @Override
        public int read() throws IOException {
            byte[] bytes = new byte[1];
            return read(bytes, 0, 1) < 0 ? -1 : bytes[0] & 0xFF;
        }

        @Override
        public int read(byte[] bytes, int offset, int length) throws IOException {
            if (length == 0) return 0;
            if (unread.hasRemaining()) return takeUnread(bytes, offset, length);
            reading = true;
            try {
                int count = waitsInSelector() ? receive(bytes, offset, length) : receiveBlocking(bytes, offset, length);
                if (count > 0) heardNanos = System.nanoTime();
                return count;
            } finally {
                reading = false;
            }
        }

        private int takeUnread(byte[] bytes, int offset, int length) {
            int count = Math.min(length, unread.remaining());
            unread.get(bytes, offset, count);
            return count;
        }

        private int receiveBlocking(byte[] bytes, int offset, int length) throws IOException {
            block();
            Socket blocking = channel.socket();
            blocking.setSoTimeout(timeoutMillis);
            return blocking.getInputStream().read(bytes, offset, length);
        }

        private int receive(byte[] bytes, int offset, int length) throws IOException {
            boolean isBuffered = length < BUFFERED_BYTES;
            int count = isBuffered ? receive(null) : receive(ByteBuffer.wrap(bytes, offset, length));
            return isBuffered && count > 0 ? takeUnread(bytes, offset, length) : count;
        }

        /** Waits for the next bytes. Null: they go into {@code unread}. */
        private int receive(@Nullable ByteBuffer target) throws IOException {
            neverBlock();
            if (Thread.currentThread().isInterrupted()) {
                long unused = interrupted(); // it may never have to wait
            }
            int count = isAnswering ? receiveNow(target) : 0;
            while (count == 0) {
                int millis = timeoutMillis;
                await(SelectionKey.OP_READ, millis == 0 ? Long.MAX_VALUE : TimeUnit.MILLISECONDS.toNanos(millis));
                count = receiveNow(target);
            }
            isAnswering = true;
            return count;
        }

        private int receiveNow(@Nullable ByteBuffer target) throws IOException {
            return target == null ? receiveUnread(BUFFERED_BYTES) : channel.read(target);
        }

        /**
         * Throws at the end of the stream. The driver skips a row for which it has no memory, in a loop that would go on for
         * ever there.
         */
        @Override
        public long skip(long count) throws IOException {
            if (count <= 0) return 0;
            byte[] bytes = new byte[(int) Math.min(count, BUFFERED_BYTES)];
            int skipped = read(bytes, 0, bytes.length);
            if (skipped < 0) throw new EOFException("the server has closed the connection");
            return skipped;
        }

        @Override
        public int available() throws IOException {
            return channel.socket().getInputStream().available() + unread.remaining();
        }

        @Override
        public void close() throws IOException {
            PeekableSocket.this.close();
        }
    }

    @Override
    public OutputStream getOutputStream() throws IOException {
        requireConnected();
        return new Output();
    }

    private final class Output extends OutputStream {
        @Override
        public void write(int value) throws IOException {
            write(new byte[] {(byte) value}, 0, 1);
        }

        @Override
        public void write(byte[] bytes, int offset, int length) throws IOException {
            if (mayBeCancelled) {
                mayBeCancelled = false;
                Objects.requireNonNull(interrupts).awaitCancels();
            }
            isAnswering = false;
            Handshake login = handshake;
            if (login != null && length > 0) login.wrote(bytes[offset]);
            if (!waitsInSelector()) {
                block();
                channel.socket().getOutputStream().write(bytes, offset, length);
                return;
            }
            neverBlock();
            ByteBuffer left = ByteBuffer.wrap(bytes, offset, length);
            while (left.hasRemaining()) {
                if (channel.write(left) == 0) await(SelectionKey.OP_WRITE, Long.MAX_VALUE);
            }
        }

        @Override
        public void close() throws IOException {
            PeekableSocket.this.close();
        }
    }

    /**
     * Returns how long connecting took. Only before {@link #interrupts}.
     *
     * @return nanoseconds
     */
    public long connectNanos() {
        return Objects.requireNonNull(handshake).connectNanos();
    }

    /**
     * Returns how long the TLS handshake took. Only before {@link #interrupts}.
     *
     * @return nanoseconds; zero without TLS
     */
    public long tlsNanos() {
        return Objects.requireNonNull(handshake).tlsNanos();
    }

    // The rest is the channel's. The channel makes its socket, which takes memory, only for what the driver seldom
    // asks.

    private <T> void set(SocketOption<T> option, T value) throws SocketException {
        try {
            channel.setOption(option, value);
        } catch (IOException e) {
            throw asSocketException(e);
        }
    }

    private static SocketException asSocketException(IOException e) {
        if (e instanceof SocketException known) return known;
        var exception =
                new SocketException(e instanceof ClosedChannelException ? "the socket is closed" : e.getMessage());
        exception.initCause(e);
        return exception;
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
                connectTo(addresses.get(i), Math.clamp(millis, 1, Integer.MAX_VALUE));
                Objects.requireNonNull(handshake).connected(System.nanoTime() - startNanos);
                shareNanos = UNBOUNDED; // so that the attempt is forgotten
                return;
            } catch (IOException e) {
                if (failure == null) failure = e;
                else failure.addSuppressed(e);
            }
        }
        throw failure == null ? new IOException("no address of " + address) : failure;
    }

    private void connectTo(SocketAddress address, int millis) throws IOException {
        if (!waitsInSelector()) {
            channel.socket().connect(address, millis);
            return;
        }
        if (address instanceof InetSocketAddress inet && inet.isUnresolved()) {
            throw new UnknownHostException(inet.getHostString());
        }
        neverBlock();
        if (channel.connect(address)) return;
        long deadlineNanos = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(millis);
        while (!channel.finishConnect()) {
            await(SelectionKey.OP_CONNECT, deadlineNanos - System.nanoTime());
        }
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
        forgetSelectors();
        channel = SocketChannel.open(); // THEN look; a closing thread sets the flag, THEN closes the channel
        if (closed) {
            channel.close();
            throw closedException();
        }
        keepAlive();
        if (bound != null) channel.socket().bind(bound);
    }

    @Override
    public void bind(SocketAddress address) throws IOException {
        bound = address;
        channel.socket().bind(address);
    }

    @Override
    public void close() throws IOException {
        closed = true;
        try {
            channel.close();
        } finally {
            closeSelectors(); // the channel stays open in the system until it has left them
        }
    }

    private void closeSelectors() throws IOException {
        Readiness reader = readable;
        if (reader != null) reader.close();
        Readiness writer = writable;
        if (writer != null) writer.close();
    }

    @Override
    public void shutdownInput() throws IOException {
        channel.socket().shutdownInput();
    }

    @Override
    public void shutdownOutput() throws IOException {
        channel.socket().shutdownOutput();
    }

    @Override
    public boolean isConnected() {
        return channel.isConnected();
    }

    @Override
    public boolean isBound() {
        return channel.socket().isBound();
    }

    @Override
    public boolean isClosed() {
        return closed || !channel.isOpen();
    }

    @Override
    public boolean isInputShutdown() {
        return channel.socket().isInputShutdown();
    }

    @Override
    public boolean isOutputShutdown() {
        return channel.socket().isOutputShutdown();
    }

    @Override
    public SocketChannel getChannel() {
        return channel;
    }

    @Override
    public InetAddress getInetAddress() {
        return channel.socket().getInetAddress();
    }

    @Override
    public InetAddress getLocalAddress() {
        return channel.socket().getLocalAddress();
    }

    @Override
    public int getPort() {
        return channel.socket().getPort();
    }

    @Override
    public int getLocalPort() {
        return channel.socket().getLocalPort();
    }

    @Override
    public SocketAddress getRemoteSocketAddress() {
        return channel.socket().getRemoteSocketAddress();
    }

    @Override
    public SocketAddress getLocalSocketAddress() {
        return channel.socket().getLocalSocketAddress();
    }

    @Override
    public void setTcpNoDelay(boolean on) throws SocketException {
        set(StandardSocketOptions.TCP_NODELAY, on);
    }

    @Override
    public boolean getTcpNoDelay() throws SocketException {
        return channel.socket().getTcpNoDelay();
    }

    @Override
    public void setKeepAlive(boolean on) throws SocketException {
        set(StandardSocketOptions.SO_KEEPALIVE, on);
    }

    @Override
    public boolean getKeepAlive() throws SocketException {
        return channel.socket().getKeepAlive();
    }

    @Override
    public void setSoTimeout(int millis) throws SocketException {
        if (millis < 0)
            throw new IllegalArgumentException("timeout: " + millis + " is out of bounds; must be 0 or more");
        timeoutMillis = millis;
    }

    @Override
    public int getSoTimeout() throws SocketException {
        return timeoutMillis;
    }

    @Override
    public void setSoLinger(boolean on, int seconds) throws SocketException {
        channel.socket().setSoLinger(on, seconds);
    }

    @Override
    public int getSoLinger() throws SocketException {
        return channel.socket().getSoLinger();
    }

    @Override
    public void setSendBufferSize(int bytes) throws SocketException {
        channel.socket().setSendBufferSize(bytes);
    }

    @Override
    public int getSendBufferSize() throws SocketException {
        try {
            return channel.getOption(StandardSocketOptions.SO_SNDBUF);
        } catch (IOException e) {
            throw asSocketException(e);
        }
    }

    @Override
    public void setReceiveBufferSize(int bytes) throws SocketException {
        channel.socket().setReceiveBufferSize(bytes);
    }

    @Override
    public int getReceiveBufferSize() throws SocketException {
        return channel.socket().getReceiveBufferSize();
    }

    @Override
    public void setReuseAddress(boolean on) throws SocketException {
        channel.socket().setReuseAddress(on);
    }

    @Override
    public boolean getReuseAddress() throws SocketException {
        return channel.socket().getReuseAddress();
    }

    @Override
    public void setTrafficClass(int trafficClass) throws SocketException {
        channel.socket().setTrafficClass(trafficClass);
    }

    @Override
    public int getTrafficClass() throws SocketException {
        return channel.socket().getTrafficClass();
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
