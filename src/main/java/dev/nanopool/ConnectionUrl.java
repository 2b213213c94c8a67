package dev.nanopool;

import dev.nanopool.DriverProperties.Door;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * Reads a libpq URI ({@code postgresql://user:secret@host,host/db?sslmode=require}) or a {@code jdbc:postgresql:} URL, and says
 * the same in the driver's terms. It refuses by name what it does not understand. No message repeats a value that could be part
 * of a password.
 */
final class ConnectionUrl {
    /** Parameters of libpq for which the driver has no single property. */
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

    /** Parameters that say where the server is. A later name wins over an earlier one. */
    private static final List<String> HOST_NAMES = List.of("PGHOST", "host", "hostaddr");

    private static final List<String> PORT_NAMES = List.of("PGPORT", "port");
    private static final List<String> DATABASE_NAMES = List.of("PGDBNAME", "dbname");

    /** All names that a URL knows besides the driver's. */
    static final Set<String> OWN_NAMES = Stream.of(
                    DriverProperties.LIBPQ_NAMES.keySet(), OTHER_NAMES, HOST_NAMES, PORT_NAMES, DATABASE_NAMES)
            .flatMap(Collection::stream)
            .collect(Collectors.toUnmodifiableSet());

    private static final Pattern SCHEME = Pattern.compile("jdbc:[a-z][a-z0-9-]{0,19}:|[A-Za-z][\\w+.-]{0,18}:");

    /** Schemes of other programs that lead to PostgreSQL, and what to write instead. */
    private static final String[][] SCHEMES = {
        {"jdbc:postgres:", " is no scheme of PostgreSQL's driver; write jdbc:postgresql:"},
        {
            "jdbc:tc:",
            " asks Testcontainers' driver for a container; make a PostgreSQLContainer, and pass its getJdbcUrl()"
        },
        {"jdbc:p6spy:", " asks P6Spy's driver; write jdbc:postgresql: here, and wrap the DataSource in a P6DataSource"},
        {"jdbc:otel:", " asks OpenTelemetry's driver; write jdbc:postgresql: here, and wrap the DataSource"},
        {"jdbc:aws-wrapper:", " asks a wrapper of the driver; write jdbc:postgresql: here"},
        {
            "jdbc-secretsmanager:",
            " asks a wrapper of the driver; write jdbc:postgresql: here, and use PoolConfig.credentials"
        }
    };

    /** What a template leaves where it has no value. */
    private static final Pattern PLACEHOLDER = Pattern.compile("\\$\\{([^{}]*)}");

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
    Map<String, String> properties = new TreeMap<>();

    /** Parameters of other databases' drivers, which have no effect. */
    Set<String> otherDrivers = new TreeSet<>();

    private final boolean jdbc;
    private final boolean isOpen;

    /** Whether the URL has an unexpected '@'. Then the parameters may be the rest of a password, so no message names them. */
    private boolean doubtful;

    /** Whether a parameter is the password. If it has an '&' in it, the rest of it looks like the name of a parameter. */
    private boolean passwordInQuery;

    private ConnectionUrl(boolean jdbc, boolean isOpen) {
        this.jdbc = jdbc;
        this.isOpen = isOpen;
    }

    static ConnectionUrl parse(String url) {
        return parse(url, Map.of());
    }

    /** Reads a URL. Classes that {@code given}, the driver's other properties, name may have parameters in it. */
    static ConnectionUrl parse(String url, Map<?, ?> given) {
        if (!url.equals(url.strip()) || url.chars().anyMatch(Character::isISOControl)) {
            throw new IllegalArgumentException(
                    "url: begins or ends with a blank, or has a line break or another control" + " character in it");
        }
        checkPlaceholders(url);
        boolean isOpen = DriverProperties.isOpen(given);
        for (String prefix : List.of("postgresql://", "postgres://")) {
            if (startsWith(url, prefix)) return new ConnectionUrl(false, isOpen).read(url.substring(prefix.length()));
        }
        String jdbc = "jdbc:postgresql:";
        if (!startsWith(url, jdbc)) throw new IllegalArgumentException("url: " + wrongScheme(url));
        String rest = url.substring(jdbc.length());
        return new ConnectionUrl(true, isOpen).read(rest.startsWith("//") ? rest.substring(2) : "/" + rest);
    }

    /** Refuses <code>${PGPORT}</code>. The message shows the name of a variable, and hides what may be a password. */
    private static void checkPlaceholders(String url) {
        Matcher placeholder = PLACEHOLDER.matcher(url);
        if (!placeholder.find()) return;
        String name = placeholder.group(1);
        throw new IllegalArgumentException(
                "url: " + (name.matches("[A-Z][A-Z0-9_]*") ? "${" + name + "}" : "a placeholder ${...}")
                        + " was not replaced; set that variable, or write its value; in a user name or a password, '$' is"
                        + " written %24");
    }

    private static String wrongScheme(String url) {
        for (String[] row : SCHEMES) {
            if (startsWith(url, row[0])) return row[0] + row[1];
        }
        Matcher scheme = SCHEME.matcher(url);
        return "must begin with postgresql://, postgres:// or jdbc:postgresql:"
                + (scheme.lookingAt() ? ", not with " + scheme.group() : "");
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
        // libpq would take the text before such an '@' for the user and the password, even after a '?' if no '/' came.
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
        // sslmode wins over ssl and requiressl, as in libpq and in the driver, because many URLs have both of them.
        if (parameters.containsKey("sslmode")) tls = TlsMode.of(parameters.get("sslmode"));
        if (properties.isEmpty()) properties = Map.of(); // smaller, because each pool keeps its URL
        if (otherDrivers.isEmpty()) otherDrivers = Set.of();
        return this;
    }

    private Map<String, String> readQuery(String query) {
        Map<String, String> parameters = new LinkedHashMap<>(); // of two names of one setting, the last one wins
        for (String pair : query.split("&")) {
            if (pair.isEmpty()) continue;
            int equals = pair.indexOf('=');
            String key = decode(equals < 0 ? pair : pair.substring(0, equals), "parameter name");
            passwordInQuery |= key.equals("password");
            if (pair.matches(".*[;?]\\w+=.*")) {
                throw refused(key, "parameters are parted by '&'; in a value, ';' is written %3B and '?' %3F");
            }
            if (equals < 0 && !key.equals("ssl")) { // the name may be the rest of a password with an '&' in it
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
        String host = removeLast(HOST_NAMES, parameters);
        String port = removeLast(PORT_NAMES, parameters);
        String databaseName = removeLast(DATABASE_NAMES, parameters);
        if (databaseName != null) database = databaseName;
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

    private static @Nullable String removeLast(List<String> names, Map<String, String> parameters) {
        String last = null;
        for (String name : names) {
            String value = parameters.remove(name);
            if (value != null) last = value;
        }
        return last;
    }

    private static int port(String text) {
        if (text.isEmpty()) return 5432;
        if (text.matches("\\d{1,5}") && Integer.parseInt(text) >= 1 && Integer.parseInt(text) <= 65535) {
            return Integer.parseInt(text);
        }
        // The message does not repeat the text, because it may be part of a password with a '/' or ':' in it.
        throw new IllegalArgumentException(
                "url: port: must be a number from 1 to 65535; if it is meant as part of a password,"
                        + " write ':' as %3A, '/' as %2F and '?' as %3F there; an IPv6 address is written in [brackets]");
    }

    private void readParameter(String name, String value) {
        switch (name) {
            case "user" -> user = value.isEmpty() ? null : value;
            case "password" -> password = value;
            case "sslmode" -> tls = TlsMode.of(value); // read() does it once more
            case "ssl" -> tls = ssl(value);
            case "requiressl" -> tls = choice(name, value, Map.of("1", TlsMode.REQUIRE, "0", TlsMode.PREFER));
            case "connect_timeout", "connectTimeout", "loginTimeout" -> {
                // The pool's timeout bounds the whole attempt, as the driver's loginTimeout does, so the longer one
                // counts.
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
                String property = DriverProperties.LIBPQ_NAMES.getOrDefault(name, name);
                String why = DriverProperties.refusal(Door.URL, property, value, isOpen, OWN_NAMES);
                if (why != null) throw new IllegalArgumentException("url: " + shown(name) + why);
                if (DriverProperties.isPassed(Door.URL, property)) properties.put(property, value);
                else if (OtherDrivers.isKnown(property)) otherDrivers.add(property);
            }
        }
    }

    /** Reads {@code ssl}. libpq takes {@code ssl=true} for require, and the driver takes it for verify-full. */
    private TlsMode ssl(String value) {
        if (TlsMode.isSslmode(value)) throw refused("ssl", "must be true or false; write sslmode=" + value);
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

    private IllegalArgumentException refused(String name, String why) {
        return new IllegalArgumentException("url: " + shown(name) + ": " + why);
    }

    /** Names a parameter in a message, if the name cannot be a part of a password. */
    private String shown(String name) {
        boolean secret = doubtful || (!isKnown(name) && (passwordInQuery || !name.matches("[A-Za-z]\\w{0,40}")));
        return secret ? "a parameter (not shown: it may be a piece of the password)" : "parameter \"" + name + "\"";
    }

    /** Whether the name is a known name, or a misspelt one. */
    private static boolean isKnown(String name) {
        return OWN_NAMES.contains(name)
                || DriverProperties.isKnown(name)
                || DriverProperties.nearest(name, OWN_NAMES) != null;
    }

    /** Decodes %XX. A plus sign is a blank in jdbc: URLs only. */
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
