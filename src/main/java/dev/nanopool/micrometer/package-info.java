/** A pool's numbers for Micrometer, which this package needs and the pool itself does not. */
@NullMarked
package dev.nanopool.micrometer;

import org.jspecify.annotations.NullMarked;
