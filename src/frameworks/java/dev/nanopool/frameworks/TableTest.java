package dev.nanopool.frameworks;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** The compatibility table of src/site/frameworks.md holds what Surefire's reports say, with each version in the class path. */
class TableTest {
    private static final Path PAGE = Path.of("src/site/frameworks.md");

    /** A name, {@code artifact version}, how, what is known, and the test. */
    private static final Pattern ROW =
            Pattern.compile("(?m)^\\| [^|]+ \\| `([\\w.-]+)` ([\\w.-]+) \\|[^|]+\\|[^|]+\\| `(\\w+Test)` \\|$");

    /** The folders below target in which .ci/frameworks builds. */
    private static final Pattern BUILD = Pattern.compile("frameworks-build|spring-boot-[\\d.]+");

    private static final Pattern TEST = Pattern.compile("TEST-dev\\.nanopool\\.[\\w.]*?(\\w+Test)\\.xml");

    private record Report(String counts, String classPath) {}

    /** The reports of this build, by the class's name. A test that ran with several versions has several. */
    private static Map<String, List<Report>> reports() throws IOException {
        Map<String, List<Report>> reports = new TreeMap<>();
        try (Stream<Path> files = Files.walk(Path.of("target"))) {
            for (Path file : (Iterable<Path>) files::iterator) {
                if (!BUILD.matcher(file.getName(Math.min(1, file.getNameCount() - 1))
                                .toString())
                        .matches()) continue;
                Matcher name = TEST.matcher(file.getFileName().toString());
                if (!name.matches() || name.group(1).equals("TableTest")) continue;
                String xml = Files.readString(file);
                reports.computeIfAbsent(name.group(1), unused -> new ArrayList<>())
                        .add(new Report(
                                first(xml, "<testsuite [^>]*?( tests=\"[^>]*)>"),
                                first(xml, "name=\"java.class.path\" value=\"([^\"]*)\"")));
            }
        }
        return reports;
    }

    private static String first(String text, String pattern) {
        Matcher matcher = Pattern.compile(pattern).matcher(text);
        assertThat(matcher.find()).as(pattern).isTrue();
        return matcher.group(1);
    }

    // A row without a test that ran, and a test without a row, are errors.
    @Test
    void eachRowMustBeATestThatRanWithThatVersion() throws IOException {
        Map<String, List<Report>> reports = reports();
        var listed = new TreeSet<String>();
        Matcher row = ROW.matcher(Files.readString(PAGE));
        while (row.find()) {
            String test = row.group(3);
            listed.add(test);
            String jar = File.separator + row.group(1) + "-" + row.group(2) + ".jar";
            List<Report> ran = reports.getOrDefault(test, List.of()).stream()
                    .filter(report -> report.classPath.contains(jar))
                    .toList();
            assertThat(ran)
                    .as("reports of %s with %s", test, jar)
                    .isNotEmpty()
                    .allSatisfy(report -> assertThat(report.counts)
                            .as("counts of %s with %s", test, jar)
                            .containsPattern(" tests=\"[1-9]")
                            .contains(" errors=\"0\"", " failures=\"0\"", " skipped=\"0\""));
        }
        assertThat(listed).isEqualTo(reports.keySet());
    }
}
