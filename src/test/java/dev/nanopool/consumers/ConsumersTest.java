package dev.nanopool.consumers;

import static org.assertj.core.api.Assertions.assertThat;

import dev.nanopool.testkit.TestServer;
import java.io.File;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import javax.tools.JavaCompiler;
import javax.tools.StandardJavaFileManager;
import javax.tools.ToolProvider;
import org.apache.maven.repository.internal.MavenRepositorySystemUtils;
import org.eclipse.aether.artifact.Artifact;
import org.eclipse.aether.artifact.DefaultArtifact;
import org.eclipse.aether.collection.CollectRequest;
import org.eclipse.aether.graph.Dependency;
import org.eclipse.aether.repository.LocalRepository;
import org.eclipse.aether.repository.WorkspaceReader;
import org.eclipse.aether.repository.WorkspaceRepository;
import org.eclipse.aether.resolution.DependencyRequest;
import org.eclipse.aether.supplier.RepositorySystemSupplier;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledIfSystemProperty;
import org.junit.jupiter.api.io.TempDir;

/**
 * The programs of {@code src/test/consumer} use what is published: the jar and its pom, which Maven makes before it runs this
 * class. They are compiled with all warnings, each of which is an error, and run in a JVM of their own.
 */
@Tag("server")
@EnabledIfSystemProperty(named = "nanopool.jar", matches = ".+", disabledReason = "only mvn verify makes the jar")
class ConsumersTest {
    private static final Path SOURCES = Path.of("src/test/consumer");
    private static final Path PROGRAM = SOURCES.resolve("consumer/Consumer.java");
    private static final Path MODULE = SOURCES.resolve("module-info.java");
    private static final Path GRADLE = SOURCES.resolve("build.gradle.kts");

    @TempDir
    private Path classes;

    // A module that requires the pool, and nothing else, compiles and runs; nothing asks for the annotations' module.
    @Test
    void moduleMustCompileAndRun() throws Exception {
        String jars = joined(resolved());
        compile("--module-path", jars, MODULE, PROGRAM);
        assertThat(run("--module-path", classes + File.pathSeparator + jars, "--module", "consumer/consumer.Consumer"))
                .isEqualTo("3 from 2");
    }

    @Test
    void programOnTheClassPathMustCompileAndRun() throws Exception {
        String jars = joined(resolved());
        compile("--class-path", jars, PROGRAM);
        assertThat(run("--class-path", classes + File.pathSeparator + jars, "consumer.Consumer"))
                .isEqualTo("3 from 2");
    }

    // Gradle's line leads to the pool and the driver, and to nothing else.
    @Test
    void gradleNotationMustLeadToThePoolAndTheDriver() throws Exception {
        assertThat(resolved())
                .map(jar -> jar.getFileName().toString().replaceAll("-\\d.*", ""))
                .containsExactly("nanopool", "postgresql");
    }

    // How the pool is built and tested is not published.
    @Test
    void publishedPomMustHoldTheLicenceAndTheDependenciesOnly() throws Exception {
        String pom = Files.readString(file("nanopool.pom"));
        assertThat(pom).contains("<name>MIT</name>", "<optional>true</optional>");
        assertThat(pom).doesNotContain("<parent>", "<build>", "<profiles>", "<properties>", "<dependencyManagement>");
        Matcher artifacts = Pattern.compile("<dependency>.*?<artifactId>(.*?)</artifactId>", Pattern.DOTALL)
                .matcher(pom);
        assertThat(artifacts.results().map(result -> result.group(1)))
                .containsExactly(
                        "postgresql",
                        "jspecify",
                        "checker-qual",
                        "micrometer-core",
                        "spring-boot-autoconfigure",
                        "spring-boot-jdbc",
                        "spring-boot-health",
                        "spring-boot-actuator-autoconfigure",
                        "spring-boot-actuator",
                        "jackson-annotations",
                        "helidon-dbclient-jdbc");
        assertThat(pom.split("<optional>true</optional>", -1))
                .as("ten optional dependencies")
                .hasSize(11);
    }

    private static Path file(String property) {
        return Path.of(System.getProperty(property));
    }

    /** The jars that the line of Gradle's build script stands for, by Maven's own resolver and without a network. */
    private static List<Path> resolved() throws Exception {
        Matcher line = Pattern.compile("implementation\\(\"(.+)\"\\)").matcher(Files.readString(GRADLE));
        assertThat(line.find()).as("a dependency in %s", GRADLE).isTrue();
        var system = new RepositorySystemSupplier().get();
        var session = MavenRepositorySystemUtils.newSession();
        session.setOffline(true);
        session.setWorkspaceReader(new Published());
        session.setLocalRepositoryManager(system.newLocalRepositoryManager(
                session, new LocalRepository(file("maven.repository").toFile(), "simple")));
        var dependency = new Dependency(new DefaultArtifact(line.group(1)), "compile");
        var request =
                new DependencyRequest(new CollectRequest((Dependency) null, List.of(dependency), List.of()), null);
        List<Path> jars = new ArrayList<>();
        system.resolveDependencies(session, request)
                .getArtifactResults()
                .forEach(result -> jars.add(result.getArtifact().getFile().toPath()));
        system.shutdown();
        return jars;
    }

    private static String joined(List<Path> jars) {
        return jars.stream().map(Path::toString).collect(Collectors.joining(File.pathSeparator));
    }

    private void compile(String option, String jars, Path... sources) throws Exception {
        JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
        try (StandardJavaFileManager files = compiler.getStandardFileManager(null, null, null)) {
            var output = new StringWriter();
            List<String> options =
                    List.of("--release", "21", "-Xlint:all", "-Werror", "-d", classes.toString(), option, jars);
            boolean isCompiled = compiler.getTask(output, files, null, options, null, files.getJavaFileObjects(sources))
                    .call();
            assertThat(output.toString()).isEmpty();
            assertThat(isCompiled).isTrue();
        }
    }

    /** What the program prints, without the log of the pool. */
    private String run(String... arguments) throws Exception {
        List<String> command = new ArrayList<>();
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        command.addAll(List.of(arguments));
        command.add(TestServer.url());
        Path output = classes.resolve("output.txt");
        Process program = new ProcessBuilder(command)
                .redirectErrorStream(true)
                .redirectOutput(output.toFile())
                .start();
        boolean hasEnded = program.waitFor(60, TimeUnit.SECONDS);
        program.destroyForcibly();
        assertThat(hasEnded).as("the program ends").isTrue();
        List<String> lines = Files.readAllLines(output);
        assertThat(program.exitValue()).as("%s", lines).isZero();
        return lines.stream().filter(line -> line.matches("\\d+ from \\d+")).collect(Collectors.joining());
    }

    /** What this build would publish. */
    private static final class Published implements WorkspaceReader {
        private static final String GROUP = "dev.nanopool";

        private final WorkspaceRepository repository = new WorkspaceRepository("published");

        @Override
        public WorkspaceRepository getRepository() {
            return repository;
        }

        @Override
        public File findArtifact(Artifact artifact) {
            if (!artifact.getGroupId().equals(GROUP)) return null;
            File jar = file("nanopool.jar").toFile();
            String name = artifact.getArtifactId() + "-" + artifact.getVersion() + ".jar";
            if (!jar.getName().equals(name)) return null;
            return artifact.getExtension().equals("pom") ? file("nanopool.pom").toFile() : jar;
        }

        @Override
        public List<String> findVersions(Artifact artifact) {
            return List.of();
        }
    }
}
