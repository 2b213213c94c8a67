/** What the driver itself has to find by name. Not exported to anybody else. */
@NullMarked
package dev.nanopool.driver;

import org.jspecify.annotations.NullMarked;
