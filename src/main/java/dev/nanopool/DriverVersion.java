package dev.nanopool;

import java.sql.SQLException;
import java.sql.SQLNonTransientConnectionException;
import java.util.List;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import org.postgresql.Driver;
import org.postgresql.PGConnection;
import org.postgresql.util.DriverInfo;

/** The version of the driver on the class path, which a framework may have chosen, and what that version lacks. */
final class DriverVersion {
    /** The first one without CVE-2024-1597, and the first one that has {@code alterUserPassword}. */
    static final String OLDEST = "42.7.2";

    /** The first one that lacks nothing. */
    static final String WHOLE = "42.7.13";

    /**
     * What the versions from one to another lack on some releases of Java.
     *
     * @param before the first version that lacks it no longer
     * @param promise what does not hold
     */
    private record Lack(String from, String before, int fromJava, int beforeJava, String promise) {}

    private static final int NO_END = Integer.MAX_VALUE;

    private static final List<Lack> LACKS = List.of(
            new Lack(OLDEST, "42.7.6", 24, NO_END, "setNetworkTimeout fails with a SecurityException"),
            new Lack("42.7.8", "42.7.9", 0, 24, "preparing a statement can pin a virtual thread to its carrier"),
            new Lack(OLDEST, "42.7.11", 0, NO_END, "a COPY whose connection breaks can hang"),
            new Lack(OLDEST, "42.7.12", 0, NO_END, "channelBinding does not always protect (CVE-2026-54291)"),
            new Lack("42.7.7", WHOLE, 0, NO_END, "each BEGIN is sent by itself"));

    private static final String NAME = name();
    private static final boolean HAS_QUERY_TIMEOUT = number(NAME) >= number("42.7.9");

    private DriverVersion() {}

    /** Whether the driver is newer than the one with which the pool was compiled, whose constant the compiler has copied. */
    static boolean isNewerThanKnown() {
        return number(NAME) > number(DriverInfo.DRIVER_VERSION);
    }

    /** As the driver itself says, because the compiler has copied the constants of the driver that it saw. */
    @SuppressWarnings("deprecation")
    private static String name() {
        String full = Driver.getVersion();
        return full.substring(full.lastIndexOf(' ') + 1);
    }

    /** A number that orders versions. A version without numbers is one that somebody has built, and counts as new. */
    private static int number(String version) {
        List<Integer> parts = Pattern.compile("\\d+")
                .matcher(version)
                .results()
                .map(MatchResult::group)
                .map(Integer::parseInt)
                .toList();
        return parts.size() < 3 ? NO_END : (parts.get(0) * 1_000 + parts.get(1)) * 1_000 + parts.get(2);
    }

    /** Refuses a driver that the pool cannot work with. */
    static void check(String pool) throws SQLException {
        String why = refusal(NAME);
        if (why != null) throw new SQLNonTransientConnectionException(pool + ": " + why, Failures.UNABLE_TO_CONNECT);
    }

    static @Nullable String refusal(String version) {
        if (number(version) >= number(OLDEST)) return null;
        return "the class path has pgJDBC " + version + ", which is too old: " + OLDEST + " or newer is needed"
                + advice();
    }

    /** What the driver lacks, in one line. Null if it lacks nothing. */
    static @Nullable String warning() {
        return warning(NAME, Runtime.version().feature());
    }

    static @Nullable String warning(String version, int java) {
        int number = number(version);
        String promises = LACKS.stream()
                .filter(lack -> number >= number(lack.from) && number < number(lack.before))
                .filter(lack -> java >= lack.fromJava && java < lack.beforeJava)
                .map(Lack::promise)
                .collect(Collectors.joining("; "));
        if (promises.isEmpty()) return null;
        return "the class path has pgJDBC " + version + ", with which " + promises + "; use " + WHOLE + " or newer"
                + advice();
    }

    private static String advice() {
        boolean isBoot = DriverVersion.class.getResource("/org/springframework/boot/SpringApplication.class") != null;
        return isBoot ? " (in Spring Boot, the property postgresql.version names it)" : "";
    }

    // What not every driver has

    /** The query timeout of new statements. An older driver has none for a connection. */
    static int queryTimeout(PGConnection connection) throws SQLException {
        return HAS_QUERY_TIMEOUT ? connection.getQueryTimeout() : 0;
    }

    static void setQueryTimeout(PGConnection connection, int seconds) throws SQLException {
        if (HAS_QUERY_TIMEOUT) connection.setQueryTimeout(seconds);
    }
}
