package dev.nanopool.sql;

import static dev.nanopool.sql.Change.CURSORS;
import static dev.nanopool.sql.Change.IRREVERSIBLE;
import static dev.nanopool.sql.Change.LISTEN;
import static dev.nanopool.sql.Change.LOCKS;
import static dev.nanopool.sql.Change.PREPARED;
import static dev.nanopool.sql.Change.ROLE;
import static dev.nanopool.sql.Change.SETTINGS;
import static dev.nanopool.sql.Change.TEMP;
import static dev.nanopool.sql.Change.UNKNOWN;

import dev.nanopool.sql.SqlReader.Token;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;

/**
 * Tells from SQL text alone what the text may change in its session. In doubt the answer has more changes rather than
 * fewer. A statement that undoes a change is a change too, because the pool's own set-up may be what it undoes. The text
 * does not show what functions, triggers and rules do inside, nor what a value means, as in {@code SET search_path =
 * 'pg_temp'}.
 *
 * <p>Thread-safe, without locks. The memory of texts takes at most {@value #MOST_BYTES} bytes; a text in it costs one look-up
 * and no allocation.
 */
public final class SqlText {
    /** In the answer of {@link #changes}, beside the bits of {@link Change}: the text has a statement that ends a transaction. */
    public static final int ENDS_TRANSACTION = 1 << 29;

    static final int MOST_BYTES = 1 << 20;
    static final int LONGEST_REMEMBERED = 10_000;
    /** An upper bound of what a remembered text costs besides its characters. */
    private static final int BYTES_OF_ENTRY = 112;

    private final boolean callIsSelect;
    private volatile Memory memory = Memory.FULL;

    /** If {@code callIsSelect}, the driver makes a SELECT of <code>{call f()}</code>. Otherwise that may be a CALL. */
    public SqlText(boolean callIsSelect) {
        this.callIsSelect = callIsSelect;
    }

    /** The set of {@linkplain Change#bit() changes} in a session where {@code standard_conforming_strings} is on. */
    public int changes(String sql) {
        @Nullable Integer known = memory.texts.get(sql);
        return known != null ? known : read(sql);
    }

    /**
     * The set of {@linkplain Change#bit() changes}. Without standard strings a backslash may hide the end of a string, so a
     * text that has one can change anything.
     */
    public int changes(String sql, boolean standardStrings) {
        return standardStrings || sql.indexOf('\\') < 0 ? changes(sql) : UNKNOWN.bit();
    }

    private int read(String sql) {
        int changes = classify(sql, callIsSelect);
        if (sql.length() > LONGEST_REMEMBERED || memory.add(sql, changes)) {
            return changes;
        }
        // The memory is full. An empty one takes its place, and the texts in use are back at once. A memory that kept
        // its first texts would stay full of texts that are never sent again.
        Memory empty = new Memory(0);
        empty.add(sql, changes);
        memory = empty;
        return changes;
    }

    /** How many bytes the memory takes, counted from the texts in it. */
    int rememberedBytes() {
        return memory.texts.keySet().stream().mapToInt(SqlText::bytes).sum();
    }

    /** How many texts are remembered. */
    int remembered() {
        return memory.texts.size();
    }

    private static int bytes(String sql) {
        return BYTES_OF_ENTRY + 2 * sql.length();
    }

    /** Texts and their changes. */
    private static final class Memory {
        static final Memory FULL =
                new Memory(MOST_BYTES); // the first memory of all pools, so that an unused one is small

        final ConcurrentHashMap<String, Integer> texts = new ConcurrentHashMap<>();
        /** At least the bytes of all texts. A thread adds the bytes before it adds the text. */
        private final AtomicInteger bytes;

        Memory(int bytes) {
            this.bytes = new AtomicInteger(bytes);
        }

        /** False if there is no room. */
        boolean add(String sql, int changes) {
            int size = bytes(sql);
            if (bytes.addAndGet(size) > MOST_BYTES) {
                bytes.addAndGet(-size);
                return false;
            }
            if (texts.putIfAbsent(sql, changes) != null) {
                bytes.addAndGet(-size);
            }
            return true;
        }
    }

    /** {@link #changes}, without a memory. */
    static int classify(String sql, boolean callIsSelect) {
        Classifier classifier = new Classifier(sql, callIsSelect);
        while (classifier.sql.nextStatement()) {
            classifier.statement();
        }
        classifier.checkEscapes();
        return classifier.changes;
    }

    /**
     * Functions of the server whose effect lasts as long as the session, for a replication origin, a slot that may be temporary,
     * or the state of a base backup.
     */
    private static final String[] IRREVERSIBLE_FUNCTIONS = {
        "pg_replication_origin_session_setup",
        "pg_replication_origin_xact_setup",
        "pg_create_physical_replication_slot",
        "pg_create_logical_replication_slot",
        "pg_copy_physical_replication_slot",
        "pg_copy_logical_replication_slot",
        "pg_backup_start",
        "pg_start_backup",
    };

    /** Reads the statements. The first word shows what some of them change, and some words count at any place. */
    private static final class Classifier {
        private final String text;
        private final SqlReader sql;
        private final boolean callIsSelect;
        /** Whether the statement is INSERT or MERGE. There a table follows INTO, and it may be named temp. */
        private boolean inserts;
        /** Whether the statement has the key word UPDATE, and whether it has the view that sets parameters. */
        private boolean updates;

        private boolean hasSettings;

        /** How many plain escapes were read, in all statements. */
        private int escapes;
        /** How many statements were read as <code>{call f()}</code>. */
        private int calls;

        private int changes;

        Classifier(String text, boolean callIsSelect) {
            this.text = text;
            this.sql = new SqlReader(text);
            this.callIsSelect = callIsSelect;
        }

        private void add(Change change) {
            changes |= change.bit();
        }

        private void statement() {
            updates = false;
            hasSettings = false;
            firstWord();
            rest();
            if (updates && hasSettings) {
                add(SETTINGS);
                add(ROLE);
            }
        }

        private boolean next() {
            boolean more = sql.next();
            if (sql.isIdentifier()) {
                anywhere();
            } else if (sql.token() == Token.CODED_NAME) {
                add(UNKNOWN); // it may be any name
            } else if (sql.isSymbol('{') && Escapes.isReplaced(text, sql.start())) {
                escape();
            }
            return more;
        }

        private void escape() {
            // After the first escape that is not plain, the others make no difference.
            if ((changes & UNKNOWN.bit()) == 0 && Escapes.isPlain(text, sql.start())) {
                escapes++;
            } else {
                add(UNKNOWN);
            }
        }

        /** The driver may see an escape where the server and the reader see a string or a comment. */
        void checkEscapes() {
            if ((changes & UNKNOWN.bit()) == 0
                    && (Escapes.count(text) != escapes || Escapes.countHiddenCalls(text) > calls)) {
                add(UNKNOWN);
            }
        }

        private void anywhere() {
            if (sql.isNameStart("pg_")) {
                serverName();
            } else if (sql.isNamed("set_config")) {
                add(SETTINGS);
                add(ROLE); // the parameter it sets may be the role
            } else if (sql.isNamed("set_limit")) {
                add(SETTINGS); // a function of pg_trgm
            } else if (sql.isNamed("dblink_connect") || sql.isNamed("dblink_connect_u")) {
                add(IRREVERSIBLE);
            } else if (sql.is("update")) {
                updates = true;
            }
        }

        private void serverName() {
            if (sql.isNameStart("pg_temp")) {
                add(TEMP);
            } else if (sql.isNameStart("pg_advisory_lock")
                    || sql.isNameStart("pg_try_advisory_lock")
                    || sql.isNameStart("pg_advisory_unlock")) {
                add(LOCKS);
            } else if (sql.isNamed("pg_settings")) {
                hasSettings = true;
            } else {
                for (String name : IRREVERSIBLE_FUNCTIONS) {
                    if (sql.isNamed(name)) {
                        add(IRREVERSIBLE);
                    }
                }
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
            } else if (sql.is("commit") || sql.is("end") || sql.is("rollback") || sql.is("abort")) {
                changes |= ENDS_TRANSACTION;
            } else if (sql.is("listen") || sql.is("unlisten")) {
                add(LISTEN);
            } else if (sql.is("prepare")) {
                prepare();
            } else if (sql.is("deallocate")) {
                add(PREPARED);
            } else if (sql.is("declare")) {
                declare();
            } else if (sql.is("close")) {
                close();
            } else if (sql.is("discard")) {
                discard();
            } else if (sql.is("call") && braces && callIsSelect) {
                calls++;
            } else if (sql.is("call") || sql.is("do") || (braces && sql.token() == Token.WORD)) {
                add(UNKNOWN);
            } else if (sql.is("load") || sql.is("create_replication_slot") || sql.is("upload_manifest")) {
                add(IRREVERSIBLE);
            }
        }

        /** Plans are no state that a session can see. What DISCARD SEQUENCES removes comes back with the pool's set-up only. */
        private void discard() {
            next();
            if (sql.is("temp") || sql.is("temporary")) {
                add(TEMP);
            } else if (!sql.is("plans")) {
                add(UNKNOWN);
            }
        }

        /** One cursor by its name is most often a cursor of the same lease's transaction. */
        private void close() {
            next();
            if (sql.is("all")) {
                add(CURSORS);
            }
        }

        /** SET LOCAL, SET TRANSACTION and SET CONSTRAINTS end with the transaction. */
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

        /** The word may stand twice, as in SET SESSION SESSION AUTHORIZATION. */
        private void skipSession() {
            boolean session = true;
            while (session) {
                session = isBeforeName("session");
            }
        }

        /** A parameter, or words in its place. In a name of two parts, as in SET role.x = 1, the first one is no role. */
        private void parameter() {
            boolean role =
                    sql.is("authorization") || sql.isParameter("role") || sql.isParameter("session_authorization");
            next();
            add(role && !sql.isSymbol('.') ? ROLE : SETTINGS);
        }

        /** PREPARE TRANSACTION 'id' prepares no statement, but a statement may be named transaction. */
        private void prepare() {
            next();
            boolean transaction = sql.is("transaction");
            next();
            if (!transaction || sql.token() != Token.STRING) {
                add(PREPARED);
            } else {
                changes |= ENDS_TRANSACTION;
            }
        }

        /** WITH HOLD stands before FOR. The query behind FOR may have a WITH of its own. */
        private void declare() {
            while (next() && !sql.is("for")) {
                if (isBeforeName("with") && sql.is("hold")) {
                    add(CURSORS);
                }
            }
        }

        /**
         * INTO and CREATE are reserved words, so they are no names. CREATE may stand behind other words, because EXPLAIN
         * ANALYZE CREATE TEMP TABLE creates the table.
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

        /** Whether the token is that key word and a name follows, unlike in SET local.x = 1. Reads past the key word. */
        private boolean isBeforeName(String keyword) {
            if (!sql.is(keyword)) {
                return false;
            }
            next();
            return sql.isIdentifier();
        }
    }
}
