package dev.nanopool.testkit;

import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicInteger;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLException;
import javax.net.ssl.SSLSocket;

/**
 * A server that does what a test tells it, in PostgreSQL's protocol or against it, and remembers all that it is sent. One
 * virtual thread for each client.
 */
public final class FakeServer implements AutoCloseable {
    private static final int SSL_REQUEST = 80877103;

    private final ServerSocket server;
    private final Script script;
    private final Set<Socket> open = ConcurrentHashMap.newKeySet();
    private final ByteArrayOutputStream received = new ByteArrayOutputStream(); // guarded by itself
    private final List<Throwable> failures = new CopyOnWriteArrayList<>();
    private final AtomicInteger clients = new AtomicInteger();

    /** What is done with one client; its connection ends with it. */
    @FunctionalInterface
    public interface Script {
        void run(Client client) throws IOException, InterruptedException;
    }

    /** Receives what the client has executed. */
    @FunctionalInterface
    public interface Listener {
        char statement(String sql) throws IOException;
    }

    private record Message(char type, String text) {}

    public FakeServer(Script script) throws IOException {
        this.script = script;
        this.server = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
        Thread.ofVirtual().start(this::accept);
    }

    public int port() {
        return server.getLocalPort();
    }

    /** All that clients have sent, decrypted, one character a byte. */
    public String received() {
        synchronized (received) {
            return received.toString(StandardCharsets.ISO_8859_1);
        }
    }

    /** How many clients have come. */
    public int clients() {
        return clients.get();
    }

    /** How many clients are connected. */
    public int connected() {
        return open.size();
    }

    /** What went wrong here, other than that clients left. */
    public List<Throwable> failures() {
        return failures;
    }

    private void accept() {
        try {
            while (true) {
                Socket socket = server.accept();
                socket.setTcpNoDelay(true);
                open.add(socket);
                clients.incrementAndGet();
                Thread.ofVirtual().start(() -> serve(socket));
            }
        } catch (IOException e) {
            if (!server.isClosed()) failures.add(e);
        }
    }

    private void serve(Socket socket) {
        try (socket) {
            script.run(new Client(socket));
        } catch (EOFException | SocketException | SSLException e) {
            // the client has left, as most tests want
        } catch (IOException | InterruptedException | RuntimeException e) {
            failures.add(e);
        } finally {
            open.remove(socket);
        }
    }

    @Override
    public void close() throws IOException {
        server.close();
        for (Socket socket : open) socket.close();
    }

    /** The server's end of one connection. */
    public final class Client {
        private final int number = clients.get();
        private Socket socket;
        private DataInputStream in;
        private OutputStream out;

        private Client(Socket socket) throws IOException {
            this.socket = socket;
            this.in = new DataInputStream(new Recorder(socket.getInputStream()));
            this.out = socket.getOutputStream();
        }

        /** The how manieth client this is, from 1. */
        public int number() {
            return number;
        }

        /** Reads the first message, which has no type. Returns true if it asks for TLS, and another one will follow. */
        public boolean readStartup() throws IOException {
            byte[] message = new byte[in.readInt() - 4];
            in.readFully(message);
            return message.length == 4 && ByteBuffer.wrap(message).getInt() == SSL_REQUEST;
        }

        /** Reads a message; returns its type. */
        public char read() throws IOException {
            return next().type;
        }

        private Message next() throws IOException {
            char type = (char) in.readUnsignedByte();
            byte[] body = new byte[in.readInt() - 4];
            in.readFully(body);
            return new Message(type, new String(body, StandardCharsets.UTF_8));
        }

        /** As {@link FakeServer#received}. */
        public String received() {
            return FakeServer.this.received();
        }

        /** Reads everything until the client leaves. */
        public void readAll() throws IOException {
            in.transferTo(OutputStream.nullOutputStream());
        }

        public void write(int... bytes) throws IOException {
            byte[] all = new byte[bytes.length];
            for (int i = 0; i < bytes.length; i++) all[i] = (byte) bytes[i];
            out.write(all);
        }

        /** Writes a message, by its type and its text, in which each character is a byte. */
        public void send(char type, String body) throws IOException {
            send(type, body.length() + 4, body);
        }

        /** The same with a length that may be a lie. */
        public void send(char type, int length, String body) throws IOException {
            byte[] text = body.getBytes(StandardCharsets.ISO_8859_1);
            out.write(ByteBuffer.allocate(5 + text.length)
                    .put((byte) type)
                    .putInt(length)
                    .put(text)
                    .array());
        }

        /** Asks for a kind of authentication, with what belongs to it. */
        public void authenticate(int kind, String body) throws IOException {
            send('R', "\0\0\0" + (char) kind + body);
        }

        /** Lets the client in. */
        public void welcome() throws IOException {
            authenticate(0, "");
            send('S', "server_version\00018.0\0");
            send('S', "server_encoding\0UTF8\0");
            send('S', "client_encoding\0UTF8\0");
            send('S', "integer_datetimes\0on\0");
            send('S', "standard_conforming_strings\0on\0");
            send('S', "DateStyle\0ISO, MDY\0");
            send('S', "TimeZone\0UTC\0");
            send('K', "\0\0\0\1\0\0\0\2");
            send('Z', "I");
        }

        /** Waits for a statement, all of it. */
        public void readStatement() throws IOException {
            char type = read();
            while (type != 'S' && type != 'Q') {
                if (type == 'X') throw new EOFException();
                type = read();
            }
        }

        /** Answers a statement that returns nothing. */
        public void answer() throws IOException {
            send('1', "");
            send('2', "");
            send('n', "");
            send('C', "SET\0");
            send('Z', "I");
        }

        /** Answers every statement, until the client leaves. */
        public void answerAll() throws IOException {
            while (true) {
                readStatement();
                answer();
            }
        }

        /**
         * Answers every statement with no rows, until the client leaves. The listener gets each text first, may send
         * messages of its own, and says the state of the transaction, which is {@code I}, {@code T} or {@code E}.
         */
        public void serve(Listener listener) throws IOException {
            char state = 'I';
            String sql = "";
            while (true) {
                Message message = next();
                switch (message.type) {
                    case 'P' -> {
                        sql = message.text.split("\0", -1)[1];
                        state = listener.statement(sql);
                        send('1', "");
                    }
                    case 'Q' -> {
                        sql = message.text.split("\0", -1)[0];
                        state = listener.statement(sql);
                        send('C', sql.split(" ", 2)[0] + "\0");
                        send('Z', String.valueOf(state));
                    }
                    case 'B' -> send('2', "");
                    case 'D' -> send('n', "");
                    case 'E' -> send('C', sql.split(" ", 2)[0] + "\0");
                    case 'C' -> send('3', "");
                    case 'S' -> send('Z', String.valueOf(state));
                    default -> throw new EOFException();
                }
            }
        }

        /** Goes on in TLS, as the server. */
        public void startTls(SSLContext context) throws IOException {
            var tls = (SSLSocket) context.getSocketFactory().createSocket(socket, null, false);
            tls.setUseClientMode(false);
            tls.startHandshake();
            socket = tls;
            in = new DataInputStream(new Recorder(tls.getInputStream()));
            out = tls.getOutputStream();
        }
    }

    /** Remembers what is read. */
    private final class Recorder extends InputStream {
        private final InputStream in;

        Recorder(InputStream in) {
            this.in = in;
        }

        @Override
        public int read() throws IOException {
            int read = in.read();
            if (read >= 0) {
                synchronized (received) {
                    received.write(read);
                }
            }
            return read;
        }

        @Override
        public int read(byte[] bytes, int offset, int length) throws IOException {
            int count = in.read(bytes, offset, length);
            if (count > 0) {
                synchronized (received) {
                    received.write(bytes, offset, count);
                }
            }
            return count;
        }
    }
}
