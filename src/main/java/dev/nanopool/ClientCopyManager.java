package dev.nanopool;

import java.sql.SQLException;
import org.postgresql.copy.CopyDual;
import org.postgresql.copy.CopyIn;
import org.postgresql.copy.CopyManager;
import org.postgresql.copy.CopyOperation;
import org.postgresql.copy.CopyOut;

/** The driver's copy manager, which lets the pool know of a COPY that is still open when the client is closed. */
final class ClientCopyManager extends CopyManager {
    private final ClientConnection client;

    ClientCopyManager(ClientConnection client) throws SQLException {
        super(client.delegate());
        this.client = client;
    }

    private <T extends CopyOperation> T begun(T copy) throws SQLException {
        client.physical().copy = copy;
        return copy;
    }

    @Override
    public CopyIn copyIn(String sql) throws SQLException {
        client.physical(); // fails if the client is closed
        return begun(super.copyIn(sql));
    }

    @Override
    public CopyOut copyOut(String sql) throws SQLException {
        client.physical();
        return begun(super.copyOut(sql));
    }

    @Override
    public CopyDual copyDual(String sql) throws SQLException {
        client.physical();
        return begun(super.copyDual(sql));
    }
}
