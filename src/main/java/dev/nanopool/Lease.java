package dev.nanopool;

import java.lang.ref.WeakReference;
import org.jspecify.annotations.Nullable;

/**
 * A lease as the pool sees it. At first that is the client itself; a lease that lasts is {@link Lasting}, so that a client
 * which its user has forgotten can be told from one in use. Most leases end before, and make one object only.
 */
sealed interface Lease permits ClientConnection, Lease.Lasting {
    Thread owner();

    /** When it began, to within 0.1 s, or exactly. */
    long startNanos();

    /** Null: nobody can reach it any more. */
    @Nullable
    ClientConnection client();

    /** A lease that the housekeeper has met. It refers to its client weakly. */
    final class Lasting extends WeakReference<ClientConnection> implements Lease {
        private final Thread owner;
        private final long startNanos;

        Lasting(ClientConnection client) {
            super(client);
            this.owner = client.owner();
            this.startNanos = client.startNanos();
        }

        @Override
        public Thread owner() {
            return owner;
        }

        @Override
        public long startNanos() {
            return startNanos;
        }

        @Override
        public @Nullable ClientConnection client() {
            return get();
        }
    }
}
