package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.nanopool.NanoDataSource;
import dev.nanopool.Pool;
import dev.nanopool.PoolMXBean;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.Log;
import dev.nanopool.testkit.PoolTestBase;
import java.io.IOException;
import java.io.Serializable;
import java.lang.management.ManagementFactory;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.rmi.server.RMIClientSocketFactory;
import java.rmi.server.RMIServerSocketFactory;
import java.sql.Connection;
import java.util.Arrays;
import java.util.Map;
import java.util.logging.Level;
import javax.management.JMX;
import javax.management.MBeanFeatureInfo;
import javax.management.MBeanServer;
import javax.management.MBeanServerConnection;
import javax.management.ObjectName;
import javax.management.remote.JMXConnector;
import javax.management.remote.JMXConnectorFactory;
import javax.management.remote.JMXConnectorServer;
import javax.management.remote.JMXConnectorServerFactory;
import javax.management.remote.JMXServiceURL;
import javax.management.remote.rmi.RMIConnectorServer;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** What a JMX client sees of a pool, over loopback, and what it can do. */
class JmxTest extends PoolTestBase {
    private static final MBeanServer PLATFORM = ManagementFactory.getPlatformMBeanServer();

    /** Keeps both ends on loopback, whatever the name of the machine means. */
    record Loopback() implements RMIClientSocketFactory, RMIServerSocketFactory, Serializable {
        @Override
        public Socket createSocket(String host, int port) throws IOException {
            return new Socket(InetAddress.getLoopbackAddress(), port);
        }

        @Override
        public ServerSocket createServerSocket(int port) throws IOException {
            return new ServerSocket(port, 0, InetAddress.getLoopbackAddress());
        }
    }

    private JMXConnectorServer server;
    private JMXConnector client;

    @BeforeEach
    @SuppressWarnings("BanJNDI") // the server is this test
    void connect() throws IOException {
        server = JMXConnectorServerFactory.newJMXConnectorServer(
                new JMXServiceURL("service:jmx:rmi://"),
                Map.of(
                        RMIConnectorServer.RMI_CLIENT_SOCKET_FACTORY_ATTRIBUTE, new Loopback(),
                        RMIConnectorServer.RMI_SERVER_SOCKET_FACTORY_ATTRIBUTE, new Loopback()),
                PLATFORM);
        server.start();
        client = JMXConnectorFactory.connect(server.getAddress());
    }

    @AfterEach
    void disconnect() throws IOException {
        client.close();
        server.stop();
    }

    private static ObjectName objectName(String pool) throws Exception {
        return new ObjectName("dev.nanopool:type=Pool,name=" + pool);
    }

    @Test
    void clientMustReadAndOperate() throws Exception {
        Pool pool = open(config().size(3).minIdle(2).jmx(true));
        MBeanServerConnection connection = client.getMBeanServerConnection();
        ObjectName name = objectName(pool.stats().name());
        PoolMXBean bean = JMX.newMXBeanProxy(connection, name, PoolMXBean.class);
        try (Connection leased = pool.client()) {
            assertThat(leased.isClosed()).isFalse();
            threads.start(() -> {
                try (Connection first = pool.client();
                        Connection second = pool.client()) {
                    assertThat(first).isNotSameAs(second);
                    pool.client().close();
                }
            });
            Await.until(
                    "it waits", () -> pool.stats().active() == 3 && pool.stats().pending() == 1);
            assertThat(connection.getAttribute(name, "ActiveConnections")).isEqualTo(3);
            assertThat(connection.getAttribute(name, "IdleConnections")).isEqualTo(0);
            assertThat(connection.getAttribute(name, "TotalConnections")).isEqualTo(3);
            assertThat(connection.getAttribute(name, "ThreadsAwaitingConnection"))
                    .isEqualTo(1);
            assertThat(bean.holders())
                    .hasSize(3)
                    .anyMatch(line -> line.matches(
                            "held for \\d+ ms by " + Thread.currentThread().getName() + " at .*"))
                    .anyMatch(line -> line.contains("JmxTest.lambda$clientMustReadAndOperate"));
        }
        threads.join();
        assertThat(bean.getSize()).isEqualTo(3);
        assertThat(bean.getMinIdle()).isEqualTo(2);
        assertThat(bean.getOpeningConnections()).isZero();
        assertThat(bean.getLeasesGranted()).isEqualTo(4);
        assertThat(bean.getOpened()).isEqualTo(3);
        assertThat(bean.getTimeouts() + bean.getRejected() + bean.getClosed() + bean.getLost() + bean.getLeaked())
                .isZero();
        assertThat(bean.getServers()).singleElement().asString().matches(".+:\\d+");
        assertThat(bean.getDatabase()).isNotEmpty();
        assertThat(bean.getHealth()).isEqualTo("UP");
        bean.suspend();
        Await.until("all are closed", () -> bean.getTotalConnections() == 0);
        assertThat(bean.getHealth()).isEqualTo("DOWN: the pool is suspended");
        bean.resume();
        Await.until("they are open", () -> bean.getIdleConnections() >= 2);
        long opened = bean.getOpened();
        bean.refresh();
        Await.until("they are new", () -> bean.getOpened() >= opened + 2);
        bean.resize(4);
        assertThat(pool.stats().size()).isEqualTo(4);
        assertThatThrownBy(() -> bean.resize(0)).isInstanceOf(IllegalArgumentException.class);
    }

    // HikariCP's names, so that a dashboard finds them.
    @Test
    void attributesMustHaveTheirNames() throws Exception {
        Pool pool = open(config().size(1).jmx(true));
        var info = client.getMBeanServerConnection()
                .getMBeanInfo(objectName(pool.stats().name()));
        assertThat(info.getAttributes())
                .extracting(MBeanFeatureInfo::getName)
                .containsExactlyInAnyOrder(
                        "ActiveConnections",
                        "IdleConnections",
                        "TotalConnections",
                        "ThreadsAwaitingConnection",
                        "OpeningConnections",
                        "Size",
                        "MinIdle",
                        "Servers",
                        "Database",
                        "Health",
                        "LeasesGranted",
                        "Timeouts",
                        "Rejected",
                        "Opened",
                        "Closed",
                        "Lost",
                        "Leaked");
        assertThat(Arrays.stream(info.getOperations()).map(MBeanFeatureInfo::getName))
                .containsExactlyInAnyOrder("holders", "refresh", "suspend", "resume", "resize");
    }

    @Test
    void poolMustBeShownFromItsStartToItsEndAndOnlyOnRequest() throws Exception {
        Pool quiet = open(1);
        assertThat(PLATFORM.isRegistered(objectName(quiet.stats().name()))).isFalse();
        Pool shown = open(config().size(1).jmx(true));
        assertThat(PLATFORM.isRegistered(objectName(shown.stats().name()))).isTrue();
        shown.close();
        assertThat(PLATFORM.isRegistered(objectName(shown.stats().name()))).isFalse();
    }

    @Test
    void strangeNameMustBeQuoted() throws Exception {
        Pool pool = open(config().name("a,b=\"c\"*").size(1).jmx(true));
        assertThat(PLATFORM.isRegistered(objectName(ObjectName.quote("a,b=\"c\"*"))))
                .isTrue();
        pool.close();
        assertThat(PLATFORM.isRegistered(objectName(ObjectName.quote("a,b=\"c\"*"))))
                .isFalse();
    }

    // The younger one works, and takes nothing from the older one.
    @Test
    void secondPoolOfANameMustNotBeShown() throws Exception {
        Pool pool = open(config().size(1).jmx(true));
        String name = pool.stats().name();
        try (Log log = Log.of(Level.WARNING);
                Pool second = Pool.create(config().name(name).size(2).jmx(true).build())) {
            assertThat(log.lines())
                    .singleElement()
                    .asString()
                    .startsWith(name + ": JMX does not show the pool: javax.management.InstanceAlreadyExistsException");
            assertThat(second.stats().idle()).isEqualTo(2);
        }
        assertThat(PLATFORM.getAttribute(objectName(name), "Size")).isEqualTo(1);
    }

    @Test
    void dataSourceMustImplementTheBean() throws Exception {
        try (var source = new NanoDataSource()) {
            source.setUrl(server());
            source.setPoolName("jmx-bean");
            source.setMaximumPoolSize(1);
            source.setRegisterMbeans(true);
            assertThat(source.isRegisterMbeans()).isTrue();
            PoolMXBean bean = source.unwrap(PoolMXBean.class);
            assertThat(bean.getHealth()).isEqualTo("not started");
            assertThat(bean.getSize()).isZero();
            assertThat(bean.getServers()).isEmpty();
            assertThat(bean.getDatabase()).isEmpty();
            assertThat(bean.holders()).isEmpty();
            assertThatThrownBy(bean::refresh).isInstanceOf(IllegalStateException.class);
            source.getConnection().close();
            assertThat(bean.getSize()).isEqualTo(1);
            assertThat(PLATFORM.getAttribute(objectName("jmx-bean"), "LeasesGranted"))
                    .isEqualTo(1L);
        }
        assertThat(PLATFORM.isRegistered(objectName("jmx-bean"))).isFalse();
        Pool pool = open(1);
        assertThat(((PoolMXBean) pool.dataSource()).getTotalConnections()).isEqualTo(1);
    }
}
