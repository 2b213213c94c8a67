package dev.nanopool.bench;

import dev.nanopool.bench.HttpServers.Kind;
import dev.nanopool.bench.HttpServers.Work;
import dev.nanopool.bench.Report.Table;
import dev.nanopool.testkit.EmbeddedServer;
import dev.nanopool.testkit.EmbeddedServer.Stop;
import dev.nanopool.testkit.TestServer;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.sql.Connection;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** Small HTTP servers that lease from each pool in turn, under the load of {@link HttpLoad}. */
final class Servers {
    private static final List<Contender> POOLS = List.of(Contender.NANOPOOL, Contender.HIKARI, Contender.AGROAL);
    private static final int MANY = 1_000;
    private static final Path LOG =
            Path.of("target", "bench", "servers.log"); // what the servers and the clients report

    private final boolean isFull;
    private final EmbeddedServer database = EmbeddedServer.start();
    private final Table closed = new Table("server, work, clients", "req/s");
    private final Table open = new Table("server, work, % of capacity", "p99 ms");
    private final Table restarts = new Table("server", "req/s");

    private Servers(boolean isFull) {
        this.isFull = isFull;
    }

    /** Measures all, which takes less than 15 minutes. */
    static void run(Report report, boolean isFull) throws Exception {
        var servers = new Servers(isFull);
        try (EmbeddedServer database = servers.database;
                Connection direct = database.direct()) {
            TestServer.execute(
                    direct,
                    "CREATE TABLE bench_accounts (id int PRIMARY KEY, name text, amount bigint) WITH (fillfactor = 50)");
            TestServer.execute(
                    direct,
                    "INSERT INTO bench_accounts SELECT i, 'name ' || i, 0 FROM generate_series(1, " + HttpServers.KEYS
                            + ") i");
            TestServer.execute(direct, "VACUUM ANALYZE bench_accounts");
            for (Kind kind : isFull ? Kind.values() : new Kind[] {Kind.JDK}) servers.measure(kind);
        }
        report.add("HTTP servers, as fast as they go", """
                The JDK's HttpServer, Helidon SE 4.5 and Jetty 12.1 on virtual threads, with plain JDBC and 8 connections.
                ROW: one row by key; ROWS: twenty rows; UPDATE: an update and a look at its result in a transaction; MIX: a
                row by key, but each hundredth is a report of 100 ms. Each pool has the settings that its documentation
                recommends: its defaults, a fixed size, 5 s to wait, and for Agroal the sorter of PostgreSQL's exceptions. The
                clients are a second process with so many lasting connections, which ask again at once. CPU is that of the server's process. "served": requests of the least and
                of the most served client.""", servers.closed.markdown());
        report.bars(servers.closed.only(point -> point.endsWith(" " + MANY)), "req/s", "servers.svg", false);
        report.add("HTTP servers at a fixed rate", """
                The same with 1,000 connections and a fixed rate, the same for all pools: a share of the most that any of them
                reached above with 1,000. Times count from when the request should have begun. "late": requests without an
                answer at the end.""", servers.open.markdown());
        report.bars(servers.open.only(point -> point.endsWith(" 80")), "p99 ms", "servers-wait.svg", true);
        report.add("HTTP servers and a restart of the database", """
                ROW at 50 % of the capacity; in the middle, the database stops fast and starts again.""", servers.restarts.markdown());
    }

    private void measure(Kind kind) throws Exception {
        Map<Contender, Child> servers = new EnumMap<>(Contender.class);
        try (Child load = new Child(HttpLoad.class)) {
            for (Contender pool : POOLS) {
                String name = pool.toString().replaceAll(" .*", "");
                String url = TestServer.jdbc(database.url()) + "&sslmode=disable";
                Child server = new Child(HttpServers.class, kind.name(), name, url);
                servers.put(pool, server);
                server.port = Integer.parseInt(server.await("PORT ").substring(5));
            }
            for (Child server : servers.values()) {
                for (Work work : works()) load.ask(server, work, MANY, 0, isFull ? 2 : 1); // compiles the code
            }
            measure(kind, servers, load);
        } finally {
            for (Child server : servers.values()) server.close();
        }
    }

    private List<Work> works() {
        return isFull ? List.of(Work.ROW, Work.ROWS, Work.UPDATE, Work.MIX) : List.of(Work.ROW, Work.UPDATE);
    }

    private void measure(Kind kind, Map<Contender, Child> servers, Child load) throws Exception {
        double rowCapacity = 0;
        for (Work work : works()) {
            double capacity = closed(kind, work, servers, load);
            if (work == Work.ROW) rowCapacity = capacity;
            if (work != Work.ROWS) open(kind, work, servers, load, capacity); // those would be as ROW
        }
        restart(kind, servers, load, rowCapacity / 2); // the last, because a pool may not recover
    }

    /** Returns the most that any of the pools has served with many clients. */
    private double closed(Kind kind, Work work, Map<Contender, Child> servers, Child load) throws IOException {
        for (int round = 1; round <= (isFull ? 3 : 1); round++) {
            for (int clients : new int[] {64, MANY}) {
                for (var server : servers.entrySet()) {
                    Map<String, Double> metrics = load.ask(server.getValue(), work, clients, 0, 1.2);
                    closed.add(point(kind, work, clients), server.getKey(), round, metrics);
                }
            }
        }
        return servers.keySet().stream()
                .mapToDouble(pool -> closed.median(point(kind, work, MANY), pool, "req/s"))
                .max()
                .orElseThrow();
    }

    private void open(Kind kind, Work work, Map<Contender, Child> servers, Child load, double capacity)
            throws IOException {
        for (int percent : isFull ? new int[] {50, 80, 100, 150} : new int[] {80}) {
            for (var server : servers.entrySet()) {
                Map<String, Double> metrics =
                        load.ask(server.getValue(), work, MANY, capacity * percent / 100, isFull ? 2 : 1);
                open.add(point(kind, work, percent), server.getKey(), 1, metrics);
            }
        }
    }

    private static String point(Kind kind, Work work, int number) {
        return kind + ", " + work + ", " + number;
    }

    private void restart(Kind kind, Map<Contender, Child> servers, Child load, double rate) throws Exception {
        for (var server : servers.entrySet()) {
            load.say(server.getValue(), Work.ROW, MANY, rate, 6);
            TimeUnit.SECONDS.sleep(3);
            database.stop(Stop.FAST);
            database.startAgain();
            restarts.add(kind.toString(), server.getKey(), 1, load.answer());
        }
    }

    /** A JVM that is spoken to. */
    private static final class Child implements AutoCloseable {
        private final Process process;
        private final BufferedReader output;
        private final PrintStream input;
        private int port;

        Child(Class<?> main, String... arguments) throws IOException {
            List<String> command = new ArrayList<>(List.of(
                    Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                    "-Xms512m",
                    "-Xmx1g",
                    "-Dsun.net.httpserver.nodelay=true",
                    "-Dsun.net.httpserver.maxIdleConnections=10000", // else it closes all above 200
                    "-cp",
                    System.getProperty("java.class.path"),
                    main.getName()));
            command.addAll(List.of(arguments));
            process = new ProcessBuilder(command)
                    .redirectError(ProcessBuilder.Redirect.appendTo(LOG.toFile()))
                    .start();
            output = process.inputReader(StandardCharsets.UTF_8);
            input = new PrintStream(process.getOutputStream(), true, StandardCharsets.UTF_8);
        }

        String await(String begin) throws IOException {
            for (String line = output.readLine(); line != null; line = output.readLine()) {
                if (line.startsWith(begin)) return line;
            }
            throw new IllegalStateException("a process has ended, see " + LOG);
        }

        void say(Child server, Work work, int clients, double rate, double seconds) {
            input.println(server.port + " /" + work + " " + clients + " " + rate + " " + seconds);
        }

        Map<String, Double> answer() throws IOException {
            return Bench.points(List.of(await(Load.RESULT))).get("point");
        }

        Map<String, Double> ask(Child server, Work work, int clients, double rate, double seconds) throws IOException {
            say(server, work, clients, rate, seconds);
            return answer();
        }

        @Override
        public void close() throws Exception {
            input.close();
            if (!process.waitFor(10, TimeUnit.SECONDS)) process.destroyForcibly();
        }
    }
}
