package dev.nanopool;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.lang.reflect.Method;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Comments, Javadoc, messages and documents are plain English. A sentence has an actor, a verb and an object. */
class ProseTest {
    private static final double MOST_PER_THOUSAND = 1;

    /** Turns that hide the actor of a sentence. */
    private static final Pattern TURN = Pattern.compile(
            "\\b(who|whom|whoever|whomever|whose turn|nobody|somebody|anybody|told of|is told|seen to|any more|at the moment|by now|but for)\\b",
            Pattern.CASE_INSENSITIVE);

    /** Files with prose. Each word of README and of the pages counts, of code its comments and its messages. */
    private static final List<String> FOLDERS = List.of(
            "src/main", "src/build", "src/test", "src/bench", "src/prove", "src/demo", "src/site", ".ci", ".github");

    /** A piece of prose and the line on which it begins. */
    private record Prose(Path file, int line, String text) {
        int words() {
            return (int) Arrays.stream(text.split("\\s+"))
                    .filter(word -> word.matches(".*[A-Za-z]{2}.*"))
                    .count();
        }

        List<String> turns() {
            List<String> found = new ArrayList<>();
            Matcher matcher = TURN.matcher(text);
            while (matcher.find()) {
                int begin = Math.max(0, matcher.start() - 40);
                int end = Math.min(text.length(), matcher.end() + 40);
                long lines = text.substring(0, matcher.start())
                        .chars()
                        .filter(c -> c == '\n')
                        .count();
                found.add("%s:%d: ...%s..."
                        .formatted(
                                file, line + lines, text.substring(begin, end).replaceAll("\\s+", " ")));
            }
            return found;
        }
    }

    // The language of the whole repository.
    @Test
    void proseMustNameItsActors() throws IOException {
        Map<String, Integer> words = new TreeMap<>();
        Map<String, Integer> turns = new TreeMap<>();
        List<String> found = new ArrayList<>();
        for (Path file : files()) {
            String folder = file.getNameCount() > 1 && file.startsWith("src")
                    ? file.subpath(0, 2).toString()
                    : "top";
            for (Prose prose : prose(file)) {
                List<String> of = prose.turns();
                words.merge(folder, prose.words(), Integer::sum);
                turns.merge(folder, of.size(), Integer::sum);
                found.addAll(of);
            }
        }
        int all = words.values().stream().mapToInt(Integer::intValue).sum();
        assertThat(all).as("words").isGreaterThan(10_000);
        assertThat(found.size() * 1_000.0 / all)
                .as("turns per 1,000 words: %s turns in %s words%n%s", turns, words, String.join("\n", found))
                .isLessThanOrEqualTo(MOST_PER_THOUSAND);
    }

    // The check itself finds such a turn, wherever it stands.
    @ParameterizedTest
    @ValueSource(
            strings = {
                "class A {\n    // Whoever closes it waits.\n}",
                "/**\n * A caller\n * whom nobody serves.\n */\nclass A {}",
                "class A {\n    String text = \"it is not there any more, and nobody knows\";\n}",
                "class A {\n    String text = \"\"\"\n        told of nothing at all\n        \"\"\";\n}",
            })
    void turnMustBeFound(String source) {
        assertThat(proseOf(Path.of("A.java"), source).stream().flatMap(prose -> prose.turns().stream()))
                .isNotEmpty()
                .allMatch(turn -> turn.startsWith("A.java:"));
    }

    // Names and code are no prose.
    @Test
    void codeMustNotCount() {
        String code = "class A {\n    Object nobody = who(); // a comment\n    String who = \"who\";\n}";
        assertThat(proseOf(Path.of("A.java"), code)).extracting(Prose::text).containsExactly(" a comment");
    }

    // The map in package-info names methods, so that a reader finds each step.
    @Test
    void mapMustNameMethodsThatExist() throws Exception {
        String map = Files.readString(Path.of("src/main/java/dev/nanopool/package-info.java"));
        Matcher name = Pattern.compile("\\{@code ([A-Z]\\w+)\\.([a-z]\\w+)}").matcher(map);
        int count = 0;
        while (name.find()) {
            count++;
            List<Method> methods = new ArrayList<>();
            for (String room : List.of("dev.nanopool.", "dev.nanopool.queue.")) {
                if (!Files.exists(Path.of("src/main/java", (room + name.group(1)).replace('.', '/') + ".java")))
                    continue;
                Class<?> type = Class.forName(room + name.group(1));
                for (Class<?> each = type; each != null; each = each.getSuperclass()) {
                    methods.addAll(Arrays.asList(each.getDeclaredMethods()));
                }
            }
            assertThat(methods).as(name.group()).extracting(Method::getName).contains(name.group(2));
        }
        assertThat(count).isGreaterThan(8);
    }

    private static List<Path> files() throws IOException {
        List<Path> files = new ArrayList<>(Stream.of("README.md", "CHANGELOG.md", "pom.xml", "compose.yaml")
                .map(Path::of)
                .filter(Files::exists)
                .toList());
        for (String folder : FOLDERS) {
            if (!Files.exists(Path.of(folder))) continue;
            try (Stream<Path> all = Files.walk(Path.of(folder))) {
                all.filter(Files::isRegularFile)
                        .filter(file -> !file.endsWith("ProseTest.java")
                                && !file.toString().contains("results"))
                        .filter(file ->
                                file.toString().matches(".*\\.(java|md|xml|yml|yaml|txt)") || file.startsWith(".ci"))
                        .forEach(files::add);
            }
        }
        return files;
    }

    private static List<Prose> prose(Path file) throws IOException {
        return proseOf(file, Files.readString(file));
    }

    private static List<Prose> proseOf(Path file, String text) {
        String name = file.toString();
        if (name.endsWith(".java")) return ofJava(file, text);
        if (name.endsWith(".md")) return List.of(new Prose(file, 1, withoutFences(text)));
        if (name.endsWith(".xml")) return matches(file, text, Pattern.compile("<!--(.*?)-->", Pattern.DOTALL));
        return matches(file, text, Pattern.compile("(?m)(?<=^|\\s)#(?!!)(.*)$"));
    }

    private static List<Prose> matches(Path file, String text, Pattern pattern) {
        List<Prose> all = new ArrayList<>();
        Matcher matcher = pattern.matcher(text);
        while (matcher.find()) {
            int line = 1
                    + (int) text.substring(0, matcher.start())
                            .chars()
                            .filter(c -> c == '\n')
                            .count();
            all.add(new Prose(file, line, matcher.group(1)));
        }
        return all;
    }

    /** Code blocks become empty lines, so that line numbers stay. */
    private static String withoutFences(String text) {
        boolean[] isCode = {false};
        return text.lines()
                .map(line -> {
                    boolean isFence = line.strip().startsWith("```");
                    if (isFence) isCode[0] = !isCode[0];
                    return isFence || isCode[0] ? "" : line.replaceAll("`[^`]*`", "");
                })
                .collect(Collectors.joining("\n"));
    }

    private static final Pattern JAVA = Pattern.compile(
            "//(?<line>[^\\n]*)|/\\*(?<block>.*?)\\*/|\"\"\"(?<text>.*?)\"\"\"|\"(?<string>(?:[^\"\\\\\\n]|\\\\.)*)\"|'(?:[^'\\\\\\n]|\\\\.)'",
            Pattern.DOTALL);

    /** Comments, and strings of at least three words. */
    private static List<Prose> ofJava(Path file, String text) {
        List<Prose> all = new ArrayList<>();
        Matcher matcher = JAVA.matcher(text);
        while (matcher.find()) {
            String comment = matcher.group("line") != null ? matcher.group("line") : matcher.group("block");
            String string = matcher.group("text") != null ? matcher.group("text") : matcher.group("string");
            boolean isMessage = string != null && string.strip().split("\\s+").length >= 3;
            if (comment == null && !isMessage) continue;
            int line = 1
                    + (int) text.substring(0, matcher.start())
                            .chars()
                            .filter(c -> c == '\n')
                            .count();
            String prose = comment == null ? string : comment.replaceAll("\\{@(code|link|snippet)[^}]*}", "");
            all.add(new Prose(file, line, prose));
        }
        return all;
    }
}
