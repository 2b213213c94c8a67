package dev.nanopool.queue;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import javax.tools.ToolProvider;

/**
 * Breaks the lease queue in one place after the other, each one fence, order or compare-and-set, and demands that the model
 * checker or a stress test notices: a check that cannot fail proves nothing. Started by {@code mvn -Pprove verify}, in a
 * directory that it may fill; its argument is the project's.
 */
public final class Mutations {
    /** One place in the source, by its text, which must be there once. Line breaks and indentation do not count. */
    private record Mutation(String name, String file, String original, String broken) {}

    private static final List<Mutation> MUTATIONS = List.of(
            new Mutation("join the line after looking for items", "LeaseQueue", """
                    waiters.add(waiter); // THEN look: whether the queue is closed, and for items
                    if (closed) waiter.answer(Reason.CLOSED);
                    try {
                    match();""", """
                    try {
                    match();
                    waiters.add(waiter);
                    if (closed) waiter.answer(Reason.CLOSED);"""),
            new Mutation("look whether it is closed before joining the line", "LeaseQueue", """
                    waiters.add(waiter); // THEN look: whether the queue is closed, and for items
                    if (closed) waiter.answer(Reason.CLOSED);""", """
                    if (closed) waiter.answer(Reason.CLOSED);
                    waiters.add(waiter);"""),
            new Mutation("look for waiters only before filling the slot", "LeaseQueue", """
                    items.put(item);
                    try {
                    match();""", """
                    items.put(item);
                    try {"""),
            new Mutation(
                    "fill the slot without a fence and without a compare-and-set",
                    "IdleItems",
                    "if (stripes.get(stripe) == null && stripes.compareAndSet(stripe, null, item)) return;",
                    """
                    if (stripes.get(stripe) == null) {
                    stripes.setRelease(stripe, item);
                    return;
                    }"""),
            new Mutation(
                    "empty the slot without a compare-and-set",
                    "IdleItems",
                    "if (item != null && stripes.compareAndSet(stripe, item, null)) return item;",
                    """
                    if (item != null) {
                    stripes.set(stripe, null);
                    return item;
                    }"""),
            new Mutation("release the permit before its item is queued", "IdleItems", """
                    idle.add(item);
                    permits.release();""", """
                    permits.release();
                    idle.add(item);"""),
            new Mutation(
                    "forget the item of a waiter that has left",
                    "LeaseQueue",
                    "if (!waiters.handOver(item)) items.put(item);",
                    "waiters.handOver(item);"),
            new Mutation("look for no waiter when a permit comes back", "LeaseQueue", """
                    items.putPermit();
                    try {
                    match();""", """
                    items.putPermit();
                    try {"""),
            new Mutation("look for waiters before the permit comes back", "LeaseQueue", """
                    items.putPermit();
                    try {
                    match();""", """
                    try {
                    match();
                    items.putPermit();"""),
            new Mutation(
                    "keep the permit to which no idle item belongs",
                    "LeaseQueue",
                    "return available(putBack);",
                    "return available(() -> {});"),
            new Mutation(
                    "an interrupted caller keeps the item that has come",
                    "LeaseQueue",
                    "else if (!(answer instanceof Reason)) give(item(answer));",
                    ""),
            new Mutation(
                    "a caller leaves without an answer",
                    "LeaseQueue",
                    "if (!isServed && waiter != null) leave(waiter);",
                    ""),
            new Mutation(
                    "an item is given back twice if a waiter cannot be woken",
                    "WaitingLine",
                    "if (!isAnswered) throw e;",
                    "if (e != null) throw e;"),
            new Mutation(
                    "forget that a waiter could not be woken",
                    "WaitingLine",
                    "hasUnwoken = true; // a mere write, because there may be neither stack nor memory for a call",
                    ""),
            new Mutation("remove an answered waiter without waking it", "WaitingLine", """
                    waiter.wake();
                    waiters.remove(waiter);""", """
                    if (waiters.peek() != waiter) waiter.wake();
                    waiters.remove(waiter);"""),
            new Mutation(
                    "lose the permit that the owner did not take over",
                    "IdleItems",
                    "if (!isTaken) permits.release(); // it stays here, and the caller says who looks for it again",
                    ""),
            new Mutation(
                    "expire does not try the owner again",
                    "LeaseQueue",
                    "i > 0 && items.free() > 0;",
                    "i > 0 && items.free() > Integer.MAX_VALUE - 1;"),
            new Mutation("change what a full stack may leave half done", "IdleItems", """
                    StackReserve.require();
                    if (!permits.tryAcquire()) return null;""", """
                    if (!permits.tryAcquire()) return null;"""),
            new Mutation(
                    "take what is idle though somebody waits",
                    "LeaseQueue",
                    "return waiters.isEmpty() ? takeIdle() : null;",
                    "return takeIdle();"),
            new Mutation(
                    "park once instead of until there is an answer",
                    "LeaseQueue",
                    "while (waiter.get() == null) {",
                    "if (waiter.get() == null) {"),
            new Mutation("answer the waiters before the queue is closed", "LeaseQueue", """
                    closed = true; // THEN answer, because a later caller sees it
                    hasUnfinished = true; // expire answers those that an error spares here
                    refuse(Reason.CLOSED, Long.MAX_VALUE);""", """
                    refuse(Reason.CLOSED, Long.MAX_VALUE);
                    closed = true;"""),
            new Mutation(
                    "close without a fence",
                    "LeaseQueue",
                    "private volatile boolean closed;",
                    "private boolean closed;"),
            new Mutation("answer twice", "Waiter", "return compareAndSet(null, answer);", """
                    boolean first = get() == null;
                    if (first) set(answer);
                    return first;"""),
            new Mutation("answer and do not wake", "Waiter", "LockSupport.unpark(thread);", ""),
            new Mutation("wake before the answer is there", "WaitingLine", """
                    boolean isAnswered = waiter.answer(item);
                    try {
                    wakeAndRemove(waiter);""", """
                    waiter.wake();
                    boolean isAnswered = waiter.answer(item);
                    try {
                    waiters.remove(waiter);"""),
            new Mutation(
                    "hand an item over without looking whether it was taken",
                    "WaitingLine",
                    "if (isAnswered) return true;",
                    "return true;"),
            new Mutation("serve the youngest first", "WaitingLine", "waiters.add(waiter);", """
                    var older = new java.util.ArrayList<Waiter>();
                    for (Waiter w = waiters.poll(); w != null; w = waiters.poll()) older.add(w);
                    waiters.add(waiter);
                    waiters.addAll(older);"""),
            new Mutation("forget the earliest deadline after the look at the line", "WaitingLine", """
                    });
                    }
                    return earliestNanos.get();""", """
                    });
                    earliestNanos.set(Long.MAX_VALUE);
                    }
                    return earliestNanos.get();"""),
            new Mutation(
                    "lower the earliest deadline without a compare-and-set",
                    "WaitingLine",
                    "return nanos < earliestNanos.get() && nanos < earliestNanos.getAndAccumulate(nanos, Math::min);",
                    """
                    long before = earliestNanos.get();
                    if (nanos < before) earliestNanos.set(nanos);
                    return nanos < before;"""),
            new Mutation(
                    "tell the housekeeper of no deadline",
                    "WaitingLine",
                    "if (lowerEarliest(nanos)) alarm.run();",
                    "lowerEarliest(nanos);"));

    private static final List<String> FILES = List.of("LeaseQueue", "IdleItems", "WaitingLine", "Waiter");

    private final Path sources;

    private Mutations(Path project) {
        this.sources = project.resolve("src/main/java/dev/nanopool/queue");
    }

    /**
     * Checks the queue as it is, which must pass, then all mutations.
     *
     * @param arguments the project's directory, and words that the names of the mutations to run must contain
     */
    public static void main(String[] arguments) throws Exception {
        var mutations = new Mutations(Path.of(arguments[0]));
        String words = arguments.length > 1 ? arguments[1] : "";
        if (words.isEmpty()) mutations.theQueueAsItIsMustPass();
        List<String> survivors = new ArrayList<>();
        for (Mutation mutation : MUTATIONS) {
            if (!mutation.name.contains(words)) continue;
            long start = System.nanoTime();
            String catcher = mutations.run(mutation);
            long seconds = TimeUnit.NANOSECONDS.toSeconds(System.nanoTime() - start);
            System.out.printf("%-75s %s (%d s)%n", mutation.name, catcher, seconds);
            if (catcher.equals("SURVIVED")) survivors.add(mutation.name);
        }
        System.out.printf("%d mutations, %d survived%n", MUTATIONS.size(), survivors.size());
        if (!survivors.isEmpty()) throw new AssertionError("not caught: " + survivors);
    }

    private void theQueueAsItIsMustPass() throws Exception {
        Path classes = compile(new Mutation("as it is", "Waiter", "", ""));
        if (!Check.MODEL.passes(classes) || !Check.STRESS.passes(classes))
            throw new AssertionError("the checks fail anyway");
    }

    private String run(Mutation mutation) throws Exception {
        Path classes = compile(mutation);
        if (!Check.MODEL.passes(classes)) return "model checker";
        if (!Check.STRESS.passes(classes)) return "stress test";
        return "SURVIVED";
    }

    private Path compile(Mutation mutation) throws IOException {
        Path directory = Files.createDirectories(Path.of("mutations", mutation.name.replaceAll("\\W+", "-")));
        Path classes = Files.createDirectories(directory.resolve("classes"));
        List<String> arguments = new ArrayList<>(List.of("-nowarn", "-d", classes.toString()));
        for (String name : FILES) {
            String text = strip(Files.readString(sources.resolve(name + ".java")));
            if (name.equals(mutation.file)) text = apply(mutation, text);
            arguments.add(
                    Files.writeString(directory.resolve(name + ".java"), text).toString());
        }
        int failed = ToolProvider.getSystemJavaCompiler().run(null, null, null, arguments.toArray(String[]::new));
        if (failed != 0) throw new AssertionError("does not compile: " + mutation.name);
        return classes;
    }

    private static String apply(Mutation mutation, String text) {
        if (mutation.original.isEmpty()) return text;
        int at = text.indexOf(mutation.original);
        if (at < 0 || text.indexOf(mutation.original, at + 1) >= 0) {
            throw new AssertionError(
                    "must be there once, for the mutation \"" + mutation.name + "\": " + mutation.original);
        }
        return text.substring(0, at) + mutation.broken + text.substring(at + mutation.original.length());
    }

    private static String strip(String text) {
        return String.join("\n", text.lines().map(String::strip).toList());
    }

    /** How a check is started, and what it prints when it has run. */
    @SuppressWarnings("ImmutableEnumChecker") // the list is
    private enum Check {
        MODEL(
                "tests started",
                "-XX:+EnableDynamicAgentLoading",
                "org.junit.platform.console.ConsoleLauncher",
                "execute",
                "--disable-banner",
                "--include-engine=junit-jupiter", // no other needs to run, or can, in this directory
                "--select-class=dev.nanopool.queue.LeaseQueueErrorTest",
                "--select-class=dev.nanopool.queue.LeaseQueueModelTest"),
        STRESS(
                "RUN RESULTS",
                "org.openjdk.jcstress.Main",
                "-t=dev.nanopool.queue",
                "-r=stress",
                "-sc=false",
                "-m=quick",
                "-jvmArgs=-Xms256m");

        private final String sign;
        private final List<String> arguments;

        Check(String sign, String... arguments) {
            this.sign = sign;
            this.arguments = List.of(arguments);
        }

        /**
         * Runs it with these classes instead of the project's. A stress test that does not end has found a lost wake-up;
         * the model checker says so itself.
         */
        boolean passes(Path classes) throws IOException, InterruptedException {
            List<String> command = new ArrayList<>(List.of(
                    Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                    "-cp",
                    classes.toAbsolutePath() + File.pathSeparator + System.getProperty("java.class.path")));
            command.addAll(arguments);
            Path log = classes.resolveSibling(name() + ".log");
            Process process = new ProcessBuilder(command)
                    .directory(classes.resolveSibling(".").toFile())
                    .redirectErrorStream(true)
                    .redirectOutput(log.toFile())
                    .start();
            boolean ended = process.waitFor(10, TimeUnit.MINUTES);
            process.descendants().forEach(ProcessHandle::destroyForcibly);
            process.destroyForcibly().waitFor();
            String output = Files.readString(log);
            if (!output.contains(sign) && (ended || this == MODEL))
                throw new AssertionError("the check did not run: " + log);
            return ended && process.exitValue() == 0;
        }
    }
}
