package dev.nanopool;

import java.lang.reflect.InvocationHandler;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.sql.SQLException;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import org.postgresql.core.BaseConnection;
import org.postgresql.largeobject.LargeObject;
import org.postgresql.largeobject.LargeObjectManager;

/** A client's large objects. The driver's class makes all its methods of the three that stand here. */
final class ClientLargeObjectManager extends LargeObjectManager {
    private final ClientConnection client;

    ClientLargeObjectManager(ClientConnection client) throws SQLException {
        super(silent(client.delegate()));
        this.client = client;
    }

    private interface Use<T extends @Nullable Object> {
        T of(BaseConnection driver) throws SQLException;
    }

    private <T extends @Nullable Object> T enter(Use<T> use) throws SQLException {
        PhysicalConnection inside = client.enter();
        try {
            return use.of(client.delegate());
        } catch (SQLException | RuntimeException | Error failure) {
            client.recordFailure(failure, true);
            throw failure;
        } finally {
            client.exit(inside);
        }
    }

    @Override
    public LargeObject open(long oid, int mode, boolean commitOnClose) throws SQLException {
        return enter(driver -> {
            if (driver.getAutoCommit()) {
                throw new SQLException(
                        "large objects need a transaction: setAutoCommit(false)", Failures.NO_ACTIVE_SQL_TRANSACTION);
            }
            return new ClientLargeObject(client, this, driver, oid, mode, commitOnClose);
        });
    }

    @Override
    public long createLO(int mode) throws SQLException {
        return enter(driver -> driver.getLargeObjectAPI().createLO(mode));
    }

    @Override
    public void delete(long oid) throws SQLException {
        enter(driver -> {
            driver.getLargeObjectAPI().delete(oid);
            return null;
        });
    }

    /**
     * A connection that answers nothing. The driver's constructor asks the server for the numbers of its functions, which
     * the driver's own manager, used above, already knows.
     */
    private static BaseConnection silent(BaseConnection driver) {
        Set<String> answered = Set.of("getFastpathAPI", "getLogger");
        return (BaseConnection) silent(BaseConnection.class, (proxy, method, arguments) -> {
            if (answered.contains(method.getName())) return method.invoke(driver, arguments);
            return nothing(proxy, method, arguments);
        });
    }

    private static Object silent(Class<?> type, InvocationHandler handler) {
        return Proxy.newProxyInstance(type.getClassLoader(), new Class<?>[] {type}, handler);
    }

    @SuppressWarnings("UnusedVariable") // the shape of an InvocationHandler
    private static @Nullable Object nothing(Object proxy, Method method, Object @Nullable [] arguments) {
        Class<?> type = method.getReturnType();
        if (type.isInterface()) return silent(type, ClientLargeObjectManager::nothing);
        return type == boolean.class ? false : null;
    }
}
