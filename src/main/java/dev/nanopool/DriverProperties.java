package dev.nanopool;

import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.jspecify.annotations.Nullable;
import org.postgresql.PGProperty;

/**
 * The one table of the driver's properties. It says which of them the pool passes on, ignores or refuses, and at which door. The
 * pool passes on a property that has no row here.
 */
final class DriverProperties {
    /** Where a property is given. */
    enum Door {
        URL,
        BUILDER,
        BEAN
    }

    /** What each door says after the property's name when it refuses the property. Null if the door takes it. */
    private record Rule(
            @Nullable String url,
            @Nullable String builder,
            @Nullable String bean) {
        @Nullable
        String at(Door door) {
            return switch (door) {
                case URL -> url;
                case BUILDER -> builder;
                case BEAN -> bean;
            };
        }
    }

    private static final String NAMES_A_CLASS =
            ": names a class, which a URL must not do; if the pool allows it, PoolConfig.driverProperty takes it";
    private static final String OWN_THREADS = "connectTimeout: the pool connects on threads of its own";
    private static final Rule CLASS_NAME = new Rule(NAMES_A_CLASS, null, null);
    private static final Rule EXECUTOR = new Rule(
            NAMES_A_CLASS, " is set by the pool; use " + OWN_THREADS, " is not taken here; use " + OWN_THREADS);

    /** The rules. The keys are in lower case, because the name of a class must not pass in another case. */
    private static final Map<String, Rule> RULES = Map.ofEntries(
            // The pool sets these itself. The URL translates them into settings of the pool.
            Map.entry("user", own("credentials", "username")),
            Map.entry("password", own("credentials", "password")),
            Map.entry("ssl", own("tls", "tlsMode")),
            Map.entry("sslmode", own("tls", "tlsMode")),
            Map.entry("connecttimeout", own("connectTimeout", "connectTimeout")),
            Map.entry("logintimeout", own("connectTimeout", "connectTimeout")),
            Map.entry("pghost", own("the URL", "jdbcUrl")),
            Map.entry("pgport", own("the URL", "jdbcUrl")),
            Map.entry("pgdbname", own("the URL", "jdbcUrl")),
            // Properties of the driver's own data source, which configurations with a dataSourceClassName set.
            Map.entry("servername", own("the URL", "jdbcUrl")),
            Map.entry("portnumber", own("the URL", "jdbcUrl")),
            Map.entry("databasename", own("the URL", "jdbcUrl")),
            // A URL often comes from outside, and must not load code.
            Map.entry("socketfactory", CLASS_NAME),
            Map.entry("socketfactoryarg", CLASS_NAME),
            Map.entry("sslfactory", CLASS_NAME),
            Map.entry("sslfactoryarg", CLASS_NAME),
            Map.entry("sslhostnameverifier", CLASS_NAME),
            Map.entry("sslpasswordcallback", CLASS_NAME),
            Map.entry("authenticationpluginclassname", CLASS_NAME),
            Map.entry("xmlfactoryfactory", CLASS_NAME),
            Map.entry("classloaderstrategy", CLASS_NAME),
            Map.entry("connectexecutor", EXECUTOR),
            Map.entry("connectexecutorarg", EXECUTOR),
            // These would work against the pool or outside of it.
            Map.entry("replication", unsupported("a pool lends no replication connections")),
            Map.entry("service", unsupported("service files are not read; write the parameters into the URL")),
            Map.entry("passfile", unsupported("use PoolConfig.credentials")),
            Map.entry("logunclosedconnections", unsupported("the pool reports leaks itself")),
            Map.entry("cleanupsavepoints", unsupported("it leaves answers of the server unread")));

    /** Parameters of libpq that mean the same as a property of the driver, and that property's name. */
    static final Map<String, String> LIBPQ_NAMES = Map.ofEntries(
            Map.entry("application_name", "ApplicationName"),
            Map.entry("fallback_application_name", "ApplicationName"),
            Map.entry("options", "options"),
            Map.entry("sslnegotiation", "sslNegotiation"),
            Map.entry("channel_binding", "channelBinding"),
            Map.entry("require_auth", "requireAuth"),
            Map.entry("gssencmode", "gssEncMode"),
            Map.entry("krbsrvname", "kerberosServerName"),
            Map.entry("schema", "currentSchema")); // not libpq's, but many a DATABASE_URL has it

    /** Names that the driver once had. The driver ignores them today, and so does the pool. */
    private static final Set<String> RETIRED = Set.of("loglevel", "charSet", "compatible");

    /** Properties that load a class which may have properties of its own. */
    private static final List<String> FOREIGN_CODE =
            List.of("socketFactory", "sslfactory", "authenticationPluginClassName");

    /** Parameters that the driver itself sends at login, so that the same in the options has no effect, and what to do. */
    private static final Map<String, String> DRIVERS_OWN = Map.of(
            "timezone", "it is the JVM's; change that, or use initSql",
            "datestyle", "it reads ISO only; leave it out",
            "client_encoding", "it reads UTF8 only; leave it out",
            "extra_float_digits", "use initSql");

    private DriverProperties() {}

    private static Rule own(String builder, String bean) {
        return new Rule(null, " is set by the pool; use " + builder, " is not taken here; use " + bean);
    }

    private static Rule unsupported(String why) {
        String refusal = ": not supported: " + why;
        return new Rule(refusal, refusal, refusal);
    }

    /** Whether the driver has a property of that name, case included. */
    static boolean isDriverProperty(String name) {
        return PGProperty.forName(name) != null;
    }

    /** Whether the name is known here. Then it is not a part of a password, and a message may show it. */
    static boolean isKnown(String name) {
        return isDriverProperty(name)
                || RULES.containsKey(name.toLowerCase(Locale.ROOT))
                || RETIRED.contains(name)
                || OtherDrivers.isKnown(name)
                || name.matches("datatype\\.\\w{1,40}");
    }

    /** Whether these properties load code from outside of the driver, which may read properties that the driver lacks. */
    static boolean isOpen(Map<?, ?> properties) {
        return FOREIGN_CODE.stream()
                .anyMatch(name -> properties.get(name) instanceof String code && !code.startsWith("org.postgresql."));
    }

    /**
     * Why a door refuses a property, as the part of a message after the name. Null if it takes the property.
     *
     * @param isOpen whether a property that the driver does not know may be meant for foreign code
     * @param more names that the door knows besides the driver's
     */
    static @Nullable String refusal(Door door, String name, String value, boolean isOpen, Collection<String> more) {
        Rule rule = RULES.get(name.toLowerCase(Locale.ROOT));
        String why = rule == null ? null : rule.at(door);
        if (why != null) return isHarmless(name, value) ? null : why;
        if (isDriverProperty(name) || RETIRED.contains(name)) return null;
        if (name.startsWith("datatype.")) return door == Door.URL ? NAMES_A_CLASS : null;
        if (OtherDrivers.isKnown(name)) return OtherDrivers.refusal(name, value);
        String nearest = nearest(name, more);
        if (isOpen && nearest == null) return null;
        boolean isUrl = door == Door.URL;
        String unknown = isUrl ? ": unknown; " : " is not a property of the driver; ";
        if (nearest != null) return unknown + "did you mean " + nearest + "?";
        return unknown
                + (isUrl
                        ? "use libpq's connection parameters or the driver's properties"
                        : "must be one of pgJDBC's, case included");
    }

    /** Whether the pool passes to the driver a property that no door refused. It drops the others, which have no effect. */
    static boolean isPassed(Door door, String name) {
        Rule rule = RULES.get(name.toLowerCase(Locale.ROOT));
        return (rule == null || rule.at(door) == null) && !RETIRED.contains(name) && !OtherDrivers.isKnown(name);
    }

    /** Whether the driver does the same with this value as without the property. */
    private static boolean isHarmless(String name, String value) {
        PGProperty property = PGProperty.forName(name);
        if (property == null) return false;
        String without = property == PGProperty.REPLICATION ? "false" : property.getDefaultValue();
        return value.equalsIgnoreCase(without);
    }

    /** Checks properties of one door and returns those that the driver gets. The message begins with {@code where}. */
    static Map<String, String> check(Door door, String where, Map<String, String> properties) {
        boolean isOpen = isOpen(properties);
        Map<String, String> passed = new HashMap<>();
        properties.forEach((name, value) -> {
            String why = refusal(door, name, value, isOpen, Set.of());
            if (why != null) throw new IllegalArgumentException(where + ": \"" + name + "\"" + why);
            if (isPassed(door, name)) passed.put(name, value);
        });
        return Map.copyOf(passed);
    }

    /** The known name that the caller probably meant. It differs in one letter of eight at most, and one more. */
    static @Nullable String nearest(String name, Collection<String> more) {
        Set<String> known = new TreeSet<>(more);
        for (PGProperty property : PGProperty.values()) known.add(property.getName());
        return nearestOf(name, known);
    }

    /** As {@link #nearest}, of these names only. */
    static @Nullable String nearestOf(String name, Collection<String> known) {
        String nearest = null;
        int least = Math.min(3, 1 + name.length() / 8) + 1;
        for (String candidate : known) {
            int distance = distance(name.toLowerCase(Locale.ROOT), candidate.toLowerCase(Locale.ROOT), least);
            if (distance >= least) continue;
            least = distance;
            nearest = candidate;
        }
        return nearest;
    }

    /** How many letters must be added, left out, replaced or swapped with the next one. A larger number is {@code most}. */
    private static int distance(String from, String to, int most) {
        if (Math.abs(from.length() - to.length()) >= most) return most;
        int[][] rows = new int[from.length() + 1][to.length() + 1];
        for (int i = 0; i <= from.length(); i++) {
            for (int j = 0; j <= to.length(); j++) {
                if (i == 0 || j == 0) {
                    rows[i][j] = i + j;
                    continue;
                }
                int replaced = rows[i - 1][j - 1] + (from.charAt(i - 1) == to.charAt(j - 1) ? 0 : 1);
                rows[i][j] = Math.min(replaced, 1 + Math.min(rows[i - 1][j], rows[i][j - 1]));
                boolean isSwapped = i > 1
                        && j > 1
                        && from.charAt(i - 1) == to.charAt(j - 2)
                        && from.charAt(i - 2) == to.charAt(j - 1);
                if (isSwapped) rows[i][j] = Math.min(rows[i][j], 1 + rows[i - 2][j - 2]);
            }
        }
        return rows[from.length()][to.length()];
    }

    /** Refuses settings that would have no effect without a word, above all TLS settings that the driver would not check. */
    static void checkTogether(Map<String, String> given, Set<String> parameters, TlsMode tls) {
        for (String name : parameters) {
            String why = DRIVERS_OWN.get(name.toLowerCase(Locale.ROOT));
            if (why != null) {
                throw new IllegalArgumentException("parameter: \"" + name + "\" is set by the driver: " + why);
            }
            if (name.equalsIgnoreCase("search_path") && given.containsKey("currentSchema")) {
                throw new IllegalArgumentException("parameter: \"" + name
                        + "\" contradicts currentSchema in the URL or driverProperty; leave one of them out");
            }
        }
        if ("direct".equals(given.get("sslNegotiation")) && tls.compareTo(TlsMode.REQUIRE) < 0) {
            throw new IllegalArgumentException(
                    "sslNegotiation: direct wants tls " + TlsMode.REQUIRE + " or stricter, not " + tls);
        }
        String factory = given.getOrDefault("sslfactory", "");
        if (factory.endsWith("NonValidatingFactory") && tls.compareTo(TlsMode.VERIFY_CA) >= 0) {
            throw new IllegalArgumentException(
                    "sslfactory: " + factory + " checks no certificate, which contradicts tls " + tls);
        }
        String roots = given.get("sslrootcert");
        if (roots == null) return;
        if (!factory.isEmpty()) {
            throw new IllegalArgumentException(
                    "sslrootcert: is not looked at with sslfactory " + factory + "; leave one of them out");
        }
        if (roots.equals("system") && tls != TlsMode.VERIFY_IDENTITY) {
            throw new IllegalArgumentException("sslrootcert: system wants tls " + TlsMode.VERIFY_IDENTITY + ", not "
                    + tls + ", because anyone can get a certificate that a public authority has signed");
        }
        if (tls.compareTo(TlsMode.VERIFY_CA) < 0) {
            throw new IllegalArgumentException("sslrootcert: is not looked at with tls " + tls + "; use "
                    + TlsMode.VERIFY_IDENTITY + " or " + TlsMode.VERIFY_CA + ", or leave it out");
        }
    }
}
