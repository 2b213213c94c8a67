package dev.nanopool.boot;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.zonky.test.db.postgres.embedded.EmbeddedPostgres;
import java.lang.reflect.Proxy;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.locks.LockSupport;
import javax.sql.DataSource;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.SpringBootVersion;
import org.springframework.boot.test.system.CapturedOutput;
import org.springframework.boot.test.system.OutputCaptureExtension;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.context.support.GenericApplicationContext;
import org.springframework.transaction.annotation.Propagation;

/** The application over HTTP, with the version of Spring Boot that the build names. */
@Timeout(120)
@ExtendWith(OutputCaptureExtension.class)
class ApplicationTest {
    private static EmbeddedPostgres server;
    private static ConfigurableApplicationContext application;
    private static HttpClient http;

    @BeforeAll
    static void start() throws Exception {
        assertThat(SpringBootVersion.getVersion()).isEqualTo(System.getProperty("spring-boot.version"));
        server = EmbeddedPostgres.start();
        application = run(server);
        http = HttpClient.newHttpClient();
    }

    @AfterAll
    static void stop() throws Exception {
        application.close();
        http.close();
        server.close();
    }

    private static ConfigurableApplicationContext run(EmbeddedPostgres server, String... more) {
        var arguments = new ArrayList<>(List.of(more));
        arguments.add("--spring.datasource.url=" + server.getJdbcUrl("postgres", "postgres"));
        return new SpringApplication(Application.class).run(arguments.toArray(String[]::new));
    }

    private static CompletableFuture<HttpResponse<String>> send(ConfigurableApplicationContext to, String path) {
        String port = to.getEnvironment().getProperty("local.server.port");
        var request = HttpRequest.newBuilder(URI.create("http://localhost:" + port + path));
        return http.sendAsync(request.build(), BodyHandlers.ofString());
    }

    private static String get(String path) {
        return send(application, path).join().body();
    }

    private static void awaitBody(ConfigurableApplicationContext from, String path, String part) {
        while (!send(from, path).join().body().contains(part)) LockSupport.parkNanos(20_000_000);
    }

    // Size, timeout and SQL come from YAML alone; Spring Boot publishes the one, and this library the other metrics.
    @ParameterizedTest
    @CsvSource({
        "jdbc.connections.max, 4.0",
        "jdbc.connections.min, 3.0",
        "db.client.connection.limit, 4.0",
        "db.client.connection.idle.min, 3.0",
        "hikaricp.connections.max, 4.0"
    })
    void metricsMustShowTheSettings(String name, String value) {
        assertThat(get("/actuator/metrics/" + name)).contains("\"value\":" + value);
    }

    @Test
    void sessionsMustBeSetUp() {
        assertThat(get("/show?parameter=lock_timeout")).isEqualTo("7s");
        assertThat(get("/show?parameter=application_name")).isEqualTo("orders");
    }

    @Test
    void requestsMustRunOnVirtualThreads() {
        assertThat(get("/sleep?seconds=0")).isEqualTo("virtual");
    }

    // All connections are leased, a caller waits, and the health page answers at once.
    @Test
    void healthMustBeUpWhenThePoolIsExhausted() {
        List<CompletableFuture<HttpResponse<String>>> requests = new ArrayList<>();
        for (int i = 0; i < 5; i++) requests.add(send(application, "/sleep?seconds=3"));
        awaitBody(application, "/actuator/health", "\"pending\":1");
        HttpResponse<String> health = send(application, "/actuator/health").join();
        assertThat(requests).as("all are still leased").noneMatch(CompletableFuture::isDone);
        assertThat(health.statusCode()).isEqualTo(200);
        assertThat(health.body())
                .contains("\"pool\":\"orders\"", "\"active\":4")
                .doesNotContain("DOWN");
        requests.forEach(request -> assertThat(request.join().statusCode()).isEqualTo(200));
        awaitBody(application, "/actuator/health", "\"active\":0");
    }

    @Test
    void healthMustBeDownInAnOutage(CapturedOutput output) throws Exception {
        EmbeddedPostgres other = EmbeddedPostgres.start();
        try (ConfigurableApplicationContext own = run(other)) {
            assertThat(output).contains("takes over from spring.datasource.hikari: keepalive-time, minimum-idle");
            awaitBody(own, "/actuator/health", "\"state\":\"UP\"");
            other.close();
            awaitBody(own, "/actuator/health", "\"state\":\"DOWN\"");
            HttpResponse<String> health = send(own, "/actuator/health").join();
            assertThat(health.statusCode()).isEqualTo(503);
            assertThat(health.body()).contains("0 of 4 connections are open");
        }
    }

    // Requests that run or wait when the application ends get their work done. Tomcat may close a socket before it has
    // sent the
    // answer, so the application counts them.
    @Test
    void endMustLetRequestsFinish() throws Exception {
        ConfigurableApplicationContext own = run(server);
        List<CompletableFuture<HttpResponse<String>>> requests = new ArrayList<>();
        for (int i = 0; i < 12; i++) requests.add(send(own, "/sleep?seconds=0.5"));
        awaitBody(own, "/actuator/health", "\"pending\":8");
        Application counting = own.getBean(Application.class);
        own.close();
        assertThat(counting.slept).hasValue(12);
    }

    @ParameterizedTest
    @CsvSource({
        "REQUIRED, same, other",
        "SUPPORTS, same, other",
        "MANDATORY, same, refused",
        "REQUIRES_NEW, other, other",
        "NOT_SUPPORTED, other, other",
        "NEVER, refused, other",
        "NESTED, same, other"
    })
    void propagationMustBeRight(Propagation propagation, String within, String without) {
        String path = "/transaction?propagation=" + propagation + "&within=";
        assertThat(get(path + true)).isEqualTo(within);
        assertThat(get(path + false)).isEqualTo(without);
    }

    // The messages after a mistake in the configuration.
    @ParameterizedTest
    @CsvSource({
        "spring.datasource.nanopool.maximum-pool-siz=3, did you mean maximumPoolSize?",
        "spring.datasource.nanopool.username=missing, Correct spring.datasource.username",
    })
    void mistakeMustBeExplained(String argument, String message, CapturedOutput output) {
        assertThatThrownBy(() -> run(server, "--" + argument)).isInstanceOf(Exception.class);
        assertThat(output)
                .contains("APPLICATION FAILED TO START", message, "Action:")
                .doesNotContain("\tat ");
    }

    // What @ServiceConnection and Docker Compose contribute.
    @Test
    void connectionDetailsMustWin() throws Exception {
        boolean isBoot3 = SpringBootVersion.getVersion().startsWith("3");
        Class<?> type = Class.forName("org.springframework.boot."
                + (isBoot3 ? "autoconfigure.jdbc" : "jdbc.autoconfigure") + ".JdbcConnectionDetails");
        Object details = Proxy.newProxyInstance(
                getClass().getClassLoader(), new Class<?>[] {type}, (self, method, all) -> switch (method.getName()) {
                    case "getJdbcUrl" -> server.getJdbcUrl("postgres", "postgres");
                    case "getUsername", "getPassword" -> "postgres";
                    case "getDriverClassName" -> "org.postgresql.Driver";
                    case "hashCode" -> 1;
                    case "toString" -> "details";
                    default -> null;
                });
        var application = new SpringApplication(Application.class);
        application.addInitializers(context -> register((GenericApplicationContext) context, type, details));
        try (var own = application.run("--spring.datasource.url=jdbc:postgresql://localhost:1/nowhere");
                var client = own.getBean(DataSource.class).getConnection()) {
            assertThat(client.isValid(1)).isTrue();
        }
    }

    @SuppressWarnings("unchecked")
    private static <T> void register(GenericApplicationContext context, Class<T> type, Object bean) {
        context.registerBean("details", type, () -> (T) bean);
    }
}
