package dev.nanopool.testkit;

import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketException;
import java.net.URI;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;

/**
 * Stands between a pool and the server, and counts round trips as the protocol has them: each Sync and each simple Query
 * is answered by one ReadyForQuery. Plain text only.
 */
public final class CountingProxy implements AutoCloseable {
    private final URI target;
    private final ServerSocket server;
    private final Set<Socket> open = ConcurrentHashMap.newKeySet();
    private final Set<Socket> stalled = ConcurrentHashMap.newKeySet();
    private final CountDownLatch closed = new CountDownLatch(1);
    private final AtomicLong roundTrips = new AtomicLong();

    public CountingProxy(String url) throws IOException {
        target = URI.create(url);
        server = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
        Thread.ofVirtual().start(this::accept);
    }

    /** The server's URL, by way of this proxy. */
    public String url() {
        return "postgresql://" + target.getRawUserInfo() + "@127.0.0.1:" + server.getLocalPort() + target.getRawPath();
    }

    public long roundTrips() {
        return roundTrips.get();
    }

    /** From now on nothing that the clients of today send reaches the server. Later ones are served. */
    public void stall() {
        stalled.addAll(open);
    }

    private void accept() {
        try {
            while (true) {
                Socket client = server.accept();
                Socket upstream = new Socket(target.getHost(), target.getPort());
                for (Socket socket : new Socket[] {client, upstream}) {
                    socket.setTcpNoDelay(true);
                    open.add(socket);
                }
                Thread.ofVirtual().start(() -> pump(client, upstream, true));
                Thread.ofVirtual().start(() -> pump(upstream, client, false));
            }
        } catch (IOException e) {
            if (!server.isClosed()) throw new IllegalStateException(e);
        }
    }

    private void pump(Socket from, Socket to, boolean count) {
        try (from;
                to) {
            InputStream in = from.getInputStream();
            OutputStream out = to.getOutputStream();
            if (count) forwardMessages(from, new DataInputStream(in), out);
            else in.transferTo(out);
        } catch (EOFException | SocketException e) {
            open.remove(from); // one side has closed: the normal end of a connection
        } catch (IOException | InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    /** The first message, the startup packet or a cancel, has no type. */
    private void forwardMessages(Socket from, DataInputStream in, OutputStream out)
            throws IOException, InterruptedException {
        forward(in, out, -1);
        while (true) {
            int type = in.readUnsignedByte();
            if (stalled.contains(from)) closed.await();
            if (type == 'S' || type == 'Q') roundTrips.incrementAndGet();
            forward(in, out, type);
        }
    }

    private static void forward(DataInputStream in, OutputStream out, int type) throws IOException {
        int length = in.readInt();
        byte[] message = new byte[length + (type < 0 ? 0 : 1)];
        int at = 0;
        if (type >= 0) message[at++] = (byte) type;
        for (int shift = 24; shift >= 0; shift -= 8) message[at++] = (byte) (length >>> shift);
        in.readFully(message, at, length - 4);
        out.write(message);
    }

    @Override
    public void close() throws IOException {
        server.close();
        closed.countDown();
        for (Socket socket : open) socket.close();
    }
}
