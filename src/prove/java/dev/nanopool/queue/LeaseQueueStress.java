package dev.nanopool.queue;

import static org.openjdk.jcstress.annotations.Expect.ACCEPTABLE;
import static org.openjdk.jcstress.annotations.Expect.FORBIDDEN;

import dev.nanopool.queue.RefusedException.Reason;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;
import org.openjdk.jcstress.annotations.Actor;
import org.openjdk.jcstress.annotations.Arbiter;
import org.openjdk.jcstress.annotations.JCStressTest;
import org.openjdk.jcstress.annotations.Outcome;
import org.openjdk.jcstress.annotations.State;
import org.openjdk.jcstress.infra.results.III_Result;
import org.openjdk.jcstress.infra.results.II_Result;
import org.openjdk.jcstress.infra.results.I_Result;
import org.openjdk.jcstress.infra.results.LL_Result;
import org.openjdk.jcstress.infra.results.L_Result;
import org.openjdk.jcstress.infra.results.ZL_Result;
import org.openjdk.jcstress.infra.results.ZZ_Result;

/**
 * Races of two threads over a {@link LeaseQueue}, run millions of times on real hardware. They find what {@code
 * LeaseQueueModelTest} cannot see, because there all threads see every write at once. Each nested class is one race;
 * its outcomes are all that may be.
 */
public final class LeaseQueueStress {
    private static final long NEVER = Long.MAX_VALUE / 2;

    private LeaseQueueStress() {}

    private static LeaseQueue<String> queue(Runnable vacancy, Runnable alarm) {
        return new LeaseQueue<>(2, Integer.MAX_VALUE, () -> 0, new Parts(vacancy, alarm));
    }

    /** A queue whose caller joins the line and does not park. Its waiter stays. */
    abstract static class Line {
        final AtomicInteger vacancies = new AtomicInteger();
        final LeaseQueue<String> queue = queue(vacancies::incrementAndGet, () -> {});
        final Waiter waiter = new Waiter(0, NEVER);

        final void join() {
            queue.join(waiter);
        }

        final boolean isStranded() {
            return waiter.get() == null;
        }
    }

    /** Dekker's rule: fill the slot, THEN look for waiters; join the line, THEN look into the slots. */
    @JCStressTest
    @State
    @Outcome(id = "0, 0", expect = ACCEPTABLE, desc = "the waiter has the item")
    @Outcome(expect = FORBIDDEN, desc = "an item is idle while a caller waits")
    public static class FilledSlotMustBeSeen extends Line {
        @Actor
        public void give() {
            queue.give("item");
        }

        @Actor
        public void take() {
            join();
        }

        @Arbiter
        public void look(II_Result r) {
            r.r1 = queue.free();
            r.r2 = isStranded() ? 1 : 0;
        }
    }

    /** The same for a permit without an item, for which the opener opens one. */
    @JCStressTest
    @State
    @Outcome(id = "0, 1", expect = ACCEPTABLE, desc = "one is opened for the waiter")
    @Outcome(expect = FORBIDDEN, desc = "a permit is free while a caller waits")
    public static class ReleasedPermitMustBeSeen extends Line {
        @Actor
        public void release() {
            queue.release();
        }

        @Actor
        public void take() {
            join();
        }

        @Arbiter
        public void look(II_Result r) {
            r.r1 = queue.free();
            r.r2 = vacancies.get();
        }
    }

    /** Close, THEN answer all; join the line, THEN look whether it is closed. */
    @JCStressTest
    @State
    @Outcome(id = "0", expect = ACCEPTABLE, desc = "the waiter has its answer")
    @Outcome(expect = FORBIDDEN, desc = "a caller waits in a closed queue")
    public static class CloseMustBeSeen extends Line {
        @Actor
        public void close() {
            queue.close();
        }

        @Actor
        public void take() {
            join();
        }

        @Arbiter
        public void look(I_Result r) {
            r.r1 = isStranded() ? 1 : 0;
        }
    }

    /** A caller really parks, and is woken. */
    @JCStressTest
    @State
    @Outcome(id = "item", expect = ACCEPTABLE, desc = "it came")
    @Outcome(expect = FORBIDDEN, desc = "something else came")
    public static class ParkedCallerMustBeWoken {
        private final LeaseQueue<String> queue = queue(() -> {}, () -> {});

        @Actor
        public void give() {
            queue.give("item");
        }

        @Actor
        public void take(L_Result r) {
            try {
                r.r1 = queue.take(NEVER, 0);
            } catch (InterruptedException | RefusedException e) {
                throw new AssertionError(e);
            }
        }
    }

    /** A waiter gets one answer, so an item that comes too late stays with its giver. */
    @JCStressTest
    @State
    @Outcome(id = "true, item", expect = ACCEPTABLE, desc = "the item came first")
    @Outcome(id = "false, TIMED_OUT", expect = ACCEPTABLE, desc = "the timeout came first")
    @Outcome(expect = FORBIDDEN, desc = "two answers, or none")
    public static class HandOffAndTimeoutMustBeOneAnswer {
        private final WaitingLine line = Parts.line(() -> {});
        private final Waiter waiter = new Waiter(0, 10);

        public HandOffAndTimeoutMustBeOneAnswer() {
            line.add(waiter);
            line.scheduleCheck(10);
        }

        @Actor
        public void give(ZL_Result r) {
            r.r1 = line.handOver("item");
        }

        @Actor
        public void expire() {
            line.expire(10);
        }

        @Arbiter
        public void look(ZL_Result r) {
            r.r2 = waiter.get();
        }
    }

    @JCStressTest
    @State
    @Outcome(id = "true, item", expect = ACCEPTABLE, desc = "the item came first")
    @Outcome(id = "false, CLOSED", expect = ACCEPTABLE, desc = "the close came first")
    @Outcome(expect = FORBIDDEN, desc = "two answers, or none")
    public static class HandOffAndCloseMustBeOneAnswer {
        private final WaitingLine line = Parts.line(() -> {});
        private final Waiter waiter = new Waiter(0, 10);

        public HandOffAndCloseMustBeOneAnswer() {
            line.add(waiter);
        }

        @Actor
        public void give(ZL_Result r) {
            r.r1 = line.handOver("item");
        }

        @Actor
        public void close() {
            line.refuse(Reason.CLOSED, Long.MAX_VALUE);
        }

        @Arbiter
        public void look(ZL_Result r) {
            r.r2 = waiter.get();
        }
    }

    /** A caller with its interrupt flag set leaves, or has its item; the item is there once. */
    @JCStressTest
    @State
    @Outcome(id = "1, 0, 0", expect = ACCEPTABLE, desc = "it got the item")
    @Outcome(id = "0, 1, 0", expect = ACCEPTABLE, desc = "it was interrupted, and the item is idle")
    @Outcome(expect = FORBIDDEN, desc = "the item is lost or there twice")
    public static class HandOffMustLoseNothingToAnInterrupt {
        private final LeaseQueue<String> queue = queue(() -> {}, () -> {});

        @Actor
        public void give() {
            queue.give("item");
        }

        @Actor
        public void take(III_Result r) {
            Thread.currentThread().interrupt();
            try {
                if (queue.take(NEVER, 0).equals("item")) r.r1 = 1;
            } catch (InterruptedException e) {
                // the other outcome
            } catch (RefusedException e) {
                throw new AssertionError(e);
            }
            var unused = Thread.interrupted();
        }

        @Arbiter
        public void look(III_Result r) {
            r.r2 = queue.free();
            r.r3 = queue.pending();
        }
    }

    /** A caller whose turn would come too late takes nothing with it, whether an item comes meanwhile or not. */
    @JCStressTest
    @State
    @Outcome(id = "1, 0, 0", expect = ACCEPTABLE, desc = "it got the item, because the line was empty")
    @Outcome(id = "0, 1, 0", expect = ACCEPTABLE, desc = "it was refused, and the item is idle")
    @Outcome(expect = FORBIDDEN, desc = "the item is lost or there twice")
    public static class HandOffMustLoseNothingToARefusal {
        private final LeaseQueue<String> queue;
        private long now;

        public HandOffMustLoseNothingToARefusal() {
            queue = new LeaseQueue<>(2, Integer.MAX_VALUE, () -> now, new Parts(() -> {}, () -> {}, -100));
            queue.join(new Waiter(0, NEVER));
            for (int i = 0; i < 100; i++) {
                queue.join(new Waiter(0, NEVER));
                now += 10_000_000;
                queue.give("other");
            }
        }

        @Actor
        public void give() {
            queue.give("other"); // to the last waiter
            queue.give("item");
        }

        @Actor
        public void take(III_Result r) {
            try {
                if (queue.take(now + 1, 0).equals("item")) r.r1 = 1;
            } catch (InterruptedException e) {
                throw new AssertionError(e);
            } catch (RefusedException e) {
                // the other outcome
            }
        }

        @Arbiter
        public void look(III_Result r) {
            r.r2 = queue.free();
            r.r3 = queue.pending();
        }
    }

    /** A window that ends while the line has a gap leaves no pace. */
    @JCStressTest
    @State
    @Outcome(id = "0", expect = ACCEPTABLE, desc = "the pace is forgotten")
    @Outcome(expect = FORBIDDEN, desc = "a pace from before the gap")
    public static class PaceMustBeForgottenAtAGap {
        private final Pace pace = new Pace();
        private long now;

        public PaceMustBeForgottenAtAGap() {
            for (int i = 0; i < 111; i++) handOver(); // the next one ends a window
        }

        private void handOver() {
            now += 10_000_000;
            pace.handedOver(() -> now);
        }

        @Actor
        public void handOverOnce() {
            handOver();
        }

        @Actor
        public void forget() {
            pace.forget();
        }

        @Arbiter
        public void look(I_Result r) {
            r.r1 = (int) pace.intervalNanos(now);
        }
    }

    /** A striped slot is emptied once. */
    @JCStressTest
    @State
    @Outcome(id = "true, false", expect = ACCEPTABLE, desc = "the first has it")
    @Outcome(id = "false, true", expect = ACCEPTABLE, desc = "the second has it")
    @Outcome(expect = FORBIDDEN, desc = "both have it, or neither")
    public static class SlotMustBeEmptiedOnce {
        private final LeaseQueue<String> queue = queue(() -> {}, () -> {});

        public SlotMustBeEmptiedOnce() {
            queue.give("item");
        }

        @Actor
        public void first(ZZ_Result r) {
            r.r1 = queue.tryTake() != null;
        }

        @Actor
        public void second(ZZ_Result r) {
            r.r2 = queue.tryTake() != null;
        }
    }

    /** Two givers do not fill one slot with two items. */
    @JCStressTest
    @State
    @Outcome(id = "2, 2", expect = ACCEPTABLE, desc = "both items are idle")
    @Outcome(expect = FORBIDDEN, desc = "one is lost")
    public static class SlotMustBeFilledOnce {
        private final LeaseQueue<String> queue = queue(() -> {}, () -> {});

        @Actor
        public void first() {
            queue.give("item");
        }

        @Actor
        public void second() {
            queue.give("item");
        }

        @Arbiter
        public void look(II_Result r) {
            r.r1 = queue.free();
            while (queue.tryTake() != null) r.r2++;
        }
    }

    /** An item is queued before its permit is released, so a thread that has the permit finds it, and opens nothing. */
    @JCStressTest
    @State
    @Outcome(id = "0, 3", expect = ACCEPTABLE, desc = "all items are there, none too many")
    @Outcome(expect = FORBIDDEN, desc = "a permit was seen before its item")
    public static class PermitMustComeWithItsItem {
        private final AtomicInteger vacancies = new AtomicInteger();
        private final LeaseQueue<String> queue = queue(vacancies::incrementAndGet, () -> {});
        private int taken;

        public PermitMustComeWithItsItem() {
            queue.give("first");
        }

        @Actor
        public void give() {
            queue.give("second");
            queue.give("third");
        }

        @Actor
        public void take() {
            for (int i = 0; i < 4; i++) {
                if (queue.tryTakeOrFill() != null) taken++;
            }
        }

        @Arbiter
        public void look(II_Result r) {
            r.r1 = vacancies.get();
            while (queue.tryTake() != null) taken++;
            r.r2 = taken;
        }
    }

    /** The same for an item whose waiter has just left. The giver queues it, THEN frees its permit. */
    @JCStressTest
    @State
    @Outcome(id = "0", expect = ACCEPTABLE, desc = "a thread that finds the permit finds the item")
    @Outcome(expect = FORBIDDEN, desc = "one is opened though one is idle")
    public static class PermitMustComeWithTheItemOfOneThatLeft extends Line {
        public PermitMustComeWithTheItemOfOneThatLeft() {
            queue.give("item");
        }

        @Actor
        public void take() {
            join();
        }

        @Actor
        public void closeAndTake() {
            queue.close();
            for (int i = 0; i < 8; i++) {
                if (queue.tryTakeOrFill() != null) return;
            }
        }

        @Arbiter
        public void look(I_Result r) {
            r.r1 = vacancies.get();
        }
    }

    /** Of two deadlines that are told at once, the earlier one is kept. */
    @JCStressTest
    @State
    @Outcome(id = "5", expect = ACCEPTABLE, desc = "the earlier one")
    @Outcome(expect = FORBIDDEN, desc = "the housekeeper comes too late")
    public static class EarlierDeadlineMustBeKept {
        private final WaitingLine line = Parts.line(() -> {});

        @Actor
        public void early() {
            line.scheduleCheck(5);
        }

        @Actor
        public void late() {
            line.scheduleCheck(10);
        }

        @Arbiter
        public void look(I_Result r) {
            r.r1 = (int) line.expire(0);
        }
    }

    /** What the giver did to the item, the next lessee sees. */
    @JCStressTest
    @State
    @Outcome(
            id = {"null, null", "done, null", "done, done"},
            expect = ACCEPTABLE,
            desc = "seen, as far as it came")
    @Outcome(expect = FORBIDDEN, desc = "an item without what was done to it")
    public static class LesseeMustSeeWhatTheGiverDid {
        private final LeaseQueue<String[]> queue =
                new LeaseQueue<>(2, Integer.MAX_VALUE, () -> 0, new Parts(() -> {}, () -> {}));

        @Actor
        public void give() {
            for (int i = 0; i < 2; i++) {
                var item = new String[1];
                item[0] = "done";
                queue.give(item);
            }
        }

        @Actor
        public void take(LL_Result r) {
            r.r1 = state(queue.tryTake());
            r.r2 = state(queue.tryTake());
            if (r.r1 == null) { // in any order
                r.r1 = r.r2;
                r.r2 = null;
            }
        }

        private static @Nullable String state(String @Nullable [] item) {
            return item == null ? null : String.valueOf(item[0] == null ? "nothing" : item[0]);
        }
    }

    /** A deadline that comes while the housekeeper looks at the line is not forgotten. */
    @JCStressTest
    @State
    @Outcome(id = "true, true", expect = ACCEPTABLE, desc = "the housekeeper will look in time")
    @Outcome(expect = FORBIDDEN, desc = "the deadline is forgotten")
    public static class DeadlineMustNotBeForgotten {
        private final AtomicInteger alarms = new AtomicInteger();
        private final WaitingLine line = Parts.line(alarms::incrementAndGet);
        private long told;

        public DeadlineMustNotBeForgotten() {
            line.scheduleCheck(10);
            alarms.set(0);
        }

        @Actor
        public void expire() {
            told = line.expire(10);
        }

        @Actor
        public void come() {
            line.add(new Waiter(0, 50));
            line.scheduleCheck(50);
        }

        @Arbiter
        public void look(ZZ_Result r) {
            r.r1 = line.expire(0) <= 50;
            r.r2 = told <= 50 || alarms.get() > 0;
        }
    }
}
