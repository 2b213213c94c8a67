package dev.nanopool;

import java.sql.SQLException;
import org.postgresql.core.BaseConnection;
import org.postgresql.largeobject.LargeObject;

/** A client's large object. */
@SuppressWarnings("deprecation") // the driver's own large objects use its fast path
final class ClientLargeObject extends ForwardingLargeObject {
    private final ClientLargeObjectManager manager;
    private final int mode;

    /** Opens the object, in one round trip. */
    ClientLargeObject(
            ClientConnection client,
            ClientLargeObjectManager manager,
            BaseConnection connection,
            long oid,
            int mode,
            boolean commitOnClose)
            throws SQLException {
        super(client, connection.getFastpathAPI(), oid, mode, connection, commitOnClose);
        this.manager = manager;
        this.mode = mode;
    }

    /** Opens the same object once more. */
    @Override
    public LargeObject copy() throws SQLException {
        return manager.open(getLongOID(), mode, false);
    }
}
