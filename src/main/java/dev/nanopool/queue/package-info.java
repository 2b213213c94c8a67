/**
 * Decides which caller gets which item, and when. This package knows nothing of the rest of the pool, so that a model checker and
 * stress tests can run it alone. Read {@code LeaseQueue} first. It keeps its items and permits in {@code IdleItems} and its
 * waiting callers in {@code WaitingLine}, whose {@code Pace} finds the callers that would wait in vain. {@code Pairing} brings the
 * two together. {@code Unfinished} is for errors.
 */
@NullMarked
package dev.nanopool.queue;

import org.jspecify.annotations.NullMarked;
