package dev.nanopool.testkit;

import com.github.dockerjava.api.DockerClient;
import com.github.dockerjava.api.command.PullImageResultCallback;
import com.github.dockerjava.api.exception.NotFoundException;
import com.github.dockerjava.api.model.PullResponseItem;
import java.io.IOException;
import java.time.Duration;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.jspecify.annotations.Nullable;
import org.testcontainers.DockerClientFactory;
import org.testcontainers.containers.PostgreSQLContainer;
import org.testcontainers.dockerclient.DockerClientProviderStrategy;
import org.testcontainers.utility.DockerImageName;
import org.testcontainers.utility.ImageNameSubstitutor;

/** Containers of the image that {@code NANOPOOL_TEST_IMAGE} names, by default {@code postgres:18}. */
public final class Containers {
    static final String IMAGE_VARIABLE = "NANOPOOL_TEST_IMAGE";

    /** An engine without a network does not always say so. */
    private static final Duration FIRST_ANSWER = Duration.ofSeconds(6);

    /** How long a download may stand still. */
    private static final Duration STANDSTILL = Duration.ofSeconds(30);

    private Containers() {}

    /** The image is not on this machine, and the engine cannot fetch it. */
    static final class NoImageException extends Exception {
        private static final long serialVersionUID = 1;

        NoImageException(String message, Throwable cause) {
            super(message, cause);
        }
    }

    public static String image() {
        String given = System.getenv(IMAGE_VARIABLE);
        return given == null || given.isBlank() ? "postgres:18" : given.strip();
    }

    /** Why no container can be had; null if one can. */
    public static @Nullable String obstacle() {
        if (!isEngineThere()) return "no Docker engine runs";
        try {
            provideImage();
            return null;
        } catch (NoImageException e) {
            return "the Docker engine cannot give the image " + image() + ": " + e.getMessage();
        }
    }

    static boolean isEngineThere() {
        try {
            return DockerClientFactory.instance().getTransportConfig() != null;
        } catch (IllegalStateException e) {
            return false; // which is how Testcontainers says that it finds no engine
        }
    }

    /** Fetches the image if it is not there; one attempt, where Testcontainers tries for two minutes. */
    static void provideImage() throws NoImageException {
        DockerImageName image = ImageNameSubstitutor.instance().apply(DockerImageName.parse(image()));
        var transport = DockerClientFactory.instance().getTransportConfig();
        try (DockerClient client = DockerClientProviderStrategy.getClientForConfig(transport)) {
            if (!isThere(client, image)) pull(client, image);
        } catch (IOException e) {
            throw new NoImageException(String.valueOf(e.getMessage()), e);
        }
    }

    private static boolean isThere(DockerClient client, DockerImageName image) {
        try {
            client.inspectImageCmd(image.asCanonicalNameString()).exec();
            return true;
        } catch (NotFoundException e) {
            return false;
        }
    }

    private static void pull(DockerClient client, DockerImageName image) throws NoImageException {
        var answers = new AtomicLong();
        var pull = client.pullImageCmd(image.getUnversionedPart())
                .withTag(image.getVersionPart())
                .exec(new PullImageResultCallback() {
                    @Override
                    public void onNext(PullResponseItem item) {
                        answers.incrementAndGet();
                        super.onNext(item);
                    }
                });
        try (pull) {
            long seen = 0;
            Duration patience = FIRST_ANSWER;
            while (!pull.awaitCompletion(patience.toMillis(), TimeUnit.MILLISECONDS)) {
                if (answers.get() == seen)
                    throw new NoImageException("no answer within " + patience.toSeconds() + " s", new IOException());
                seen = answers.get();
                patience = STANDSTILL;
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new NoImageException("interrupted", e);
        } catch (IOException | RuntimeException e) {
            throw new NoImageException(String.valueOf(e.getMessage()), e);
        }
    }

    /** Starts a server with the same user, password, database and limit as {@link EmbeddedServer}. */
    static PostgreSQLContainer<?> start() {
        @SuppressWarnings("resource") // the caller's
        var container = new PostgreSQLContainer<>(DockerImageName.parse(image()).asCompatibleSubstituteFor("postgres"))
                .withUsername(EmbeddedServer.USER)
                .withPassword(EmbeddedServer.PASSWORD)
                .withDatabaseName(EmbeddedServer.DATABASE)
                .withCommand("postgres", "-c", "fsync=off", "-c", "max_connections=300");
        container.start();
        return container;
    }
}
