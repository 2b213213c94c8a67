package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;

import dev.nanopool.testkit.ChildJvm;
import dev.nanopool.testkit.PoolTestBase;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** A {@code StackOverflowError} at any call of a lease, which the caller survives, costs no connection and no permit. */
class FullStackTest extends PoolTestBase {
    @Test
    void poolMustBalanceWhenTheStackIsFullAtAnyCall() throws Exception {
        Path home = Path.of(System.getProperty("java.home"));
        Map<String, String> lines = ChildJvm.run(home, FullStack.class, List.of(), server(), name());
        assertThat(lines).containsEntry("failures", "0").containsEntry("bugs", "0");
        assertThat(lines).as("all can be leased").containsEntry("clients", String.valueOf(FullStack.SIZE));
        assertThat(Integer.parseInt(lines.get("overflows")))
                .as("the stack was full")
                .isGreaterThan(100);
        assertThat(Integer.parseInt(lines.get("leased")))
                .as("leases near the full stack")
                .isGreaterThan(10);
    }
}
