package dev.nanopool.demo;

import java.nio.file.Files;
import java.nio.file.Path;

/**
 * Runs in the JVM of Maven, which starts the demo as a process of its own. Ctrl-C ends both: this thread lets Maven's JVM, and
 * so the prompt, wait until the demo has cleaned up. If the demo has failed, Maven ends with the same status, and the reason
 * that the demo has printed stays the last line.
 */
public final class EndOfMaven extends Thread {
    private final Path failure;

    private EndOfMaven(Path failure) {
        super(top(), "end of Maven");
        this.failure = failure;
    }

    /** The group of threads that lasts; the plugin destroys its own group, and no thread of it can start after that. */
    private static ThreadGroup top() {
        ThreadGroup group = Thread.currentThread().getThreadGroup();
        while (group.getParent() != null) group = group.getParent();
        return group;
    }

    /**
     * Returns at once; the thread runs when the JVM ends.
     *
     * @param arguments the file that the demo makes if it fails
     */
    public static void main(String[] arguments) throws Exception {
        Path failure = Path.of(arguments[0]);
        Files.deleteIfExists(failure);
        Runtime.getRuntime().addShutdownHook(new EndOfMaven(failure));
    }

    @Override
    public void run() {
        ProcessHandle.current().children().forEach(demo -> demo.onExit().join());
        if (Files.exists(failure)) Runtime.getRuntime().halt(1);
    }
}
