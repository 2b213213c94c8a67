package dev.nanopool.testkit;

import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import org.junit.platform.launcher.LauncherSession;
import org.junit.platform.launcher.LauncherSessionListener;

/** Starts the server before the first test, so that a run without a server ends at once. */
public final class ServerFirst implements LauncherSessionListener {
    @Override
    public void launcherSessionOpened(LauncherSession session) {
        // Proofs and mutation tests open many sessions, and need no server.
        if (!TestServer.isWanted("first")) return;
        // Past Surefire, which writes what tests print to files.
        var console = new PrintStream(new FileOutputStream(FileDescriptor.err), true, StandardCharsets.UTF_8);
        console.println("server: " + TestServer.chosen());
    }
}
