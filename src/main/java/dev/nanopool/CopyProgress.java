package dev.nanopool;

/**
 * Knows whether a session is still in a COPY. The pool does not ask the driver, because the driver answers under a lock that it
 * holds while it waits for the server. This object does not lead to the client, so that the pool finds a forgotten client.
 * Thread-safe.
 */
final class CopyProgress {
    private volatile boolean open = true;

    boolean isOpen() {
        return open;
    }

    void set(boolean isOpen) {
        open = isOpen;
    }
}
