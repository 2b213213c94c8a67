package dev.nanopool;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.nanopool.Permits.Permit;
import dev.nanopool.testkit.Threads;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class PermitsTest {
    private static final int ROUNDS = 2_000;

    private final Permits permits = new Permits();

    private static Permit recovered(Permits permits) {
        List<Permit> all = new ArrayList<>();
        permits.recover(all::add);
        assertThat(all).hasSize(1);
        return all.get(0);
    }

    // A permit counts from the moment a thread holds it until it is used, whether it was abandoned meanwhile or not.
    @Test
    void permitMustCountUntilItIsUsed() {
        Permit permit = permits.hold();
        assertThat(permit.isUsed()).isFalse();
        assertThat(permits.count()).isEqualTo(1);
        permit.close();
        assertThat(permits.count()).as("abandoned").isEqualTo(1);
        Permit again = recovered(permits);
        assertThat(permits.count()).isEqualTo(1);
        permits.use(again);
        assertThat(again.isUsed()).isTrue();
        assertThat(permits.count()).isZero();
        permits.recover(any -> {
            throw new AssertionError("a used permit was recovered");
        });
    }

    // A permit that is used twice would be two.
    @Test
    void permitMustBeUsedOnce() {
        Permit permit = permits.hold();
        permits.use(permit);
        assertThatThrownBy(() -> permits.use(permit))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageStartingWith("bug:")
                .hasMessageContaining("USED");
        permit.close();
        assertThat(permit.isUsed()).as("closing what was used changes nothing").isTrue();
        assertThat(permits.count()).isZero();
    }

    // The housekeeper may have taken an abandoned permit over, so its former thread must not use it.
    @Test
    void abandonedPermitMustNotBeUsed() {
        Permit permit = permits.hold();
        permit.close();
        assertThatThrownBy(() -> permits.use(permit))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageStartingWith("bug:")
                .hasMessageContaining("ABANDONED");
        assertThat(permits.count()).isEqualTo(1);
        permits.use(recovered(permits));
    }

    // A permit in the hand of a thread is not taken away from it.
    @Test
    void permitInHandMustNotBeRecovered() {
        Permit permit = permits.hold();
        permits.recover(any -> {
            throw new AssertionError("it is in hand");
        });
        permits.use(permit);
    }

    // An abandoned permit is recovered once, by one of two threads, and can be abandoned and recovered again.
    @Test
    void abandonedPermitMustBeRecoveredOnce() throws Exception {
        var threads = new Threads();
        for (int round = 0; round < ROUNDS; round++) {
            permits.hold().close();
            var start = new CyclicBarrier(2);
            List<Permit> all = Collections.synchronizedList(new ArrayList<>());
            for (int i = 0; i < 2; i++) {
                threads.start(() -> {
                    start.await();
                    permits.recover(all::add);
                });
            }
            threads.join();
            assertThat(all).hasSize(1);
            all.get(0).close();
            permits.use(recovered(permits));
            assertThat(permits.count()).isZero();
        }
    }

    // A thread uses the permit, another thread uses or abandons it in the same moment. One of them wins, and the permit
    // is either used or recovered, never both.
    @Test
    void oneOfTwoThreadsMustWinThePermit() throws Exception {
        var threads = new Threads();
        for (int round = 0; round < ROUNDS; round++) {
            Permit permit = permits.hold();
            var start = new CyclicBarrier(2);
            var uses = new AtomicInteger();
            boolean isAbandoning = round % 2 == 0;
            for (int i = 0; i < 2; i++) {
                boolean isClosing = isAbandoning && i == 0;
                threads.start(() -> {
                    start.await();
                    if (isClosing) permit.close();
                    else useIfPossible(permit, uses);
                });
            }
            threads.join();
            List<Permit> abandoned = new ArrayList<>();
            permits.recover(abandoned::add);
            assertThat(uses.get() + abandoned.size()).isEqualTo(1);
            abandoned.forEach(permits::use);
            assertThat(permits.count()).isZero();
        }
    }

    private void useIfPossible(Permit permit, AtomicInteger uses) {
        try {
            permits.use(permit);
            uses.incrementAndGet();
        } catch (IllegalStateException e) {
            assertThat(e).hasMessageStartingWith("bug:");
        }
    }
}
