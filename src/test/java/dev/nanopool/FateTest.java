package dev.nanopool;

import static org.assertj.core.api.Assertions.assertThat;

import dev.nanopool.Fate.Fact;
import java.util.EnumSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

/** The one table that decides what becomes of a connection, against the same table written once more. */
class FateTest {
    /** Each fact with its fate, and the reason if the connection is closed; the fact that decides first stands first. */
    private static final String TABLE = """
            CUT            CLOSE     CUT
            ABORTED        CLOSE     ABORTED
            BUSY           CLOSE     BUSY
            POOL_CLOSED    CLOSE     POOL_CLOSED
            FORGOTTEN      CLOSE     LEAKED
            RESET_LATE     CLOSE     RESET_FAILED
            INTERRUPTED    CLOSE     INTERRUPTED
            WRONG_ROLE     CLOSE     WRONG_ROLE
            SERVER_TIMEOUT CLOSE     SERVER_TIMEOUT
            LOST           CLOSE     LOST
            UNFINISHED     CLOSE     UNFINISHED
            RESET_FAILED   CLOSE     RESET_FAILED
            IRREVERSIBLE   CLOSE     IRREVERSIBLE
            STALE_CACHE    CLOSE     STALE_CACHE
            SUSPENDED      CLOSE     SUSPENDED
            SURPLUS        CLOSE     RESIZED
            RETIRED        CLOSE     RETIRED
            OUTDATED       CLOSE     RETIRED
            EXPIRED        CLOSE     MAX_LIFETIME
            UNNEEDED       CLOSE     IDLE_TIMEOUT
            BUDGET         CLOSE     BUDGET
            CHANGED        RESET     -
            SUSPECT        VALIDATE  -
            """;

    private record Row(Fact fact, Fate fate, @Nullable CloseReason reason) {
        static Row of(String line) {
            String[] words = line.split(" +");
            return new Row(
                    Fact.valueOf(words[0]),
                    Fate.valueOf(words[1]),
                    words[2].equals("-") ? null : CloseReason.valueOf(words[2]));
        }
    }

    private static final List<Row> ROWS = TABLE.lines().map(Row::of).toList();

    // Every fact has a row, and its own fate and reason.
    @Test
    void factMustHaveTheFateOfItsRow() {
        assertThat(ROWS.stream().map(Row::fact)).containsExactlyInAnyOrder(Fact.values());
        for (Row row : ROWS) {
            assertThat(Fate.of(row.fact.bit())).as("%s", row.fact).isEqualTo(row.fate);
            assertThat(Fact.first(row.fact.bit())).isEqualTo(row.fact);
            assertThat(row.fact.reason()).as("%s", row.fact).isEqualTo(row.reason);
            assertThat(row.fact.reason() != null).as("%s", row.fact).isEqualTo(row.fate == Fate.CLOSE);
            assertThat(row.fact.isIn(row.fact.bit())).isTrue();
            assertThat(row.fact.isIn(~row.fact.bit())).isFalse();
        }
    }

    // Of two facts, the one whose row stands first decides.
    @Test
    void factOfTheFirstRowMustDecideWhenTwoAreTrue() {
        for (int i = 0; i < ROWS.size(); i++) {
            for (Row later : ROWS.subList(i, ROWS.size())) {
                Row first = ROWS.get(i);
                int facts = first.fact.bit() | later.fact.bit();
                assertThat(Fact.first(facts))
                        .as("%s and %s", first.fact, later.fact)
                        .isEqualTo(first.fact);
                assertThat(Fate.of(facts))
                        .as("%s and %s", first.fact, later.fact)
                        .isEqualTo(first.fate);
            }
        }
    }

    // All four million sets of facts. No fact means that the connection is given on; of several, the first row decides.
    @Test
    void everySetOfFactsMustHaveTheFateOfItsFirstRow() {
        int all = ROWS.stream().mapToInt(row -> row.fact.bit()).sum();
        assertThat(Fate.of(0)).isEqualTo(Fate.REQUEUE);
        int[] bits = ROWS.stream().mapToInt(row -> row.fact.bit()).toArray();
        for (int facts = 1; facts <= all; facts++) {
            if ((facts & ~all) != 0) continue;
            int first = 0;
            while ((facts & bits[first]) == 0) first++;
            Row row = ROWS.get(first);
            if (Fact.first(facts) != row.fact || Fate.of(facts) != row.fate) {
                throw new AssertionError("set %x: %s".formatted(facts, Fact.first(facts)));
            }
        }
    }

    /** Calls {@code rule} with each set that has that fact. */
    private static void forEachSetWith(Fact fact, java.util.function.IntConsumer rule) {
        int all = ROWS.stream().mapToInt(row -> row.fact.bit()).sum();
        for (int facts = 0; facts <= all; facts++) {
            if ((facts & ~all) == 0 && fact.isIn(facts)) rule.accept(facts);
        }
    }

    // A connection that a thread may still use is never given on, reset or validated, even if other facts are true of
    // it. Its reason says so, because this reason makes the pool cancel the statement on the server.
    @Test
    void connectionThatAThreadMayUseMustBeClosedAndCancelled() {
        for (Fact fact : EnumSet.of(Fact.CUT, Fact.ABORTED, Fact.BUSY)) {
            forEachSetWith(fact, facts -> {
                CloseReason reason = Fact.first(facts).reason();
                if (Fate.of(facts) != Fate.CLOSE || reason == null || !reason.leavesAStatementRunning()) {
                    throw new AssertionError("%s in set %x: %s".formatted(fact, facts, reason));
                }
            });
        }
    }

    // A session that is gone or in an unknown state is never kept, and is not closed for a wish of the pool that would
    // hide this, except for the pool's end.
    @Test
    void sessionThatIsGoneMustBeClosedAndReported() {
        Set<Fact> gone = EnumSet.range(Fact.RESET_LATE, Fact.STALE_CACHE);
        Set<Fact> before = EnumSet.range(Fact.CUT, Fact.STALE_CACHE);
        for (Fact fact : gone) {
            forEachSetWith(fact, facts -> {
                if (Fate.of(facts) != Fate.CLOSE || !before.contains(Fact.first(facts))) {
                    throw new AssertionError("%s in set %x: %s".formatted(fact, facts, Fact.first(facts)));
                }
            });
        }
    }

    // Closing outranks resetting, because nothing is reset that is closed afterwards. Resetting outranks validating,
    // because a reset asks the server, too.
    @Test
    @SuppressWarnings("EnumOrdinal") // the order is the subject
    void closingMustOutrankResettingAndResettingValidating() {
        Map<Fate, Integer> lastRow = new LinkedHashMap<>();
        Map<Fate, Integer> firstRow = new LinkedHashMap<>();
        for (Fact fact : Fact.values()) {
            Fate fate = Fate.of(fact.bit());
            firstRow.putIfAbsent(fate, fact.ordinal());
            lastRow.put(fate, fact.ordinal());
        }
        assertThat(firstRow.keySet()).containsExactly(Fate.CLOSE, Fate.RESET, Fate.VALIDATE);
        assertThat(lastRow.get(Fate.CLOSE)).isLessThan(firstRow.get(Fate.RESET));
        assertThat(lastRow.get(Fate.RESET)).isLessThan(firstRow.get(Fate.VALIDATE));
    }

    // Each reason that users know can occur.
    @Test
    void everyCloseReasonMustBeTheReasonOfAFact() {
        Set<CloseReason> reasons = EnumSet.noneOf(CloseReason.class);
        Stream.of(Fact.values())
                .map(Fact::reason)
                .filter(reason -> reason != null)
                .forEach(reasons::add);
        assertThat(reasons).containsExactlyInAnyOrder(CloseReason.values());
    }
}
