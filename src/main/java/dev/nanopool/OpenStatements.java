package dev.nanopool;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/** The driver's statements that a lease has open. The end of the lease closes them. Thread-safe, as threads may share a client. */
final class OpenStatements {
    private static final VarHandle ONE;
    private static final VarHandle MORE;

    static {
        try {
            ONE = MethodHandles.lookup().findVarHandle(OpenStatements.class, "one", Statement.class);
            MORE = MethodHandles.lookup().findVarHandle(OpenStatements.class, "more", Set.class);
        } catch (ReflectiveOperationException e) {
            throw new ExceptionInInitializerError(e);
        }
    }

    // Most leases have one statement at a time. A set costs more than the rest of the lease, so only a second statement
    // makes one.
    private volatile @Nullable Statement one;
    private volatile @Nullable Set<Statement> more;

    @SuppressWarnings("ReferenceEquality") // the same object is meant
    void add(Statement statement) {
        Statement known = one;
        if (known == statement || (known == null && ONE.compareAndSet(this, null, statement))) return;
        more().add(statement);
    }

    @SuppressWarnings("unchecked") // a VarHandle knows no type arguments
    private Set<Statement> more() {
        Set<Statement> known = more;
        if (known != null) return known;
        Set<Statement> made = ConcurrentHashMap.newKeySet(4);
        var before = (Set<Statement>) MORE.compareAndExchange(this, null, made);
        return before == null ? made : before;
    }

    void remove(Statement statement) {
        if (ONE.compareAndSet(this, statement, null)) return;
        Set<Statement> others = more;
        if (others != null) others.remove(statement);
    }

    /** Closes all statements that are still open. */
    void close(Consumer<Throwable> failed) {
        Statement last = one;
        if (last != null && ONE.compareAndSet(this, last, null)) close(last, failed);
        Set<Statement> others = more;
        if (others == null) return;
        for (Statement statement : others) close(statement, failed);
        others.clear();
    }

    private static void close(Statement statement, Consumer<Throwable> failed) {
        try {
            statement.close();
        } catch (SQLException | RuntimeException e) {
            failed.accept(e);
        }
    }
}
