package dev.nanopool.bench;

import dev.nanopool.bench.Contender.Settings;
import dev.nanopool.bench.Contender.Source;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;

/**
 * Borrows a connection and gives it back, and nothing else, which is what a pool costs by itself. The connections are
 * the driver's, but no thread speaks to the server meanwhile; {@link #close} makes sure of it. "raw" is what the
 * benchmark costs by itself.
 */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
public class Cycle {
    private static final int BATCH = 1_000;
    private static final int CROWD = 2_000;
    private static final int ROUNDS = 20;

    @Param("NANOPOOL")
    String contender;

    @Param("8")
    int size;

    private final String url = System.getProperty("bench.url");
    private Source source;
    private String opened;

    @Setup
    public void open() throws Exception {
        source = Contender.valueOf(contender).open(new Settings(url + "&ApplicationName=cycle", size));
        opened = ask("SELECT now()");
    }

    @TearDown
    public void close() throws Exception {
        String spoken = ask("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'cycle'"
                + " AND state_change > '" + opened + "'");
        source.close();
        if (!spoken.equals("0")) throw new IllegalStateException(contender + " spoke to the server");
    }

    private String ask(String sql) throws SQLException {
        try (Connection direct = DriverManager.getConnection(url);
                Statement statement = direct.createStatement();
                ResultSet row = statement.executeQuery(sql)) {
            row.next();
            return row.getString(1);
        }
    }

    @Benchmark
    public void thread() throws Exception {
        source.giveBack(source.borrow());
    }

    @Benchmark
    @OperationsPerInvocation(BATCH)
    public void freshThread() throws Exception {
        inParallel(BATCH, () -> {
            source.giveBack(source.borrow());
            return null;
        });
    }

    @Benchmark
    @OperationsPerInvocation(CROWD * ROUNDS)
    @SuppressWarnings("ThreadPriorityCheck") // stands for waiting for the server's answer
    public void crowd() throws Exception {
        inParallel(CROWD, () -> {
            for (int i = 0; i < ROUNDS; i++) {
                Connection connection = source.borrow();
                Thread.yield();
                source.giveBack(connection);
            }
            return null;
        });
    }

    private void inParallel(int count, Callable<Void> task) throws InterruptedException, ExecutionException {
        List<FutureTask<Void>> tasks = new ArrayList<>(count);
        for (int i = 0; i < count; i++) tasks.add(Load.inVirtualThread(task));
        Load.join(tasks, source, 10);
    }
}
