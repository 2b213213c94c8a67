package dev.nanopool.testkit;

import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.logging.Handler;
import java.util.logging.Level;
import java.util.logging.LogRecord;
import java.util.logging.Logger;

/** The lines that pools log meanwhile, of a level at least. */
public final class Log implements AutoCloseable {
    private static final Logger LOGGER = Logger.getLogger("dev.nanopool");

    private final List<LogRecord> records = new CopyOnWriteArrayList<>();
    private final Handler handler;

    private Log(Level level) {
        handler = new Handler() {
            @Override
            public void publish(LogRecord published) {
                boolean isOfATest = String.valueOf(published.getLoggerName()).endsWith(".test");
                if (published.getLevel().intValue() >= level.intValue() && !isOfATest) records.add(published);
            }

            @Override
            public void flush() {}

            @Override
            public void close() {}
        };
    }

    /** Listens until it is closed. */
    public static Log of(Level level) {
        var log = new Log(level);
        LOGGER.addHandler(log.handler);
        return log;
    }

    public List<LogRecord> records() {
        return records;
    }

    public List<String> lines() {
        return records.stream().map(LogRecord::getMessage).toList();
    }

    /** Waits for the line about the start of a pool, which another thread writes, and drops all lines until then. */
    public void dropStart() throws Exception {
        Await.until("the start is logged", () -> lines().stream().anyMatch(line -> line.contains(": started in ")));
        records.clear();
    }

    @Override
    public void close() {
        LOGGER.removeHandler(handler);
    }
}
