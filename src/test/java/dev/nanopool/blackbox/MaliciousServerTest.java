package dev.nanopool.blackbox;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;

import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import dev.nanopool.TlsMode;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.Canary;
import dev.nanopool.testkit.Certificates;
import dev.nanopool.testkit.FakeServer;
import dev.nanopool.testkit.FakeServer.Client;
import dev.nanopool.testkit.FakeServer.Script;
import dev.nanopool.testkit.Stopwatch;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.util.Base64;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.logging.Handler;
import java.util.logging.Level;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import java.util.logging.SimpleFormatter;
import javax.net.ssl.SSLContext;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.postgresql.PGProperty;

/** A server that means harm, or a machine between it and the pool. Deadlines hold, and the password stays here. */
@Tag("slow")
@Timeout(120)
class MaliciousServerTest {
    private static final String PASSWORD = "open-sesame";
    private static final Duration TIMEOUT = Duration.ofSeconds(1);
    private static final Duration LATE = Duration.ofSeconds(3); // for all that comes after the deadline
    private static final Duration LONG = Duration.ofSeconds(30); // for attempts that must end before their deadline

    // What servers ask for, in pg_hba's words password, md5 and scram-sha-256.
    private static final int CLEARTEXT = 3;
    private static final int MD5 = 5;
    private static final int SASL = 10;
    private static final int SASL_CONTINUE = 11;
    private static final int SASL_FINAL = 12;
    private static final String SCRAM = "SCRAM-SHA-256\0\0";

    @TempDir
    static Path directory = Path.of("");

    private static Path root = Path.of("");
    private static SSLContext tls = context();

    private final List<String> log = new CopyOnWriteArrayList<>();
    private final Logger logger = Logger.getLogger("dev.nanopool");
    private final Handler handler = new Handler() {
        @Override
        public void publish(LogRecord line) {
            log.add(new SimpleFormatter().format(line));
        }

        @Override
        public void flush() {}

        @Override
        public void close() {}
    };

    @BeforeAll
    static void certify() throws Exception {
        var certificates = new Certificates(directory);
        certificates.signServer("server");
        root = certificates.root();
        tls = certificates.context("server");
        // The driver's first login loads its classes, which is not what this test times.
        try (var server = plain(client -> {
                    client.welcome();
                    client.answerAll();
                });
                Pool pool = Pool.create(config(server, TlsMode.DISABLE).build())) {
            pool.client().close();
        }
    }

    private static SSLContext context() {
        try {
            return SSLContext.getDefault();
        } catch (java.security.NoSuchAlgorithmException e) {
            throw new AssertionError(e);
        }
    }

    @BeforeEach
    void listen() {
        logger.setLevel(Level.ALL);
        logger.setUseParentHandlers(false);
        logger.addHandler(handler);
    }

    @AfterEach
    void nothingLoggedMustHaveThePassword() {
        logger.removeHandler(handler);
        logger.setUseParentHandlers(true);
        logger.setLevel(null);
        assertThat(log).noneMatch(line -> line.contains(PASSWORD));
    }

    private static PoolConfig.Builder config(FakeServer server, TlsMode mode) {
        var config = PoolConfig.builder("postgresql://app:" + PASSWORD + "@localhost:" + server.port() + "/db")
                .size(1)
                .tls(mode)
                .connectTimeout(LONG);
        return mode == TlsMode.VERIFY_IDENTITY ? config.driverProperty("sslrootcert", root.toString()) : config;
    }

    /** Opening a pool must fail in time, leave no socket, and send the password to no peer. */
    private static void mustBeRefused(PoolConfig.Builder config, FakeServer server, String sign) throws Exception {
        mustBeRefused(config, LONG, server, sign);
    }

    /** The same, by the deadline. */
    private static void mustEndInTime(PoolConfig.Builder config, FakeServer server, String sign) throws Exception {
        mustBeRefused(config.connectTimeout(TIMEOUT), TIMEOUT.plus(LATE), server, sign);
    }

    private static void mustBeRefused(PoolConfig.Builder config, Duration within, FakeServer server, String sign)
            throws Exception {
        Throwable thrown;
        try (var stopwatch = Stopwatch.start()) {
            thrown = catchThrowable(() -> Pool.create(config.build()).close());
            assertThat(stopwatch.elapsed()).isLessThan(stopwatch.allowing(within));
        }
        assertThat(thrown).isInstanceOf(SQLException.class);
        var trace = new StringWriter();
        thrown.printStackTrace(new PrintWriter(trace));
        assertThat(trace.toString()).doesNotContain(PASSWORD).contains(sign);
        Await.until("the sockets are closed", () -> server.connected() == 0);
        assertThat(server.failures()).isEmpty();
    }

    private static FakeServer plain(Script script) throws IOException {
        return new FakeServer(client -> {
            client.readStartup();
            script.run(client);
        });
    }

    /** Accepts TLS with a certificate that is good for localhost. */
    private static FakeServer encrypted(Script script) throws IOException {
        return new FakeServer(client -> {
            assertThat(client.readStartup()).isTrue();
            client.write('S');
            client.startTls(tls);
            client.readStartup();
            script.run(client);
        });
    }

    // Deadlines

    /** Ways never to come to an end. */
    @SuppressWarnings("ImmutableEnumChecker") // a lambda
    enum Endless {
        /** Says nothing. */
        SILENCE("connectTimeout", Client::readAll),
        /** Asks for the password again and again. */
        AUTHENTICATION("connectTimeout", client -> {
            while (true) {
                client.authenticate(MD5, "salt");
                client.read();
            }
        }),
        /** Changes parameters for ever. */
        PARAMETERS("", client -> {
            client.authenticate(0, "");
            while (true) client.send('S', "TimeZone\0UTC\0");
        }),
        /** Warns for ever. */
        NOTICES("", client -> {
            client.authenticate(0, "");
            while (true) client.send('N', "SWARNING\0VWARNING\0C01000\0Mhold on\0\0");
        }),
        /** One byte of an error at a time. */
        DRIP("connectTimeout", client -> {
            client.write('E', 0, 0, 0x70, 0, 'S');
            while (true) {
                client.write('x');
                LockSupport.parkNanos(TimeUnit.MILLISECONDS.toNanos(50));
            }
        }),
        /** A text that has no end. */
        TEXT("", client -> {
            client.authenticate(0, "");
            client.send('S', 1000, "TimeZone\0");
            while (true) client.write("x".repeat(8192).chars().toArray());
        });

        private final String sign; // in the message, where it is the pool that ends it
        private final Script script;

        Endless(String sign, Script script) {
            this.sign = sign;
            this.script = script;
        }
    }

    @ParameterizedTest
    @EnumSource
    void openingMustEndInTime(Endless endless) throws Exception {
        try (var server = plain(endless.script)) {
            mustEndInTime(config(server, TlsMode.DISABLE), server, endless.sign);
        }
    }

    @Test
    void openingMustEndInTimeWhenTheHandshakeDoesNot() throws Exception {
        try (var server = new FakeServer(client -> {
            client.readStartup();
            client.write('S');
            client.readAll();
        })) {
            mustEndInTime(config(server, TlsMode.REQUIRE), server, "");
        }
    }

    // To compute the proof for that many iterations would take hours.
    @Test
    void scramMustNotComputeForEver() throws Exception {
        try (var server = plain(client -> {
            client.authenticate(SASL, SCRAM);
            client.read();
            client.authenticate(SASL_CONTINUE, "r=" + nonce(client) + "x,s=c2FsdHNhbHQ=,i=2000000000");
            client.readAll();
        })) {
            mustBeRefused(config(server, TlsMode.DISABLE), server, "iterations");
        }
    }

    /** What the client has sent as its part. */
    private static String nonce(Client client) {
        String all = client.received();
        return all.substring(all.lastIndexOf("r=") + 2);
    }

    // Messages that are none

    /** Messages with which an attempt to log in cannot go on. */
    @SuppressWarnings("ImmutableEnumChecker") // a lambda
    enum Nonsense {
        HUGE_ERROR(client -> client.send('E', Integer.MAX_VALUE, "SFATAL\0")),
        NEGATIVE_ERROR(client -> client.send('E', -1, "SFATAL\0")),
        HUGE_REQUEST(client -> client.send('R', Integer.MAX_VALUE, "\0\0\0\12SCRAM-SHA-256\0\0")),
        UNKNOWN_REQUEST(client -> client.authenticate(99, "")),
        UNKNOWN_MESSAGE(client -> client.send('!', "what")),
        HTTP(client -> client.write("HTTP/1.1 400 Bad Request\r\n\r\n".chars().toArray())),
        SHORT_KEY(client -> {
            client.authenticate(0, "");
            client.send('K', "\0");
            client.send('Z', "I");
        });

        private final Script script;

        Nonsense(Script script) {
            this.script = script;
        }
    }

    @ParameterizedTest
    @EnumSource
    void openingMustFailOnNonsense(Nonsense nonsense) throws Exception {
        try (var server = plain(nonsense.script)) {
            mustBeRefused(config(server, TlsMode.DISABLE), server, "");
        }
    }

    /** Answers to a statement after which nothing is known of the connection. */
    @SuppressWarnings("ImmutableEnumChecker") // a lambda
    enum Answer {
        READY_TOO_LONG(client -> client.send('Z', 9, "IIIII")),
        READY_IN_NO_STATE(client -> client.send('Z', "?")),
        // More than the heap of the tests, so the driver skips it.
        HUGE_ROW(client -> {
            client.send('1', "");
            client.send('2', "");
            client.send('T', "\0\1c\0\0\0\0\0\0\0\0\0\0\31\377\377\377\377\377\377\0\0");
            client.send('D', Integer.MAX_VALUE, "\0\1\177\377\377\360x");
        }),
        NEGATIVE_ROW(client -> {
            client.send('1', "");
            client.send('2', "");
            client.send('T', "\0\1c\0\0\0\0\0\0\0\0\0\0\31\377\377\377\377\377\377\0\0");
            client.send('D', 14, "\0\1\200\0\0\0x");
        }),
        ROW_WITHOUT_FIELDS(client -> client.send('D', "\0\1\0\0\0\1x")),
        UNKNOWN_MESSAGE(client -> client.send('!', "what"));

        private final Script script;

        Answer(Script script) {
            this.script = script;
        }
    }

    // The caller gets an exception, and the next one another connection.
    @ParameterizedTest
    @EnumSource
    void connectionMustNotBeLentAfterNonsense(Answer answer) throws Exception {
        try (var server = plain(client -> {
                    client.welcome();
                    client.readStatement();
                    if (client.number() == 1) {
                        answer.script.run(client);
                        return; // the end of the connection, for which it must not wait
                    }
                    client.answer();
                    client.answerAll();
                });
                Pool pool = Pool.create(config(server, TlsMode.DISABLE).build())) {
            try (Connection client = pool.client();
                    Statement statement = client.createStatement()) {
                // Where the driver trips over a length of its own accord, what it throws passes unchanged.
                assertThat(catchThrowable(() -> statement.execute("SET x = 1")))
                        .isInstanceOfAny(SQLException.class, NegativeArraySizeException.class);
            }
            try (Connection client = pool.client();
                    Statement statement = client.createStatement()) {
                assertThat(statement.execute("SET x = 1")).isFalse();
            }
            // A statement that was left unfinished is cancelled, through a socket of its own.
            assertThat(server.clients()).isBetween(2, 3);
            assertThat(server.failures()).isEmpty();
        }
    }

    // Secrets

    // A machine in between says that the server has no TLS. The client has sent nothing but the question.
    @ParameterizedTest
    @EnumSource(
            value = TlsMode.class,
            names = {"REQUIRE", "VERIFY_CA", "VERIFY_IDENTITY"})
    void strippedTlsMustBeRefused(TlsMode mode) throws Exception {
        try (var server = new FakeServer(client -> {
            client.readStartup();
            client.write('N');
            client.readAll();
        })) {
            mustBeRefused(config(server, mode), server, "SSL");
            assertThat(server.received()).hasSize(8);
        }
    }

    // The same with an error in place of the answer, after which old servers are asked again without TLS.
    @Test
    void errorInsteadOfTlsMustBeRefused() throws Exception {
        try (var server = new FakeServer(client -> {
            client.readStartup();
            client.send('E', "SERROR\0C08P01\0Mno\0\0");
            client.readAll();
        })) {
            mustBeRefused(config(server, TlsMode.REQUIRE), server, "");
            assertThat(server.received()).hasSize(8);
        }
    }

    // PREFER goes on without TLS, as it says; requireAuth keeps the password even so.
    @ParameterizedTest
    @ValueSource(ints = {CLEARTEXT, MD5, 0})
    void preferMustNotShowThePasswordWhereScramIsRequired(int kind) throws Exception {
        try (var server = new FakeServer(client -> {
            assertThat(client.readStartup()).isTrue();
            client.write('N');
            client.readStartup();
            client.authenticate(kind, kind == MD5 ? "salt" : "");
            client.readAll();
        })) {
            mustBeRefused(
                    config(server, TlsMode.PREFER).driverProperty("requireAuth", "scram-sha-256"),
                    server,
                    "requireAuth");
            assertThat(server.received())
                    .contains("app")
                    .doesNotContain(PASSWORD)
                    .doesNotContain("md5");
        }
    }

    // What comes in plain text behind the yes to TLS is not taken for something encrypted.
    @Test
    void textBeforeTheHandshakeMustBeRefused() throws Exception {
        try (var server = new FakeServer(client -> {
            client.readStartup();
            client.write('S', 'R', 0, 0, 0, 8, 0, 0, 0, CLEARTEXT);
            client.readAll();
        })) {
            mustBeRefused(config(server, TlsMode.REQUIRE), server, "");
            assertThat(server.received()).doesNotContain(PASSWORD);
        }
    }

    // The certificate is good, but the server asks for the password itself, or lets every client in.
    @ParameterizedTest
    @ValueSource(ints = {CLEARTEXT, MD5, 0})
    void passwordMustNotBeShownToAServerWithAValidCertificate(int kind) throws Exception {
        try (var server = encrypted(client -> {
            client.authenticate(kind, kind == MD5 ? "salt" : "");
            client.readAll();
        })) {
            mustBeRefused(
                    config(server, TlsMode.VERIFY_IDENTITY).driverProperty("requireAuth", "scram-sha-256"),
                    server,
                    "requireAuth");
            assertThat(server.received())
                    .contains("app")
                    .doesNotContain(PASSWORD)
                    .doesNotContain("md5");
        }
    }

    // With SCRAM the server, too, must prove that it knows the password.
    @Test
    void serverThatDoesNotKnowThePasswordMustBeRefused() throws Exception {
        try (var server = encrypted(client -> {
            client.authenticate(SASL, SCRAM);
            client.read();
            client.authenticate(SASL_CONTINUE, "r=" + nonce(client) + "x,s=c2FsdHNhbHQ=,i=4096");
            client.read();
            client.authenticate(SASL_FINAL, "v=" + Base64.getEncoder().encodeToString(new byte[32]));
            client.welcome();
            client.readAll();
        })) {
            mustBeRefused(config(server, TlsMode.VERIFY_IDENTITY), server, "");
            assertThat(server.received()).contains("p=").doesNotContain(PASSWORD);
        }
    }

    // Without requireAuth the driver does as it is asked. That this is so is what makes the tests above mean something.
    @Test
    void passwordMustBeSentToAServerThatAsksForItWhenNothingIsRequired() throws Exception {
        try (var server = plain(client -> {
                    client.authenticate(CLEARTEXT, "");
                    client.read();
                    client.welcome();
                    client.answerAll();
                });
                Pool pool = Pool.create(config(server, TlsMode.DISABLE).build())) {
            assertThat(server.received()).contains(PASSWORD);
            assertThat(pool.toString()).doesNotContain(PASSWORD);
        }
    }

    // The driver loads no class that a URL names. The test leaves out no property of the driver.
    @Test
    void classNamedInAUrlMustNeverBeLoaded() throws Exception {
        try (var server = new FakeServer(client -> {
            if (client.readStartup()) {
                client.write('S');
                client.startTls(tls);
                client.readStartup();
            }
            client.authenticate(CLEARTEXT, "");
            client.read();
            client.welcome();
            client.answerAll();
        })) {
            int refused = 0;
            for (PGProperty property : PGProperty.values()) {
                String url = "postgresql://app:" + PASSWORD + "@localhost:" + server.port() + "/db?"
                        + property.getName() + "=" + Canary.NAME;
                try (Pool pool = Pool.create(
                        PoolConfig.builder(url).size(1).connectTimeout(TIMEOUT).build())) {
                    pool.client().close();
                } catch (IllegalArgumentException | SQLException e) {
                    refused++;
                }
                assertThat(System.getProperty(Canary.SIGN))
                        .as(property.getName())
                        .isNull();
            }
            assertThat(refused).isBetween(1, PGProperty.values().length - 1);
        }
    }
}
