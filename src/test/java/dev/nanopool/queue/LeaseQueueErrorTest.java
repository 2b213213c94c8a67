package dev.nanopool.queue;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowable;

import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.Threads;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedClass;
import org.junit.jupiter.params.provider.ValueSource;

/** What becomes of items, permits and waiters when a call throws that must not throw. */
@ParameterizedClass
@ValueSource(ints = {1, 2}) // a queue of one item keeps it otherwise than a queue of several
@Timeout(120)
class LeaseQueueErrorTest {
    private static final long NEVER = Long.MAX_VALUE / 2;
    private static final int SIZE = 6; // more than there are stripes
    private static final int ROUNDS = 20;
    private static final int NEAR = 60; // frames above the full stack

    private final Threads threads = new Threads();
    private final int size;

    LeaseQueueErrorTest(int size) {
        this.size = size;
    }

    @AfterEach
    void failuresOfOtherThreadsMustReachTheTest() throws Exception {
        threads.join();
    }

    private static final class Failure extends Error {
        private static final long serialVersionUID = 1;
    }

    /** An owner and a clock that count their calls and throw at one of them. */
    private static final class Outside implements LeaseQueue.Owner {
        final AtomicInteger calls = new AtomicInteger();
        final AtomicInteger filled = new AtomicInteger();
        final AtomicInteger withdrawn = new AtomicInteger();
        volatile int failing = -1; // which call throws, from 0
        volatile boolean isError;

        void call() {
            if (calls.getAndIncrement() != failing) return;
            if (isError) throw new Failure();
            throw new IllegalStateException("injected");
        }

        @Override
        public void fillForWaiter() {
            call();
            filled.incrementAndGet();
        }

        @Override
        public void fillForLater() {
            call();
            filled.incrementAndGet();
        }

        @Override
        public void wake() {
            call();
        }

        @Override
        public int hopeful() {
            call();
            return 0;
        }

        long time() {
            call();
            return 0;
        }
    }

    /** Everything that calls the outside, once. Counts what it holds, so that the test can settle the account. */
    private void useEverything(LeaseQueue<String> queue, Outside outside, List<String> held) throws Exception {
        attempt(() -> keep(queue.tryTakeOrFill(), held)); // fillForLater
        Thread taker =
                threads.start(() -> attempt(() -> keep(queue.take(NEVER, 0), held))); // clock, fillForWaiter, wake
        Await.until("the caller waits or has left", () -> taker.getState() == Thread.State.WAITING || !taker.isAlive());
        queue.expire(0);
        if (taker.isAlive()) queue.give("given");
        else held.add("given");
        taker.join();
        Thread interrupted = threads.start(() -> {
            Thread.currentThread().interrupt();
            attempt(() -> keep(queue.take(5, 0), held)); // wakes the housekeeper twice
        });
        interrupted.join();
        for (int i = outside.filled.getAndSet(0); i > 0; i--) held.add("filled " + outside.calls + " " + i);
        int before = held.size();
        attempt(() -> {
            boolean isWithdrawn = queue.withdraw(item -> {
                outside.call();
                held.add(item);
            });
            if (isWithdrawn && held.size() == before) outside.withdrawn.incrementAndGet(); // a permit without an item
        });
        queue.expire(0);
    }

    private interface Step {
        void run() throws Exception;
    }

    private static void attempt(Step step) throws Exception {
        try {
            step.run();
        } catch (RefusedException | InterruptedException | Failure e) {
            // one of those that may come
        } catch (IllegalStateException e) {
            assertThat(e).hasMessage("injected");
        }
    }

    private static void keep(@Nullable String item, List<String> held) {
        if (item != null) held.add(item);
    }

    // Each call that the queue makes to its owner or its clock throws once, in each of two ways. The number of calls is
    // counted, not known. Afterwards all permits are free or held, no waiter is left, and each item exists once.
    @Test
    void failureOfAnyCallToTheOutsideMustLoseNothing() throws Exception {
        int calls = failAt(-1, false);
        assertThat(calls).as("clock, both fillings, wake-ups, closing").isGreaterThan(6);
        for (int failing = 0; failing < calls; failing++) {
            failAt(failing, false);
            failAt(failing, true);
        }
    }

    private int failAt(int failing, boolean isError) throws Exception {
        var outside = new Outside();
        outside.isError = isError;
        var queue = new LeaseQueue<String>(size, Integer.MAX_VALUE, outside::time, outside);
        List<String> held = Collections.synchronizedList(new ArrayList<>());
        for (int i = 0; i < 3; i++) queue.release();
        outside.failing = failing;
        useEverything(queue, outside, held);
        int calls = outside.calls.get();
        outside.failing = -1;
        assertThat(queue.pending()).isZero();
        for (String item : held) queue.give(item);
        queue.expire(1);
        int free = queue.free();
        int expected = 3 + 1 - outside.withdrawn.get(); // "given" came with a permit of its own
        assertThat(free).as("permits after call %d threw", failing).isEqualTo(expected);
        Set<String> items = new HashSet<>();
        for (String item = queue.takeIdle(); item != null; item = queue.takeIdle()) {
            assertThat(items.add(item)).as("%s is there once", item).isTrue();
        }
        assertThat(items).as("items after call %d threw", failing).isEqualTo(new HashSet<>(held));
        assertThat(queue.free() + items.size()).isEqualTo(free);
        return calls;
    }

    // The owner cannot take over a permit, for example because no thread can be started. The permit stays, the caller
    // goes on waiting, and each look of the housekeeper tries once more.
    @Test
    void failedFillMustKeepThePermitAndBeTriedAgain() throws Exception {
        var failing = new AtomicBoolean(true);
        var attempts = new AtomicInteger();
        var filled = new AtomicInteger();
        var queue = new LeaseQueue<String>(
                size,
                Integer.MAX_VALUE,
                () -> 0,
                new Parts(
                        () -> {
                            attempts.incrementAndGet();
                            if (failing.get()) throw new OutOfMemoryError("injected: no thread");
                            filled.incrementAndGet();
                        },
                        () -> {}));
        queue.release();
        Thread caller = threads.start(() -> assertThat(queue.take(NEVER, 0)).isEqualTo("opened"));
        Await.until("the caller waits", () -> caller.getState() == Thread.State.WAITING);
        assertThat(queue.free()).as("the permit is back").isEqualTo(1);
        assertThat(attempts).hasValue(1);
        queue.expire(0);
        assertThat(attempts).as("one attempt for each look").hasValue(2);
        queue.release();
        queue.expire(0);
        assertThat(queue.free()).isEqualTo(2);
        failing.set(false);
        queue.expire(0);
        assertThat(filled).as("one waits, so one permit is enough").hasValue(1);
        assertThat(queue.free()).isEqualTo(1);
        queue.give("opened");
        threads.join();
    }

    // A caller without an item to take finds the permit again after a failure.
    @Test
    void failedFillForLaterMustKeepThePermit() {
        var queue = new LeaseQueue<String>(
                size,
                Integer.MAX_VALUE,
                () -> 0,
                new Parts(
                        () -> {
                            throw new OutOfMemoryError("injected: no thread");
                        },
                        () -> {}));
        queue.release();
        assertThatThrownBy(queue::tryTakeOrFill).isInstanceOf(OutOfMemoryError.class);
        assertThat(queue.free()).isEqualTo(1);
    }

    // A new waiter looks for the permit while the owner has it in vain. The next look of the housekeeper finds both.
    @Test
    void waiterThatMissedThePermitOfAFailedFillMustBeServedByExpire() throws Exception {
        var filled = new AtomicInteger();
        var line = new AtomicReference<LeaseQueue<String>>();
        var queue = new LeaseQueue<String>(size, Integer.MAX_VALUE, () -> 0, new LeaseQueue.Owner() {
            @Override
            public void fillForWaiter() {
                filled.incrementAndGet();
            }

            @Override
            public void fillForLater() {
                int others = line.get().pending();
                Thread later = Thread.ofVirtual().start(() -> {
                    var unused = catchThrowable(() -> line.get().take(NEVER, 0));
                });
                while (line.get().pending() == others || later.getState() != Thread.State.WAITING) {
                    LockSupport.parkNanos(100_000);
                }
                throw new Failure();
            }

            @Override
            public void wake() {}

            @Override
            public int hopeful() {
                return 0;
            }
        });
        line.set(queue);
        queue.release();
        assertThatThrownBy(queue::tryTakeOrFill).isInstanceOf(Failure.class);
        assertThat(filled).hasValue(0);
        queue.expire(0);
        assertThat(filled).hasValue(1);
        queue.close(); // lets the waiter leave
    }

    // The owner cannot close the item that it withdraws, so item and permit are there as before.
    @Test
    void withdrawMustGiveBackTheItemThatCannotBeClosed() {
        for (Throwable failure : List.<Throwable>of(new IllegalStateException("injected"), new Failure())) {
            var queue = new LeaseQueue<String>(size, Integer.MAX_VALUE, () -> 0, new Parts(() -> {}, () -> {}));
            queue.give("a");
            assertThatThrownBy(() -> queue.withdraw(item -> fail(failure))).isSameAs(failure);
            assertThat(queue.free()).isEqualTo(1);
            assertThat(queue.takeIdle()).isEqualTo("a");
        }
    }

    private static void fail(Throwable failure) {
        if (failure instanceof Error error) throw error;
        throw (RuntimeException) failure;
    }

    // Near the full stack, the queue refuses an item or a permit before anything has changed. If the reserve is
    // missing, `put` throws, although the little that it needs itself would be there.
    @Test
    void putMustRefuseWhereTheStackIsNearlyFull() throws Exception {
        var items = new IdleItems<String>(size, new Unfinished());
        for (int i = 0; i < SIZE; i++) {
            Thread.ofVirtual().start(() -> items.put("stripe")).join(); // until all stripes are filled
        }
        int free = items.free();
        assertThat(done(() -> items.put(null)))
                .as("places where put has changed something")
                .isZero();
        assertThat(items.free()).isEqualTo(free);
    }

    // The same for an item that meets a waiter, and for a refusal. A virtual thread that is woken on a full stack may
    // never run again, because the JDK's scheduler is left half changed.
    @Test
    void waiterMustNotBeWokenWhereTheStackIsNearlyFull() throws Exception {
        var line = Parts.line(() -> {});
        for (int i = 0; i < 2; i++) line.add(new Sleeper(0));
        line.handOver("item"); // a call that the JVM prepares on a full stack is unusable for ever
        line.refuse(RefusedException.Reason.CLOSED, NEVER);
        var waiter = new Sleeper(0);
        line.add(waiter);
        assertThat(done(() -> line.handOver("item"))).as("hand-overs").isZero();
        assertThat(done(() -> line.refuse(RefusedException.Reason.CLOSED, NEVER)))
                .as("refusals")
                .isZero();
        assertThat(waiter.wakeUps).isZero();
        assertThat(waiter.get()).as("the answer").isNull();
        assertThat(line.handOver("item")).as("with a stack").isTrue();
    }

    /** Does it at each place near the full stack where the reserve is missing; returns how often it did not throw. */
    private int done(Runnable action) throws Exception {
        for (int i = 0; i < 50_000; i++) StackReserve.require(); // compiled from now on, so that its need is the same
        var missing = new AtomicInteger();
        var done = new AtomicInteger();
        for (int i = 0; i < ROUNDS && missing.get() <= 10; i++) { // the more is compiled, the fewer places has a stack
            Thread thread = new Thread(null, () -> doOnTheWayUp(action, missing, done), "deep", 256 << 10);
            thread.setUncaughtExceptionHandler((t, e) -> failures.add(e));
            thread.start();
            thread.join();
        }
        assertThat(failures).isEmpty();
        assertThat(missing.get()).as("places where the reserve is missing").isGreaterThan(10);
        return done.get();
    }

    /** Returns how many frames above the full stack this one is. */
    @SuppressWarnings("InfiniteRecursion") // the full stack is the purpose
    private static int doOnTheWayUp(Runnable action, AtomicInteger missing, AtomicInteger done) {
        int above;
        try {
            above = doOnTheWayUp(action, missing, done);
        } catch (StackOverflowError e) {
            return 0;
        }
        if (above < NEAR && isReserveMissing()) {
            boolean isDone = isDone(action);
            if (isReserveMissing()) {
                missing.incrementAndGet();
                if (isDone) done.incrementAndGet();
            }
        }
        return above + 1;
    }

    private static boolean isReserveMissing() {
        try {
            StackReserve.require();
            return false;
        } catch (StackOverflowError e) {
            return true;
        }
    }

    private static boolean isDone(Runnable action) {
        try {
            action.run();
            return true;
        } catch (StackOverflowError e) {
            return false;
        }
    }

    /** Stands for {@link OutOfMemoryError}, at which JUnit ends the whole run without a report. */
    private static final class NoMemory extends VirtualMachineError {
        private static final long serialVersionUID = 1;

        NoMemory(String message) {
            super(message);
        }
    }

    /** A waiter whose thread cannot be woken at the first attempts. */
    private static final class Sleeper extends Waiter {
        private static final long serialVersionUID = 1;

        int failures;
        int wakeUps;

        Sleeper(int failures) {
            super(0, NEVER);
            this.failures = failures;
        }

        @Override
        void wake() {
            if (failures-- > 0) throw new NoMemory("injected: no memory to wake a virtual thread");
            wakeUps++;
        }
    }

    // Waking the caller fails after it has its answer. The item is its own, and expire wakes it.
    @Test
    void callerMustBeWokenByExpireIfItsGiverFailed() {
        var line = Parts.line(() -> {});
        var sleeper = new Sleeper(1);
        line.add(sleeper);
        assertThat(line.handOver("item")).as("the item is given").isTrue();
        assertThat(sleeper.get()).isEqualTo("item");
        assertThat(sleeper.wakeUps).isZero();
        line.expire(0);
        assertThat(sleeper.wakeUps).isEqualTo(1);
        assertThat(line.isEmpty()).isTrue();
    }

    // The next giver meets a waiter that has its answer and was not woken. It wakes this waiter before it removes it.
    @Test
    void answeredWaiterMustBeWokenBeforeAnotherThreadRemovesIt() {
        var line = Parts.line(() -> {});
        var first = new Sleeper(1);
        var second = new Sleeper(0);
        line.add(first);
        line.add(second);
        assertThat(line.handOver("a")).isTrue();
        assertThat(line.handOver("b")).isTrue();
        assertThat(first.wakeUps).isEqualTo(1);
        assertThat(second.get()).isEqualTo("b");
        assertThat(line.isEmpty()).isTrue();
    }

    // The oldest waiter cannot be woken for some time. The item that came meanwhile is kept for expire.
    @Test
    void itemMustBeKeptWhileTheOldestCannotBeWoken() {
        var queue = new LeaseQueue<String>(size, Integer.MAX_VALUE, () -> 0, new Parts(() -> {}, () -> {}));
        var first = new Sleeper(4);
        var second = new Sleeper(0);
        queue.join(first);
        queue.give("a");
        queue.join(second);
        queue.give("b");
        assertThat(second.get()).isNull();
        first.failures = 0;
        queue.expire(0);
        assertThat(first.get()).isEqualTo("a");
        assertThat(first.wakeUps).isPositive();
        assertThat(second.get()).isEqualTo("b");
    }

    // The caller that leaves with an error has an answer, so that no item goes to it.
    @Test
    void callerThatLeavesWithAnErrorMustHaveAnAnswer() throws Exception {
        var failing = new AtomicBoolean(true);
        var queue = new LeaseQueue<String>(size, Integer.MAX_VALUE, () -> 0, new Parts(() -> {}, () -> {
            if (failing.get()) throw new Failure();
        }));
        assertThatThrownBy(() -> queue.take(10, 0)).isInstanceOf(Failure.class);
        assertThat(queue.pending()).isZero();
        failing.set(false);
        queue.give("a");
        assertThat(queue.free()).isEqualTo(1);
        assertThat(queue.tryTake()).isEqualTo("a");
    }

    // An owner's Error or a full stack strikes while an item is handed over inside `give`: the item is idle, and not
    // given back twice.
    @Test
    void giveMustReturnNormallyIfTheOwnerFailsAfterwards() throws Exception {
        var queue = new LeaseQueue<String>(
                size,
                Integer.MAX_VALUE,
                () -> 0,
                new Parts(
                        () -> {
                            throw new StackOverflowError("injected");
                        },
                        () -> {}));
        List<Object> results = Collections.synchronizedList(new ArrayList<>());
        Thread caller = threads.start(() -> results.add(queue.take(NEVER, 0)));
        Await.until("the caller waits", () -> caller.getState() == Thread.State.WAITING);
        queue.release(); // the owner fails, and this returns normally
        assertThat(queue.free()).isEqualTo(1);
        queue.give("item");
        threads.join();
        assertThat(results).containsExactly("item");
        assertThat(queue.free()).isEqualTo(1);
    }

    // Threads with small stacks recurse, and call the queue on every level on the way back from a StackOverflowError,
    // where the stack is full at a different call each time. Other threads take and give normally. Afterwards every
    // item is there once.
    @Test
    void fullStackAtAnyCallMustLoseNothing() throws Exception {
        var queue = new LeaseQueue<Object>(size, Integer.MAX_VALUE, System::nanoTime, new Parts(() -> {}, () -> {}));
        for (int i = 0; i < SIZE; i++) queue.give(new Object());
        var isDone = new AtomicBoolean();
        Thread housekeeper = threads.start(() -> {
            while (!isDone.get()) {
                queue.expire(System.nanoTime());
                LockSupport.parkNanos(1_000_000);
            }
        });
        var overflows = new AtomicInteger();
        List<Thread> all = new ArrayList<>();
        for (int i = 0; i < 8; i++) {
            int odd = i;
            Thread thread = new Thread(null, () -> recurseOften(queue, overflows, odd), "deep " + i, 256 << 10);
            thread.setUncaughtExceptionHandler((t, e) -> failures.add(e));
            thread.start();
            all.add(thread);
        }
        for (Thread thread : all) thread.join();
        isDone.set(true);
        housekeeper.join();
        assertThat(failures).isEmpty();
        queue.expire(System.nanoTime());
        queue.expire(Long.MAX_VALUE);
        assertThat(overflows.get()).as("the stack was full inside the queue").isGreaterThan(100);
        assertThat(queue.pending()).isZero();
        assertThat(queue.free()).isEqualTo(SIZE);
        Set<Object> items = new HashSet<>();
        for (Object item = queue.takeIdle(); item != null; item = queue.takeIdle()) items.add(item);
        assertThat(items).hasSize(SIZE);
    }

    private final List<Throwable> failures = Collections.synchronizedList(new ArrayList<>());

    private static void recurseOften(LeaseQueue<Object> queue, AtomicInteger overflows, int odd) {
        var held = new @Nullable Object[1];
        var count = new int[1];
        for (int round = 0; round < ROUNDS; round++) {
            recurse(queue, held, count, odd + round);
            if (held[0] != null) queue.give(held[0]);
            held[0] = null;
        }
        overflows.addAndGet(count[0]);
    }

    /** Returns how many frames above the full stack this one is. */
    @SuppressWarnings("InfiniteRecursion") // the full stack is the purpose
    private static int recurse(LeaseQueue<Object> queue, @Nullable Object[] held, int[] count, int odd) {
        int above;
        try {
            above = recurse(queue, held, count, odd + 1);
            if (above < NEAR) useOnce(queue, held, odd);
        } catch (StackOverflowError e) {
            count[0]++;
            above = 0;
        }
        return above + 1;
    }

    /** Takes or gives. What it holds is written without a call, so that this test loses nothing itself. */
    private static void useOnce(LeaseQueue<Object> queue, @Nullable Object[] held, int odd) {
        try {
            if (held[0] != null) {
                queue.give(held[0]);
                held[0] = null;
            } else if ((odd & 1) == 0) {
                held[0] = queue.tryTake();
            } else {
                held[0] = queue.take(0, 0); // the deadline has passed, so the housekeeper answers soon
            }
        } catch (RefusedException | InterruptedException e) {
            // no item; the next frame tries again
        }
    }
}
