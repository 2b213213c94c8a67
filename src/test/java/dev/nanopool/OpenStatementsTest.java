package dev.nanopool;

import static org.assertj.core.api.Assertions.assertThat;

import dev.nanopool.testkit.Threads;
import java.lang.reflect.Proxy;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CyclicBarrier;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

class OpenStatementsTest {
    private final OpenStatements statements = new OpenStatements();
    private final List<String> closed = new ArrayList<>();
    private final List<Throwable> failures = new ArrayList<>();

    /** A statement that tells when it is closed, and can do nothing else. */
    private Statement statement(String name, boolean fails) {
        return (Statement) Proxy.newProxyInstance(
                getClass().getClassLoader(), new Class<?>[] {Statement.class}, (proxy, method, arguments) -> {
                    if (method.getName().equals("hashCode")) return name.hashCode();
                    assertThat(method.getName()).isEqualTo("close");
                    closed.add(name);
                    if (fails) throw new SQLException(name);
                    return null;
                });
    }

    // One is in a field and the others are in a set. No way in or out may forget one, or close it twice.
    @Test
    void everyStatementThatIsStillOpenMustBeClosedOnce() {
        Statement first = statement("first", false);
        Statement second = statement("second", true);
        Statement third = statement("third", false);
        statements.add(first);
        statements.add(first);
        statements.add(second);
        statements.add(third);
        statements.remove(third);
        statements.close(failures::add);
        assertThat(closed).containsExactly("first", "second");
        assertThat(failures)
                .singleElement()
                .satisfies(failure -> assertThat(failure).hasMessage("second"));
        statements.close(failures::add);
        assertThat(closed).hasSize(2);
    }

    @Test
    void placeOfAClosedStatementMustBeUsedAgain() {
        Statement first = statement("first", false);
        Statement second = statement("second", false);
        Statement third = statement("third", false);
        statements.add(first);
        statements.add(second);
        statements.remove(first);
        statements.add(third);
        statements.close(failures::add);
        assertThat(closed).containsExactlyInAnyOrder("second", "third");
    }

    // Threads that share a client open their statements at the same time. None is forgotten, although only one thread
    // makes the set. The threads walk along the same leases side by side, so that they meet in many of them.
    @Test
    void statementsOfSeveralThreadsMustAllBeClosed() throws Exception {
        Statement first = statement("first", false);
        List<Statement> others = List.of(statement("second", false), statement("third", false));
        for (int round = 0; round < 100; round++) {
            List<OpenStatements> leases =
                    Stream.generate(OpenStatements::new).limit(1_000).toList();
            leases.forEach(lease -> lease.add(first));
            var start = new CyclicBarrier(others.size());
            var threads = new Threads();
            for (Statement other : others) {
                threads.start(() -> {
                    start.await();
                    for (OpenStatements lease : leases) lease.add(other);
                });
            }
            threads.join();
            for (OpenStatements lease : leases) {
                closed.clear();
                lease.close(failures::add);
                assertThat(closed).containsExactlyInAnyOrder("first", "second", "third");
            }
        }
        assertThat(failures).isEmpty();
    }
}
