package dev.nanopool;

import static org.assertj.core.api.Assertions.assertThat;

import dev.nanopool.JvmClock.Round;
import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.Stopwatch;
import java.io.IOException;
import java.io.InputStream;
import java.lang.ref.WeakReference;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** One thread looks after all pools, and none of them disturbs the others. */
class JvmClockTest {
    private static final Duration PATIENCE = Duration.ofSeconds(5);
    private static final long BEAT_NANOS = Duration.ofMillis(250).toNanos();

    private final List<Round> added = new ArrayList<>();

    /** Counts its rounds, which are due four times a second. */
    private static class Counting implements Round {
        final AtomicInteger looks = new AtomicInteger();
        final AtomicInteger kept = new AtomicInteger();
        final AtomicReference<@Nullable Throwable> failure = new AtomicReference<>();
        volatile boolean isRung;
        volatile long latestNanos;

        @Override
        public boolean takeRing() {
            boolean wanted = isRung;
            isRung = false;
            return wanted;
        }

        @Override
        public void keepTime(long nowNanos) {
            kept.incrementAndGet();
        }

        @Override
        public long look(long nowNanos) {
            looks.incrementAndGet();
            latestNanos = nowNanos;
            return JvmClock.next(nowNanos, BEAT_NANOS);
        }

        @Override
        public void failed(Throwable thrown) {
            failure.set(thrown);
        }

        void ring() {
            isRung = true;
            JvmClock.wake();
        }
    }

    /** Its rounds are never due. */
    private static final class Quiet extends Counting {
        @Override
        public long look(long nowNanos) {
            long unused = super.look(nowNanos);
            return Long.MAX_VALUE;
        }
    }

    private <R extends Round> R add(R round) {
        JvmClock.add(round);
        added.add(round);
        return round;
    }

    private static List<Thread> clocks() {
        return Thread.getAllStackTraces().keySet().stream()
                .filter(thread -> thread.getName().equals("nanopool-clock"))
                .toList();
    }

    @AfterEach
    void threadMustEndWithTheLastPool() {
        for (Round round : added) assertThat(JvmClock.remove(round, PATIENCE)).isTrue();
        assertThat(clocks()).isEmpty();
    }

    // The first pool starts it, also after the last one has ended it.
    @Test
    void onePoolOrManyMustHaveOneThread() {
        for (int i = 0; i < 3; i++) {
            assertThat(clocks()).isEmpty();
            for (int pool = 0; pool < 50; pool++) add(new Counting());
            assertThat(clocks()).hasSize(1);
            threadMustEndWithTheLastPool();
            added.clear();
        }
    }

    // It may outlive the application that has made the first pool.
    @Test
    void threadMustInheritNothing() throws Exception {
        var inherited = new InheritableThreadLocal<String>();
        inherited.set("alice");
        Thread current = Thread.currentThread();
        ClassLoader before = current.getContextClassLoader();
        current.setContextClassLoader(new ClassLoader(before) {});
        var seen = new AtomicReference<@Nullable String>("nothing yet");
        try {
            add(new Counting() {
                @Override
                public long look(long nowNanos) {
                    seen.set(inherited.get());
                    return super.look(nowNanos);
                }
            });
        } finally {
            current.setContextClassLoader(before);
            inherited.remove();
        }
        Await.until("a round", () -> seen.get() == null);
        assertThat(clocks().getFirst().getContextClassLoader()).isEqualTo(ClassLoader.getSystemClassLoader());
        assertThat(clocks().getFirst().isDaemon()).isTrue();
    }

    // Pools with the same rhythm share the wake-ups. A ring is heard at once.
    @Test
    void poolsMustBeServedTogether() throws Exception {
        List<Counting> pools = new ArrayList<>();
        for (int i = 0; i < 20; i++) pools.add(add(new Counting()));
        Await.until("two beats", () -> pools.getLast().looks.get() >= 2);
        long first = pools.stream().mapToLong(pool -> pool.latestNanos).min().orElseThrow();
        long last = pools.stream().mapToLong(pool -> pool.latestNanos).max().orElseThrow();
        try (var stopwatch = Stopwatch.start()) {
            int before = pools.getFirst().looks.get();
            pools.getFirst().ring();
            Await.until("a round", () -> pools.getFirst().looks.get() > before);
            assertThat(stopwatch.elapsed()).isLessThan(stopwatch.allowing(Duration.ofMillis(20)));
            assertThat(Duration.ofNanos(last - first)).isLessThan(stopwatch.allowing(Duration.ofMillis(20)));
        }
    }

    // A pool in which nothing is due costs nothing, however busy the others are.
    @Test
    void poolMustNotBeServedBeforeItIsDue() throws Exception {
        Counting quiet = add(new Quiet());
        Counting busy = add(new Counting());
        Await.until("three beats", () -> busy.looks.get() >= 3 && quiet.looks.get() == 1);
        int kept = quiet.kept.get();
        int looks = busy.looks.get();
        busy.ring();
        Await.until("more beats", () -> busy.looks.get() >= looks + 3);
        assertThat(quiet.looks).hasValue(1);
        assertThat(quiet.kept).hasValue(kept);
        quiet.ring();
        Await.until("a round", () -> quiet.looks.get() == 2);
        assertThat(quiet.kept.get()).isGreaterThan(kept);
    }

    // The machine was asleep, so every pool looks at once, also one in which nothing would be due for long.
    @Test
    void sleepOfTheMachineMustWakeAllPools() throws Exception {
        Counting quiet = add(new Quiet());
        Counting busy = add(new Counting());
        Await.until("two beats", () -> quiet.looks.get() == 1 && busy.looks.get() >= 2);
        JvmClock.WALL.shiftWallClock(60_000);
        Await.until("a round", () -> quiet.looks.get() == 2);
    }

    // Each method of one pool fails each time. The others are served on.
    @Test
    void failureInOnePoolMustNotStopTheOthers() throws Exception {
        List<Counting> failing = List.of(
                new Counting() {
                    @Override
                    public long look(long nowNanos) {
                        throw new IllegalStateException("look");
                    }
                },
                new Counting() {
                    @Override
                    public void keepTime(long nowNanos) {
                        throw new OutOfMemoryError("keepTime");
                    }
                },
                new Counting() {
                    @Override
                    public long look(long nowNanos) {
                        throw new StackOverflowError("look");
                    }

                    @Override
                    public void failed(Throwable thrown) {
                        super.failed(thrown);
                        throw new IllegalStateException("failed", thrown);
                    }
                });
        failing.forEach(this::add);
        Counting sound = add(new Counting());
        int before = sound.looks.get();
        Await.until("three beats", () -> sound.looks.get() >= before + 3 && sound.kept.get() > 3);
        assertThat(failing).allSatisfy(pool -> assertThat(pool.failure.get()).isNotNull());
        assertThat(sound.failure.get()).isNull();
    }

    // A round that takes long breathes between two steps, and meanwhile the clock keeps the deadlines of the others.
    @Test
    void longRoundMustNotDelayTheDeadlinesOfOthers() throws Exception {
        Counting other = add(new Counting() {
            @Override
            public long look(long nowNanos) {
                return nowNanos; // always due
            }
        });
        var meanwhile = new AtomicInteger(-1);
        add(new Counting() {
            @Override
            public long look(long nowNanos) {
                int before = other.kept.get();
                if (looks.getAndIncrement() > 0) return Long.MAX_VALUE;
                Await.atMost(PATIENCE, () -> {
                    JvmClock.breathe();
                    return other.kept.get() > before + 2;
                });
                meanwhile.set(other.kept.get() - before);
                return Long.MAX_VALUE;
            }
        });
        Await.until("the round has ended", () -> meanwhile.get() >= 0);
        assertThat(meanwhile.get()).isGreaterThan(2);
    }

    // A pool that has ended is not served any longer, however often that happens.
    @Test
    void removedPoolMustNotBeServed() {
        add(new Counting());
        for (int i = 0; i < 200; i++) {
            var isGone = new AtomicReference<>(false);
            var late = new AtomicInteger();
            var round = new Counting() {
                @Override
                public long look(long nowNanos) {
                    for (int step = 0; step < 100; step++) JvmClock.breathe();
                    if (isGone.get()) late.incrementAndGet();
                    return 0;
                }
            };
            JvmClock.add(round);
            round.ring();
            assertThat(JvmClock.remove(round, PATIENCE)).isTrue();
            isGone.set(true);
            assertThat(late.get()).isZero();
        }
    }

    /** Loads the pool once more, as a server does for an application. */
    private static final class Application extends ClassLoader {
        Application() {
            super(Pool.class.getClassLoader());
        }

        @Override
        protected Class<?> loadClass(String name, boolean resolve) throws ClassNotFoundException {
            synchronized (getClassLoadingLock(name)) {
                Class<?> loaded = findLoadedClass(name);
                if (loaded != null || !name.startsWith("dev.nanopool.")) {
                    return loaded != null ? loaded : super.loadClass(name, resolve);
                }
                try (InputStream in = getParent().getResourceAsStream(name.replace('.', '/') + ".class")) {
                    if (in == null) throw new ClassNotFoundException(name);
                    byte[] bytes = in.readAllBytes();
                    return defineClass(name, bytes, 0, bytes.length);
                } catch (IOException e) {
                    throw new ClassNotFoundException(name, e);
                }
            }
        }
    }

    /** Opens pools without connections and closes them. For {@link Application}. */
    public static final class Program implements Runnable {
        @Override
        public void run() {
            try {
                for (int i = 0; i < 3; i++) {
                    Pool pool = Pool.create(PoolConfig.builder("postgresql://localhost:1/none")
                            .minIdle(0)
                            .build());
                    pool.close();
                }
            } catch (java.sql.SQLException e) {
                throw new IllegalStateException(e);
            }
        }
    }

    private static WeakReference<ClassLoader> runApplication() throws Exception {
        var application = new Application();
        Class<?> program = application.loadClass(Program.class.getName());
        assertThat(program.getClassLoader()).isEqualTo(application);
        ((Runnable) program.getConstructor().newInstance()).run();
        return new WeakReference<>(application);
    }

    // A server that stops an application gets its memory back.
    @Test
    void classLoaderMustBeCollectedAfterTheLastPool() throws Exception {
        WeakReference<ClassLoader> application = runApplication();
        Await.until("it is collected", () -> {
            System.gc();
            return application.get() == null;
        });
    }
}
