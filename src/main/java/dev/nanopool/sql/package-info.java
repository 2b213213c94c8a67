/** Says what SQL text may change in its session. This package knows only text, and no connection, pool or configuration. */
@NullMarked
package dev.nanopool.sql;

import org.jspecify.annotations.NullMarked;
