import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import javax.annotation.processing.AbstractProcessor;
import javax.annotation.processing.RoundEnvironment;
import javax.annotation.processing.SupportedAnnotationTypes;
import javax.lang.model.SourceVersion;
import javax.lang.model.element.ExecutableElement;
import javax.lang.model.element.Modifier;
import javax.lang.model.element.TypeElement;
import javax.lang.model.element.VariableElement;
import javax.lang.model.type.TypeMirror;
import javax.lang.model.util.ElementFilter;
import javax.tools.ToolProvider;

/**
 * Writes the mechanical half of the objects that a client sees. It has one method for each method of the interface or class. Each
 * method enters the lease before it calls the driver and leaves it afterwards. {@code local-methods.txt} lists the exceptions. A
 * failure of the driver passes through {@code recordFailure}, and a result that can lead back to the connection passes through
 * {@code wrap}. Hand-written subclasses hold what the pool does differently.
 *
 * <p>It reads the interfaces as the given Java release declares them, so the output is the same on every JDK. The build runs
 * {@code java -cp <driver> ForwardingGenerator.java <release> <output folder> <local-methods.txt>}.
 */
@SupportedAnnotationTypes("*")
public final class ForwardingGenerator extends AbstractProcessor {
    private static final String DRIVER_CONNECTION = "org.postgresql.core.BaseConnection";

    /**
     * One class to write.
     *
     * @param superclass the generated class that this one extends, or a class whose public methods it overrides
     * @param delegate the type of the driver's object
     * @param field the name of the driver's object; null if the subclass answers it ({@code delegate()}); "super" if the object
     *     itself is the driver's
     * @param types the interfaces, or the class, whose methods are written
     * @param isRoot whether a hand-written subclass answers {@code enter} and {@code exit}; if not, the client answers them
     * @param byHand the methods that the hand-written subclass declares alone
     */
    private record Forwarding(
            String name,
            String superclass,
            String delegate,
            String field,
            List<String> types,
            boolean isRoot,
            Set<String> byHand) {
        /** A class that needs no other one. It is final unless a hand-written class extends it. */
        static Forwarding of(String name, String delegate, String field, String... types) {
            return new Forwarding(name, null, delegate, field, List.of(types), false, Set.of());
        }

        /** A class that extends the type which it forwards. */
        static Forwarding subclass(String name, String type, String field) {
            return new Forwarding(name, type, type, field, List.of(type), false, Set.of());
        }

        boolean isSubclassed() {
            return name.startsWith("Forwarding");
        }

        boolean isClass() {
            return superclass != null && types.contains(superclass);
        }

        /** What answers {@code recordFailure} and the like. */
        String lease() {
            return field == null ? "" : "client.";
        }

        /** What answers {@code enter}, {@code exit} and {@code wrap} of a result. */
        String statement() {
            return name.endsWith("Statement") ? "" : lease();
        }
    }

    private static final List<Forwarding> CLASSES = List.of(
            new Forwarding(
                    "ForwardingConnection",
                    null,
                    DRIVER_CONNECTION,
                    null,
                    List.of("java.sql.Connection", "org.postgresql.PGConnection"),
                    true,
                    Set.of("setClientInfo", "close", "isClosed", "abort", "cancelQuery", "unwrap", "isWrapperFor")),
            new Forwarding(
                    "ForwardingStatement",
                    null,
                    "org.postgresql.core.BaseStatement",
                    "statement",
                    List.of("java.sql.Statement", "org.postgresql.PGStatement"),
                    true,
                    Set.of("cancel")),
            new Forwarding(
                    "ClientPreparedStatement",
                    "ClientStatement",
                    "java.sql.PreparedStatement",
                    "prepared",
                    List.of("java.sql.PreparedStatement"),
                    false,
                    Set.of()),
            new Forwarding(
                    "ClientCallableStatement",
                    "ClientPreparedStatement",
                    "java.sql.CallableStatement",
                    "callable",
                    List.of("java.sql.CallableStatement"),
                    false,
                    Set.of()),
            Forwarding.of("ForwardingResultSet", "java.sql.ResultSet", "rows", "java.sql.ResultSet"),
            Forwarding.of(
                    "ClientDatabaseMetaData", "java.sql.DatabaseMetaData", "metaData", "java.sql.DatabaseMetaData"),
            Forwarding.of(
                    "ClientResultSetMetaData",
                    "org.postgresql.jdbc.PgResultSetMetaData",
                    "metaData",
                    "java.sql.ResultSetMetaData",
                    "org.postgresql.PGResultSetMetaData"),
            Forwarding.of(
                    "ClientParameterMetaData", "java.sql.ParameterMetaData", "metaData", "java.sql.ParameterMetaData"),
            Forwarding.of("ForwardingArray", "java.sql.Array", "array", "java.sql.Array"),
            Forwarding.of("ClientBlob", "java.sql.Blob", "blob", "java.sql.Blob"),
            Forwarding.of("ClientClob", "java.sql.Clob", "clob", "java.sql.NClob"),
            Forwarding.of("ClientSqlXml", "java.sql.SQLXML", "xml", "java.sql.SQLXML"),
            Forwarding.subclass("ClientInputStream", "java.io.InputStream", "stream"),
            Forwarding.subclass("ClientOutputStream", "java.io.OutputStream", "stream"),
            Forwarding.subclass("ClientReader", "java.io.Reader", "reader"),
            Forwarding.subclass("ClientWriter", "java.io.Writer", "writer"),
            Forwarding.subclass("ForwardingLargeObject", "org.postgresql.largeobject.LargeObject", "super"),
            Forwarding.subclass("ClientFastpath", "org.postgresql.fastpath.Fastpath", "fastpath"));

    /** Methods of a superclass's interfaces, which a subclass must not forward again. */
    private static final Map<String, List<String>> INHERITED = Map.of(
            "ClientPreparedStatement", List.of("java.sql.Statement"),
            "ClientCallableStatement", List.of("java.sql.PreparedStatement"));

    /** Types whose values can lead back to the driver's connection. Such results pass {@code wrap}. */
    private static final Set<String> WRAPPED = Set.of(
            "java.lang.Object",
            "java.sql.Connection",
            "java.sql.Statement",
            "java.sql.PreparedStatement",
            "java.sql.CallableStatement",
            "java.sql.ResultSet",
            "java.sql.DatabaseMetaData",
            "java.sql.ResultSetMetaData",
            "java.sql.ParameterMetaData",
            "java.sql.Array",
            "java.sql.Blob",
            "java.sql.Clob",
            "java.sql.NClob",
            "java.sql.SQLXML",
            "org.postgresql.copy.CopyManager",
            "org.postgresql.largeobject.LargeObjectManager",
            "org.postgresql.fastpath.Fastpath");

    /** Types whose wrappers come back as arguments. The driver gets its own object. */
    private static final Set<String> UNWRAPPED =
            Set.of("java.lang.Object", "java.sql.Array", "java.sql.Blob", "java.sql.Clob", "java.sql.SQLXML");

    /** Types that speak to the server, if the object that hands them out does. */
    private static final Set<String> STREAMS =
            Set.of("java.io.InputStream", "java.io.OutputStream", "java.io.Reader", "java.io.Writer");

    private static final Set<String> STREAMING =
            Set.of("java.sql.Blob", "java.sql.Clob", "org.postgresql.largeobject.LargeObject");

    /** Types whose getters read from memory, so that a wrong argument is no failure of the connection. */
    private static final Set<String> READ = Set.of("java.sql.ResultSet", "java.sql.Array");

    /** Methods whose first argument is SQL text begin like this. */
    private static final List<String> TEXT = List.of("execute", "addBatch", "prepare");

    /** What local-methods.txt says about a method. */
    private enum Kind {
        LOCAL,
        MEMORY,
        COLUMN,
        QUIET,
        ENDING
    }

    private final Path out;
    private final Map<String, Kind> kinds;
    private final Set<String> unused;

    private ForwardingGenerator(Path out, Map<String, Kind> kinds) {
        this.out = out;
        this.kinds = kinds;
        this.unused = new TreeSet<>(kinds.keySet());
    }

    public static void main(String[] args) throws IOException {
        Path out = Path.of(args[1], "dev", "nanopool");
        Files.createDirectories(out);
        var options = List.of("--release", args[0], "-cp", System.getProperty("java.class.path"), "-proc:only");
        var task = ToolProvider.getSystemJavaCompiler()
                .getTask(null, null, null, options, List.of("java.lang.Object"), null);
        task.setProcessors(List.of(new ForwardingGenerator(out, kinds(Path.of(args[2])))));
        if (!task.call()) {
            System.exit(1);
        }
    }

    /** Reads the list, by "type.name" or "type.name(types)". */
    private static Map<String, Kind> kinds(Path list) throws IOException {
        Map<String, Kind> kinds = new HashMap<>();
        for (String line : Files.readAllLines(list)) {
            if (line.isBlank() || line.startsWith("#")) {
                continue;
            }
            String[] words = line.split("[: ]+");
            for (int i = 2; i < words.length; i++) {
                kinds.put(words[0] + "." + words[i], Kind.valueOf(words[1].toUpperCase()));
            }
        }
        return kinds;
    }

    @Override
    public SourceVersion getSupportedSourceVersion() {
        return SourceVersion.latestSupported();
    }

    @Override
    public boolean process(Set<? extends TypeElement> annotations, RoundEnvironment round) {
        if (!round.processingOver()) {
            for (Forwarding forwarding : CLASSES) {
                try {
                    // Unchanged files keep their time, so that an incremental build stays one.
                    Path file = out.resolve(forwarding.name + ".java");
                    String source = source(forwarding);
                    if (!Files.exists(file) || !Files.readString(file).equals(source)) {
                        Files.writeString(file, source);
                    }
                } catch (IOException e) {
                    throw new UncheckedIOException(e);
                }
            }
            removeOthers();
            unused.removeIf(name -> name.startsWith("org.postgresql.copy.") || isByHand(name));
            if (!unused.isEmpty()) {
                throw new IllegalStateException("local-methods.txt names methods that do not exist: " + unused);
            }
        }
        return false;
    }

    private static boolean isByHand(String name) {
        return CLASSES.stream()
                .anyMatch(forwarding -> forwarding.byHand.contains(name.substring(name.lastIndexOf('.') + 1))
                        && forwarding.types.contains(name.substring(0, name.lastIndexOf('.'))));
    }

    /** Deletes what an earlier generator has written, because it must not be compiled. */
    private void removeOthers() {
        Set<String> names = CLASSES.stream().map(c -> c.name + ".java").collect(Collectors.toSet());
        try (var files = Files.list(out)) {
            for (Path file : files.toList()) {
                if (!names.contains(file.getFileName().toString())) {
                    Files.delete(file);
                }
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private String source(Forwarding forwarding) {
        var text = new StringBuilder("package dev.nanopool;\n\n");
        text.append("/** Written by the build; see ForwardingGenerator. */\n");
        text.append("@org.jspecify.annotations.NullUnmarked\n");
        text.append("@SuppressWarnings({\"deprecation\", \"removal\", \"rawtypes\", \"unchecked\", \"try\"})\n");
        // NewMethods may extend what implements an interface of the driver.
        boolean isOpen = forwarding.name.endsWith("Statement") || forwarding.name.equals("ClientResultSetMetaData");
        text.append(forwarding.isSubclassed() ? "abstract class " : isOpen ? "class " : "final class ")
                .append(forwarding.name);
        if (forwarding.superclass != null) {
            text.append(" extends ").append(forwarding.superclass);
        }
        if (!forwarding.isClass()) {
            text.append(" implements ").append(String.join(", ", forwarding.types));
        }
        text.append(" {\n");
        String methods = methods(forwarding).values().stream()
                .map(method -> "\n" + method(forwarding, method))
                .collect(Collectors.joining());
        fields(forwarding, text);
        if (forwarding.isRoot) {
            hooks(forwarding, text, methods);
        }
        if (forwarding.name.equals("ForwardingArray")) {
            text.append("""

                        /** The elements as rows. */
                        abstract java.sql.ResultSet wrap(java.sql.ResultSet value) throws java.sql.SQLException;
                    """);
        }
        if (forwarding.name.equals("ForwardingResultSet")) {
            text.append("""

                        /** Whether the server has sent all rows. */
                        abstract boolean isInMemory();

                        /** Whether a value of the column is read without the server. */
                        abstract boolean isLocal(int column) throws java.sql.SQLException;
                    """);
        }
        return text.append(methods).append("}\n").toString();
    }

    private static void fields(Forwarding forwarding, StringBuilder text) {
        String name = forwarding.name;
        String field = forwarding.field;
        if (field == null) {
            text.append("    /** The driver's object. Throws if the client is closed. */\n");
            text.append("    abstract %s delegate() throws java.sql.SQLException;\n\n".formatted(forwarding.delegate));
            text.append("    /** The same for methods that declare no SQLException. */\n");
            text.append("    abstract %s delegateUnchecked();\n".formatted(forwarding.delegate));
        } else if (name.equals("ForwardingLargeObject")) {
            text.append("""
                        private final ClientConnection client;

                        ForwardingLargeObject(
                                ClientConnection client,
                                org.postgresql.fastpath.Fastpath fastpath,
                                long oid,
                                int mode,
                                org.postgresql.core.BaseConnection connection,
                                boolean commitOnClose)
                                throws java.sql.SQLException {
                            super(fastpath, oid, mode, connection, commitOnClose);
                            this.client = client;
                        }
                    """);
        } else {
            String parameter = forwarding.delegate + " " + field;
            boolean isFirst = forwarding.superclass == null || forwarding.isClass();
            if (isFirst) {
                text.append("    final ClientConnection client;\n");
            }
            text.append("    final %s;\n\n".formatted(parameter));
            text.append("    %s(ClientConnection client, %s)%s {\n"
                    .formatted(name, parameter, isFirst ? "" : " throws java.sql.SQLException"));
            if (name.equals("ClientFastpath")) {
                text.append("        super(client.delegateUnchecked());\n");
            } else if (!isFirst) {
                text.append("        super(client, %s);\n".formatted(field));
            }
            if (isFirst) {
                text.append("        this.client = client;\n");
            }
            text.append("        this.%1$s = %1$s;\n    }\n".formatted(field));
        }
    }

    /** What the hand-written subclass of a root answers. */
    private static void hooks(Forwarding forwarding, StringBuilder text, String methods) {
        text.append("""

                    /** Before the driver is called, which may speak to the server. Fails if the lease has ended. */
                    abstract PhysicalConnection enter() throws java.sql.SQLException;

                    /** As enter, for a call that ends something, so that an interrupt neither prevents nor cancels it. */
                    abstract PhysicalConnection enterToEnd() throws java.sql.SQLException;

                    /** After the call. */
                    abstract void exit(PhysicalConnection inside);
                """);
        if (methods.contains("enterUnchecked()")) {
            text.append("\n    /** As enter, for methods that declare no SQLException. */\n");
            text.append("    abstract PhysicalConnection enterUnchecked();\n");
        }
        if (forwarding.field == null) {
            text.append("""

                        /** Records a failure of the driver before it reaches the caller. */
                        abstract void recordFailure(Throwable failure, boolean speaking);

                        /** Records SQL text that may be executed; answers the text for the driver. */
                        abstract String sql(String text) throws java.sql.SQLException;

                        /** The driver's object for the client's, if both belong to this lease. */
                        abstract <T> T unwrapArgument(T value);
                    """);
        }
        for (String type : new TreeSet<>(WRAPPED)) {
            boolean isAnswered = forwarding.field == null || type.equals("java.sql.ResultSet");
            if (isAnswered && methods.contains("public " + type + " ")) {
                text.append("\n    /** The client's object for the driver's. */\n");
                text.append("    abstract %1$s wrap(%1$s value) throws java.sql.SQLException;\n".formatted(type));
            }
        }
    }

    private Map<String, ExecutableElement> methods(Forwarding forwarding) {
        Set<String> inherited = new LinkedHashSet<>();
        for (String type : INHERITED.getOrDefault(forwarding.name, List.of())) {
            inherited.addAll(methods(type).keySet());
        }
        Map<String, ExecutableElement> methods = new LinkedHashMap<>();
        for (String type : forwarding.types) {
            methods(type).forEach(methods::putIfAbsent);
        }
        methods.keySet().removeAll(inherited);
        methods.values()
                .removeIf(method ->
                        forwarding.byHand.contains(method.getSimpleName().toString()));
        return methods;
    }

    /** All methods of an interface, or all public methods of a class that can be overridden, by signature. */
    private Map<String, ExecutableElement> methods(String type) {
        var elements = processingEnv.getElementUtils();
        Map<String, ExecutableElement> methods = new LinkedHashMap<>();
        for (ExecutableElement method :
                ElementFilter.methodsIn(elements.getAllMembers(elements.getTypeElement(type)))) {
            Collection<Modifier> modifiers = method.getModifiers();
            boolean isOfObject = method.getEnclosingElement().toString().equals("java.lang.Object");
            if (!isOfObject
                    && modifiers.contains(Modifier.PUBLIC)
                    && !modifiers.contains(Modifier.STATIC)
                    && !modifiers.contains(Modifier.FINAL)) {
                methods.put(method.toString(), method);
            }
        }
        return methods;
    }

    private Kind kind(ExecutableElement method) {
        String type = method.getEnclosingElement().toString();
        String name = method.getSimpleName().toString();
        String signature = method.getParameters().stream()
                .map(parameter -> type(parameter.asType()))
                .collect(Collectors.joining(",", name + "(", ")"));
        for (String key : List.of(type + "." + signature, type + "." + name)) {
            if (kinds.containsKey(key)) {
                unused.remove(key);
                return kinds.get(key);
            }
        }
        return null;
    }

    private String method(Forwarding forwarding, ExecutableElement method) {
        String name = method.getSimpleName().toString();
        String lease = forwarding.lease();
        List<String> parameters = new ArrayList<>();
        List<String> arguments = new ArrayList<>();
        for (VariableElement parameter : method.getParameters()) {
            String type = type(parameter.asType());
            parameters.add(type + " " + parameter.getSimpleName());
            arguments.add(
                    UNWRAPPED.contains(type)
                            ? lease + "unwrapArgument(" + parameter.getSimpleName() + ")"
                            : parameter.getSimpleName().toString());
        }
        List<String> thrown = method.getThrownTypes().stream().map(this::type).toList();
        String typeParameters = method.getTypeParameters().isEmpty()
                ? ""
                : method.getTypeParameters().stream()
                        .map(parameter -> parameter + " extends "
                                + type(parameter.getBounds().get(0)))
                        .collect(Collectors.joining(", ", "<", "> "));
        boolean isChecked = thrown.contains("java.sql.SQLException");
        String target = forwarding.field != null ? forwarding.field : isChecked ? "delegate()" : "delegateUnchecked()";
        boolean hasText = TEXT.stream().anyMatch(name::startsWith)
                && !arguments.isEmpty()
                && method.getParameters().get(0).asType().toString().equals("java.lang.String");
        if (hasText) {
            arguments.set(0, lease + "sql(" + arguments.get(0) + ")");
        }
        String returned = type(method.getReturnType());
        String call = target + "." + name + "(" + String.join(", ", arguments) + ")";
        boolean isRows = returned.equals("java.sql.ResultSet");
        if (WRAPPED.contains(returned) || (STREAMS.contains(returned) && STREAMING.contains(forwarding.delegate))) {
            boolean isArray = forwarding.name.equals("ForwardingArray");
            call = (isRows ? isArray ? "" : forwarding.statement() : lease) + "wrap(" + call + ")";
        } else if (name.equals("getObject") && returned.equals("T")) {
            call = lease + "wrap(" + call + ", " + arguments.get(1) + ")";
        }
        call = (returned.equals("void") ? "" : "return ") + call + ";";
        if (name.equals("unwrap")) {
            call = "return client.unwrapped(" + target + ".unwrap(" + arguments.get(0) + "));";
        } else if (name.equals("isWrapperFor")) {
            call = "return %1$s.isInstance(this) || %2$s.isWrapperFor(%1$s);".formatted(arguments.get(0), target);
        }
        Kind kind = kind(method);
        boolean isEnd = kind == Kind.QUIET || kind == Kind.ENDING;
        String enter = forwarding.statement()
                + (isChecked
                        ? isEnd ? "enterToEnd()" : "enter()"
                        : thrown.contains("java.io.IOException")
                                ? isEnd ? "enterToEndForIo()" : "enterForIo()"
                                : "enterUnchecked()");
        var caught = new ArrayList<>(thrown);
        caught.add("RuntimeException");
        caught.add("Error");
        boolean isSpeaking = !(READ.contains(forwarding.delegate) && name.startsWith("get"))
                && !STREAMS.contains(forwarding.delegate);
        String entering =
                """
                PhysicalConnection inside = %s;
                try {
                    %s
                } catch (%s failure) {
                    %srecordFailure(failure, %s);
                    throw failure;
                } finally {
                    %sexit(inside);
                }
                """.formatted(enter, call, String.join(" | ", caught), lease, isSpeaking, forwarding.statement());
        if (name.equals("unwrap")) {
            entering = "if (%1$s.isInstance(this)) return %1$s.cast(this);\n".formatted(arguments.get(0)) + entering;
        }
        String body = switch (kind) {
            case null -> entering;
            case ENDING -> entering;
            case LOCAL -> call + "\n";
            case QUIET -> (lease.isEmpty() ? "" : "if (client.isEnded()) return;\n") + entering;
            case MEMORY -> "if (isInMemory()) " + call + "\n" + entering;
            case COLUMN -> {
                String first = method.getParameters().get(0).getSimpleName().toString();
                if (type(method.getParameters().get(0).asType()).equals("int")) {
                    yield "if (isLocal(" + first + ")) " + call + "\n" + entering;
                }
                var byIndex = method.getParameters().stream()
                        .map(parameter -> parameter.getSimpleName().toString())
                        .collect(Collectors.toCollection(ArrayList::new));
                byIndex.set(0, "findColumn(" + first + ")");
                yield "return " + name + "(" + String.join(", ", byIndex) + ");\n";
            }
        };
        return "@Override\npublic %s%s %s(%s)%s {\n%s}\n"
                .formatted(
                        typeParameters,
                        returned,
                        name,
                        String.join(", ", parameters),
                        thrown.isEmpty() ? "" : " throws " + String.join(", ", thrown),
                        body.indent(4))
                .indent(4);
    }

    /** The type as source text, without the type annotations of the driver. */
    private String type(TypeMirror type) {
        return type.toString()
                .replaceAll("@[\\w.]+(\\([^)]*\\))? ?", "")
                .replace(",", ", ")
                .replace(",  ", ", ");
    }
}
