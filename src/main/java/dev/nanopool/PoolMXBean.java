package dev.nanopool;

import java.util.List;

/**
 * A pool as JMX shows it, under {@code dev.nanopool:type=Pool,name=<name>} if {@link PoolConfig.Builder#jmx} is on. The data
 * source of a pool implements it as well. The first four attributes have HikariCP's names and mean the same; the others are
 * those of {@link PoolStats}. All numbers of a {@link NanoDataSource} that has not started are zero, and its operations throw
 * {@code IllegalStateException}. Thread-safe; no method blocks.
 */
public interface PoolMXBean {
    /**
     * Returns how many connections are leased.
     *
     * @return connections
     */
    int getActiveConnections();

    /**
     * Returns how many connections are ready to be leased.
     *
     * @return connections
     */
    int getIdleConnections();

    /**
     * Returns how many connections are open, those included that are being reset, validated or closed.
     *
     * @return connections
     */
    int getTotalConnections();

    /**
     * Returns how many callers wait.
     *
     * @return callers
     */
    int getThreadsAwaitingConnection();

    /**
     * Returns how many connections are being opened.
     *
     * @return connections
     */
    int getOpeningConnections();

    /**
     * Returns how many connections the pool may hold.
     *
     * @return the size
     */
    int getSize();

    /**
     * Returns how many connections stay open though no caller uses them.
     *
     * @return connections
     */
    int getMinIdle();

    /**
     * Returns the pool's servers, each as {@code host:port}.
     *
     * @return the servers in the order of the URL
     */
    List<String> getServers();

    /**
     * Returns the database.
     *
     * @return its name
     */
    String getDatabase();

    /**
     * Returns how the pool is: the name of a {@link PoolHealth.Status}, and the reason if it is not {@code UP}.
     *
     * @return one word, or a word, a colon and a sentence
     */
    String getHealth();

    /**
     * Counts the leases.
     *
     * @return leases since the start
     */
    long getLeasesGranted();

    /**
     * Counts the callers whose deadline passed.
     *
     * @return callers since the start
     */
    long getTimeouts();

    /**
     * Counts the callers that were refused for another reason.
     *
     * @return callers since the start
     */
    long getRejected();

    /**
     * Counts the connections that were opened.
     *
     * @return connections since the start
     */
    long getOpened();

    /**
     * Counts the connections that were closed.
     *
     * @return connections since the start
     */
    long getClosed();

    /**
     * Counts the connections that broke.
     *
     * @return connections since the start
     */
    long getLost();

    /**
     * Counts the leases that were reported as leaked.
     *
     * @return leases since the start
     */
    long getLeaked();

    /**
     * Lists the leases: thread, duration and the place in the user's code where the thread is.
     *
     * @return one line for each, as it was up to 0.1 s ago
     */
    List<String> holders();

    /** Replaces every connection, as {@link Pool#refresh}. */
    void refresh();

    /** Closes all connections and lends none, as {@link Pool#suspend}. */
    void suspend();

    /** Ends {@link #suspend}, as {@link Pool#resume}. */
    void resume();

    /**
     * Changes the size, as {@link Pool#resize}.
     *
     * @param size from 1 to 10,000
     */
    void resize(int size);
}
