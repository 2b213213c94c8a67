package dev.nanopool;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Which frame of a stack a message names. */
class StacksTest {
    private static List<StackTraceElement> stack(String... classes) {
        return Stream.of(classes)
                .map(name -> new StackTraceElement(name, "method", name.substring(name.lastIndexOf('.') + 1), 7))
                .toList();
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "dev.nanopool.ClientStatement",
                "dev.nanopool.driver.PeekableSocket$Input",
                "dev.nanopool.queue.LeaseQueue",
                "dev.nanopool.micrometer.PoolMetrics",
                "org.postgresql.core.v3.QueryExecutorImpl",
                "java.util.ArrayList",
                "jdk.internal.reflect.DirectMethodHandleAccessor",
                "org.springframework.jdbc.datasource.DataSourceUtils",
                "org.hibernate.engine.jdbc.connections.internal.DataSourceConnectionProvider",
                "org.jooq.impl.AbstractQuery",
                "org.apache.ibatis.transaction.jdbc.JdbcTransaction",
                "org.jdbi.v3.core.Handle",
                "org.flywaydb.core.Flyway",
                "org.quartz.core.JobRunShell"
            })
    void frameOfAnotherPartyMustNotBeNamed(String foreign) {
        List<StackTraceElement> stack = stack(foreign, "com.example.Orders", foreign, "com.example.Main");
        assertThat(Stacks.site(stack)).isEqualTo("com.example.Orders.method(Orders:7)");
        assertThat(Stacks.at(stack)).isEqualTo(" at com.example.Orders.method(Orders:7)");
    }

    // The user's code may live below the pool's package or look like a framework's name.
    @ParameterizedTest
    @ValueSource(strings = {"dev.nanopool.demo.Bank", "dev.nanopoolish.Main", "org.hibernateish.Main", "javaish.Main"})
    void frameOfTheUserMustBeNamed(String user) {
        assertThat(Stacks.site(stack("dev.nanopool.Pool", user))).startsWith(user);
    }

    @Test
    void firstFrameOfAFrameworkMustBeNamedIfThereIsNoOther() {
        List<StackTraceElement> stack =
                stack("java.lang.Object", "dev.nanopool.Pool", "org.quartz.First", "org.quartz.Second");
        assertThat(Stacks.site(stack)).startsWith("org.quartz.First");
        assertThat(Stacks.at(stack("java.lang.Thread", "dev.nanopool.PoolThreads")))
                .isEmpty();
    }

    @Test
    void tableMustBeExtensible() {
        assertThat(Frameworks.packages(" com.example.data , org.acme.,,"))
                .containsExactly("com.example.data.", "org.acme.");
        assertThat(Frameworks.packages("")).isEmpty();
        assertThat(Frameworks.include("com.example.data.Dao")).isFalse();
    }

    @Test
    void placeOfTheCallingThreadMustBeItsOwnCode() {
        assertThat(Stacks.callSite())
                .as("this class is in the package of the pool")
                .startsWith("org.junit.");
    }
}
