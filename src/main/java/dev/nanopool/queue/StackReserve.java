package dev.nanopool.queue;

/**
 * Makes a full stack show before a change, and not in the middle of it. The JDK's collections, semaphores, locks and threads may
 * throw a {@code StackOverflowError} when they have done one half of their work. After a method of this class they have room
 * for both halves.
 */
public final class StackReserve {
    // A compiled frame of `descend` takes 128 bytes or more, and 4 ns.
    private static final int FRAMES = 24; // an interpreted LinkedTransferQueue.offer with its VarHandle takes 1 kB
    private static final int MANY_FRAMES = 192;

    private StackReserve() {}

    /**
     * Returns if the calling thread has 3 kB of stack left: for a collection, a semaphore, an atomic.
     *
     * @throws StackOverflowError if it has not
     */
    public static void require() {
        long unused = descend(FRAMES, 1, 2, 3, 4, 5, 6, 7, 8);
    }

    /**
     * Returns if the calling thread has 24 kB of stack left: to start a thread, to use a channel, to read the stack of another
     * thread. Not for the hot path.
     *
     * @throws StackOverflowError if it has not
     */
    public static void requireMuch() {
        long unused = descend(MANY_FRAMES, 1, 2, 3, 4, 5, 6, 7, 8);
    }

    // Each frame keeps its parameters for the sum, so that a compiled frame is not small either.
    private static long descend(int frames, long a, long b, long c, long d, long e, long f, long g, long h) {
        if (frames == 0) return a;
        return descend(frames - 1, b, c, d, e, f, g, h, a) + a + b + c + d + e + f + g + h;
    }
}
