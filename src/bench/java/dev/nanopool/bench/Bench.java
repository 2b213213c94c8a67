package dev.nanopool.bench;

import dev.nanopool.bench.Contender.Settings;
import dev.nanopool.bench.Report.Table;
import dev.nanopool.testkit.Certificates;
import io.zonky.test.db.postgres.embedded.EmbeddedPostgres;
import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.Statement;
import java.time.Duration;
import java.time.Instant;
import java.time.ZoneId;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.openjdk.jmh.profile.GCProfiler;
import org.openjdk.jmh.results.RunResult;
import org.openjdk.jmh.runner.Runner;
import org.openjdk.jmh.runner.RunnerException;
import org.openjdk.jmh.runner.format.OutputFormatFactory;
import org.openjdk.jmh.runner.options.OptionsBuilder;
import org.openjdk.jmh.runner.options.TimeValue;
import org.openjdk.jmh.runner.options.VerboseMode;

/**
 * All benchmarks: {@code mvn -q -f src/bench} for a quick look, {@code mvn -q -f src/bench -Dbench=full} on a quiet machine for
 * figures that last. {@code -Dbench.parts=cycle,closed} runs some of {@link #PARTS}, {@code
 * -Dbench.contenders=NANOPOOL,HIKARI} some of {@link Contender}, {@code -Dbench.callers=8,1000} some sizes of the closed loop.
 * Each point is measured in a JVM of its own, and the contenders take turns: A B C, A B C. Results go to {@code target/bench}.
 */
public final class Bench {
    private static final boolean FULL = System.getProperty("bench", "quick").equals("full");
    private static final int ROUNDS = FULL ? 5 : 1;
    private static final String SECONDS = FULL ? "3" : "1"; // for each point
    private static final int SIZE = 8;

    private interface Part {
        void run(Bench bench) throws Exception;
    }

    private static final Map<String, Part> PARTS = new LinkedHashMap<>();
    private static final Set<String> ONLY_IN_FULL =
            Set.of("checked", "outages", "growth", "overload", "servers", "tenants"); // unless asked for

    static {
        PARTS.put("cycle", Bench::cycle);
        PARTS.put("closed", bench -> bench.closed(false));
        PARTS.put("checked", bench -> bench.closed(true));
        PARTS.put("open", Bench::open);
        PARTS.put("rows", Bench::rows);
        PARTS.put("startup", Bench::startup);
        PARTS.put("waiting", Bench::waiting);
        PARTS.put("outages", Bench::outages);
        PARTS.put("rotation", Bench::rotation);
        PARTS.put("growth", Bench::growth);
        PARTS.put("overload", Bench::overload);
        PARTS.put("servers", bench -> Servers.run(bench.report, FULL));
        PARTS.put("tenants", Bench::tenants);
    }

    private final List<Contender> contenders;
    private final String url;
    private final Report report;

    private Bench(List<Contender> contenders, String url, Report report) {
        this.contenders = contenders;
        this.url = url;
        this.report = report;
    }

    public static void main(String[] arguments) throws Exception {
        Path directory = Path.of("target", "bench");
        try (EmbeddedPostgres server = server()) {
            String url = "jdbc:postgresql://localhost:" + server.getPort() + "/postgres?user=postgres&sslmode=disable";
            Bench bench = new Bench(contenders(), url, new Report(directory, header(url)));
            for (String part : parts()) PARTS.get(part).run(bench);
        }
        System.out.println("Written to " + directory.toAbsolutePath());
    }

    private static List<String> property(String name) {
        return Stream.of(System.getProperty(name, "").split(","))
                .filter(text -> !text.isBlank())
                .toList();
    }

    private static List<String> parts() {
        List<String> chosen = property("bench.parts");
        if (!PARTS.keySet().containsAll(chosen))
            throw new IllegalArgumentException(chosen + " not in " + PARTS.keySet());
        if (!chosen.isEmpty()) return chosen;
        return PARTS.keySet().stream()
                .filter(part -> FULL || !ONLY_IN_FULL.contains(part))
                .toList();
    }

    private static List<Contender> contenders() {
        List<String> chosen = property("bench.contenders");
        return chosen.isEmpty()
                ? Stream.of(Contender.values())
                        .filter(contender -> !Contender.VARIANTS.contains(contender))
                        .toList()
                : chosen.stream().map(Contender::valueOf).toList();
    }

    /** The server of all parts, with user postgres by trust and user app by SCRAM. */
    private static EmbeddedPostgres server() throws Exception {
        Path tls = Files.createTempDirectory("nanopool-bench");
        Certificates certificates = new Certificates(tls);
        certificates.signServer("server");
        EmbeddedPostgres server = EmbeddedPostgres.builder()
                .setServerConfig("ssl", "on")
                .setServerConfig("max_connections", "450")
                .setDataDirectoryCustomizer(data -> {
                    certificates.install("server", data.toPath());
                    write(data.toPath().resolve("pg_hba.conf"), """
                            host    all postgres samehost trust
                            hostssl all app      samehost scram-sha-256
                            """);
                })
                .start();
        try (Stream<Path> files = Files.list(tls)) { // the server has copies
            for (Path file : files.toList()) Files.delete(file);
        }
        Files.delete(tls);
        try (Connection direct = server.getPostgresDatabase().getConnection();
                Statement statement = direct.createStatement()) {
            statement.execute("CREATE ROLE app LOGIN PASSWORD 'secret'");
            statement.execute(
                    "CREATE TABLE bench_rows AS SELECT i AS id, i * 1000::bigint AS amount, 'name ' || i AS name,"
                            + " i / 7::float8 AS ratio, now() AS at FROM generate_series(1, 1000) i");
            statement.execute("ANALYZE bench_rows");
        }
        return server;
    }

    private static void write(Path file, String text) {
        try {
            Files.writeString(file, text);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static String header(String url) throws Exception {
        try (Connection direct = DriverManager.getConnection(url);
                Statement statement = direct.createStatement();
                ResultSet row = statement.executeQuery("SHOW server_version")) {
            row.next();
            return """
                    # nanopool beside others

                    | | |
                    | --- | --- |
                    | commit | %s |
                    | command | `mvn -q -f src/bench%s` |
                    | date | %s |
                    | JDK | %s %s |
                    | CPU | %s, %d cores; load average before the run %.2f |
                    | server | PostgreSQL %s on the same machine, by loopback |

                    Medians over the rounds; the last column is the median of the ratios within a round. The server runs on the
                    same cores. What each contender is told: `Contender.java`.
                    """.formatted(
                            commit(),
                            command(),
                            Instant.now().truncatedTo(ChronoUnit.MINUTES),
                            System.getProperty("java.vm.vendor"),
                            Runtime.version(),
                            cpu(),
                            Runtime.getRuntime().availableProcessors(),
                            ManagementFactory.getOperatingSystemMXBean().getSystemLoadAverage(),
                            row.getString(1));
        }
    }

    private static String command() {
        return Stream.of("bench", "bench.parts", "bench.contenders", "bench.callers")
                .filter(name -> !property(name).isEmpty())
                .map(name -> " -D" + name + "=" + System.getProperty(name))
                .collect(Collectors.joining());
    }

    private static String commit() {
        try {
            Process git =
                    new ProcessBuilder("git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*").start();
            return new String(git.getInputStream().readAllBytes(), StandardCharsets.UTF_8).strip();
        } catch (IOException e) {
            return "unknown: " + e.getMessage();
        }
    }

    private static String cpu() throws IOException {
        Path file = Path.of("/proc/cpuinfo");
        if (!Files.exists(file)) return System.getProperty("os.arch");
        try (Stream<String> lines = Files.lines(file)) {
            return lines.filter(line -> line.startsWith("model name"))
                    .findFirst()
                    .map(line -> line.replaceFirst(".*:\\s*", ""))
                    .orElse(System.getProperty("os.arch"));
        }
    }

    // The parts

    private void cycle() throws Exception {
        record Scenario(String callers, String method, int threads, int size) {}
        List<Scenario> scenarios = List.of(
                new Scenario("1 thread", "thread", 1, SIZE),
                new Scenario("2 threads", "thread", 2, SIZE),
                new Scenario("8 threads", "thread", 8, SIZE),
                new Scenario("fresh threads", "freshThread", 1, SIZE),
                new Scenario("2,000 on 50", "crowd", 1, 50));
        Table table = new Table("callers", "ns/cycle");
        for (int round = 1; round <= ROUNDS; round++) {
            for (Scenario scenario : scenarios) {
                for (Contender contender : contenders) {
                    jmh(table, round, scenario.callers, contender, scenario.method, scenario.threads, scenario.size);
                }
            }
        }
        report.add("Borrow and give back", """
                JMH, median of the iterations; 8 connections, to which nobody speaks. "Fresh threads" are virtual, each borrows once. "2,000 on 50": 2,000
                virtual threads share 50 connections, and each yields once while it holds one. "raw driver" is what the
                benchmark costs without a pool.""", table.markdown());
        report.bars(table, "ns/cycle", "cycle.svg", true);
    }

    private void jmh(
            Table table, int round, String point, Contender contender, String method, int threads, int connections)
            throws RunnerException {
        progress(round, method + " " + threads, contender);
        var options = new OptionsBuilder()
                .include(Cycle.class.getName() + "\\." + method + "$")
                .param("contender", contender.name())
                .param("size", Integer.toString(connections))
                .threads(threads)
                .forks(1)
                .warmupIterations(FULL ? 6 : 2)
                .warmupTime(TimeValue.milliseconds(FULL ? 400 : 200))
                .measurementIterations(FULL ? 5 : 3)
                .measurementTime(TimeValue.milliseconds(200))
                .timeout(TimeValue.seconds(30))
                .addProfiler(GCProfiler.class)
                .jvmArgsAppend("-Xms1g", "-Xmx4g", "-Dbench.url=" + url)
                .build();
        var silent = OutputFormatFactory.createFormatInstance(System.out, VerboseMode.SILENT);
        var results = new Runner(options, silent).run();
        if (results.isEmpty()) table.fail(contender, round, point + ": no result, see above");
        for (RunResult result : results) {
            Map<String, Double> metrics = new LinkedHashMap<>();
            // Not the mean, because one iteration in which the JIT still compiles, or the machine is busy, would decide
            // it.
            metrics.put("ns/cycle", result.getPrimaryResult().getStatistics().getPercentile(50));
            metrics.put(
                    "bytes/cycle",
                    result.getSecondaryResults().get("gc.alloc.rate.norm").getScore());
            table.add(point, contender, round, metrics);
        }
    }

    private void closed(boolean checks) throws Exception {
        List<String> callers = checks ? List.of("1000") : property("bench.callers");
        if (callers.isEmpty()) {
            callers = FULL ? List.of("1", "8", "100", "1000", "10000", "100000") : List.of("8", "1000", "10000");
        }
        String[] points = callers.stream().map(n -> n + "=" + n).toArray(String[]::new);
        Table table = new Table("callers", "op/s");
        for (int round = 1; round <= ROUNDS; round++) {
            for (Contender contender : contenders) {
                measure(table, round, contender, "closed", new Settings(url, SIZE, checks, Settings.LASTING), points);
            }
        }
        report.add(
                "Closed loop" + (checks ? ", each connection validated before it is lent" : ""), """
                8 connections; so many virtual threads, each in a loop of borrow, `SELECT 1`, give back. CPU is that of this
                JVM, without the server's. "served": leases of the least and of the most served thread, counted once all run.
                "callers / throughput" is the wait if all were served in turn. "raw driver" has a connection per thread and
                never more than 8 threads.""", table.markdown());
        if (!checks) {
            report.lines(table, "op/s", "closed-throughput.svg", true, false);
            report.lines(table, "p99.9 ms", "closed-wait.svg", true, true);
        }
    }

    private void open() throws Exception {
        List<Contender> pools =
                contenders.stream().filter(c -> c != Contender.RAW).toList();
        Table saturated = new Table("outstanding", "op/s");
        Table table = new Table("% of capacity", "p99 ms");
        for (int round = 1; round <= ROUNDS; round++) {
            double capacity = 0;
            for (Contender pool : pools) {
                measure(saturated, round, pool, "saturated", new Settings(url, SIZE), "1000=1000");
                capacity = Math.max(capacity, saturated.value("1000", pool, round));
            }
            List<String> points = new ArrayList<>();
            for (int percent : new int[] {50, 80, 95, 110})
                points.add(percent + "=" + (int) (capacity * percent / 100));
            for (Contender pool : pools) {
                measure(table, round, pool, "open", new Settings(url, SIZE), points.toArray(String[]::new));
            }
        }
        report.add("Saturated", """
                8 connections; a fresh virtual thread for each request, 1,000 requests outstanding all the time. The most that
                any pool reaches here is called the capacity below.""", saturated.markdown());
        report.add("Open loop", """
                The same requests, begun at a fixed rate, whatever becomes of them; the same rate for all, a share of the
                capacity in that round. Waits count from the moment at which the request should have begun until it has a
                connection. "late": how many had no answer when the last one began.""", table.markdown());
        report.lines(table, "p99 ms", "open-wait.svg", false, true);
    }

    private void rows() throws Exception {
        Table table = new Table("rows x columns", "median / raw");
        for (int round = 1; round <= ROUNDS; round++) {
            for (Contender contender : contenders) {
                measure(table, round, contender, "rows", new Settings(url, SIZE));
            }
        }
        report.add("Rows", """
                One thread; for each lease one prepared statement, which reads 1,000 rows of 5 columns, in turn with the raw
                driver in the same JVM.""", table.markdown());
    }

    private void startup() throws Exception {
        String tls = url.replace("user=postgres&sslmode=disable", "user=app&password=secret&sslmode=require");
        List<Contender> pools = Stream.concat(
                        Stream.of(Contender.NANOPOOL_FIRST, Contender.NANOPOOL_BEAN), contenders.stream())
                .filter(c -> c != Contender.RAW)
                .toList();
        Table table = new Table("", "last ms");
        for (int round = 1; round <= 3 * ROUNDS; round++) {
            for (Contender pool : pools) measure(table, round, pool, "startup", new Settings(tls, 16));
        }
        Table large = new Table("", "first ms");
        for (int round = 1; round <= ROUNDS; round++) {
            for (Contender pool : List.of(Contender.NANOPOOL, Contender.NANOPOOL_BEAN, Contender.HIKARI)) {
                measure(large, round, pool, "startup", new Settings(tls, 400));
            }
        }
        report.add("Start-up", """
                A pool of 16, and one of 400, with TLS and SCRAM, in a JVM that has opened one connection before. From the call
                that makes the pool until the first, and the last, of as many threads has used its connection.""", table.markdown() + "\n" + large.markdown());
        report.bars(table, "last ms", "startup.svg", false);
    }

    private void waiting() throws Exception {
        String[] points = FULL ? new String[] {"100000=100000", "1000000=1000000"} : new String[] {"100000=100000"};
        Table table = new Table("callers", "bytes per waiter");
        for (int round = 1; round <= ROUNDS; round++) {
            measure(table, round, Contender.NANOPOOL, "waiting", new Settings(url, 1), points);
        }
        report.add("Waiting", """
                So many virtual threads wait for the only connection. Their heap beyond that of as many threads that merely
                park; the JVM's CPU while they wait; afterwards, how many of them were served, and how often one before
                another that had come earlier.""", table.markdown());
    }

    private void outages() throws Exception {
        List<String> lengths = FULL ? List.of() : List.of("300", "1500");
        List<String> lines = java(30, List.of(), Outages.class, lengths);
        lines.removeIf(line -> !line.startsWith("|")); // what the pools log meanwhile
        report.add(
                "Outages",
                "The database is away for a while under 100 callers that wait for 5 s, see `Outages.java`.",
                String.join("\n", lines) + "\n");
        report.bars(Outages.failures(lines), Outages.FAILURES, "outages.svg", true);
    }

    private void rotation() throws Exception {
        Set<Contender> unable =
                Set.of(Contender.HIKARI, Contender.VIBUR, Contender.RAW); // 30 s at least, or none at all
        Table table = new Table("lifetime", "p99 ms");
        for (int round = 1; round <= Math.min(3, ROUNDS); round++) {
            for (Contender contender : contenders) {
                if (!unable.contains(contender)) rotation(table, round, contender);
            }
        }
        report.add("Rotation", """
                An open loop of 5,000 requests/s, undisturbed and while each of the 8 connections is replaced once in its
                lifetime. Waits count as in the open loop.""", table.markdown());
    }

    private void rotation(Table table, int round, Contender contender) throws Exception {
        progress(round, "rotation", contender);
        try {
            var undisturbed = rotation(contender, Settings.LASTING);
            for (int lifetime : FULL ? new int[] {1, 5, 30} : new int[] {1}) {
                Map<String, Double> metrics = rotation(contender, Duration.ofSeconds(lifetime));
                metrics.put("p99 ms, undisturbed", undisturbed.get("p99 ms"));
                metrics.put("p99.9 ms, undisturbed", undisturbed.get("p99.9 ms"));
                metrics.put("p99 rotated / undisturbed", metrics.get("p99 ms") / undisturbed.get("p99 ms"));
                table.add(lifetime + " s", contender, round, metrics);
            }
        } catch (IllegalStateException e) {
            table.fail(contender, round, e.getMessage());
        }
    }

    private Map<String, Double> rotation(Contender contender, Duration lifetime) throws Exception {
        String seconds =
                FULL ? lifetime.toSeconds() == 30 ? "36" : "6" : SECONDS; // in which all connections are replaced
        return load(contender, "rotation", new Settings(url, SIZE, false, lifetime), seconds, "5000=5000")
                .get("5000");
    }

    private void growth() throws Exception {
        List<Contender> pools = contenders.stream()
                .filter(Set.of(Contender.NANOPOOL, Contender.HIKARI, Contender.AGROAL)::contains)
                .toList();
        String[] points = Stream.of("2000", "10000", "100000", "300000")
                .limit(FULL ? 4 : 2)
                .map(callers -> callers + "=" + callers)
                .toArray(String[]::new);
        StringBuilder tables = new StringBuilder();
        for (int size : FULL ? new int[] {1, 8, 64, 400} : new int[] {8}) {
            Table table = new Table("callers", "seconds");
            for (int round = 1; round <= (FULL && size == 8 ? 2 : 1); round++) { // each takes minutes
                for (Contender pool : pools) measure(table, round, pool, "growth", new Settings(url, size), points);
            }
            tables.append(size)
                    .append(" connections:\n\n")
                    .append(table.markdown())
                    .append('\n');
            if (size == 8) report.lines(table, "seconds", "growth.svg", true, true);
        }
        report.add("Growth", """
                So many virtual threads at once, one `SELECT 1` each, until the last one has its answer. CPU is that of this
                JVM. "bytes per waiter": its heap, threads included, while all of them wait for a connection.""", tables.toString());
    }

    private void overload() throws Exception {
        List<Contender> pools =
                List.of(Contender.NANOPOOL, Contender.NANOPOOL_PATIENT, Contender.HIKARI, Contender.AGROAL);
        Table table = new Table("", "served / capacity");
        Path patient = Overload.withoutRefusal();
        for (int round = 1; round <= Math.min(3, ROUNDS); round++) {
            for (Contender pool : pools) {
                progress(round, "overload", pool);
                int thisRound = round;
                List<String> options = pool == Contender.NANOPOOL_PATIENT
                        ? List.of("-cp", patient + File.pathSeparator + System.getProperty("java.class.path"))
                        : List.of();
                try {
                    List<String> arguments = List.of(pool.name(), url, FULL ? "30" : "5");
                    points(java(3, options, Overload.class, arguments))
                            .forEach((point, metrics) -> table.add(point, pool, thisRound, metrics));
                } catch (IllegalStateException e) {
                    table.fail(pool, round, e.getMessage());
                }
            }
        }
        report.add("Overload", Overload.PROSE, table.markdown());
    }

    private void tenants() throws Exception {
        for (String part : List.of("idle", "lazy", "deadlines", "budget")) {
            List<String> lines = java(5, List.of(), Tenants.class, List.of(part));
            lines.removeIf(line -> !line.startsWith(Tenants.ROW));
            lines.replaceAll(line -> line.substring(0, line.lastIndexOf('|') + 1)); // without what the pools log
            String table = "| figure |\n| --- |\n" + String.join("\n", lines) + "\n";
            report.add("Many pools: " + part, "See `Tenants.java`.", table);
        }
    }

    // A JVM for each contender, kind of load and round

    private void measure(Table table, int round, Contender contender, String kind, Settings settings, String... points)
            throws Exception {
        progress(round, kind, contender);
        try {
            load(contender, kind, settings, SECONDS, points)
                    .forEach((point, metrics) -> table.add(point, contender, round, metrics));
        } catch (IllegalStateException e) {
            table.fail(contender, round, e.getMessage());
        }
    }

    private static void progress(int round, String what, Contender contender) {
        System.out.printf(
                "%tT round %d: %s, %s%n", Instant.now().atZone(ZoneId.systemDefault()), round, what, contender);
    }

    /** The points and their metrics. */
    private static Map<String, Map<String, Double>> load(
            Contender contender, String kind, Settings settings, String seconds, String... points) throws Exception {
        List<String> arguments = new ArrayList<>(List.of(
                kind,
                contender.name(),
                settings.url(),
                Integer.toString(settings.size()),
                Boolean.toString(settings.checks()),
                settings.maxLifetime().toString(),
                seconds));
        arguments.addAll(List.of(points));
        // With one carrier, callers join the pool's line in the order in which they begin.
        List<String> options =
                kind.equals("waiting") ? List.of("-Djdk.virtualThreadScheduler.parallelism=1") : List.of();
        return points(java(kind.equals("growth") ? 15 : 5, options, Load.class, arguments));
    }

    /** What the lines say that begin with {@link Load#RESULT}. */
    static Map<String, Map<String, Double>> points(List<String> lines) {
        Map<String, Map<String, Double>> results = new LinkedHashMap<>();
        for (String line : lines) {
            String[] fields = line.split("\t");
            if (!fields[0].equals(Load.RESULT)) continue;
            Map<String, Double> metrics = new LinkedHashMap<>();
            for (String metric : Arrays.copyOfRange(fields, 2, fields.length)) {
                String[] pair = metric.split("=");
                metrics.put(pair[0], Double.valueOf(pair[1]));
            }
            results.put(fields[1], metrics);
        }
        return results;
    }

    /** What a program prints; fails if it does. */
    private static List<String> java(int minutes, List<String> options, Class<?> main, List<String> arguments)
            throws Exception {
        Path output = Files.createTempFile("nanopool-bench", ".log");
        try {
            List<String> command = new ArrayList<>(List.of(
                    Path.of(System.getProperty("java.home"), "bin", "java").toString(), "-Xms1g", "-Xmx4g"));
            if (!options.contains("-cp")) command.addAll(List.of("-cp", System.getProperty("java.class.path")));
            command.addAll(options);
            command.add(main.getName());
            command.addAll(arguments);
            Process process = new ProcessBuilder(command)
                    .redirectErrorStream(true)
                    .redirectOutput(output.toFile())
                    .start();
            boolean ended = process.waitFor(minutes, TimeUnit.MINUTES);
            process.destroyForcibly();
            List<String> lines = Files.readAllLines(output);
            if (!ended || process.exitValue() != 0) {
                String why = lines.stream()
                        .filter(line -> line.contains("Exception"))
                        .findFirst()
                        .orElse("");
                throw new IllegalStateException((ended ? "" : "no end after " + minutes + " minutes ") + why);
            }
            return lines;
        } finally {
            Files.delete(output);
        }
    }
}
