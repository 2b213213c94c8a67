package dev.nanopool.testkit;

import java.io.IOException;
import java.lang.StackWalker.StackFrame;
import java.lang.reflect.Executable;
import java.lang.reflect.Modifier;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.objectweb.asm.Type;

/**
 * Throws at calls that instrumented classes make. {@link InjectingLoader} reports each call of the pool to code that is not
 * the pool's; a run that throws nothing finds the points that are reached, and later runs throw there.
 */
public final class Injection {
    private static final Set<String> ROOMS = Set.of(
            "dev.nanopool", "dev.nanopool.driver", "dev.nanopool.queue", "dev.nanopool.sql", "dev.nanopool.client");

    private static volatile @Nullable Injection current;

    /** What is called there; decided by the class that is called, so that no method is listed by hand. */
    public enum Category {
        LOG("java.lang.System$Logger"),
        LISTENER("dev.nanopool.PoolListener"),
        CREDENTIALS("java.util.function.Supplier"),
        THREAD("java.lang.Thread"),
        CLOCK("java.lang.System"),
        RECORDER("dev.nanopool.Recorder$Acquire", "dev.nanopool.Recorder$Held"), // the JDK's methods of these events
        PARK("java.util.concurrent.locks.LockSupport"),
        SOCKET("java.net.", "java.nio.", "java.io.", "javax.net."),
        DRIVER("java.sql.", "javax.sql.", "org.postgresql.");

        @SuppressWarnings("ImmutableEnumChecker") // made by List.of
        private final List<String> owners;

        Category(String... owners) {
            this.owners = List.of(owners);
        }

        /** The category of a class; a nested class has that of the class around it, if it has none of its own. */
        static Optional<Category> of(String className) {
            return Stream.of(values())
                    .filter(category -> category.owners.stream()
                            .anyMatch(owner -> owner.endsWith(".")
                                    ? className.startsWith(owner)
                                    : className.equals(owner) || className.startsWith(owner + "$")))
                    .findFirst();
        }
    }

    /** What is thrown. */
    public enum Kind {
        RUNTIME_EXCEPTION,
        ERROR,
        /** What the called method declares. */
        DECLARED
    }

    /** A call in the pool's code. {@code declared} has what it declares of SQLException and IOException. */
    public record Site(
            String caller,
            String called,
            Category category,
            @Nullable Class<?> declared) {}

    /** A site, together with the methods of the pool through which the thread came to it. */
    public record Point(Site site, List<String> path) {
        @Override
        public String toString() {
            return site.category + " " + site.called + " in " + String.join(" < ", path);
        }

        /** What can be thrown there. */
        public List<Kind> kinds() {
            return site.declared == null ? List.of(Kind.RUNTIME_EXCEPTION, Kind.ERROR) : List.of(Kind.values());
        }
    }

    /** A throwable of one kind at one point. */
    public record Fault(Point point, Kind kind) {}

    private final List<Site> sites = new ArrayList<>(); // filled by the loader, before the site is reached
    private final Set<Point> found = ConcurrentHashMap.newKeySet();
    private final Map<Point, Kind> armed = new ConcurrentHashMap<>();
    private volatile Set<Site> armedSites = Set.of();
    private final Set<Fault> thrown = ConcurrentHashMap.newKeySet();
    private volatile boolean recording;

    /** Adds a call. Null if the called class belongs to no category. */
    synchronized @Nullable Integer site(String caller, String owner, String name, String descriptor) {
        String className = owner.replace('/', '.');
        Category category = Category.of(className).orElse(null);
        if (category == null) return null;
        List<Executable> called = called(className, name, descriptor);
        // A native method of a thread, such as currentThread, needs neither memory nor a free place on the stack.
        if (category == Category.THREAD && called.stream().anyMatch(m -> Modifier.isNative(m.getModifiers())))
            return null;
        sites.add(new Site(caller, simple(className) + "." + name, category, declared(called)));
        return sites.size() - 1;
    }

    private static List<Executable> called(String className, String name, String descriptor) {
        try {
            Class<?> type = Class.forName(className, false, Injection.class.getClassLoader());
            return Stream.concat(Arrays.stream(type.getMethods()), Arrays.stream(type.getDeclaredMethods()))
                    .filter(method -> method.getName().equals(name)
                            && Type.getMethodDescriptor(method).equals(descriptor))
                    .collect(Collectors.toList());
        } catch (ClassNotFoundException e) {
            throw new IllegalStateException(e);
        }
    }

    private static @Nullable Class<?> declared(List<Executable> called) {
        return called.stream()
                .flatMap(method -> Stream.of(method.getExceptionTypes()))
                .filter(type -> SQLException.class.isAssignableFrom(type) || IOException.class.isAssignableFrom(type))
                .findFirst()
                .orElse(null);
    }

    private static String simple(String className) {
        return className.substring(className.lastIndexOf('.') + 1);
    }

    /** Makes this the one to which instrumented classes report. */
    public void install() {
        current = this;
    }

    public void uninstall() {
        current = null;
    }

    /** Begins to remember which points are reached. */
    public void record() {
        recording = true;
    }

    /** The points that were reached since {@link #record}. */
    public Collection<Point> recorded() {
        recording = false;
        return found;
    }

    /** How many calls the loader has met. */
    public synchronized int siteCount() {
        return sites.size();
    }

    /** Throws each of these once, where the point is reached first. */
    public void arm(Collection<Fault> faults) {
        thrown.clear();
        for (Fault fault : faults) armed.put(fault.point, fault.kind);
        armedSites = faults.stream().map(fault -> fault.point.site).collect(Collectors.toSet());
    }

    /** Throws nothing any longer; answers what was thrown. */
    public Set<Fault> disarm() {
        armedSites = Set.of();
        armed.clear();
        return Set.copyOf(thrown);
    }

    /** Whether it was thrown here, or is the consequence of that. */
    public static boolean isInjected(@Nullable Throwable thrown) {
        for (Throwable cause = thrown; cause != null; cause = cause.getCause()) {
            if (String.valueOf(cause.getMessage()).startsWith("injected")) return true;
            for (Throwable suppressed : cause.getSuppressed()) if (isInjected(suppressed)) return true;
        }
        return false;
    }

    /** What instrumented code calls before each call of other code. */
    public static void before(int site) {
        Injection now = current;
        if (now != null) now.reached(site);
    }

    private void reached(int number) {
        if (!recording && armedSites.isEmpty()) return;
        Site site;
        synchronized (this) {
            site = sites.get(number);
        }
        if (recording) {
            found.add(new Point(site, path()));
        } else if (armedSites.contains(site)) {
            var point = new Point(site, path());
            Kind kind = armed.remove(point);
            if (kind == null) return;
            thrown.add(new Fault(point, kind));
            throwOf(site, kind);
        }
    }

    private static List<String> path() {
        return StackWalker.getInstance()
                .walk(frames -> frames.filter(Injection::isPools)
                        .map(frame -> simple(frame.getClassName()) + "." + frame.getMethodName())
                        .distinct()
                        .toList());
    }

    private static boolean isPools(StackFrame frame) {
        String name = frame.getClassName();
        return ROOMS.contains(name.substring(0, Math.max(0, name.lastIndexOf('.'))));
    }

    private static void throwOf(Site site, Kind kind) {
        String message = "injected at " + site.called;
        switch (kind) {
            case RUNTIME_EXCEPTION -> throw new IllegalStateException(message);
            case ERROR -> throw new OutOfMemoryError(message);
            case DECLARED -> {
                boolean isSql = site.declared != null && SQLException.class.isAssignableFrom(site.declared);
                Injection.<RuntimeException>sneak(
                        isSql ? new SQLException(message, "XX999") : new IOException(message));
            }
        }
    }

    @SuppressWarnings("unchecked") // the called method declares it
    private static <T extends Throwable> void sneak(Throwable thrown) throws T {
        throw (T) thrown;
    }
}
