package dev.nanopool;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowable;

import dev.nanopool.PhysicalConnection.State;
import dev.nanopool.testkit.Threads;
import java.lang.reflect.InvocationHandler;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.Proxy;
import java.time.Duration;
import java.util.Arrays;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.postgresql.core.BaseConnection;

/** The life of a connection, without a server. */
@Timeout(120)
class PhysicalConnectionTest {
    private static final int ROUNDS = 2_000;
    private static final Pattern EDGE = Pattern.compile("([a-z]+)To([A-Z][a-z]+)");

    /** Each edge that there is, and the way from the start to its first state. */
    private static final Map<State, List<String>> WAYS = new EnumMap<>(Map.of(
            State.OPENING, List.of(),
            State.IDLE, List.of("openingToIdle"),
            State.LEASED, List.of("openingToIdle", "idleToLeased"),
            State.SERVICED, List.of("openingToIdle", "idleToServiced"),
            State.CLOSING, List.of("openingToIdle", "idleToClosing"),
            State.CLOSED, List.of("openingToIdle", "idleToClosing", "closingToClosed")));

    /** A client that does nothing. */
    private static final class Caller implements Client {
        private final Usage usage = new Usage(null);

        @Override
        public Thread owner() {
            return Thread.currentThread();
        }

        @Override
        public long startNanos() {
            return 7;
        }

        @Override
        public Usage usage() {
            return usage;
        }

        @Override
        public Client client() {
            return this;
        }

        @Override
        public Usage used() {
            return usage;
        }

        @Override
        public void cut() {}
    }

    private final Caller caller = new Caller();

    private static PhysicalConnection opening() throws Exception {
        return opening((proxy, method, arguments) -> nothing(method.getReturnType()));
    }

    private static PhysicalConnection opening(InvocationHandler pool) throws Exception {
        var driver = (BaseConnection) Proxy.newProxyInstance(
                BaseConnection.class.getClassLoader(),
                new Class<?>[] {BaseConnection.class},
                (proxy, method, arguments) -> nothing(method.getReturnType()));
        PoolConfig config = PoolConfig.builder("postgresql://h/db").build();
        @SuppressWarnings("unchecked") // the proxy has no type parameters
        var lender = (Lender<PhysicalConnection>)
                Proxy.newProxyInstance(Lender.class.getClassLoader(), new Class<?>[] {Lender.class}, pool);
        var session = new Session(
                new Connector.Opened(driver, null, false, "", Phases.of("h:5432", null, 0, 0, 0, 0)), config);
        return new PhysicalConnection(session, lender, Duration.ofMinutes(30), 0, 0, 0, new Ledger());
    }

    private static @Nullable Object nothing(Class<?> type) {
        if (type == int.class) return 0;
        if (type == boolean.class) return false;
        if (type == Map.class) return Map.of();
        return null;
    }

    private PhysicalConnection in(State state) throws Exception {
        PhysicalConnection connection = opening();
        for (String edge : Objects.requireNonNull(WAYS.get(state))) call(edge(edge), connection);
        assertThat(connection.state()).isEqualTo(state);
        return connection;
    }

    private static Method edge(String name) {
        return edges().stream()
                .filter(edge -> edge.getName().equals(name))
                .findFirst()
                .orElseThrow();
    }

    private static List<Method> edges() {
        return Arrays.stream(PhysicalConnection.class.getDeclaredMethods())
                .filter(method -> EDGE.matcher(method.getName()).matches())
                .toList();
    }

    private static State state(Method edge, int group) {
        Matcher names = EDGE.matcher(edge.getName());
        assertThat(names.matches()).isTrue();
        return State.valueOf(names.group(group).toUpperCase(java.util.Locale.ROOT));
    }

    private @Nullable Object call(Method method, PhysicalConnection connection) throws Exception {
        Object[] arguments = Arrays.stream(method.getParameterTypes())
                .map(type -> switch (type.getSimpleName()) {
                    case "Lease" -> (Object) caller;
                    case "CloseReason" -> CloseReason.RETIRED;
                    case "boolean" -> true;
                    case "long" -> 1L;
                    case "int" -> 0;
                    default -> throw new AssertionError("a parameter of a new type: " + method);
                })
                .toArray();
        try {
            return method.invoke(connection, arguments);
        } catch (InvocationTargetException e) {
            if (e.getCause() instanceof IllegalStateException bug) throw bug;
            throw e;
        }
    }

    // The edges are those that the Javadoc draws; a new one needs a line here.
    @Test
    void edgesMustBeThoseOfTheLife() {
        assertThat(edges().stream().map(Method::getName))
                .containsExactlyInAnyOrder(
                        "openingToIdle",
                        "idleToLeased",
                        "leasedToIdle",
                        "idleToServiced",
                        "servicedToIdle",
                        "idleToClosing",
                        "closingToClosed");
    }

    // Each edge in each state. From its own state it leads where its name says. From another one it is a bug, or, since
    // several threads may end a lease, it answers false. Then it has changed nothing.
    @Test
    void edgeMustBeAllowedInItsOwnStateOnly() throws Exception {
        for (Method edge : edges()) {
            for (State state : State.values()) {
                PhysicalConnection connection = in(state);
                long leases = connection.leases();
                if (state == state(edge, 1)) {
                    assertThat(call(edge, connection)).isIn(null, true);
                    assertThat(connection.state()).as("%s", edge).isEqualTo(state(edge, 2));
                } else if (edge.getReturnType() == boolean.class) {
                    assertThat(call(edge, connection))
                            .as("%s in %s", edge, state)
                            .isEqualTo(false);
                    assertThat(connection.state()).isEqualTo(state);
                } else {
                    assertThatThrownBy(() -> call(edge, connection))
                            .as("%s in %s", edge, state)
                            .isInstanceOf(IllegalStateException.class)
                            .hasMessageStartingWith("bug:")
                            .hasMessageEndingWith("from " + state + " to " + state(edge, 2));
                    assertThat(connection.state()).isEqualTo(state);
                    assertThat(connection.leases()).isEqualTo(leases);
                }
            }
        }
    }

    // All other methods, in each state, leave the state as it is.
    @Test
    void otherMethodsMustNotChangeTheState() throws Exception {
        for (Method method : PhysicalConnection.class.getDeclaredMethods()) {
            int modifiers = method.getModifiers();
            if (EDGE.matcher(method.getName()).matches() || method.isSynthetic()) continue;
            if (method.getName().equals("end")) continue; // takes the edge leasedToIdle
            if (Modifier.isPrivate(modifiers) || Modifier.isStatic(modifiers)) continue;
            for (State state : State.values()) {
                PhysicalConnection connection = in(state);
                boolean isEnding = state == State.CLOSING || state == State.CLOSED;
                if (method.getName().equals("closeReason") && !isEnding) continue; // there is none
                call(method, connection);
                assertThat(connection.state()).as("%s in %s", method, state).isEqualTo(state);
            }
        }
    }

    // The reason stays that of the first call, because a second call is a bug and must not change the first answer.
    @Test
    void reasonMustBeThatOfTheEdgeToClosing() throws Exception {
        PhysicalConnection connection = in(State.IDLE);
        connection.idleToClosing(CloseReason.LOST, false);
        assertThatThrownBy(() -> connection.idleToClosing(CloseReason.RESIZED, true))
                .isInstanceOf(IllegalStateException.class);
        assertThat(connection.closeReason()).isEqualTo(CloseReason.LOST);
        assertThat(connection.isLeaving()).isFalse();
        PhysicalConnection leaving = in(State.CLOSING);
        assertThat(leaving.closeReason()).isEqualTo(CloseReason.RETIRED);
        assertThat(leaving.isLeaving()).isTrue();
    }

    // A lease differs from all others, before and after the housekeeper has met it.
    @Test
    void leaseMustBeKnownUntilItEnds() throws Exception {
        PhysicalConnection connection = in(State.IDLE);
        assertThat(connection.lease()).isNull();
        assertThat(connection.lastingLease()).isNull();
        connection.idleToLeased(caller, 0);
        assertThat(connection.leases()).isEqualTo(1);
        assertThat(connection.lease()).isSameAs(caller);
        Lease.Lasting lasting = Objects.requireNonNull(connection.lastingLease());
        assertThat(connection.lastingLease()).as("made once").isSameAs(lasting);
        assertThat(connection.lease()).isSameAs(lasting);
        assertThat(connection.isLeasedBy(caller)).isTrue();
        assertThat(connection.isLeasedBy(lasting)).isTrue();
        assertThat(connection.isLeasedBy(new Caller())).isFalse();
        assertThat(lasting.owner()).isSameAs(Thread.currentThread());
        assertThat(lasting.startNanos()).isEqualTo(7);
        assertThat(lasting.usage()).isSameAs(caller.usage());
        assertThat(connection.leasedToIdle(caller)).isTrue();
        assertThat(connection.isLeasedBy(caller)).isFalse();
        assertThat(connection.isLeasedBy(lasting)).isFalse();
        assertThat(connection.lastingLease()).isNull();
    }

    // Only the housekeeper knows a lease whose client is unreachable, and ends it.
    @Test
    void lastingLeaseMustEndWithoutItsClient() throws Exception {
        PhysicalConnection connection = in(State.LEASED);
        Lease.Lasting lasting = Objects.requireNonNull(connection.lastingLease());
        lasting.clear();
        assertThat(connection.leasedToIdle(lasting)).isTrue();
        assertThat(connection.state()).isEqualTo(State.IDLE);
    }

    // What is left of an ended lease, its client or the housekeeper's view of it, never ends the next one.
    @Test
    void endedLeaseMustNotEndTheNextOne() throws Exception {
        PhysicalConnection connection = in(State.LEASED);
        Lease.Lasting old = Objects.requireNonNull(connection.lastingLease());
        assertThat(connection.leasedToIdle(caller)).isTrue();
        var next = new Caller();
        connection.idleToLeased(next, 0);
        for (int i = 0; i < 2; i++) {
            assertThat(connection.leasedToIdle(caller)).isFalse();
            assertThat(connection.leasedToIdle(old)).isFalse();
            assertThat(connection.isLeasedBy(next)).isTrue();
            assertThat(connection.lastingLease()).isNotNull(); // the second time with the next one as a Lasting
        }
        assertThat(connection.leasedToIdle(next)).isTrue();
        assertThat(connection.leases()).isEqualTo(2);
    }

    // Two threads end one lease, by its client or by what the housekeeper knows of it, while the housekeeper meets it.
    // Exactly one wins.
    @Test
    void exactlyOneThreadMustEndALease() throws Exception {
        var threads = new Threads();
        PhysicalConnection connection = in(State.IDLE);
        for (int round = 0; round < ROUNDS; round++) {
            var client = new Caller();
            connection.idleToLeased(client, 0);
            Lease second = round % 2 == 0 ? client : Objects.requireNonNull(connection.lastingLease());
            var start = new CyclicBarrier(3);
            var wins = new AtomicInteger();
            for (Lease ended : List.of(client, second)) {
                threads.start(() -> {
                    start.await();
                    if (connection.leasedToIdle(ended)) wins.incrementAndGet();
                });
            }
            threads.start(() -> {
                start.await();
                Lease.Lasting met = connection.lastingLease();
                if (met != null) assertThat(met.client()).isSameAs(client);
            });
            threads.join();
            assertThat(wins).hasValue(1);
            assertThat(connection.state()).isEqualTo(State.IDLE);
            assertThat(connection.lease()).isNull();
        }
    }

    // A lease that ends passes its connection on with what is known of the end. If that fails, the connection is
    // abandoned, so that the housekeeper recovers it. An ended lease passes nothing on.
    @Test
    void endedLeaseMustPassItsConnectionOnOnceOrAbandonIt() throws Exception {
        for (boolean isFailing : new boolean[] {false, true}) {
            var calls = new AtomicInteger();
            var reports = new AtomicInteger();
            PhysicalConnection connection = opening((proxy, method, arguments) -> {
                calls.incrementAndGet();
                assertThat(method.getName()).isEqualTo("ended");
                assertThat(((PhysicalConnection) arguments[0]).state()).isEqualTo(State.IDLE);
                assertThat(arguments[1]).isSameAs(caller);
                assertThat(arguments[2]).isEqualTo(5);
                if (isFailing) throw new OutOfMemoryError("injected");
                return (Runnable) reports::incrementAndGet;
            });
            connection.openingToIdle();
            connection.idleToLeased(caller, 0);
            if (isFailing)
                assertThat(catchThrowable(() -> connection.end(caller, 5))).hasMessage("injected");
            else assertThat(connection.end(caller, 5)).isTrue();
            assertThat(connection.abandoned).isEqualTo(isFailing);
            assertThat(connection.state()).isEqualTo(State.IDLE);
            assertThat(connection.end(caller, 5)).isFalse();
            assertThat(calls).hasValue(1);
            assertThat(reports).hasValue(isFailing ? 0 : 1);
        }
    }

    // The housekeeper meets leases again and again while their client ends them. The client need not try again.
    @Test
    void leaseMustEndWhileTheHousekeeperMeetsIt() throws Exception {
        var threads = new Threads();
        PhysicalConnection connection = in(State.IDLE);
        var isDone = new AtomicBoolean();
        threads.start(() -> {
            while (!isDone.get()) connection.lastingLease();
        });
        try {
            for (int round = 0; round < 100 * ROUNDS; round++) {
                connection.idleToLeased(caller, 0);
                assertThat(connection.leasedToIdle(caller)).isTrue();
            }
        } finally {
            isDone.set(true);
            threads.join();
        }
    }

    // Connections that were opened together do not expire together.
    @Test
    void lifetimeMustBeBetweenThreeQuartersAndAll() {
        Duration lifetime = Duration.ofSeconds(100);
        assertThat(PhysicalConnection.jittered(lifetime, 0))
                .isEqualTo(Duration.ofSeconds(75).toNanos());
        assertThat(PhysicalConnection.jittered(lifetime, 1)).isEqualTo(lifetime.toNanos());
    }
}
