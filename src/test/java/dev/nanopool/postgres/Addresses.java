package dev.nanopool.postgres;

import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import dev.nanopool.TlsMode;
import dev.nanopool.testkit.Stopwatch;
import dev.nanopool.testkit.SwallowingPort;
import dev.nanopool.testkit.TestServer;
import java.net.InetAddress;
import java.net.URI;
import java.sql.Connection;
import java.time.Duration;

/** A program that reaches a server by a name whose first addresses are dead. One swallows, and the other refuses. */
public final class Addresses {
    private static final Duration TIMEOUT = Duration.ofSeconds(15);

    private Addresses() {}

    // Its argument is the URL.
    public static void main(String[] arguments) throws Exception {
        InetAddress first = InetAddress.getByAddress(new byte[] {127, 0, 0, 2});
        try (var swallowing = new SwallowingPort(first, URI.create(arguments[0]).getPort())) {
            try (var stopwatch = Stopwatch.start();
                    Pool pool = Pool.create(PoolConfig.builder(arguments[0])
                            .tls(TlsMode.DISABLE)
                            .size(1)
                            .connectTimeout(TIMEOUT) // of which the address that swallows gets a third
                            .build());
                    Connection client = pool.client()) {
                TestServer.query(client, "SELECT 1");
                System.out.println("served " + StaticInitialisers.outcome(stopwatch, TIMEOUT));
            }
            System.out.println("swallowing " + swallowing.port());
        }
        System.out.println("done");
    }
}
