package dev.nanopool.testkit;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.net.URL;
import java.util.Objects;
import org.jspecify.annotations.Nullable;
import org.objectweb.asm.ClassReader;
import org.objectweb.asm.ClassVisitor;
import org.objectweb.asm.ClassWriter;
import org.objectweb.asm.FieldVisitor;
import org.objectweb.asm.MethodVisitor;
import org.objectweb.asm.Opcodes;
import org.objectweb.asm.Type;

/**
 * Loads the pool once more, beside the one of the other tests, with the driver, and with calls of {@link Injection#before} in
 * front of the calls that the pool's classes make to other code. The test kit itself is shared.
 */
public final class InjectingLoader extends ClassLoader {
    private final Injection injection;
    private final String mainClasses;

    /** @param pool a class of the pool; all classes beside it are instrumented */
    public InjectingLoader(Injection injection, Class<?> pool) {
        super(pool.getClassLoader());
        this.injection = injection;
        this.mainClasses =
                pool.getProtectionDomain().getCodeSource().getLocation().toString();
    }

    @Override
    protected Class<?> loadClass(String name, boolean resolve) throws ClassNotFoundException {
        boolean isOwn = name.startsWith("dev.nanopool.") && !name.startsWith("dev.nanopool.testkit.");
        // The driver finds the pool's socket factory by its name, in its own loader first.
        if (!isOwn && !name.startsWith("org.postgresql.")) return super.loadClass(name, resolve);
        synchronized (getClassLoadingLock(name)) {
            Class<?> loaded = findLoadedClass(name);
            return loaded == null ? define(name) : loaded;
        }
    }

    private Class<?> define(String name) throws ClassNotFoundException {
        String file = name.replace('.', '/') + ".class";
        URL url = getParent().getResource(file);
        if (url == null) throw new ClassNotFoundException(name);
        try (InputStream in = url.openStream()) {
            byte[] bytes = in.readAllBytes();
            if (url.toString().contains(mainClasses)) bytes = instrument(bytes);
            return defineClass(name, bytes, 0, bytes.length);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private byte[] instrument(byte[] bytes) {
        var writer = new ClassWriter(ClassWriter.COMPUTE_MAXS);
        new ClassReader(bytes).accept(new Calls(writer), 0);
        return writer.toByteArray();
    }

    private final class Calls extends ClassVisitor {
        private String className = "";

        Calls(ClassVisitor next) {
            super(Opcodes.ASM9, next);
        }

        @Override
        public void visit(
                int version,
                int access,
                String name,
                @Nullable String signature,
                String superName,
                String[] interfaces) {
            className = name;
            super.visit(version, access, name, signature, superName, interfaces);
        }

        /** Times can be changed, so that a trial need not wait for a second. */
        @Override
        public FieldVisitor visitField(
                int access, String name, String descriptor, @Nullable String signature, @Nullable Object value) {
            boolean isTime = name.endsWith("_NANOS");
            return super.visitField(isTime ? access & ~Opcodes.ACC_FINAL : access, name, descriptor, signature, value);
        }

        @Override
        public MethodVisitor visitMethod(
                int access, String name, String descriptor, @Nullable String signature, String[] exceptions) {
            MethodVisitor next = super.visitMethod(access, name, descriptor, signature, exceptions);
            // A class whose initialiser has failed is unusable for ever.
            return name.equals("<clinit>") ? next : new Body(next, className + "." + name);
        }
    }

    private final class Body extends MethodVisitor {
        private final String caller;

        Body(MethodVisitor next, String caller) {
            super(Opcodes.ASM9, next);
            this.caller = caller;
        }

        @Override
        public void visitMethodInsn(int opcode, String owner, String name, String descriptor, boolean isInterface) {
            // A constructor is called on an object that no code may see, and most of them make exceptions.
            Integer site = name.equals("<init>") || owner.startsWith("[")
                    ? null
                    : injection.site(caller, owner, name, descriptor);
            if (site != null) {
                super.visitLdcInsn(Objects.requireNonNull(site));
                super.visitMethodInsn(
                        Opcodes.INVOKESTATIC, Type.getInternalName(Injection.class), "before", "(I)V", false);
            }
            super.visitMethodInsn(opcode, owner, name, descriptor, isInterface);
        }
    }

    /** One life of a pool, which ends as it began, with all permits there and no lease. Made by this loader. */
    public interface Trial extends AutoCloseable {
        /** Uses the pool in each way. What is thrown reaches the step that it strikes, and the next step goes on. */
        void run() throws Exception;

        /** Takes back what a step that failed may have left, such as another size or a suspended pool. */
        void settle();

        /** What the quiet pool lacks or has too much; empty if it is in balance. */
        String imbalance();

        /** Leases all connections at once, and uses them. */
        void leaseAll() throws Exception;

        /** Why the pool could not be opened; null if it was. */
        @Nullable
        Throwable notOpened();

        long bugs();

        @Override
        void close();

        /** Which units of the budget are not free after {@link #close}; empty if all are. */
        String unitsLeft();
    }
}
