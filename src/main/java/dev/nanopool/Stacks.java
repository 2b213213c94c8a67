package dev.nanopool;

import dev.nanopool.PoolExhaustedException.Holder;
import java.time.Duration;
import java.util.List;

/** Names the user's code in stacks. */
final class Stacks {
    private static final String OWN = Stacks.class.getPackageName();

    private Stacks() {}

    static Holder holder(Lease lease, List<StackTraceElement> stack) {
        Thread owner = lease.owner();
        String name = owner.getName().isEmpty() ? "#" + owner.threadId() : owner.getName();
        long heldNanos = Math.max(0, Clock.nanoTime() - lease.startNanos());
        return new Holder(name, Duration.ofNanos(heldNanos), stack);
    }

    /** The place of a stack in the user's code, for a message. */
    static String at(List<StackTraceElement> stack) {
        for (StackTraceElement frame : stack) {
            String name = frame.getClassName();
            if (!isOwn(name)
                    && !name.startsWith("java.")
                    && !name.startsWith("jdk.")
                    && !name.startsWith("sun.")
                    && !name.startsWith("org.postgresql.")) return " at " + frame;
        }
        return "";
    }

    /** The first frame of the calling thread outside of the pool. */
    static String callSite() {
        return StackWalker.getInstance()
                .walk(frames -> frames.dropWhile(frame -> isOwn(frame.getClassName()))
                        .findFirst()
                        .map(StackWalker.StackFrame::toString)
                        .orElse("unknown"));
    }

    /** Whether a class belongs to the pool. */
    private static boolean isOwn(String className) {
        return className.startsWith(OWN)
                && (className.lastIndexOf('.') == OWN.length()
                        || className.startsWith(OWN + ".driver.")
                        || className.startsWith(OWN + ".queue.")
                        || className.startsWith(OWN + ".sql."));
    }
}
