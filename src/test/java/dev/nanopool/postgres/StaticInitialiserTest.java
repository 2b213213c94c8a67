package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.nanopool.testkit.ChildJvm;
import dev.nanopool.testkit.EmbeddedServer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Pools that are made in static initialisers. Each JVM is one of its own, because a deadlock there could not be ended. */
@Tag("server")
@Timeout(120)
class StaticInitialiserTest {
    private static final List<String> PARALLELISM = List.of("-Djdk.virtualThreadScheduler.parallelism=2");
    private static final EmbeddedServer SERVER = EmbeddedServer.start();

    @TempDir
    private Path directory = Path.of("");

    @AfterAll
    static void stop() throws Exception {
        SERVER.close();
    }

    /** The home of a JDK of that version, such as {@code .ci/jdk21} makes it. */
    private static @Nullable Path home(int version) throws IOException {
        if (Runtime.version().feature() == version) return Path.of(System.getProperty("java.home"));
        Path cache = Path.of(System.getProperty("user.home"), ".cache", "nanopool-jdk" + version, "root/usr/lib/jvm");
        for (Path parent : List.of(Path.of("/usr/lib/jvm"), cache)) {
            if (!Files.isDirectory(parent)) continue;
            try (Stream<Path> homes = Files.list(parent)) {
                for (Path home : homes.toList()) {
                    Path release = home.resolve("release");
                    boolean isThat =
                            Files.exists(release) && Files.readString(release).contains("JAVA_VERSION=\"" + version);
                    if (isThat && Files.isExecutable(home.resolve("bin/java"))) return home;
                }
            }
        }
        return null;
    }

    // Starting, using and closing a pool needs no thread that may wait for the class which the starting thread
    // initialises, and no carrier of virtual threads that do.
    @ParameterizedTest
    @ValueSource(ints = {21, 25})
    void poolMustStartInAStaticInitialiser(int version) throws Exception {
        Path home = home(version);
        assumeTrue(home != null, "no JDK " + version + " is installed; .ci/jdk21 installs one");
        Map<String, String> lines = ChildJvm.run(
                home,
                StaticInitialisers.class,
                PARALLELISM,
                "postgresql://localhost:" + SERVER.port() + "/" + EmbeddedServer.DATABASE,
                EmbeddedServer.USER,
                EmbeddedServer.PASSWORD);
        System.getLogger("dev.nanopool.test").log(System.Logger.Level.INFO, "JDK " + version + ": " + lines);
        for (String each : List.of("three", "two-hundred", "platform", "using", "failing")) {
            assertThat(lines.get(each)).as("%s of %s", each, lines).isEqualTo("in time");
        }
        assertThat(lines.get("listeners")).isEqualTo("4 4");
    }

    // A name with several addresses is tried at each of them. Here the server listens at the second.
    @ParameterizedTest
    @ValueSource(ints = {25})
    void everyAddressOfANameMustBeTried(int version) throws Exception {
        Path home = home(version);
        assumeTrue(home != null, "no JDK " + version + " is installed");
        Path hosts = directory.resolve("hosts");
        Files.writeString(hosts, "127.0.0.2 db.example\n127.0.0.3 db.example\n127.0.0.1 db.example\n");
        Map<String, String> lines = ChildJvm.run(
                home,
                Addresses.class,
                List.of(PARALLELISM.getFirst(), "-Djdk.net.hosts.file=" + hosts),
                "postgresql://" + EmbeddedServer.USER + ":" + EmbeddedServer.PASSWORD + "@db.example:" + SERVER.port()
                        + "/" + EmbeddedServer.DATABASE);
        assertThat(lines.get("served")).isEqualTo("in time");
    }
}
