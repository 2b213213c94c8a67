package dev.nanopool.sql;

/**
 * Reads SQL text once from left to right, token by token and statement by statement, as the server reads it if {@code
 * standard_conforming_strings} is on. The reader never throws; a string or a comment that is not closed ends with the text.
 * Not thread-safe.
 */
final class SqlReader {
    enum Token {
        /** The reader has read no token of this statement. */
        NONE,
        /** A key word or a plain identifier. */
        WORD,
        /** A quoted identifier. */
        NAME,
        /** A quoted identifier with characters given by number: {@code U&"..."}. */
        CODED_NAME,
        STRING,
        /** One other character, or a run of digits. */
        SYMBOL,
        /** The end of the statement; {@link #next} stays there. */
        END
    }

    private final String text;
    private final int length;
    /** The first character that is not read. */
    private int at;

    private Token token = Token.NONE;
    /** The bounds of a WORD, or of a NAME without its quotes. A SYMBOL has a start only. */
    private int start;

    private int end;

    SqlReader(String text) {
        this.text = text;
        this.length = text.length();
    }

    Token token() {
        return token;
    }

    /** Where the word, the name or the symbol starts in the text. */
    int start() {
        return start;
    }

    boolean isSymbol(char symbol) {
        return token == Token.SYMBOL && text.charAt(start) == symbol;
    }

    /** Whether the token is that key word, given in lower case. */
    boolean is(String keyword) {
        return token == Token.WORD && end - start == keyword.length() && startsWith(keyword, false);
    }

    boolean isIdentifier() {
        return token == Token.WORD || token == Token.NAME;
    }

    /** Whether the identifier is that name, given in lower case. */
    boolean isNamed(String name) {
        return end - start == name.length() && isNameStart(name);
    }

    /** Whether the identifier starts so, given in lower case. In a quoted identifier, upper and lower case differ. */
    boolean isNameStart(String prefix) {
        return isIdentifier() && startsWith(prefix, token == Token.NAME);
    }

    /** Whether the identifier is that parameter's name. Parameters have no upper and lower case, also in quotes. */
    boolean isParameter(String name) {
        return isIdentifier() && end - start == name.length() && startsWith(name, false);
    }

    private boolean startsWith(String prefix, boolean exact) {
        if (end - start < prefix.length()) {
            return false;
        }
        for (int i = 0; i < prefix.length(); i++) {
            char c = text.charAt(start + i);
            if ((exact ? c : lower(c)) != prefix.charAt(i)) {
                return false;
            }
        }
        return true;
    }

    /** Goes to the next statement, before its first token. False if there is none. */
    boolean nextStatement() {
        token = Token.NONE;
        return at < length;
    }

    /** Goes to the next token. False at the end of the statement. */
    boolean next() {
        if (token == Token.END) {
            return false;
        }
        skipBlanks();
        start = at;
        if (at >= length) {
            token = Token.END;
            return false;
        }
        char c = text.charAt(at++);
        if (isWordPart(c) && !isDigit(c)) {
            word();
        } else if (c == '\'') {
            string(); // 'it''s' is read as two strings, which makes no difference
        } else if (c == '"') {
            name(Token.NAME);
        } else if (c == '$') {
            dollar();
        } else if (isDigit(c)) {
            number();
        } else {
            token = c == ';' ? Token.END : Token.SYMBOL;
        }
        return token != Token.END;
    }

    private void skipBlanks() {
        while (at < length) {
            char c = text.charAt(at);
            if (c <= ' ') {
                at++;
            } else if (c == '-' && text.startsWith("--", at)) {
                while (at < length && text.charAt(at) != '\n' && text.charAt(at) != '\r') {
                    at++;
                }
            } else if (c == '/' && text.startsWith("/*", at)) {
                skipComment();
            } else {
                return;
            }
        }
    }

    private void skipComment() {
        int depth = 0;
        do {
            if (text.startsWith("/*", at)) {
                depth++;
                at += 2;
            } else if (text.startsWith("*/", at)) {
                depth--;
                at += 2;
            } else {
                at++;
            }
        } while (depth > 0 && at < length);
    }

    /** A run of digits is a token. The rest of a number such as 1e5 is the next token. */
    private void number() {
        while (at < length && isDigit(text.charAt(at))) {
            at++;
        }
        token = Token.SYMBOL;
    }

    private void word() {
        while (at < length && (isWordPart(text.charAt(at)) || text.charAt(at) == '$')) {
            at++;
        }
        token = Token.WORD;
        end = at;
        if (is("e") && text.startsWith("'", at)) {
            escapes();
        } else if (is("u") && text.startsWith("&'", at)) {
            at += 2;
            string();
        } else if (is("u") && text.startsWith("&\"", at)) {
            at += 2;
            name(Token.CODED_NAME);
        }
    }

    private void name(Token kind) {
        token = kind;
        start = at;
        int quote = text.indexOf('"', at);
        while (quote >= 0 && text.startsWith("\"\"", quote)) {
            quote = text.indexOf('"', quote + 2);
        }
        end = quote < 0 ? length : quote;
        at = Math.min(end + 1, length);
    }

    private void string() {
        token = Token.STRING;
        at = after("'", at);
    }

    /** In E'...' a backslash takes the next character along, also in the parts that follow on later lines. */
    private void escapes() {
        token = Token.STRING;
        do {
            at++;
            while (at < length && text.charAt(at) != '\'') {
                at += text.charAt(at) == '\\' ? 2 : 1;
            }
            at = Math.min(at + 1, length);
            skipBlanks();
        } while (at < length && text.charAt(at) == '\'');
    }

    /** $$...$$ and $tag$...$tag$ are strings. The parameter $1 is two tokens. */
    private void dollar() {
        int tag = at;
        while (tag < length && isWordPart(text.charAt(tag))) {
            tag++;
        }
        if (tag < length && text.charAt(tag) == '$' && !isDigit(text.charAt(at))) {
            token = Token.STRING;
            at = after(text.substring(start, tag + 1), tag + 1);
        } else {
            token = Token.SYMBOL;
        }
    }

    private int after(String delimiter, int from) {
        int found = text.indexOf(delimiter, from);
        return found < 0 ? length : found + delimiter.length();
    }

    /** As in the server, each character that is not ASCII is part of a word. So is '$', but not in the tag of a string. */
    private static boolean isWordPart(char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c >= 0x80 || isDigit(c);
    }

    private static boolean isDigit(char c) {
        return c >= '0' && c <= '9';
    }

    /** ASCII only, as in the server. */
    private static char lower(char c) {
        return c >= 'A' && c <= 'Z' ? (char) (c + ('a' - 'A')) : c;
    }
}
