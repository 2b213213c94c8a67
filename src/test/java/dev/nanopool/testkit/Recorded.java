package dev.nanopool.testkit;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Comparator;
import java.util.List;
import jdk.jfr.Recording;
import jdk.jfr.consumer.RecordedEvent;
import jdk.jfr.consumer.RecordingFile;

/** A recording of Flight Recorder, which holds the pools' events only, whatever their duration. */
public final class Recorded implements AutoCloseable {
    private static final List<String> NAMES =
            List.of("Acquire", "Lease", "Connect", "Close", "Reset", "Cancel", "Leak", "Outage");

    private final Recording recording = new Recording();

    private Recorded() {
        for (String name : NAMES) recording.enable("dev.nanopool." + name).withThreshold(Duration.ZERO);
        recording.enable("dev.nanopool.Pool").withPeriod(Duration.ofMillis(50));
        recording.start();
    }

    /** Records until it is closed. */
    public static Recorded start() {
        return new Recorded();
    }

    /** All events of that pool, oldest first. Ends the recording. */
    public List<RecordedEvent> of(String pool) throws IOException {
        recording.stop();
        Path file = Files.createTempFile("nanopool", ".jfr");
        try {
            recording.dump(file);
            return RecordingFile.readAllEvents(file).stream()
                    .filter(event -> event.hasField("pool") && pool.equals(event.getString("pool")))
                    .sorted(Comparator.comparing(RecordedEvent::getEndTime))
                    .toList();
        } finally {
            Files.delete(file);
        }
    }

    @Override
    public void close() {
        recording.close();
    }
}
