package dev.nanopool;

import java.lang.System.Logger.Level;

/** The pool's own threads: virtual ones, one for each thing to do, that end with it. */
final class Background {
    private static final System.Logger LOGGER = System.getLogger("dev.nanopool");

    private final String pool;

    Background(String pool) {
        this.pool = pool;
    }

    void run(String what, Runnable task) {
        var unused = Thread.ofVirtual().name("nanopool-" + pool + "-" + what).start(() -> {
            try {
                task.run();
            } catch (RuntimeException | Error e) {
                LOGGER.log(Level.ERROR, () -> pool + ": bug: a thread of the pool failed", e);
            }
        });
    }
}
