package dev.nanopool.bench;

import dev.nanopool.testkit.TestServer;
import java.util.List;
import java.util.stream.Stream;
import org.openjdk.jmh.profile.GCProfiler;
import org.openjdk.jmh.results.RunResult;
import org.openjdk.jmh.runner.Runner;
import org.openjdk.jmh.runner.format.OutputFormatFactory;
import org.openjdk.jmh.runner.options.OptionsBuilder;
import org.openjdk.jmh.runner.options.TimeValue;
import org.openjdk.jmh.runner.options.VerboseMode;

/** Runs what is asked for. */
public final class Bench {
    private static final boolean FULL = System.getProperty("bench", "quick").equals("full");
    private static final List<Contender> CONTENDERS = contenders();

    private Bench() {}

    private static List<Contender> contenders() {
        String chosen = System.getProperty("bench.contenders", "");
        return chosen.isBlank()
                ? List.of(Contender.values())
                : Stream.of(chosen.split(",")).map(Contender::valueOf).toList();
    }

    public static void main(String[] arguments) throws Exception {
        try (TestServer.Embedded server = TestServer.embedded()) {
            String url = TestServer.jdbc(server.url());
            for (String[] row : new String[][] {
                {"thread", "1", "8"},
                {"thread", "2", "8"},
                {"thread", "8", "8"},
                {"freshThread", "1", "8"},
                {"crowd", "1", "50"}
            }) {
                var options = new OptionsBuilder()
                        .include("Cycle\\." + row[0] + "$")
                        .param("contender", CONTENDERS.stream().map(Enum::name).toArray(String[]::new))
                        .param("size", row[2])
                        .threads(Integer.parseInt(row[1]))
                        .forks(1)
                        .warmupIterations(FULL ? 5 : 2)
                        .warmupTime(TimeValue.milliseconds(FULL ? 1_000 : 300))
                        .measurementIterations(FULL ? 5 : 3)
                        .measurementTime(TimeValue.milliseconds(FULL ? 1_000 : 300))
                        .timeout(TimeValue.seconds(60))
                        .addProfiler(GCProfiler.class)
                        .jvmArgsAppend("-Dbench.url=" + url, "-Dorg.slf4j.simpleLogger.defaultLogLevel=error")
                        .build();
                var out = OutputFormatFactory.createFormatInstance(System.out, VerboseMode.SILENT);
                for (RunResult result : new Runner(options, out).run()) {
                    System.out.printf(
                            "%s %s %s %.1f ns %.1f B%n",
                            String.join(" ", row),
                            result.getParams().getParam("contender"),
                            "",
                            result.getPrimaryResult().getScore(),
                            result.getSecondaryResults()
                                    .get("gc.alloc.rate.norm")
                                    .getScore());
                }
            }
        }
    }
}
