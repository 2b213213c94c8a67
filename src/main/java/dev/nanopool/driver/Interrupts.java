package dev.nanopool.driver;

/** What an interrupt of a virtual thread does that waits for the server's answer. */
public interface Interrupts {
    /**
     * The calling thread is interrupted and its statement is not answered. Has the server cancel the statement. Does not block.
     *
     * @return after how many nanoseconds to call this again if there is still no answer; {@code Long.MAX_VALUE}: the thread
     *     waits for the answer however long it takes; zero or less: the thread gives the connection up
     */
    long interrupted();

    /** The thread is about to send the next statement, which no cancel of an earlier one may hit. Blocks until they are sent. */
    void awaitCancels();
}
