package dev.nanopool;

import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.Set;
import org.postgresql.core.BaseConnection;
import org.postgresql.core.TransactionState;

/**
 * What a client changed in its session, and how it is undone. Belongs to the lease: not thread-safe, but for the set of
 * changes, which grows only.
 */
final class SessionState {
    /** What the JDBC setters change. Those from ISOLATION on live in the server. */
    enum Change {
        AUTO_COMMIT,
        READ_ONLY,
        HOLDABILITY,
        NETWORK_TIMEOUT,
        TYPE_MAP,
        WARNINGS,
        ISOLATION,
        SCHEMA,
        CLIENT_INFO
    }

    private final BaseConnection connection;
    private final int networkTimeout;
    private final boolean readOnly;
    private final Set<Change> changes = EnumSet.noneOf(Change.class);
    private volatile boolean changed;

    SessionState(BaseConnection connection) throws SQLException {
        this.connection = connection;
        this.networkTimeout = connection.getNetworkTimeout();
        this.readOnly = connection.isReadOnly();
    }

    void changed(Change change) {
        changes.add(change);
        changed = true;
    }

    /** True: nothing to undo, and no transaction is open. Two field reads. */
    boolean isClean() {
        return !changed && connection.getTransactionState() == TransactionState.IDLE;
    }

    /** Undoes what was changed. Blocks for a round trip or two if the server is concerned. */
    void reset() throws SQLException {
        // By the driver's status, which sees a BEGIN in SQL text, too. Never by setAutoCommit(true): that would commit.
        if (connection.getTransactionState() != TransactionState.IDLE) {
            connection.setAutoCommit(false);
            connection.rollback();
        }
        connection.setAutoCommit(true);
        StringBuilder sql = new StringBuilder();
        for (Change change : changes) {
            switch (change) {
                case AUTO_COMMIT -> {} // always, above
                case READ_ONLY -> connection.setReadOnly(readOnly);
                case HOLDABILITY -> connection.setHoldability(ResultSet.CLOSE_CURSORS_AT_COMMIT);
                case NETWORK_TIMEOUT -> connection.setNetworkTimeout(Runnable::run, networkTimeout);
                case TYPE_MAP -> connection.setTypeMap(new HashMap<>());
                case WARNINGS -> connection.clearWarnings();
                case ISOLATION -> sql.append("RESET default_transaction_isolation;");
                case SCHEMA -> sql.append("RESET search_path;");
                case CLIENT_INFO -> sql.append("RESET application_name;");
            }
        }
        if (!sql.isEmpty()) {
            try (Statement statement = connection.createStatement()) {
                statement.execute(sql.toString());
            }
        }
        connection.clearWarnings();
        changes.clear();
        changed = false;
    }
}
