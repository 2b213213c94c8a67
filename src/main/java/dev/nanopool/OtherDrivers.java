package dev.nanopool;

import java.util.Collection;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import org.postgresql.PGProperty;

/** The tuning properties of other databases' drivers, which configurations copy from pool to pool. */
final class OtherDrivers {
    /** The property of pgJDBC that does the same, or why there is none. The keys are in lower case. */
    private static final Map<String, String> COUNTERPARTS = new HashMap<>();

    /** Properties that protect a connection unless they are off, with the mode that replaces them. */
    private static final Map<String, String> PROTECTING = Map.of(
            "usessl", "sslmode=require",
            "requiressl", "sslmode=require",
            "verifyservercertificate", "sslmode=verify-full",
            "encrypt", "sslmode=require");

    private static final Set<String> OFF = Set.of("false", "no", "optional");

    static {
        String cache = "preparedStatementCacheQueries";
        String batches = "reWriteBatchedInserts";
        String fetch = "defaultRowFetchSize";
        // MySQL, MariaDB
        put(cache, "cachePrepStmts", "prepStmtCacheSize", "cacheCallableStmts", "callableStmtCacheSize");
        put("preparedStatementCacheSizeMiB", "prepStmtCacheSqlLimit");
        put("prepareThreshold", "useServerPrepStmts");
        put(batches, "rewriteBatchedStatements", "useBatchMultiSend", "useBulkStmts", "useBulkStmtsForInserts");
        put("databaseMetadataCacheFields", "cacheResultSetMetadata", "metadataCacheSize");
        put(fetch, "useCursorFetch", "defaultFetchSize");
        put(
                "not needed: the driver knows the session's state",
                "useLocalSessionState",
                "useLocalTransactionState",
                "elideSetAutoCommits",
                "alwaysSendSetIsolation",
                "cacheServerConfiguration",
                "cacheDefaultTimezone",
                "cacheDefaultTimeZone",
                "readOnlyPropagatesToServer");
        put(
                "not needed: the driver keeps no such records",
                "maintainTimeStats",
                "gatherPerfMetrics",
                "enableQueryTimeouts",
                "dontTrackOpenResources",
                "holdResultsOpenOverStatementClose",
                "profileSQL",
                "logSlowQueries",
                "slowQueryThresholdMillis",
                "explainSlowQueries");
        put(
                "not needed: the driver always uses UTF8",
                "characterEncoding",
                "useUnicode",
                "characterSetResults",
                "connectionCollation");
        put(
                "not needed: the session has the JVM's time zone",
                "serverTimezone",
                "connectionTimeZone",
                "forceConnectionTimeZoneToSession",
                "useLegacyDatetimeCode",
                "useTimezone",
                "useJDBCCompliantTimezoneShift");
        put(
                "not needed: the pool replaces lost connections",
                "autoReconnect",
                "autoReconnectForPools",
                "failOverReadOnly",
                "maxReconnects");
        put(
                "PostgreSQL has no such thing",
                "zeroDateTimeBehavior",
                "tinyInt1isBit",
                "transformedBitIsBoolean",
                "yearIsDateType",
                "allowMultiQueries",
                "allowPublicKeyRetrieval",
                "useCompression",
                "useInformationSchema",
                "nullCatalogMeansCurrent",
                "nullNamePatternMatchesAll",
                "useOldAliasMetadataBehavior",
                "noAccessToProcedureBodies",
                "jdbcCompliantTruncation",
                "useAffectedRows",
                "maxAllowedPacket",
                "netTimeoutForStreamingResults");
        // SQL Server
        put(cache, "statementPoolingCacheSize", "disableStatementPooling");
        put("prepareThreshold", "prepareMethod", "enablePrepareOnFirstPreparedStatementCall");
        put("stringtype", "sendStringParametersAsUnicode");
        put(fetch, "responseBuffering", "selectMethod");
        put(batches, "useBulkCopyForBatchInsert");
        // Oracle
        put(cache, "implicitStatementCacheSize", "oracle.jdbc.implicitStatementCacheSize", "implicitCachingEnabled");
        put(fetch, "defaultRowPrefetch", "oracle.jdbc.defaultRowPrefetch");
        put(batches, "defaultBatchValue");
        PROTECTING.forEach((name, mode) -> COUNTERPARTS.put(name, mode.substring(0, mode.indexOf('='))));
    }

    private OtherDrivers() {}

    private static void put(String counterpart, String... names) {
        for (String name : names) COUNTERPARTS.put(name.toLowerCase(Locale.ROOT), counterpart);
    }

    static boolean isKnown(String name) {
        return PGProperty.forName(name) == null && COUNTERPARTS.containsKey(name.toLowerCase(Locale.ROOT));
    }

    /** Why the pool refuses a property that should protect the connection and would not. Null if it takes the property. */
    static @Nullable String refusal(String name, String value) {
        String mode = PROTECTING.get(name.toLowerCase(Locale.ROOT));
        if (mode == null || OFF.contains(value.toLowerCase(Locale.ROOT))) return null;
        return " is another driver's, and would not protect the connection; use " + mode + " in the URL, or "
                + TlsMode.of(mode.substring(mode.indexOf('=') + 1)) + " as the TLS mode";
    }

    /** The line of the log about such properties. Null if there are none. */
    static @Nullable String warning(Collection<String> names) {
        String ignored = new TreeSet<>(names)
                .stream()
                        .filter(OtherDrivers::isKnown)
                        .map(OtherDrivers::explained)
                        .collect(Collectors.joining(", "));
        return ignored.isEmpty() ? null : "properties of another driver have no effect: " + ignored;
    }

    private static String explained(String name) {
        String counterpart = COUNTERPARTS.getOrDefault(name.toLowerCase(Locale.ROOT), "");
        return name + " (" + (PGProperty.forName(counterpart) != null ? "pgJDBC has " : "") + counterpart + ")";
    }

    static Map<String, String> counterparts() {
        return Map.copyOf(COUNTERPARTS);
    }
}
