package dev.nanopool;

import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * What a URL says, in the driver's terms: a libpq URI ({@code postgresql://user:secret@host,host/db?sslmode=require}) or a
 * {@code jdbc:postgresql:} URL. Whatever it does not understand it refuses by name; no message repeats a value that could
 * be part of a password.
 */
final class ConnectionUrl {
    /** libpq's parameter names that mean the same as a property of the driver. */
    private static final Map<String, String> DRIVER_NAMES = Map.ofEntries(
            Map.entry("application_name", "ApplicationName"),
            Map.entry("fallback_application_name", "ApplicationName"),
            Map.entry("options", "options"),
            Map.entry("sslnegotiation", "sslNegotiation"),
            Map.entry("channel_binding", "channelBinding"),
            Map.entry("require_auth", "requireAuth"),
            Map.entry("gssencmode", "gssEncMode"),
            Map.entry("krbsrvname", "kerberosServerName"),
            Map.entry("schema", "currentSchema")); // not libpq's, but seen in many a DATABASE_URL

    /** Those that the driver has no single property for. */
    private static final Set<String> OTHER_NAMES = Set.of(
            "connect_timeout",
            "target_session_attrs",
            "load_balance_hosts",
            "keepalives",
            "client_encoding",
            "requiressl");

    private static final Map<String, String> SESSION_ATTRIBUTES = Map.of(
            "any", "any",
            "read-write", "primary",
            "read-only", "secondary",
            "primary", "primary",
            "standby", "secondary",
            "prefer-standby", "preferSecondary");

    /** Properties that name classes, lower case: a URL often comes from outside, and must not load code. */
    private static final Set<String> CLASS_NAMES = Set.of(
            "socketfactory",
            "socketfactoryarg",
            "sslfactory",
            "sslfactoryarg",
            "sslhostnameverifier",
            "sslpasswordcallback",
            "authenticationpluginclassname",
            "xmlfactoryfactory",
            "connectexecutor",
            "connectexecutorarg",
            "classloaderstrategy");

    /** Properties that would work against the pool or outside of it. */
    private static final Map<String, String> REFUSED = Map.ofEntries(
            Map.entry("replication", "a pool lends no replication connections"),
            Map.entry("service", "service files are not read; write the parameters into the URL"),
            Map.entry("passfile", "use PoolConfig.credentials"),
            Map.entry("logunclosedconnections", "the pool reports leaks itself"),
            Map.entry("loggerlevel", "the driver ignores it; it logs through java.util.logging"),
            Map.entry("loggerfile", "the driver ignores it; it logs through java.util.logging"),
            Map.entry("pghost", "use host"),
            Map.entry("pgport", "use port"),
            Map.entry("pgdbname", "use dbname"),
            Map.entry("cleanupsavepoints", "it leaves answers of the server unread"));

    /** A name or an IPv4 address, or an IPv6 address with or without a zone. */
    private static final Pattern HOST =
            Pattern.compile("[^\\s/?#,@&=:\\[\\]]+|(?=.*:.*:)[0-9A-Fa-f:.]+(%[^\\s/?#,@&=:\\[\\]]+)?");

    /** A server's address. */
    record Host(String name, int port) {
        @Override
        public String toString() {
            return (name.contains(":") ? "[" + name + "]" : name) + ":" + port;
        }
    }

    List<Host> hosts = List.of();

    @Nullable
    String database;

    @Nullable
    String user;

    @Nullable
    String password;

    @Nullable
    TlsMode tls;

    @Nullable
    Duration connectTimeout;

    /** The driver's properties, by the driver's names. */
    final Map<String, String> properties = new TreeMap<>();

    private final boolean jdbc;

    /** An '@' where no '@' is needed: what looks like parameters may be the rest of a password. */
    private boolean doubtful;

    /** A parameter has the password: an '&' in it makes a name of what stands behind. */
    private boolean passwordInQuery;

    private ConnectionUrl(boolean jdbc) {
        this.jdbc = jdbc;
    }

    static ConnectionUrl parse(String url) {
        if (!url.equals(url.strip()) || url.chars().anyMatch(Character::isISOControl)) {
            throw new IllegalArgumentException(
                    "url: begins or ends with a blank, or has a line break or another control" + " character in it");
        }
        for (String prefix : List.of("postgresql://", "postgres://")) {
            if (startsWith(url, prefix)) return new ConnectionUrl(false).read(url.substring(prefix.length()));
        }
        String jdbc = "jdbc:postgresql:";
        if (!startsWith(url, jdbc)) {
            int colon = url.indexOf(':');
            String scheme = colon > 0 && colon < 20 ? url.substring(0, colon + 1) : "";
            throw new IllegalArgumentException("url: must begin with postgresql://, postgres:// or jdbc:postgresql:"
                    + (scheme.matches("[A-Za-z][\\w+.-]*:") ? ", not with " + scheme : ""));
        }
        String rest = url.substring(jdbc.length());
        return new ConnectionUrl(true).read(rest.startsWith("//") ? rest.substring(2) : "/" + rest);
    }

    private static boolean startsWith(String url, String prefix) {
        return url.regionMatches(true, 0, prefix, 0, prefix.length());
    }

    /** Reads {@code [user[:password]@]host[:port][,...][/database][?name=value&...]}. */
    private ConnectionUrl read(String text) {
        int question = text.indexOf('?');
        String query = question < 0 ? "" : text.substring(question + 1);
        String path = question < 0 ? text : text.substring(0, question);
        int slash = path.indexOf('/');
        String authority = slash < 0 ? path : path.substring(0, slash);
        String name = slash < 0 ? "" : path.substring(slash + 1);
        doubtful = text.indexOf('@', authority.length()) >= 0;
        // libpq would take what stands before such an '@' for the user's, even behind a '?' as long as no '/' came.
        if (name.indexOf('@') >= 0 || (!jdbc && slash < 0 && query.matches("[^/]*@.*"))) {
            throw new IllegalArgumentException("url: a '/', '?' or '@' inside the user name or the password must be"
                    + " written %2F, %3F or %40, and any other '@' %40, too");
        }
        int at = authority.lastIndexOf('@');
        if (at >= 0) readUser(authority.substring(0, at));
        if (!name.isEmpty()) database = decode(name, "database");
        Map<String, String> parameters = readQuery(query);
        readHosts(authority.substring(at + 1), parameters);
        parameters.forEach(this::readParameter);
        // Wins over ssl and requiressl, as in libpq and in the driver: "ssl=true&sslmode=require" is widespread.
        if (parameters.containsKey("sslmode")) tls = TlsMode.of(parameters.get("sslmode"));
        return this;
    }

    private Map<String, String> readQuery(String query) {
        Map<String, String> parameters = new LinkedHashMap<>(); // of two names of one setting, the last wins
        for (String pair : query.split("&")) {
            if (pair.isEmpty()) continue;
            int equals = pair.indexOf('=');
            String key = decode(equals < 0 ? pair : pair.substring(0, equals), "parameter name");
            passwordInQuery |= key.equals("password");
            if (pair.matches(".*[;?]\\w+=.*")) {
                throw refused(key, "parameters are parted by '&'; in a value, ';' is written %3B and '?' %3F");
            }
            if (equals < 0 && !key.equals("ssl")) { // its name may be the rest of a password with an '&' in it
                throw new IllegalArgumentException(
                        "url: a parameter has no '='; an '&' inside a value must be written %26");
            }
            String value = equals < 0 ? "" : decode(pair.substring(equals + 1), "value of " + shown(key));
            if (parameters.put(key, value) != null) throw refused(key, "given twice");
        }
        return parameters;
    }

    private void readUser(String text) {
        if (jdbc) {
            throw new IllegalArgumentException(
                    "url: a jdbc: URL has no user:password@ part; use ?user=...&password=..., or begin"
                            + " with postgresql:// instead of jdbc:postgresql://");
        }
        int colon = text.indexOf(':');
        String name = decode(colon < 0 ? text : text.substring(0, colon), "user");
        if (!name.isEmpty()) user = name;
        if (colon >= 0) password = decode(text.substring(colon + 1), "password");
    }

    private void readHosts(String authority, Map<String, String> parameters) {
        List<String> names = new ArrayList<>();
        List<String> ports = new ArrayList<>();
        for (String host : authority.split(",", -1)) {
            int end = host.startsWith("[") ? host.indexOf(']') : -1;
            if (host.startsWith("[") && end < 2) {
                throw new IllegalArgumentException("url: host: '[' must be followed by an address and ']'");
            }
            int colon = host.indexOf(':', end + 1);
            names.add(decode(end > 0 ? host.substring(1, end) : colon < 0 ? host : host.substring(0, colon), "host"));
            ports.add(colon < 0 ? "" : host.substring(colon + 1));
            if (end > 0 && colon < 0 && end + 1 < host.length()) {
                throw new IllegalArgumentException("url: host: after ']' only a ':' and a port may follow");
            }
        }
        // As in libpq, parameters win over the authority, and hostaddr over host.
        String host = parameters.remove("host");
        String address = parameters.remove("hostaddr");
        String port = parameters.remove("port");
        String databaseName = parameters.remove("dbname");
        if (databaseName != null) database = databaseName;
        if (address != null) host = address;
        if (host != null) names = List.of(host.split(",", -1));
        if (port != null) ports = List.of(port.split(",", -1));
        if (ports.size() != 1 && ports.size() != names.size()) {
            throw new IllegalArgumentException("url: port: " + ports.size() + " ports for " + names.size()
                    + " hosts; give one, or as many as hosts");
        }
        List<Host> found = new ArrayList<>();
        for (int i = 0; i < names.size(); i++) {
            String name = names.get(i).isEmpty() ? "localhost" : names.get(i);
            if (name.startsWith("/") || name.startsWith("@")) {
                throw new IllegalArgumentException(
                        "url: host: unix-domain sockets are not supported; use a host name, such as localhost");
            }
            if (!HOST.matcher(name).matches()) {
                throw new IllegalArgumentException(
                        "url: host: must be a name or an address, without blanks and /?#,@&=[]; a ':' in IPv6 only");
            }
            found.add(new Host(name, port(ports.get(ports.size() == 1 ? 0 : i))));
        }
        hosts = List.copyOf(found);
    }

    private static int port(String text) {
        if (text.isEmpty()) return 5432;
        if (text.matches("\\d{1,5}") && Integer.parseInt(text) >= 1 && Integer.parseInt(text) <= 65535) {
            return Integer.parseInt(text);
        }
        // The text may be part of a password with a '/' or ':' in it: it is not repeated.
        throw new IllegalArgumentException(
                "url: port: must be a number from 1 to 65535; if it is meant as part of a password,"
                        + " write ':' as %3A, '/' as %2F and '?' as %3F there; an IPv6 address is written in [brackets]");
    }

    private void readParameter(String name, String value) {
        String lower = name.toLowerCase(Locale.ROOT);
        if (CLASS_NAMES.contains(lower)) {
            throw refused(
                    name,
                    "names a class, which a URL must not do; if the pool allows it, PoolConfig.driverProperty takes it");
        }
        checkSupported("url: parameter", name);
        switch (name) {
            case "user" -> user = value.isEmpty() ? null : value;
            case "password" -> password = value;
            case "sslmode" -> tls = TlsMode.of(value); // and once more in read()
            case "ssl" -> tls = ssl(value);
            case "requiressl" -> tls = choice(name, value, Map.of("1", TlsMode.REQUIRE, "0", TlsMode.PREFER));
            case "connect_timeout", "connectTimeout", "loginTimeout" -> {
                // The pool's bounds the whole attempt, as the driver's loginTimeout does: the longer one counts.
                Duration timeout = seconds(name, value);
                if (connectTimeout == null || timeout.compareTo(connectTimeout) > 0) connectTimeout = timeout;
            }
            case "target_session_attrs" -> properties.put("targetServerType", choice(name, value, SESSION_ATTRIBUTES));
            case "load_balance_hosts" ->
                properties.put("loadBalanceHosts", choice(name, value, Map.of("disable", "false", "random", "true")));
            case "keepalives" -> properties.put("tcpKeepAlive", choice(name, value, Map.of("1", "true", "0", "false")));
            case "client_encoding" -> {
                if (!Set.of("utf8", "utf-8", "unicode", "auto").contains(value.toLowerCase(Locale.ROOT))) {
                    throw refused(name, "the driver always uses UTF8; leave it out");
                }
            }
            case "fallback_application_name" -> properties.putIfAbsent("ApplicationName", value);
            default -> {
                String property = DRIVER_NAMES.getOrDefault(name, name);
                if (!Connector.isDriverProperty(property)) {
                    throw refused(name, "unknown; use libpq's connection parameters or the driver's properties");
                }
                properties.put(property, value);
            }
        }
    }

    /** {@code ssl=true} means two things: libpq reads it as require, the driver as verify-full. */
    private TlsMode ssl(String value) {
        TlsMode on = jdbc ? TlsMode.VERIFY_IDENTITY : TlsMode.REQUIRE;
        return choice("ssl", value, Map.of("", on, "true", on, "false", TlsMode.PREFER));
    }

    private Duration seconds(String name, String value) {
        if (!value.matches("\\d{1,6}")) throw refused(name, "must be a whole number of seconds from 0 to 999999");
        return Duration.ofSeconds(Long.parseLong(value));
    }

    private <T> T choice(String name, String value, Map<String, T> choices) {
        T chosen = choices.get(value);
        if (chosen == null) throw refused(name, "must be one of " + new TreeMap<>(choices).keySet());
        return chosen;
    }

    /** Refuses what would work against the pool or outside of it, wherever it is given. */
    static void checkSupported(String where, String name) {
        String why = REFUSED.get(name.toLowerCase(Locale.ROOT));
        if (why != null) throw new IllegalArgumentException(where + " \"" + name + "\": not supported: " + why);
    }

    private IllegalArgumentException refused(String name, String why) {
        return new IllegalArgumentException("url: " + shown(name) + ": " + why);
    }

    /** A parameter for a message: by name if that cannot be a piece of a password. */
    private String shown(String name) {
        boolean secret = doubtful || !name.matches("[A-Za-z]\\w{0,40}") || (passwordInQuery && !isKnown(name));
        return secret ? "a parameter (not shown: it may be a piece of the password)" : "parameter \"" + name + "\"";
    }

    private static boolean isKnown(String name) {
        return OTHER_NAMES.contains(name) || Connector.isDriverProperty(DRIVER_NAMES.getOrDefault(name, name));
    }

    /** Decodes %XX; a plus sign is a blank in jdbc: URLs only. */
    private String decode(String text, String what) {
        byte[] bytes = (jdbc ? text.replace('+', ' ') : text).getBytes(StandardCharsets.UTF_8);
        int length = 0;
        for (int i = 0; i < bytes.length; i++) {
            byte next = bytes[i];
            if (next == '%') {
                int high = i + 2 < bytes.length ? Character.digit(bytes[i + 1], 16) : -1;
                int low = i + 2 < bytes.length ? Character.digit(bytes[i + 2], 16) : -1;
                next = (byte) (high << 4 | low);
                if (high < 0 || low < 0 || next == 0) {
                    throw new IllegalArgumentException(
                            "url: " + what + ": '%' must be followed by two hexadecimal digits, not 00;"
                                    + " a '%' itself is written %25");
                }
                i += 2;
            }
            bytes[length++] = next;
        }
        try {
            return StandardCharsets.UTF_8
                    .newDecoder()
                    .decode(java.nio.ByteBuffer.wrap(bytes, 0, length))
                    .toString();
        } catch (CharacterCodingException e) {
            throw new IllegalArgumentException("url: " + what + ": the percent-encoded bytes are not UTF-8", e);
        }
    }
}
