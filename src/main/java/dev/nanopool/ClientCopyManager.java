package dev.nanopool;

import java.sql.SQLException;
import org.postgresql.copy.CopyDual;
import org.postgresql.copy.CopyIn;
import org.postgresql.copy.CopyManager;
import org.postgresql.copy.CopyOperation;
import org.postgresql.copy.CopyOut;
import org.postgresql.util.PSQLException;
import org.postgresql.util.PSQLState;

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
            CopyOperation copy = begin.run();
            var progress = new ClientCopy.Progress();
            physical.copy = progress;
            return new ClientCopy(client, copy, progress);
        } catch (SQLException | RuntimeException | Error e) {
            physical.note(e);
            if (isOtherDirection(e)) physical.session.irreversible(); // cancelled by the driver, the rest unread
            throw e;
        } finally {
            client.exit(physical);
        }
    }

    /** The driver's own refusal, when the server has begun the other kind of COPY. */
    private static boolean isOtherDirection(Throwable thrown) {
        return thrown instanceof PSQLException refusal
                && refusal.getServerErrorMessage() == null
                && PSQLState.WRONG_OBJECT_TYPE.getState().equals(refusal.getSQLState());
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
