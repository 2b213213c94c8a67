package dev.nanopool;

import java.sql.SQLException;
import java.sql.Statement;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/** The driver's statements that a lease has open and that its end closes. Thread-safe, because threads may share a client. */
final class OpenStatements {
    // Most leases have one at a time. A set has to hash it, which would cost more than the rest of the lease.
    private final AtomicReference<@Nullable Statement> one = new AtomicReference<>();
    private final Set<Statement> more = ConcurrentHashMap.newKeySet(4);

    @SuppressWarnings("ReferenceEquality") // the same object is meant
    void add(Statement statement) {
        Statement known = one.get();
        if (known != statement && (known != null || !one.compareAndSet(null, statement))) more.add(statement);
    }

    void remove(Statement statement) {
        if (!one.compareAndSet(statement, null)) more.remove(statement);
    }

    /** Closes what is still open. */
    void close(Consumer<Throwable> failed) {
        Statement last = one.get();
        if (last != null && one.compareAndSet(last, null)) close(last, failed);
        if (more.isEmpty()) return;
        for (Statement statement : more) close(statement, failed);
        more.clear();
    }

    private static void close(Statement statement, Consumer<Throwable> failed) {
        try {
            statement.close();
        } catch (SQLException | RuntimeException e) {
            failed.accept(e);
        }
    }
}
