package dev.nanopool;

import java.sql.SQLException;

/** Something to do with the driver. Blocks until the server has answered. */
interface SqlAction {
    void run() throws SQLException;
}
