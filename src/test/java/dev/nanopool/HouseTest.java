package dev.nanopool;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Collection;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.objectweb.asm.ClassReader;
import org.objectweb.asm.ClassVisitor;
import org.objectweb.asm.ClassWriter;
import org.objectweb.asm.MethodVisitor;
import org.objectweb.asm.Opcodes;
import org.objectweb.asm.commons.ClassRemapper;
import org.objectweb.asm.commons.Remapper;

/** The rooms of the house and the edges between its classes, as the compiled classes have them. */
class HouseTest {
    private static final String ROOT = "dev.nanopool";

    /** What each room may use, besides itself; a name that ends with a dot stands for all below. */
    private static final Map<String, List<String>> ROOMS = Map.of(
            ROOT + ".queue",
            List.of("java.lang.", "java.util.", "java.time.", "org.jspecify."),
            ROOT + ".sql",
            List.of("java.lang.", "java.util.", "org.jspecify."),
            ROOT + ".driver",
            List.of(
                    "java.lang.",
                    "java.util.",
                    "java.io.",
                    "java.net.",
                    "java.nio.",
                    "java.time.",
                    "javax.net.",
                    "jdk.net.",
                    "org.jspecify."),
            ROOT + ".micrometer",
            List.of(
                    "java.lang.",
                    "java.util.",
                    "java.time.",
                    "javax.sql.",
                    "io.micrometer.",
                    "org.jspecify.",
                    ROOT + ".Pool"),
            ROOT + ".spring",
            List.of(
                    "java.lang.",
                    "java.util.",
                    "java.time.",
                    "java.sql.",
                    "javax.sql.",
                    "io.micrometer.",
                    "org.jspecify.",
                    "org.springframework.",
                    ROOT + ".NanoDataSource",
                    ROOT + ".Pool",
                    ROOT + ".micrometer."),
            ROOT + ".helidon",
            List.of("java.lang.", "java.util.", "java.sql.", "io.helidon.", "org.jspecify.", ROOT + ".NanoDataSource"),
            ROOT,
            List.of(
                    "java.",
                    "javax.",
                    "jdk.net.",
                    "org.jspecify.",
                    "org.postgresql.",
                    ROOT + ".queue.",
                    ROOT + ".sql.",
                    ROOT + ".driver."));

    /** What one class alone may use, because the module may be missing. */
    private static final Map<String, String> ALONE = Map.of(ROOT + ".Recorder", "jdk.jfr.");

    /** What a client hands out leads back to it. The cycle has no other classes, and not more of them than this. */
    private static final int LARGEST_CYCLE = 25;

    /** A pool and its view as a {@code DataSource}, a lease and its client. Each of a pair leads to the other. */
    private static final List<Set<String>> PAIRS =
            List.of(Set.of(ROOT + ".Pool", ROOT + ".PoolDataSource"), Set.of(ROOT + ".Lease", ROOT + ".Client"));

    /** Each class with all that it uses; a nested class belongs to the class around it. */
    private static final Map<String, Set<String>> USES = new TreeMap<>();

    /** Fields of a class that another class writes. */
    private static final Set<String> WRITES = new TreeSet<>();

    /** Methods that enter a monitor. */
    private static final Set<String> MONITORS = new TreeSet<>();

    static {
        try (Stream<Path> files = Files.walk(Path.of(
                Pool.class.getProtectionDomain().getCodeSource().getLocation().toURI()))) {
            for (Path file :
                    (Iterable<Path>) files.filter(path -> path.toString().endsWith(".class"))::iterator) {
                if (!file.endsWith("module-info.class")) read(Files.readAllBytes(file));
            }
        } catch (IOException | java.net.URISyntaxException e) {
            throw new ExceptionInInitializerError(e);
        }
    }

    private static void read(byte[] bytes) {
        var reader = new ClassReader(bytes);
        String name = outermost(reader.getClassName());
        Set<String> uses = USES.computeIfAbsent(name, unused -> new TreeSet<>());
        var remapper = new Remapper(Opcodes.ASM9) {
            @Override
            public String map(String internalName) {
                uses.add(outermost(internalName));
                return internalName;
            }
        };
        reader.accept(new ClassRemapper(new ClassWriter(0), remapper), 0);
        uses.remove(name);
        reader.accept(
                new ClassVisitor(Opcodes.ASM9) {
                    @Override
                    public MethodVisitor visitMethod(
                            int access, String method, String descriptor, String signature, String[] exceptions) {
                        if ((access & Opcodes.ACC_SYNCHRONIZED) != 0) MONITORS.add(name + "." + method);
                        return new MethodVisitor(Opcodes.ASM9) {
                            @Override
                            public void visitFieldInsn(int opcode, String owner, String field, String type) {
                                boolean isWrite = opcode == Opcodes.PUTFIELD || opcode == Opcodes.PUTSTATIC;
                                if (isWrite && !outermost(owner).equals(name)) WRITES.add(owner + "." + field);
                            }

                            @Override
                            public void visitInsn(int opcode) {
                                if (opcode == Opcodes.MONITORENTER) MONITORS.add(name + "." + method);
                            }
                        };
                    }
                },
                0);
    }

    private static String outermost(String internalName) {
        String name = internalName.replace('/', '.');
        int nested = name.indexOf('$');
        return nested < 0 ? name : name.substring(0, nested);
    }

    private static String room(String name) {
        return name.substring(0, name.lastIndexOf('.'));
    }

    // Each class uses its own room, the rooms below and what its room may use, so no edge leads upwards.
    @Test
    void roomMustUseOnlyWhatItsRowAllows() {
        assertThat(USES.keySet()).hasSizeGreaterThan(50);
        USES.forEach((name, uses) -> {
            String room = room(name);
            List<String> allowed = ROOMS.get(room);
            assertThat(allowed).as("the room of %s", name).isNotNull();
            assertThat(uses)
                    .as("what %s uses", name)
                    .allMatch(used -> room(used).equals(room)
                            || used.startsWith(ALONE.getOrDefault(name, used + "none"))
                            || Objects.requireNonNull(allowed).stream().anyMatch(used::startsWith));
        });
    }

    // A field is written by its own class alone, except where an error may have left no stack for a call.
    @Test
    void fieldMustBeWrittenByItsOwnClassOnly() {
        assertThat(WRITES)
                .containsExactly(
                        "dev/nanopool/PhysicalConnection.abandoned",
                        "dev/nanopool/queue/Unfinished.isAny",
                        "dev/nanopool/queue/Waiter.nextUnfinished");
    }

    // A reader sees the core of the pool on a few pages.
    @Test
    void leaseQueueMustStayShort() throws IOException {
        assertThat(Files.readAllLines(Path.of("src/main/java/dev/nanopool/queue/LeaseQueue.java")))
                .hasSizeLessThan(200);
    }

    // A virtual thread that waits for a monitor holds its carrier before JDK 24.
    @Test
    void noMethodMustEnterAMonitor() {
        assertThat(MONITORS).isEmpty();
    }

    // No other class can see a connection's fields, except the one that is written where there may be no stack.
    @Test
    void fieldsOfAConnectionMustBePrivate() {
        for (Class<?> type : List.of(PhysicalConnection.class, Usage.class, Session.class, Capacity.class)) {
            assertThat(Arrays.stream(type.getDeclaredFields())
                            .filter(field ->
                                    !field.isSynthetic() && !field.getName().equals("abandoned")))
                    .allMatch(field -> java.lang.reflect.Modifier.isPrivate(field.getModifiers()));
        }
    }

    // Classes that reach each other form one cycle, the JDBC family, where a client, a statement and a result must know
    // each other, and the superclasses that the generator writes for it. Two pairs are no larger than they must be.
    @Test
    void onlyTheJdbcFamilyMustFormACycle() {
        List<Set<String>> cycles =
                cycles().stream().filter(cycle -> cycle.size() > 1).toList();
        System.getLogger("dev.nanopool.test").log(System.Logger.Level.INFO, "cycles: " + cycles);
        assertThat(cycles).hasSize(1 + PAIRS.size()).containsAll(PAIRS);
        assertThat(cycles).filteredOn(cycle -> !PAIRS.contains(cycle)).allSatisfy(family -> {
            assertThat(family)
                    .allMatch(name -> name.substring(ROOT.length() + 1).matches("(Client|Forwarding)\\w+"));
            assertThat(family).hasSizeLessThanOrEqualTo(LARGEST_CYCLE);
        });
    }

    /** The strongly connected parts of the graph, by Tarjan's algorithm. */
    private static Collection<Set<String>> cycles() {
        var search = new Search();
        USES.keySet().forEach(name -> {
            if (!search.order.containsKey(name)) search.visit(name);
        });
        return search.found;
    }

    private static final class Search {
        final Map<String, Integer> order = new HashMap<>();
        final Map<String, Integer> low = new HashMap<>();
        final Deque<String> path = new ArrayDeque<>();
        final Collection<Set<String>> found = new java.util.ArrayList<>();

        void visit(String name) {
            order.put(name, order.size());
            low.put(name, order.get(name));
            path.push(name);
            for (String used : Objects.requireNonNull(USES.get(name))) {
                if (!USES.containsKey(used)) continue;
                if (!order.containsKey(used)) visit(used);
                if (path.contains(used)) low.merge(name, low.get(used), Math::min);
            }
            if (!low.get(name).equals(order.get(name))) return;
            Set<String> cycle = new TreeSet<>();
            String last;
            do {
                last = path.pop();
                cycle.add(last);
            } while (!last.equals(name));
            found.add(cycle);
        }
    }
}
