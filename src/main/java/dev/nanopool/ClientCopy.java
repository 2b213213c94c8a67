package dev.nanopool;

import dev.nanopool.PhysicalConnection.SqlAction;
import java.sql.SQLException;
import org.jspecify.annotations.Nullable;
import org.postgresql.copy.CopyDual;
import org.postgresql.copy.CopyIn;
import org.postgresql.copy.CopyOperation;
import org.postgresql.copy.CopyOut;
import org.postgresql.util.ByteStreamWriter;

/**
 * A client's COPY, in one direction or both, as the driver's own is. Knows without asking the driver whether it has ended:
 * the driver answers under a lock that it holds while it waits for the server. Used like a statement, by one thread at a
 * time; {@link #isOpen} is for all.
 */
final class ClientCopy implements CopyDual {
    private final ClientConnection client;
    private final CopyOperation copy;
    private volatile boolean open = true;

    ClientCopy(ClientConnection client, CopyOperation copy) {
        this.client = client;
        this.copy = copy;
    }

    /** Whether the session is still in it. Never blocks. */
    boolean isOpen() {
        return open;
    }

    private interface Step<T extends @Nullable Object> {
        T run() throws SQLException;
    }

    private <T extends @Nullable Object> T speak(Step<T> step) throws SQLException {
        PhysicalConnection physical = client.enter();
        try {
            return step.run();
        } catch (SQLException | RuntimeException | Error e) {
            physical.note(e);
            throw e;
        } finally {
            open = copy.isActive();
            client.exit(physical);
        }
    }

    private void tell(SqlAction action) throws SQLException {
        speak(() -> {
            action.run();
            return null;
        });
    }

    @Override
    public void writeToCopy(byte[] buffer, int offset, int length) throws SQLException {
        tell(() -> ((CopyIn) copy).writeToCopy(buffer, offset, length));
    }

    @Override
    public void writeToCopy(ByteStreamWriter from) throws SQLException {
        tell(() -> ((CopyIn) copy).writeToCopy(from));
    }

    @Override
    public void flushCopy() throws SQLException {
        tell(((CopyIn) copy)::flushCopy);
    }

    @Override
    public long endCopy() throws SQLException {
        return speak(((CopyIn) copy)::endCopy);
    }

    @Override
    public byte @Nullable [] readFromCopy() throws SQLException {
        return speak(((CopyOut) copy)::readFromCopy);
    }

    @Override
    public byte @Nullable [] readFromCopy(boolean block) throws SQLException {
        return speak(() -> ((CopyOut) copy).readFromCopy(block));
    }

    @Override
    public void cancelCopy() throws SQLException {
        tell(copy::cancelCopy);
    }

    @Override
    public int getFieldCount() {
        return copy.getFieldCount();
    }

    @Override
    public int getFormat() {
        return copy.getFormat();
    }

    @Override
    public int getFieldFormat(int field) {
        return copy.getFieldFormat(field);
    }

    @Override
    public boolean isActive() {
        return open && copy.isActive();
    }

    @Override
    public long getHandledRowCount() {
        return copy.getHandledRowCount();
    }
}
