package dev.nanopool.examples;

import static org.assertj.core.api.Assertions.assertThat;

import dev.nanopool.testkit.TestServer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

class ReadmeTest {
    private static final Path SOURCE = Path.of("src/test/java/dev/nanopool/examples/ReadmeExample.java");

    @Tag("server")
    @Test
    void exampleMustRun() throws Exception {
        assertThat(ReadmeExample.sum(TestServer.url())).isEqualTo(3);
    }

    // What README shows is what was compiled and run, and stands within its first 25 lines.
    @Test
    void readmeMustShowTheExampleAsItWasCompiled() throws Exception {
        String compiled = Files.readString(SOURCE);
        String example = compiled.substring(
                        compiled.indexOf("region=\"example\"\n") + 17, compiled.indexOf("        // @end"))
                .stripTrailing() // a blank last line would count as one without indentation
                .stripIndent();
        List<String> readme = Files.readAllLines(Path.of("README.md"));
        assertThat(readme.stream().limit(25).collect(Collectors.joining("\n"))).contains(example);
    }
}
