package dev.nanopool.sql;

import static dev.nanopool.sql.Change.CURSORS;
import static dev.nanopool.sql.Change.LISTEN;
import static dev.nanopool.sql.Change.LOCKS;
import static dev.nanopool.sql.Change.PREPARED;
import static dev.nanopool.sql.Change.ROLE;
import static dev.nanopool.sql.Change.SETTINGS;
import static dev.nanopool.sql.Change.TEMP;
import static dev.nanopool.sql.Change.UNKNOWN;

import dev.nanopool.sql.SqlReader.Token;
import java.util.concurrent.ConcurrentHashMap;
import org.jspecify.annotations.Nullable;

/**
 * What executing SQL text may leave behind in its session, told from the text alone: when in doubt, more rather than less.
 * What functions, triggers and rules do inside is not seen, nor what a value means: {@code SET search_path = 'pg_temp'}.
 *
 * <p>Thread-safe, without locks. Each text is read once and remembered: then it costs one look-up and no allocation.
 */
public final class SqlText {
    static final int MOST_REMEMBERED = 2_000;
    static final int LONGEST_REMEMBERED = 10_000;

    private final boolean callIsSelect;
    private volatile ConcurrentHashMap<String, Integer> remembered = new ConcurrentHashMap<>();

    /** With {@code callIsSelect} the driver makes a SELECT of <code>{call f()}</code>; else that may be a CALL. */
    public SqlText(boolean callIsSelect) {
        this.callIsSelect = callIsSelect;
    }

    /** The set of {@linkplain Change#bit() changes}. */
    public int changes(String sql) {
        ConcurrentHashMap<String, Integer> memory = remembered;
        @Nullable Integer known = memory.get(sql);
        if (known != null) {
            return known;
        }
        int changes = classify(sql, callIsSelect);
        if (sql.length() <= LONGEST_REMEMBERED) {
            // Texts in use are back at once. To keep the old ones instead would let texts made on the fly fill it for
            // good.
            // Threads that find room at the same time may each add one too many. A new memory instead of clearing this
            // one: that takes time, in which the size is wrong and everybody else clears it, too.
            if (memory.size() >= MOST_REMEMBERED) {
                memory = new ConcurrentHashMap<>();
                remembered = memory;
            }
            memory.put(sql, changes);
        }
        return changes;
    }

    /** How many texts are remembered. */
    int remembered() {
        return remembered.size();
    }

    /** {@link #changes}, without a memory. */
    static int classify(String sql, boolean callIsSelect) {
        Classifier classifier = new Classifier(sql, callIsSelect);
        while (classifier.sql.nextStatement()) {
            classifier.firstWord();
            classifier.rest();
        }
        return classifier.changes;
    }

    /** Some statements are known by their first word; some words count wherever they stand. */
    private static final class Classifier {
        private final SqlReader sql;
        private final boolean callIsSelect;
        /** Whether the statement is INSERT or MERGE: what follows INTO is a table then, which may be named temp. */
        private boolean inserts;

        private int changes;

        Classifier(String text, boolean callIsSelect) {
            this.sql = new SqlReader(text);
            this.callIsSelect = callIsSelect;
        }

        private void add(Change change) {
            changes |= change.bit();
        }

        private boolean next() {
            boolean more = sql.next();
            if (sql.isIdentifier()) {
                anywhere();
            } else if (sql.token() == Token.CODED_NAME) {
                add(UNKNOWN); // it may be any name
            }
            return more;
        }

        private void anywhere() {
            if (sql.isNameStart("pg_")) {
                if (sql.isNameStart("pg_temp")) {
                    add(TEMP);
                } else if (sql.isNameStart("pg_advisory_lock") || sql.isNameStart("pg_try_advisory_lock")) {
                    add(LOCKS);
                }
            } else if (sql.isNamed("set_config")) {
                add(SETTINGS);
                add(ROLE); // the parameter it sets may be the role
            }
        }

        private void firstWord() {
            boolean braces = false;
            while (next() && sql.token() != Token.WORD) { // parentheses, {? =
                braces |= sql.isSymbol('{');
            }
            inserts = sql.is("insert") || sql.is("merge");
            if (sql.is("set")) {
                set();
            } else if (sql.is("reset")) {
                reset();
            } else if (sql.is("listen")) {
                add(LISTEN);
            } else if (sql.is("prepare")) {
                prepare();
            } else if (sql.is("declare")) {
                declare();
            } else if (sql.is("do") || sql.is("load") || (sql.is("call") && !(braces && callIsSelect))) {
                add(UNKNOWN);
            }
        }

        /** What is LOCAL, the TRANSACTION's or about CONSTRAINTS ends with the transaction. */
        private void set() {
            next();
            if (isBeforeName("local")) {
                return;
            }
            skipSession();
            if (!isBeforeName("transaction") && !isBeforeName("constraints")) {
                parameter();
            }
        }

        private void reset() {
            next();
            skipSession();
            parameter();
        }

        /** There may be two: SET SESSION SESSION AUTHORIZATION. */
        private void skipSession() {
            boolean session = true;
            while (session) {
                session = isBeforeName("session");
            }
        }

        /** A parameter, or what stands for one. In a name of two parts the first means nothing: SET role.x = 1. */
        private void parameter() {
            boolean role =
                    sql.is("authorization") || sql.isParameter("role") || sql.isParameter("session_authorization");
            next();
            add(role && !sql.isSymbol('.') ? ROLE : SETTINGS);
        }

        /** PREPARE TRANSACTION 'id', but a statement may be named transaction too. */
        private void prepare() {
            next();
            boolean transaction = sql.is("transaction");
            next();
            if (!transaction || sql.token() != Token.STRING) {
                add(PREPARED);
            }
        }

        /** Up to FOR: the query may have a WITH of its own. */
        private void declare() {
            while (next() && !sql.is("for")) {
                if (isBeforeName("with") && sql.is("hold")) {
                    add(CURSORS);
                }
            }
        }

        /**
         * INTO and CREATE are reserved words, so these are what they seem. CREATE need not be the first one: EXPLAIN ANALYZE
         * CREATE TEMP TABLE does create it.
         */
        private void rest() {
            do {
                if (sql.is("create")) {
                    create();
                } else if (sql.is("into") && !inserts) {
                    into();
                }
            } while (next());
        }

        private void create() {
            boolean option = true;
            while (option) {
                next();
                option = sql.is("or") || sql.is("replace") || sql.is("global") || sql.is("local");
                option = option || sql.is("unlogged") || sql.is("recursive");
            }
            temporary();
        }

        private void into() {
            next();
            if (sql.is("local") || sql.is("global")) {
                next();
            }
            temporary();
        }

        private void temporary() {
            if (sql.is("temp") || sql.is("temporary")) {
                add(TEMP);
            }
        }

        /** Whether it is that key word and a name follows, unlike SET local.x = 1. Goes past the key word. */
        private boolean isBeforeName(String keyword) {
            if (!sql.is(keyword)) {
                return false;
            }
            next();
            return sql.isIdentifier();
        }
    }
}
