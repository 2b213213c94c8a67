package dev.nanopool.driver;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.nanopool.TestAccess;
import dev.nanopool.driver.PeekableSocket.Peek;
import dev.nanopool.testkit.Await;
import java.io.EOFException;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.StandardSocketOptions;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import jdk.net.ExtendedSocketOptions;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class PeekableSocketTest {
    private PeekableSocket socket;
    private Socket server;

    @BeforeEach
    void connect() throws IOException {
        try (var listener = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            socket = new PeekableSocket(() -> Long.MAX_VALUE);
            socket.connect(listener.getLocalSocketAddress(), 1_000);
            server = listener.accept();
        }
    }

    @AfterEach
    void close() throws IOException {
        socket.close();
        server.close();
    }

    private void await(Peek expected) throws Exception {
        Await.until("it looks " + expected, () -> socket.peek() == expected);
    }

    @Test
    void silentConnectionMustLookQuiet() {
        assertThat(socket.peek()).isEqualTo(Peek.QUIET);
        assertThat(socket.peek()).isEqualTo(Peek.QUIET);
    }

    // The protocol's messages by their first byte, and TLS's records.
    @ParameterizedTest
    @CsvSource({"A, DATA", "S, DATA", "N, DATA", "E, GONE"})
    void peekMustReportTheMessageOfTheServer(char type, Peek expected) throws Exception {
        server.getOutputStream().write(type);
        await(expected);
    }

    @Test
    void tlsAlertMustLookGoneAndATlsRecordUnclear() throws Exception {
        server.getOutputStream().write(0x17);
        await(Peek.DATA);
        assertThat(socket.getInputStream().read()).isEqualTo(0x17);
        server.getOutputStream().write(0x15);
        await(Peek.GONE);
    }

    // A byte that was looked at is not lost, whichever way it is read.
    @Test
    void peekMustLoseNothing() throws Exception {
        var in = socket.getInputStream();
        byte[] read = new byte[6];
        for (int way = 0; way < 3; way++) {
            server.getOutputStream().write("Answer".getBytes(StandardCharsets.US_ASCII));
            await(Peek.DATA);
            Await.until("all have come", () -> in.available() == 6);
            if (way == 0) {
                for (int i = 0; i < 6; i++) read[i] = (byte) in.read();
            } else if (way == 1) {
                assertThat(in.readNBytes(read, 0, 6)).isEqualTo(6);
            } else {
                read = in.readNBytes(6);
            }
            assertThat(new String(read, StandardCharsets.US_ASCII)).isEqualTo("Answer");
            assertThat(socket.peek()).isEqualTo(Peek.QUIET);
        }
    }

    // A connection that is idle for long holds no selector and no buffer, and loses nothing.
    @Test
    void socketAtRestMustHoldNoSelectorAndLoseNothing() throws Exception {
        var in = socket.getInputStream();
        for (int round = 0; round < 3; round++) {
            socket.getOutputStream().write('?');
            assertThat(server.getInputStream().read()).isEqualTo('?');
            server.getOutputStream().write("Answer".getBytes(StandardCharsets.US_ASCII));
            assertThat(in.read()).isEqualTo('A'); // it may have waited in a selector
            socket.rest();
            assertThat(new String(in.readNBytes(5), StandardCharsets.US_ASCII)).isEqualTo("nswer");
            assertThat(socket.peek()).isEqualTo(Peek.QUIET);
            socket.rest();
            assertThat(TestAccess.holdsSelector(socket)).isFalse();
            assertThat(socket.peek()).isEqualTo(Peek.QUIET);
            server.getOutputStream().write('A');
            await(Peek.DATA);
            socket.rest();
            assertThat(in.read()).isEqualTo('A');
        }
    }

    // A thread whose lease has ended may still read.
    @Test
    void restMustNotDisturbAReader() throws Exception {
        var first = new AtomicReference<Object>();
        Thread reader = Thread.ofPlatform().start(() -> {
            try {
                first.set(socket.getInputStream().read());
            } catch (IOException e) {
                first.set(e);
            }
        });
        await(Peek.IN_USE);
        socket.rest();
        server.getOutputStream().write('A');
        reader.join();
        assertThat(first.get()).isEqualTo((int) 'A');
    }

    @Test
    void endOfTheStreamMustLookGone() throws Exception {
        server.close();
        await(Peek.GONE);
    }

    // A loop that skips a number of bytes ends there.
    @Test
    void endOfTheStreamMustEndASkip() throws Exception {
        server.getOutputStream().write("Answer".getBytes(StandardCharsets.US_ASCII));
        await(Peek.DATA);
        server.close();
        var in = socket.getInputStream();
        long skipped = 0;
        while (skipped < 6) skipped += in.skip(100);
        assertThat(skipped).isEqualTo(6);
        assertThat(in.skip(0)).isZero();
        assertThatThrownBy(() -> in.skip(1)).isInstanceOf(EOFException.class);
    }

    @Test
    void resetMustLookGone() throws Exception {
        server.setSoLinger(true, 0);
        server.close();
        await(Peek.GONE);
    }

    @Test
    void closedSocketMustLookGone() throws IOException {
        socket.close();
        assertThat(socket.peek()).isEqualTo(Peek.GONE);
        assertThat(socket.isClosed()).isTrue();
    }

    // The pool cuts a connection from another thread, so a reading thread must end at once.
    @Test
    void closeMustEndARead() throws Exception {
        var reading = new CountDownLatch(1);
        var failure = new AtomicReference<Throwable>();
        Thread reader = Thread.ofVirtual().start(() -> {
            reading.countDown();
            assertThatThrownBy(() -> socket.getInputStream().read())
                    .isInstanceOf(IOException.class)
                    .satisfies(failure::set);
        });
        assertThat(reading.await(10, TimeUnit.SECONDS)).isTrue();
        Await.until("it reads", () -> reader.getState() == Thread.State.WAITING);
        socket.close();
        assertThat(reader.join(Duration.ofSeconds(10))).isTrue();
        assertThat(failure.get()).isNotNull();
    }

    // A silent peer is probed after half a minute, where the system can be told so.
    @Test
    void keepaliveMustBeTunedWhereTheSystemAllowsIt() throws IOException {
        socket.setKeepAlive(true);
        assertThat(socket.getOption(StandardSocketOptions.SO_KEEPALIVE)).isTrue();
        if (socket.supportedOptions().contains(ExtendedSocketOptions.TCP_KEEPIDLE)) {
            assertThat(socket.getOption(ExtendedSocketOptions.TCP_KEEPIDLE)).isEqualTo(30);
            assertThat(socket.getOption(ExtendedSocketOptions.TCP_KEEPINTERVAL)).isEqualTo(10);
            assertThat(socket.getOption(ExtendedSocketOptions.TCP_KEEPCOUNT)).isEqualTo(3);
        }
    }
}
