package dev.nanopool;

/** A lease as the object that its caller holds. Thread-safe. */
interface Client extends Lease {
    /** As {@link #usage()}; makes one if there is none. */
    Usage used();

    /** Ends the lease by force: the pool is closed while a caller still holds it. */
    void cut();
}
