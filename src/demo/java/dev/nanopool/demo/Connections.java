package dev.nanopool.demo;

import dev.nanopool.CloseReason;
import dev.nanopool.PoolListener;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.LongAdder;
import java.util.stream.Collectors;

/** Keeps count of what the pool says about its connections. */
final class Connections implements PoolListener {
    final AtomicLong opened = new AtomicLong();
    final Map<Integer, Throwable> lost = new ConcurrentHashMap<>();
    volatile long lastOpenedNanos;
    private final LongAdder failed = new LongAdder();
    private final Map<CloseReason, LongAdder> closed = new ConcurrentSkipListMap<>();

    @Override
    public void opened(String pool, int backendPid, Duration took) {
        lastOpenedNanos = System.nanoTime();
        opened.incrementAndGet();
    }

    @Override
    public void openFailed(String pool, Throwable cause) {
        failed.increment();
    }

    @Override
    public void closed(String pool, int backendPid, CloseReason reason) {
        closed.computeIfAbsent(reason, unused -> new LongAdder()).increment();
    }

    @Override
    public void lost(String pool, int backendPid, Throwable cause) {
        lost.put(backendPid, cause);
    }

    String openedText() {
        return failed.sum() == 0 ? opened.toString() : opened + " (" + failed + " attempts failed)";
    }

    String closedText() {
        long sum = closed.values().stream().mapToLong(LongAdder::sum).sum();
        return sum
                + closed.entrySet().stream()
                        .map(entry -> entry.getValue() + " " + entry.getKey())
                        .collect(Collectors.joining(", ", " (", ")"));
    }

    String lostText() {
        return lost.size()
                + lost.entrySet().stream()
                        .map(entry -> "backend " + entry.getKey() + ": "
                                + entry.getValue().getMessage())
                        .collect(Collectors.joining("; ", " (", ")"));
    }
}
