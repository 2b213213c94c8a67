package dev.nanopool.queue;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.nanopool.queue.RefusedException.Reason;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Deque;
import java.util.List;
import java.util.PriorityQueue;
import java.util.Random;
import java.util.function.LongSupplier;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class PaceTest {
    private static final long MILLI = Duration.ofMillis(1).toNanos();
    private static final long SECOND = Duration.ofSeconds(1).toNanos();

    private long now;
    private final Pace pace = new Pace();

    private void handOver(int times, long interval) {
        for (int i = 0; i < times; i++) {
            now += interval;
            pace.handedOver(() -> now);
        }
    }

    private long interval() {
        return pace.intervalNanos(now);
    }

    // The pace

    @Test
    void paceMustBeUnknownBeforeTwoWindows() {
        assertThat(interval()).isZero();
        handOver(500, MILLI);
        assertThat(interval()).isZero();
        handOver(200, MILLI);
        assertThat(interval()).isEqualTo(MILLI);
    }

    @ParameterizedTest
    @CsvSource({"1, 4", "4, 1", "1, 20", "20, 1"})
    void paceMustAdaptWithinASecond(long before, long after) {
        handOver(2_000, before * MILLI);
        assertThat(interval()).isEqualTo(before * MILLI);
        long changed = now;
        while (now - changed < SECOND + 16 * after * MILLI) handOver(1, after * MILLI);
        assertThat(interval()).isEqualTo(after * MILLI);
    }

    // Many connections come back at once, then none for a long time.
    @Test
    void pausesBetweenBurstsMustCount() {
        for (int burst = 0; burst < 5; burst++) {
            handOver(100, 0);
            now += SECOND;
        }
        handOver(100, 0);
        assertThat(interval()).isBetween(8 * MILLI, 12 * MILLI);
    }

    // The line stands for a while, because of a lock or a collection of the heap. Before and afterwards it moves as
    // ever.
    @Test
    void standstillMustNotCountAsSlow() {
        handOver(2_000, MILLI);
        now += 900 * MILLI;
        for (int i = 0; i < 2_000; i++) {
            assertThat(interval()).isBetween(0L, MILLI);
            handOver(1, MILLI);
        }
    }

    // No connection comes back: the database is down, or the pool is suspended. A pace of yesterday says nothing.
    @Test
    void silenceMustForgetThePace() {
        handOver(2_000, MILLI);
        now += 600 * MILLI;
        assertThat(interval()).isEqualTo(MILLI);
        now += 500 * MILLI;
        assertThat(interval()).isZero();
    }

    // Leases of minutes are no silence.
    @Test
    void slowPaceMustNotBeForgottenBetweenTwoHandOvers() {
        handOver(100, 10 * SECOND);
        now += 60 * SECOND;
        assertThat(interval()).isEqualTo(10 * SECOND);
    }

    @Test
    void gapMustForgetThePace() {
        handOver(2_000, MILLI);
        pace.forget();
        assertThat(interval()).isZero();
        handOver(500, MILLI);
        assertThat(interval()).isZero();
        handOver(300, MILLI);
        assertThat(interval()).isEqualTo(MILLI);
    }

    // A thread is held up at the clock, and the others hand over meanwhile, but end no window.
    @Test
    void threadThatIsHeldUpMustNotTakeThePaceForSlow() {
        int count = 2_000;
        handOver(count, MILLI);
        long began = now - 160 * MILLI; // the window that lasts, as each one ends with the 304th
        for (int window = 0; window < 3; window++) {
            int before = 191 - count % 16; // the next one looks at the clock
            long end = began + 301 * MILLI;
            handOver(window == 0 ? 31 : before, MILLI);
            pace.handedOver(() -> {
                handOver(100, MILLI);
                now = end;
                return end;
            });
            count += (window == 0 ? 31 : before) + 101;
            began = end;
        }
        assertThat(interval()).isBetween(MILLI, MILLI + MILLI / 10);
    }

    // A thread is held up at the clock, and the others end windows meanwhile.
    @Test
    void threadThatComesLateMustNotTakeThePaceForSlow() {
        handOver(15, MILLI);
        handOver(2_000, MILLI);
        assertThat(interval()).isEqualTo(MILLI);
        LongSupplier slowClock = () -> {
            handOver(1_600, MILLI);
            return now;
        };
        handOver(15 - 2_015 % 16, MILLI);
        pace.handedOver(slowClock);
        assertThat(interval()).isEqualTo(MILLI);
    }

    // The line

    private WaitingLine line(int hopeful) {
        return new WaitingLine(Integer.MAX_VALUE, () -> now, () -> hopeful, () -> {});
    }

    /** A line in which callers have waited for two seconds, and have got a connection each millisecond. */
    private WaitingLine moving(int hopeful) throws RefusedException {
        WaitingLine line = line(hopeful);
        line.add(line.admit(1, 0, Long.MAX_VALUE));
        for (int i = 0; i < 2_000; i++) {
            line.add(line.admit(1, 0, Long.MAX_VALUE));
            now += MILLI;
            assertThat(line.handOver("item")).isTrue();
        }
        return line;
    }

    @Test
    void callerMustBeRefusedIfItsTurnComesTooLate() throws Exception {
        WaitingLine line = moving(8);
        assertThat(line.admit(1_000, 0, now + SECOND)).isNotNull();
        assertThat(line.admit(1_200, 200, now + SECOND))
                .as("some are not counted")
                .isNotNull();
        assertThatThrownBy(() -> line.admit(1_200, 0, now + SECOND))
                .isInstanceOfSatisfying(RefusedException.class, refused -> {
                    assertThat(refused.reason()).isEqualTo(Reason.HOPELESS);
                    assertThat(refused.place()).isEqualTo(1_200);
                    assertThat(refused.expectedNanos()).isEqualTo(1_200 * MILLI);
                });
    }

    @Test
    void callerMustNotBeRefusedWhileFewerWaitThanConnectionsExist() throws Exception {
        WaitingLine line = moving(8);
        for (int place = 1; place <= 8; place++)
            assertThat(line.admit(place, 0, now + 1)).isNotNull();
        assertThat(moving(Integer.MAX_VALUE).admit(1_000_000, 0, now + 1)).isNotNull();
    }

    @Test
    void callerMustNotBeRefusedIfTheLineWasEmpty() throws Exception {
        WaitingLine line = moving(8);
        assertThat(line.handOver("item")).isTrue();
        assertThat(line.admit(10_000, 0, now + SECOND)).isNotNull();
        line.add(line.admit(10_000, 0, now + SECOND));
        assertThat(line.admit(10_000, 0, now + SECOND)).isNotNull();
    }

    // A day in the life of a line

    private record Outcome(double goodput, double wasted, double wrong, double longestWaitMillis) {}

    /** An open loop of callers that come and are served by chance. */
    private final class Simulation {
        private static final int SIZE = 8;
        private final Random random = new Random(1);
        private final WaitingLine line = line(SIZE);
        private final PriorityQueue<Long> leases = new PriorityQueue<>(); // when they end
        private final Deque<Waiter> waiting = new ArrayDeque<>();
        private final List<Long> turns = new ArrayList<>(); // when there were hand-overs
        private final List<long[]> refused = new ArrayList<>(); // when, and at which place
        private double waitedNanos;
        private double wastedNanos;
        private long served;
        private long longest;

        /** @param load callers for each that can be served */
        Outcome run(double load, long leaseNanos, long patience, long seconds) throws RefusedException {
            long end = now + seconds * SECOND;
            double gap = leaseNanos / (SIZE * load);
            double capacity = (double) seconds * SECOND * SIZE / leaseNanos;
            for (long next = now; next < end; next += (long) (-gap * Math.log(1 - random.nextDouble()))) {
                while (!leases.isEmpty() && leases.peek() <= next) {
                    now = leases.remove();
                    expire();
                    giveBack(leaseNanos);
                }
                now = next;
                expire();
                come(leaseNanos, patience);
            }
            long wrong =
                    refused.stream().filter(call -> isServed(call, patience)).count();
            return new Outcome(
                    served / capacity,
                    wastedNanos / Math.max(1, waitedNanos),
                    (double) wrong / Math.max(1, refused.size()),
                    (double) longest / MILLI);
        }

        /** Whether so many got an item within the patience that this caller would have had its turn. */
        private boolean isServed(long[] call, long patience) {
            int before = Collections.binarySearch(turns, call[0]);
            int last = (before < 0 ? -1 - before : before) + (int) call[1] - 1;
            return last < turns.size() && turns.get(last) <= call[0] + patience;
        }

        private void come(long leaseNanos, long patience) {
            if (leases.size() < SIZE) {
                lend(leaseNanos);
                return;
            }
            try {
                Waiter waiter = line.admit(waiting.size() + 1, 0, now + patience);
                line.add(waiter);
                waiting.add(waiter);
            } catch (RefusedException e) {
                refused.add(new long[] {now, e.place()});
            }
        }

        private void lend(long leaseNanos) {
            leases.add(now + (long) (-leaseNanos * Math.log(1 - random.nextDouble())));
            served++;
        }

        private void giveBack(long leaseNanos) {
            if (!line.handOver("item")) return;
            Waiter first = waiting.remove();
            assertThat(first.get()).isEqualTo("item");
            turns.add(now);
            waitedNanos += now - first.enqueuedNanos;
            longest = Math.max(longest, now - first.enqueuedNanos);
            lend(leaseNanos);
        }

        private void expire() {
            while (!waiting.isEmpty() && waiting.peek().deadlineNanos <= now) {
                Waiter late = waiting.remove();
                late.answer(Reason.TIMED_OUT);
                wastedNanos += now - late.enqueuedNanos;
                waitedNanos += now - late.enqueuedNanos;
            }
        }
    }

    // An overload wastes little, loses nothing, and refuses no caller whose turn would have come.
    @ParameterizedTest
    @CsvSource({"2, 1000, 0.07", "8, 1000, 0.12", "20, 2000, 0.14", "2, 100, 0.2"
    }) // the fewer are served, the more is chance
    void overloadMustNotBeWaitedFor(long leaseMillis, long patienceMillis, double wasted) throws Exception {
        Outcome outcome = new Simulation().run(1.5, leaseMillis * MILLI, patienceMillis * MILLI, 40);
        assertThat(outcome.goodput()).isGreaterThan(0.97);
        assertThat(outcome.wasted()).isLessThan(wasted);
        assertThat(outcome.wrong()).isLessThan(0.1);
    }

    @Test
    void loadBelowTheCapacityMustNotBeRefused() throws Exception {
        Simulation simulation = new Simulation();
        Outcome outcome = simulation.run(0.95, 8 * MILLI, SECOND, 40);
        assertThat(simulation.refused).isEmpty();
        assertThat(outcome.wasted()).isZero();
    }
}
