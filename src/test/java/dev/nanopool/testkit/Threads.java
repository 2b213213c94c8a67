package dev.nanopool.testkit;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** Virtual threads whose failures reach the test. */
public final class Threads {
    private final List<FutureTask<?>> tasks = new ArrayList<>();

    /** What a thread runs. */
    @FunctionalInterface
    public interface Body {
        void run() throws Exception;
    }

    /** Starts a virtual thread. */
    public Thread start(Body body) {
        var task = new FutureTask<Void>(() -> {
            body.run();
            return null;
        });
        tasks.add(task);
        return Thread.ofVirtual().start(task);
    }

    /** Waits for all, at most ten minutes, and throws what one of them threw. */
    public void join() throws Exception {
        for (FutureTask<?> task : tasks) {
            try {
                task.get(10, TimeUnit.MINUTES);
            } catch (ExecutionException e) {
                if (e.getCause() instanceof Error error) throw error;
                if (e.getCause() instanceof Exception exception) throw exception;
                throw e;
            } catch (TimeoutException e) {
                throw new AssertionError("a thread of the test still runs after ten minutes", e);
            }
        }
        tasks.clear();
    }
}
