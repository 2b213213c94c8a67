package dev.nanopool;

import static org.assertj.core.api.Assertions.assertThat;

import dev.nanopool.OpenFailures.OpenFailure;
import java.sql.SQLException;
import java.sql.SQLTransientConnectionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.Phaser;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Which failed attempts the pool remembers, and which of them the log tells. */
@SuppressWarnings("StaticAssignmentOfThrowable") // they are never thrown
class OpenFailuresTest {
    private static final int ROUNDS = 20_000;
    private static final Exception STAYS = new SQLException("wrong password", "28P01");
    private static final Exception PASSES = new SQLTransientConnectionException("refused", "08001");

    private final Outage outage = new Outage(
            PoolConfig.builder("postgresql://localhost/db").build(),
            new Events("orders", new PoolListener() {}),
            new Alarm());
    private final OpenFailures failures = new OpenFailures(outage);
    private final ExecutorService threads = Executors.newFixedThreadPool(2);

    @AfterEach
    void end() {
        threads.shutdownNow();
    }

    @Test
    void onlyTheFirstFailureThatStaysMustBeNews() {
        assertThat(failures.failed(STAYS, Clock.nanoTime())).isTrue();
        assertThat(failures.failed(STAYS, Clock.nanoTime())).isFalse();
        assertThat(failures.failed(PASSES, Clock.nanoTime())).isFalse();
        assertThat(failures.failed(STAYS, Clock.nanoTime())).isTrue();
        failures.succeeded();
        assertThat(failures.failed(STAYS, Clock.nanoTime())).isTrue();
    }

    @Test
    void successMustEndTheLastFailureButNotTheLatest() {
        failures.failed(STAYS, Clock.nanoTime());
        assertThat(failures.last()).extracting(OpenFailure::cause).isSameAs(STAYS);
        failures.succeeded();
        assertThat(failures.last()).isNull();
        assertThat(failures.latest()).extracting(OpenFailure::cause).isSameAs(STAYS);
    }

    // The end of an outage has its own line.
    @Test
    void onlyTheFirstSuccessAfterAFailureMustBeNews() {
        assertThat(failures.succeeded()).isFalse();
        failures.failed(STAYS, Clock.nanoTime());
        assertThat(failures.succeeded()).isTrue();
        assertThat(failures.succeeded()).isFalse();
        failures.failed(PASSES, Clock.nanoTime());
        outage.begin(PASSES, Clock.nanoTime());
        assertThat(failures.succeeded()).isFalse();
        assertThat(outage.isOn()).isFalse();
    }

    // An attempt that began before another one succeeded says nothing about now.
    @Test
    void failureOfAnOldAttemptMustNotBeTheLast() {
        long began = Clock.nanoTime();
        failures.succeeded();
        failures.failed(STAYS, began);
        assertThat(failures.last()).isNull();
        assertThat(failures.latest()).extracting(OpenFailure::cause).isSameAs(STAYS);
    }

    @Test
    void ofTwoFailuresAtTheSameMomentOneMustBeNews() throws Exception {
        for (int round = 0; round < ROUNDS; round++) {
            var news = new AtomicInteger();
            Runnable attempt = () -> {
                if (failures.failed(STAYS, Clock.nanoTime())) news.incrementAndGet();
            };
            together(attempt, attempt);
            assertThat(news).as("round %d", round).hasValue(1);
            failures.succeeded();
        }
    }

    // Else health and the rule of the lifetimes would believe a failure that is over.
    @Test
    void failureAtTheMomentOfASuccessMustNotBeTheLast() throws Exception {
        for (int round = 0; round < ROUNDS; round++) {
            long began = Clock.nanoTime(); // after the success of the round before
            together(() -> failures.failed(STAYS, began), failures::succeeded);
            assertThat(failures.last()).as("round %d", round).isNull();
        }
    }

    private void together(Runnable one, Runnable other) throws Exception {
        var start = new Phaser(2);
        Future<?> first = threads.submit(() -> run(start, one));
        Future<?> second = threads.submit(() -> run(start, other));
        first.get();
        second.get();
    }

    private static void run(Phaser start, Runnable attempt) {
        start.arrive();
        while (start.getPhase() == 0) Thread.onSpinWait(); // so that both begin in the same moment
        attempt.run();
    }
}
