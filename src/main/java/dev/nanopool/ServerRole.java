package dev.nanopool;

import java.util.Locale;
import org.postgresql.core.BaseConnection;

/** The servers that a pool's connections may belong to, by {@code target_session_attrs}. The pool checks it all the time. */
enum ServerRole {
    ANY,
    PRIMARY,
    STANDBY;

    /** The role that the driver's {@code targetServerType} demands. A preference demands none. */
    static ServerRole of(String targetServerType) {
        return switch (targetServerType.toLowerCase(Locale.ROOT)) {
            case "primary", "master" -> PRIMARY;
            case "secondary", "slave" -> STANDBY;
            default -> ANY;
        };
    }

    /** Whether the server has this role by its last report, without a round trip. Before PostgreSQL 14 servers report none. */
    boolean isReportedBy(BaseConnection connection) {
        return this == ANY || !(this == PRIMARY ? "on" : "off").equals(connection.getParameterStatus("in_hot_standby"));
    }
}
