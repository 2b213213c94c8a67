package dev.nanopool.driver;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.nanopool.driver.PoolSocketFactory.Attempt;
import dev.nanopool.testkit.Await;
import java.io.IOException;
import java.net.Socket;
import java.time.Duration;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

/** How the hosts of an attempt share its time, and what becomes of its sockets. */
class PoolSocketFactoryTest {
    private static final long SLACK_MILLIS = 500; // of a machine that is busy

    private static long shareMillis(Attempt attempt) {
        return TimeUnit.NANOSECONDS.toMillis(attempt.shareNanos());
    }

    // Each host gets an equal part of what is left, and the last one all of it.
    @Test
    void hostsMustShareTheTime() throws Exception {
        var attempt = new Attempt(3, Duration.ofSeconds(30));
        var factory = new PoolSocketFactory(attempt.key());
        assertThat(attempt.begun()).isNotDone();
        assertThat(shareMillis(attempt)).as("no host yet").isBetween(30_000 - SLACK_MILLIS, 30_000L);
        for (long share : new long[] {10_000, 15_000, 30_000, 30_000}) { // a host may be tried twice
            try (Socket socket = factory.createSocket()) {
                assertThat(socket).isInstanceOf(PeekableSocket.class);
                assertThat(shareMillis(attempt)).isBetween(share - SLACK_MILLIS, share);
            }
            assertThat(attempt.begun()).isDone();
        }
        attempt.loggedIn();
        assertThat(shareMillis(attempt)).isBetween(30_000 - SLACK_MILLIS, 30_000L);
        assertThat(attempt.end()).isNotNull();
    }

    // A host is given up when its share is over, and not before.
    @Test
    void hostMustBeGivenUpWhenItsShareIsOver() throws Exception {
        var attempt = new Attempt(2, Duration.ofMillis(200));
        var factory = new PoolSocketFactory(attempt.key());
        try (Socket first = factory.createSocket()) {
            Await.until("its share is over", () -> attempt.shareNanos() <= 0);
            attempt.giveUpHost();
            assertThat(first.getChannel().isOpen()).isFalse();
            assertThat(attempt.shareNanos()).as("when to look again").isPositive();
        }
        attempt.end();
        var other = new Attempt(2, Duration.ofSeconds(30));
        try (Socket second = new PoolSocketFactory(other.key()).createSocket()) {
            other.giveUpHost();
            assertThat(second.getChannel().isOpen())
                    .as("a host whose turn has just begun")
                    .isTrue();
            other.loggedIn();
            other.giveUpHost();
            assertThat(second.getChannel().isOpen())
                    .as("a host that has let it in")
                    .isTrue();
        }
        assertThat(other.end()).isNotNull();
    }

    // A host may let the driver in just when it is given up. Then the connection is closed, and the attempt begins
    // again with the first host, which gets its share of the time that is left.
    @Test
    void hostThatIsGivenUpAtTheEndOfTheLoginMustDifferFromOneThatLetTheDriverIn() throws Exception {
        var attempt = new Attempt(2, Duration.ofSeconds(4));
        var factory = new PoolSocketFactory(attempt.key());
        try (Socket first = factory.createSocket()) {
            assertThat(attempt.isHostGivenUp()).isFalse();
            Await.until("its share is over", () -> attempt.shareNanos() <= 0);
            attempt.giveUpHost();
            assertThat(attempt.loggedIn()).as("too late").isFalse();
            assertThat(attempt.isHostGivenUp()).isTrue();
            assertThat(first.getChannel().isOpen()).isFalse();
        }
        attempt.beginAgain();
        long leftNanos = attempt.leftNanos();
        try (Socket again = factory.createSocket()) {
            assertThat(attempt.isHostGivenUp()).isFalse();
            assertThat(attempt.shareNanos()).as("half of what is left").isBetween(1L, leftNanos / 2);
            assertThat(attempt.loggedIn()).isTrue();
            assertThat(attempt.shareNanos()).as("all that is left").isGreaterThan(attempt.leftNanos() / 2);
            assertThat(attempt.end()).isSameAs(again);
        }
    }

    // An attempt that is cut has no socket, and makes none.
    @Test
    void attemptThatIsCutMustMakeNoSocket() throws Exception {
        var attempt = new Attempt(2, Duration.ofSeconds(30));
        var factory = new PoolSocketFactory(attempt.key());
        Socket socket = factory.createSocket();
        attempt.cut();
        assertThat(socket.getChannel().isOpen()).isFalse();
        assertThatThrownBy(factory::createSocket).isInstanceOf(IOException.class);
        assertThat(attempt.end()).isNull();
    }

    // What the driver makes after the attempt, to cancel statements, belongs to no attempt.
    @Test
    void socketAfterTheAttemptMustNotBeItsOwn() throws Exception {
        var attempt = new Attempt(1, Duration.ofSeconds(30));
        var factory = new PoolSocketFactory(attempt.key());
        Socket own = factory.createSocket();
        assertThat(attempt.end()).isSameAs(own);
        try (Socket later = factory.createSocket()) {
            attempt.cut();
            assertThat(later.getChannel().isOpen()).isTrue();
            assertThat(own.getChannel().isOpen()).isFalse();
        }
    }
}
