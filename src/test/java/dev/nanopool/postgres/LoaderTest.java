package dev.nanopool.postgres;

import dev.nanopool.testkit.Await;
import dev.nanopool.testkit.OwnLoader;
import dev.nanopool.testkit.TestServer;
import java.lang.ref.WeakReference;
import java.time.Duration;
import java.util.concurrent.Callable;
import jdk.jfr.Recording;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** After an application was undeployed, with its pool closed, nothing of it is left in the JVM. */
@Tag("server")
@Timeout(120)
class LoaderTest {
    @Test
    void loaderMustBeCollectedAfterThePoolIsClosed() throws Exception {
        awaitCollected(deployed());
    }

    @Test
    void loaderMustBeCollectedWhileFlightRecorderRecords() throws Exception {
        try (var recording = new Recording()) {
            recording.enable("dev.nanopool.Pool").withPeriod(Duration.ofMillis(20));
            recording.enable("dev.nanopool.Lease").withThreshold(Duration.ZERO);
            recording.start();
            awaitCollected(deployed());
        }
    }

    /** The loader of an application that has come and gone. */
    private static WeakReference<ClassLoader> deployed() throws Exception {
        try (OwnLoader loader = OwnLoader.of(OwnLoader.usual())) {
            Callable<Void> trial = loader.make(LoaderTrial.class, TestServer.url());
            ClassLoader before = Thread.currentThread().getContextClassLoader();
            Thread.currentThread().setContextClassLoader(loader);
            try {
                trial.call();
            } finally {
                Thread.currentThread().setContextClassLoader(before);
            }
            return new WeakReference<>(loader);
        }
    }

    private static void awaitCollected(WeakReference<ClassLoader> loader) throws Exception {
        Await.until("the loader is collected", () -> {
            System.gc();
            return loader.refersTo(null);
        });
    }
}
