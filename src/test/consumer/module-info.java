/** A user's module: it requires the pool and nothing that the pool is made with. */
module consumer {
    requires dev.nanopool;
}
