package dev.nanopool;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.source.doctree.DocCommentTree;
import com.sun.source.doctree.DocTree;
import com.sun.source.doctree.ParamTree;
import com.sun.source.doctree.ReturnTree;
import com.sun.source.doctree.ThrowsTree;
import com.sun.source.tree.ClassTree;
import com.sun.source.tree.CompilationUnitTree;
import com.sun.source.tree.MethodTree;
import com.sun.source.tree.Tree;
import com.sun.source.tree.VariableTree;
import com.sun.source.util.DocTrees;
import com.sun.source.util.JavacTask;
import com.sun.source.util.TreePath;
import com.sun.source.util.TreePathScanner;
import java.io.IOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import javax.lang.model.element.Modifier;
import javax.tools.JavaFileObject;
import javax.tools.SimpleJavaFileObject;
import javax.tools.ToolProvider;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * The Javadoc of each public type and member says what a caller must know: thread-safety, the unit of a number, and of a method
 * that can fail whether it waits, what an interrupt does, and the SQLState.
 */
class JavadocTest {
    private static final Pattern THREAD_SAFETY =
            Pattern.compile("thread-safe|immutable|one thread|any thread|its thread", Pattern.CASE_INSENSITIVE);
    private static final Pattern WAITING = Pattern.compile("\\b(block|wait|at once)", Pattern.CASE_INSENSITIVE);
    private static final Pattern INTERRUPT = Pattern.compile("interrupt", Pattern.CASE_INSENSITIVE);
    private static final Pattern NEVER_WAITS =
            Pattern.compile("at once|never blocks|does not block", Pattern.CASE_INSENSITIVE);
    private static final Pattern AS_ANOTHER = Pattern.compile("^as[ ,]+\\{@link");
    private static final Pattern SQL_STATE = Pattern.compile("\\b(?=[0-9A-Z]*\\d)[0-9A-Z]{5}\\b|SQLState");
    private static final Pattern UNIT = Pattern.compile(
            "\\b(connections?|callers?|leases?|threads?|milliseconds?|nanoseconds?|seconds?|percent|times|attempts?|statements?"
                    + "|sessions?|number|place|how many|count|process|isolation|level|bytes|version|from \\d+ to \\d+)\\b",
            Pattern.CASE_INSENSITIVE);
    private static final Set<String> NUMBERS = Set.of("int", "long", "double", "float", "short");

    private static final class Source extends SimpleJavaFileObject {
        private final String text;

        Source(String name, String text) {
            super(URI.create("string:///" + name), Kind.SOURCE);
            this.text = text;
        }

        @Override
        public CharSequence getCharContent(boolean ignoreEncodingErrors) {
            return text;
        }
    }

    private static List<Source> publicSources() throws IOException {
        List<Source> sources = new ArrayList<>();
        for (String folder : List.of("dev/nanopool", "dev/nanopool/micrometer")) {
            try (Stream<Path> files = Files.list(Path.of("src/main/java", folder))) {
                for (Path file :
                        files.filter(each -> each.toString().endsWith(".java")).toList()) {
                    sources.add(new Source(file.getFileName().toString(), Files.readString(file)));
                }
            }
        }
        return sources;
    }

    /** What is missing, one line for each. */
    private static List<String> missing(List<Source> sources) throws IOException {
        var task = (JavacTask) ToolProvider.getSystemJavaCompiler()
                .getTask(null, null, null, List.of("-proc:none"), null, List.<JavaFileObject>copyOf(sources));
        DocTrees trees = DocTrees.instance(task);
        List<String> found = new ArrayList<>();
        for (CompilationUnitTree unit : task.parse()) new Members(trees, found).scan(unit, null);
        return found;
    }

    private static final class Members extends TreePathScanner<@Nullable Void, @Nullable Void> {
        private final DocTrees trees;
        private final List<String> found;

        Members(DocTrees trees, List<String> found) {
            this.trees = trees;
            this.found = found;
        }

        @Override
        public @Nullable Void visitClass(ClassTree type, @Nullable Void unused) {
            if (!isPublic(type.getModifiers().getFlags(), getCurrentPath().getParentPath())) return null;
            DocCommentTree doc = trees.getDocCommentTree(getCurrentPath());
            boolean isPlain = type.getKind() == Tree.Kind.ENUM
                    || type.getKind() == Tree.Kind.RECORD // immutable by the language
                    || type.getSimpleName().toString().endsWith("Exception");
            String name = type.getSimpleName().toString();
            if (doc == null) found.add(name + " has no Javadoc");
            else if (!isPlain) require(THREAD_SAFETY, doc.toString(), name, "thread-safety");
            return super.visitClass(type, null);
        }

        @Override
        public @Nullable Void visitMethod(MethodTree method, @Nullable Void unused) {
            TreePath of = getCurrentPath().getParentPath();
            if (!isPublic(method.getModifiers().getFlags(), of)) return null;
            DocCommentTree doc = trees.getDocCommentTree(getCurrentPath());
            String name = ((ClassTree) of.getLeaf()).getSimpleName() + "." + method.getName();
            boolean isOverride = method.getModifiers().getAnnotations().stream()
                    .anyMatch(each -> each.getAnnotationType().toString().equals("Override"));
            if (doc == null) {
                if (!isOverride) found.add(name + " has no Javadoc");
                return null;
            }
            if (method.getThrows().stream().anyMatch(each -> each.toString().endsWith("Exception"))
                    && !method.getThrows().toString().contains("IOException")) {
                String thrown = tags(doc, DocTree.Kind.THROWS).stream()
                        .map(tag -> ((ThrowsTree) tag).getDescription().toString())
                        .collect(Collectors.joining(" "));
                boolean isAsAnother = AS_ANOTHER.matcher(thrown).find();
                if (!isAsAnother) require(SQL_STATE, thrown, name, "the SQLState in @throws");
                if (!isAsAnother) require(WAITING, doc.toString(), name, "whether it waits");
                boolean neverWaits = NEVER_WAITS.matcher(doc.toString()).find();
                if (!isAsAnother && !neverWaits) require(INTERRUPT, doc.toString(), name, "what an interrupt does");
            }
            if (method.getReturnType() != null
                    && NUMBERS.contains(method.getReturnType().toString())) {
                String result = tags(doc, DocTree.Kind.RETURN).stream()
                        .map(tag -> ((ReturnTree) tag).getDescription().toString())
                        .collect(Collectors.joining());
                require(UNIT, result + " " + doc.getFirstSentence(), name, "the unit of its result");
            }
            Map<String, String> parameters = tags(doc, DocTree.Kind.PARAM).stream()
                    .map(ParamTree.class::cast)
                    .collect(Collectors.toMap(
                            tag -> tag.getName().toString(),
                            tag -> tag.getDescription().toString()));
            for (VariableTree each : method.getParameters()) {
                if (!NUMBERS.contains(each.getType().toString())) continue;
                String text = parameters.getOrDefault(each.getName().toString(), "");
                require(UNIT, text, name, "the unit of " + each.getName());
            }
            return null;
        }

        private static List<? extends DocTree> tags(DocCommentTree doc, DocTree.Kind kind) {
            return doc.getBlockTags().stream()
                    .filter(tag -> tag.getKind() == kind)
                    .toList();
        }

        private void require(Pattern what, String text, String member, String of) {
            if (!what.matcher(text).find()) found.add(member + " does not say " + of);
        }

        /** A member of an interface is public. */
        private static boolean isPublic(Set<Modifier> flags, TreePath of) {
            boolean isOfInterface = of.getLeaf().getKind() == Tree.Kind.INTERFACE && !flags.contains(Modifier.PRIVATE);
            return flags.contains(Modifier.PUBLIC) || isOfInterface;
        }
    }

    @Test
    void javadocMustSayWhatACallerMustKnow() throws IOException {
        List<Source> sources = publicSources();
        assertThat(sources).hasSizeGreaterThan(20);
        assertThat(missing(sources)).isEmpty();
    }

    // The check itself finds what is missing.
    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "public class A {}|A has no Javadoc",
                "/** Something. */ public class A {}|A does not say thread-safety",
                "/** Immutable. */ public class A { public void b() {} }|A.b has no Javadoc",
                "/** Immutable. */ public class A { /** Sets it. @param x how long */ public void b(int x) {} }|A.b does not say the unit of x",
                "/** Immutable. */ public class A { /** Answers it. */ public int b() {} }|A.b does not say the unit of its result",
                "/** Immutable. */ public interface A { /** Waits. Ends if interrupted. */ void b() throws SQLException; }"
                        + "|A.b does not say the SQLState in @throws",
                "/** Immutable. */ public interface A { /** Waits. */ void b() throws SQLException; }"
                        + "|A.b does not say what an interrupt does",
                "/** Immutable. */ public interface A { /** Does it. */ void b() throws SQLException; }"
                        + "|A.b does not say whether it waits",
            })
    void gapMustBeFound(String source, String gap) throws IOException {
        assertThat(missing(List.of(new Source("A.java", source)))).contains(gap);
    }
}
