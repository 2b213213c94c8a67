package dev.nanopool.demo;

import dev.nanopool.PoolStats;
import java.io.PrintStream;
import java.time.Duration;
import java.util.Locale;

/** Prints lines, and between them a progress bar on a terminal or a line every fifth of the way elsewhere. */
@SuppressWarnings("AnnotateFormatMethod") // the annotation would be a dependency
final class Display {
    private static final int BAR = 24;

    @SuppressWarnings("SystemConsoleNull") // it is null, if not on a terminal, with -Djdk.console=java.base
    private final boolean terminal = System.console() != null;

    private final PrintStream out = System.out;
    private String bar = "";
    private long fifths;

    synchronized void line(String format, Object... values) {
        if (!bar.isEmpty()) out.print("\r" + " ".repeat(bar.length()) + "\r");
        out.println(String.format(Locale.ROOT, format, values));
        out.print(bar);
        out.flush();
    }

    synchronized void row(String name, String format, Object... values) {
        line("  %-28s %s", name, String.format(Locale.ROOT, format, values));
    }

    synchronized void progress(long done, int total, PoolStats stats) {
        String numbers = String.format(
                Locale.ROOT,
                "%,6d of %,d   idle %d  active %d  pending %,d",
                done,
                total,
                stats.idle(),
                stats.active(),
                stats.pending());
        if (terminal) {
            int filled = (int) (done * BAR / total);
            String next = "[" + "#".repeat(filled) + ".".repeat(BAR - filled) + "] " + numbers;
            out.print("\r" + next + " ".repeat(Math.max(0, bar.length() - next.length())));
            out.flush();
            bar = next;
        } else if (done * 5 / total > fifths) {
            fifths = done * 5 / total;
            line("%s", numbers);
        }
    }

    /** The bar stays where it is; what follows goes below it. */
    synchronized void endProgress() {
        if (!bar.isEmpty()) out.println();
        bar = "";
    }

    static String millis(Duration duration) {
        double millis = duration.toNanos() / 1e6;
        return String.format(Locale.ROOT, millis < 100 ? "%.1f ms" : "%,.0f ms", millis);
    }
}
