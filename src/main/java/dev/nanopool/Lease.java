package dev.nanopool;

import java.lang.ref.WeakReference;
import org.jspecify.annotations.Nullable;

/**
 * A lease as the pool sees it. At first that is the client itself. The housekeeper replaces it by a {@link Lasting} if the lease
 * lasts, so that the pool can tell a forgotten client from one in use. Most leases end before, and make one object only.
 */
interface Lease {
    /** The thread that leased the connection. */
    Thread owner();

    /** When the lease began, to within 0.1 s, or exactly. */
    long startNanos();

    /** What the lease has done. Null if it has done nothing yet. */
    @Nullable
    Usage usage();

    /** The client. Null if no thread can reach it. */
    @Nullable
    Client client();

    default boolean isBusy() {
        Usage usage = usage();
        return usage != null && usage.isBusy();
    }

    /** Whether a thread other than the owner has used the client, and so may close it. */
    default boolean isShared() {
        Usage usage = usage();
        return usage != null && usage.isShared();
    }

    /** A lease that the housekeeper has met. It refers to its client weakly. */
    final class Lasting extends WeakReference<Client> implements Lease {
        private final Thread owner;
        private final long startNanos;
        private final Usage usage;
        private boolean suspected;
        private boolean ownerless;

        Lasting(Client client) {
            super(client);
            this.owner = client.owner();
            this.startNanos = client.startNanos();
            this.usage = client.used();
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
        public Usage usage() {
            return usage;
        }

        @Override
        public @Nullable Client client() {
            return get();
        }

        /**
         * Marks that the owner has ended, and that no other thread has used the client. Answers whether the housekeeper had
         * marked it before. For the housekeeper alone.
         */
        boolean markOwnerless() {
            boolean was = ownerless;
            ownerless = true;
            return was;
        }

        /** Whether the pool has reported it as a suspected leak. For the housekeeper alone. */
        boolean isSuspected() {
            return suspected;
        }

        void suspect() {
            suspected = true;
        }
    }
}
