package dev.nanopool.examples;

import dev.nanopool.PoolConfig;
import dev.nanopool.TlsMode;
import java.time.Duration;

/** Settings of a pool, as README shows them. */
final class ConfigExample {
    private ConfigExample() {}

    static PoolConfig config(String url) {
        // @start region="config"
        return PoolConfig.builder(url)
                .tls(TlsMode.VERIFY_IDENTITY)
                .size(20)
                .acquireTimeout(Duration.ofSeconds(2))
                .parameter("statement_timeout", "10s")
                .build();
        // @end
    }
}
