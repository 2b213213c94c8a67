package dev.nanopool.examples;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.sun.net.httpserver.HttpServer;
import dev.nanopool.Pool;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.sql.Connection;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.concurrent.Executors;

/** A server that runs a virtual thread per request, as README shows it. */
final class ServerExample {
    private ServerExample() {}

    static HttpServer start(Pool pool, InetSocketAddress address) throws IOException {
        // @start region="server"
        HttpServer server = HttpServer.create(address, 0);
        server.setExecutor(Executors.newVirtualThreadPerTaskExecutor());
        server.createContext("/", exchange -> {
            try (exchange) {
                byte[] body = sum(pool).getBytes(UTF_8);
                exchange.sendResponseHeaders(200, body.length);
                exchange.getResponseBody().write(body);
            } catch (SQLException e) {
                throw new IOException(e);
            }
        });
        server.start();
        return server;
        // @end
    }

    private static String sum(Pool pool) throws SQLException {
        try (Connection client = pool.client();
                Statement select = client.createStatement();
                ResultSet row = select.executeQuery("SELECT 1 + 2")) {
            row.next();
            return row.getString(1);
        }
    }
}
