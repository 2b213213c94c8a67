package dev.nanopool.queue;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.nanopool.queue.RefusedException.Reason;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.Threads;
import java.lang.ref.WeakReference;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedClass;
import org.junit.jupiter.params.provider.ValueSource;

@ParameterizedClass
@ValueSource(ints = {1, 2}) // a queue of one item keeps it otherwise than a queue of several
@Timeout(120)
class LeaseQueueTest {
    private static final long NEVER = Long.MAX_VALUE / 2;

    private final AtomicLong clock = new AtomicLong();
    private final AtomicInteger vacancies = new AtomicInteger();
    private final AtomicInteger alarms = new AtomicInteger();
    private final Threads threads = new Threads();
    private final int size;
    private LeaseQueue<String> queue;

    LeaseQueueTest(int size) {
        this.size = size;
        this.queue = queue(Integer.MAX_VALUE);
    }

    private LeaseQueue<String> queue(int maxWaiters) {
        return new LeaseQueue<>(
                size, maxWaiters, clock::get, new Parts(vacancies::incrementAndGet, alarms::incrementAndGet));
    }

    @AfterEach
    void failuresOfOtherThreadsMustReachTheTest() throws Exception {
        threads.join();
    }

    private Thread taker(long deadline, List<Object> results) throws Exception {
        int before = queue.pending();
        Thread thread = threads.start(() -> {
            try {
                results.add(queue.take(deadline, 0));
            } catch (RefusedException e) {
                results.add(e.reason());
            } catch (InterruptedException e) {
                results.add(e);
            }
        });
        Await.until(
                "the caller waits", () -> queue.pending() == before + 1 && thread.getState() == Thread.State.WAITING);
        return thread;
    }

    // An item that was given is taken, by its giver or by another thread, and never twice.
    @Test
    void givenItemMustBeTakenOnce() {
        queue.give("a");
        assertThat(queue.tryTake()).isEqualTo("a");
        assertThat(queue.tryTake()).isNull();
        assertThat(vacancies).as("no permit was free, so nothing may be opened").hasValue(0);
    }

    // There are more items than stripes. The rest is queued, and every one comes out again.
    @Test
    void allGivenItemsMustComeOut() {
        IntStream.range(0, 10).forEach(i -> queue.give("item " + i));
        assertThat(queue.free()).isEqualTo(10);
        Set<String> taken = new HashSet<>();
        for (String item = queue.tryTake(); item != null; item = queue.tryTake()) taken.add(item);
        assertThat(taken).hasSize(10);
        assertThat(queue.free()).isZero();
    }

    // No thread would take a caller out of the line again.
    @Test
    void closedQueueMustForgetLaterCallers() throws Exception {
        queue.close();
        Thread thread = threads.start(() -> assertThatThrownBy(() -> queue.take(NEVER, 0))
                .isInstanceOfSatisfying(
                        RefusedException.class, e -> assertThat(e.reason()).isEqualTo(Reason.CLOSED)));
        threads.join();
        var caller = new WeakReference<>(thread);
        thread = null;
        Await.until("nothing refers to the caller", () -> {
            System.gc();
            return caller.refersTo(null);
        });
    }

    // A permit without an item is a right to open, so it goes to the opener, once.
    @Test
    void freePermitWithoutItemMustGoToTheOpener() {
        queue.release();
        assertThat(queue.tryTake()).isNull();
        assertThat(vacancies)
                .as("a caller that goes on to wait has it opened then")
                .hasValue(0);
        assertThat(queue.tryTakeOrFill()).isNull();
        assertThat(queue.tryTakeOrFill()).isNull();
        assertThat(vacancies).hasValue(1);
    }

    // One caller has one opened, however many could be.
    @Test
    void waiterMustHaveOneConnectionOpened() throws Exception {
        for (int i = 0; i < 4; i++) queue.release();
        List<Object> results = Collections.synchronizedList(new ArrayList<>());
        assertThat(queue.tryTake()).isNull();
        taker(NEVER, results);
        assertThat(vacancies).hasValue(1);
        assertThat(queue.free()).isEqualTo(3);
        queue.give("opened");
        threads.join();
    }

    // A waiter that finds a permit has the connection opened that it will get.
    @Test
    void releasedPermitMustGoToTheOpenerWhileACallerWaits() throws Exception {
        List<Object> results = Collections.synchronizedList(new ArrayList<>());
        taker(NEVER, results);
        assertThat(vacancies).hasValue(0);
        queue.release();
        assertThat(vacancies).hasValue(1);
        queue.give("opened");
        threads.join();
        assertThat(results).containsExactly("opened");
    }

    @Test
    void waitersMustBeServedInTheOrderOfTheirArrival() throws Exception {
        List<Object> results = Collections.synchronizedList(new ArrayList<>());
        List<Thread> order = new ArrayList<>();
        for (int i = 0; i < 20; i++) order.add(taker(NEVER, results));
        for (int i = 0; i < 20; i++) {
            queue.give("item " + i);
            Thread oldest = order.get(i);
            assertThat(oldest.join(java.time.Duration.ofSeconds(10)))
                    .as("waiter %d was served", i)
                    .isTrue();
        }
        threads.join();
        assertThat(results)
                .containsExactlyElementsOf(IntStream.range(0, 20)
                        .mapToObj(i -> (Object) ("item " + i))
                        .toList());
    }

    // A caller that comes while others wait must queue behind them, even if an item is just being given back.
    @Test
    void newCallerMustNotOvertakeWaiters() throws Exception {
        taker(NEVER, new ArrayList<>());
        assertThat(queue.tryTake()).isNull();
        queue.give("a");
        threads.join();
        assertThat(queue.tryTake()).isNull();
    }

    @Test
    void callerBeyondMaxWaitersMustBeRefusedAtOnce() throws Exception {
        queue = queue(1);
        taker(NEVER, new ArrayList<>());
        assertThatThrownBy(() -> queue.take(NEVER, 0))
                .isInstanceOfSatisfying(
                        RefusedException.class, e -> assertThat(e.reason()).isEqualTo(Reason.QUEUE_FULL));
        queue.give("a");
        threads.join();
        assertThat(queue.pending()).isZero();
    }

    // Deadlines differ, and the line is not in their order. Each is kept, and the queue returns the next time to look.
    @Test
    void expireMustRefuseExactlyTheWaitersPastTheirDeadline() throws Exception {
        List<Object> late = Collections.synchronizedList(new ArrayList<>());
        List<Object> early = Collections.synchronizedList(new ArrayList<>());
        taker(300, late);
        taker(100, early);
        taker(200, early);
        assertThat(alarms).as("told when the first came, and the one before it").hasValue(2);
        assertThat(queue.expire(99)).isEqualTo(100);
        assertThat(queue.pending()).isEqualTo(3);
        assertThat(queue.expire(100)).isEqualTo(200);
        assertThat(queue.expire(250)).isEqualTo(300);
        Await.until("two have left", () -> early.size() == 2);
        assertThat(queue.pending()).isEqualTo(1);
        assertThat(early).containsExactly(Reason.TIMED_OUT, Reason.TIMED_OUT);
        queue.give("a");
        threads.join();
        assertThat(late).containsExactly("a");
        assertThat(queue.expire(1000)).as("no caller waits").isEqualTo(Long.MAX_VALUE);
    }

    // The connection that comes for a caller that has left goes to the next one.
    @Test
    void itemMustPassWaitersThatHaveLeft() throws Exception {
        List<Object> left = Collections.synchronizedList(new ArrayList<>());
        List<Object> stayed = Collections.synchronizedList(new ArrayList<>());
        Thread interrupted = taker(NEVER, left);
        taker(100, left);
        taker(NEVER, stayed);
        interrupted.interrupt();
        interrupted.join();
        queue.expire(100);
        queue.give("a");
        threads.join();
        assertThat(stayed).containsExactly("a");
        assertThat(left).hasSize(2).contains(Reason.TIMED_OUT).hasAtLeastOneElementOfType(InterruptedException.class);
    }

    @Test
    void closeMustRefusePresentAndLaterWaiters() throws Exception {
        List<Object> results = Collections.synchronizedList(new ArrayList<>());
        taker(NEVER, results);
        queue.close();
        threads.join();
        assertThat(results).containsExactly(Reason.CLOSED);
        assertThatThrownBy(() -> queue.take(NEVER, 0))
                .isInstanceOfSatisfying(
                        RefusedException.class, e -> assertThat(e.reason()).isEqualTo(Reason.CLOSED));
    }

    @Test
    void refuseMustSpareLaterWaiters() throws Exception {
        List<Object> before = Collections.synchronizedList(new ArrayList<>());
        List<Object> after = Collections.synchronizedList(new ArrayList<>());
        clock.set(10);
        taker(NEVER, before);
        clock.set(20);
        taker(NEVER, after);
        queue.refuse(Reason.DATABASE_DOWN, 20);
        Await.until("one has left", () -> before.size() == 1);
        assertThat(queue.pending()).isEqualTo(1);
        assertThat(before).containsExactly(Reason.DATABASE_DOWN);
        queue.give("a");
        threads.join();
        assertThat(after).containsExactly("a");
    }

    // A withdrawing thread gets a permit, with the idle item if there is one; if it finds none, it leaves everything as
    // it was.
    @Test
    void withdrawMustTakeAPermitWithItsItem() {
        queue.give("a");
        queue.release();
        List<String> items = new ArrayList<>();
        assertThat(queue.withdraw(items::add)).isTrue();
        assertThat(queue.withdraw(items::add)).isTrue();
        assertThat(queue.withdraw(items::add)).isFalse();
        assertThat(items).containsExactly("a");
        assertThat(queue.free()).isZero();
    }

    // An item taken out to look at it does not start an opening when there is none.
    @Test
    void takeIdleMustNotTouchTheOpener() {
        queue.release();
        assertThat(queue.takeIdle()).isNull();
        assertThat(queue.free()).isEqualTo(1);
        assertThat(vacancies).hasValue(0);
    }

    private static final class Item {
        final AtomicBoolean leased = new AtomicBoolean();
    }

    // A million borrows with random deadlines and interrupts during the hand-off. No item is lost, none is held
    // twice, and no thread stays parked. The test prints the seed.
    @Tag("slow")
    @Test
    void noItemMustBeLostOrSharedUnderRandomTimeoutsAndInterrupts() throws Exception {
        int size = 4;
        int callers = 100;
        int borrows = Integer.getInteger("nanopool.stress.borrows", 1_000_000) / callers;
        long seed = Long.getLong("nanopool.stress.seed", new Random().nextLong());
        System.getLogger("dev.nanopool.test").log(System.Logger.Level.INFO, "stress seed " + seed);
        var line = new LeaseQueue<Item>(
                size, Integer.MAX_VALUE, System::nanoTime, new Parts(vacancies::incrementAndGet, () -> {}));
        for (int i = 0; i < size; i++) line.give(new Item());
        var outcomes = new AtomicInteger[] {new AtomicInteger(), new AtomicInteger(), new AtomicInteger()};
        List<Thread> all = Collections.synchronizedList(new ArrayList<>());
        for (int i = 0; i < callers; i++) {
            var random = new Random(seed + i);
            all.add(threads.start(() -> borrow(line, random, borrows, outcomes)));
        }
        var done = new AtomicBoolean();
        Thread housekeeper = Thread.ofPlatform().start(() -> {
            while (!done.get()) {
                line.expire(System.nanoTime());
                all.get(ThreadLocalRandom.current().nextInt(callers)).interrupt();
                LockSupport.parkNanos(20_000);
            }
        });
        try {
            threads.join();
        } finally {
            done.set(true);
            housekeeper.join();
        }
        assertThat(outcomes[0].get() + outcomes[1].get() + outcomes[2].get()).isEqualTo(callers * borrows);
        assertThat(outcomes)
                .as("leases, timeouts, interrupts")
                .allSatisfy(count -> assertThat(count.get()).isGreaterThan(0));
        System.getLogger("dev.nanopool.test")
                .log(System.Logger.Level.INFO, "leases, timeouts, interrupts: " + List.of(outcomes));
        assertThat(line.free()).isEqualTo(size);
        assertThat(line.pending()).isZero();
        Set<Item> items = new HashSet<>();
        for (Item item = line.tryTake(); item != null; item = line.tryTake()) items.add(item);
        assertThat(items).hasSize(size);
        assertThat(vacancies).as("no permit without its item").hasValue(0);
    }

    @SuppressWarnings("ThreadPriorityCheck") // the yield lets others in between taking and giving back
    private static void borrow(LeaseQueue<Item> line, Random random, int borrows, AtomicInteger[] outcomes) {
        for (int i = 0; i < borrows; i++) {
            try {
                Item item = line.tryTake();
                if (item == null) item = line.take(System.nanoTime() + random.nextInt(400_000), 0);
                if (!item.leased.compareAndSet(false, true)) throw new AssertionError("lent to two callers");
                if (random.nextInt(4) == 0) Thread.yield();
                item.leased.set(false);
                line.give(item);
                outcomes[0].incrementAndGet();
            } catch (RefusedException e) {
                outcomes[1].incrementAndGet();
            } catch (InterruptedException e) {
                outcomes[2].incrementAndGet();
            }
        }
    }

    // The queue is closed in the middle of the traffic, ten thousand times. Every caller leaves, and every item is
    // found afterwards.
    @Tag("slow")
    @Test
    void closeMustLetEverybodyLeaveAndLoseNoItem() throws Exception {
        for (int round = 0; round < Integer.getInteger("nanopool.stress.rounds", 10_000); round++) {
            var line = new LeaseQueue<Item>(size, Integer.MAX_VALUE, System::nanoTime, new Parts(() -> {}, () -> {}));
            line.give(new Item());
            for (int i = 0; i < 3; i++) {
                threads.start(() -> {
                    try {
                        while (true) line.give(line.take(NEVER, 0));
                    } catch (RefusedException e) {
                        assertThat(e.reason()).isEqualTo(Reason.CLOSED);
                    }
                });
            }
            if (round % 2 == 0) Thread.onSpinWait();
            line.close();
            threads.join();
            assertThat(line.free()).isEqualTo(1);
            assertThat(line.tryTake()).isNotNull();
        }
    }
}
