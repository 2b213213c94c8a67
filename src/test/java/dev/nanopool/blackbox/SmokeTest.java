package dev.nanopool.blackbox;

import static org.assertj.core.api.Assertions.assertThat;

import dev.nanopool.Pool;
import dev.nanopool.TestAccess;
import dev.nanopool.TlsMode;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.TestServer;
import java.sql.Connection;
import org.junit.jupiter.api.Test;

class SmokeTest {
    @Test
    void clientMustRunAQuery() throws Exception {
        try (Pool pool = Pool.create(TestServer.url(), TlsMode.PREFER, 4)) {
            try (Connection client = pool.client()) {
                assertThat(TestServer.query(client, "SELECT 1 + 2")).isEqualTo("3");
            }
            Await.untilEmpty("the pool is quiet", () -> TestAccess.imbalance(pool));
        }
    }
}
