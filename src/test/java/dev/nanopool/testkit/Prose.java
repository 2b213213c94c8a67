package dev.nanopool.testkit;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * Reads the prose of the project and counts the turns that make it hard to read. Prose is every comment, every message (a
 * string of three words or more), the paragraphs of Markdown, and the comments of scripts and of the build file.
 */
public final class Prose {
    /** A piece of prose, with its line breaks, and what it stands in. */
    private record Passage(String file, int line, String text, boolean isMessage) {}

    /** A turn that was found. */
    public record Hit(String file, int line, String turn) {
        @Override
        public String toString() {
            return file + ":" + line + ": " + turn;
        }
    }

    /** How much prose a folder has, and which turns. */
    public record Count(int words, List<Hit> hits) {
        public double perThousand() {
            return words == 0 ? 0 : hits.size() * 1_000.0 / words;
        }
    }

    private static final Pattern WORDS = Pattern.compile("[A-Za-z][A-Za-z'-]*");

    /** Turns that count in comments, in messages and in Markdown. */
    private static final Pattern TURNS = Pattern.compile(
            "\\b(who|whoever|whom|whomsoever|nobody|somebody|anybody|told\\s+of|tells\\s+of|seen\\s+to|sees\\s+to"
                    + "|(has|have)\\s+(it|them|one)\\s+\\w+ed|at\\s+the\\s+moment|by\\s+now|any\\s+more|but\\s+for)\\b",
            Pattern.CASE_INSENSITIVE);

    /** A colon between two clauses: three words or more before it, and a verb behind it. A message may have a label. */
    private static final Pattern COLON = Pattern.compile("(?:[\\w'`)-]+,?\\s+){2,}[\\w'`)%-]+:\\s+(?=[a-z])"
            + "(?=[^.;:]*?\\b(is|are|was|were|has|have|had|may|must|can|could|will|would|does|do|did|comes?|goes|keeps?|stays?"
            + "|gets?|gives?|needs?|takes?|makes?|ends?|waits?|closes?)\\b)");

    private static final Pattern CODE = Pattern.compile(
            "\\{@(?:code|link|linkplain|value|literal)\\s[^}]*}|<code>.*?</code>|\\{@snippet[^}]*}|https?://\\S+",
            Pattern.DOTALL);
    private static final Pattern PREFORMATTED = Pattern.compile("<pre>.*?</pre>|```.*?```", Pattern.DOTALL);
    private static final Pattern SQL = Pattern.compile(
            "(SELECT|INSERT|UPDATE|DELETE|CREATE|DROP|ALTER|SET|RESET|BEGIN|COMMIT|PREPARE|DECLARE|WITH|COPY|DO|CALL)\\b.*",
            Pattern.DOTALL);

    private Prose() {}

    /** Counts the turns of some text, as if it stood in a comment. */
    public static Count count(String text) {
        return count(List.of(new Passage("text", 1, text, false)));
    }

    /** Counts the turns of the project in the working directory, by folder; README and the like stand below {@code .}. */
    public static Map<String, Count> countByFolder() throws IOException {
        Map<String, List<Passage>> passages = new TreeMap<>();
        for (String folder :
                List.of("src/main", "src/build", "src/test", "src/bench", "src/prove", "src/demo", ".ci", ".github")) {
            if (!Files.isDirectory(Path.of(folder))) continue;
            try (Stream<Path> files = Files.walk(Path.of(folder))) {
                for (Path file :
                        (Iterable<Path>) files.filter(Files::isRegularFile).sorted()::iterator) {
                    passages.computeIfAbsent(folder, unused -> new ArrayList<>())
                            .addAll(read(file));
                }
            }
        }
        for (String file : List.of("README.md", "CHANGELOG.md", "pom.xml")) {
            passages.computeIfAbsent(".", unused -> new ArrayList<>()).addAll(read(Path.of(file)));
        }
        Map<String, Count> counts = new TreeMap<>();
        passages.forEach((folder, found) -> counts.put(folder, count(found)));
        return counts;
    }

    private static Count count(List<Passage> passages) {
        int words = 0;
        List<Hit> hits = new ArrayList<>();
        for (Passage passage : passages) {
            String text = withoutCode(passage.text);
            words += (int) WORDS.matcher(text).results().count();
            find(TURNS, passage, text, hits);
            if (!passage.isMessage) find(COLON, passage, text, hits);
        }
        return new Count(words, hits);
    }

    private static void find(Pattern turn, Passage passage, String text, List<Hit> hits) {
        turn.matcher(text).results().forEach(found -> {
            int line = passage.line + lines(text.substring(0, found.end()));
            hits.add(new Hit(
                    passage.file, line, found.group().replaceAll("\\s+", " ").strip()));
        });
    }

    private static int lines(String text) {
        return (int) text.chars().filter(c -> c == '\n').count();
    }

    /** Puts "x" in the place of code, and keeps the line breaks. */
    private static String withoutCode(String text) {
        String prose = replace(PREFORMATTED, text, "");
        prose = replace(CODE, prose, "x");
        return replace(Pattern.compile("`[^`\n]*`"), prose, "x").replaceAll("<[^<>\n]*>", "");
    }

    private static String replace(Pattern code, String text, String replacement) {
        return code.matcher(text)
                .replaceAll(found -> Matcher.quoteReplacement(replacement + "\n".repeat(lines(found.group()))));
    }

    private static List<Passage> read(Path file) throws IOException {
        String name = file.toString().replace('\\', '/');
        if (name.endsWith(".java")) return readJava(name, Files.readString(file));
        if (name.endsWith(".md")) return List.of(new Passage(name, 1, Files.readString(file), false));
        if (name.endsWith(".xml")) return readXml(name, Files.readString(file));
        boolean isScript = name.startsWith(".") || name.endsWith(".txt") || name.endsWith(".yml");
        return isScript && !name.contains("/resources/dev/") ? readScript(name, Files.readString(file)) : List.of();
    }

    private static List<Passage> readXml(String name, String text) {
        List<Passage> passages = new ArrayList<>();
        Pattern comment = Pattern.compile("<!--(.*?)-->|<description>(.*?)</description>", Pattern.DOTALL);
        comment.matcher(text).results().forEach(found -> {
            String content = found.group(1) != null ? found.group(1) : found.group(2);
            passages.add(new Passage(name, 1 + lines(text.substring(0, found.start())), content, false));
        });
        return passages;
    }

    private static List<Passage> readScript(String name, String text) {
        List<Passage> passages = new ArrayList<>();
        String[] all = text.split("\n", -1);
        for (int i = 0; i < all.length; i++) {
            Matcher comment =
                    Pattern.compile("^\\s*#(?!!)\\s?(.*)$|\\s#\\s(.*)$").matcher(all[i]);
            if (!comment.find()) continue;
            int first = i;
            StringBuilder block = new StringBuilder(comment.group(1) != null ? comment.group(1) : comment.group(2));
            while (comment.group(1) != null && i + 1 < all.length && all[i + 1].matches("\\s*#.*")) {
                block.append('\n').append(all[++i].replaceFirst("\\s*#\\s?", ""));
            }
            passages.add(new Passage(name, first + 1, block.toString(), false));
        }
        return passages;
    }

    /** Comments and strings. Comments on successive lines are one passage; so are strings that are joined by a plus sign. */
    private static List<Passage> readJava(String name, String text) {
        List<Passage> passages = new ArrayList<>();
        int at = 0;
        while (at < text.length()) {
            int end = at + 1;
            if (text.startsWith("\"\"\"", at)) {
                end = after(text, "\"\"\"", at + 3);
            } else if (text.charAt(at) == '"' || text.charAt(at) == '\'') {
                end = afterLiteral(text, at);
                String literal = text.substring(at + 1, Math.max(at + 1, end - 1));
                boolean isProse = WORDS.matcher(literal).results().count() >= 3
                        && literal.strip().contains(" ")
                        && !SQL.matcher(literal).matches();
                if (isProse) passages.add(passage(name, text, at, literal, true));
            } else if (text.startsWith("//", at)) {
                end = afterLineComments(text, at);
                String comment = text.substring(at, end).replaceAll("(?m)^\\s*//", "");
                passages.add(passage(name, text, at, comment, false));
            } else if (text.startsWith("/*", at)) {
                end = after(text, "*/", at + 2);
                String comment = text.substring(at + 2, end - 2).replaceAll("(?m)^\\s*\\*", "");
                passages.add(passage(name, text, at, comment, false));
            }
            at = end;
        }
        return passages;
    }

    private static Passage passage(String name, String text, int at, String prose, boolean isMessage) {
        return new Passage(name, 1 + lines(text.substring(0, at)), prose, isMessage);
    }

    private static int after(String text, String delimiter, int from) {
        int found = text.indexOf(delimiter, from);
        return found < 0 ? text.length() : found + delimiter.length();
    }

    private static int afterLiteral(String text, int start) {
        int at = start + 1;
        while (at < text.length() && text.charAt(at) != text.charAt(start) && text.charAt(at) != '\n') {
            at += text.charAt(at) == '\\' ? 2 : 1;
        }
        return Math.min(at + 1, text.length());
    }

    private static int afterLineComments(String text, int start) {
        int end = after(text, "\n", start) - 1;
        Matcher next = Pattern.compile("\n[ \t]*//[^\n]*").matcher(text);
        while (next.find(end) && next.start() == end) end = next.end();
        return Math.max(end, start + 2);
    }
}
