package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowableOfType;
import static org.junit.jupiter.params.provider.Arguments.arguments;

import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import dev.nanopool.TlsMode;
import dev.nanopool.testkit.Certificates;
import dev.nanopool.testkit.EmbeddedServer;
import dev.nanopool.testkit.TestServer;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.io.UncheckedIOException;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.cert.CertPathBuilderException;
import java.security.cert.CertificateExpiredException;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

@Tag("server")
class TlsTest {
    /** With all that a URL must escape in it. */
    private static final String PASSWORD = "s3c:r/e?t@%+";

    /** The result of each mode in each situation. The Javadoc of TlsMode shows the same table. */
    private static final String TABLE = """
                            | right CA | wrong CA  | wrong name | expired | server without TLS | server wants TLS
            DISABLE         | plain    | plain     | plain      | plain   | plain              | wanted
            PREFER          | TLS      | TLS       | TLS        | TLS     | plain              | TLS
            REQUIRE         | TLS      | TLS       | TLS        | TLS     | missing            | TLS
            VERIFY_CA       | TLS      | untrusted | TLS        | expired | missing            | TLS
            VERIFY_IDENTITY | TLS      | untrusted | misnamed   | expired | missing            | TLS
            """;

    /**
     * What the table's words mean, which is either how the connection is encrypted, or SQLState and cause of the
     * exception.
     */
    enum Outcome {
        plain(null, null),
        TLS(null, null),
        wanted("28000", null),
        missing("08004", null),
        untrusted("08006", CertPathBuilderException.class),
        expired("08006", CertificateExpiredException.class),
        misnamed("08006", null);

        final @Nullable String sqlState;
        final @Nullable Class<? extends Exception> cause;

        Outcome(@Nullable String sqlState, @Nullable Class<? extends Exception> cause) {
            this.sqlState = sqlState;
            this.cause = cause;
        }
    }

    @TempDir
    static Path directory = Path.of("");

    private static Path root = Path.of("");
    private static Path otherRoot = Path.of("");
    private static Path pem = Path.of("");
    private static Path pemKey = Path.of("");
    private static Path pkcs12 = Path.of("");
    private static List<EmbeddedServer> servers = List.of();
    private static int valid;
    private static int expired;
    private static int withoutTls;

    @BeforeAll
    static void start() throws IOException {
        Path ours = Files.createDirectory(directory.resolve("ours"));
        Path others = Files.createDirectory(directory.resolve("others"));
        var plain = CompletableFuture.supplyAsync(() -> server(null, ""));
        var other = CompletableFuture.supplyAsync(() -> new Certificates(others).root());
        Certificates certificates = new Certificates(ours);
        certificates.signServer("valid");
        var good = CompletableFuture.supplyAsync(() -> server(certificates, "valid"));
        certificates.signExpiredServer("expired");
        certificates.signClient("by_certificate");
        EmbeddedServer late = server(certificates, "expired");
        root = certificates.root();
        pem = certificates.clientCertificate("by_certificate");
        pemKey = certificates.clientKey("by_certificate");
        pkcs12 = certificates.clientPkcs12("by_certificate");
        otherRoot = other.join();
        servers = List.of(plain.join(), good.join(), late);
        withoutTls = servers.get(0).port();
        valid = servers.get(1).port();
        expired = servers.get(2).port();
    }

    private static EmbeddedServer server(@Nullable Certificates certificates, String alias) {
        EmbeddedServer server = EmbeddedServer.start(builder -> {
            builder.setDataDirectoryCustomizer(data -> prepare(data.toPath(), certificates, alias));
            return certificates == null
                    ? builder
                    : builder.setServerConfig("ssl", "on").setServerConfig("ssl_ca_file", "root.crt");
        });
        try (Connection direct = server.direct()) {
            for (String role : List.of("app", "wants_tls", "by_certificate")) {
                TestServer.execute(direct, "CREATE ROLE " + role + " LOGIN PASSWORD '" + PASSWORD + "'");
            }
            return server;
        } catch (SQLException e) {
            throw new IllegalStateException(e);
        }
    }

    private static void prepare(Path data, @Nullable Certificates certificates, String alias) {
        try {
            // A server without TLS does not start with certificates in this file.
            String ofTls = certificates == null ? "" : "hostssl all by_certificate samehost cert\n";
            Files.writeString(data.resolve("pg_hba.conf"), ofTls + """
                    host    all nanopool  samehost trust
                    host    all app       samehost scram-sha-256
                    hostssl all wants_tls samehost scram-sha-256
                    """);
            if (certificates != null) certificates.install(alias, data);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @AfterAll
    static void stop() throws IOException {
        for (EmbeddedServer server : servers) server.close();
    }

    private static String url(String user, String host, int port, String parameters) {
        return "postgresql://" + user + ":" + encoded(PASSWORD) + "@" + host + ":" + port + "/"
                + EmbeddedServer.DATABASE + "?" + parameters;
    }

    private static String encoded(Object text) {
        return URLEncoder.encode(text.toString(), StandardCharsets.UTF_8).replace("+", "%20");
    }

    /** Opens a pool and asks the server how the connection is encrypted: {@code plain}, or the protocol's version. */
    private static String connect(String url, TlsMode tls) throws SQLException {
        PoolConfig config = PoolConfig.builder(url).tls(tls).size(1).build();
        assertThat(config.toString()).doesNotContain(PASSWORD, encoded(PASSWORD));
        try (Pool pool = Pool.create(config);
                Connection client = pool.client()) {
            return TestServer.query(
                    client, "SELECT coalesce(version, 'plain') FROM pg_stat_ssl WHERE pid = pg_backend_pid()");
        }
    }

    /** An exception and its state; AssertJ would take a SQLException for an Iterable. */
    private record Refusal(@Nullable String sqlState, Throwable exception) {}

    private static Refusal refusal(String url, TlsMode tls) {
        SQLException refused = catchThrowableOfType(SQLException.class, () -> connect(url, tls));
        StringWriter trace = new StringWriter();
        refused.printStackTrace(new PrintWriter(trace)); // with all causes and suppressed ones
        assertThat(trace.toString()).doesNotContain(PASSWORD, encoded(PASSWORD));
        return new Refusal(refused.getSQLState(), refused);
    }

    static Stream<Arguments> table() {
        List<String[]> rows =
                TABLE.lines().map(line -> line.trim().split(" *\\| *")).toList();
        return rows.stream()
                .skip(1)
                .flatMap(row -> IntStream.range(1, row.length)
                        .mapToObj(i -> arguments(TlsMode.valueOf(row[0]), rows.get(0)[i], Outcome.valueOf(row[i]))));
    }

    // A mode checks exactly what it promises, and what it does not find as promised it refuses.
    @ParameterizedTest(name = "{0}, {1}: {2}")
    @MethodSource("table")
    void modeMustConnectOrRefuseAsTheTableSays(TlsMode tls, String situation, Outcome outcome) throws Exception {
        // Roots are refused beside a mode that would not look at them.
        String roots = tls.compareTo(TlsMode.VERIFY_CA) < 0
                ? ""
                : "sslrootcert=" + encoded(situation.equals("wrong CA") ? otherRoot : root);
        String url = url(
                situation.equals("server wants TLS") ? "wants_tls" : "app",
                situation.equals("wrong name") ? "127.0.0.1" : "localhost",
                switch (situation) {
                    case "server without TLS" -> withoutTls;
                    case "expired" -> expired;
                    default -> valid;
                },
                roots);
        if (outcome == Outcome.plain) {
            assertThat(connect(url, tls)).isEqualTo("plain");
        } else if (outcome == Outcome.TLS) {
            assertThat(connect(url, tls)).startsWith("TLSv1.");
        } else {
            Refusal refused = refusal(url, tls);
            assertThat(refused.sqlState).as(refused.exception.toString()).isEqualTo(outcome.sqlState);
            if (outcome.cause != null) assertThat(refused.exception).hasRootCauseInstanceOf(outcome.cause);
            if (outcome == Outcome.misnamed) assertThat(refused.exception).hasMessageContaining("127.0.0.1");
        }
    }

    // A certificate of the client's logs in without a password, from either kind of file; without one the server
    // refuses.
    @Test
    void clientCertificateMustLogIn() throws Exception {
        String url = "postgresql://by_certificate@localhost:" + valid + "/" + EmbeddedServer.DATABASE + "?sslrootcert="
                + encoded(root);
        String key = "&sslkey=" + encoded(pemKey) + "&pemKeyAlgorithm=EC";
        for (String certificate : List.of(
                "&sslcert=" + encoded(pem) + key,
                "&sslkey=" + encoded(pkcs12) + "&sslpassword=" + Certificates.PASSWORD)) {
            assertThat(connect(url + certificate, TlsMode.VERIFY_IDENTITY)).startsWith("TLSv1.");
        }
        assertThat(refusal(url, TlsMode.VERIFY_IDENTITY).sqlState).isEqualTo("28000");
    }

    // The system's roots are the public authorities, which do not vouch for ours.
    @Test
    void systemRootsMustNotTrustAPrivateAuthority() {
        Refusal refused = refusal(url("app", "localhost", valid, "sslrootcert=system"), TlsMode.VERIFY_IDENTITY);
        assertThat(refused.sqlState).isEqualTo("08006");
        assertThat(refused.exception).hasRootCauseInstanceOf(CertPathBuilderException.class);
    }

    // TLS from the first byte (PostgreSQL 17 and newer) checks the same as TLS on request.
    @ParameterizedTest
    @EnumSource(names = {"REQUIRE", "VERIFY_CA", "VERIFY_IDENTITY"})
    void directNegotiationMustConnectAndCheck(TlsMode tls) throws Exception {
        String direct = "sslnegotiation=direct";
        String roots = tls == TlsMode.REQUIRE ? "" : "&sslrootcert=";
        String right = roots.isEmpty() ? "" : roots + encoded(root);
        assertThat(connect(url("app", "localhost", valid, direct + right), tls)).startsWith("TLSv1.");
        assertThat(refusal(url("app", "localhost", withoutTls, direct + right), tls).sqlState)
                .startsWith("08");
        if (!roots.isEmpty()) {
            assertThat(refusal(url("app", "localhost", valid, direct + roots + encoded(otherRoot)), tls).exception)
                    .hasRootCauseInstanceOf(CertPathBuilderException.class);
        }
    }

    // Channel binding proves that the server that ends TLS is the one that knows the password; it needs TLS.
    @Test
    void channelBindingMustNeedTls() throws Exception {
        String url = url("app", "localhost", valid, "channel_binding=require");
        assertThat(connect(url, TlsMode.REQUIRE)).startsWith("TLSv1.");
        assertThat(refusal(url, TlsMode.DISABLE).sqlState).isNotNull();
    }

    // The server refuses a wrong password, and no message repeats it.
    @ParameterizedTest
    @EnumSource
    void wrongPasswordMustNotBeRepeated(TlsMode tls) {
        String roots = tls.compareTo(TlsMode.VERIFY_CA) < 0 ? "" : "sslrootcert=" + encoded(root);
        String url = url("app", "localhost", valid, roots).replace("app:", "app:wr0ng");
        Refusal refused = refusal(url, tls);
        assertThat(refused.sqlState).isEqualTo("28P01");
        assertThat(refused.exception.toString()).doesNotContain("wr0ng");
    }
}
