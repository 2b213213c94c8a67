import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import javax.annotation.processing.AbstractProcessor;
import javax.annotation.processing.RoundEnvironment;
import javax.annotation.processing.SupportedAnnotationTypes;
import javax.lang.model.SourceVersion;
import javax.lang.model.element.ElementKind;
import javax.lang.model.element.ExecutableElement;
import javax.lang.model.element.Modifier;
import javax.lang.model.element.TypeElement;
import javax.lang.model.element.VariableElement;
import javax.lang.model.type.TypeMirror;
import javax.lang.model.util.ElementFilter;
import javax.tools.ToolProvider;

/**
 * Writes the mechanical half of the JDBC objects that a client sees: one forwarding method for each method of the
 * interface. What the pool does differently stands in the hand-written classes around them; a failure of the driver passes
 * through {@code note}, an object that leads back to the connection through {@code wrap}. The interfaces are read as the given Java release declares them, so the output is the same on every JDK.
 *
 * <p>Run by the build: {@code java -cp <driver> ForwardingGenerator.java <release> <output folder>}.
 */
@SupportedAnnotationTypes("*")
public final class ForwardingGenerator extends AbstractProcessor {
    /** One class to write. {@code field} holds the driver's object; null: it is asked for, since it can be gone. */
    private record Forwarding(
            String name,
            String superclass,
            String delegateType,
            String field,
            List<String> interfaces,
            Set<String> byHand) {}

    private static final List<Forwarding> CLASSES = List.of(
            new Forwarding(
                    "ForwardingConnection",
                    null,
                    "org.postgresql.core.BaseConnection",
                    null,
                    List.of("java.sql.Connection", "org.postgresql.PGConnection"),
                    Set.of("setClientInfo", "close", "isClosed", "abort")),
            new Forwarding(
                    "ForwardingStatement",
                    null,
                    "org.postgresql.core.BaseStatement",
                    "statement",
                    List.of("java.sql.Statement", "org.postgresql.PGStatement"),
                    Set.of()),
            new Forwarding(
                    "ClientPreparedStatement",
                    "ClientStatement",
                    "java.sql.PreparedStatement",
                    "prepared",
                    List.of("java.sql.PreparedStatement"),
                    Set.of()),
            new Forwarding(
                    "ClientCallableStatement",
                    "ClientPreparedStatement",
                    "java.sql.CallableStatement",
                    "callable",
                    List.of("java.sql.CallableStatement"),
                    Set.of()),
            new Forwarding(
                    "ForwardingResultSet", null, "java.sql.ResultSet", "rows", List.of("java.sql.ResultSet"), Set.of()),
            new Forwarding(
                    "ForwardingDatabaseMetaData",
                    null,
                    "java.sql.DatabaseMetaData",
                    null,
                    List.of("java.sql.DatabaseMetaData"),
                    Set.of()),
            new Forwarding("ForwardingArray", null, "java.sql.Array", "array", List.of("java.sql.Array"), Set.of()));

    /** Methods of a superclass's interfaces, which a subclass must not forward again. */
    private static final Map<String, List<String>> INHERITED = Map.of(
            "ClientPreparedStatement", List.of("java.sql.Statement"),
            "ClientCallableStatement", List.of("java.sql.PreparedStatement"));

    /** Types whose values can lead back to the driver's connection: results pass {@code wrap}, arguments the reverse. */
    private static final List<String> WRAPPED = List.of("java.sql.ResultSet", "java.sql.Array", "java.lang.Object");

    /** Types whose getters read what is in memory. */
    private static final Set<String> READ = Set.of("java.sql.ResultSet", "java.sql.Array");

    /** Methods whose first argument is SQL text begin like this. */
    private static final List<String> TEXT = List.of("execute", "addBatch", "prepare");

    /** Methods of a connection that speak to the server, besides the statements' {@code execute...}. */
    private static final Set<String> SPEAKING = Set.of(
            "commit",
            "rollback",
            "setSavepoint",
            "releaseSavepoint",
            "isValid",
            "getSchema",
            "setSchema",
            "getTransactionIsolation",
            "setTransactionIsolation",
            "getNotifications");

    private final Path out;

    private ForwardingGenerator(Path out) {
        this.out = out;
    }

    public static void main(String[] args) throws IOException {
        Path out = Path.of(args[1], "dev", "nanopool");
        Files.createDirectories(out);
        var options = List.of("--release", args[0], "-cp", System.getProperty("java.class.path"), "-proc:only");
        var task = ToolProvider.getSystemJavaCompiler()
                .getTask(null, null, null, options, List.of("java.lang.Object"), null);
        task.setProcessors(List.of(new ForwardingGenerator(out)));
        if (!task.call()) {
            System.exit(1);
        }
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
        }
        return false;
    }

    private String source(Forwarding forwarding) {
        var text = new StringBuilder("package dev.nanopool;\n\n");
        text.append("/** Written by the build, one line per JDBC method: see ForwardingGenerator. */\n");
        text.append("@org.jspecify.annotations.NullUnmarked\n");
        text.append("@SuppressWarnings({\"deprecation\", \"removal\", \"rawtypes\", \"unchecked\", \"try\"})\n");
        text.append(forwarding.superclass == null ? "abstract class " : "class ")
                .append(forwarding.name);
        if (forwarding.superclass != null) {
            text.append(" extends ").append(forwarding.superclass);
        }
        text.append(" implements ")
                .append(String.join(", ", forwarding.interfaces))
                .append(" {\n");
        String methods = methods(forwarding).values().stream()
                .map(method -> "\n" + method(forwarding, method))
                .collect(Collectors.joining());
        if (forwarding.field != null) {
            text.append("    final %s %s;\n\n".formatted(forwarding.delegateType, forwarding.field));
            boolean root = forwarding.superclass == null;
            text.append("    %s(%s%s %s)%s {\n"
                    .formatted(
                            forwarding.name,
                            root ? "" : "PhysicalConnection physical, ClientConnection client, ",
                            forwarding.delegateType,
                            forwarding.field,
                            root ? "" : " throws java.sql.SQLException"));
            if (!root) {
                text.append("        super(physical, client, %s);\n".formatted(forwarding.field));
            }
            text.append("        this.%1$s = %1$s;\n    }\n".formatted(forwarding.field));
        } else {
            text.append("    /** The driver's object; fails once the client is closed. */\n");
            text.append(
                    "    abstract %s delegate() throws java.sql.SQLException;\n".formatted(forwarding.delegateType));
            if (methods.contains("delegateUnchecked()")) {
                text.append("\n    /** The same for methods that declare no SQLException. */\n");
                text.append("    abstract %s delegateUnchecked();\n".formatted(forwarding.delegateType));
            }
        }
        if (forwarding.superclass == null) {
            text.append("\n    /** Told of every failure of the driver before it reaches the caller. */\n");
            text.append("    abstract void note(Throwable failure);\n");
            if (methods.contains("= enter();")) {
                text.append("\n    /** Before the server is spoken to. */\n");
                text.append("    abstract PhysicalConnection enter() throws java.sql.SQLException;\n");
                text.append("\n    /** After the server has answered, or failed. */\n");
                text.append("    abstract void exit(PhysicalConnection speaking);\n");
            }
            if (methods.contains("(sql(")) {
                text.append("\n    /** Told of SQL text that may be executed; answers what the driver is to get. */\n");
                text.append("    abstract String sql(String text) throws java.sql.SQLException;\n");
            }
            for (String type : WRAPPED) {
                if (methods.contains("return wrap(") && methods.contains("public " + type + " ")) {
                    text.append("\n    /** The client's object for the driver's. */\n");
                    text.append("    abstract %1$s wrap(%1$s value) throws java.sql.SQLException;\n".formatted(type));
                }
            }
        }
        return text.append(methods).append("}\n").toString();
    }

    private Map<String, ExecutableElement> methods(Forwarding forwarding) {
        Set<String> inherited = new LinkedHashSet<>();
        for (String type : INHERITED.getOrDefault(forwarding.name, List.of())) {
            inherited.addAll(methods(type).keySet());
        }
        Map<String, ExecutableElement> methods = new LinkedHashMap<>();
        for (String type : forwarding.interfaces) {
            methods(type).forEach(methods::putIfAbsent);
        }
        methods.keySet().removeAll(inherited);
        methods.values()
                .removeIf(method ->
                        forwarding.byHand.contains(method.getSimpleName().toString()));
        return methods;
    }

    /** All instance methods of an interface, inherited ones included, by signature. */
    private Map<String, ExecutableElement> methods(String type) {
        var elements = processingEnv.getElementUtils();
        Map<String, ExecutableElement> methods = new LinkedHashMap<>();
        for (ExecutableElement method :
                ElementFilter.methodsIn(elements.getAllMembers(elements.getTypeElement(type)))) {
            if (method.getEnclosingElement().getKind() == ElementKind.INTERFACE
                    && !method.getModifiers().contains(Modifier.STATIC)) {
                methods.put(method.toString(), method);
            }
        }
        return methods;
    }

    private String method(Forwarding forwarding, ExecutableElement method) {
        List<String> parameters = new ArrayList<>();
        List<String> arguments = new ArrayList<>();
        for (VariableElement parameter : method.getParameters()) {
            parameters.add(type(parameter.asType()) + " " + parameter.getSimpleName());
            boolean wrapped = WRAPPED.contains(parameter.asType().toString());
            arguments.add(
                    wrapped
                            ? "ClientArray.unwrap(" + parameter.getSimpleName() + ")"
                            : parameter.getSimpleName().toString());
        }
        List<String> thrown = method.getThrownTypes().stream().map(this::type).toList();
        String typeParameters = method.getTypeParameters().isEmpty()
                ? ""
                : method.getTypeParameters().stream()
                        .map(Object::toString)
                        .collect(Collectors.joining(", ", "<", "> "));
        String target = forwarding.field != null
                ? forwarding.field
                : thrown.contains("java.sql.SQLException") ? "delegate()" : "delegateUnchecked()";
        String name = method.getSimpleName().toString();
        boolean hasText = TEXT.stream().anyMatch(name::startsWith)
                && !arguments.isEmpty()
                && method.getParameters().get(0).asType().toString().equals("java.lang.String");
        if (hasText) {
            arguments.set(0, "sql(" + arguments.get(0) + ")");
        }
        // Whoever speaks to the server is known to do so until the answer is there.
        boolean isSpeaking = name.startsWith("execute") || SPEAKING.contains(name);
        String call = target + "." + name + "(" + String.join(", ", arguments) + ")";
        String returned = type(method.getReturnType());
        if (WRAPPED.contains(returned)) {
            call = "wrap(" + call + ")";
        }
        // What a result's getter throws for a wrong argument says nothing against the connection.
        boolean isRead = READ.contains(forwarding.delegateType) && name.matches("(get|find|is|was).*");
        List<String> caught = new ArrayList<>(thrown);
        if (!isRead) {
            caught.add("RuntimeException");
        }
        caught.add("Error");
        return """
                    @Override
                    public %s%s %s(%s)%s {
                %s        try {
                            %s%s;
                        } catch (%s failure) {
                            note(failure);
                            throw failure;
                        }%s
                    }
                """.formatted(
                        typeParameters,
                        returned,
                        name,
                        String.join(", ", parameters),
                        thrown.isEmpty() ? "" : " throws " + String.join(", ", thrown),
                        isSpeaking ? "        PhysicalConnection speaking = enter();\n" : "",
                        returned.equals("void") ? "" : "return ",
                        call,
                        String.join(" | ", caught),
                        isSpeaking ? " finally {\n            exit(speaking);\n        }" : "");
    }

    /** The type as source text, without the type annotations of the driver. */
    private String type(TypeMirror type) {
        return type.toString()
                .replaceAll("@[\\w.]+(\\([^)]*\\))? ?", "")
                .replace(",", ", ")
                .replace(",  ", ", ");
    }
}
