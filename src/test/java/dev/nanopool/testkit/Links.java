package dev.nanopool.testkit;

import java.io.IOException;
import java.lang.reflect.Constructor;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.net.URI;
import java.nio.file.FileSystem;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.objectweb.asm.ClassReader;
import org.objectweb.asm.ClassVisitor;
import org.objectweb.asm.Handle;
import org.objectweb.asm.MethodVisitor;
import org.objectweb.asm.Opcodes;
import org.objectweb.asm.Type;
import org.objectweb.asm.commons.ClassRemapper;
import org.objectweb.asm.commons.Remapper;

/** Resolves every reference in the pool's class files, as the JVM would do if it came by, against the driver of a loader. */
public final class Links {
    private static final String OWN = "dev/nanopool/";
    private static final String DRIVER = "org/postgresql/";

    private final ClassLoader loader;
    private final Set<String> broken = new TreeSet<>();

    private Links(ClassLoader loader) {
        this.loader = loader;
    }

    /** The references of these classes to the driver, or by the driver's classes, that cannot be resolved in the loader. */
    public static Set<String> broken(ClassLoader loader, List<byte[]> classes) {
        var links = new Links(loader);
        for (byte[] bytes : classes) links.check(new ClassReader(bytes));
        return links.broken;
    }

    /** The folder or the jar from which a class comes. */
    public static Path place(Class<?> type) {
        return Path.of(URI.create(
                type.getProtectionDomain().getCodeSource().getLocation().toString()));
    }

    /** All class files there. */
    public static List<byte[]> classFiles(Class<?> type) throws IOException {
        Path place = place(type);
        if (Files.isDirectory(place)) return classFiles(place);
        try (FileSystem jar = FileSystems.newFileSystem(place)) {
            return classFiles(jar.getPath("/"));
        }
    }

    private static List<byte[]> classFiles(Path folder) throws IOException {
        List<byte[]> found = new ArrayList<>();
        try (Stream<Path> files = Files.walk(folder)) {
            for (Path file : files.filter(f -> f.toString().endsWith(".class")).toList()) {
                if (!file.endsWith("module-info.class")) found.add(Files.readAllBytes(file));
            }
        }
        return found;
    }

    private void check(ClassReader reader) {
        String from = reader.getClassName();
        var names = new Remapper(Opcodes.ASM9) {
            @Override
            public String map(String name) {
                if (name.startsWith(DRIVER)) load(from, name);
                return name;
            }
        };
        var members = new ClassVisitor(Opcodes.ASM9) {
            @Override
            public MethodVisitor visitMethod(
                    int access,
                    String name,
                    String descriptor,
                    @Nullable String signature,
                    String @Nullable [] thrown) {
                return new MethodVisitor(Opcodes.ASM9) {
                    @Override
                    public void visitMethodInsn(int op, String owner, String called, String type, boolean isInterface) {
                        method(from + "." + name, owner, called, type, op == Opcodes.INVOKESTATIC);
                    }

                    @Override
                    public void visitFieldInsn(int op, String owner, String field, String type) {
                        field(from + "." + name, owner, field, type);
                    }

                    @Override
                    public void visitInvokeDynamicInsn(
                            String called, String type, Handle bootstrap, Object... arguments) {
                        for (Object argument : arguments) {
                            if (argument instanceof Handle handle && handle.getTag() >= Opcodes.H_INVOKEVIRTUAL) {
                                method(
                                        from + "." + name,
                                        handle.getOwner(),
                                        handle.getName(),
                                        handle.getDesc(),
                                        handle.getTag() == Opcodes.H_INVOKESTATIC);
                            }
                        }
                    }
                };
            }
        };
        reader.accept(new ClassRemapper(members, names), 0);
        implementsAll(from);
    }

    private @Nullable Class<?> load(String from, String name) {
        try {
            return Class.forName(name.replace('/', '.'), false, loader);
        } catch (ClassNotFoundException | LinkageError e) {
            // A framework may be missing, of which the pool has a class.
            if (String.valueOf(e.getMessage()).replace('.', '/').contains(DRIVER))
                broken.add(from + ": " + name + ": " + e);
            return null;
        }
    }

    private void method(String from, String owner, String name, String type, boolean isStatic) {
        if (!owner.startsWith(DRIVER) && !owner.startsWith(OWN)) return;
        Class<?> start = load(from, owner);
        if (start == null) return;
        boolean isThere = name.equals("<init>")
                ? has(start.getDeclaredConstructors(), type)
                : supertypes(start).stream()
                        .anyMatch(c -> Arrays.stream(c.getDeclaredMethods())
                                .anyMatch(m -> m.getName().equals(name)
                                        && isOpen(c, m.getModifiers())
                                        && Type.getMethodDescriptor(m).equals(type)
                                        && Modifier.isStatic(m.getModifiers()) == isStatic));
        if (!isThere) broken.add(from + ": " + owner + "." + name + type);
    }

    private static boolean has(Constructor<?>[] constructors, String type) {
        return Arrays.stream(constructors)
                .anyMatch(c -> Type.getConstructorDescriptor(c).equals(type)
                        && isOpen(c.getDeclaringClass(), c.getModifiers()));
    }

    /** Whether the pool may name the member, as a subclass if need be. */
    private static boolean isOpen(Class<?> type, int modifiers) {
        return type.getName().startsWith("dev.") || Modifier.isPublic(modifiers) || Modifier.isProtected(modifiers);
    }

    private void field(String from, String owner, String name, String type) {
        if (!owner.startsWith(DRIVER)) return;
        Class<?> start = load(from, owner);
        if (start == null) return;
        boolean isThere = supertypes(start).stream()
                .anyMatch(c -> Arrays.stream(c.getDeclaredFields())
                        .anyMatch(f -> f.getName().equals(name)
                                && Type.getDescriptor(f.getType()).equals(type)));
        if (!isThere) broken.add(from + ": " + owner + "." + name);
    }

    /** A concrete class implements each method of its interfaces, and overrides no final one. */
    private void implementsAll(String name) {
        Class<?> own = load(name, name);
        if (own == null || own.isInterface() || Modifier.isAbstract(own.getModifiers())) return;
        try {
            for (Method method : own.getMethods()) {
                if (Modifier.isAbstract(method.getModifiers())) broken.add(name + " lacks " + method);
            }
        } catch (LinkageError e) {
            broken.add(name + ": " + e);
        }
    }

    private static Set<Class<?>> supertypes(@Nullable Class<?> start) {
        Set<Class<?>> all = new LinkedHashSet<>();
        for (Class<?> c = start; c != null; c = c.getSuperclass()) {
            all.add(c);
            for (Class<?> face : c.getInterfaces()) all.addAll(supertypes(face));
        }
        if (start != null && start.isInterface()) all.add(Object.class);
        return all;
    }
}
