package dev.nanopool;

import static org.assertj.core.api.Assertions.assertThat;

import dev.nanopool.driver.PoolSocketFactory;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.objectweb.asm.ClassReader;
import org.objectweb.asm.ClassVisitor;
import org.objectweb.asm.MethodVisitor;
import org.objectweb.asm.Opcodes;
import org.objectweb.asm.Type;
import org.postgresql.jdbc.PgConnection;

/** The metadata of a native image against the classes: what is found by its name must be there, and must be listed. */
class NativeImageTest {
    private static final Pattern ENTRY = Pattern.compile(
            "\"type\": \"([^\"]+)\"(?:, \"methods\": \\[\\{\"name\": \"<init>\", \"parameterTypes\": \\[([^]]*)]}])?");
    private static final Pattern QUOTED_CLASS = Pattern.compile("\"((?:[a-z0-9]+\\.)+[A-Z]\\w*)\"");

    /** The types, with the parameters of the constructor, or null. */
    private static Map<String, @Nullable String> listed() throws IOException {
        try (InputStream in = NativeImageTest.class.getResourceAsStream(
                "/META-INF/native-image/dev.nanopool/nanopool/reachability-metadata.json")) {
            var listed = new TreeMap<String, @Nullable String>();
            String text = new String(in.readAllBytes(), StandardCharsets.UTF_8);
            for (MatchResult entry : ENTRY.matcher(text).results().toList()) listed.put(entry.group(1), entry.group(2));
            return listed;
        }
    }

    @Test
    void listedClassMustExistWithItsConstructor() throws Exception {
        for (var entry : listed().entrySet()) {
            Class<?> type = Class.forName(entry.getKey(), false, getClass().getClassLoader());
            if (entry.getValue() == null) continue;
            List<String> parameters = Stream.of(entry.getValue().split(", *"))
                    .map(name -> name.replace("\"", ""))
                    .filter(name -> !name.isEmpty())
                    .toList();
            assertThat(type.getConstructors())
                    .as(entry.getKey())
                    .anyMatch(constructor -> Arrays.stream(constructor.getParameterTypes())
                            .map(Class::getName)
                            .toList()
                            .equals(parameters));
        }
    }

    // Frameworks bring their own metadata, so the package for Spring is left out. Names of events and of snippets are
    // not meant.
    @Test
    void classThatTheSourcesNameInAStringMustBeListed() throws Exception {
        Set<String> named = new TreeSet<>(Set.of(PoolSocketFactory.class.getName()));
        try (Stream<Path> files = Files.walk(Path.of("src/main/java"))) {
            for (Path file : files.filter(f -> f.toString().endsWith(".java")).toList()) {
                if (file.toString().contains("spring")) continue;
                String text = Files.readString(file).replaceAll("(@Name\\(|class=)\"[^\"]*\"", "");
                QUOTED_CLASS
                        .matcher(text)
                        .results()
                        .map(quoted -> quoted.group(1))
                        .forEach(named::add);
            }
        }
        named.removeIf(name -> !isClass(name));
        assertThat(named).contains("org.postgresql.ssl.DefaultJavaSSLFactory");
        assertThat(listed().keySet()).containsAll(named);
    }

    private static boolean isClass(String name) {
        try {
            Class<?> unused = Class.forName(name, false, NativeImageTest.class.getClassLoader());
            return true;
        } catch (ClassNotFoundException e) {
            return false;
        }
    }

    // The driver makes the values of these types by reflection.
    @Test
    void typeThatTheDriverRegistersMustBeListed() throws Exception {
        Set<String> registered = new TreeSet<>();
        new ClassReader(PgConnection.class.getName())
                .accept(
                        new ClassVisitor(Opcodes.ASM9) {
                            @Override
                            public @Nullable MethodVisitor visitMethod(
                                    int access,
                                    String name,
                                    String descriptor,
                                    @Nullable String signature,
                                    String @Nullable [] thrown) {
                                if (!name.equals("initObjectTypes")) return null;
                                return new MethodVisitor(Opcodes.ASM9) {
                                    @Override
                                    public void visitLdcInsn(Object value) {
                                        if (value instanceof Type type) registered.add(type.getClassName());
                                    }
                                };
                            }
                        },
                        0);
        assertThat(registered).contains("org.postgresql.util.PGInterval");
        assertThat(listed().keySet()).containsAll(registered);
    }
}
