package dev.nanopool.sql;

/**
 * The JDBC escapes that the driver replaces before it sends SQL text. They are <code>{d '...'}</code>, <code>{t '...'}</code>,
 * <code>{ts '...'}</code>, <code>{escape '...'}</code>, <code>{fn name(...)}</code> and <code>{oj ...}</code>.
 *
 * <p>The driver takes braces and a keyword for an escape, and does not check what follows. If the escape is malformed, the driver drops
 * characters, for example a quote, and the server reads another text than the one that was classified. A plain escape is
 * one whose replacement leaves all tokens around it and in it as they are.
 */
final class Escapes {
    /** A function call with more characters is not plain, so that nested ones are not read again and again. */
    private static final int LONGEST_CALL = 1_000;

    /** What may stand before and after a plain escape, besides blanks. None of it can become part of a word or a string. */
    private static final String NEIGHBOURS = "()[],;=<>+*|";

    private static final String[] LITERALS = {"d", "t", "ts", "escape"};

    private Escapes() {}

    /** How many braces the driver may replace, strings and comments included. */
    static int count(String text) {
        int count = 0;
        for (int at = text.indexOf('{'); at >= 0; at = text.indexOf('{', at + 1)) {
            if (isReplaced(text, at)) {
                count++;
            }
        }
        return count;
    }

    /**
     * How many braces the driver may take for the start of <code>{call f()}</code> behind blanks and comments that it reads in
     * its own way. Zero if the text starts with anything else, because then the driver looks for no call.
     */
    static int countHiddenCalls(String text) {
        char first = charAt(text, skipBlanks(text, 0));
        if (first != '/' && first != '-' && first < 0x80) {
            return 0;
        }
        int count = 0;
        for (int at = text.indexOf('{'); at >= 0; at = text.indexOf('{', at + 1)) {
            int next = at + 1;
            while (Character.isWhitespace(charAt(text, next))) {
                next++;
            }
            if ("?cC".indexOf(charAt(text, next)) >= 0) {
                count++;
            }
        }
        return count;
    }

    /** Whether the driver replaces what starts with this brace, if the driver finds it outside of strings and comments. */
    static boolean isReplaced(String text, int brace) {
        for (String literal : LITERALS) {
            if (charAt(text, value(text, brace, literal)) == '\'') {
                return true;
            }
        }
        char called = charAt(text, value(text, brace, "fn"));
        char joined = charAt(text, value(text, brace, "oj"));
        return called == '"'
                || Character.isLetter(called)
                || joined == '"'
                || joined == '('
                || Character.isLetter(joined);
    }

    /** Whether the brace starts a plain escape. */
    static boolean isPlain(String text, int brace) {
        int end = endOfCall(text, brace);
        for (String literal : LITERALS) {
            end = Math.max(end, endOfLiteral(text, value(text, brace, literal)));
        }
        return end > 0 && isApart(text, brace - 1) && isApart(text, end + 1);
    }

    /** The closing brace after one string without quotes and braces in it, or -1. */
    private static int endOfLiteral(String text, int quote) {
        if (charAt(text, quote) != '\'') {
            return -1;
        }
        int at = quote + 1;
        while (at < text.length() && text.charAt(at) != '\'' && text.charAt(at) != '}') {
            at++;
        }
        return charAt(text, at) == '\'' ? closingBrace(text, at + 1) : -1;
    }

    /**
     * The closing brace after a name and its arguments, or -1. The driver and the server tell strings apart from other text
     * in different ways where a backslash, a dollar sign or a comment stands, so a plain call has none.
     */
    private static int endOfCall(String text, int brace) {
        int start = value(text, brace, "fn");
        // Without a space the reader takes fn and the name for one word.
        if (charAt(text, start - 1) != ' ') {
            return -1;
        }
        int at = start;
        while (isNamePart(charAt(text, at))) {
            at++;
        }
        boolean isNamed = at > start;
        at = skipBlanks(text, at);
        if (!isNamed || charAt(text, at) != '(') {
            return -1;
        }
        int depth = 0;
        char quote = 0;
        int limit = Math.min(text.length(), brace + LONGEST_CALL);
        for (; at < limit; at++) {
            char c = text.charAt(at);
            if (c == '\\' || c == '$' || text.startsWith("--", at) || text.startsWith("/*", at)) {
                return -1;
            } else if (quote != 0) {
                quote = c == quote ? 0 : quote;
            } else if (c == '\'' || c == '"') {
                quote = c;
            } else if (c == '(') {
                depth++;
            } else if (c == ')' && --depth == 0) {
                return closingBrace(text, at + 1);
            }
        }
        return -1;
    }

    /** Where the value stands behind this keyword, or -1 if the brace has another one. The driver skips spaces only. */
    private static int value(String text, int brace, String keyword) {
        int at = brace + 1;
        if (!text.regionMatches(true, at, keyword, 0, keyword.length())) {
            return -1;
        }
        at += keyword.length();
        while (charAt(text, at) == ' ') {
            at++;
        }
        return at;
    }

    private static int closingBrace(String text, int from) {
        int at = skipBlanks(text, from);
        return charAt(text, at) == '}' ? at : -1;
    }

    private static int skipBlanks(String text, int from) {
        int at = from;
        while (at < text.length() && text.charAt(at) <= ' ') {
            at++;
        }
        return at;
    }

    private static boolean isApart(String text, int at) {
        return at < 0 || at >= text.length() || text.charAt(at) <= ' ' || NEIGHBOURS.indexOf(text.charAt(at)) >= 0;
    }

    private static boolean isNamePart(char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c >= '0' && c <= '9');
    }

    /** NUL if there is no such character. */
    private static char charAt(String text, int at) {
        return at >= 0 && at < text.length() ? text.charAt(at) : 0;
    }
}
