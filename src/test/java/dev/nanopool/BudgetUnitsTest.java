package dev.nanopool;

import static org.assertj.core.api.Assertions.assertThat;

import dev.nanopool.Permits.Permit;
import dev.nanopool.queue.Arrivals;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

/** The account of a budget, with pools that are made for the test. */
class BudgetUnitsTest {
    private final Budget budget = Budget.of(1);
    private final List<Boolean> seen = new ArrayList<>();

    /** A pool with so many callers that need a unit. Its connection looks idle, but is on its way to a caller. */
    private final class Tenant implements Budget.Member {
        private final int callers;

        Tenant(int callers) {
            this.callers = callers;
        }

        @Override
        public String name() {
            return "tenant";
        }

        @Override
        public int units() {
            return callers == 0 ? 1 : 0;
        }

        @Override
        public long claimNanos() {
            return callers == 0 ? Budget.NO_CLAIM : 1;
        }

        @Override
        public int claims(long beforeNanos) {
            return callers;
        }

        @Override
        public @Nullable Permit grant() {
            throw new AssertionError("no unit is free");
        }

        @Override
        public void open(Permit granted) {
            throw new AssertionError("no unit is free");
        }

        @Override
        public long idleNanos() {
            return callers == 0 ? 1 : Budget.NO_CLAIM;
        }

        @Override
        public boolean giveIdle() {
            seen.add(budget.isWantedBefore(this, Arrivals.NONE));
            return false;
        }
    }

    // While one thread looks in vain for an idle connection, the connection that comes back still goes to the older
    // caller.
    @Test
    void lookForAnIdleConnectionMustHideNoClaim() {
        budget.join(new Tenant(0), 0);
        budget.join(new Tenant(1), 0);
        assertThat(budget.tryTake()).isTrue();
        budget.parked();
        budget.settle();
        assertThat(seen).containsExactly(true);
    }
}
