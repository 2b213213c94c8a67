package dev.nanopool.queue;

import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import org.jspecify.annotations.Nullable;

/**
 * A million virtual threads wait for eight items and are served in order. Measures what they cost in memory beyond as
 * many threads that merely park, and in CPU while they wait. Started by {@code mvn -f src/prove verify}, with one carrier
 * thread, so that the order in which callers begin is the order in which they join the line. The argument is how many.
 */
public final class MillionCallers {
    private static final int ITEMS = 8;
    private static final double SECONDS = 3; // of waiting

    private static final OperatingSystemMXBean SYSTEM =
            (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();

    private MillionCallers() {}

    /** Fails if a caller is not served, or more than {@link #ITEMS} places away from its own. */
    public static void main(String[] arguments) throws Exception {
        int callers = Integer.parseInt(arguments[0]);
        measure(callers / 10); // compiled code has smaller frames
        System.out.println(measure(callers));
    }

    private static String measure(int callers) throws InterruptedException {
        AtomicInteger begun = new AtomicInteger();
        Thread[] parked = start(callers, begun, () -> {
            begun.getAndIncrement();
            LockSupport.park();
        });
        long parkedBytes = heapBytes();
        for (Thread thread : parked) LockSupport.unpark(thread);
        for (Thread thread : parked) thread.join();

        var queue = new LeaseQueue<Integer>(2, Integer.MAX_VALUE, System::nanoTime, new Parts(() -> {}, () -> {}));
        int[] order = new int[callers];
        AtomicInteger served = new AtomicInteger();
        AtomicReference<@Nullable Throwable> failure = new AtomicReference<>();
        begun.set(0);
        Thread[] waiting = start(callers, begun, () -> {
            int place = begun.getAndIncrement();
            try {
                Integer item = queue.take(Long.MAX_VALUE, 0);
                order[served.getAndIncrement()] = place;
                queue.give(item);
            } catch (Throwable e) {
                failure.compareAndSet(null, e);
            }
        });
        long bytes = heapBytes() - parkedBytes;
        double cpuWaiting = cpuSeconds();
        park(SECONDS);
        cpuWaiting = cpuSeconds() - cpuWaiting;
        long start = System.nanoTime();
        double cpuServing = cpuSeconds();
        // By a virtual thread, because one that another thread wakes up runs only when the carrier has nothing else to
        // do.
        Thread.startVirtualThread(() -> {
                    for (int item = 0; item < ITEMS; item++) queue.give(item);
                })
                .join();
        for (Thread thread : waiting) thread.join();
        double seconds = (System.nanoTime() - start) / 1e9;
        cpuServing = cpuSeconds() - cpuServing;
        if (failure.get() != null) throw new IllegalStateException(failure.get());
        if (served.get() != callers) throw new IllegalStateException(served + " of " + callers + " were served");
        int farthest = 0;
        for (int i = 0; i < callers; i++) farthest = Math.max(farthest, Math.abs(order[i] - i));
        if (farthest > ITEMS) throw new IllegalStateException("served " + farthest + " places out of order");
        return "%,d callers: %d bytes each, %.2f %% of a core while they wait; all served in %.2f s (%.0f ns of CPU each), at most %d places from their own"
                .formatted(
                        callers,
                        bytes / callers,
                        100 * cpuWaiting / SECONDS,
                        seconds,
                        1e9 * cpuServing / callers,
                        farthest);
    }

    private static Thread[] start(int count, AtomicInteger begun, Runnable caller) throws InterruptedException {
        Thread[] threads = new Thread[count];
        for (int i = 0; i < count; i++) threads[i] = Thread.startVirtualThread(caller);
        while (begun.get() < count) park(0.01);
        park(0.5); // until the last one has parked
        return threads;
    }

    private static void park(double seconds) {
        long end = System.nanoTime() + (long) (seconds * 1e9);
        for (long left = end - System.nanoTime(); left > 0; left = end - System.nanoTime()) {
            LockSupport.parkNanos(left);
        }
    }

    private static double cpuSeconds() {
        return SYSTEM.getProcessCpuTime() / 1e9;
    }

    private static long heapBytes() {
        for (int i = 0; i < 3; i++) System.gc();
        return ManagementFactory.getMemoryMXBean().getHeapMemoryUsage().getUsed();
    }
}
