package dev.nanopool.testkit;

import java.time.Duration;
import java.util.concurrent.Callable;
import java.util.concurrent.locks.LockSupport;
import java.util.function.BooleanSupplier;

/** Waits for a state that another thread brings about, and says what was missing. */
public final class Await {
    private static final Duration PATIENCE = Duration.ofSeconds(60);

    private Await() {}

    /** Until the condition holds; fails after 60 s. */
    public static void until(String what, Callable<Boolean> condition) throws Exception {
        untilEmpty(what, () -> condition.call() ? "" : "it is not so");
    }

    /** Until the condition holds or that much time is over, where both are right. */
    public static void atMost(Duration time, BooleanSupplier condition) {
        long end = System.nanoTime() + time.toNanos();
        while (!condition.getAsBoolean() && System.nanoTime() - end < 0) LockSupport.parkNanos(1_000_000);
    }

    /** Lets that much time pass, where time itself is the subject. */
    public static void pause(Duration time) {
        long end = System.nanoTime() + time.toNanos();
        for (long left = time.toNanos(); left > 0; left = end - System.nanoTime()) LockSupport.parkNanos(left);
    }

    /** Until the complaint is empty; fails with it after 60 s. */
    public static void untilEmpty(String what, Callable<String> complaint) throws Exception {
        long deadline = System.nanoTime() + PATIENCE.toNanos();
        String last = complaint.call();
        while (!last.isEmpty()) {
            if (System.nanoTime() - deadline > 0) throw new AssertionError("waited 60 s until " + what + ": " + last);
            LockSupport.parkNanos(1_000_000);
            last = complaint.call();
        }
    }
}
