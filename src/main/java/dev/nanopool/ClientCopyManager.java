package dev.nanopool;

import java.sql.SQLException;
import org.postgresql.copy.CopyDual;
import org.postgresql.copy.CopyIn;
import org.postgresql.copy.CopyManager;
import org.postgresql.copy.CopyOperation;
import org.postgresql.copy.CopyOut;

/**
 * The driver's copy manager, which lets the pool know of a COPY that is still open when the client is closed. What copies
 * from or to a stream is made of what is here.
 */
final class ClientCopyManager extends CopyManager {
    private final ClientConnection client;

    ClientCopyManager(ClientConnection client) throws SQLException {
        super(client.delegate());
        this.client = client;
    }

    private interface Begin {
        CopyOperation run() throws SQLException;
    }

    private ClientCopy begin(String sql, Begin begin) throws SQLException {
        client.sql(sql);
        PhysicalConnection physical = client.enter();
        try {
            var copy = new ClientCopy(client, begin.run());
            physical.copy = copy;
            return copy;
        } catch (SQLException | RuntimeException | Error e) {
            physical.note(e);
            throw e;
        } finally {
            client.exit(physical);
        }
    }

    @Override
    public CopyIn copyIn(String sql) throws SQLException {
        return begin(sql, () -> super.copyIn(sql));
    }

    @Override
    public CopyOut copyOut(String sql) throws SQLException {
        return begin(sql, () -> super.copyOut(sql));
    }

    @Override
    public CopyDual copyDual(String sql) throws SQLException {
        return begin(sql, () -> super.copyDual(sql));
    }
}
