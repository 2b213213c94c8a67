package dev.nanopool.demo;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import dev.nanopool.CloseReason;
import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import dev.nanopool.PoolExhaustedException;
import dev.nanopool.PoolHealth;
import dev.nanopool.PoolListener;
import dev.nanopool.PoolMXBean;
import dev.nanopool.PoolStats;
import dev.nanopool.TlsMode;
import dev.nanopool.testkit.ChosenServer;
import dev.nanopool.testkit.FaultProxy;
import dev.nanopool.testkit.FaultProxy.Fault;
import dev.nanopool.testkit.TestServer;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.time.Duration;
import java.time.LocalTime;
import java.time.ZoneId;
import java.time.temporal.ChronoUnit;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.ConcurrentLinkedDeque;
import java.util.concurrent.Executors;
import java.util.concurrent.locks.LockSupport;
import java.util.logging.Level;
import java.util.logging.Logger;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * A small server on virtual threads with a page that shows its pool, drives load and provokes faults. Run by {@code mvn -q
 * -Pdemo -Dserver}; {@code -Ddemo.arguments=8081} for another port, 0 for a free one. It listens on loopback alone, and runs
 * until it is ended. The database is chosen as for {@link Demo}; a proxy before it plays the faults of the network.
 */
public final class Server implements PoolListener {
    private static final int CONNECTIONS = 8;
    private static final double WORK_SECONDS = 0.02; // that a request takes in the database
    private static final int WINDOW_SECONDS = 5;
    private static final int MOST_EVENTS = 100;
    private static final Duration FAULT = Duration.ofSeconds(3);

    private final String url;
    private final FaultProxy proxy;
    private final Pool pool;
    private final Deque<String> events = new ConcurrentLinkedDeque<>(); // as JSON, newest first
    private final Deque<Sample> samples = new ArrayDeque<>(); // one a second; guarded by this
    private volatile int percent;

    private record Sample(PoolStats stats, long nanos) {}

    private Server(String url) throws IOException, SQLException {
        this.url = url;
        this.proxy = new FaultProxy(url);
        this.pool = Pool.create(PoolConfig.builder(proxy.url())
                .name("orders")
                .tls(TlsMode.DISABLE) // the proxy reads the messages
                .size(CONNECTIONS)
                .acquireTimeout(Duration.ofSeconds(2))
                .connectTimeout(Duration.ofSeconds(5))
                .driverProperty("socketTimeout", "5")
                .listener(this)
                .build());
    }

    public static void main(String[] arguments) throws Exception {
        Logger.getLogger("dev.nanopool").setLevel(Level.WARNING);
        int port = arguments.length == 0 ? 8080 : Integer.parseInt(arguments[0]);
        ChosenServer database = ChosenServer.ofDemo();
        try {
            var server = new Server(database.url());
            Runtime.getRuntime().addShutdownHook(new Thread(() -> end(server, database)));
            var http = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), port), 0);
            http.setExecutor(Executors.newVirtualThreadPerTaskExecutor());
            http.createContext("/", server::page);
            http.createContext("/state", exchange -> answer(exchange, "application/json", server.state()));
            http.createContext("/work", server::work);
            http.createContext("/load", server::load);
            http.createContext("/fault", server::fault);
            http.start();
            Thread.startVirtualThread(server::sample);
            Thread.startVirtualThread(server::generate);
            System.out.println("http://localhost:" + http.getAddress().getPort() + "/  (Ctrl-C ends it)");
        } catch (Exception e) {
            database.close();
            throw e;
        }
        Thread.currentThread().join();
    }

    /** Ctrl-C. */
    private static void end(Server server, ChosenServer database) {
        try {
            server.pool.close(Duration.ofSeconds(1));
            server.proxy.close();
            database.close();
        } catch (Exception e) {
            System.err.println("could not clean up: " + e.getMessage());
        }
    }

    // The endpoints

    private static void answer(HttpExchange exchange, String type, String body) throws IOException {
        answer(exchange, 200, type, body);
    }

    private static void answer(HttpExchange exchange, int status, String type, String body) throws IOException {
        byte[] bytes = body.getBytes(StandardCharsets.UTF_8);
        exchange.getResponseHeaders().set("Content-Type", type + "; charset=utf-8");
        exchange.sendResponseHeaders(status, bytes.length);
        exchange.getResponseBody().write(bytes);
        exchange.close();
    }

    private void page(HttpExchange exchange) throws IOException {
        if (!exchange.getRequestURI().getPath().equals("/")) {
            answer(exchange, 404, "text/plain", "there is no such page");
            return;
        }
        try (InputStream page = Objects.requireNonNull(Server.class.getResourceAsStream("page.html"))) {
            answer(exchange, "text/html", new String(page.readAllBytes(), StandardCharsets.UTF_8));
        }
    }

    private void work(HttpExchange exchange) throws IOException {
        try {
            answer(exchange, "text/plain", order());
        } catch (SQLException e) {
            answer(exchange, 503, "text/plain", e.getSQLState());
        }
    }

    private void load(HttpExchange exchange) throws IOException {
        percent = Math.clamp(Integer.parseInt(argument(exchange)), 0, 200);
        happened("load " + percent + " %");
        answer(exchange, "text/plain", "");
    }

    private void fault(HttpExchange exchange) throws IOException {
        String kind = argument(exchange);
        happened("fault: " + kind);
        Thread.startVirtualThread(() -> {
            try {
                provoke(kind);
            } catch (Exception e) {
                happened("the fault failed: " + e.getMessage());
            }
        });
        answer(exchange, "text/plain", "");
    }

    private static String argument(HttpExchange exchange) {
        String query = Objects.requireNonNullElse(exchange.getRequestURI().getQuery(), "");
        return query.substring(query.indexOf('=') + 1);
    }

    // What a request does

    private String order() throws SQLException {
        try (Connection client = pool.client();
                PreparedStatement statement = client.prepareStatement("SELECT now(), pg_sleep(?)")) {
            statement.setDouble(1, WORK_SECONDS);
            try (ResultSet row = statement.executeQuery()) {
                row.next();
                return row.getString(1);
            }
        }
    }

    /** Requests at a fixed rate, whether or not the pool keeps up. */
    private void generate() {
        double due = 0;
        while (true) {
            LockSupport.parkNanos(10_000_000);
            due += 0.01 * percent / 100 * CONNECTIONS / WORK_SECONDS;
            for (; due >= 1; due--) {
                Thread.startVirtualThread(() -> {
                    try {
                        String unused = order();
                    } catch (SQLException e) {
                        if (!(e instanceof PoolExhaustedException)) happened("a request failed: " + e.getSQLState());
                    }
                });
            }
        }
    }

    private void provoke(String kind) throws Exception {
        switch (kind) {
            case "one" -> terminate("LIMIT 1");
            case "all" -> terminate("");
            case "restart" -> {
                proxy.refuse();
                proxy.now(Fault.RST);
                LockSupport.parkNanos(FAULT.toNanos());
                proxy.listen();
            }
            case "hole" -> {
                proxy.blackHole();
                LockSupport.parkNanos(FAULT.toNanos());
                proxy.heal();
            }
            default -> throw new IllegalArgumentException("no such fault");
        }
    }

    private void terminate(String limit) throws SQLException {
        try (Connection direct = DriverManager.getConnection(TestServer.jdbc(url))) {
            TestServer.execute(
                    direct,
                    "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity"
                            + " WHERE application_name = 'orders' " + limit + ") AS victims");
        }
    }

    // What the page shows

    private void sample() {
        PoolHealth.Status before = PoolHealth.Status.UP;
        while (true) {
            PoolHealth health = pool.health();
            if (health.status() != before)
                happened(health.status() + (health.reason().isEmpty() ? "" : ": ") + health.reason());
            before = health.status();
            synchronized (this) {
                samples.add(new Sample(pool.stats(), System.nanoTime()));
                if (samples.size() > WINDOW_SECONDS) samples.remove();
            }
            LockSupport.parkNanos(1_000_000_000);
        }
    }

    private String state() {
        PoolStats now = pool.stats();
        Sample first;
        synchronized (this) {
            first = samples.isEmpty() ? new Sample(now, System.nanoTime()) : samples.getFirst();
        }
        PoolStats window = now.since(first.stats);
        double length = Math.max(0.5, (System.nanoTime() - first.nanos) / 1e9);
        PoolHealth health = pool.health();
        PoolMXBean bean = (PoolMXBean) pool.dataSource();
        List<String> holders = bean.holders().stream().map(Server::quoted).toList();
        return """
                {"server": %s, "health": %s, "reason": %s, "active": %d, "idle": %d, "pending": %d, "opening": %d,
                "rate": %.0f, "p50": %s, "p99": %s, "p999": %s, "refused": %d, "events": [%s], "holders": [%s]}
                """.formatted(
                        quoted(pool + "; load " + percent + " %"),
                        quoted(health.status().name()),
                        quoted(health.reason()),
                        now.active(),
                        now.idle(),
                        now.pending(),
                        now.opening(),
                        window.leasesGranted() / length,
                        quoted(Display.millis(window.waits().percentile(50))),
                        quoted(Display.millis(window.waits().percentile(99))),
                        quoted(Display.millis(window.waits().percentile(99.9))),
                        now.timeouts() + now.rejected(),
                        String.join(", ", events),
                        String.join(", ", holders));
    }

    private static String quoted(String text) {
        return text.chars()
                .mapToObj(c -> c == '"' || c == '\\' ? "\\" + (char) c : c < ' ' ? " " : String.valueOf((char) c))
                .collect(Collectors.joining("", "\"", "\""));
    }

    // What happens

    private void happened(String what) {
        String at = LocalTime.now(ZoneId.systemDefault())
                .truncatedTo(ChronoUnit.SECONDS)
                .toString();
        events.addFirst("{\"at\": " + quoted(at) + ", \"what\": " + quoted(what) + "}");
        if (events.size() > MOST_EVENTS) events.pollLast();
    }

    @Override
    public void opened(String name, int backendPid, Duration took) {
        happened("opened backend " + backendPid + " in " + took.toMillis() + " ms");
    }

    @Override
    public void lost(String name, int backendPid, @Nullable Throwable cause) {
        happened("lost backend " + backendPid);
    }

    @Override
    public void closed(String name, int backendPid, CloseReason reason) {
        if (reason != CloseReason.LOST) happened("closed backend " + backendPid + ": " + reason);
    }

    @Override
    public void exhausted(String name, PoolExhaustedException exception) {
        String verdict = "refused: " + exception.verdict();
        String newest = events.peekFirst();
        if (newest == null || !newest.contains(verdict)) happened(verdict);
    }
}
