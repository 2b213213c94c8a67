package dev.nanopool.driver;

import java.io.Closeable;
import java.io.IOException;
import java.nio.channels.ClosedSelectorException;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.util.concurrent.TimeUnit;

/**
 * Waits until a channel that never blocks is ready for one operation, with a selector of its own. An interrupt wakes the
 * waiting thread and closes nothing. One thread at a time waits; another thread may close it, which wakes the waiting one.
 */
final class Readiness implements Closeable {
    private final Selector selector;
    private final SelectionKey key;

    Readiness(SocketChannel channel, int operation) throws IOException {
        selector = Selector.open();
        boolean isRegistered = false;
        try {
            key = channel.register(selector, operation);
            isRegistered = true;
        } finally {
            if (!isRegistered) selector.close();
        }
    }

    /** Waits for another operation from now on. */
    void operation(int operation) {
        if (key.interestOps() != operation) key.interestOps(operation);
    }

    /**
     * Waits. Returns also if the thread is interrupted, whose flag stays set, or if another thread closes the channel.
     *
     * @param nanos how long to wait at most; {@code Long.MAX_VALUE}: without a limit
     * @return whether the channel is ready
     */
    boolean await(long nanos) throws IOException {
        try {
            if (nanos == Long.MAX_VALUE) return selector.select(Readiness::isReady) > 0;
            if (nanos <= 0) return selector.selectNow(Readiness::isReady) > 0;
            return selector.select(Readiness::isReady, TimeUnit.NANOSECONDS.toMillis(nanos + 999_999)) > 0;
        } catch (ClosedSelectorException e) {
            return false; // the caller sees that the socket is closed
        }
    }

    /** The number of ready keys tells all, because there is one key. */
    @SuppressWarnings("UnusedVariable")
    private static void isReady(SelectionKey key) {}

    /** Wakes the waiting thread. */
    @Override
    public void close() throws IOException {
        selector.close();
    }
}
