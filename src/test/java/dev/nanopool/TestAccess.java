package dev.nanopool;

import dev.nanopool.driver.PeekableSocket;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.function.BooleanSupplier;
import java.util.function.Consumer;

/** The one door through which tests of other packages see what is package-private. */
public final class TestAccess {
    private static final VarHandle ALIVE_NANOS = field(PhysicalConnection.class, "aliveNanos", long.class);
    private static final List<VarHandle> TIMES = List.of(
            field(PhysicalConnection.class, "idleNanos", long.class),
            field(PhysicalConnection.class, "answeredNanos", long.class),
            ALIVE_NANOS);
    private static final VarHandle SOCKET = field(Session.class, "socket", PeekableSocket.class);
    private static final VarHandle HEARD_NANOS = field(PeekableSocket.class, "heardNanos", long.class);

    private static final List<VarHandle> SELECTORS = List.of(selector("readable"), selector("writable"));

    private TestAccess() {}

    private static VarHandle selector(String name) {
        try {
            return field(PeekableSocket.class, name, Class.forName("dev.nanopool.driver.Readiness"));
        } catch (ClassNotFoundException e) {
            throw new ExceptionInInitializerError(e);
        }
    }

    private static VarHandle field(Class<?> owner, String name, Class<?> type) {
        try {
            return MethodHandles.privateLookupIn(owner, MethodHandles.lookup()).findVarHandle(owner, name, type);
        } catch (ReflectiveOperationException e) {
            throw new ExceptionInInitializerError(e);
        }
    }

    /** Faults of its own that the pool has noticed. */
    public static long bugs(Pool pool) {
        return pool.bugs();
    }

    /**
     * What must hold in a quiet pool. All permits are free, each connection is idle, and no caller waits. Empty if it
     * holds.
     */
    public static String imbalance(Pool pool) {
        PoolStats stats = pool.stats();
        int free = pool.freePermits();
        boolean balanced = stats.active() == 0
                && stats.pending() == 0
                && stats.opening() == 0
                && free == stats.size()
                && stats.opened() - stats.closed() == stats.idle()
                && pool.surplusUnits() == 0;
        return balanced ? "" : "free permits " + free + ", surplus units " + pool.surplusUnits() + ", " + stats;
    }

    /** An action that makes the connection of that client look unused for some time, once the client is closed. */
    public static Consumer<Duration> aging(Connection client) throws SQLException {
        PhysicalConnection connection = ((ClientConnection) client).connection();
        return time -> {
            for (VarHandle field : TIMES) age(field, connection, time);
            age(HEARD_NANOS, SOCKET.getVolatile(connection.session()), time);
        };
    }

    /** Whether the connection of that client holds a selector, also once the client is closed. */
    public static BooleanSupplier holdingSelector(Connection client) throws SQLException {
        Session session = ((ClientConnection) client).connection().session();
        return () -> holdsSelector((PeekableSocket) SOCKET.getVolatile(session));
    }

    public static boolean holdsSelector(PeekableSocket socket) {
        return SELECTORS.stream().anyMatch(selector -> selector.getVolatile(socket) != null);
    }

    /** Makes the connection of that client look as if the server had said something just now. */
    public static void hear(Connection client) throws SQLException {
        ALIVE_NANOS.setVolatile(((ClientConnection) client).connection(), Clock.nanoTime());
    }

    private static void age(VarHandle field, Object of, Duration time) {
        field.setVolatile(of, (long) field.getVolatile(of) - time.toNanos());
    }

    /** Whether a thread uses that client. */
    public static BooleanSupplier isInside(Connection client) throws SQLException {
        return ((ClientConnection) client).used()::isInside;
    }

    /** How many permits no caller holds, those of idle connections included. */
    public static int freePermits(Pool pool) {
        return pool.freePermits();
    }

    /** As if the wall clock had jumped, and the other one had not. */
    public static void shiftWallClock(Pool pool, Duration jump) {
        pool.clock().shiftWallClock(jump.toMillis());
    }

    /** HikariCP's properties by what README says about them. */
    public static Map<String, Set<String>> hikari() {
        Map<String, Set<String>> names = new TreeMap<>();
        Settings.TABLE.forEach(row ->
                names.computeIfAbsent(row.hikari, each -> new TreeSet<>()).add(row.name));
        names.remove(""); // not HikariCP's
        Settings.MEANINGLESS.forEach((name, why) ->
                names.computeIfAbsent(why, each -> new TreeSet<>()).add(name));
        return names;
    }

    public static boolean isClosed(Pool pool) {
        return pool.isClosed();
    }
}
