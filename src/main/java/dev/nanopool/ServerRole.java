package dev.nanopool;

import java.util.Locale;
import org.postgresql.core.BaseConnection;

/** The servers that a pool's connections may belong to, by {@code target_session_attrs}: checked as long as they live. */
enum ServerRole {
    ANY,
    PRIMARY,
    STANDBY;

    /** What the driver's {@code targetServerType} demands; a preference demands nothing. */
    static ServerRole of(String targetServerType) {
        return switch (targetServerType.toLowerCase(Locale.ROOT)) {
            case "primary", "master" -> PRIMARY;
            case "secondary", "slave" -> STANDBY;
            default -> ANY;
        };
    }

    /** By what the server reported last, at no round trip; servers before PostgreSQL 14 report nothing. */
    boolean isReportedBy(BaseConnection connection) {
        return this == ANY || !(this == PRIMARY ? "on" : "off").equals(connection.getParameterStatus("in_hot_standby"));
    }
}
