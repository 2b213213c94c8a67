package dev.nanopool.testkit;

import java.io.BufferedInputStream;
import java.io.DataInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.net.BindException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketException;
import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashSet;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Predicate;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * Stands between a pool and the server. It counts, and does to connections what networks and servers do. The parts that
 * look at single messages see plain text only; connections with TLS pass, and can be cut, silenced and held up like the
 * others.
 */
public final class FaultProxy implements AutoCloseable {
    private static final int SSL_REQUEST = 80877103;
    private static final int CANCEL_REQUEST = 80877102;
    private static final byte[] READY = {'Z', 0, 0, 0, 5, 'I'}; // for a query, outside a transaction
    // Of Linux's table of sockets: local address and port, remote address and port, the state.
    private static final Pattern ESTABLISHED =
            Pattern.compile(": \\p{XDigit}+:(\\p{XDigit}+) \\p{XDigit}+:(\\p{XDigit}+) 01 ");
    private static final Rule NO_RULE = new Rule(message -> false, Fault.SILENT);

    private static final AtomicInteger PORTS = new AtomicInteger(
            ThreadLocalRandom.current().nextInt(11_000, 28_000)); // below those that systems give away

    private final URI target;
    private final Set<Link> links = ConcurrentHashMap.newKeySet();
    private final AtomicLong roundTrips = new AtomicLong();
    private final AtomicLong messages = new AtomicLong();
    private final AtomicInteger connecting = new AtomicInteger();
    private final AtomicInteger mostConnecting = new AtomicInteger();
    private ServerSocket server; // as the next one, by the test's thread
    private final ThreadFactory threads;
    private Thread acceptor;
    private volatile Rule rule = NO_RULE;
    private volatile Duration latency = Duration.ZERO;
    private volatile long bytesPerSecond = Long.MAX_VALUE;
    private volatile @Nullable CountDownLatch hole; // for connections to come; each has one of its own
    private volatile boolean closed;

    /** What a client sends, which is the protocol's type, and everything after the length as one character a byte. */
    public record Message(char type, String text) {
        /** The type of an event that is no message, because a client has connected. */
        public static final char ACCEPTED = '+';

        /** The type given here to the first message, which has none. */
        public static final char STARTUP = '0';

        public static final char TERMINATE = 'X';

        /** The last message of a login with a password; with SCRAM it is the second of that type. */
        public boolean isPassword() {
            return type == 'p' && !text.startsWith("SCRAM");
        }

        /** A statement with that piece of SQL in it, on its way to be executed or prepared. */
        public boolean isStatement(String sql) {
            return (type == 'Q' || type == 'P') && text.contains(sql);
        }

        /** The empty statement, which asks whether the server is there. */
        public boolean isProbe() {
            return (type == 'Q' && text.equals("\0")) || (type == 'P' && text.startsWith("\0\0"));
        }
    }

    /** What happens to a connection. */
    public record Fault(Kind kind, Duration delay, String sqlState) {
        enum Kind {
            SLOW,
            SILENT,
            UNANSWERED,
            FIN,
            RST,
            ERROR,
            FATAL
        }

        /** From now on nothing passes in either direction; what is sent is lost. The client may still close. */
        public static final Fault SILENT = new Fault(Kind.SILENT, Duration.ZERO, "");

        /** As {@link #SILENT}, but what the client sends arrives. */
        public static final Fault UNANSWERED = new Fault(Kind.UNANSWERED, Duration.ZERO, "");

        /** The connection is closed to both sides. */
        public static final Fault FIN = new Fault(Kind.FIN, Duration.ZERO, "");

        /** The connection is reset. */
        public static final Fault RST = new Fault(Kind.RST, Duration.ZERO, "");

        /** The message arrives later. */
        public static Fault slow(Duration delay) {
            return new Fault(Kind.SLOW, delay, "");
        }

        /** The client gets an error for the answer to its statement, and the server nothing. The session goes on. */
        public static Fault error(String sqlState) {
            return new Fault(Kind.ERROR, Duration.ZERO, sqlState);
        }

        /** The client gets an error of severity FATAL, and the connection is closed. */
        public static Fault fatal(String sqlState) {
            return new Fault(Kind.FATAL, Duration.ZERO, sqlState);
        }
    }

    private record Rule(Predicate<Message> moment, Fault fault) {}

    /** Serves at once. The URL is a server's, with user and database in it. */
    public FaultProxy(String url) throws IOException {
        this(url, Thread.ofVirtual().factory());
    }

    /**
     * On other threads, because a client that keeps all carriers busy would keep a proxy on virtual threads from its
     * work.
     */
    public FaultProxy(String url, ThreadFactory threads) throws IOException {
        this.threads = threads;
        target = URI.create(url);
        server = listening();
        acceptor = accept(server);
    }

    /** On a port that the system gives to nobody, because a test of another JVM must not get it while this proxy refuses. */
    private static ServerSocket listening() throws IOException {
        for (int attempt = 0; attempt < 100; attempt++) {
            try {
                return new ServerSocket(PORTS.getAndIncrement(), 50, InetAddress.getLoopbackAddress());
            } catch (BindException e) {
                // another program has it
            }
        }
        throw new IOException("100 ports are in use");
    }

    /** The server's URL, by way of this proxy. */
    public String url() {
        return "postgresql://" + target.getRawUserInfo() + "@localhost:" + server.getLocalPort() + target.getRawPath();
    }

    /** As the protocol has them, in which one ReadyForQuery answers each Sync and each simple Query. */
    public long roundTrips() {
        return roundTrips.get();
    }

    /** How many messages clients have sent on connections without TLS. */
    public long messages() {
        return messages.get();
    }

    /** How many connections are open. */
    public int open() {
        return links.size();
    }

    /**
     * How many connections were on their way at the same time at most, that is, accepted, and neither logged in nor
     * refused.
     */
    public int mostConnecting() {
        return mostConnecting.get();
    }

    /** Each piece of an answer comes that much later. */
    public void latency(Duration latency) {
        this.latency = latency;
    }

    /** Answers come no faster than that. */
    public void throttle(long bytesPerSecond) {
        this.bytesPerSecond = bytesPerSecond;
    }

    /** From now on, until {@link #heal}, the fault befalls every connection that sends such a message. */
    public void at(Predicate<Message> moment, Fault fault) {
        rule = new Rule(moment, fault);
    }

    /**
     * Nothing passes, not even the end of a connection, until {@link #heal}, on today's connections and on those to
     * come.
     */
    public void blackHole() {
        blackHoleNew();
        blackHoleExisting();
    }

    /** As {@link #blackHole}, for today's connections only. */
    public void blackHoleExisting() {
        for (Link link : links) {
            if (link.hole == null) link.hole = new CountDownLatch(1);
        }
    }

    /** As {@link #blackHole}, for connections to come, which are accepted and then get no answer. */
    public void blackHoleNew() {
        if (hole == null) hole = new CountDownLatch(1);
    }

    /** What is held up passes, and nothing more happens to messages. What was lost stays lost. */
    public void heal() {
        rule = NO_RULE;
        latency = Duration.ZERO;
        bytesPerSecond = Long.MAX_VALUE;
        leave(hole);
        hole = null;
        for (Link link : links) {
            leave(link.hole);
            link.hole = null;
        }
    }

    private static void leave(@Nullable CountDownLatch hole) {
        if (hole != null) hole.countDown();
    }

    /** The fault befalls all of today's connections. */
    public void now(Fault fault) throws IOException {
        for (Link link : links) {
            try {
                link.strike(fault);
            } catch (SocketException e) {
                if (!link.client.isClosed()) throw e; // else it has ended by itself meanwhile
            }
        }
    }

    /**
     * Cuts all of today's connections, with {@link Fault#FIN} or {@link Fault#RST}, and waits until the kernel has told
     * the clients. A busy machine delivers a cut to itself many milliseconds late. Only Linux shows it.
     */
    public void cut(Fault fault) throws Exception {
        Set<Integer> ports = links.stream().map(link -> link.client.getPort()).collect(Collectors.toSet());
        now(fault);
        Await.until("the clients are told", () -> Collections.disjoint(establishedPorts(), ports));
    }

    private Set<Integer> establishedPorts() throws IOException {
        Set<Integer> ports = new HashSet<>();
        for (String table : new String[] {"/proc/net/tcp", "/proc/net/tcp6"}) {
            Path path = Path.of(table);
            if (!Files.exists(path)) continue;
            Matcher established = ESTABLISHED.matcher(Files.readString(path));
            while (established.find()) {
                int remotePort = Integer.parseInt(established.group(2), 16);
                if (remotePort == server.getLocalPort()) ports.add(Integer.parseInt(established.group(1), 16));
            }
        }
        return ports;
    }

    /** The server's side of today's connections ends, and the clients are not told. */
    public void halfOpen() throws IOException {
        for (Link link : links) {
            link.strike(Fault.SILENT);
            close(link.upstream);
        }
    }

    /** From now on the proxy does not listen; open connections stay. */
    public void refuse() throws Exception {
        server.close();
        acceptor.join(); // else it may let one more in
    }

    /** Ends {@link #refuse}. */
    public void listen() throws IOException {
        var again = new ServerSocket();
        again.setReuseAddress(true);
        again.bind(new InetSocketAddress(InetAddress.getLoopbackAddress(), server.getLocalPort()));
        server = again;
        acceptor = accept(again);
    }

    @Override
    public void close() throws IOException {
        closed = true;
        server.close();
        heal();
        for (Link link : links) link.end();
    }

    private Thread start(Runnable task) {
        Thread thread = threads.newThread(task);
        thread.start();
        return thread;
    }

    private Thread accept(ServerSocket listening) {
        return start(() -> {
            try {
                while (true) {
                    var link = new Link(listening.accept(), hole);
                    if (closed) link.end();
                    start(link::requests);
                }
            } catch (IOException e) {
                if (!listening.isClosed()) throw new UncheckedIOException(e);
            }
        });
    }

    private static void close(@Nullable Socket socket) {
        try {
            if (socket != null) socket.close();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** One connection, with a thread for each direction. It ends with either side, if that side's end passes. */
    private final class Link {
        private final Socket client;
        private final AtomicBoolean underway = new AtomicBoolean(true);
        volatile @Nullable Socket upstream;
        volatile @Nullable CountDownLatch hole;
        private volatile boolean requestsLost;
        private volatile boolean answersLost;

        Link(Socket client, @Nullable CountDownLatch hole) {
            this.client = client;
            this.hole = hole;
            mostConnecting.accumulateAndGet(connecting.incrementAndGet(), Math::max);
            links.add(this);
        }

        void end() {
            arrived();
            links.remove(this);
            close(client);
            close(upstream);
        }

        private void arrived() {
            if (underway.compareAndSet(true, false)) connecting.decrementAndGet();
        }

        /** Waits while the connection is in a black hole. */
        private void pass() {
            CountDownLatch here = hole;
            try {
                if (here != null) here.await();
            } catch (InterruptedException e) {
                throw new IllegalStateException(e);
            }
        }

        void requests() {
            try {
                pass();
                var in = new DataInputStream(new BufferedInputStream(client.getInputStream()));
                if (isStruck(Message.ACCEPTED, new byte[0], in)) {
                    in.transferTo(OutputStream.nullOutputStream()); // until the client closes
                    return;
                }
                Socket server = new Socket(target.getHost(), target.getPort());
                upstream = server;
                for (Socket socket : new Socket[] {client, server}) socket.setTcpNoDelay(true);
                start(() -> answers(server));
                OutputStream out = server.getOutputStream();
                byte[] startup = body(in);
                int code = ByteBuffer.wrap(startup).getInt();
                if (code == CANCEL_REQUEST) arrived();
                request(Message.STARTUP, startup, in, out);
                if (code == SSL_REQUEST) copyRequests(in, out);
                else while (true) request((char) in.readByte(), body(in), in, out);
            } catch (IOException e) {
                pass(); // one side has closed, which is the usual end
            } finally {
                end();
            }
        }

        private static byte[] body(DataInputStream in) throws IOException {
            byte[] body = new byte[in.readInt() - 4];
            in.readFully(body);
            return body;
        }

        private void request(char type, byte[] body, DataInputStream in, OutputStream out) throws IOException {
            messages.incrementAndGet();
            pass();
            if (type == 'S' || type == 'Q') roundTrips.incrementAndGet();
            if (!requestsLost && !isStruck(type, body, in)) out.write(message(type, body));
        }

        private void copyRequests(InputStream in, OutputStream out) throws IOException {
            byte[] buffer = new byte[8192];
            for (int n = in.read(buffer); n >= 0; n = in.read(buffer)) {
                pass();
                if (!requestsLost) out.write(buffer, 0, n);
            }
        }

        private void answers(Socket server) {
            try {
                InputStream in = server.getInputStream();
                OutputStream out = client.getOutputStream();
                byte[] buffer = new byte[8192];
                for (int n = in.read(buffer); n >= 0; n = in.read(buffer)) {
                    if (buffer[0] == 'E' || endsWithReady(buffer, n)) arrived();
                    pass();
                    delay(latency);
                    int piece = Math.clamp(bytesPerSecond / 100, 1, n);
                    for (int at = 0; at < n && !answersLost; at += piece) {
                        out.write(buffer, at, Math.min(piece, n - at));
                        if (bytesPerSecond < Long.MAX_VALUE) delay(Duration.ofMillis(10));
                    }
                }
                pass();
            } catch (IOException e) {
                pass(); // one side has closed, which is the usual end
            } finally {
                if (!answersLost) end();
            }
        }

        private boolean isStruck(char type, byte[] body, DataInputStream in) throws IOException {
            Rule current = rule;
            if (!current.moment.test(new Message(type, new String(body, StandardCharsets.ISO_8859_1)))) return false;
            if (current.fault.kind == Fault.Kind.ERROR) {
                // In the extended protocol, the server too answers an error at once, and then ignores all up to the
                // Sync.
                for (char next = type; next != 'Q' && next != 'S'; body(in)) next = (char) in.readByte();
            }
            return strike(current.fault);
        }

        /** If true, what was to be sent is lost. */
        boolean strike(Fault fault) throws IOException {
            switch (fault.kind) {
                case SLOW -> LockSupport.parkNanos(fault.delay.toNanos());
                case UNANSWERED -> answersLost = true;
                case SILENT -> lose();
                case FIN -> {
                    lose();
                    client.shutdownOutput();
                    close(upstream);
                }
                case RST -> {
                    client.setSoLinger(true, 0);
                    end();
                }
                case ERROR -> {
                    client.getOutputStream().write(error("ERROR", fault));
                    client.getOutputStream().write(READY);
                }
                case FATAL -> {
                    client.getOutputStream().write(error("FATAL", fault));
                    strike(Fault.FIN);
                }
            }
            return fault.kind != Fault.Kind.SLOW && fault.kind != Fault.Kind.UNANSWERED;
        }

        private void lose() {
            requestsLost = true;
            answersLost = true;
        }
    }

    private static boolean endsWithReady(byte[] bytes, int n) {
        return n >= READY.length && Arrays.equals(bytes, n - READY.length, n, READY, 0, READY.length);
    }

    private static void delay(Duration delay) {
        long end = System.nanoTime() + delay.toNanos();
        for (long rest = delay.toNanos(); rest > 0; rest = end - System.nanoTime()) LockSupport.parkNanos(rest);
    }

    private static byte[] error(String severity, Fault fault) {
        String fields = "S" + severity + "\0V" + severity + "\0C" + fault.sqlState + "\0Mmade by the test\0\0";
        return message('E', fields.getBytes(StandardCharsets.ISO_8859_1));
    }

    private static byte[] message(char type, byte[] body) {
        ByteBuffer message = ByteBuffer.allocate(5 + body.length);
        if (type != Message.STARTUP) message.put((byte) type);
        message.putInt(4 + body.length).put(body);
        return Arrays.copyOf(message.array(), message.position());
    }
}
