package dev.nanopool.demo;

import dev.nanopool.Pool;
import dev.nanopool.PoolConfig;
import dev.nanopool.PoolStats;
import dev.nanopool.demo.Bank.Transfer;
import dev.nanopool.testkit.ChosenServer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.SQLException;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import java.util.logging.Level;
import java.util.logging.Logger;

/**
 * 10,000 virtual threads share 8 connections, and each thread transfers money between two accounts. Half way, the demo kills one
 * connection on the server. {@code mvn -q -Pdemo} runs the demo; {@code -Ddemo.arguments=2000} takes another number of threads.
 * The environment variable {@code NANOPOOL_TEST_URL} or {@code DATABASE_URL} chooses the server; without them, the demo starts
 * an embedded one. The exit status is 0 if the books balance. Ctrl-C drops the demo's schema and stops its server.
 */
public final class Demo implements AutoCloseable {
    private static final int CONNECTIONS = 8;
    private static final int ATTEMPTS = 10;
    private static final Set<String> CONFLICT = Set.of("40001", "40P01");
    private static final Set<String> LOST = Set.of("08006", "57P01");
    private static final Logger POOL_LOG = Logger.getLogger("dev.nanopool");

    private final int threads;
    private final String name =
            "nanopool_demo_%08x".formatted(ThreadLocalRandom.current().nextInt());
    private final Display display = new Display();
    private final Connections connections = new Connections();
    private final AtomicLong retriedLost = new AtomicLong();
    private final AtomicLong retriedConflict = new AtomicLong();
    private final AtomicLong failed = new AtomicLong();
    private final AtomicReference<Exception> failure = new AtomicReference<>();
    private final Deque<AutoCloseable> opened = new ArrayDeque<>(); // guarded by this; closed in reverse order
    private volatile boolean stopped; // by Ctrl-C

    private Demo(int threads) {
        this.threads = threads;
    }

    public static void main(String[] arguments) throws Exception {
        POOL_LOG.setLevel(Level.OFF); // the demo reports lost connections itself
        if (!System.getProperty("server", "").isEmpty()) {
            serve(arguments);
            return;
        }
        String number = arguments.length == 0 ? "10000" : arguments[0];
        if (!number.matches("[1-9]\\d{0,5}")) {
            System.err.println(
                    "The demo failed because its number of threads, " + number + ", is not between 1 and 999999.");
            fail();
        }
        var demo = new Demo(Integer.parseInt(number));
        Runtime.getRuntime().addShutdownHook(new Thread(demo::interrupted));
        boolean good = false;
        try (demo) {
            good = demo.run();
        } catch (Exception e) {
            if (!demo.stopped) demo.display.line("The demo failed: %s", reason(e));
        }
        if (!good && !demo.stopped) fail();
        System.exit(good ? 0 : 1);
    }

    private static void serve(String[] arguments) throws Exception {
        try {
            Server.main(arguments);
        } catch (Exception e) {
            System.err.println("The server failed: " + reason(e));
            fail();
        }
    }

    /** Ends the JVM, and lets {@link EndOfMaven} pass the failure on. */
    private static void fail() throws IOException {
        String file = System.getProperty("demo.failure");
        if (file != null) Files.writeString(Path.of(file), "");
        System.exit(1);
    }

    /** The messages of this exception and of those that caused it. */
    private static String reason(Throwable e) {
        var reason = new StringBuilder();
        for (Throwable cause = e; cause != null; cause = cause.getCause()) {
            String message = Objects.requireNonNullElse(cause.getMessage(), cause.toString());
            if (reason.indexOf(message) >= 0) continue;
            if (!reason.isEmpty()) reason.append(" Its cause: ");
            reason.append(message);
        }
        return reason.toString();
    }

    private boolean run() throws Exception {
        long startNanos = System.nanoTime();
        String url = server();
        Pool admin = open(() -> Pool.create(
                PoolConfig.builder(url).name(name + "_admin").size(1).build()));
        Bank bank = open(() -> new Bank(admin, name));
        Pool pool = open(() -> Pool.create(PoolConfig.builder(url)
                .name(name)
                .size(CONNECTIONS)
                .acquireTimeout(Duration.ofSeconds(60)) // the last of 10,000 callers waits for all the others
                .parameter("search_path", name)
                .listener(connections)
                .build()));
        display.line(
                "The pool has opened %d connections after %,d ms. Now %,d virtual threads start; each thread borrows a"
                        + " connection and transfers money between two accounts.",
                CONNECTIONS, (System.nanoTime() - startNanos) / 1_000_000, threads);

        long before = bank.total();
        startNanos = System.nanoTime();
        send(pool, bank);
        double seconds = (System.nanoTime() - startNanos) / 1e9;
        if (stopped) return false;
        pool.close();
        return report(pool.stats(), seconds, before, bank.total(), bank.transfers());
    }

    private String server() throws Exception {
        ChosenServer server = open(ChosenServer::ofDemo);
        display.line("The server is %s.", server);
        return server.url();
    }

    /** Each new thread makes one transfer. Meanwhile this thread shows the progress, and kills a connection half way. */
    private void send(Pool pool, Bank bank) throws Exception {
        var left = new CountDownLatch(threads);
        for (int i = 0; i < threads; i++) {
            int id = i;
            Thread.startVirtualThread(() -> {
                try {
                    transfer(pool, randomTransfer(id));
                } finally {
                    left.countDown();
                }
            });
        }
        boolean killed = false;
        boolean finished = false;
        while (!finished && !stopped) {
            finished = left.await(20, TimeUnit.MILLISECONDS);
            long done = threads - left.getCount();
            display.progress(done, threads, pool.stats());
            if (!killed && done >= threads / 2 && !finished) {
                killed = true;
                kill(bank);
            }
        }
        display.endProgress();
    }

    private static Transfer randomTransfer(int id) {
        var random = ThreadLocalRandom.current();
        int payer = random.nextInt(Bank.ACCOUNTS);
        int payee = (payer + 1 + random.nextInt(Bank.ACCOUNTS - 1)) % Bank.ACCOUNTS;
        return new Transfer(id, payer + 1, payee + 1, 1 + random.nextInt(10));
    }

    private void transfer(Pool pool, Transfer transfer) {
        for (int attempt = 1; ; attempt++) {
            try (Connection client = pool.client()) {
                Bank.transfer(client, transfer);
                return;
            } catch (SQLException | RuntimeException e) {
                String state = e instanceof SQLException s ? Objects.requireNonNullElse(s.getSQLState(), "") : "";
                if (attempt < ATTEMPTS && LOST.contains(state)) {
                    retriedLost.incrementAndGet();
                } else if (attempt < ATTEMPTS && CONFLICT.contains(state)) {
                    retriedConflict.incrementAndGet();
                } else {
                    failed.incrementAndGet();
                    failure.compareAndSet(null, e);
                    return;
                }
            }
        }
    }

    private void kill(Bank bank) throws Exception {
        long openedBefore = connections.opened.get();
        long startNanos = System.nanoTime();
        long pid = bank.killOne(name);
        display.line(
                "The demo has killed one of the %d connections on the server: pg_terminate_backend(%d).",
                CONNECTIONS, pid);
        long deadlineNanos = startNanos + 10_000_000_000L;
        while (connections.opened.get() == openedBefore && System.nanoTime() - deadlineNanos < 0 && !stopped) {
            TimeUnit.MICROSECONDS.sleep(100);
        }
        if (connections.opened.get() > openedBefore) {
            long millis = (connections.lastOpenedNanos - startNanos) / 1_000_000;
            display.line("The pool has opened a new connection %d ms after that.", millis);
        }
    }

    private boolean report(PoolStats stats, double seconds, long before, long after, long transfers) {
        display.line("");
        display.row("transactions", "%,d in %.2f s", transfers, seconds);
        display.row("transactions per second", "%,.0f", transfers / seconds);
        display.row(
                "wait p50, p99, p99.9, max",
                "%s, %s, %s, %s",
                Display.millis(stats.waits().percentile(50)),
                Display.millis(stats.waits().percentile(99)),
                Display.millis(stats.waits().percentile(99.9)),
                Display.millis(stats.waits().max()));
        display.row("connections opened", "%s", connections.openedText());
        display.row("connections closed", "%s", connections.closedText());
        display.row("connections lost", "%s", connections.lostText());
        display.row(
                "transfers retried",
                "%d lost their connection, %d conflicted",
                retriedLost.get(),
                retriedConflict.get());
        display.row("bank total", "%,d before, %,d after", before, after);
        display.line("");

        boolean good = failed.get() == 0 && transfers == threads && before == after;
        Exception first = failure.get();
        if (before != after) display.line("The demo failed: the bank's total changed by %,d.", after - before);
        if (first != null) display.line("The demo failed: %,d transfers failed. %s", failed.get(), reason(first));
        else if (transfers != threads)
            display.line("The demo failed: the books hold %,d of %,d transfers.", transfers, threads);
        if (good) display.line("All is well: each transfer was done once, and no money was lost.");
        return good;
    }

    /** Opens what {@link #close} closes. Ctrl-C waits until it is open, so that everything open is closed. */
    private synchronized <T extends AutoCloseable> T open(Callable<T> opening) throws Exception {
        if (stopped) throw new IllegalStateException("stopped");
        T resource = opening.call();
        opened.push(resource);
        return resource;
    }

    /** Runs on Ctrl-C, and at the regular end, when everything is closed. */
    private void interrupted() {
        stopped = true;
        synchronized (this) {
            if (opened.isEmpty()) return;
            close();
            display.endProgress();
            display.line("The demo was stopped. It has dropped its schema and closed the pool and its server.");
        }
    }

    @Override
    public synchronized void close() {
        while (!opened.isEmpty()) {
            try {
                opened.pop().close();
            } catch (Exception e) {
                display.line("The demo could not clean up: %s", e.getMessage());
            }
        }
    }
}
