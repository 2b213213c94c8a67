package dev.nanopool.bench;

import java.io.BufferedInputStream;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.LongAdder;
import java.util.concurrent.locks.LockSupport;
import org.HdrHistogram.Histogram;
import org.HdrHistogram.Recorder;

/**
 * The clients of {@link HttpServers}, in a JVM of their own: so many connections that stay, each with one request at a time. Reads
 * lines with a port, a path, the number of connections, a rate and seconds. With a rate, requests begin when they should, or as
 * soon as a connection is free, and times count from when they should; without one, each connection asks again at once. Prints a
 * line as {@link Load} does for each line.
 */
public final class HttpLoad {
    private static final double WARM_UP = 0.5;

    private final int port;
    private final String path;
    private final double rate;
    private final long startNanos = System.nanoTime();
    private final long measuredNanos = startNanos + (long) (WARM_UP * 1e9);
    private final long endNanos;
    private final AtomicLong next = new AtomicLong();
    private final LongAdder errors = new LongAdder();
    private final Recorder times = new Recorder(TimeUnit.MINUTES.toNanos(10), 3);
    private final long[] served;

    private HttpLoad(int port, String path, int connections, double rate, double seconds) {
        this.port = port;
        this.path = path;
        this.rate = rate;
        this.endNanos = measuredNanos + (long) (seconds * 1e9);
        this.served = new long[connections];
    }

    /** Reads its input to the end. */
    public static void main(String[] arguments) throws Exception {
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = line.split(" ");
            var load = new HttpLoad(
                    Integer.parseInt(words[0]),
                    words[1],
                    Integer.parseInt(words[2]),
                    Double.parseDouble(words[3]),
                    Double.parseDouble(words[4]));
            System.out.println(load.run());
        }
    }

    private String run() throws Exception {
        try (var control = new Client()) {
            List<Thread> clients = new ArrayList<>();
            for (int i = 0; i < served.length; i++) {
                int client = i;
                clients.add(Thread.startVirtualThread(() -> run(client)));
            }
            awaitUntil(measuredNanos);
            long before = cpu(control);
            awaitUntil(endNanos);
            long cpu = cpu(control) - before;
            for (Thread client : clients) client.join();
            return result(cpu);
        }
    }

    private static long cpu(Client control) throws IOException {
        return Long.parseLong(control.get("/" + HttpServers.Work.CPU));
    }

    private void run(int number) {
        Client client = null;
        while (System.nanoTime() < endNanos) {
            long begin = System.nanoTime();
            if (rate > 0) {
                begin = startNanos + (long) (next.getAndIncrement() * 1e9 / rate);
                awaitUntil(Math.min(begin, endNanos));
                if (begin >= endNanos) break;
            }
            try {
                if (client == null) client = new Client();
                client.get(path + "?" + ThreadLocalRandom.current().nextInt(1, HttpServers.KEYS));
                long now = System.nanoTime();
                if (begin >= measuredNanos && now < endNanos) {
                    served[number]++;
                    times.recordValue(now - begin);
                }
            } catch (IOException e) {
                if (begin >= measuredNanos) errors.increment();
                close(client);
                client = null;
                LockSupport.parkNanos(10_000_000);
            }
        }
        close(client);
    }

    private static void close(Client client) {
        try {
            if (client != null) client.close();
        } catch (IOException e) {
            throw new IllegalStateException(e);
        }
    }

    private static void awaitUntil(long nanos) {
        for (long early = nanos - System.nanoTime(); early > 0; early = nanos - System.nanoTime()) {
            LockSupport.parkNanos(early);
        }
    }

    private String result(long cpuNanos) {
        Histogram histogram = times.getIntervalHistogram();
        long total = Arrays.stream(served).sum();
        double seconds = (endNanos - measuredNanos) / 1e9;
        Map<String, Double> metrics = new LinkedHashMap<>();
        metrics.put("req/s", total / seconds);
        metrics.put("CPU us/req", cpuNanos / 1e3 / Math.max(1, total));
        metrics.put("p50 ms", histogram.getValueAtPercentile(50) / 1e6);
        metrics.put("p99 ms", histogram.getValueAtPercentile(99) / 1e6);
        metrics.put("p99.9 ms", histogram.getValueAtPercentile(99.9) / 1e6);
        metrics.put("errors", errors.doubleValue());
        if (rate > 0) {
            metrics.put("late", Math.max(0, rate * seconds - total - errors.doubleValue()));
        } else {
            metrics.put("served least", (double) Arrays.stream(served).min().orElseThrow());
            metrics.put("most", (double) Arrays.stream(served).max().orElseThrow());
        }
        StringBuilder line = new StringBuilder(Load.RESULT).append("\tpoint");
        metrics.forEach(
                (name, value) -> line.append('\t').append(name).append('=').append(value));
        return line.toString();
    }

    /** A connection that stays. */
    private final class Client implements AutoCloseable {
        private final Socket socket = new Socket(InetAddress.getLoopbackAddress(), port);
        private final InputStream in = new BufferedInputStream(socket.getInputStream());
        private final StringBuilder line = new StringBuilder();

        Client() throws IOException {
            socket.setTcpNoDelay(true);
            socket.setSoTimeout(30_000);
        }

        /** The answer's text. Any other status than 200 is an exception. */
        String get(String what) throws IOException {
            socket.getOutputStream()
                    .write(("GET " + what + " HTTP/1.1\r\nHost: localhost\r\n\r\n")
                            .getBytes(StandardCharsets.US_ASCII));
            String status = line();
            int length = -1;
            for (String header = line(); !header.isEmpty(); header = line()) {
                String lower = header.toLowerCase(Locale.ROOT);
                if (lower.startsWith("content-length:"))
                    length = Integer.parseInt(header.substring(15).strip());
            }
            if (length < 0) throw new IOException("no length: " + status);
            String body = new String(in.readNBytes(length), StandardCharsets.UTF_8);
            if (!status.contains(" 200")) throw new IOException(status + ": " + body);
            return body;
        }

        private String line() throws IOException {
            line.setLength(0);
            for (int c = in.read(); c != '\n'; c = in.read()) {
                if (c < 0) throw new IOException("closed by the server");
                if (c != '\r') line.append((char) c);
            }
            return line.toString();
        }

        @Override
        public void close() throws IOException {
            socket.close();
        }
    }
}
