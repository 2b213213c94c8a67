package dev.nanopool.queue;

import java.lang.System.Logger.Level;
import java.lang.reflect.Method;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.jetbrains.kotlinx.lincheck.Actor;
import org.jetbrains.kotlinx.lincheck.execution.ExecutionResult;
import org.jetbrains.kotlinx.lincheck.execution.ExecutionScenario;
import org.jetbrains.kotlinx.lincheck.util.ExceptionResult;
import org.jetbrains.lincheck.datastructures.ModelCheckingOptions;
import org.jetbrains.lincheck.datastructures.verifier.Verifier;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/**
 * The {@link LeaseQueue} under Lincheck's model checker, which switches between threads at every access to shared memory,
 * first all orders with one switch, then with two, and so on until its runs are used up. Each line below is one scenario.
 * Threads are parted by {@code |}; what stands before {@code :} has happened before. The operations are those of
 * {@link LeaseQueueModel}; a thread that is never answered is reported as a hang.
 *
 * <p>Lincheck's memory is sequentially consistent, and it takes the JDK's collections for correct, so fences are the business
 * of the jcstress tests in {@code src/prove/java}. It lets {@code park} return at any time, so that a missing
 * {@code unpark} is theirs, too.
 */
@Tag("slow")
class LeaseQueueModelTest {
    private static final int RUNS = Integer.getInteger("nanopool.model.runs", 100);

    private static final String SCENARIOS = """
            # Every borrower is served, with one item or two, idle or given meanwhile.
            give: borrow | borrow
            give give: borrow | borrow
            give: borrow borrow | borrow borrow
            borrow | give
            borrow | borrow | give
            give: borrow | borrow | borrow
            give give: borrow | borrow | borrow
            give give give: borrow borrow | borrow borrow | borrow

            # Every permit is found, and makes an item if it has none, while items are withdrawn and inspected.
            borrow | release
            release: borrow | borrowIfIdle
            borrow | borrow | release
            give: borrow | replace
            give: borrow borrow | inspect inspect
            give release: borrow | inspect | borrow
            give: borrow | inspect | replace
            give give: replace | inspect | borrowIfIdle borrow
            release: borrow | inspect
            give: give give | borrowAll
            give give: borrowAll | inspect | borrowAll

            # An item that meets the end of its waiter's patience has one owner, the waiter or another caller.
            give: borrowInTime | expire
            borrowInTime | give | expire
            give: borrow | borrowInTime | expire
            borrowInTime borrow | give | expire
            borrow | borrowInTime | give expire

            # The same for a caller that is refused by its thread.
            borrowUnlessDeadlocked | give findDeadlock
            give: borrowUnlessDeadlocked | borrow | findDeadlock
            borrow | borrowUnlessDeadlocked | give findDeadlock

            # The same for a caller that is refused at its arrival.
            moveSlowly: serve | borrowUnlessHopeless
            moveSlowly: serve | borrowUnlessHopeless | borrow

            # The housekeeper learns every deadline.
            borrowInTime | keepDeadline
            borrowInTime | borrowInTime | keepBothDeadlines
            borrowInTime | borrowUnlessInterrupted | interrupt keepDeadline give

            # Nothing is lost to an interrupt.
            give: borrowUnlessInterrupted | interrupt
            borrowUnlessInterrupted | give | interrupt
            borrowUnlessInterrupted | borrow | give interrupt
            borrowUnlessInterrupted borrow | interrupt give

            # A closed queue lets every caller leave, and keeps its items.
            borrowUnlessClosed | close
            borrowUnlessClosed | give | close
            borrowUnlessClosed | borrowUnlessClosed | close
            borrowUnlessClosed | borrowUnlessClosed | give close
            release: borrowUnlessClosed | borrowUnlessClosed | close

            # The caller that comes first is served first.
            comeFirst | comeSecond | give
            give: comeFirst | comeSecond | borrow
            comeFirst | passBy | give
            give: comeFirst borrow | passBy | borrow
            give: comeFirst | comeSecond | inspect
            """;

    // One check of all, since each has the classes instrumented anew. A failure names its scenario.
    @Test
    void everyOrderOfStepsMustKeepItemsAndCallers() {
        var options = new ModelCheckingOptions()
                .iterations(0) // no scenarios made by chance
                .recursionBound(100) // StackReserve recurses, and ends
                .invocationsPerIteration(RUNS)
                .verifier(NoFailure.class)
                .minimizeFailedScenario(false);
        List<String> scenarios = SCENARIOS
                .lines()
                .filter(line -> !line.isBlank() && !line.startsWith("#"))
                .toList();
        scenarios.forEach(scenario -> options.addCustomScenario(parse(scenario)));
        options.check(LeaseQueueModel.class);
        System.getLogger("dev.nanopool.test")
                .log(Level.INFO, "model checker: {0} scenarios, {1} runs each", scenarios.size(), RUNS);
    }

    private static ExecutionScenario parse(String scenario) {
        int colon = scenario.indexOf(':');
        List<List<Actor>> threads = Arrays.stream(scenario.substring(colon + 1).split("\\|"))
                .map(LeaseQueueModelTest::actors)
                .toList();
        return new ExecutionScenario(actors(scenario.substring(0, Math.max(colon, 0))), threads, List.of(), null);
    }

    private static List<Actor> actors(String names) {
        return Stream.of(names.strip().split(" +"))
                .filter(name -> !name.isEmpty())
                .map(LeaseQueueModelTest::operation)
                .map(method -> new Actor(method, List.of(), false, false, false, false, false))
                .toList();
    }

    private static Method operation(String name) {
        try {
            return LeaseQueueModel.class.getMethod(name);
        } catch (NoSuchMethodException e) {
            throw new AssertionError(e);
        }
    }

    /** The operations check themselves, so every result is right except an exception. */
    public static final class NoFailure implements Verifier {
        public NoFailure(Class<?> model) {}

        @Override
        public boolean verifyResults(ExecutionScenario scenario, ExecutionResult results) {
            return results.getThreadsResultsWithClock().stream()
                    .flatMap(List::stream)
                    .noneMatch(result -> result.getResult() instanceof ExceptionResult);
        }
    }
}
