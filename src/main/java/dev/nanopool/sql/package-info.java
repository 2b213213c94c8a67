/** What SQL text may change in its session. Knows text and nothing else: no connection, no pool, no configuration. */
@NullMarked
package dev.nanopool.sql;

import org.jspecify.annotations.NullMarked;
