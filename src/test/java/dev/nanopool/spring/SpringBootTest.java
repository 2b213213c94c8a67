package dev.nanopool.spring;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.nanopool.NanoDataSource;
import dev.nanopool.Pool;
import dev.nanopool.PoolExhaustedException;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.FaultProxy;
import dev.nanopool.testkit.Log;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.TestServer;
import io.micrometer.core.instrument.MeterRegistry;
import io.micrometer.core.instrument.binder.MeterBinder;
import io.micrometer.core.instrument.simple.SimpleMeterRegistry;
import java.net.URI;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Supplier;
import java.util.logging.Level;
import javax.sql.DataSource;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.springframework.aot.hint.RuntimeHints;
import org.springframework.aot.hint.predicate.RuntimeHintsPredicates;
import org.springframework.beans.factory.config.BeanFactoryPostProcessor;
import org.springframework.beans.factory.config.Scope;
import org.springframework.boot.autoconfigure.AutoConfigurations;
import org.springframework.boot.diagnostics.FailureAnalysis;
import org.springframework.boot.diagnostics.FailureAnalyzer;
import org.springframework.boot.health.contributor.CompositeHealthContributor;
import org.springframework.boot.health.contributor.Health;
import org.springframework.boot.health.contributor.HealthIndicator;
import org.springframework.boot.jdbc.autoconfigure.DataSourceAutoConfiguration;
import org.springframework.boot.jdbc.autoconfigure.JdbcConnectionDetails;
import org.springframework.boot.jdbc.autoconfigure.health.DataSourceHealthContributorAutoConfiguration;
import org.springframework.boot.jdbc.metadata.DataSourcePoolMetadata;
import org.springframework.boot.jdbc.metadata.DataSourcePoolMetadataProvider;
import org.springframework.boot.test.context.runner.ApplicationContextRunner;
import org.springframework.boot.test.util.TestPropertyValues;
import org.springframework.context.ApplicationContext;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.annotation.ScopedProxyMode;
import org.springframework.core.io.support.SpringFactoriesLoader;
import org.springframework.jdbc.core.JdbcTemplate;
import org.springframework.jdbc.datasource.DriverManagerDataSource;
import org.springframework.jdbc.support.JdbcTransactionManager;
import org.springframework.transaction.IllegalTransactionStateException;
import org.springframework.transaction.annotation.Propagation;
import org.springframework.transaction.support.TransactionTemplate;

/** Spring Boot makes the data source by its own auto-configuration, and this library's adds what Spring Boot does not know. */
class SpringBootTest extends PoolTestBase {
    private static final String OWN = "spring.datasource.nanopool.";
    private static final String HIKARI = "spring.datasource.hikari.";

    /** An application as a user writes it: a type, a URL and properties. */
    private static ApplicationContextRunner app(String url, String... properties) {
        return withoutDataSource()
                .withConfiguration(AutoConfigurations.of(DataSourceAutoConfiguration.class))
                .withPropertyValues("spring.datasource.url=" + TestServer.jdbc(url))
                .withPropertyValues("spring.datasource.type=" + NanoDataSource.class.getName())
                .withPropertyValues(properties);
    }

    private static ApplicationContextRunner withoutDataSource() {
        return new ApplicationContextRunner()
                .withConfiguration(AutoConfigurations.of(
                        DataSourceHealthContributorAutoConfiguration.class,
                        PoolAutoConfiguration.class,
                        Boot4HealthAutoConfiguration.class));
    }

    private static NanoDataSource bean(ApplicationContext context) {
        return (NanoDataSource) context.getBean(DataSource.class);
    }

    private static Pool pool(ApplicationContext context) throws SQLException {
        return context.getBean(DataSource.class).unwrap(Pool.class);
    }

    /** What a container of Testcontainers gives to Spring Boot, which is credentials, and a URL without them. */
    private static final class DetailsOfAContainer implements JdbcConnectionDetails {
        private final URI url = URI.create(TestServer.url());
        private final String[] user = Objects.requireNonNullElse(url.getUserInfo(), System.getProperty("user.name"))
                .split(":", 2);

        @Override
        public String getUsername() {
            return user[0];
        }

        @Override
        public String getPassword() {
            return user.length > 1 ? user[1] : "";
        }

        @Override
        public String getJdbcUrl() {
            String more = url.getRawQuery() == null ? "" : "&" + url.getRawQuery();
            return "jdbc:postgresql://%s:%d%s?loggerLevel=OFF%s"
                    .formatted(url.getHost(), url.getPort(), url.getRawPath(), more);
        }
    }

    // The URL of a container, with a parameter that the driver has retired, comes through Spring Boot's connection
    // details, and wins over spring.datasource.url.
    @Test
    void connectionDetailsOfAContainerMustWork() {
        app("postgresql://nobody@localhost:1/nowhere", OWN + "maximum-pool-size=2")
                .withBean(JdbcConnectionDetails.class, DetailsOfAContainer::new)
                .run(context -> {
                    assertThat(bean(context).getMaximumPoolSize()).isEqualTo(2);
                    try (Connection client = bean(context).getConnection()) {
                        assertThat(TestServer.query(client, "SELECT 1")).isEqualTo("1");
                    }
                });
    }

    // All kinds of values and of names. Spring Boot's own name of the data source names the pool.
    @Test
    void settingsMustComeFromProperties() {
        String name = name();
        app(
                        server(),
                        "spring.datasource.name=" + name,
                        OWN + "maximum-pool-size=3",
                        OWN + "minimumIdle=1",
                        OWN + "CONNECTION_TIMEOUT=1500ms",
                        OWN + "max-lifetime=PT20M",
                        OWN + "drain=2s",
                        OWN + "connection-init-sql=SET lock_timeout = '7s'",
                        OWN + "parameters.statement_timeout=8s",
                        OWN + "data-source-properties.prepareThreshold=3")
                .run(context -> {
                    assertThat(pool(context).stats().name()).isEqualTo(name);
                    assertThat(pool(context).stats().size()).isEqualTo(3);
                    assertThat(pool(context).stats().minIdle()).isEqualTo(1);
                    assertThat(bean(context).getConnectionTimeout()).isEqualTo(1_500);
                    assertThat(bean(context).getMaxLifetime()).isEqualTo(1_200_000);
                    assertThat(bean(context).getDrain()).isEqualTo(2_000);
                    try (Connection client = bean(context).getConnection()) {
                        assertThat(TestServer.query(client, "SHOW lock_timeout"))
                                .isEqualTo("7s");
                        assertThat(TestServer.query(client, "SHOW statement_timeout"))
                                .isEqualTo("8s");
                        assertThat(client.unwrap(org.postgresql.PGConnection.class)
                                        .getPrepareThreshold())
                                .isEqualTo(3);
                    }
                });
    }

    // An environment has no dashes. A name of the pool wins over that of the data source.
    @ParameterizedTest
    @CsvSource({"MAXIMUMPOOLSIZE, POOLNAME", "MAXIMUM_POOL_SIZE, POOL_NAME"})
    void settingsMustComeFromVariables(String size, String poolName) {
        String name = name();
        app(server(), "spring.datasource.name=other")
                .withInitializer(context -> TestPropertyValues.of("SPRING_DATASOURCE_NANOPOOL_" + size + "=2")
                        .and("SPRING_DATASOURCE_NANOPOOL_" + poolName + "=" + name)
                        .applyTo(context.getEnvironment(), TestPropertyValues.Type.SYSTEM_ENVIRONMENT))
                .run(context -> {
                    assertThat(pool(context).stats().size()).isEqualTo(2);
                    assertThat(pool(context).stats().name()).isEqualTo(name);
                });
    }

    // A team that changes the type alone keeps its sizes and timeouts, and reads which ones.
    @Test
    void hikarisSettingsMustBeTakenOver() {
        String[] hikari = {
            HIKARI + "maximum-pool-size=7",
            HIKARI + "minimum-idle=1",
            HIKARI + "connection-timeout=1234",
            HIKARI + "connection-test-query=SELECT 1",
            HIKARI + "my-own-idea=1",
            OWN + "connection-timeout=2s"
        };
        try (Log log = Log.of(Level.INFO)) {
            app(server(), hikari).run(context -> {
                assertThat(pool(context).stats().size()).isEqualTo(7);
                assertThat(pool(context).stats().minIdle()).isEqualTo(1);
                assertThat(bean(context).getConnectionTimeout()).isEqualTo(2_000);
            });
            assertThat(log.lines())
                    .containsOnlyOnce("nanopool takes over from spring.datasource.hikari:"
                            + " connection-test-query, connection-timeout, maximum-pool-size, minimum-idle")
                    .containsOnlyOnce("nanopool does not know, below spring.datasource.hikari: my-own-idea")
                    .anyMatch(line -> line.contains("have no meaning here: connection-test-query"));
        }
        try (Log log = Log.of(Level.INFO)) {
            app(server(), hikari)
                    .withPropertyValues(OWN + "take-over-hikari=false")
                    .run(context -> assertThat(pool(context).stats().size()).isEqualTo(10));
            assertThat(log.lines()).noneMatch(line -> line.contains("hikari"));
        }
    }

    /** What Spring Boot prints when the application does not start. */
    private static String analysis(ApplicationContextRunner app) {
        var found = new AtomicReference<FailureAnalysis>();
        app.run(context -> {
            Throwable failure = Objects.requireNonNull(context.getStartupFailure());
            // Some of Spring Boot's own want arguments, which does not matter here.
            var factories = SpringFactoriesLoader.forDefaultResourceLocation();
            for (FailureAnalyzer each : factories.load(FailureAnalyzer.class, (type, wanted, reason) -> {})) {
                if (each instanceof StartFailure.Analyzer) found.set(Objects.requireNonNull(each.analyze(failure)));
            }
        });
        FailureAnalysis analysis = Objects.requireNonNull(found.get());
        return analysis.getDescription() + " / " + analysis.getAction();
    }

    // A message has the property as the user wrote it, and where.
    @ParameterizedTest
    @CsvSource({
        "nanopool.maximum-pool-siz, 5, unknown; did you mean maximumPoolSize?",
        "nanopool.maximumPoolSize, 0, 0 is out of bounds; must be 1 to 10000",
        "nanopool.connection-timeout, soon, '\"soon\" is not a time'",
        "nanopool.minimum-idle, 20, 20 is out of bounds; must be 0 to 10",
        "hikari.idle-timeout, 500, 500 ms is out of bounds",
        "url, jdbc:postgresql://localhost:x/, ''",
    })
    void badPropertyMustBeNamed(String name, String value, String message) {
        assertThat(analysis(app(server(), "spring.datasource." + name + "=" + value)))
                .startsWith("spring.datasource." + name + ": " + message)
                .contains("\"spring.datasource." + name + "\" from property source \"test\"")
                .contains(" / Correct the property.");
    }

    // What the server says, and what to do about it.
    @Test
    void databaseThatIsDownMustBeExplained() throws Exception {
        FaultProxy proxy = proxy();
        proxy.refuse();
        assertThat(analysis(app(proxy.url(), OWN + "pool-name=orders")))
                .startsWith("The pool 'orders' cannot connect to its database: Connection to ")
                .contains(" refused", "(SQLState 08001) / Start the server, or correct host and port");
        app(proxy.url(), OWN + "lazy=true")
                .run(context -> assertThat(pool(context).stats().opened()).isZero());
        assertThat(analysis(app(server(), "spring.datasource.nanopool.username=missing-user")))
                .matches("(?s).*(28000|28P01).*Correct spring.datasource.username.*");
        assertThat(analysis(app(server().replaceFirst("/[^/]*$", "/missing_database"))))
                .contains("(SQLState 3D000) / Create the database");
        assertThat(analysis(app(server(), OWN + "connection-init-sql=SELECT wrong")))
                .contains("(SQLState 42703) / Look for the SQLState");
    }

    // Spring Boot publishes what the provider answers as jdbc.connections.*.
    @Test
    void metricsMustShowThePool() {
        String name = name();
        app(server(), OWN + "pool-name=" + name, OWN + "maximum-pool-size=3", OWN + "hikari-metrics=true")
                .withPropertyValues("spring.datasource.connection-fetch=lazy")
                .run(context -> {
                    DataSource dataSource = context.getBean(DataSource.class);
                    var provider = (DataSourcePoolMetadataProvider) context.getBean("nanopoolMetadata");
                    DataSourcePoolMetadata numbers =
                            Objects.requireNonNull(provider.getDataSourcePoolMetadata(dataSource));
                    assertThat(dataSource).isNotInstanceOf(NanoDataSource.class);
                    Await.until("all are open", () -> Objects.equals(numbers.getIdle(), 3));
                    MeterRegistry registry = new SimpleMeterRegistry();
                    context.getBean(MeterBinder.class).bindTo(registry);
                    try (Connection client = pool(context).client()) {
                        assertThat(client.isValid(1)).isTrue();
                        assertThat(numbers.getMax()).isEqualTo(3);
                        assertThat(numbers.getMin()).isEqualTo(3);
                        assertThat(numbers.getActive()).isEqualTo(1);
                        assertThat(numbers.getIdle()).isEqualTo(2);
                        assertThat(numbers.getUsage()).isBetween(0.3f, 0.4f);
                        assertThat(numbers.getDefaultAutoCommit()).isTrue();
                        assertThat(registry.get("db.client.connection.limit")
                                        .tag("db.client.connection.pool.name", name)
                                        .gauge()
                                        .value())
                                .isEqualTo(3);
                        assertThat(registry.get("hikaricp.connections.active")
                                        .gauge()
                                        .value())
                                .isEqualTo(1);
                    }
                    assertThat(provider.getDataSourcePoolMetadata(new DriverManagerDataSource()))
                            .isNull();
                });
    }

    private static Health health(ApplicationContext context) {
        return Objects.requireNonNull(((HealthIndicator) context.getBean("dbHealthContributor")).health());
    }

    // The check leases nothing, so it answers at once, and callers that wait in vain are no reason for a restart.
    @Test
    void healthMustBeUpWhenThePoolIsExhausted() {
        app(server(), OWN + "maximum-pool-size=1", OWN + "connection-timeout=1s")
                .run(context -> {
                    try (Connection client = bean(context).getConnection()) {
                        assertThatThrownBy(bean(context)::getConnection).isInstanceOf(PoolExhaustedException.class);
                        long leases = pool(context).stats().leasesGranted();
                        Health health = health(context);
                        assertThat(health.getStatus().getCode()).isEqualTo("UP");
                        assertThat(health.getDetails())
                                .containsEntry("state", "BUSY")
                                .containsEntry("active", 1);
                        assertThat(String.valueOf(health.getDetails().get("reason")))
                                .contains("got no connection in time");
                        assertThat(pool(context).stats().leasesGranted()).isEqualTo(leases);
                        assertThat(pool(context).stats().timeouts()).isEqualTo(1);
                        assertThat(client.isValid(1)).isTrue();
                    }
                });
    }

    @Test
    void healthMustBeDownInAnOutage() throws Exception {
        FaultProxy proxy = proxy();
        app(proxy.url() + "?sslmode=disable", OWN + "maximum-pool-size=2").run(context -> {
            assertThat(health(context).getStatus().getCode()).isEqualTo("UP");
            proxy.refuse();
            proxy.now(FaultProxy.Fault.RST);
            Await.until(
                    "it is down", () -> health(context).getStatus().getCode().equals("DOWN"));
            assertThat(health(context).getDetails())
                    .containsEntry("state", "DOWN")
                    .containsKeys("reason", "error");
            proxy.listen();
            Await.until("it is up", () -> health(context).getStatus().getCode().equals("UP"));
        });
    }

    // Other data sources keep Spring Boot's check, and pool.dataSource() is a pool, too.
    @Test
    void healthMustCoverAllDataSources() throws Exception {
        Pool pool = open(1);
        withoutDataSource()
                .withBean("pool", Pool.class, () -> pool)
                .withBean("view", DataSource.class, pool::dataSource)
                .withBean("plain", DataSource.class, () -> new DriverManagerDataSource(TestServer.jdbc(server())))
                .run(context -> {
                    var all = (CompositeHealthContributor) context.getBean("dbHealthContributor");
                    Health view = ((HealthIndicator) Objects.requireNonNull(all.getContributor("view"))).health();
                    Health plain = ((HealthIndicator) Objects.requireNonNull(all.getContributor("plain"))).health();
                    assertThat(Objects.requireNonNull(view).getDetails()).containsEntry("size", 1);
                    assertThat(Objects.requireNonNull(plain).getDetails()).containsEntry("database", "PostgreSQL");
                    assertThat(context.getBean(Pools.class).started()).containsExactly(pool);
                });
        assertThat(pool.isClosed()).isTrue();
    }

    // An application without a pool of this library keeps Spring Boot's check.
    @Test
    void healthOfOthersMustStay() {
        withoutDataSource()
                .withBean(DataSource.class, () -> new DriverManagerDataSource(TestServer.jdbc(server())))
                .run(context -> {
                    assertThat(context)
                            .hasBean("dbHealthContributor")
                            .doesNotHaveBean(Boot4HealthAutoConfiguration.class);
                    assertThat(health(context).getDetails()).containsEntry("database", "PostgreSQL");
                });
    }

    /** Uses the database when it is destroyed. */
    record Late(DataSource dataSource, AtomicReference<String> answer) {
        void use() throws SQLException {
            try (Connection client = dataSource.getConnection()) {
                answer.set(TestServer.query(client, "SELECT 'late'"));
            }
        }
    }

    @Configuration(proxyBeanMethods = false)
    static class LateConfiguration {
        @Bean(destroyMethod = "use")
        Late late(DataSource dataSource) {
            return new Late(dataSource, new AtomicReference<>());
        }
    }

    // The end of an application is no checkpoint, so that beans can use the pool until they are destroyed.
    @Test
    void beansMustHaveThePoolUntilTheirEnd() {
        List<Late> late = new ArrayList<>();
        app(server(), OWN + "connection-timeout=2s")
                .withUserConfiguration(LateConfiguration.class)
                .run(context -> late.add(context.getBean(Late.class)));
        assertThat(late.getFirst().answer()).hasValue("late");
    }

    // The end of the application waits for leases as long as the drain says.
    @Test
    void endMustWaitForLeases() {
        var isOut = new CountDownLatch(1);
        var finished = new AtomicReference<String>();
        List<Thread> working = new ArrayList<>();
        app(server(), OWN + "drain=60s", OWN + "maximum-pool-size=2").run(context -> {
            NanoDataSource dataSource = bean(context);
            working.add(threads.start(() -> {
                try (Connection client = dataSource.getConnection()) {
                    isOut.countDown();
                    finished.set(TestServer.query(client, "SELECT 'done' FROM pg_sleep(0.5)"));
                }
            }));
            isOut.await();
        });
        assertThat(finished.get()).isEqualTo("done");
        assertThat(working).hasSize(1);
    }

    // What each propagation promises, and nothing of a transaction is left for the next one.
    @Test
    void propagationsMustBeRight() {
        app(server(), OWN + "maximum-pool-size=2").run(context -> {
            for (Propagation each : Propagation.values()) {
                propagationMustBeRight(context.getBean(DataSource.class), each);
                assertThat(pool(context).stats().leftOpen()).isZero();
            }
        });
    }

    private static void propagationMustBeRight(DataSource dataSource, Propagation propagation) {
        var manager = new JdbcTransactionManager(dataSource);
        var outer = new TransactionTemplate(manager);
        var inner = new TransactionTemplate(manager);
        inner.setPropagationBehavior(propagation.value());
        var jdbc = new JdbcTemplate(dataSource);
        Supplier<@Nullable String> transaction =
                () -> inner.execute(status -> jdbc.queryForObject("SELECT pg_current_xact_id()::text", String.class));
        if (propagation == Propagation.MANDATORY) {
            assertThatThrownBy(transaction::get).isInstanceOf(IllegalTransactionStateException.class);
        } else {
            assertThat(transaction.get()).isNotNull();
        }
        outer.executeWithoutResult(status -> {
            String around = jdbc.queryForObject("SELECT pg_current_xact_id()::text", String.class);
            if (propagation == Propagation.NEVER) {
                assertThatThrownBy(transaction::get).isInstanceOf(IllegalTransactionStateException.class);
                return;
            }
            boolean isOther = propagation == Propagation.REQUIRES_NEW || propagation == Propagation.NOT_SUPPORTED;
            assertThat(Objects.equals(transaction.get(), around))
                    .as("%s", propagation)
                    .isEqualTo(!isOther);
        });
    }

    // Before a checkpoint all connections are closed, also those that are leased when it comes. At the end they are
    // not.
    @Test
    void checkpointMustCloseAndOpenConnections() {
        String name = name();
        app(server(), OWN + "pool-name=" + name, OWN + "maximum-pool-size=2").run(context -> {
            ConfigurableApplicationContext application = context.getSourceApplicationContext();
            Connection client = bean(context).getConnection();
            Thread slow = threads.start(() -> {
                Await.until(
                        "it is suspended", () -> pool(context).health().reason().contains("suspended"));
                Await.pause(Duration.ofMillis(100));
                client.close();
            });
            application.stop();
            assertThat(pool(context).stats().opened())
                    .isEqualTo(pool(context).stats().closed());
            slow.join();
            application.start();
            try (Connection again = bean(context).getConnection()) {
                assertThat(TestServer.query(again, "SELECT 1")).isEqualTo("1");
            }
            assertThat(context.getBean(Checkpoints.class).getPhase()).isEqualTo(Integer.MIN_VALUE);
        });
        assertThat(name).isNotEmpty();
    }

    /** A scope whose beans are made again on request, as Spring Cloud's is. */
    static final class Refreshable implements Scope {
        private final AtomicReference<@Nullable Object> current = new AtomicReference<>();
        private final AtomicReference<Runnable> end = new AtomicReference<>();

        void refresh() {
            current.set(null);
            Objects.requireNonNull(end.get()).run();
        }

        @Override
        public Object get(String name, org.springframework.beans.factory.ObjectFactory<?> factory) {
            if (current.get() == null) current.set(factory.getObject());
            return Objects.requireNonNull(current.get());
        }

        @Override
        public Object remove(String name) {
            return Objects.requireNonNull(current.getAndSet(null));
        }

        @Override
        public void registerDestructionCallback(String name, Runnable callback) {
            end.set(callback);
        }
    }

    @Configuration(proxyBeanMethods = false)
    static class RefreshableConfiguration {
        @Bean
        static Refreshable refreshable() {
            return new Refreshable();
        }

        @Bean
        static BeanFactoryPostProcessor scopes(Refreshable refreshable) {
            return beans -> beans.registerScope("refreshable", refreshable);
        }

        @Bean
        @org.springframework.context.annotation.Scope(value = "refreshable", proxyMode = ScopedProxyMode.TARGET_CLASS)
        NanoDataSource dataSource() {
            var dataSource = new NanoDataSource();
            dataSource.setJdbcUrl(TestServer.url());
            return dataSource;
        }
    }

    // A proxy by class stands for a bean that is made anew, with its properties and its metrics.
    @Test
    void proxyMustFollowARefreshedBean() {
        app(server(), OWN + "maximum-pool-size=1", OWN + "pool-name=" + name())
                .withUserConfiguration(RefreshableConfiguration.class)
                .run(context -> {
                    Pool first = pool(context);
                    assertThat(first.stats().size()).isEqualTo(1);
                    assertThat(health(context).getDetails()).containsEntry("size", 1);
                    MeterRegistry registry = new SimpleMeterRegistry();
                    context.getBean(MeterBinder.class).bindTo(registry);
                    context.getBean(Refreshable.class).refresh();
                    assertThat(first.isClosed()).isTrue();
                    assertThat(pool(context)).isNotSameAs(first);
                    assertThat(context.getBean(Pools.class).started()).containsExactly(pool(context));
                    try (Connection client = context.getBean(DataSource.class).getConnection()) {
                        assertThat(client.isValid(1)).isTrue();
                        assertThat(registry.get("db.client.connection.count")
                                        .tag("db.client.connection.state", "used")
                                        .gauge()
                                        .value())
                                .isEqualTo(1);
                    }
                    context.getBean(Refreshable.class).refresh();
                });
    }

    // What Spring Boot and the driver call by name.
    @Test
    void hintsMustCoverWhatIsCalledByName() throws Exception {
        var hints = new RuntimeHints();
        new PoolAutoConfiguration.Hints().registerHints(hints, getClass().getClassLoader());
        assertThat(RuntimeHintsPredicates.reflection()
                        .onMethodInvocation(NanoDataSource.class, "setUrl")
                        .and(RuntimeHintsPredicates.reflection()
                                .onConstructorInvocation(NanoDataSource.class.getConstructor())))
                .accepts(hints);
        Class<?> factory = Class.forName("dev.nanopool.driver.PoolSocketFactory");
        for (var constructor : factory.getConstructors()) {
            assertThat(RuntimeHintsPredicates.reflection().onConstructorInvocation(constructor))
                    .accepts(hints);
        }
    }
}
