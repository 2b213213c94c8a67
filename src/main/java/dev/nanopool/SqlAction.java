package dev.nanopool;

import java.sql.SQLException;

/** An action of the driver, which blocks until the server has answered. */
interface SqlAction {
    void run() throws SQLException;
}
