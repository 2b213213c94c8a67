/** The pool below Helidon's DbClient, which finds this package by itself. The pool does not need Helidon. */
@NullMarked
package dev.nanopool.helidon;

import org.jspecify.annotations.NullMarked;
