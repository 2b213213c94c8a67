package dev.nanopool.queue;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import javax.tools.ToolProvider;

/**
 * Breaks the lease queue in one place after the other, each one fence, order or compare-and-set, and demands that the model
 * checker or a stress test notices, because a check that cannot fail proves nothing. Breaks the life of a connection, the
 * table of fates, the account of permits and the funnel of events in the same way; their own tests must notice. Started by
 * {@code mvn -f src/prove verify}, in a directory that it may fill; its argument is the project's.
 */
public final class Mutations {
    /** One place in the source, by its text, which must be there once. Line breaks and indentation do not count. */
    private record Mutation(String name, String file, String original, String broken) {}

    private static final List<Mutation> MUTATIONS = List.of(
            new Mutation("join the line after looking for items", "LeaseQueue", """
                    waiters.add(waiter); // THEN look: whether the queue is closed, and for items
                    if (closed) waiter.answer(Reason.CLOSED);
                    pairing.match();""", """
                    pairing.match();
                    waiters.add(waiter);
                    if (closed) waiter.answer(Reason.CLOSED);"""),
            new Mutation("look whether it is closed before joining the line", "LeaseQueue", """
                    waiters.add(waiter); // THEN look: whether the queue is closed, and for items
                    if (closed) waiter.answer(Reason.CLOSED);""", """
                    if (closed) waiter.answer(Reason.CLOSED);
                    waiters.add(waiter);"""),
            new Mutation("look for waiters only before filling the stripe", "LeaseQueue", """
                    items.put(item); // THEN look for waiters
                    try {
                    pairing.match();""", """
                    items.put(item);
                    try {
                    if (item == null) pairing.match();"""),
            new Mutation(
                    "fill the stripe without a fence and without a compare-and-set",
                    "IdleItems",
                    "if (item != null && stripes.get(stripe) == null && stripes.compareAndSet(stripe, null, item)) return;",
                    """
                    if (item != null && stripes.get(stripe) == null) {
                    stripes.setRelease(stripe, item);
                    return;
                    }"""),
            new Mutation(
                    "empty the stripe without a compare-and-set",
                    "IdleItems",
                    "if (item != null && stripes.compareAndSet(stripe, item, null)) return item;",
                    """
                    if (item != null) {
                    stripes.set(stripe, null);
                    return item;
                    }"""),
            new Mutation("release the permit before its item is queued", "IdleItems", """
                    if (item != null) idle.add(item);
                    permits.release();""", """
                    permits.release();
                    if (item != null) idle.add(item);"""),
            new Mutation(
                    "forget the item of a waiter that has left",
                    "Pairing",
                    "if (!waiters.handOver(item)) items.put(item);",
                    "waiters.handOver(item);"),
            new Mutation(
                    "look for no waiter when a permit comes back", "LeaseQueue", "place(null);", "items.put(null);"),
            new Mutation("look for waiters before the permit comes back", "LeaseQueue", "place(null);", """
                    pairing.match();
                    items.put(null);"""),
            new Mutation("put without a reserve of stack", "IdleItems", """
                    StackReserve.require();
                    if (item != null) idle.add(item);""", "if (item != null) idle.add(item);"),
            new Mutation(
                    "wake a waiter without a reserve of stack",
                    "WaitingLine",
                    """
                    if (waiters.isEmpty()) return false;
                    StackReserve.require();""",
                    "if (waiters.isEmpty()) return false;"),
            new Mutation(
                    "refuse waiters without a reserve of stack",
                    "WaitingLine",
                    "if (line.hasNext()) StackReserve.require();",
                    ""),
            new Mutation("withdraw what cannot be closed", "LeaseQueue", """
                    give(item);
                    throw e;""", "throw e;"),
            new Mutation("lose the item that could not be handed over", "Pairing", "unfinished.add(keeper);", ""),
            new Mutation("forget a caller that has missed a permit", "IdleItems", "unfinished.isAny = true;", ""),
            new Mutation(
                    "keep the permit to which no idle item belongs",
                    "LeaseQueue",
                    "return items.take(putBack);",
                    "return items.take(() -> {});"),
            new Mutation(
                    "an interrupted caller keeps the item that has come",
                    "LeaseQueue",
                    "else if (!(waiter.get() instanceof Reason)) give(waiter.item());",
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
                    line.remove(); // for free; remove(waiter) walks the whole line if another thread was faster""", """
                    if (waiters.peek() != waiter) waiter.wake();
                    line.remove();"""),
            new Mutation(
                    "lose the permit that the owner did not take over",
                    "IdleItems",
                    "permits.release(); // it stays here, but meanwhile a new waiter may have looked for it in vain",
                    ""),
            new Mutation(
                    "expire does not try the owner again",
                    "Pairing",
                    "i > 0 && items.free() > 0 &&",
                    "i > 0 && items.free() > Integer.MAX_VALUE - 1 &&"),
            new Mutation("change what a full stack may leave half done", "IdleItems", """
                    StackReserve.require();
                    if (!permits.tryAcquire()) return null;""", """
                    if (!permits.tryAcquire()) return null;"""),
            new Mutation(
                    "take what is idle although a caller waits",
                    "LeaseQueue",
                    "return waiters.isEmpty() ? takeIdle() : null;",
                    "return takeIdle();"),
            new Mutation(
                    "park once instead of until there is an answer",
                    "Waiter",
                    "while (get() == null) {",
                    "if (get() == null) {"),
            new Mutation("answer the waiters before the queue is closed", "LeaseQueue", """
                    closed = true; // THEN answer, because a later caller sees it
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
                    waiter.wake();
                    line.remove(); // for free; remove(waiter) walks the whole line if another thread was faster""", """
                    waiter.wake();
                    boolean isAnswered = waiter.answer(item);
                    try {
                    line.remove();"""),
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
                    "report no deadline to the housekeeper",
                    "WaitingLine",
                    "if (lowerEarliest(nanos)) alarm.run();",
                    "lowerEarliest(nanos);"),
            new Mutation("count no hand-over", "WaitingLine", "if (isAnswered) pace.handedOver(clock);", ""),
            new Mutation(
                    "count a hand-over twice",
                    "WaitingLine",
                    "if (isAnswered) pace.handedOver(clock);",
                    "pace.handedOver(clock); pace.handedOver(clock);"),
            new Mutation(
                    "keep the pace of a line that was empty",
                    "WaitingLine",
                    "if (waiters.isEmpty()) pace.forget();",
                    ""),
            new Mutation(
                    "refuse although fewer callers wait than there are items",
                    "WaitingLine",
                    "(double) place - uncounted - hopeful.getAsInt()",
                    "(double) place - uncounted"),
            new Mutation(
                    "refuse for callers that do not count",
                    "WaitingLine",
                    "(double) place - uncounted - hopeful.getAsInt()",
                    "(double) place - hopeful.getAsInt()"),
            new Mutation(
                    "leave nothing to chance",
                    "WaitingLine",
                    "(before - 3 * Math.sqrt(before))",
                    "(before - 0 * Math.sqrt(before))"),
            new Mutation("refuse no hopeless caller", "WaitingLine", "if (interval > 0) {", "if (interval < 0) {"),
            new Mutation("the hopeless caller stays in the line", "WaitingLine", """
                    throw new RefusedException(Reason.HOPELESS, place, place * interval);""", """
                    {
                    waiters.add(new Waiter(now, deadlineNanos));
                    throw new RefusedException(Reason.HOPELESS, place, place * interval);
                    }"""),
            new Mutation(
                    "end a window without a compare-and-set",
                    "Pace",
                    "window.compareAndSet(now, now.next(nanos, count));",
                    "window.set(now.next(nanos, count));"),
            new Mutation("forget no pace", "Pace", "if (window.get() != null) window.set(null);", ""),
            new Mutation("end a window early", "Pace", "nanos - now.beganNanos >= WINDOW_NANOS &&", ""),
            new Mutation(
                    "believe one window",
                    "Pace",
                    "return new Window(nanos, newCount, took, measured, median);",
                    "return new Window(nanos, newCount, took, measured, measured);"),
            new Mutation(
                    "believe the slower one of two windows",
                    "Pace",
                    "return new Window(nanos, newCount, took, measured, median);",
                    "return new Window(nanos, newCount, took, measured, Math.max(measured, latest));"),
            new Mutation("never forget a pace", "Pace", "return isStill ? 0 : now.interval;", "return now.interval;"),
            new Mutation(
                    "take long leases for silence",
                    "Pace",
                    "Math.max(STANDSTILL_NANOS, 2 * now.tookNanos)",
                    "STANDSTILL_NANOS"));

    private static final List<Mutation> CORE = List.of(
            new Mutation(
                    "a lease begins in any state",
                    "PhysicalConnection",
                    "if (life != State.IDLE) throw bug(State.LEASED);",
                    ""),
            new Mutation("count no lease", "PhysicalConnection", "leases++;", ""),
            new Mutation(
                    "close in any state",
                    "PhysicalConnection",
                    "if (life != State.IDLE) throw bug(State.CLOSING);",
                    ""),
            new Mutation("say why before looking at the state", "PhysicalConnection", """
                    if (life != State.IDLE) throw bug(State.CLOSING);
                    closeReason = reason;
                    leaving = isLeaving;""", """
                    closeReason = reason;
                    leaving = isLeaving;
                    if (life != State.IDLE) throw bug(State.CLOSING);"""),
            new Mutation("forget that the permit leaves", "PhysicalConnection", "leaving = isLeaving;", ""),
            new Mutation(
                    "lose a connection that cannot be passed on",
                    "PhysicalConnection",
                    "if (!passedOn) abandoned = true;",
                    ""),
            new Mutation(
                    "pass a connection on twice",
                    "PhysicalConnection",
                    "if (!leasedToIdle(lease)) return false;",
                    "leasedToIdle(lease);"),
            new Mutation("take any edge", "PhysicalConnection", "if (life != from) throw bug(to);", ""),
            new Mutation(
                    "opening does not end",
                    "PhysicalConnection",
                    "edge(State.OPENING, State.IDLE);",
                    "edge(State.OPENING, State.OPENING);"),
            new Mutation(
                    "a service starts from the wrong state",
                    "PhysicalConnection",
                    "edge(State.IDLE, State.SERVICED);",
                    "edge(State.SERVICED, State.SERVICED);"),
            new Mutation(
                    "a service does not end",
                    "PhysicalConnection",
                    "edge(State.SERVICED, State.IDLE);",
                    "edge(State.SERVICED, State.CLOSING);"),
            new Mutation(
                    "closing does not end",
                    "PhysicalConnection",
                    "edge(State.CLOSING, State.CLOSED);",
                    "edge(State.CLOSING, State.IDLE);"),
            new Mutation(
                    "end any lease", "PhysicalConnection", "isLease(now, ended); now =", "now != State.IDLE; now ="),
            new Mutation(
                    "end a lease without a compare-and-set",
                    "PhysicalConnection",
                    "if (LIFE.compareAndSet(this, now, State.IDLE)) return true;",
                    """
                    Thread.yield();
                    LIFE.setVolatile(this, State.IDLE);
                    if (now != null) return true;"""),
            new Mutation(
                    "give up when the housekeeper was faster",
                    "PhysicalConnection",
                    "if (LIFE.compareAndSet(this, now, State.IDLE)) return true;",
                    "return LIFE.compareAndSet(this, now, State.IDLE);"),
            new Mutation(
                    "make a lease last without a compare-and-set",
                    "PhysicalConnection",
                    "return LIFE.compareAndSet(this, now, lasting) ? lasting : null;",
                    """
                    Thread.yield();
                    LIFE.setVolatile(this, lasting);
                    return lasting;"""),
            new Mutation(
                    "do not know a lease that lasts",
                    "PhysicalConnection",
                    "&& lasting.refersTo(client);",
                    "&& !lasting.refersTo(client) && false;"),
            new Mutation(
                    "take every lasting lease for the caller's",
                    "PhysicalConnection",
                    "&& lasting.refersTo(client);",
                    "&& (lasting.refersTo(client) || true);"),
            new Mutation(
                    "the last fact decides",
                    "Fate",
                    "numberOfTrailingZeros(facts)",
                    "numberOfTrailingZeros(Integer.highestOneBit(facts))"),
            new Mutation("no fact means validate", "Fate", "facts == 0 ? REQUEUE", "facts == 0 ? VALIDATE"),
            new Mutation("validate what is cut", "Fate", "CUT(CloseReason.CUT),", "CUT(VALIDATE),"),
            new Mutation("reset what is in use", "Fate", "BUSY(CloseReason.BUSY),", "BUSY(RESET),"),
            new Mutation("a wrong reason", "Fate", "LOST(CloseReason.LOST),", "LOST(CloseReason.RETIRED),"),
            new Mutation("validate before resetting", "Fate", """
                    CHANGED(RESET),
                    SUSPECT(VALIDATE);""", """
                    SUSPECT(VALIDATE),
                    CHANGED(RESET);"""),
            new Mutation("a wish of the pool hides the end of a session", "Fate", """
                    RESET_LATE(CloseReason.RESET_FAILED),
                    INTERRUPTED(CloseReason.INTERRUPTED),
                    WRONG_ROLE(CloseReason.WRONG_ROLE),""", """
                    RESET_LATE(CloseReason.RESET_FAILED),
                    WRONG_ROLE(CloseReason.WRONG_ROLE),
                    INTERRUPTED(CloseReason.INTERRUPTED),"""),
            new Mutation(
                    "a fact is in every set", "Fate", "return (facts & bit()) != 0;", "return (facts | bit()) != 0;"),
            new Mutation(
                    "claim more than the surplus",
                    "Capacity",
                    "while (now > aim.get().target) {",
                    "while (now >= aim.get().target) {"),
            new Mutation("claim without a compare-and-set", "Capacity", """
                    while (now > aim.get().target) {
                    if (filled.compareAndSet(now, now - 1)) {""", """
                    while (now > aim.get().target) {
                    Thread.yield();
                    filled.set(now - 1);
                    if (now > 0) {"""),
            new Mutation(
                    "withdraw a permit that has its connection",
                    "Capacity",
                    "while (now > Math.max(aim.get().target, filled.get())) {",
                    "while (now > aim.get().target) {"),
            new Mutation(
                    "withdraw what is wanted",
                    "Capacity",
                    "while (now > Math.max(aim.get().target, filled.get())) {",
                    "while (now > filled.get()) {"),
            new Mutation("claim and count nothing", "Capacity", "leaving.incrementAndGet();", ""),
            new Mutation("keep a claim that failed", "Capacity", """
                    now = filled.get();
                    }
                    leaving.decrementAndGet();""", """
                    now = filled.get();
                    }"""),
            new Mutation("a permit never leaves", "Capacity", """
                    void left() {
                    leaving.decrementAndGet();""", "void left() {"),
            new Mutation(
                    "add while permits leave",
                    "Capacity",
                    "now + leaving.get() + withheld.get() <",
                    "now + withheld.get() <"),
            new Mutation(
                    "add what is withheld",
                    "Capacity",
                    "now + leaving.get() + withheld.get() <",
                    "now + leaving.get() <"),
            new Mutation(
                    "add one too many",
                    "Capacity",
                    "withheld.get() < aim.get().target) {",
                    "withheld.get() <= aim.get().target) {"),
            new Mutation("add without a compare-and-set", "Capacity", """
                    if (circulating.compareAndSet(now, now + 1)) return true;""", """
                    Thread.yield();
                    circulating.set(now + 1);
                    if (now >= 0) return true;"""),
            new Mutation("withhold the only permit", "Capacity", "while (now > 1) {", "while (now > 0) {"),
            new Mutation("withhold and count nothing", "Capacity", """
                    boolean withhold() {
                    withheld.incrementAndGet();""", "boolean withhold() {"),
            new Mutation(
                    "the count of withheld permits falls below zero",
                    "Capacity",
                    "withheld.updateAndGet(counted -> Math.max(0, counted - 1));",
                    "withheld.decrementAndGet();"),
            new Mutation(
                    "bring back what is not withheld",
                    "Capacity",
                    "now - 1)) > 0) return true;",
                    "now - 1)) >= 0) return true;"),
            new Mutation("bring back a permit that does not circulate", "Capacity", """
                    boolean readmit() {
                    circulating.incrementAndGet();""", "boolean readmit() {"),
            new Mutation("a resize leaves too many withheld", "Capacity", "0, now));", "now, now));"),
            new Mutation(
                    "suspend a closed pool",
                    "Capacity",
                    "old.state == State.OPEN ? new Aim(State.SUSPENDED",
                    "old.state != State.SUSPENDED ? new Aim(State.SUSPENDED"),
            new Mutation(
                    "resume a closed pool",
                    "Capacity",
                    "old.state == State.SUSPENDED ? new Aim(State.OPEN",
                    "old.state != State.OPEN ? new Aim(State.OPEN"),
            new Mutation(
                    "a suspended pool wants connections",
                    "Capacity",
                    "state == State.OPEN ? size : 0",
                    "state != State.CLOSED ? size : 0"),
            new Mutation(
                    "use a permit twice",
                    "Permits",
                    "if (!permit.compareAndSet(State.IN_HAND, State.USED)) {",
                    "if (permit.getAndSet(State.USED) == null) {"),
            new Mutation(
                    "use a permit without a compare-and-set",
                    "Permits",
                    "if (!permit.compareAndSet(State.IN_HAND, State.USED)) {",
                    """
                    boolean isInHand = permit.get() == State.IN_HAND;
                    Thread.yield();
                    permit.set(State.USED);
                    if (!isInHand) {"""),
            new Mutation(
                    "abandon a used permit",
                    "Permits",
                    "compareAndSet(State.IN_HAND, State.ABANDONED);",
                    "set(State.ABANDONED);"),
            new Mutation("abandon nothing", "Permits", "compareAndSet(State.IN_HAND, State.ABANDONED);", ""),
            new Mutation(
                    "recover a permit twice",
                    "Permits",
                    "if (permit.compareAndSet(State.ABANDONED, State.IN_HAND)) next.accept(permit);",
                    """
                    if (permit.get() == State.ABANDONED) {
                    Thread.yield();
                    permit.set(State.IN_HAND);
                    next.accept(permit);
                    }"""),
            new Mutation(
                    "recover what is in hand",
                    "Permits",
                    "if (permit.compareAndSet(State.ABANDONED, State.IN_HAND)) next",
                    "if (permit.getAndSet(State.IN_HAND) != State.USED) next"),
            new Mutation(
                    "recover nothing",
                    "Permits",
                    "if (permit.compareAndSet(State.ABANDONED, State.IN_HAND)) next.accept(permit);",
                    ""),
            new Mutation("forget a permit in hand", "Permits", "inHand.add(permit);", ""),
            new Mutation("do not look whether the pool is closed", "Closing", "if (closed) run(action);", ""),
            new Mutation("look whether the pool is closed before registering", "Closing", """
                    actions.add(action);
                    if (closed) run(action);""", """
                    boolean wasClosed = closed;
                    Thread.yield();
                    actions.add(action);
                    if (wasClosed) run(action);"""),
            new Mutation(
                    "run a removed action", "Closing", "if (actions.remove(action)) action.run();", "action.run();"),
            new Mutation("remove nothing", "Closing", "return () -> actions.remove(action);", "return () -> {};"),
            new Mutation(
                    "an action that throws stops the others",
                    "Closing",
                    "if (first == null) first = e;",
                    "if (first == null) throw e;"),
            new Mutation("a sink that throws stops the others", "Events", """
                    sink.accept(event);
                    } catch (Throwable e) {
                    sinkFailed(e);""", """
                    sink.accept(event);
                    } catch (Throwable e) {
                    sinkFailed(e);
                    return;"""),
            new Mutation("a sink that throws reaches the pool", "Events", """
                    sink.accept(event);
                    } catch (Throwable e) {""", """
                    sink.accept(event);
                    } catch (Exception e) {"""),
            new Mutation("a log that cannot say its level reaches the pool", "Events", """
                    return logger.isLoggable(level);
                    } catch (Throwable e) {""", """
                    return logger.isLoggable(level);
                    } catch (IllegalArgumentException e) {"""),
            new Mutation(
                    "a log that throws reaches the pool",
                    "Events",
                    "} catch (Throwable e) {\nsinksFailed",
                    "} catch (IllegalStateException e) {\nsinksFailed"));

    private static final String TESTS_STARTED = " [1-9]\\d* tests started";

    private static final List<String> FILES = List.of(
            "LeaseQueue", "IdleItems", "WaitingLine", "Waiter", "Pairing", "Unfinished", "Pace", "RefusedException");

    private final Path sources;

    private Mutations(Path project) {
        this.sources = project.resolve("src/main/java/dev/nanopool");
    }

    /**
     * Checks the queue as it is, which must pass, then all mutations.
     *
     * @param arguments the project's directory, and words that the names of the mutations to run must contain, or the class
     */
    public static void main(String[] arguments) throws Exception {
        var mutations = new Mutations(Path.of(arguments[0]));
        String words = arguments.length > 1 ? arguments[1] : "";
        if (words.isEmpty()) mutations.theQueueAsItIsMustPass();
        List<String> survivors = new ArrayList<>();
        int count = 0;
        for (Mutation mutation :
                Stream.concat(MUTATIONS.stream(), CORE.stream()).toList()) {
            if (!mutation.name.contains(words) && !mutation.file.equals(words)) continue;
            long start = System.nanoTime();
            String catcher = mutations.run(mutation);
            long seconds = TimeUnit.NANOSECONDS.toSeconds(System.nanoTime() - start);
            System.out.printf("%-75s %s (%d s)%n", mutation.name, catcher, seconds);
            if (catcher.equals("SURVIVED")) survivors.add(mutation.name);
            count++;
        }
        System.out.printf("%d mutations, %d survived%n", count, survivors.size());
        if (!survivors.isEmpty()) throw new AssertionError("not caught: " + survivors);
    }

    private void theQueueAsItIsMustPass() throws Exception {
        Path classes = compile(new Mutation("as it is", "Waiter", "", ""));
        boolean isCoreSound = true;
        for (String file : CORE.stream().map(Mutation::file).distinct().toList()) {
            isCoreSound &= Check.CORE.passes(classes, testOf(file));
        }
        if (!isCoreSound || !Check.MODEL.passes(classes) || !Check.STRESS.passes(classes))
            throw new AssertionError("the checks fail anyway");
    }

    private String run(Mutation mutation) throws Exception {
        Path classes = compile(mutation);
        if (CORE.contains(mutation))
            return Check.CORE.passes(classes, testOf(mutation.file)) ? "SURVIVED" : "unit test";
        if (!Check.MODEL.passes(classes)) return "model checker";
        if (!Check.STRESS.passes(classes)) return "stress test";
        return "SURVIVED";
    }

    private static String testOf(String file) {
        return "--select-class=dev.nanopool." + file + "Test";
    }

    private Path compile(Mutation mutation) throws IOException {
        Path directory = Files.createDirectories(Path.of("mutations", mutation.name.replaceAll("\\W+", "-")));
        Path classes = Files.createDirectories(directory.resolve("classes"));
        List<String> arguments = new ArrayList<>(List.of("-nowarn", "-d", classes.toString()));
        boolean isCore = CORE.contains(mutation);
        for (String name : isCore ? List.of(mutation.file) : FILES) {
            Path source = sources.resolve((isCore ? "" : "queue/") + name + ".java");
            String text = strip(Files.readString(source));
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

    /** How a check is started, and what it prints when it has run, as a regular expression. */
    @SuppressWarnings("ImmutableEnumChecker") // the list is
    private enum Check {
        CORE(
                10,
                TESTS_STARTED,
                "org.junit.platform.console.ConsoleLauncher",
                "execute",
                "--disable-banner",
                "--include-engine=junit-jupiter"),
        MODEL(
                60, // in which every test may reach its own bound
                TESTS_STARTED,
                "-XX:+EnableDynamicAgentLoading",
                "org.junit.platform.console.ConsoleLauncher",
                "execute",
                "--disable-banner",
                "--include-engine=junit-jupiter", // no other needs to run, or can, in this directory
                // A thread that is stranded for ever must not outlast the check.
                "--config=junit.jupiter.execution.timeout.lifecycle.method.default=1m",
                "--select-class=dev.nanopool.queue.PaceTest",
                "--select-class=dev.nanopool.queue.LeaseQueueErrorTest",
                "--select-class=dev.nanopool.queue.LeaseQueueModelTest"),
        STRESS(
                10,
                "RUN RESULTS",
                "org.openjdk.jcstress.Main",
                "-t=dev.nanopool.queue",
                "-r=stress",
                "-sc=false",
                "-m=quick",
                "-jvmArgs=-Xms256m");

        private final int minutes; // it takes at most
        private final String sign;
        private final List<String> arguments;

        Check(int minutes, String sign, String... arguments) {
            this.minutes = minutes;
            this.sign = sign;
            this.arguments = List.of(arguments);
        }

        private static Stream<Path> classPath() {
            return Stream.of(System.getProperty("java.class.path").split(File.pathSeparator))
                    .map(Path::of);
        }

        /**
         * Runs it with these classes instead of the project's. A stress test that does not end has found a lost wake-up;
         * the model checker says so itself.
         */
        boolean passes(Path classes, String... more) throws IOException, InterruptedException {
            List<String> command = new ArrayList<>(List.of(
                    Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                    "-cp",
                    Stream.concat(Stream.of(classes), classPath())
                            .map(entry -> entry.toAbsolutePath().toString())
                            .collect(Collectors.joining(File.pathSeparator))));
            command.addAll(arguments);
            command.addAll(List.of(more));
            Path log = classes.resolveSibling(name() + ".log");
            Process process = new ProcessBuilder(command)
                    .directory(classes.resolveSibling(".").toFile())
                    .redirectErrorStream(true)
                    .redirectOutput(log.toFile())
                    .start();
            boolean ended = process.waitFor(minutes, TimeUnit.MINUTES);
            process.descendants().forEach(ProcessHandle::destroyForcibly);
            process.destroyForcibly().waitFor();
            String output = Files.readString(log);
            if (!Pattern.compile(sign).matcher(output).find() && (ended || this != STRESS))
                throw new AssertionError("the check did not run: " + log);
            return ended && process.exitValue() == 0;
        }
    }
}
