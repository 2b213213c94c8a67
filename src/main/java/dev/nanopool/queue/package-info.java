/**
 * Decides which caller gets which item, and when. Knows nothing of the rest of the pool, so that a model checker and stress
 * tests can run it alone. Read {@code LeaseQueue} first; it keeps its items and permits in {@code IdleItems} and its waiting
 * callers in {@code WaitingLine}, {@code Pairing} brings the two together, and {@code Unfinished} is for errors.
 */
@NullMarked
package dev.nanopool.queue;

import org.jspecify.annotations.NullMarked;
