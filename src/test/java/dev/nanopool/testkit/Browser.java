package dev.nanopool.testkit;

import java.io.BufferedReader;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.net.http.WebSocket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/** A page in a headless Chromium, driven by its debugging protocol over loopback. For one thread. */
public final class Browser implements AutoCloseable {
    private static final List<String> PROGRAMS =
            List.of("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome");

    private final Process process;
    private final WebSocket socket;
    private final BlockingQueue<String> messages;
    private int sent;

    private Browser(Process process, WebSocket socket, BlockingQueue<String> messages) {
        this.process = process;
        this.socket = socket;
        this.messages = messages;
    }

    /** The program, where it is installed: {@code apt-get install chromium}. */
    public static Optional<String> program() {
        return PROGRAMS.stream()
                .filter(program -> Files.isExecutable(Path.of(program)))
                .findFirst();
    }

    /** Starts it with a profile of its own. */
    public static Browser start(String program, Path profile) throws Exception {
        Process process = new ProcessBuilder(
                        program,
                        "--headless=new",
                        "--no-sandbox",
                        "--disable-gpu",
                        "--disable-background-networking",
                        "--no-first-run",
                        "--remote-debugging-port=0",
                        "--user-data-dir=" + profile,
                        "about:blank")
                .redirectErrorStream(true)
                .start();
        boolean isStarted = false;
        try {
            HttpClient client = HttpClient.newHttpClient();
            HttpRequest pages = HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + port(process) + "/json/list"))
                    .build();
            String list = client.send(pages, BodyHandlers.ofString()).body();
            var messages = new LinkedBlockingQueue<String>();
            String page = field("webSocketDebuggerUrl", list.substring(list.indexOf("about:blank") - 1));
            WebSocket socket = client.newWebSocketBuilder()
                    .buildAsync(URI.create(page), new Receiver(messages))
                    .join();
            isStarted = true;
            return new Browser(process, socket, messages);
        } finally {
            if (!isStarted) process.destroyForcibly();
        }
    }

    private static String port(Process process) throws IOException {
        BufferedReader output = process.inputReader();
        Pattern listening = Pattern.compile("DevTools listening on ws://127.0.0.1:(\\d+)/.*");
        for (String line = output.readLine(); line != null; line = output.readLine()) {
            Matcher matcher = listening.matcher(line);
            if (matcher.matches()) return matcher.group(1);
        }
        throw new IOException("the browser did not start");
    }

    private static final class Receiver implements WebSocket.Listener {
        private final BlockingQueue<String> messages;
        private final StringBuilder message = new StringBuilder();

        Receiver(BlockingQueue<String> messages) {
            this.messages = messages;
        }

        @Override
        public @Nullable CompletionStage<?> onText(WebSocket socket, CharSequence part, boolean isLast) {
            message.append(part);
            if (isLast) {
                messages.add(message.toString());
                message.setLength(0);
            }
            socket.request(1);
            return null;
        }
    }

    /** The value of a field of that name, as text. */
    private static String field(String name, String json) {
        Matcher matcher = Pattern.compile('"' + name + "\":\\s*(?:\"((?:[^\"\\\\]|\\\\.)*+)\"|([^,}]*))")
                .matcher(json);
        if (!matcher.find()) throw new IllegalStateException("no " + name + " in " + json);
        String text = matcher.group(1);
        return text == null ? matcher.group(2) : text;
    }

    /** Calls a method of the protocol; answers its result, as JSON. */
    private String call(String method, String parameters) throws InterruptedException {
        int id = ++sent;
        socket.sendText("{\"id\":%d,\"method\":\"%s\",\"params\":%s}".formatted(id, method, parameters), true)
                .join();
        while (true) {
            String message = messages.poll(60, TimeUnit.SECONDS);
            if (message == null) throw new IllegalStateException("no answer to " + method);
            if (!message.startsWith("{\"id\":" + id + ",")) continue; // an event
            if (message.contains("\"exceptionDetails\"") || message.contains("\"error\":{")) {
                throw new IllegalStateException(method + ": " + message);
            }
            return message;
        }
    }

    private static String quoted(String text) {
        return '"' + text.replace("\\", "\\\\").replace("\"", "\\\"").replace("\n", "\\n") + '"';
    }

    public void open(String url) throws InterruptedException {
        String unused = call("Page.navigate", "{\"url\":" + quoted(url) + "}");
    }

    /** The value of an expression of the page's language, as text. */
    public String evaluate(String expression) throws InterruptedException {
        String text = "String(" + expression + ")";
        return field("value", call("Runtime.evaluate", "{\"expression\":" + quoted(text) + "}"));
    }

    /** Presses Enter on the element of that selector, as a user without a mouse does. */
    public void enter(String selector) throws InterruptedException {
        String unusedFocus = evaluate("document.querySelector('" + selector + "').focus()");
        for (String type : List.of("keyDown", "keyUp")) {
            String unusedKey = call(
                    "Input.dispatchKeyEvent",
                    "{\"type\":\"%s\",\"key\":\"Enter\",\"code\":\"Enter\",\"windowsVirtualKeyCode\":13,\"text\":\"\\r\"}"
                            .formatted(type));
        }
    }

    /** Makes the page that wide, and the system's mode light or dark. */
    public void show(int width, int height, boolean isDark) throws InterruptedException {
        String unusedSize = call(
                "Emulation.setDeviceMetricsOverride",
                "{\"width\":%d,\"height\":%d,\"deviceScaleFactor\":1,\"mobile\":%s}"
                        .formatted(width, height, width < 600));
        String unusedMode = call(
                "Emulation.setEmulatedMedia",
                "{\"features\":[{\"name\":\"prefers-color-scheme\",\"value\":\"%s\"}]}"
                        .formatted(isDark ? "dark" : "light"));
    }

    /** A picture of the page, as PNG. */
    public byte[] screenshot() throws InterruptedException {
        return Base64.getDecoder()
                .decode(field("data", call("Page.captureScreenshot", "{\"format\":\"png\"}"))
                        .getBytes(StandardCharsets.US_ASCII));
    }

    @Override
    public void close() throws InterruptedException {
        socket.abort();
        process.destroy();
        if (!process.waitFor(10, TimeUnit.SECONDS)) process.destroyForcibly().waitFor();
    }
}
