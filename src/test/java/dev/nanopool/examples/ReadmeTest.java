package dev.nanopool.examples;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.sun.net.httpserver.HttpServer;
import dev.nanopool.NanoDataSource;
import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import dev.nanopool.PoolExhaustedException.Verdict;
import dev.nanopool.TestAccess;
import dev.nanopool.TlsMode;
import dev.nanopool.examples.Document.Snippet;
import dev.nanopool.testkit.TestServer;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import javax.sql.DataSource;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.springframework.boot.autoconfigure.AutoConfigurations;
import org.springframework.boot.jdbc.autoconfigure.DataSourceAutoConfiguration;
import org.springframework.boot.test.context.runner.ApplicationContextRunner;

/** README, CHANGELOG and the pages below src/site say what is true. Their code runs, and their links lead somewhere. */
class ReadmeTest {
    private static final List<Path> EXAMPLES = List.of(
            Path.of("src/test/java/dev/nanopool/examples"), Path.of("src/frameworks/java/dev/nanopool/frameworks"));

    /** Languages of code that some test of this class compares or runs. */
    private static final Set<String> LANGUAGES = Set.of("java", "xml", "kotlin", "properties", "sh", "yaml");

    private static final Pattern REGION = Pattern.compile("// @start region=\"([\\w-]+)\"");
    private static final Pattern NUMBER = Pattern.compile("\\d+(,\\d{3})*(\\.\\d+)?");

    // The examples run

    @Tag("server")
    @Test
    void programMustPrintTheSum() throws Exception {
        PrintStream out = System.out;
        var printed = new ByteArrayOutputStream();
        try {
            System.setOut(new PrintStream(printed, true, StandardCharsets.UTF_8));
            ReadmeExample.main(new String[] {TestServer.url()});
        } finally {
            System.setOut(out);
        }
        assertThat(printed.toString(StandardCharsets.UTF_8).strip()).isEqualTo("3");
    }

    @Test
    void configMustBeAccepted() {
        assertThat(ConfigExample.config("postgresql://app@localhost/app").toString())
                .contains("tls=VERIFY_IDENTITY", "size=20");
    }

    @Tag("server")
    @Test
    void hibernateMustRunOnThePool() throws Exception {
        assertThat(HibernateExample.sum(TestServer.url())).isEqualTo(3);
    }

    @Tag("server")
    @Test
    void jooqMustRunOnThePool() throws Exception {
        assertThat(JooqExample.sum(TestServer.url())).isEqualTo(3);
    }

    @Tag("server")
    @Test
    void serverMustAnswerOnVirtualThreads() throws Exception {
        try (Pool pool = Pool.create(TestServer.url(), TlsMode.PREFER, 2);
                HttpClient http = HttpClient.newHttpClient()) {
            HttpServer server = ServerExample.start(pool, new InetSocketAddress(InetAddress.getLoopbackAddress(), 0));
            try (ExecutorService executor = (ExecutorService) server.getExecutor()) {
                URI uri = URI.create("http://localhost:" + server.getAddress().getPort() + "/");
                String body = http.send(HttpRequest.newBuilder(uri).build(), BodyHandlers.ofString())
                        .body();
                assertThat(body).isEqualTo("3");
                server.stop(0);
                assertThat(executor.isShutdown()).isFalse();
            }
        }
    }

    // The deadline ends the statement in the server. From Java 25 on the connection stays.
    @Tag("server")
    @Test
    void deadlineMustEndTheStatement() throws Exception {
        try (Pool pool = Pool.create(TestServer.url(), TlsMode.PREFER, 1);
                ExecutorService executor = Executors.newVirtualThreadPerTaskExecutor()) {
            assertThat(DeadlineExample.answer(executor, pool)).isEqualTo("too late");
            try (Connection client = pool.client()) {
                assertThat(TestServer.query(client, "SELECT 1")).isEqualTo("1");
            }
            boolean isKept = Runtime.version().feature() >= 25;
            assertThat(pool.stats().opened()).isEqualTo(isKept ? 1 : 2);
        }
    }

    // Spring Boot takes the properties that README and its page show.
    @Tag("server")
    @Test
    void springBootMustTakeThePropertiesOfTheDocuments() throws Exception {
        List<String> lines = readme().section("Spring Boot, Hibernate, jOOQ, plain servers").snippets().stream()
                .filter(snippet -> snippet.language().equals("properties"))
                .flatMap(snippet -> snippet.code().lines())
                .toList();
        springBootMustStart(new ArrayList<>(lines), 20, 2_000);
        List<String> yaml = Document.read("src/site/spring.md").snippets().stream()
                .filter(snippet -> snippet.language().equals("yaml"))
                .map(Snippet::code)
                .toList();
        assertThat(yaml).hasSize(1);
        springBootMustStart(flat(yaml.getFirst()), 20, 2_000);
    }

    private static void springBootMustStart(List<String> properties, int size, long timeout) throws Exception {
        assertThat(properties).anyMatch(line -> line.startsWith("spring.datasource.url=jdbc:postgresql:"));
        properties.removeIf(line -> line.matches("spring\\.datasource\\.(url|username|password)=.*"));
        properties.add("spring.datasource.driver-class-name=org.postgresql.Driver"); // for a libpq URI
        properties.add("spring.datasource.url=" + TestServer.url());
        new ApplicationContextRunner()
                .withConfiguration(AutoConfigurations.of(
                        DataSourceAutoConfiguration.class, Class.forName("dev.nanopool.spring.PoolAutoConfiguration")))
                .withPropertyValues(properties.toArray(String[]::new))
                .run(context -> {
                    var dataSource = (NanoDataSource) context.getBean(DataSource.class);
                    assertThat(dataSource.getMaximumPoolSize()).isEqualTo(size);
                    assertThat(dataSource.getConnectionTimeout()).isEqualTo(timeout);
                    try (Connection client = dataSource.getConnection()) {
                        assertThat(TestServer.query(client, "SELECT 1")).isEqualTo("1");
                    }
                });
    }

    /** Properties of a YAML document that has only maps, with two blanks for each level. */
    private static List<String> flat(String yaml) {
        List<String> properties = new ArrayList<>();
        List<String> path = new ArrayList<>();
        for (String line : yaml.lines().toList()) {
            String[] entry = line.strip().split(": *", 2);
            int level = (line.length() - line.stripLeading().length()) / 2;
            path.subList(level, path.size()).clear();
            path.add(entry[0]);
            if (!entry[1].isEmpty()) properties.add(String.join(".", path) + "=" + entry[1]);
        }
        return properties;
    }

    // The documents show what runs

    @Test
    void readmeMustShowAWholeProgramWithinItsFirst25Lines() throws Exception {
        String top = readme().text().lines().limit(25).collect(Collectors.joining("\n"));
        assertThat(top).contains(regions().get("program"));
    }

    // Java is shown as it was compiled; other code is in a language that a test reads.
    @Test
    void everySnippetMustBeCompiled() throws Exception {
        var compiled = regions().values();
        for (Document document : Document.all()) {
            for (Snippet snippet : document.snippets()) {
                assertThat(LANGUAGES).as("%s", document.path()).contains(snippet.language());
                if (snippet.language().equals("java")) {
                    assertThat(compiled).as("%s", document.path()).contains(snippet.code());
                }
            }
        }
    }

    // An example that no document shows is not an example; "example" stands in the Javadoc of Pool.
    @Test
    void everyExampleMustBeShown() throws Exception {
        var shown = new TreeSet<String>();
        for (Document document : Document.all()) {
            document.snippets().forEach(snippet -> shown.add(snippet.code()));
        }
        var regions = regions();
        assertThat(Files.readString(Path.of("src/main/java/dev/nanopool/Pool.java")))
                .contains("class=\"dev.nanopool.examples.ReadmeExample\" region=\"example\"");
        assertThat(regions.remove("example")).isNotNull();
        assertThat(shown).containsAll(regions.values());
    }

    @Test
    void everyCommandMustNameAProfileOfItsPom() throws Exception {
        for (Document document : Document.all()) {
            Matcher command = Pattern.compile("mvn [^`\\n]*").matcher(document.text());
            while (command.find()) {
                Matcher folder = Pattern.compile("-f (\\S+)").matcher(command.group());
                String pom = Files.readString(Path.of(folder.find() ? folder.group(1) + "/pom.xml" : "pom.xml"));
                Matcher profile = Pattern.compile("-P(\\w+)").matcher(command.group());
                if (profile.find()) {
                    assertThat(pom)
                            .as("%s: %s", document.path(), command.group())
                            .contains("<id>" + profile.group(1) + "</id>");
                }
            }
        }
    }

    // Coordinates

    @Test
    void coordinatesMustBeThoseOfThePom() throws Exception {
        String own = Files.readString(Path.of("pom.xml"));
        String version = first(own, "<artifactId>nanopool</artifactId>\\s*<version>(.*?)</version>");
        String pom = own + Files.readString(Path.of("src/build/pom.xml"));
        Document coordinates = readme().section("Coordinates");
        assertThat(coordinates.snippets())
                .extracting(Snippet::code)
                .containsExactly(
                        """
                        <dependency>
                          <groupId>dev.nanopool</groupId>
                          <artifactId>nanopool</artifactId>
                          <version>%s</version>
                        </dependency>""".formatted(version), "implementation(\"dev.nanopool:nanopool:%s\")".formatted(version));
        assertThat(pom).contains("<groupId>dev.nanopool</groupId>", "<artifactId>nanopool</artifactId>");
        assertThat(coordinates.text())
                .contains("Java " + first(pom, "<maven.compiler.release>(.*?)</maven.compiler.release>"))
                .contains("pgJDBC " + first(pom, "<pgjdbc.oldest>(.*?)</pgjdbc.oldest>"))
                .contains("<postgresql.version>" + first(pom, "<pgjdbc.version>(.*?)</pgjdbc.version>"));
    }

    private static String first(String text, String pattern) {
        Matcher matcher = Pattern.compile(pattern).matcher(text);
        assertThat(matcher.find()).as(pattern).isTrue();
        return matcher.group(1);
    }

    // Names

    @Test
    void everySettingOfReadmeMustBeAMethodOfTheBuilder() throws Exception {
        Set<String> methods = Arrays.stream(PoolConfig.Builder.class.getMethods())
                .map(method -> method.getName())
                .collect(Collectors.toSet());
        List<String> settings = readme().section("Ten settings that matter").rows().stream()
                .skip(1)
                .map(row -> row.get(0).replaceAll("[`]|\\(.*", ""))
                .toList();
        assertThat(settings).hasSize(10);
        assertThat(methods).containsAll(settings);
    }

    @Test
    void everyVerdictMustHaveARemedyInReadme() throws Exception {
        String section = readme().section("When things fail").text();
        for (Verdict verdict : Verdict.values()) assertThat(section).contains("`" + verdict + "`");
    }

    // README names each property of HikariCP, as the table of the bean's properties has it.
    @Test
    void everyPropertyOfHikariCpMustBeListedAsTheTableHasIt() throws Exception {
        Map<String, Set<String>> listed = new TreeMap<>();
        for (List<String> row : readme().section("Coming from HikariCP").rows()) {
            Set<String> names = Pattern.compile("`(\\w+)`")
                    .matcher(row.get(0))
                    .results()
                    .map(match -> match.group(1))
                    .collect(Collectors.toSet());
            if (!names.isEmpty()) listed.put(row.get(1), names);
        }
        assertThat(listed).isEqualTo(TestAccess.hikari());
    }

    // Figures

    // Each number in a table of figures stands in a table of a measured run.
    @Test
    void everyFigureMustStandInARun() throws Exception {
        var measured = new TreeSet<String>();
        try (Stream<Path> files = Files.list(Path.of("src/bench/results"))) {
            for (Path file : (Iterable<Path>) files::iterator) {
                if (!file.toString().endsWith(".md")) continue;
                for (List<String> row : Document.read(file.toString()).rows()) {
                    for (String cell : row) measured.addAll(numbers(cell));
                }
            }
        }
        for (List<String> row : Document.read("src/site/benchmarks.md").rows()) {
            for (String cell : row.subList(1, row.size())) {
                assertThat(measured).as("%s", row).containsAll(numbers(cell));
            }
        }
    }

    private static List<String> numbers(String cell) {
        return NUMBER.matcher(cell).results().map(match -> match.group()).toList();
    }

    // Links

    @Test
    void everyLinkMustResolve() throws Exception {
        for (Document document : Document.all()) {
            for (String link : document.links()) assertResolves(document, link);
        }
    }

    private static void assertResolves(Document document, String link) throws Exception {
        if (link.startsWith("https://")) {
            assertThat(URI.create(link).getHost()).as(link).contains(".");
            return;
        }
        String[] parts = link.split("#", 2);
        Path folder = document.path().getParent();
        Path target = parts[0].isEmpty()
                ? document.path()
                : (folder == null ? Path.of(parts[0]) : folder.resolve(parts[0])).normalize();
        assertThat(target).as("%s: %s", document.path(), link).exists();
        if (parts.length == 1) return;
        assertThat(Document.read(target.toString()).anchors())
                .as("%s: %s", document.path(), link)
                .contains(parts[1]);
    }

    // The check of links is worth something only if it finds one that leads nowhere.
    @Test
    void linkThatLeadsNowhereMustBeFound() {
        var document = new Document(Path.of("README.md"), "# A page\n[a](#a-page) [b](#b) [c](no-such-file.md)\n");
        assertThat(document.links()).containsExactly("#a-page", "#b", "no-such-file.md");
        for (String link : document.links().subList(1, 3)) {
            assertThatThrownBy(() -> assertResolves(document, link)).isInstanceOf(AssertionError.class);
        }
    }

    @Test
    void tableOfContentsMustHaveEverySection() throws Exception {
        List<String> sections = readme().headings(2);
        List<String> contents = readme().links().stream()
                .filter(link -> link.startsWith("#"))
                .limit(sections.size())
                .toList();
        assertThat(contents)
                .isEqualTo(sections.stream()
                        .map(heading -> "#" + Document.anchor(heading))
                        .toList());
    }

    private static Document readme() throws Exception {
        return Document.read("README.md");
    }

    /** The regions of the examples, by name, as a document shows them. */
    private static Map<String, String> regions() throws Exception {
        var regions = new TreeMap<String, String>();
        for (Path folder : EXAMPLES) {
            try (Stream<Path> files = Files.list(folder)) {
                for (Path file : (Iterable<Path>) files::iterator) {
                    if (!file.toString().endsWith("Example.java")) continue;
                    read(Files.readAllLines(file), regions);
                }
            }
        }
        return regions;
    }

    private static void read(List<String> lines, Map<String, String> regions) {
        for (int i = 0; i < lines.size(); i++) {
            Matcher start = REGION.matcher(lines.get(i));
            if (!start.find()) continue;
            List<String> region = new ArrayList<>();
            int open = 1;
            for (int j = i + 1; open > 0; j++) {
                String line = lines.get(j);
                if (REGION.matcher(line).find()) open++;
                else if (line.strip().equals("// @end")) open--;
                else region.add(line);
            }
            // A blank last line would count as one without indentation.
            String text = String.join("\n", region).stripTrailing().stripIndent();
            assertThat(regions.put(start.group(1), text)).as(start.group(1)).isNull();
        }
    }
}
