package dev.nanopool.examples;

import dev.nanopool.Pool;
import dev.nanopool.testkit.TestServer;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** A deadline for a statement on a virtual thread. */
final class DeadlineExample {
    private DeadlineExample() {}

    // @start region="deadline"
    static String answer(ExecutorService executor, Pool pool) throws ExecutionException, InterruptedException {
        Future<String> report = executor.submit(() -> report(pool)); // on a virtual thread
        try {
            return report.get(200, TimeUnit.MILLISECONDS);
        } catch (TimeoutException e) {
            report.cancel(true); // the server ends the statement, and the connection goes back to the pool
            return "too late";
        }
    }
    // @end

    private static String report(Pool pool) throws SQLException {
        try (Connection client = pool.client()) {
            return TestServer.query(client, "SELECT pg_sleep(30)");
        }
    }
}
