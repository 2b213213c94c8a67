package dev.nanopool;

import java.sql.SQLException;
import org.postgresql.copy.CopyDual;
import org.postgresql.copy.CopyIn;
import org.postgresql.copy.CopyManager;
import org.postgresql.copy.CopyOperation;
import org.postgresql.copy.CopyOut;
import org.postgresql.util.PSQLException;

/**
 * The driver's copy manager. It records for the pool whether a COPY is still open when the client is closed. The driver makes
 * the methods that copy from or to a stream of the three methods that stand here.
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
        PhysicalConnection inside = client.enter();
        try {
            client.sql(sql);
            CopyOperation copy = begin.run();
            var progress = new CopyProgress();
            client.copying(progress);
            return new ClientCopy(client, copy, progress);
        } catch (SQLException | RuntimeException | Error e) {
            client.recordFailure(e, true);
            if (isOtherDirection(e)) client.irreversible(); // the driver has cancelled it and left the rest unread
            throw e;
        } finally {
            client.exit(inside);
        }
    }

    /** Whether the driver itself has refused the COPY, because the server has begun the other kind of it. */
    private static boolean isOtherDirection(Throwable thrown) {
        return thrown instanceof PSQLException refusal
                && refusal.getServerErrorMessage() == null
                && Failures.WRONG_OBJECT_TYPE.equals(refusal.getSQLState());
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
