package dev.nanopool;

import java.sql.Array;
import java.sql.ResultSet;
import java.sql.SQLException;
import org.jspecify.annotations.Nullable;

/** A client's array. Its rows lead back to the client. */
final class ClientArray extends ForwardingArray {
    ClientArray(ClientConnection client, Array array) {
        super(client, array);
    }

    @Override
    @Nullable
    ResultSet wrap(@Nullable ResultSet rows) throws SQLException {
        return rows == null
                ? null
                : ClientStatement.ofRows(client, rows.getStatement()).wrap(rows);
    }

    /** Returns the array as text. The driver may have to ask the server. */
    @Override
    public String toString() {
        PhysicalConnection inside = client.tryEnter();
        if (inside == null) return "array of a closed client";
        try {
            return String.valueOf(array);
        } finally {
            client.exit(inside);
        }
    }
}
