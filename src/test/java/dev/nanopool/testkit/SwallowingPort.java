package dev.nanopool.testkit;

import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.util.ArrayList;
import java.util.List;

/** A port of the loopback interface that answers no attempt to connect, because its queue of connections is full. */
public final class SwallowingPort implements AutoCloseable {
    private static final int MOST = 100;
    private static final int PATIENCE_MILLIS = 100;

    private final ServerSocket server = new ServerSocket();
    private final List<Socket> queued = new ArrayList<>();

    /** Swallows at once. */
    public SwallowingPort(int port) throws IOException {
        this(InetAddress.getLoopbackAddress(), port);
    }

    /** As {@link #SwallowingPort(int)}, at another address of this machine. */
    public SwallowingPort(InetAddress at, int port) throws IOException {
        var address = new InetSocketAddress(at, port);
        server.setReuseAddress(true);
        server.bind(address, 1);
        while (queued.size() < MOST) {
            var socket = new Socket();
            queued.add(socket);
            try {
                socket.connect(new InetSocketAddress(address.getAddress(), port()), PATIENCE_MILLIS);
            } catch (SocketTimeoutException e) {
                return; // which is what was wanted
            }
        }
        throw new IOException("the queue of port " + port() + " does not become full");
    }

    public int port() {
        return server.getLocalPort();
    }

    @Override
    public void close() throws IOException {
        for (Socket socket : queued) socket.close();
        server.close();
    }
}
