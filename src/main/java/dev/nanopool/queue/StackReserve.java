package dev.nanopool.queue;

/**
 * Makes a full stack show before a change instead of in the middle of it. The JDK's collections and semaphores may throw a
 * {@code StackOverflowError} when they have done one half of their work; after {@link #require} they have room for both.
 */
public final class StackReserve {
    // 24 frames take 3 kB or more when they are compiled. The deepest of the calls that rely on them is an interpreted
    // LinkedTransferQueue.offer with its VarHandle, which takes 1 kB.
    private static final int FRAMES = 24;

    private StackReserve() {}

    /**
     * Returns if the calling thread has some kilobytes of stack left.
     *
     * @throws StackOverflowError if it has not
     */
    public static void require() {
        long unused = descend(FRAMES, 1, 2, 3, 4, 5, 6, 7, 8);
    }

    // Each frame keeps its parameters for the sum, so that a compiled frame is not small either.
    private static long descend(int frames, long a, long b, long c, long d, long e, long f, long g, long h) {
        if (frames == 0) return a;
        return descend(frames - 1, b, c, d, e, f, g, h, a) + a + b + c + d + e + f + g + h;
    }
}
