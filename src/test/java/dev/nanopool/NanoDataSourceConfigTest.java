package dev.nanopool;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import org.junit.jupiter.api.Test;

class NanoDataSourceConfigTest {
    private static final String URL = "postgresql://alice:wonder@localhost/app";

    private final NanoDataSource dataSource = new NanoDataSource();

    NanoDataSourceConfigTest() {
        dataSource.setUrl(URL);
    }

    @Test
    void millisecondsMustBecomeDurations() {
        dataSource.setConnectionTimeout(1_234);
        dataSource.setMaxLifetime(60_000);
        dataSource.setIdleTimeout(61_000);
        dataSource.setKeepaliveTime(62_000);
        dataSource.setLeakDetectionThreshold(63_000);
        dataSource.setCancelPatience(64_000);
        assertThat(dataSource.config().cancelPatience).isEqualTo(Duration.ofSeconds(64));
        assertThat(dataSource.config().idleTimeout).isEqualTo(Duration.ofSeconds(61));
        assertThat(dataSource.config().keepalive).isEqualTo(Duration.ofSeconds(62));
        assertThat(dataSource.config().leakThreshold).isEqualTo(Duration.ofSeconds(63));
        assertThat(dataSource.config().acquireTimeout).isEqualTo(Duration.ofMillis(1_234));
        assertThat(dataSource.config().maxLifetime).isEqualTo(Duration.ofMinutes(1));
    }

    // Callers wait through an outage as long as for a connection, unless something else is said; zero means what it
    // says.
    @Test
    void outagePatienceMustFollowConnectionTimeoutUnlessGiven() {
        dataSource.setConnectionTimeout(1_234);
        assertThat(dataSource.getOutagePatience()).isEqualTo(-1);
        assertThat(dataSource.config().outagePatience).isEqualTo(Duration.ofMillis(1_234));
        dataSource.setOutagePatience(200);
        assertThat(dataSource.config().outagePatience).isEqualTo(Duration.ofMillis(200));
        dataSource.setOutagePatience(0);
        assertThat(dataSource.config().outagePatience).isZero();
    }

    // HikariCP's zero means "no limit", and a configuration taken over from there must not turn into "at once".
    @Test
    void zeroMustMeanNoLimit() {
        dataSource.setConnectionTimeout(0);
        dataSource.setMaxLifetime(0);
        dataSource.setIdleTimeout(0);
        assertThat(dataSource.config().idleTimeout).isEqualTo(Duration.ofDays(365));
        assertThat(dataSource.config().acquireTimeout).isEqualTo(Duration.ofDays(365));
        assertThat(dataSource.config().maxLifetime).isEqualTo(Duration.ofDays(365));
    }

    @Test
    void minimumIdleMustFollowMaximumPoolSizeUnlessGiven() {
        dataSource.setMaximumPoolSize(7);
        assertThat(dataSource.config().minIdle).isEqualTo(7);
        dataSource.setMinimumIdle(0);
        assertThat(dataSource.config().minIdle).isZero();
    }

    @Test
    void credentialsMustComeFromTheUrlWhereTheBeanHasNone() {
        assertThat(dataSource.config().credentials.get()).isEqualTo(new Credentials("alice", "wonder"));
        dataSource.setPassword("land");
        assertThat(dataSource.config().credentials.get()).isEqualTo(new Credentials("alice", "land"));
        dataSource.setUsername("bob");
        assertThat(dataSource.config().credentials.get()).isEqualTo(new Credentials("bob", "land"));
    }
}
