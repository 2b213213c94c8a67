package dev.nanopool;

import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import org.postgresql.core.Oid;
import org.postgresql.jdbc.PgResultSet;

/**
 * A client's result set, which leads back to the client's statement. A thread reads rows that are all in memory without entering
 * the lease, because reading them is most of what many leases do.
 */
final class ClientResultSet extends ForwardingResultSet {
    private static final int UNKNOWN = -1;

    private final ClientStatement statement;
    private final boolean isInMemory;
    private int columns = UNKNOWN; // how many columns the mask below covers
    private long plain; // bit i - 1 says that the driver reads column i without asking the server

    ClientResultSet(ClientStatement statement, ResultSet rows) throws SQLException {
        super(statement.client, rows);
        this.statement = statement;
        // The driver copies the fetch size when it makes the rows; without one it never opens a cursor.
        this.isInMemory = rows instanceof PgResultSet && !rows.isClosed() && rows.getFetchSize() == 0;
    }

    @Override
    boolean isInMemory() {
        return isInMemory;
    }

    @Override
    boolean isLocal(int column) throws SQLException {
        int bit = column - 1;
        if (bit < 0 || bit >= Long.SIZE) return false;
        // The usual case is the first, because it comes with each value that is read.
        if ((plain >>> bit & 1) != 0) return true;
        if (columns != UNKNOWN || !isInMemory) return false;
        learnColumns();
        return (plain >>> bit & 1) != 0;
    }

    private void learnColumns() throws SQLException {
        int count = Math.min(rows.getMetaData().getColumnCount(), Long.SIZE);
        long mask = 0;
        for (int i = 1; i <= count; i++) {
            if (isPlain(((PgResultSet) rows).getColumnOID(i))) mask |= 1L << (i - 1);
        }
        plain = mask;
        columns = count;
    }

    /** Whether the driver knows the type from the start. It may have to ask the server about all other types. */
    private static boolean isPlain(int type) {
        return switch (type) {
            case Oid.INT2,
                    Oid.INT4,
                    Oid.INT8,
                    Oid.OID,
                    Oid.NUMERIC,
                    Oid.MONEY,
                    Oid.FLOAT4,
                    Oid.FLOAT8,
                    Oid.BOOL,
                    Oid.CHAR,
                    Oid.BPCHAR,
                    Oid.VARCHAR,
                    Oid.TEXT,
                    Oid.NAME,
                    Oid.BYTEA,
                    Oid.DATE,
                    Oid.TIME,
                    Oid.TIMETZ,
                    Oid.TIMESTAMP,
                    Oid.TIMESTAMPTZ -> true;
            default -> false;
        };
    }

    @Override
    public Statement getStatement() throws SQLException {
        super.getStatement(); // fails if the result is closed
        return statement;
    }

    @Override
    public boolean isClosed() throws SQLException {
        return client.isEnded() || super.isClosed();
    }

    @Override
    public void close() throws SQLException {
        super.close();
        statement.forgetIfClosed();
    }

    @Override
    public String toString() {
        return rows.toString();
    }
}
