package dev.nanopool;

import static org.assertj.core.api.Assertions.assertThat;

import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.logging.Handler;
import java.util.logging.Level;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** When an outage begins, when it is declared, when it ends, which permit probes, and what the log says of it. */
class OutageTest {
    @SuppressWarnings("StaticAssignmentOfThrowable") // it is never thrown
    private static final Exception CAUSE = new SQLException("refused");

    private final Logger logger = Logger.getLogger("dev.nanopool");
    private final List<String> lines = new ArrayList<>();
    private final Handler handler = new Handler() {
        @Override
        public void publish(LogRecord published) {
            if (published.getLevel().intValue() >= Level.INFO.intValue()) lines.add(published.getMessage());
        }

        @Override
        public void flush() {}

        @Override
        public void close() {}
    };

    @BeforeEach
    void listen() {
        logger.addHandler(handler);
    }

    @AfterEach
    void restore() {
        logger.removeHandler(handler);
    }

    private static Outage outage(Duration patience) {
        PoolConfig config = PoolConfig.builder("postgresql://localhost/db")
                .name("orders")
                .outagePatience(patience)
                .build();
        return new Outage(config, new Events("orders", new PoolListener() {}), new Alarm());
    }

    private static long ago(Duration time) {
        return Clock.nanoTime() - time.toNanos();
    }

    // It begins once, is declared once and ends once, even if several attempts fail meanwhile.
    @Test
    void outageMustBeLoggedInThreeLines() {
        Outage outage = outage(Duration.ofSeconds(5));
        assertThat(outage.isOn()).isFalse();
        assertThat(outage.nanos()).isEqualTo(-1);
        assertThat(outage.declaredNanos()).isEqualTo(Long.MAX_VALUE);
        // As if the last success were long ago, because the clock of the JVM may be younger than these six seconds.
        long since = Clock.nanoTime() - Duration.ofSeconds(6).toNanos();
        outage.begin(CAUSE, Math.max(since, 0));
        outage.begin(new Exception("again"), Clock.nanoTime());
        assertThat(outage.isOn()).isTrue();
        assertThat(outage.nanos()).isNotNegative();
        outage.refused();
        outage.refused();
        if (since >= 0) {
            assertThat(outage.declaredNanos()).isLessThan(Clock.nanoTime());
            assertThat(outage.declareIfDue()).isTrue();
            assertThat(outage.declareIfDue()).isTrue();
            assertThat(outage.declaredNanos()).isEqualTo(Long.MAX_VALUE);
            assertThat(lines.remove(1))
                    .matches("orders: .* for 6\\d\\d\\d ms, so callers are refused at once: refused");
        }
        assertThat(outage.end()).isTrue();
        assertThat(outage.end()).isFalse();
        assertThat(outage.declareIfDue()).isFalse();
        assertThat(lines).hasSize(2);
        assertThat(lines.getFirst()).isEqualTo("orders: the database at localhost:5432 lets no connection in: refused");
        assertThat(lines.getLast()).matches("orders: .* again, after \\d+ ms; 2 callers were refused");
    }

    @Test
    void outageMustNotBeDeclaredBeforeThePatienceIsOver() {
        Outage outage = outage(Duration.ofSeconds(5));
        long now = Clock.nanoTime();
        outage.begin(CAUSE, now);
        assertThat(outage.declareIfDue()).isFalse();
        assertThat(outage.declaredNanos()).isEqualTo(now + Duration.ofSeconds(5).toNanos());
    }

    // A refused caller learns how long the outage lasted, even if it ended before the message was made. A caller that
    // came later does not.
    @Test
    void refusedCallerMustLearnOfTheOutageThatHasJustEnded() {
        Outage outage = outage(Duration.ZERO);
        long came = Clock.nanoTime();
        assertThat(outage.nanosFor(came)).as("none").isEqualTo(-1);
        outage.begin(CAUSE, Clock.nanoTime());
        assertThat(outage.nanosFor(came)).as("it is on").isNotNegative();
        assertThat(outage.end()).isTrue();
        long lasted = outage.nanosFor(came);
        assertThat(lasted).as("it has ended").isNotNegative().isEqualTo(outage.nanosFor(came));
        assertThat(outage.nanosFor(Clock.nanoTime() + 1)).as("later").isEqualTo(-1);
    }

    // When no permit can probe, its age says nothing, so the next failure begins another one.
    @Test
    void forgottenOutageMustNotMakeTheNextOneOld() {
        Outage outage = outage(Duration.ofMillis(1));
        outage.forget();
        assertThat(lines).isEmpty();
        outage.begin(CAUSE, Clock.nanoTime() - Duration.ofMillis(2).toNanos());
        assertThat(outage.declareIfDue()).isTrue();
        outage.forget();
        assertThat(outage.isOn()).isFalse();
        assertThat(lines.removeLast()).contains("no connection is wanted");
        outage.begin(CAUSE, Clock.nanoTime() + Duration.ofSeconds(1).toNanos());
        assertThat(outage.declareIfDue()).isFalse();
    }

    // Without patience the first failed attempt declares it.
    @Test
    void outageMustBeDeclaredAtOnceWithoutPatience() {
        Outage outage = outage(Duration.ZERO);
        outage.begin(CAUSE, Clock.nanoTime());
        assertThat(outage.declareIfDue()).isTrue();
    }

    // An attempt that hung while another one succeeded says nothing about the database of today.
    @Test
    void failureOfAnAttemptThatBeganBeforeASuccessMustBeginNone() {
        Outage outage = outage(Duration.ZERO);
        long began = ago(Duration.ofMillis(1));
        assertThat(outage.end()).isFalse();
        outage.begin(CAUSE, began);
        assertThat(outage.isOn()).isFalse();
        outage.begin(CAUSE, Clock.nanoTime());
        assertThat(outage.isOn()).isTrue();
    }

    // One permit probes, and another one follows it.
    @Test
    void onePermitMustProbeAtATime() {
        Outage outage = outage(Duration.ZERO);
        Permits.Permit one = new Permits().hold();
        Permits.Permit other = new Permits().hold();
        assertThat(outage.hasProber()).isFalse();
        assertThat(outage.tryProbe(one)).isTrue();
        assertThat(outage.tryProbe(other)).isFalse();
        assertThat(outage.tryProbe(one)).isTrue();
        assertThat(outage.leaveProbing(other)).isFalse();
        assertThat(outage.hasProber()).isTrue();
        assertThat(outage.leaveProbing(one)).isTrue();
        assertThat(outage.tryProbe(other)).isTrue();
    }

    // From 10 ms to 250 ms in the first five seconds, then up to 1 s; half of it is chance.
    @Test
    void pauseOfTheProberMustGrowWithTheOutage() {
        long before = 0;
        for (long millis : new long[] {0, 10, 20, 100, 499, 500, 4_999, 5_000, 60_000}) {
            long age = Duration.ofMillis(millis).toNanos();
            long least = Outage.pauseNanos(age, 0);
            long most = Outage.pauseNanos(age, 1);
            assertThat(most).isGreaterThanOrEqualTo(before).isGreaterThanOrEqualTo(10_000_000L);
            assertThat(least).isEqualTo(most / 2);
            assertThat(most).isLessThanOrEqualTo(millis < 5_000 ? 250_000_000L : 1_000_000_000L);
            before = most;
        }
        assertThat(Outage.pauseNanos(Duration.ofMillis(4_999).toNanos(), 1)).isEqualTo(250_000_000L);
        assertThat(Outage.pauseNanos(Duration.ofMinutes(1).toNanos(), 1)).isEqualTo(1_000_000_000L);
        assertThat(Outage.pauseNanos(-1, 1)).as("it has just ended").isEqualTo(10_000_000L);
    }

    // A lost connection is reported by itself, unless an outage follows at once or is on.
    @Test
    void lossMustBeReportedOnlyIfNoOutageExplainsIt() {
        Outage outage = outage(Duration.ofSeconds(5));
        outage.warn(new Event.Unexplained("lost one"));
        long now = Clock.nanoTime();
        assertThat(outage.report(now)).as("when to look again").isGreaterThan(now);
        assertThat(lines).isEmpty();
        assertThat(outage.report(now + Duration.ofSeconds(1).toNanos())).isEqualTo(Long.MAX_VALUE);
        assertThat(lines).containsExactly("orders: lost one");
        outage.warn(new Event.Unexplained("lost two"));
        outage.begin(CAUSE, Clock.nanoTime());
        outage.warn(new Event.Unexplained("lost three"));
        assertThat(outage.report(Long.MAX_VALUE)).isEqualTo(Long.MAX_VALUE);
        assertThat(lines).hasSize(2);
    }
}
