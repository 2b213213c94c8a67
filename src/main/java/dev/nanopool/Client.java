package dev.nanopool;

/** A lease as the object that its caller holds. Thread-safe. */
interface Client extends Lease {
    /** Returns the usage, and makes one if there is none. */
    Usage used();

    /** Ends the lease by force, because the pool closes while a caller still holds it. */
    void cut();
}
