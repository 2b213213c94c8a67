package dev.nanopool;

import java.sql.SQLException;
import org.jspecify.annotations.Nullable;
import org.postgresql.copy.CopyDual;
import org.postgresql.copy.CopyIn;
import org.postgresql.copy.CopyOperation;
import org.postgresql.copy.CopyOut;
import org.postgresql.util.ByteStreamWriter;

/**
 * A client's COPY, in one direction or in both, as the driver's own is. One thread at a time uses it, as a statement.
 */
final class ClientCopy implements CopyDual {
    private final ClientConnection client;
    private final CopyOperation copy;
    private final CopyProgress progress;
    private boolean unread; // it was cancelled, and the driver has not read the rest of the answer

    ClientCopy(ClientConnection client, CopyOperation copy, CopyProgress progress) {
        this.client = client;
        this.copy = copy;
        this.progress = progress;
    }

    private interface Step<T extends @Nullable Object> {
        T run() throws SQLException;
    }

    private <T extends @Nullable Object> T speak(Step<T> step) throws SQLException {
        PhysicalConnection inside = client.enterAgain();
        try {
            return step.run();
        } catch (SQLException | RuntimeException | Error e) {
            client.recordFailure(e, true);
            throw e;
        } finally {
            progress.set(unread || copy.isActive());
            client.exit(inside);
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
        tell(() -> ((CopyIn) copy).flushCopy());
    }

    @Override
    public long endCopy() throws SQLException {
        return speak(() -> ((CopyIn) copy).endCopy());
    }

    @Override
    public byte @Nullable [] readFromCopy() throws SQLException {
        return speak(() -> ((CopyOut) copy).readFromCopy());
    }

    @Override
    public byte @Nullable [] readFromCopy(boolean block) throws SQLException {
        return speak(() -> ((CopyOut) copy).readFromCopy(block));
    }

    /** Cancels the COPY. The driver leaves the rest of a COPY TO unread, so the pool replaces the connection. */
    @Override
    public void cancelCopy() throws SQLException {
        unread = !(copy instanceof CopyIn);
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
        return progress.isOpen() && copy.isActive();
    }

    @Override
    public long getHandledRowCount() {
        return copy.getHandledRowCount();
    }
}
