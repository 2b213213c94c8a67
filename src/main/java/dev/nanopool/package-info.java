/**
 * A PostgreSQL connection pool for virtual threads, over pgJDBC. Start at {@link dev.nanopool.Pool}.
 *
 * <p>Decisions that may surprise:
 *
 * <ul>
 *   <li><b>First come, first served.</b> A new caller never overtakes one that waits, even where a wake-up could be saved.
 *       Barging is faster in some benchmarks and starves callers for seconds in the same ones.
 *   <li><b>Idle connections are lent oldest first</b> (but for two that are kept at hand), so all stay in use. The price: an
 *       elastic pool shrinks only when it is really quiet.
 *   <li><b>No statement cache.</b> The driver has one per connection, and it stays valid from one lease to the next.
 *   <li><b>No test query to configure.</b> A connection is checked by PostgreSQL's empty query, which begins no
 *       transaction; by {@code SHOW transaction_read_only} where the URL asks for the primary.
 *   <li><b>No retry.</b> A statement that fails is never sent again, and a lease never gets another connection underneath:
 *       the caller alone knows what a lost transaction means.
 * </ul>
 */
@NullMarked
package dev.nanopool;

import org.jspecify.annotations.NullMarked;
