package dev.nanopool.bench;

import com.sun.management.OperatingSystemMXBean;
import com.sun.net.httpserver.HttpServer;
import dev.nanopool.bench.Outages.Started;
import io.helidon.webserver.WebServer;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.time.Duration;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;
import javax.sql.DataSource;
import org.eclipse.jetty.http.HttpHeader;
import org.eclipse.jetty.server.Handler;
import org.eclipse.jetty.server.Request;
import org.eclipse.jetty.server.Response;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.util.Callback;
import org.eclipse.jetty.util.thread.VirtualThreadPool;

/**
 * A small HTTP server on virtual threads, with plain JDBC, in a JVM of its own. Arguments: {@link Kind}, a pool's name, the
 * URL. Prints its port, and ends with its input.
 */
public final class HttpServers {
    static final int SIZE = 8;
    static final int KEYS = 10_000;
    private static final Duration PATIENCE = Duration.ofSeconds(5);

    /** The server. */
    enum Kind {
        JDK,
        HELIDON,
        JETTY
    }

    /** What a request asks for. */
    enum Work {
        /** One row by its key. */
        ROW,
        /** Twenty rows. */
        ROWS,
        /** An update and a look at its result, in a transaction. */
        UPDATE,
        /** One row by its key; each hundredth request is a report that takes 100 ms. */
        MIX,
        /** The nanoseconds that this process has computed so far. */
        CPU
    }

    private record Answer(int status, String text) {
        byte[] body() {
            return text.getBytes(StandardCharsets.UTF_8);
        }
    }

    private final DataSource pool;
    private final AtomicInteger mixed = new AtomicInteger(); // no chance, because a few reports more decide a short run

    private HttpServers(DataSource pool) {
        this.pool = pool;
    }

    /** Serves until its input ends. */
    public static void main(String[] arguments) throws Exception {
        Started started = Outages.start(arguments[1], arguments[2], SIZE, PATIENCE);
        var servers = new HttpServers(started.source());
        int port = switch (Kind.valueOf(arguments[0])) {
            case JDK -> servers.jdk();
            case HELIDON -> servers.helidon();
            case JETTY -> servers.jetty();
        };
        System.out.println("PORT " + port);
        while (System.in.read() >= 0)
            ;
        System.exit(0); // threads of rivals and servers may live on
    }

    private int jdk() throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 1_024);
        server.setExecutor(Executors.newVirtualThreadPerTaskExecutor());
        server.createContext("/", exchange -> {
            try (exchange) {
                Answer answer = answer(
                        exchange.getRequestURI().getPath(),
                        exchange.getRequestURI().getQuery());
                byte[] body = answer.body();
                exchange.sendResponseHeaders(answer.status, body.length);
                exchange.getResponseBody().write(body);
            }
        });
        server.start();
        return server.getAddress().getPort();
    }

    private int helidon() {
        return WebServer.builder()
                .host("localhost")
                .port(0)
                .routing(routing -> routing.get("/{work}", (request, response) -> {
                    Answer answer =
                            answer(request.path().path(), request.query().rawValue());
                    response.status(answer.status).send(answer.body());
                }))
                .build()
                .start()
                .port();
    }

    private int jetty() throws Exception {
        var server = new Server(new VirtualThreadPool(100_000));
        var connector = new ServerConnector(server);
        connector.setHost("localhost");
        connector.setAcceptQueueSize(1_024);
        server.addConnector(connector);
        server.setHandler(new Handler.Abstract() {
            @Override
            public boolean handle(Request request, Response response, Callback callback) {
                Answer answer = answer(
                        request.getHttpURI().getPath(), request.getHttpURI().getQuery());
                response.setStatus(answer.status);
                byte[] body = answer.body();
                response.getHeaders().put(HttpHeader.CONTENT_LENGTH, body.length);
                response.write(true, ByteBuffer.wrap(body), callback);
                return true;
            }
        });
        server.start();
        return connector.getLocalPort();
    }

    private Answer answer(String path, String query) {
        try {
            int key = query == null || query.isEmpty() ? 1 : Integer.parseInt(query);
            return new Answer(200, answer(Work.valueOf(path.substring(1)), key));
        } catch (SQLException e) {
            return new Answer(503, String.valueOf(e.getMessage()));
        }
    }

    private String answer(Work work, int key) throws SQLException {
        return switch (work) {
            case ROW -> row(key);
            case ROWS -> rows(key);
            case UPDATE -> update(key);
            case MIX -> mixed.incrementAndGet() % 100 == 0 ? report() : row(key);
            case CPU ->
                Long.toString(
                        ((OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime());
        };
    }

    private String row(int key) throws SQLException {
        try (Connection connection = pool.getConnection();
                PreparedStatement select =
                        connection.prepareStatement("SELECT id, name, amount FROM bench_accounts WHERE id = ?")) {
            return rows(select, key);
        }
    }

    private String rows(int key) throws SQLException {
        try (Connection connection = pool.getConnection();
                PreparedStatement select = connection.prepareStatement(
                        "SELECT id, name, amount FROM bench_accounts WHERE id >= ? ORDER BY id LIMIT 20")) {
            return rows(select, key);
        }
    }

    private static String rows(PreparedStatement select, int key) throws SQLException {
        select.setInt(1, key);
        StringBuilder text = new StringBuilder("[");
        try (ResultSet row = select.executeQuery()) {
            while (row.next()) {
                text.append("{\"id\":").append(row.getInt(1));
                text.append(",\"name\":\"").append(row.getString(2));
                text.append("\",\"amount\":").append(row.getLong(3)).append("}");
            }
        }
        return text.append(']').toString();
    }

    private String update(int key) throws SQLException {
        try (Connection connection = pool.getConnection()) {
            connection.setAutoCommit(false);
            try (PreparedStatement update =
                            connection.prepareStatement("UPDATE bench_accounts SET amount = amount + 1 WHERE id = ?");
                    PreparedStatement select =
                            connection.prepareStatement("SELECT id, name, amount FROM bench_accounts WHERE id = ?")) {
                update.setInt(1, key);
                update.executeUpdate();
                String text = rows(select, key);
                connection.commit();
                return text;
            }
        }
    }

    private String report() throws SQLException {
        try (Connection connection = pool.getConnection();
                PreparedStatement select = connection.prepareStatement(
                        "SELECT count(*), pg_sleep(0.1) FROM bench_accounts WHERE id > 9900");
                ResultSet row = select.executeQuery()) {
            row.next();
            return row.getString(1);
        }
    }
}
