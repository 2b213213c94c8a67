package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.InstanceOfAssertFactories.throwable;

import dev.nanopool.CloseReason;
import dev.nanopool.Pool;
import dev.nanopool.PoolListener;
import dev.nanopool.testkit.PoolTestBase;
import dev.nanopool.testkit.TestServer;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.postgresql.PGConnection;
import org.postgresql.util.PGobject;

/** An error of a statement keeps the connection; only what ends the session costs it. */
class StatementErrorTest extends PoolTestBase {
    private final Queue<CloseReason> reasons = new ConcurrentLinkedQueue<>();

    private Pool open() throws SQLException {
        return open(config().size(1).listener(new PoolListener() {
            @Override
            public void closed(String name, int backendPid, CloseReason reason) {
                reasons.add(reason);
            }
        }));
    }

    /** Does it twice in two leases, which must be of the same connection. */
    private void mustKeepTheConnection(Deed deed) throws Exception {
        Pool pool = open();
        for (int i = 0; i < 2; i++) {
            try (Connection client = pool.client()) {
                Throwable thrown = org.assertj.core.api.Assertions.catchThrowable(() -> deed.in(client));
                assertThat(thrown).as("it fails").isNotNull();
                assertThat(TestServer.query(client, "SELECT 1")).isEqualTo("1");
            }
            try (Connection client = pool.client()) {
                assertThat(TestServer.query(client, "SELECT 1")).isEqualTo("1");
            }
        }
        awaitBalance(pool);
        assertThat(reasons).isEmpty();
        assertThat(pool.stats().opened()).isEqualTo(1);
        assertThat(pool.stats().lost()).isZero();
    }

    @FunctionalInterface
    interface Deed {
        void in(Connection client) throws Exception;
    }

    // A parameter that is missing is refused by the server with a state of class 08.
    @Test
    void missingParameterMustKeepTheConnection() throws Exception {
        mustKeepTheConnection(client -> TestServer.execute(client, "SELECT $1"));
    }

    // One state of each class that is about connections, resources or the system; severity ERROR each.
    @ParameterizedTest
    @ValueSource(
            strings = {
                "08000", "08006", "08P01", "53000", "53200", "53300", "53400", "57000", "57P01", "57P02", "57P03",
                        "57P05",
                "58000", "58030", "F0000", "F0001", "XX000", "XX001", "XX002", "25P03", "25P04", "P0001", "22012",
                        "0A000"
            })
    void raisedErrorMustKeepTheConnection(String state) throws Exception {
        mustKeepTheConnection(client -> TestServer.execute(
                client, "DO $$ BEGIN RAISE EXCEPTION 'on purpose' USING ERRCODE = '" + state + "'; END $$"));
    }

    static Stream<Named> misuses() {
        return Stream.of(
                new Named("prepareStatement(null)", client -> client.prepareStatement(null)),
                new Named("execute(null)", client -> TestServer.execute(client, null)),
                new Named("getValue that throws", client -> {
                    try (PreparedStatement statement = client.prepareStatement("SELECT ?")) {
                        statement.setObject(1, new Bad("point"));
                        statement.execute();
                    }
                }),
                new Named("setValue that throws", client -> {
                    ((PGConnection) client).addDataType("point", Unreadable.class);
                    try (Statement statement = client.createStatement();
                            ResultSet row = statement.executeQuery("SELECT point(1, 2)")) {
                        row.next();
                        row.getObject(1);
                    }
                }));
    }

    record Named(String name, Deed deed) {
        @Override
        public String toString() {
            return name;
        }
    }

    /** A value whose class is at fault. */
    private static final class Bad extends PGobject {
        private static final long serialVersionUID = 1;

        Bad(String type) {
            setType(type);
        }

        @Override
        public String getValue() {
            throw new IllegalStateException("no value");
        }
    }

    /** A class that cannot read its value. */
    public static final class Unreadable extends PGobject {
        private static final long serialVersionUID = 1;

        @Override
        public void setValue(String value) {
            throw new IllegalStateException("unreadable");
        }
    }

    // A call that is wrong, or an object of the caller that throws, has sent nothing.
    @ParameterizedTest
    @MethodSource("misuses")
    void misuseMustKeepTheConnection(Named misuse) throws Exception {
        mustKeepTheConnection(misuse.deed);
    }

    // Severity FATAL: the server has ended the session.
    @Test
    void terminatedSessionMustCostTheConnection() throws Exception {
        Pool pool = open();
        try (Connection client = pool.client()) {
            assertThatThrownBy(() -> TestServer.execute(client, "SELECT pg_terminate_backend(pg_backend_pid())"))
                    .asInstanceOf(throwable(SQLException.class))
                    .satisfies(e -> assertThat(e.getSQLState()).isEqualTo("57P01"));
        }
        try (Connection client = pool.client()) {
            assertThat(TestServer.query(client, "SELECT 1")).isEqualTo("1");
        }
        awaitBalance(pool);
        assertThat(reasons).containsExactly(CloseReason.LOST);
        assertThat(pool.stats().lost()).isEqualTo(1);
    }
}
