package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;

import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import dev.nanopool.TlsMode;
import dev.nanopool.testkit.EmbeddedServer;
import dev.nanopool.testkit.FaultProxy;
import dev.nanopool.testkit.FaultProxy.Fault;
import dev.nanopool.testkit.FaultProxy.Message;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.Stopwatch;
import dev.nanopool.testkit.SwallowingPort;
import dev.nanopool.testkit.TestServer;
import java.net.URI;
import java.sql.Connection;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** Several hosts, of which all but one are dead. The living one serves at each place in the URL. */
class DeadHostTest extends PoolTestBase {
    private static final Duration CONNECT_TIMEOUT = Duration.ofMillis(1_500);
    private static final Duration BOUND = CONNECT_TIMEOUT.plusSeconds(1);

    private static final EmbeddedServer SERVER = EmbeddedServer.start();

    private final List<SwallowingPort> swallowing = new ArrayList<>();

    @AfterAll
    static void stop() throws Exception {
        SERVER.close();
    }

    @AfterEach
    @Override
    protected void nothingMustBeLostOrLeft() throws Exception {
        for (SwallowingPort port : swallowing) port.close();
        super.nothingMustBeLostOrLeft();
    }

    @Override
    protected String server() {
        return SERVER.url();
    }

    enum Death {
        /** No program listens. */
        REFUSES,
        /** The host answers no packet. */
        SWALLOWS,
        /** It accepts, and says nothing. */
        SILENT,
        /** It falls silent when it has the password. */
        SILENT_IN_THE_LOGIN
    }

    private void kill(FaultProxy host, Death death) throws Exception {
        switch (death) {
            case REFUSES -> host.refuse();
            case SWALLOWS -> {
                host.refuse();
                swallowing.add(new SwallowingPort(port(host)));
            }
            case SILENT -> host.blackHoleNew();
            case SILENT_IN_THE_LOGIN -> host.at(Message::isPassword, Fault.SILENT);
        }
        host.now(Fault.RST);
    }

    private static int port(FaultProxy host) {
        return URI.create(host.url()).getPort();
    }

    private PoolConfig.Builder config(List<FaultProxy> hosts) {
        return config(hosts, "any");
    }

    private PoolConfig.Builder config(List<FaultProxy> hosts, String role) {
        String addresses = hosts.stream().map(host -> "localhost:" + port(host)).collect(Collectors.joining(","));
        String url = SERVER.url().replaceFirst("localhost:\\d+", addresses);
        return config(url + "?target_session_attrs=" + role)
                .tls(TlsMode.DISABLE)
                .size(2)
                .connectTimeout(CONNECT_TIMEOUT);
    }

    private List<FaultProxy> hosts(int count) throws Exception {
        List<FaultProxy> hosts = new ArrayList<>();
        for (int i = 0; i < count; i++) hosts.add(proxy());
        return hosts;
    }

    private static void assertServed(Pool pool) throws Exception {
        try (Connection client = pool.client()) {
            assertThat(TestServer.query(client, "SELECT 1")).isEqualTo("1");
        }
    }

    static Stream<Arguments> atTheStart() {
        return Stream.of(Death.values())
                .flatMap(death -> IntStream.rangeClosed(2, 3)
                        .boxed()
                        .flatMap(count ->
                                IntStream.range(0, count).mapToObj(living -> Arguments.of(death, count, living))));
    }

    // A pool starts with the host that lives.
    @ParameterizedTest(name = "{0}, {1} hosts, {2} lives")
    @MethodSource("atTheStart")
    void deadHostMustNotKeepThePoolFromTheLivingOneAtTheStart(Death death, int count, int living) throws Exception {
        List<FaultProxy> hosts = hosts(count);
        for (int i = 0; i < count; i++) {
            if (i != living) kill(hosts.get(i), death);
        }
        try (var stopwatch = Stopwatch.start()) {
            Pool pool = open(config(hosts));
            assertServed(pool);
            assertThat(stopwatch.elapsed()).isLessThan(stopwatch.allowing(BOUND));
            assertThat(pool.stats().idle()).isEqualTo(2);
        }
    }

    // A host that answers late once gets a second chance if no other host lives.
    @Test
    void slowHostMustGetASecondChance() throws Exception {
        List<FaultProxy> hosts = hosts(2);
        var isFirst = new AtomicBoolean(true);
        hosts.get(0).at(message -> message.isPassword() && isFirst.getAndSet(false), Fault.SILENT);
        kill(hosts.get(1), Death.REFUSES);
        assertServed(open(config(hosts).size(1)));
        assertThat(isFirst).isFalse();
    }

    static Stream<Arguments> inARole() {
        return Stream.of("read-write", "prefer-standby")
                .flatMap(role -> Stream.of(Death.values())
                        .flatMap(death -> Stream.of(0, 1).map(living -> Arguments.of(role, death, living))));
    }

    // For a preference the driver tries all hosts twice, and each of them has its share of the time.
    @ParameterizedTest(name = "{0}, {1}, {2} lives")
    @MethodSource("inARole")
    void deadHostMustNotKeepThePoolFromALivingOneInARole(String role, Death death, int living) throws Exception {
        List<FaultProxy> hosts = hosts(2);
        kill(hosts.get(1 - living), death);
        try (var stopwatch = Stopwatch.start()) {
            assertServed(open(config(hosts, role)));
            assertThat(stopwatch.elapsed()).isLessThan(stopwatch.allowing(BOUND));
        }
    }

    static Stream<Arguments> whileItRuns() {
        return Stream.of(Death.values()).flatMap(death -> Stream.of(2, 3).map(count -> Arguments.of(death, count)));
    }

    // A pool that runs moves to the host that lives. A caller waits for it, and no caller is refused.
    @ParameterizedTest(name = "{0}, {1} hosts")
    @MethodSource("whileItRuns")
    void poolMustMoveToTheLivingHost(Death death, int count) throws Exception {
        List<FaultProxy> hosts = hosts(count);
        Pool pool = open(config(hosts));
        assertServed(pool);
        for (FaultProxy host : hosts.subList(0, count - 1)) kill(host, death);
        Stopwatch.pause(Duration.ofMillis(30)); // a connection that dies in the moment of the borrow may be lent
        try (var stopwatch = Stopwatch.start()) {
            for (int i = 0; i < 4; i++) assertServed(pool);
            assertThat(stopwatch.elapsed()).isLessThan(stopwatch.allowing(BOUND));
        }
    }
}
