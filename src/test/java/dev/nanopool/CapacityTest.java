package dev.nanopool;

import static org.assertj.core.api.Assertions.assertThat;

import dev.nanopool.Fate.Fact;
import dev.nanopool.testkit.Threads;
import java.util.Queue;
import java.util.Random;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(120)
class CapacityTest {
    private static final int ROUNDS = 1_000;
    private static final int LARGEST = 8;

    /** The same numbers, kept in the plainest way. */
    private static final class Model {
        int size;
        boolean suspended;
        boolean closed;
        int circulating;
        int leaving;
        int withheld;
        int filled;
        int largest; // of all sizes so far

        Model(int size) {
            this.size = size;
            largest = size;
        }

        int target() {
            return closed || suspended ? 0 : size;
        }

        void aimed() {
            int room = Math.max(0, target() - circulating - leaving);
            withheld = Math.min(withheld, room);
            largest = Math.max(largest, size);
        }
    }

    private enum Step {
        RESIZE_1,
        RESIZE_3,
        SUSPEND,
        RESUME,
        CLOSE,
        FILL,
        EMPTY,
        CLAIM,
        LEFT,
        WITHDRAW,
        ADD,
        WITHHOLD,
        READMIT;

        /** Takes the step in both; answers whether both say the same. */
        boolean take(Capacity real, Model model) {
            switch (this) {
                case RESIZE_1, RESIZE_3 -> {
                    model.size = this == RESIZE_1 ? 1 : 3;
                    real.resize(model.size);
                }
                case SUSPEND -> {
                    real.suspend();
                    if (!model.closed) model.suspended = true;
                }
                case RESUME -> {
                    real.resume();
                    if (!model.closed) model.suspended = false;
                }
                case CLOSE -> {
                    real.close();
                    model.closed = true;
                    model.suspended = false;
                }
                case FILL -> {
                    if (model.circulating == model.filled) return true; // no permit is without a connection
                    model.filled++;
                    real.fill();
                }
                case EMPTY -> {
                    if (model.filled == 0) return true;
                    model.filled--;
                    real.empty();
                }
                case CLAIM -> {
                    boolean isSurplus = model.filled > model.target();
                    if (isSurplus) {
                        model.filled--;
                        model.circulating--;
                        model.leaving++;
                    }
                    return isSurplus == real.claim();
                }
                case WITHDRAW -> {
                    boolean isSurplus = model.circulating > Math.max(model.target(), model.filled);
                    if (isSurplus) model.circulating--;
                    return isSurplus == real.withdraw();
                }
                case LEFT -> {
                    if (model.leaving == 0) return true;
                    model.leaving--;
                    real.left();
                }
                case ADD -> {
                    boolean isMissing = model.circulating + model.leaving + model.withheld < model.target();
                    if (isMissing) model.circulating++;
                    return isMissing == real.add();
                }
                case WITHHOLD -> {
                    if (model.circulating == model.filled) return true; // only an attempt to connect is refused
                    boolean isSpare = model.circulating > 1;
                    if (isSpare) {
                        model.circulating--;
                        model.withheld++;
                    }
                    return isSpare == real.withhold();
                }
                case READMIT -> {
                    boolean isWithheld = model.withheld > 0;
                    if (isWithheld) {
                        model.withheld--;
                        model.circulating++;
                    }
                    return isWithheld == real.readmit();
                }
            }
            if (compareTo(CLOSE) <= 0) model.aimed();
            return true;
        }
    }

    private static final Step[] STEPS = Step.values();

    // For every sequence of five steps after a start with two of two, each answer and each number is that of the model,
    // and permits never exceed the largest size that there was.
    @Test
    void everySequenceOfStepsMustAgreeWithTheModel() {
        int length = 5;
        var path = new int[length];
        long sequences = (long) Math.pow(STEPS.length, length);
        for (long i = 0; i < sequences; i++) {
            long rest = i;
            for (int at = 0; at < length; at++, rest /= STEPS.length) path[at] = (int) (rest % STEPS.length);
            run(path);
        }
    }

    private static void run(int[] path) {
        var real = new Capacity(2);
        var model = new Model(2);
        boolean isFirstSame = Step.ADD.take(real, model);
        boolean isSame = Step.ADD.take(real, model) && isFirstSame;
        for (int i = 0; i < path.length && isSame; i++) {
            isSame = STEPS[path[i]].take(real, model) && isSame(real, model);
            if (model.circulating + model.leaving + model.withheld > model.largest) isSame = false;
        }
        if (isSame) return;
        var steps = new StringBuilder();
        for (int step : path) steps.append(STEPS[step]).append(' ');
        throw new AssertionError(steps + "gives " + real);
    }

    private static boolean isSame(Capacity real, Model model) {
        Fact surplus = model.closed ? Fact.POOL_CLOSED : model.suspended ? Fact.SUSPENDED : Fact.SURPLUS;
        return real.expected() == model.circulating + model.leaving
                && real.size() == model.size
                && real.effectiveSize() == Math.max(0, model.size - model.withheld)
                && real.isWithholding() == model.withheld > 0
                && real.hasSurplus() == model.filled > model.target()
                && real.hasSurplusWithoutConnection() == model.circulating > Math.max(model.target(), model.filled)
                && real.isSuspended() == model.suspended
                && real.isClosed() == model.closed
                && real.surplus() == surplus
                && real.toString().contains("target " + model.target());
    }

    /** With as many permits as wanted, none of which has a connection. */
    private static Capacity full(int size) {
        var capacity = new Capacity(size);
        while (capacity.add()) {}
        return capacity;
    }

    /** The same with as many connections. */
    private static Capacity filled(int size) {
        Capacity capacity = full(size);
        for (int i = 0; i < size; i++) capacity.fill();
        return capacity;
    }

    /** How many of the calls that several threads made in the same moment returned true. */
    private static int race(int calls, BooleanSupplier call) throws Exception {
        var threads = new Threads();
        var start = new CyclicBarrier(4);
        var successes = new AtomicInteger();
        for (int i = 0; i < 4; i++) {
            threads.start(() -> {
                start.await();
                for (int n = 0; n < calls; n++) if (call.getAsBoolean()) successes.incrementAndGet();
            });
        }
        threads.join();
        return successes.get();
    }

    // Several threads find a surplus, and claim as many as are too many.
    @Test
    void exactlyTheSurplusMustBeClaimed() throws Exception {
        for (int round = 0; round < ROUNDS; round++) {
            boolean isClaim = round % 2 == 0;
            Capacity capacity = isClaim ? filled(LARGEST) : full(LARGEST);
            capacity.resize(3);
            int claimed = race(3, isClaim ? capacity::claim : capacity::withdraw);
            assertThat(claimed).isEqualTo(LARGEST - 3);
            assertThat(capacity.expected()).isEqualTo(isClaim ? LARGEST : 3);
            for (int i = 0; isClaim && i < claimed; i++) capacity.left();
            assertThat(capacity.expected()).isEqualTo(3);
        }
    }

    // A permit that waits for its connection leaves before a connection does, because the server may refuse it anyway.
    @Test
    void permitsWithoutConnectionsMustLeaveFirst() {
        Capacity capacity = full(LARGEST);
        for (int i = 0; i < 4; i++) capacity.fill();
        capacity.resize(3);
        assertThat(capacity.claim()).as("the one connection that is too many").isTrue();
        assertThat(capacity.claim()).isFalse();
        for (int i = 0; i < LARGEST - 4; i++) assertThat(capacity.withdraw()).isTrue();
        assertThat(capacity.withdraw()).isFalse();
        capacity.left();
        assertThat(capacity.expected()).isEqualTo(3);
    }

    // Several threads add permits, withhold them and bring them back, and as many are left as there may be.
    @Test
    void exactlyTheMissingMustBeAddedWithheldAndReadmitted() throws Exception {
        for (int round = 0; round < ROUNDS; round++) {
            var capacity = new Capacity(LARGEST);
            assertThat(race(4, capacity::add)).isEqualTo(LARGEST);
            assertThat(race(4, capacity::withhold)).as("all but the last one").isEqualTo(LARGEST - 1);
            assertThat(capacity.effectiveSize()).isEqualTo(1);
            assertThat(race(4, capacity::add))
                    .as("those that are withheld are not missing")
                    .isZero();
            assertThat(race(4, capacity::readmit)).isEqualTo(LARGEST - 1);
            assertThat(capacity.expected()).isEqualTo(LARGEST);
        }
    }

    // Four threads change what the pool wants and do what follows, in a random order whose seed is printed. The permits
    // that exist never exceed the largest size. Afterwards they are as many as wanted, and all numbers agree.
    @Test
    void permitsMustBalanceAfterAnySequenceOfSeveralThreads() throws Exception {
        long seed = Long.getLong("nanopool.stress.seed", new Random().nextLong());
        System.getLogger("dev.nanopool.test").log(System.Logger.Level.INFO, "stress seed " + seed);
        for (int round = 0; round < 100; round++) {
            var account = new Account(full(4), 4);
            var threads = new Threads();
            for (int i = 0; i < 4; i++) {
                var random = new Random(seed + round * 4L + i);
                threads.start(() -> {
                    for (int step = 0; step < 500; step++) account.step(random);
                });
            }
            threads.join();
            account.settle(1 + round % LARGEST);
        }
    }

    // The server refuses the only permit while the pool is resized again and again. A refusal that is taken back after
    // the resize has cleared it must not count below zero, because the pool would then open more than its size.
    @Test
    void withheldPermitsMustNotCountBelowZero() throws Exception {
        var capacity = new Capacity(1);
        assertThat(capacity.add()).isTrue();
        var threads = new Threads();
        // Each goes on until the other one has done its share, so that they overlap also if one begins late.
        var shares = new CountDownLatch(2);
        threads.start(() -> repeat(shares, () -> {
            capacity.resize(1);
            if (capacity.effectiveSize() > 1) throw new AssertionError("more than the size: " + capacity);
        }));
        threads.start(() -> repeat(shares, () -> {
            if (capacity.withhold()) throw new AssertionError("the only permit");
        }));
        threads.join();
        assertThat(capacity.effectiveSize()).isEqualTo(1);
        assertThat(capacity.isWithholding()).isFalse();
    }

    private static void repeat(CountDownLatch shares, Runnable step) {
        try {
            for (int i = 0; shares.getCount() > 0; i++) {
                step.run();
                if (i == 1_000_000) shares.countDown();
            }
        } finally {
            shares.countDown(); // so that the other one ends, too, when this one has failed
        }
    }

    /** Permits as a pool has them. Each is free, or in a thread's hand, or leaving. */
    private static final class Account {
        private final Capacity capacity;
        private final Queue<Object> free = new ConcurrentLinkedQueue<>();
        private final AtomicInteger leaving = new AtomicInteger();
        private final AtomicInteger existing =
                new AtomicInteger(); // counted later, and forgotten earlier, than in fact

        Account(Capacity capacity, int permits) {
            this.capacity = capacity;
            for (int i = 0; i < permits; i++) came();
        }

        private void came() {
            if (existing.incrementAndGet() > LARGEST) throw new AssertionError("too many permits: " + capacity);
            free.add(new Object());
        }

        /** With a free permit. If the call succeeds, the permit is not free afterwards. */
        private boolean with(BooleanSupplier call) {
            Object permit = free.poll();
            if (permit == null) return false;
            existing.decrementAndGet();
            boolean isGone = call.getAsBoolean();
            if (!isGone) {
                existing.incrementAndGet();
                free.add(permit);
            }
            return isGone;
        }

        /** The permit gets a connection, which is then one too many or not. */
        private boolean fillAndClaim() {
            capacity.fill();
            boolean isClaimed = capacity.claim();
            if (!isClaimed) capacity.empty();
            return isClaimed;
        }

        private void leave() {
            if (leaving.getAndUpdate(n -> Math.max(0, n - 1)) > 0) capacity.left();
        }

        void step(Random random) {
            switch (random.nextInt(12)) {
                case 0 -> capacity.resize(1 + random.nextInt(LARGEST));
                case 1 -> capacity.suspend();
                case 2, 3 -> capacity.resume();
                case 4, 5 -> {
                    if (with(this::fillAndClaim)) leaving.incrementAndGet();
                }
                case 6 -> with(capacity::withdraw);
                case 7 -> with(capacity::withhold);
                case 8 -> {
                    if (capacity.readmit()) came();
                }
                case 9, 10 -> {
                    if (capacity.add()) came();
                }
                default -> leave();
            }
        }

        void settle(int size) {
            capacity.resume();
            capacity.resize(size);
            while (leaving.get() > 0) leave();
            while (with(capacity::withdraw)) {}
            while (capacity.readmit()) came();
            while (with(capacity::withdraw)) {}
            while (capacity.add()) came();
            assertThat(free).hasSize(size);
            assertThat(capacity.expected()).isEqualTo(size);
            assertThat(capacity.hasSurplus()).isFalse();
            assertThat(capacity.effectiveSize()).isEqualTo(size);
            capacity.close();
            while (with(this::fillAndClaim)) capacity.left();
            assertThat(free).isEmpty();
            assertThat(capacity.expected()).isZero();
        }
    }
}
