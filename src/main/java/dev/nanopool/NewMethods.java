package dev.nanopool;

import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.lang.reflect.Constructor;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.sql.SQLException;
import java.sql.SQLFeatureNotSupportedException;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Completes a class of the client where the driver is newer than the pool and has methods in its interfaces that the class lacks.
 * Such a method throws {@link SQLFeatureNotSupportedException}; without this class it would be an {@link AbstractMethodError}.
 * With a driver that the pool knows, nothing happens here.
 */
final class NewMethods {
    private final ByteArrayOutputStream constants = new ByteArrayOutputStream();
    private final DataOutputStream pool = new DataOutputStream(constants);
    private final ByteArrayOutputStream bodies = new ByteArrayOutputStream();
    private final DataOutputStream methods = new DataOutputStream(bodies);
    private int lastConstant;
    private int methodCount;

    private NewMethods() {}

    /** The subclass to use instead of the class. Null if the class has all methods. */
    static <T> @Nullable Class<? extends T> completed(Class<T> type) {
        if (!DriverVersion.isNewerThanKnown()) return null;
        List<Method> missing = Arrays.stream(type.getMethods())
                .filter(method -> Modifier.isAbstract(method.getModifiers()))
                .toList();
        if (missing.isEmpty()) return null;
        try {
            byte[] bytes = new NewMethods().subclass(type, missing);
            return MethodHandles.lookup().defineClass(bytes).asSubclass(type);
        } catch (IOException | IllegalAccessException e) {
            throw new IllegalStateException(e);
        }
    }

    /** Makes an object of the subclass, by the one constructor that takes so many arguments. */
    static <T> T make(Class<T> completed, Object... arguments) throws SQLException {
        try {
            for (Constructor<?> constructor : completed.getDeclaredConstructors()) {
                if (constructor.getParameterCount() == arguments.length)
                    return completed.cast(constructor.newInstance(arguments));
            }
            throw new IllegalStateException("bug: no such constructor of " + completed);
        } catch (InvocationTargetException e) {
            if (e.getCause() instanceof SQLException failure) throw failure;
            throw new IllegalStateException(e.getCause());
        } catch (ReflectiveOperationException e) {
            throw new IllegalStateException(e);
        }
    }

    /** What a missing method throws, also if it declares no such exception. */
    static SQLFeatureNotSupportedException unsupported(String method) {
        return new SQLFeatureNotSupportedException(
                method + ": the driver is newer than the pool, which does not know this method",
                Failures.FEATURE_NOT_SUPPORTED);
    }

    // The class file, as the specification of the JVM describes it

    private byte[] subclass(Class<?> type, List<Method> missing) throws IOException {
        String name = type.getName().replace('.', '/');
        int parent = constant(7, utf8(name));
        int own = constant(7, utf8(name + "Completed"));
        for (Constructor<?> constructor : type.getDeclaredConstructors()) {
            if (!Modifier.isPrivate(constructor.getModifiers())) constructor(parent, constructor);
        }
        MethodType answer = MethodType.methodType(SQLFeatureNotSupportedException.class, String.class);
        int thrower = constant(7, utf8(NewMethods.class.getName().replace('.', '/')));
        int unsupported = member(thrower, "unsupported", answer);
        var written = new HashSet<String>(); // two interfaces may have the same method
        for (Method method : missing) {
            MethodType signature = MethodType.methodType(method.getReturnType(), method.getParameterTypes());
            if (!written.add(method.getName() + signature)) continue;
            String label = method.getDeclaringClass().getSimpleName() + "." + method.getName();
            var code = new ByteArrayOutputStream();
            instruction(code, 0x13, constant(8, utf8(label))); // ldc_w
            instruction(code, 0xb8, unsupported); // invokestatic
            code.write(0xbf); // athrow
            method(method.getName(), signature, code);
        }
        var bytes = new ByteArrayOutputStream();
        var file = new DataOutputStream(bytes);
        file.writeInt(0xcafebabe);
        file.writeInt(65); // Java 21
        file.writeShort(lastConstant + 1);
        constants.writeTo(file);
        for (int number : new int[] {Modifier.FINAL | 0x1020, own, parent, 0, 0, methodCount}) file.writeShort(number);
        bodies.writeTo(file);
        file.writeShort(0);
        return bytes.toByteArray();
    }

    private void constructor(int parent, Constructor<?> constructor) throws IOException {
        MethodType type = MethodType.methodType(void.class, constructor.getParameterTypes());
        var code = new ByteArrayOutputStream();
        code.write(0x2a); // aload_0
        int local = 1;
        for (Class<?> parameter : type.parameterArray()) {
            boolean isLong = parameter == long.class;
            code.write(isLong ? 0x16 : 0x19); // lload or aload, because no constructor has other parameters
            code.write(local);
            local += isLong ? 2 : 1;
        }
        instruction(code, 0xb7, member(parent, "<init>", type)); // invokespecial
        code.write(0xb1); // return
        method("<init>", type, code);
    }

    private static void instruction(ByteArrayOutputStream code, int opcode, int constant) {
        code.write(opcode);
        code.write(constant >> 8);
        code.write(constant);
    }

    private void method(String name, MethodType type, ByteArrayOutputStream code) throws IOException {
        methods.writeShort(Modifier.PUBLIC);
        methods.writeShort(utf8(name));
        methods.writeShort(utf8(type.toMethodDescriptorString()));
        methods.writeShort(1);
        methods.writeShort(utf8("Code"));
        methods.writeInt(12 + code.size());
        methods.writeInt(255 << 16 | 255); // stack and locals, more than there can be
        methods.writeInt(code.size());
        code.writeTo(methods);
        methods.writeInt(0);
        methodCount++;
    }

    private int member(int type, String name, MethodType descriptor) throws IOException {
        return constant(10, type, constant(12, utf8(name), utf8(descriptor.toMethodDescriptorString())));
    }

    private int utf8(String text) throws IOException {
        pool.writeByte(1);
        pool.writeUTF(text);
        return ++lastConstant;
    }

    private int constant(int tag, int... parts) throws IOException {
        pool.writeByte(tag);
        for (int part : parts) pool.writeShort(part);
        return ++lastConstant;
    }
}
