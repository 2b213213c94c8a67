package dev.nanopool.testkit;

import org.junit.platform.launcher.LauncherSession;
import org.junit.platform.launcher.LauncherSessionListener;

/** Starts the server before the first test, so that a run without a server ends at once. */
public final class ServerFirst implements LauncherSessionListener {
    @Override
    public void launcherSessionOpened(LauncherSession session) {
        // Proofs and mutation tests open many sessions, and need no server.
        if (Boolean.getBoolean("nanopool.server.first")) System.out.println("Server: " + TestServer.chosen());
    }
}
