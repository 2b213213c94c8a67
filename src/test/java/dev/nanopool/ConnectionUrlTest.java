package dev.nanopool;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.catchThrowable;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import java.time.Duration;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class ConnectionUrlTest {
    private static final String DEFAULTS = "[localhost:5432]";

    private static String refusal(String url) {
        return String.valueOf(catchThrowableOfType(IllegalArgumentException.class, () -> ConnectionUrl.parse(url))
                .getMessage());
    }

    // Each form of a URL gives its hosts, database, user and password.
    @ParameterizedTest
    @CsvSource(delimiter = '|', nullValues = "-", textBlock = """
            # url                                      | hosts                  | database | user    | password
            postgresql://                              | [localhost:5432]       | -        | -       | -
            postgres://h                               | [h:5432]               | -        | -       | -
            POSTGRESQL://h/db                          | [h:5432]               | db       | -       | -
            postgresql://h/                            | [h:5432]               | -        | -       | -
            postgresql:///db                           | [localhost:5432]       | db       | -       | -
            postgresql://:5433/db                      | [localhost:5433]       | db       | -       | -
            postgresql://u@h/db                        | [h:5432]               | db       | u       | -
            postgresql://u:@h/db                       | [h:5432]               | db       | u       | ''
            postgresql://:p@h/db                       | [h:5432]               | db       | -       | p
            postgres://u:p@h-1.eu.example.com:5439/d1  | [h-1.eu.example.com:5439] | d1    | u       | p
            postgresql://u:p@a:1,b,[::1]:3/db          | [a:1, b:5432, [::1]:3] | db       | u       | p
            postgresql://a:7,b:7?dbname=db             | [a:7, b:7]             | db       | -       | -
            postgresql://[::1]/db                      | [[::1]:5432]           | db       | -       | -
            postgresql://[fe80::1%25eth0]:5433/db      | [[fe80::1%eth0]:5433]  | db       | -       | -
            postgresql://under_score/db                | [under_score:5432]     | db       | -       | -
            postgresql://a%40b:%2F%3A%3F%23@h/d%20b    | [h:5432]               | d b      | a@b     | /:?#
            postgresql://u:a:b@h/db                    | [h:5432]               | db       | u       | a:b
            postgresql://u:a@b@h/db                    | [h:5432]               | db       | u       | a@b
            postgresql://u:a+b@h/d+b                   | [h:5432]               | d+b      | u       | a+b
            postgresql://u:gr%C3%BC%C3%9F@h/db         | [h:5432]               | db       | u       | grüß
            postgresql://h/db?user=u+v&password=a+b    | [h:5432]               | db       | u+v     | a+b
            postgresql://u:p@h/db?user=v&password=q    | [h:5432]               | db       | v       | q
            postgresql://u:p@h/db?user=                | [h:5432]               | db       | -       | p
            jdbc:postgresql:                           | [localhost:5432]       | -        | -       | -
            jdbc:postgresql:db                         | [localhost:5432]       | db       | -       | -
            jdbc:postgresql:?user=u                    | [localhost:5432]       | -        | u       | -
            jdbc:postgresql://h                        | [h:5432]               | -        | -       | -
            jdbc:postgresql:///db                      | [localhost:5432]       | db       | -       | -
            jdbc:postgresql://a:1,b:2/db               | [a:1, b:2]             | db       | -       | -
            jdbc:postgresql://[::1]:5433/db            | [[::1]:5433]           | db       | -       | -
            jdbc:postgresql://h/db?user=u&password=a+b | [h:5432]               | db       | u       | a b
            jdbc:postgresql://h/db?password=a%2Bb      | [h:5432]               | db       | -       | a+b
            jdbc:postgresql://h/db?user=u@srv&password=a@b | [h:5432]           | db       | u@srv   | a@b
            jdbc:postgresql://h/a+b                    | [h:5432]               | a b      | -       | -
            jdbc:postgresql://h?&&user=u&              | [h:5432]               | -        | u       | -
            """)
    void urlMustGiveHostsDatabaseUserAndPassword(
            String text, String hosts, @Nullable String database, @Nullable String user, @Nullable String password) {
        ConnectionUrl url = ConnectionUrl.parse(text);
        assertThat(url.hosts).hasToString(hosts);
        assertThat(url.database).isEqualTo(database);
        assertThat(url.user).isEqualTo(user);
        assertThat(url.password).isEqualTo(password);
    }

    // The parameters host, hostaddr, port and dbname win over what stands before the question mark.
    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            postgresql://a:1/db?host=b                 | [b:1]
            postgresql://a:1/db?port=2                 | [a:2]
            postgresql://a:1/db?host=b&port=2          | [b:2]
            postgresql://a:1/db?host=b,c               | [b:1, c:1]
            postgresql://a:1,b:2/db?host=c,d           | [c:1, d:2]
            postgresql:///db?host=a,b                  | [a:5432, b:5432]
            postgresql:///db?host=a,b&port=7           | [a:7, b:7]
            postgresql:///db?host=a,b&port=7,8         | [a:7, b:8]
            postgresql:///db?host=a,b&port=7,          | [a:7, b:5432]
            postgresql://a,b/db?port=7                 | [a:7, b:7]
            postgresql://a/db?host=b&hostaddr=10.0.0.1 | [10.0.0.1:5432]
            postgresql:///db?host=::1                  | [[::1]:5432]
            postgresql:///db?hostaddr=2001:db8::7      | [[2001:db8::7]:5432]
            postgresql:///db?host=                     | [localhost:5432]
            jdbc:postgresql://a:1/db?host=b&port=2     | [b:2]
            jdbc:postgresql://a:1/db?PGHOST=b&PGPORT=2 | [b:2]
            jdbc:postgresql://a:1/db?host=c&PGHOST=b   | [c:1]
            """)
    void hostAndPortParametersMustWinOverTheAddress(String text, String hosts) {
        ConnectionUrl url = ConnectionUrl.parse(text);
        assertThat(url.hosts).hasToString(hosts);
        assertThat(url.database).isEqualTo("db");
        assertThat(ConnectionUrl.parse(text + "&dbname=other").database).isEqualTo("other");
    }

    // A parameter of libpq becomes the driver's property of the same meaning; the driver's own names pass through.
    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            application_name=orders                              | ApplicationName  | orders
            fallback_application_name=orders                     | ApplicationName  | orders
            fallback_application_name=f&application_name=orders  | ApplicationName  | orders
            application_name=orders&fallback_application_name=f  | ApplicationName  | orders
            options=-c%20geqo%3Doff                              | options          | -c geqo=off
            sslnegotiation=direct                                | sslNegotiation   | direct
            channel_binding=require                              | channelBinding   | require
            require_auth=scram-sha-256                           | requireAuth      | scram-sha-256
            gssencmode=disable                                   | gssEncMode       | disable
            krbsrvname=postgres                                  | kerberosServerName | postgres
            schema=app                                           | currentSchema    | app
            currentSchema=app                                    | currentSchema    | app
            sslrootcert=/etc/ca.crt                              | sslrootcert      | /etc/ca.crt
            sslcert=c.crt                                        | sslcert          | c.crt
            sslkey=c.pem                                         | sslkey           | c.pem
            keepalives=0                                         | tcpKeepAlive     | false
            keepalives=1                                         | tcpKeepAlive     | true
            load_balance_hosts=disable                           | loadBalanceHosts | false
            load_balance_hosts=random                            | loadBalanceHosts | true
            target_session_attrs=any                             | targetServerType | any
            target_session_attrs=read-write                      | targetServerType | primary
            target_session_attrs=read-only                       | targetServerType | secondary
            target_session_attrs=primary                         | targetServerType | primary
            target_session_attrs=standby                         | targetServerType | secondary
            target_session_attrs=prefer-standby                  | targetServerType | preferSecondary
            targetServerType=preferPrimary                       | targetServerType | preferPrimary
            prepareThreshold=1                                   | prepareThreshold | 1
            loggerLevel=OFF                                      | loggerLevel      | OFF
            loggerFile=x                                         | loggerFile       | x
            groupStartupParameters=true                          | groupStartupParameters | true
            """)
    void parameterMustBecomeTheDriversProperty(String parameters, String property, String value) {
        assertThat(ConnectionUrl.parse("postgresql://h/db?" + parameters).properties)
                .isEqualTo(Map.of(property, value));
        assertThat(ConnectionUrl.parse("jdbc:postgresql://h/db?" + parameters).properties)
                .isEqualTo(Map.of(property, value));
    }

    // The driver speaks UTF8 only, so a URL that asks for it changes nothing.
    @ParameterizedTest
    @ValueSource(strings = {"utf8", "UTF-8", "UTF8", "unicode", "auto"})
    void clientEncodingMustBeUtf8(String encoding) {
        assertThat(ConnectionUrl.parse("postgresql://h/db?client_encoding=" + encoding).properties)
                .isEmpty();
        assertThat(refusal("postgresql://h/db?client_encoding=latin1")).contains("\"client_encoding\"", "UTF8");
    }

    // sslmode and its older forms give a mode; sslmode wins, wherever it stands.
    @ParameterizedTest
    @CsvSource(delimiter = '|', nullValues = "-", textBlock = """
            # parameters              | libpq           | jdbc
            application_name=x        | -               | -
            sslmode=disable           | DISABLE         | DISABLE
            sslmode=prefer            | PREFER          | PREFER
            sslmode=require           | REQUIRE         | REQUIRE
            sslmode=verify-ca         | VERIFY_CA       | VERIFY_CA
            sslmode=verify-full       | VERIFY_IDENTITY | VERIFY_IDENTITY
            ssl                       | REQUIRE         | VERIFY_IDENTITY
            ssl=true                  | REQUIRE         | VERIFY_IDENTITY
            ssl=false                 | PREFER          | PREFER
            requiressl=1              | REQUIRE         | REQUIRE
            requiressl=0              | PREFER          | PREFER
            ssl=true&sslmode=verify-full | VERIFY_IDENTITY | VERIFY_IDENTITY
            sslmode=verify-full&ssl=true | VERIFY_IDENTITY | VERIFY_IDENTITY
            ssl=true&sslmode=require  | REQUIRE         | REQUIRE
            sslmode=require&ssl=true  | REQUIRE         | REQUIRE
            requiressl=1&sslmode=verify-ca | VERIFY_CA  | VERIFY_CA
            sslmode=verify-ca&requiressl=1 | VERIFY_CA  | VERIFY_CA
            """)
    void sslmodeMustGiveTheMode(String parameters, @Nullable TlsMode libpq, @Nullable TlsMode jdbc) {
        assertThat(ConnectionUrl.parse("postgresql://h/db?" + parameters).tls).isEqualTo(libpq);
        assertThat(ConnectionUrl.parse("jdbc:postgresql://h/db?" + parameters).tls)
                .isEqualTo(jdbc);
    }

    // The names of a time limit mean the whole attempt to connect, in seconds; of two, the longer one counts.
    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            connect_timeout=3                 | 3
            connectTimeout=3                  | 3
            loginTimeout=3                    | 3
            connectTimeout=3&loginTimeout=30  | 30
            loginTimeout=30&connectTimeout=3  | 30
            loginTimeout=0&connectTimeout=3   | 3
            connect_timeout=0                 | 0
            """)
    void timeoutMustBeReadInSeconds(String parameters, long seconds) {
        assertThat(ConnectionUrl.parse("jdbc:postgresql://h/db?" + parameters).connectTimeout)
                .isEqualTo(Duration.ofSeconds(seconds));
    }

    // A URL that the pool cannot understand is refused, with the parameter's name and what to do.
    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            mysql://h/db                               | must begin with postgresql://, postgres:// or jdbc:postgresql:, not with mysql:
            h/db                                       | must begin with postgresql://
            ''                                         | must begin with postgresql://
            postgresql:h/db                            | not with postgresql:
            jdbc:mysql://h/db                          | not with jdbc:mysql:
            jdbc:postgres://h/db                       | jdbc:postgres: is no scheme of PostgreSQL's driver; write jdbc:postgresql:
            jdbc:tc:postgresql:18:///db                | jdbc:tc: asks Testcontainers' driver for a container; make a PostgreSQLContainer, and pass its getJdbcUrl()
            jdbc:p6spy:postgresql://h/db               | jdbc:p6spy: asks P6Spy's driver; write jdbc:postgresql: here
            jdbc:otel:postgresql://h/db                | write jdbc:postgresql: here
            jdbc:aws-wrapper:postgresql://h/db         | write jdbc:postgresql: here
            jdbc-secretsmanager:postgresql://h/db      | use PoolConfig.credentials
            jdbc:postgresql://h:${PGPORT}/db           | url: ${PGPORT} was not replaced; set that variable, or write its value
            postgresql://${DB_HOST}/db                 | url: ${DB_HOST} was not replaced
            postgresql://u:${s3cret}@h/db              | url: a placeholder ${...} was not replaced
            jdbc:postgresql://h/db?user=${spring.user:me} | url: a placeholder ${...} was not replaced
            ' postgresql://h/db'                       | begins or ends with a blank
            'postgresql://h/db '                       | begins or ends with a blank
            jdbc:postgresql://u:p@h/db                 | no user:password@ part
            postgresql://h/db?sslmdoe=require          | parameter "sslmdoe": unknown; did you mean sslmode?
            postgresql://h/db?SSLMODE=require          | parameter "SSLMODE": unknown; did you mean sslmode?
            jdbc:postgresql://h/db?user=u&password=p&prepareTreshold=3 | parameter "prepareTreshold": unknown; did you mean prepareThreshold?
            postgresql://h/db?connection_limit=5       | parameter "connection_limit": unknown
            postgresql://h/db?sslcrl=x                 | parameter "sslcrl": unknown
            postgresql://h/db?sslmode=allow            | sslmode: must be one of disable, prefer, require, verify-ca and verify-full
            postgresql://h/db?sslmode=                 | sslmode: must be one of
            postgresql://h/db?ssl=require              | parameter "ssl": must be true or false; write sslmode=require
            jdbc:postgresql://h/db?ssl=verify-full     | parameter "ssl": must be true or false; write sslmode=verify-full
            postgresql://h/db?ssl=yes                  | parameter "ssl": must be one of [, false, true]
            postgresql://h/db?requiressl=2             | parameter "requiressl": must be one of [0, 1]
            postgresql://h/db?target_session_attrs=rw  | parameter "target_session_attrs": must be one of [any, prefer-standby, primary, read-only, read-write, standby]
            postgresql://h/db?load_balance_hosts=yes   | parameter "load_balance_hosts": must be one of [disable, random]
            postgresql://h/db?keepalives=2             | parameter "keepalives": must be one of [0, 1]
            postgresql://h/db?connect_timeout=-1       | parameter "connect_timeout": must be a whole number of seconds from 0 to 999999
            postgresql://h/db?connect_timeout=1000000  | from 0 to 999999
            postgresql://h/db?application_name=a&application_name=b | parameter "application_name": given twice
            postgresql://h/db?replication=database     | parameter "replication": not supported
            postgresql://h/db?service=x                | parameter "service": not supported
            postgresql://h/db?passfile=x               | parameter "passfile": not supported: use PoolConfig.credentials
            postgresql://h/db?logUnclosedConnections=true | parameter "logUnclosedConnections": not supported
            postgresql://h/db?cleanupSavepoints=true   | parameter "cleanupSavepoints": not supported
            postgresql://a:1,b:2/db?host=c             | 2 ports for 1 hosts
            postgresql://a,b,c/db?port=1,2             | 2 ports for 3 hosts
            postgresql://h:0/db                        | port: must be a number from 1 to 65535
            postgresql://h:65536/db                    | port: must be a number from 1 to 65535
            postgresql://h:-1/db                       | port: must be a number from 1 to 65535
            postgresql://h:x/db                        | port: must be a number from 1 to 65535
            postgresql://::1/db                        | an IPv6 address is written in [brackets]
            postgresql://[::1/db                       | host: '[' must be followed by an address and ']'
            postgresql://[]/db                         | host: '[' must be followed by an address and ']'
            postgresql://[::1]5432/db                  | after ']' only a ':' and a port may follow
            postgresql://a%20b/db                      | host: must be a name or an address
            postgresql://a%3Ab/db                      | host: must be a name or an address
            postgresql://h/db?host=h:5433              | host: must be a name or an address
            postgresql://h#x/db                        | host: must be a name or an address
            postgresql://h/d%b                         | database: '%' must be followed by two hexadecimal digits
            postgresql://h/d%2                         | database: '%' must be followed by two hexadecimal digits
            postgresql://h/d%00                        | database: '%' must be followed by two hexadecimal digits, not 00
            postgresql://h/d%FF                        | database: the percent-encoded bytes are not UTF-8
            postgresql://h/db?password=a&b             | a parameter has no '='; an '&' inside a value must be written %26
            postgresql://h/d@b                         | any other '@' %40
            postgresql://h?user=u@srv                  | any other '@' %40
            postgresql://h/db?options=%zz              | value of parameter "options": '%' must be followed
            jdbc:postgresql://h/db?user=u;password=x   | parameters are parted by '&'
            """)
    void urlMustBeRefusedByName(String url, String message) {
        assertThat(refusal(url)).contains(message);
        assertThat(refusal(url)).matches("(?s)(url|sslmode): .*");
    }

    // The driver speaks TCP only.
    @ParameterizedTest
    @ValueSource(
            strings = {
                "postgresql://%2Fvar%2Frun%2Fpostgresql/db",
                "postgresql:///db?host=/var/run/postgresql",
                "postgresql:///db?host=@abstract",
                "postgresql:///db?host=h,/tmp",
                "jdbc:postgresql:///db?host=/tmp"
            })
    void urlMustRefuseAUnixSocket(String url) {
        assertThat(refusal(url)).contains("host: unix-domain sockets are not supported");
    }

    // A URL often comes from outside, so it must not make the driver load a class, in upper or lower case.
    @ParameterizedTest
    @ValueSource(
            strings = {
                "socketFactory",
                "socketFactoryArg",
                "sslfactory",
                "sslFactory",
                "sslfactoryarg",
                "sslhostnameverifier",
                "sslpasswordcallback",
                "authenticationPluginClassName",
                "xmlFactoryFactory",
                "connectExecutor",
                "connectExecutorArg",
                "classLoaderStrategy"
            })
    void urlMustRefuseToNameAClass(String parameter) {
        assertThat(refusal("postgresql://h/db?" + parameter + "=java.lang.String"))
                .startsWith("url: parameter \"" + parameter + "\": names a class")
                .doesNotContain("java.lang.String");
    }

    // A line break at the end is what "echo url > file" leaves behind; it would become part of a name.
    @Test
    void urlMustRefuseControlCharacters() {
        for (String url : new String[] {"postgresql://h/db\n", "postgresql://h/d\u0000b", "postgresql://u:p\n@h/db"}) {
            assertThat(refusal(url)).contains("url: begins or ends with a blank, or has a line break");
        }
    }

    // An '&' in a password makes a parameter of its rest, so a message repeats only a name that means something.
    @ParameterizedTest
    @ValueSource(strings = {"12&s3cret=", "12&s3cret=&s3cret=", "12&s3cret=%zz", "12&s3cret=;x=", "12&x=&s3cret=x"})
    void nameBehindAPasswordMustNotBeRepeatedUnlessItIsKnown(String password) {
        assertThat(refusal("postgresql://h/db?password=" + password))
                .contains("url: ")
                .doesNotContain("s3cret");
        assertThat(refusal("jdbc:postgresql://h/db?user=u&password=" + password))
                .doesNotContain("s3cret");
        assertThat(refusal("postgresql://h/db?password=x&connect_timeout=x")).contains("connect_timeout");
        assertThat(refusal("postgresql://h/db?password=x&application_name=x&application_name=y"))
                .contains("application_name");
    }

    // A password with unescaped special characters makes a malformed URL, or a well-formed one with another meaning. In
    // neither case does a piece of it reach a message, toString() or the name of a host.
    @ParameterizedTest
    @ValueSource(
            strings = {
                "12%s3cret",
                "12:s3cret",
                "12@s3cret",
                "12/s3cret",
                "12?s3cret",
                "12#s3cret",
                "12&s3cret",
                "12=s3cret",
                "12,s3cret",
                "12;s3cret",
                "12[s3cret",
                "12]s3cret",
                "12+s3cret",
                "12 s3cret",
                "12\\s3cret",
                "12\ts3cret",
                "12/s3cret?x",
                "12/x?s3cret",
                "12/x?s3cret=y",
                "12/x?s3cret&y",
                "12/x?y=%s3cret",
                "12?s3cret=y",
                "12?y&s3cret",
                "12?y&y&s3cret",
                "12?sslmode=s3cret",
                "12?host=s3cret",
                "12?s3cret/x",
                "12?s3cret=x/y",
                "12@s3cret/x",
                "12@s3cret?x",
                "12@s3cret:x",
                "12@x/s3cret",
                "12@s3cret:1/x",
                "12@x?s3cret=1",
                "s3cret",
                "s3cret@",
                "@s3cret",
                "/s3cret",
                "?s3cret",
                "s3cret%",
                "s3cret/",
                "s3cret?",
                "s3cret:",
                "s3cret%00",
                "s3cret%FF",
                "s3cret%4",
                "[s3cret",
                "s3cret]",
                "[12]:s3cret"
            })
    void passwordMustAppearInNoMessage(String password) {
        for (String scheme : new String[] {"postgresql://", "postgres://", "jdbc:postgresql://", "mysql://", ""}) {
            for (String rest : new String[] {"@h/db", "@h:5432/db?sslmode=require", "@h", "@a:1,b:2/db?user=app@x"}) {
                assertSilent(scheme + "app:" + password + rest);
                assertSilent(scheme + ":" + password + rest);
            }
            for (String tail : new String[] {"", "&sslmode=require", "&unknown=1"}) {
                assertSilent(scheme + "h/db?user=app&password=" + password + tail);
                assertSilent(scheme + "h/db?password=" + password + tail);
                assertSilent(scheme + "h/db?user=app;password=" + password + tail);
                assertSilent(scheme + "h/db?password:" + password + tail);
                assertSilent(scheme + "h/db?sslmode=require?password=" + password + tail);
                assertSilent(scheme + "h/db?sslmode=require,password:" + password + tail);
            }
        }
    }

    private static void assertSilent(String url) {
        Throwable refused = catchThrowable(() -> {
            PoolConfig config = PoolConfig.builder(url).build();
            assertThat(config.toString() + config.credentials.get()).doesNotContain("s3cret");
        });
        if (refused != null) assertThat(refused).as(url).isExactlyInstanceOf(IllegalArgumentException.class);
        for (Throwable cause = refused; cause != null; cause = cause.getCause()) {
            assertThat(cause.toString()).as(url).doesNotContain("s3cret");
        }
    }

    // What is left out stays open, so that PoolConfig and the driver decide.
    @Test
    void urlMustLeaveOpenWhatItDoesNotSay() {
        ConnectionUrl url = ConnectionUrl.parse("postgresql://");
        assertThat(url.hosts).hasToString(DEFAULTS);
        assertThat(url.tls).isNull();
        assertThat(url.connectTimeout).isNull();
        assertThat(url.properties).isEmpty();
    }
}
