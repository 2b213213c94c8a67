package dev.nanopool;

/**
 * Whether a session is still in a COPY. The driver is not asked, because it answers under a lock that it holds while it waits
 * for the server. Does not lead to the client, so that a forgotten client is found. Thread-safe.
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
