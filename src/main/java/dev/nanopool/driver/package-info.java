/** What the driver itself has to find by name. The module exports this package only to the driver. */
@NullMarked
package dev.nanopool.driver;

import org.jspecify.annotations.NullMarked;
