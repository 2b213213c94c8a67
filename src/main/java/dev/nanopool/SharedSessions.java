package dev.nanopool;

import dev.nanopool.sql.Change;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.IntConsumer;
import java.util.regex.Pattern;

/**
 * Reports what leases change in sessions that a transaction pooler shares, once for each kind of change and each place in the
 * user's code. Thread-safe.
 */
final class SharedSessions implements IntConsumer {
    private static final int MOST_SITES = 1_000;

    /** What ends with the transaction, in its plainest form, though {@code SqlText} counts it in doubt as a change. */
    private static final Pattern LOCAL = Pattern.compile(
            "\\bset_config\\s*\\([^();]*,\\s*true\\s*\\)|\\bcreate\\s+temp(orary)?\\s+table\\b[^;]*?\\bon\\s+commit\\s+drop\\b",
            Pattern.CASE_INSENSITIVE);

    private final Events events;
    private final Set<String> reported = ConcurrentHashMap.newKeySet();

    SharedSessions(Events events) {
        this.events = events;
    }

    /** @param changes a set of {@linkplain Change#bit() changes} that the calling thread makes */
    @Override
    public void accept(int changes) {
        if (reported.size() >= MOST_SITES) return;
        String site = Stacks.callSite();
        for (Change change : Change.values()) {
            if ((changes & change.bit()) != 0 && reported.add(change + site)) {
                events.happened(new Event.SharedSessionChanged(change, instead(change), site));
            }
        }
    }

    /** The SQL text without what the server itself undoes at the end of the transaction. */
    static String withoutLocal(String sql) {
        return LOCAL.matcher(sql).replaceAll("null");
    }

    /** What to write instead. */
    private static String instead(Change change) {
        return switch (change) {
            case ISOLATION -> "SET TRANSACTION ISOLATION LEVEL as the first statement of the transaction";
            case SCHEMA -> "SET LOCAL search_path in the transaction, or ALTER ROLE ... SET search_path";
            case CLIENT_INFO -> "ApplicationName in the URL, or SET LOCAL application_name in the transaction";
            case SETTINGS ->
                "SET LOCAL or set_config(..., true) in the transaction that needs it, or ALTER ROLE ... SET";
            case ROLE -> "SET LOCAL ROLE in the transaction";
            case LISTEN -> "LISTEN on a connection that goes past the pooler";
            case LOCKS -> "pg_advisory_xact_lock in the transaction";
            case TEMP -> "CREATE TEMP TABLE ... ON COMMIT DROP in the transaction that uses it";
            case PREPARED -> "a PreparedStatement; prepareThreshold only if the pooler tracks prepared statements";
            case CURSORS -> "DECLARE without WITH HOLD, and FETCH, in one transaction, or a fetch size";
            case UNKNOWN -> "code that sets nothing beyond its transaction: SET LOCAL, set_config(..., true)";
            case UNWRAPPED -> "the client itself, which has the driver's interfaces";
            case IRREVERSIBLE -> "it on a connection that goes past the pooler";
            case AUTO_COMMIT, READ_ONLY, HOLDABILITY, NETWORK_TIMEOUT, TYPE_MAP, DRIVER ->
                throw new IllegalArgumentException("bug: " + change + " is no change of the server");
        };
    }
}
