package dev.nanopool.testkit;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** A program in a JVM of its own, for what would harm the tests that follow. */
public final class ChildJvm {
    private static final int SECONDS = 100;

    private ChildJvm() {}

    /** What the program prints, by the first word of each line. The program must print a line {@code done}, and end. */
    public static Map<String, String> run(Path home, Class<?> program, List<String> options, String... arguments)
            throws Exception {
        Path out = Files.createTempFile("nanopool", ".txt");
        try {
            var command = new ArrayList<String>();
            command.add(home.resolve("bin/java").toString());
            command.addAll(options);
            command.addAll(List.of("-cp", System.getProperty("java.class.path"), program.getName()));
            command.addAll(List.of(arguments));
            Process process = new ProcessBuilder(command)
                    .redirectErrorStream(true)
                    .redirectOutput(out.toFile())
                    .start();
            try {
                assertThat(process.waitFor(SECONDS, TimeUnit.SECONDS))
                        .as(() -> "it ends: " + text(out))
                        .isTrue();
            } finally {
                process.destroyForcibly();
            }
            Map<String, String> lines = new HashMap<>();
            text(out).lines().forEach(line -> lines.put(line.split(" ", 2)[0], line.replaceFirst("^\\S+ ?", "")));
            assertThat(lines).as(() -> text(out)).containsKey("done");
            return lines;
        } finally {
            Files.deleteIfExists(out);
        }
    }

    private static String text(Path file) {
        try {
            return Files.readString(file, StandardCharsets.UTF_8);
        } catch (IOException e) {
            return e.toString();
        }
    }
}
