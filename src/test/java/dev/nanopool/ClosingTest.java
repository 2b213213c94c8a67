package dev.nanopool;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.nanopool.Closing.Registration;
import dev.nanopool.testkit.Threads;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class ClosingTest {
    private static final int ROUNDS = 2_000;

    private final Closing closing = new Closing();
    private final AtomicInteger runs = new AtomicInteger();

    // Registered before, the action runs when the pool closes, and not again when it closes again or when it is
    // removed.
    @Test
    void actionMustRunOnceWhenThePoolCloses() {
        Registration registration = closing.onClose(runs::incrementAndGet);
        assertThat(closing.isClosed()).isFalse();
        assertThat(runs).hasValue(0);
        closing.close();
        assertThat(closing.isClosed()).isTrue();
        assertThat(runs).hasValue(1);
        registration.close();
        closing.close();
        assertThat(runs).hasValue(1);
    }

    // Registered afterwards, the action runs at once.
    @Test
    void actionMustRunAtOnceIfThePoolIsClosed() {
        closing.close();
        Registration registration = closing.onClose(runs::incrementAndGet);
        assertThat(runs).hasValue(1);
        registration.close();
        closing.close();
        assertThat(runs).hasValue(1);
    }

    // Removed before the pool closes, the action does not run.
    @Test
    void removedActionMustNotRun() {
        Registration registration = closing.onClose(runs::incrementAndGet);
        registration.close();
        registration.close();
        closing.close();
        assertThat(runs).hasValue(0);
    }

    // An action that throws does not keep the others from running, and what it throws is not lost.
    @Test
    void everyActionMustRunIfOneThrows() {
        for (int i = 0; i < 10; i++) {
            closing.onClose(() -> {
                runs.incrementAndGet();
                throw new IllegalStateException("injected");
            });
        }
        assertThatThrownBy(closing::close).isInstanceOf(IllegalStateException.class);
        assertThat(runs).hasValue(10);
    }

    // Registering, closing twice and removing race. The action runs once unless it was removed, and never twice.
    @Test
    void actionMustRunOnceInAnyRace() throws Exception {
        var threads = new Threads();
        for (int round = 0; round < ROUNDS; round++) {
            var raced = new Closing();
            var count = new AtomicInteger();
            boolean isRemoving = round % 2 == 0;
            var start = new CyclicBarrier(3);
            for (int i = 0; i < 2; i++) {
                threads.start(() -> {
                    start.await();
                    raced.close();
                });
            }
            threads.start(() -> {
                start.await();
                Registration registration = raced.onClose(count::incrementAndGet);
                if (isRemoving) registration.close();
            });
            threads.join();
            if (isRemoving) assertThat(count.get()).isLessThanOrEqualTo(1);
            else assertThat(count).hasValue(1);
        }
    }
}
