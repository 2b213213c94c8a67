/**
 * A PostgreSQL connection pool for virtual threads, over pgJDBC. Start at {@link dev.nanopool.Pool}.
 *
 * <h2>The life of a connection</h2>
 *
 * <pre>
 *              login            admit            lease
 *   (nothing) ------&gt; OPENING ------&gt; IDLE &lt;-------------&gt; LEASED
 *                                    ^   |   end of lease
 *                  passed on again   |   |
 *                                    |   +---------&gt; SERVICED   a task of the pool validates or resets it
 *                                    |   |               |
 *                                    +---|---------------+
 *                                        |
 *                                        +---------&gt; CLOSING ------&gt; CLOSED
 *                                          discard            the permit opens the next one
 * </pre>
 *
 * In order of time, with the method that does each step:
 *
 * <ol>
 *   <li>{@code Supply.fill} holds a permit, and {@code Connector.begin} opens a connection for it on a thread of its own.
 *   <li>{@code Supply.admit} adds the connection to the pool, and {@code LeaseQueue.give} hands it to the oldest waiter or makes
 *       it idle.
 *   <li>{@code Leases.lease} takes an idle connection ({@code LeaseQueue.tryTake}) or waits in the line
 *       ({@code LeaseQueue.take}). {@code Checks.usable} looks at the socket of a connection that is not trusted.
 *   <li>{@code PhysicalConnection.idleToLeased} begins the lease. The caller gets a {@code ClientConnection}. Each object that it
 *       hands out enters the lease ({@code ClientConnection.enter}) before it uses the driver.
 *   <li>{@code ClientConnection.close} ends the lease ({@code PhysicalConnection.end}). {@code Leases.ended} collects what the
 *       lease did, and {@code Checks.returned} collects the facts about the connection.
 *   <li>{@code Fate} decides from the facts. The connection is given on, or a task of the pool validates or resets it first, or
 *       it is closed with a {@code CloseReason}.
 *   <li>{@code Supply.discard} closes it on a thread of the pool. Its permit opens the next connection.
 * </ol>
 *
 * {@code JvmClock}, one thread for all pools, calls the {@code Housekeeper} of each. The housekeeper refuses callers whose
 * deadline has passed, looks at idle connections, finds leaks and deadlocks, and recovers a connection whose thread has failed.
 *
 * <p>Read in this order: {@link dev.nanopool.Pool}, {@code Leases}, {@code LeaseQueue}, {@code PhysicalConnection}, {@code Fate},
 * {@code Checks}, {@code ClientConnection}, {@code Supply}, {@code Housekeeper}.
 *
 * <h2>Decisions that may surprise</h2>
 *
 * <ul>
 *   <li><b>First come, first served.</b> A new caller never overtakes one that waits, even where a wake-up could be saved.
 *       Barging is faster in some benchmarks and starves callers for seconds in the same ones.
 *   <li><b>Idle connections are lent oldest first</b> (except two that are kept at hand), so all stay in use. The price is that
 *       an elastic pool shrinks only when it is really quiet.
 *   <li><b>No statement cache.</b> The driver has one per connection, and it stays valid from one lease to the next.
 *   <li><b>No test query to configure.</b> The pool checks a connection by PostgreSQL's empty query, which begins no
 *       transaction, or by {@code SHOW transaction_read_only} where the URL asks for the primary.
 *   <li><b>No retry.</b> The pool never sends a failed statement again, and never puts another connection under a lease, because
 *       the caller alone knows what a lost transaction means.
 * </ul>
 */
@NullMarked
package dev.nanopool;

import org.jspecify.annotations.NullMarked;
