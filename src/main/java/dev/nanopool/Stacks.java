package dev.nanopool;

import dev.nanopool.PoolExhaustedException.Holder;
import java.time.Duration;
import java.util.List;
import java.util.function.Function;
import java.util.stream.Stream;

/** Names the user's code in stacks: the first frame that is of neither the pool, the driver, the JDK nor a framework. */
final class Stacks {
    private static final String OWN = Stacks.class.getPackageName();

    private Stacks() {}

    static Holder holder(Lease lease, List<StackTraceElement> stack) {
        long heldNanos = Math.max(0, Clock.nanoTime() - lease.startNanos());
        return new Holder(name(lease.owner()), Duration.ofNanos(heldNanos), stack);
    }

    static String name(Thread thread) {
        return thread.getName().isEmpty() ? "#" + thread.threadId() : thread.getName();
    }

    /** The place of a stack in the user's code, for a message. */
    static String at(List<StackTraceElement> stack) {
        String site = site(stack);
        return site.isEmpty() ? "" : " at " + site;
    }

    /** Where in the user's code a stack is. Without such a frame, the first one outside of the pool. */
    static String site(List<StackTraceElement> stack) {
        return site(stack.stream(), StackTraceElement::getClassName);
    }

    /** Where in the user's code the calling thread is. */
    static String callSite() {
        String site = StackWalker.getInstance().walk(frames -> site(frames, StackWalker.StackFrame::getClassName));
        return site.isEmpty() ? "unknown" : site;
    }

    private static <T> String site(Stream<T> stack, Function<T, String> className) {
        Object first = null;
        for (T frame : (Iterable<T>) stack::iterator) {
            String name = className.apply(frame);
            if (isOwn(name)) continue;
            if (!Frameworks.include(name)) return frame.toString();
            if (first == null && !Frameworks.JDK.stream().anyMatch(name::startsWith)) first = frame;
        }
        return first == null ? "" : first.toString();
    }

    /** Whether a class belongs to the pool. */
    private static boolean isOwn(String className) {
        return className.startsWith(OWN)
                && (className.lastIndexOf('.') == OWN.length()
                        || className.startsWith(OWN + ".driver.")
                        || className.startsWith(OWN + ".micrometer.")
                        || className.startsWith(OWN + ".queue.")
                        || className.startsWith(OWN + ".sql."));
    }
}
