package dev.nanopool;

import java.lang.ref.WeakReference;

/**
 * A lease as the pool sees it. It refers to its client weakly: a client that its user has forgotten can be told from one
 * that is in use. Small, since each lease makes one.
 */
final class Lease extends WeakReference<ClientConnection> {
    final Thread owner = Thread.currentThread();
    final long startNanos; // to within 0.1 s, or exactly

    Lease(ClientConnection client, long startNanos) {
        super(client);
        this.startNanos = startNanos;
    }
}
