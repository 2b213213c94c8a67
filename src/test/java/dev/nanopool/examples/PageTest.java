package dev.nanopool.examples;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.Browser;
import dev.nanopool.testkit.TestServer;
import java.io.BufferedReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import javax.tools.ToolProvider;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** The demo's page in a real browser: load, a fault and the recovery, read from the page's own text. */
@Tag("server")
@Timeout(180)
class PageTest {
    private static final Path SOURCES = Path.of("src/demo/java/dev/nanopool/demo");
    private static final Path PAGE = Path.of("src/demo/resources/dev/nanopool/demo/page.html");

    @TempDir
    private Path directory = Path.of("");

    private Process startServer() throws Exception {
        Path classes = directory.resolve("classes");
        var arguments = new ArrayList<>(List.of(
                "-nowarn", "-proc:none", "-d", classes.toString(), "-cp", System.getProperty("java.class.path")));
        try (Stream<Path> sources = Files.list(SOURCES)) {
            sources.forEach(source -> arguments.add(source.toString()));
        }
        assertThat(ToolProvider.getSystemJavaCompiler()
                        .run(null, System.out, System.err, arguments.toArray(String[]::new)))
                .as("the demo compiles")
                .isZero();
        Files.copy(PAGE, classes.resolve("dev/nanopool/demo/page.html"));
        var process = new ProcessBuilder(
                System.getProperty("java.home") + "/bin/java",
                "-cp",
                classes + System.getProperty("path.separator") + System.getProperty("java.class.path"),
                "dev.nanopool.demo.Server",
                "0");
        process.environment().put("NANOPOOL_TEST_URL", TestServer.url());
        return process.redirectError(ProcessBuilder.Redirect.INHERIT).start();
    }

    private static String address(Process server) throws Exception {
        BufferedReader output = server.inputReader();
        for (String line = output.readLine(); line != null; line = output.readLine()) {
            if (line.startsWith("http://localhost:")) return line.substring(0, line.indexOf(' '));
        }
        throw new AssertionError("the demo's server did not start");
    }

    private static String text(Browser browser, String id) throws InterruptedException {
        // Null until the page has arrived.
        return browser.evaluate("(document.getElementById('" + id + "') || {textContent: ''}).textContent");
    }

    private static void awaitHealth(Browser browser, String status) throws Exception {
        Await.untilEmpty("the page says " + status, () -> {
            String health = text(browser, "health");
            return health.startsWith(status) ? "" : health;
        });
    }

    /** Where the developer wants to look at it: {@code -Dnanopool.screenshots=directory}. */
    private static void keep(Browser browser, String name) throws Exception {
        byte[] picture = browser.screenshot();
        assertThat(picture).hasSizeGreaterThan(1_000);
        String kept = System.getProperty("nanopool.screenshots");
        if (kept != null) Files.write(Files.createDirectories(Path.of(kept)).resolve(name + ".png"), picture);
    }

    @Test
    void pageMustShowLoadFaultAndRecovery() throws Exception {
        String program = Browser.program().orElse(null);
        assumeTrue(program != null, "there is no Chromium here: apt-get install chromium");
        Process server = startServer();
        try (Browser browser = Browser.start(Objects.requireNonNull(program), directory.resolve("profile"))) {
            browser.show(1280, 900, false);
            browser.open(address(server));
            awaitHealth(browser, "UP");
            Await.until("all connections are idle", () -> text(browser, "idle").equals("8"));
            browser.enter("#load button:nth-of-type(3)");
            Await.until("load is seen", () -> Integer.parseInt(text(browser, "rate")) > 50);
            assertThat(text(browser, "events")).contains("load 95 %");
            Await.until("a holder is seen", () -> text(browser, "holders").contains("held for"));
            browser.enter("button[data-post$=restart]");
            awaitHealth(browser, "DOWN");
            keep(browser, "down-1280-light");
            awaitHealth(browser, "UP");
            assertThat(text(browser, "events"))
                    .contains("fault: restart", "lost backend", "opened backend", "DOWN: 0 of 8");
            browser.enter("button[data-post$=one]");
            Await.until("the end of one is seen", () -> text(browser, "events").contains("fault: one"));

            for (int width : new int[] {1280, 390}) {
                for (boolean isDark : new boolean[] {false, true}) {
                    browser.show(width, 900, isDark);
                    assertThat(Integer.parseInt(browser.evaluate("document.documentElement.scrollWidth")))
                            .as("nothing stands out to the right")
                            .isLessThanOrEqualTo(width);
                    String ground = browser.evaluate("getComputedStyle(document.body).backgroundColor");
                    assertThat(ground).isEqualTo(isDark ? "rgb(20, 23, 26)" : "rgb(250, 250, 250)");
                    keep(browser, "up-" + width + (isDark ? "-dark" : "-light"));
                }
            }
            assertThat(
                            browser.evaluate(
                                    "performance.getEntriesByType('resource').every(each => each.name.startsWith(location.origin))"))
                    .as("nothing comes from elsewhere")
                    .isEqualTo("true");
        } finally {
            server.destroy();
            if (!server.waitFor(10, TimeUnit.SECONDS)) server.destroyForcibly().waitFor();
        }
    }
}
