package dev.nanopool.examples;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/** A Markdown file of the repository, taken apart. */
record Document(Path path, String text) {
    private static final Pattern FENCE = Pattern.compile("(?ms)^```(\\w*)\\n(.*?)^```$");
    private static final Pattern LINK = Pattern.compile("\\[[^\\[\\]]*]\\(([^()\\s]+)\\)");
    private static final Pattern HEADING = Pattern.compile("(?m)^(#{1,6}) (.+)$");

    /** A block of code, with its language and its text. */
    record Snippet(String language, String code) {}

    static Document read(String path) throws IOException {
        return new Document(Path.of(path), Files.readString(Path.of(path)));
    }

    /** README, CHANGELOG, the pages below src/site and those below .github. */
    static List<Document> all() throws IOException {
        List<Document> all = new ArrayList<>(List.of(read("README.md"), read("CHANGELOG.md")));
        for (String folder : List.of("src/site", ".github")) {
            if (!Files.isDirectory(Path.of(folder))) continue;
            try (Stream<Path> files = Files.walk(Path.of(folder))) {
                for (Path file : (Iterable<Path>) files.sorted()::iterator) {
                    if (file.toString().endsWith(".md")) all.add(read(file.toString()));
                }
            }
        }
        return all;
    }

    List<Snippet> snippets() {
        return FENCE.matcher(text)
                .results()
                .map(match -> new Snippet(match.group(1), match.group(2).stripTrailing()))
                .toList();
    }

    /** The targets of all links and pictures. */
    List<String> links() {
        String prose = FENCE.matcher(text).replaceAll("").replaceAll("`[^`\n]*`", "");
        return LINK.matcher(prose).results().map(match -> match.group(1)).toList();
    }

    /** The headings of one level, 1 for the title. */
    List<String> headings(int level) {
        String prose = FENCE.matcher(text).replaceAll("");
        return HEADING.matcher(prose)
                .results()
                .filter(match -> match.group(1).length() == level)
                .map(match -> match.group(2))
                .toList();
    }

    /** The names by which a link can lead to a heading, in GitHub's way of making them. */
    Set<String> anchors() {
        Set<String> anchors = new TreeSet<>();
        for (int level = 1; level <= 6; level++) {
            for (String heading : headings(level)) anchors.add(anchor(heading));
        }
        return anchors;
    }

    static String anchor(String heading) {
        return heading.toLowerCase(Locale.ROOT)
                .replaceAll("[^\\p{L}\\p{N} _-]", "")
                .replace(' ', '-');
    }

    /** The rows of all tables, each with its cells; without the lines below the heads. */
    List<List<String>> rows() {
        return text.lines()
                .filter(line -> line.startsWith("|") && !line.matches("[|: -]+"))
                .map(line -> Stream.of(line.substring(1).split("\\|"))
                        .map(String::strip)
                        .toList())
                .toList();
    }

    /** The text from a heading to the next one of its level. */
    Document section(String heading) {
        Matcher section = Pattern.compile("(?ms)^## " + Pattern.quote(heading) + "\\n(.*?)(?=^## |\\z)")
                .matcher(text);
        if (!section.find()) throw new IllegalArgumentException(path + " has no section " + heading);
        return new Document(path, section.group(1));
    }
}
