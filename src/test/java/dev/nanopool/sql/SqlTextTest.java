package dev.nanopool.sql;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class SqlTextTest {
    private static String changes(String sql, boolean callIsSelect) {
        return named(new SqlText(callIsSelect).changes(sql));
    }

    private static String named(int changes) {
        Set<Change> set = EnumSet.noneOf(Change.class);
        for (Change change : Change.values()) {
            if ((changes & change.bit()) != 0) {
                set.add(change);
            }
        }
        return set.isEmpty() ? "-" : set.stream().map(Change::name).collect(Collectors.joining(" "));
    }

    /** Line breaks and tabs cannot stand in a table's cell. */
    private static String unescaped(String cell) {
        return cell.replace("<LF>", "\n").replace("<CR>", "\r").replace("<TAB>", "\t");
    }

    // Each kind of statement leaves behind what PostgreSQL's manual says it does.
    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '^', textBlock = """
            SET work_mem = 1                                             | SETTINGS
            set work_mem to default                                      | SETTINGS
            SeT work_mem = 1                                             | SETTINGS
            SET SESSION work_mem = 1                                     | SETTINGS
            SET LOCAL work_mem = 1                                       | -
            SET LOCAL "a.b" = 1                                          | -
            SET local.x = 1                                              | SETTINGS
            SET LOCAL /* . */ . x = 1                                    | SETTINGS
            SET session.x = 1                                            | SETTINGS
            SET SESSION session.x = 1                                    | SETTINGS
            SET "local" . x = 1                                          | SETTINGS
            SET my.role = 'x'                                            | SETTINGS
            SET TIME ZONE LOCAL                                          | SETTINGS
            SET SESSION TIME ZONE 'UTC'                                  | SETTINGS
            SET LOCAL TIME ZONE 'UTC'                                    | -
            SET NAMES 'UTF8'                                             | SETTINGS
            SET SCHEMA 'a'                                               | SETTINGS
            SET search_path TO a, b                                      | SETTINGS
            SET search_path TO pg_temp, b                                | SETTINGS TEMP
            SET standard_conforming_strings = on                         | SETTINGS
            SET TRANSACTION ISOLATION LEVEL SERIALIZABLE                 | -
            SET TRANSACTION READ ONLY                                    | -
            SET TRANSACTION SNAPSHOT '0-1'                               | -
            SET SESSION TRANSACTION READ ONLY                            | -
            SET LOCAL TRANSACTION READ ONLY                              | -
            SET transaction.x = 1                                        | SETTINGS
            SET default_transaction_isolation = 'serializable'           | SETTINGS
            SET CONSTRAINTS ALL DEFERRED                                 | -
            SET CONSTRAINTS "a", b IMMEDIATE                             | -
            SET constraints.x = 1                                        | SETTINGS
            SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY         | SETTINGS
            SET SESSION SESSION CHARACTERISTICS AS TRANSACTION READ ONLY | SETTINGS
            SET LOCAL SESSION CHARACTERISTICS AS TRANSACTION READ ONLY   | -
            SET ROLE a                                                   | ROLE
            SET ROLE NONE                                                | ROLE
            SET SESSION ROLE a                                           | ROLE
            SET LOCAL ROLE a                                             | -
            SET role = a                                                 | ROLE
            SET SESSION role TO 'a'                                      | ROLE
            SET "role" TO 'a'                                            | ROLE
            SET "ROLE" TO 'a'                                            | ROLE
            SET role.x = 1                                               | SETTINGS
            SET role_x = 1                                               | SETTINGS
            SET SESSION AUTHORIZATION a                                  | ROLE
            SET SESSION SESSION AUTHORIZATION a                          | ROLE
            SET SESSION AUTHORIZATION DEFAULT                            | ROLE
            SET LOCAL SESSION AUTHORIZATION a                            | -
            SET session_authorization = 'a'                              | ROLE
            SET SESSION "Session_Authorization" = 'a'                    | ROLE
            SET U&"\\0072ole" = 'a'                                       | SETTINGS UNKNOWN
            RESET work_mem                                               | SETTINGS
            RESET ALL                                                    | SETTINGS
            RESET session.x                                              | SETTINGS
            RESET ROLE                                                   | ROLE
            RESET SESSION AUTHORIZATION                                  | ROLE
            RESET session_authorization                                  | ROLE
            RESET TIME ZONE                                              | SETTINGS
            LISTEN a                                                     | LISTEN
            LISTEN "set"                                                 | LISTEN
            UNLISTEN a                                                   | LISTEN
            UNLISTEN *                                                   | LISTEN
            NOTIFY listen, 'LISTEN a'                                    | -
            PREPARE a AS SELECT 1                                        | PREPARED
            PREPARE a (int) AS SELECT $1                                 | PREPARED
            PREPARE a AS SELECT set_config('a.b', 'c', false)            | SETTINGS ROLE PREPARED
            PREPARE TRANSACTION 'a'                                      | -
            PREPARE TRANSACTION U&'a'                                    | -
            PREPARE TRANSACTION E'a\\'b'                                  | -
            PREPARE transaction AS SELECT 1                              | PREPARED
            PREPARE transaction (int) AS SELECT 1                        | PREPARED
            PREPARE "transaction" AS SELECT 1                            | PREPARED
            EXECUTE a                                                    | -
            EXECUTE a (1, 'SET x = 1')                                   | -
            DEALLOCATE a                                                 | PREPARED
            DEALLOCATE PREPARE a                                         | PREPARED
            DECLARE c CURSOR WITH HOLD FOR SELECT 1                      | CURSORS
            DECLARE c BINARY INSENSITIVE NO SCROLL CURSOR WITH HOLD FOR SELECT 1 | CURSORS
            DECLARE c CURSOR WITHOUT HOLD FOR SELECT 1                   | -
            DECLARE hold CURSOR FOR SELECT 1                             | -
            DECLARE "with" CURSOR FOR WITH hold AS (SELECT 1) SELECT * FROM hold | -
            DECLARE "with hold" CURSOR FOR SELECT 1                      | -
            FETCH 1 FROM c                                               | -
            CLOSE ALL                                                    | CURSORS
            LOAD 'auto_explain'                                          | IRREVERSIBLE
            DO $$ BEGIN END $$                                           | UNKNOWN
            DO LANGUAGE plpgsql 'BEGIN END'                              | UNKNOWN
            CALL p()                                                     | UNKNOWN
            DISCARD ALL                                                  | UNKNOWN
            DISCARD TEMP                                                 | TEMP
            DISCARD TEMPORARY                                            | TEMP
            DISCARD SEQUENCES                                            | UNKNOWN
            DISCARD PLANS                                                | -
            CLOSE c                                                      | -
            CLOSE "all"                                                  | -
            CREATE_REPLICATION_SLOT s TEMPORARY LOGICAL pgoutput         | IRREVERSIBLE
            UPLOAD_MANIFEST                                              | IRREVERSIBLE
            SET load = 1                                                 | SETTINGS
            SELECT load, discard FROM close                              | -
            RESET my.role                                                | SETTINGS
            SET work_mem TO DEFAULT                                      | SETTINGS
            SET role TO DEFAULT                                          | ROLE
            SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE        | SETTINGS
            COPY t FROM STDIN                                            | -
            COPY (SELECT pg_advisory_lock(1)) TO STDOUT                  | LOCKS
            BEGIN                                                        | -
            START TRANSACTION READ ONLY                                  | -
            COMMIT                                                       | -
            ROLLBACK TO SAVEPOINT a                                      | -
            SAVEPOINT "set"                                              | -
            LOCK TABLE t                                                 | -
            ALTER SYSTEM SET work_mem = 1                                | -
            ALTER ROLE a SET work_mem = 1                                | -
            TRUNCATE temp                                                | -
            VACUUM                                                       | -
            SELECT 1                                                     | -
            SELECT * FROM t FOR UPDATE                                   | -
            SELECT lo_creat(-1), dblink_connect('a')                     | IRREVERSIBLE
            VALUES (1, 'x')                                              | -
            TABLE temp                                                   | -
            INSERT INTO t VALUES (1)                                     | -
            UPDATE t SET x = 1                                           | -
            UPDATE t SET role = 1, local = 2                             | -
            DELETE FROM t                                                | -
            MERGE INTO t USING s ON true WHEN MATCHED THEN UPDATE SET x = 1 | -
            INSERT INTO t SELECT 1 ON CONFLICT DO UPDATE SET x = 1       | -
            """)
    void statementMustLeaveBehindWhatItsFirstWordsSay(String sql, String expected) {
        assertThat(changes(sql, true)).isEqualTo(expected);
    }

    // Functions, names in pg_temp and temporary tables count wherever they stand.
    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '^', textBlock = """
            SELECT set_config('a.b', 'c', false)                         | SETTINGS ROLE
            select SET_CONFIG ('a.b', 'c', true)                         | SETTINGS ROLE
            SELECT pg_catalog . set_config('a.b', 'c', false)            | SETTINGS ROLE
            SELECT "set_config"('a.b', 'c', false)                       | SETTINGS ROLE
            SELECT "SET_CONFIG"('a.b', 'c', false)                       | -
            SELECT "set_config""x"('a.b', 'c', false)                    | -
            SELECT set_configuration(1), reset_config, x_set_config      | -
            SELECT U&"\\0073et_config"('a.b', 'c', false)                 | UNKNOWN
            INSERT INTO t SELECT set_config('a.b', 'c', false)           | SETTINGS ROLE
            WITH a AS (SELECT set_config('role', 'c', false)) SELECT 1   | SETTINGS ROLE
            SELECT 1$2set_config                                         | SETTINGS ROLE
            SELECT a$set_config, set_config$a                            | -
            SELECT current_setting('set_config')                         | -
            SELECT pg_advisory_lock(1)                                   | LOCKS
            SELECT pg_advisory_lock_shared(1)                            | LOCKS
            SELECT pg_try_advisory_lock(?, ?)                            | LOCKS
            SELECT pg_catalog.PG_TRY_ADVISORY_LOCK_SHARED($1)            | LOCKS
            SELECT "pg_advisory_lock"(1)                                 | LOCKS
            SELECT pg_advisory_xact_lock(1)                              | -
            SELECT pg_advisory_xact_lock_shared(1)                       | -
            SELECT pg_try_advisory_xact_lock(1)                          | -
            SELECT pg_advisory_unlock(1), pg_advisory_unlock_all()       | LOCKS
            SELECT my_pg_advisory_lock(1)                                | -
            SELECT pg_replication_origin_session_setup('o')              | IRREVERSIBLE
            SELECT pg_catalog.pg_replication_origin_xact_setup('0/1', now()) | IRREVERSIBLE
            SELECT pg_replication_origin_session_progress(true)          | -
            SELECT pg_create_physical_replication_slot('s', true, true)  | IRREVERSIBLE
            SELECT PG_CREATE_LOGICAL_REPLICATION_SLOT('s', 'p', true)    | IRREVERSIBLE
            SELECT "pg_copy_logical_replication_slot"('a', 'b', true)    | IRREVERSIBLE
            SELECT pg_copy_physical_replication_slot('a', 'b', true)     | IRREVERSIBLE
            SELECT pg_drop_replication_slot('s') FROM pg_replication_slots | -
            SELECT pg_backup_start('b'), pg_start_backup('b')            | IRREVERSIBLE
            SELECT public.dblink_connect_u('c', 'd')                     | IRREVERSIBLE
            SELECT dblink('dbname=a', 'SELECT 1'), dblink_disconnect('c') | -
            SELECT set_limit(0.5)                                        | SETTINGS
            UPDATE pg_settings SET setting = '1' WHERE name = 'work_mem' | SETTINGS ROLE
            update PG_CATALOG . "pg_settings" set setting = '1'          | SETTINGS ROLE
            UPDATE ONLY pg_settings AS s SET setting = '1'               | SETTINGS ROLE
            EXPLAIN ANALYZE UPDATE pg_settings * SET setting = '1'       | SETTINGS ROLE
            PREPARE p AS UPDATE pg_settings SET setting = $1             | SETTINGS ROLE PREPARED
            WITH a AS (UPDATE pg_settings SET setting = '1' RETURNING *) SELECT 1 | SETTINGS ROLE
            WITH a AS (SELECT * FROM pg_settings) UPDATE t SET x = 1     | SETTINGS ROLE
            MERGE INTO pg_settings USING s ON true WHEN MATCHED THEN UPDATE SET setting = '1' | SETTINGS ROLE
            UPDATE U&"pg\005fsettings" SET setting = '1'                 | UNKNOWN
            UPDATE "PG_SETTINGS" SET x = 1                               | -
            UPDATE my_pg_settings SET x = 1                              | -
            SELECT * FROM pg_settings; UPDATE t SET x = 1                | -
            SELECT "update" FROM pg_settings                             | -
            INSERT INTO t SELECT name FROM pg_settings                   | -
            CREATE TEMP TABLE t (a int)                                  | TEMP
            CREATE TEMPORARY TABLE t (a int) ON COMMIT DROP              | TEMP
            create local temp table t (a int)                            | TEMP
            CREATE GLOBAL TEMPORARY TABLE t (a int)                      | TEMP
            CREATE OR REPLACE TEMP VIEW v AS SELECT 1                    | TEMP
            CREATE OR REPLACE TEMPORARY RECURSIVE VIEW v (a) AS SELECT 1 | TEMP
            CREATE TEMP SEQUENCE s                                       | TEMP
            CREATE UNLOGGED TABLE t (a int)                              | -
            CREATE TABLE temp (temporary int)                            | -
            CREATE TABLE "temp" (a int)                                  | -
            CREATE TABLE create_temp (a int)                             | -
            CREATE VIEW temp AS SELECT 1                                 | -
            CREATE TABLE pg_temp.t (a int)                               | TEMP
            CREATE TABLE "pg_temp".t (a int)                             | TEMP
            DROP TABLE "pg_temp_3"."t"                                   | TEMP
            SELECT PG_TEMP.f()                                           | TEMP
            SELECT "PG_TEMP".f()                                         | -
            SELECT "my pg_temp", xpg_temp, pg_tempo                      | TEMP
            SELECT "my pg_temp", xpg_temp                                | -
            SELECT * FROM pg_namespace WHERE nspname LIKE 'pg_temp%'     | -
            SELECT 1 INTO TEMP t                                         | TEMP
            SELECT 1 INTO TEMPORARY TABLE t                              | TEMP
            SELECT 1 INTO LOCAL TEMP t                                   | TEMP
            SELECT 1 INTO GLOBAL /* x */ TEMPORARY t                     | TEMP
            (SELECT 1 INTO TEMP t)                                       | TEMP
            WITH a AS (SELECT 1) SELECT * INTO TEMP t FROM a             | TEMP
            SELECT "insert" INTO TEMP t FROM a                           | TEMP
            SELECT 1 insert INTO TEMP t                                  | TEMP
            SELECT 1 INTO t                                              | -
            SELECT 1 INTO UNLOGGED temp                                  | -
            SELECT temp FROM t                                           | -
            SELECT 1 INTO "temp"                                         | -
            INSERT INTO temp VALUES (1)                                  | -
            INSERT -- x<LF> INTO temp SELECT 1                           | -
            MERGE INTO temp USING s ON true WHEN MATCHED THEN DELETE     | -
            WITH a AS (INSERT INTO temp VALUES (1) RETURNING *) SELECT * INTO TEMP t FROM a | TEMP
            GRANT CREATE, TEMP ON DATABASE d TO r                        | -
            EXPLAIN SELECT 1                                             | -
            EXPLAIN ANALYZE SELECT set_config('a.b', 'c', false)         | SETTINGS ROLE
            EXPLAIN ANALYZE CREATE TEMP TABLE t AS SELECT 1              | TEMP
            EXPLAIN (ANALYZE, BUFFERS) CREATE TEMP TABLE t AS SELECT 1   | TEMP
            EXPLAIN (ANALYZE, FORMAT json) SELECT 1 INTO TEMP t          | TEMP
            EXPLAIN ANALYZE (SELECT 1 INTO TEMP t)                       | TEMP
            EXPLAIN ANALYZE UPDATE t SET x = 1                           | -
            EXPLAIN ANALYZE EXECUTE a                                    | -
            EXPLAIN DECLARE c CURSOR WITH HOLD FOR SELECT 1              | -
            CREATE FUNCTION f() RETURNS void SET work_mem = 1 LANGUAGE sql AS 'SET x = 1' | -
            CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT set_config('a', 'b', false); SET x = 1; $$ | -
            """)
    void someWordsMustCountWhereverTheyStand(String sql, String expected) {
        assertThat(changes(unescaped(sql), true)).isEqualTo(expected);
    }

    // Each of several statements in a text counts; a semicolon in quotes or comments does not end one.
    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '^', textBlock = """
            SELECT 1; SET x = 1                                          | SETTINGS
            ;;; SET x = 1 ;;;                                            | SETTINGS
            SET x = 1; LISTEN a; SELECT pg_advisory_lock(1)              | SETTINGS LISTEN LOCKS
            BEGIN; SET LOCAL x = 1; UPDATE t SET x = 1; COMMIT           | -
            BEGIN;SET LOCAL x = 1;SET ROLE a;COMMIT                      | ROLE
            SET;LISTEN a                                                 | SETTINGS LISTEN
            SET SESSION;LISTEN a                                         | SETTINGS LISTEN
            SET LOCAL;LISTEN a                                           | SETTINGS LISTEN
            PREPARE;LISTEN a                                             | LISTEN PREPARED
            PREPARE TRANSACTION 'a';SET x = 1                            | SETTINGS
            DECLARE c CURSOR;LISTEN a                                    | LISTEN
            DECLARE c CURSOR WITH;SET hold = 1                           | SETTINGS
            CREATE;TEMP                                                  | -
            CREATE;SET x = 1                                             | SETTINGS
            SELECT 1 INTO;TEMP                                           | -
            INSERT;SELECT 1 INTO TEMP t                                  | TEMP
            SELECT ';SET x = 1'; LISTEN a                                | LISTEN
            SELECT ';', '''; SET x = 1; '''                              | -
            SELECT ''';'; SET x = 1                                      | SETTINGS
            SELECT "; SET x = 1;"                                        | -
            SELECT "a""; SET x = 1;"                                     | -
            SELECT $$; SET x = 1;$$                                      | -
            SELECT $a$; SET x = 1; $$; SET x = 1; $b$;SET x = 1;$a$; LISTEN b | LISTEN
            SELECT 1 -- ; SET x = 1                                      | -
            SELECT 1 /* ; SET x = 1; */ ; LISTEN a                       | LISTEN
            INSERT INTO t VALUES (?, ?); INSERT INTO t VALUES (?, ?)     | -
            INSERT INTO t VALUES ($1); CALL p($2)                        | UNKNOWN
            CREATE TEMP TABLE t (a int); DECLARE c CURSOR WITH HOLD FOR SELECT 1; DO '' | TEMP CURSORS UNKNOWN
            """)
    void eachStatementOfTextMustCount(String sql, String expected) {
        assertThat(changes(unescaped(sql), true)).isEqualTo(expected);
    }

    // Blanks, comments, strings, numbers and parameters are told apart as the server does it.
    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '^', textBlock = """
            ^  <LF><CR><TAB> SET x = 1^                                  | SETTINGS
            SET<LF>x = 1                                                 | SETTINGS
            SET/**/x = 1                                                 | SETTINGS
            SET--<CR>LOCAL--<LF>x = 1                                    | -
            -- a<LF>-- b<LF>SET x = 1                                    | SETTINGS
            -- SET x = 1                                                 | -
            --SELECT<CR>SET x = 1                                        | SETTINGS
            /* a */ SET x = 1                                            | SETTINGS
            /* /* a */ ' */ SET x = 1                                    | SETTINGS
            /* /* */ SET x = 1                                           | -
            /*/ SET x = 1                                                | -
            /*/**/*/ SET x = 1                                           | SETTINGS
            /* -- */ SET x = 1                                           | SETTINGS
            -- /*<LF>SET x = 1                                           | SETTINGS
            SELECT 1 */**/-- ;<LF> 2; SET x = 1                          | SETTINGS
            SELECT 1 - - 2; SET x = 1                                    | SETTINGS
            SELECT a->>'b' <-- ; SET x = 1                               | -
            ((( SET x = 1                                                | SETTINGS
            ((SELECT set_config('a', 'b', false)))                       | SETTINGS ROLE
            "set" x = 1                                                  | -
            SELECT "set", "listen" FROM "do"                             | -
            SELECT reset_count, set, settings FROM listen                | -
            SETx = 1                                                     | -
            SET$ x = 1                                                   | -
            SETé x = 1                                                   | -
            ſet x = 1                                                    | -
            SELECT 'SET', E'\\'; SET x = 1; --'                           | -
            SELECT e'\\\\'; SET x = 1; --'                                 | SETTINGS
            SELECT 'C:\\'; SET x = 1; --'                                 | SETTINGS
            SELECT xe'\\'; SET x = 1; --'                                 | SETTINGS
            SELECT E'a''\\'; SET x = 1; --'                               | -
            SELECT E'a'<LF>'\\'; SET x = 1; --'                           | -
            SELECT E'a' -- b<LF> '\\'; SET x = 1; --'                     | -
            SELECT E'a', '\\'; SET x = 1; --'                             | SETTINGS
            SELECT U&'\\'; SET x = 1; --'                                 | SETTINGS
            SELECT U&'d!0061t' UESCAPE '!'; SET x = 1                    | SETTINGS
            SELECT u & 'a'; SET x = 1                                    | SETTINGS
            SELECT N'a', B'0', X'F'; SET x = 1                           | SETTINGS
            SELECT 1E'\\'; SET x = 1; --'                                 | -
            SELECT $1; SET x = 1                                         | SETTINGS
            SELECT $1$a$; SET x = 1; $a$; LISTEN a                       | LISTEN
            SELECT $1a$; SET x = 1; $1a$                                 | SETTINGS
            SELECT a$b$; SET x = 1; a$b$                                 | SETTINGS
            SELECT $a$; SET x = 1; $A$                                   | -
            SELECT $ä$; SET x = 1; $ä$                                   | -
            SELECT $a b$; SET x = 1; $a b$                               | SETTINGS
            SELECT $_1$; SET x = 1; $_1$                                 | -
            SELECT $$a$b$; SET x = 1$$; LISTEN a                         | LISTEN
            SELECT 1$$; SET x = 1; $$                                    | -
            SELECT $; SET x = 1                                          | SETTINGS
            SELECT ? -> 'a' ?? 'b'; SET x = 1                            | SETTINGS
            SELECT {fn now()}, {d '2020-01-01'}; SET x = 1               | SETTINGS
            SELECT 'a' {escape '\\'}; SET x = 1                           | SETTINGS
            SELECT 'größe', "größe", größe; SET größe = 1                | SETTINGS
            SELECT '😀;SET x = 1', 😀; LISTEN 😀                          | LISTEN
            """)
    void textMustBeReadAsTheServerReadsIt(String sql, String expected) {
        assertThat(changes(unescaped(sql), true)).isEqualTo(expected);
    }

    // The driver makes a SELECT of an escaped call, or a CALL, as configured; what is not escaped is always a CALL.
    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '^', textBlock = """
            {call f()}                            | -              | UNKNOWN
            { CALL f(?, ?) }                      | -              | UNKNOWN
            {? = call f(?)}                       | -              | UNKNOWN
            {?=call f}                            | -              | UNKNOWN
            {? = call set_config(?, ?, ?)}        | SETTINGS ROLE  | SETTINGS ROLE UNKNOWN
            {call pg_advisory_lock(1)}            | LOCKS          | LOCKS UNKNOWN
            call f()                              | UNKNOWN        | UNKNOWN
            {fn f()}                              | UNKNOWN        | UNKNOWN
            SELECT call                           | -              | -
            """)
    void escapedCallMustBeJudgedByWhatTheDriverMakesOfIt(String sql, String asSelect, String asCall) {
        assertThat(changes(sql, true)).isEqualTo(asSelect);
        assertThat(changes(sql, false)).isEqualTo(asCall);
    }

    // An escape whose replacement leaves the other tokens as they are changes nothing. Any other one may change
    // anything, because the driver sends another text than it was given.
    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '^', textBlock = """
            SELECT {d '2020-01-01'}, {t'10:00:00'}, {ts '2020-01-01 10:00:00'} | -
            SELECT {TS '2020-01-01'}::date, ({D '2020-01-01'})           | UNKNOWN
            SELECT {TS '2020-01-01'} , ({D '2020-01-01' })               | -
            SELECT 'a' LIKE 'b' {escape '\'} , 2                         | -
            SELECT {fn lcase({fn concat('a', ?)})} FROM t                | -
            SELECT {FN timestampadd(SQL_TSI_DAY, 1, now())} , ({fn user()}) | -
            SELECT {fn pg_advisory_lock(1)}                              | LOCKS
            SELECT {fn f(')}', "(", (1))}; SET x = 1                     | SETTINGS
            SELECT '{"a": {"b": 1}}', '{1,2}'::int[], "{", /*{*/ 1       | -
            SELECT 1 {fn "}; SET x = 1 --"                               | UNKNOWN
            SELECT {fn x                                                 | UNKNOWN
            SELECT {fn x}                                                | UNKNOWN
            SELECT {fnset_config('a', 'b', false)}                       | UNKNOWN
            SELECT {fn a.b(1)}                                           | UNKNOWN
            SELECT {fn f(1) x}                                           | UNKNOWN
            SELECT {fn f(1}                                              | UNKNOWN
            SELECT {fn f(E'\'')}                                         | UNKNOWN
            SELECT {fn f($$)$$)}                                         | UNKNOWN
            SELECT {fn f(1 /* ) */)}                                     | UNKNOWN
            SELECT {fn f(1 - -1, 4 / *)}                                 | -
            SELECT {fn f(1)}'a'                                          | UNKNOWN
            se{fn t(1)}                                                  | UNKNOWN
            SELECT {d 'a}; SET x = 1 --'}                                | UNKNOWN
            SELECT {d 'a''b'}                                            | UNKNOWN
            SELECT {d '1' 2}                                             | UNKNOWN
            SELECT {d '1'                                                | UNKNOWN
            SELECT {oj a LEFT JOIN b ON true}                            | UNKNOWN
            {oj set x = 1}                                               | UNKNOWN
            SELECT 1 INTO {oj TEMP t}                                    | UNKNOWN
            SELECT E'a'<LF>'\' {fn x'                                    | UNKNOWN
            /* a */ {call f()}                                           | -
            -- a<LF>{? = call f()}                                       | -
            /*/{call pg_advisory_lock(1)}                                | UNKNOWN
            /*/ {call pg_advisory_lock(1)} -- */ {call f()}              | UNKNOWN
            /* a */ SELECT '{c,d}'                                       | UNKNOWN
            /* a */ SELECT '{"c": 1}'                                    | -
            SELECT '{fn x', '{fan,fnord}'                                | UNKNOWN
            """)
    void escapeMustBePlainOrElseMayChangeAnything(String sql, String expected) {
        assertThat(changes(unescaped(sql), true)).isEqualTo(expected);
    }

    // Where a backslash may take a quote along, only a text without one is read.
    @Test
    void textWithBackslashMustCountAsAnyChangeWhenStringsAreNotStandard() {
        SqlText sqlText = new SqlText(true);
        String text = "SELECT 'it\\'s'; SET statement_timeout = '80s'; SELECT 'x'";
        assertThat(named(sqlText.changes(text, true))).isEqualTo("-");
        assertThat(named(sqlText.changes(text, false))).isEqualTo("UNKNOWN");
        assertThat(named(sqlText.changes("SELECT 'its'", false))).isEqualTo("-");
        assertThat(named(sqlText.changes("SELECT 'a'; LISTEN a", false))).isEqualTo("LISTEN");
    }

    // What is not closed ends with the text.
    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                " ",
                ";",
                "'",
                "\"",
                "$",
                "$$",
                "$a",
                "$a$",
                "$1",
                "/",
                "/*",
                "/*/",
                "/**",
                "-",
                "--",
                "E'",
                "E'\\",
                "E'\\'",
                "E''",
                "E'' ",
                "U&",
                "U&'",
                "u&\"",
                "\"\"",
                "\"\"\"",
                "(",
                "{",
                "{?=",
                "?",
                "é",
                "\0",
                "\ud83d",
                "SELECT '; SET x = 1",
                "SELECT E'\\'; SET x = 1",
                "SELECT \"; SET x = 1",
                "SELECT $$; SET x = 1",
                "SELECT $a$; SET x = 1; $$",
                "SELECT /*; SET x = 1",
                "SELECT /* /* */; SET x = 1",
                "INSERT INTO",
                "CREATE",
                "CREATE OR",
                "SELECT 1 INTO LOCAL",
                "DECLARE c CURSOR WITH",
                "PREPARE TRANSACTION '"
            })
    void unfinishedTextMustEndWhatIsOpen(String sql) {
        String harmless = sql.startsWith("u&\"") ? "UNKNOWN" : "-";
        assertThat(changes(sql, false)).isEqualTo(harmless);
    }

    // Length changes nothing but the time; no text makes it read any part again and again, or fills the stack.
    @Timeout(30)
    @Tag("slow")
    @ParameterizedTest
    @ValueSource(
            strings = {
                "(",
                "/*",
                "/* ",
                "$",
                "$a",
                "$a$b",
                "'",
                "''",
                "\"",
                "\"\"",
                "E'",
                "E'\\",
                "E''",
                "\\",
                "a",
                "a$",
                "1",
                ";",
                "SET ",
                "SET SESSION ",
                "EXPLAIN ",
                "CREATE OR ",
                "INTO LOCAL ",
                "DECLARE WITH ",
                "é",
                " ",
                "--",
                "-- \n",
                "u&",
                "{",
                "{fn f(",
                "{fn f({d '1'})} ",
                "{d ''} ",
                "{d ",
                "{oj(",
                "?, "
            })
    void longTextMustBeReadInOneGo(String part) {
        String text = part.repeat(300_000);
        SqlText.classify(text, true);
        assertThat(named(SqlText.classify("LISTEN a; SELECT 1, " + text, true))).contains("LISTEN");
    }

    // A change at the end of a very long text is seen.
    @Test
    void changeAtTheEndOfLongTextMustBeSeen() {
        String insert = "INSERT INTO t VALUES (1, 'it''s', $$;$$, \"set\", E'\\'');\n".repeat(20_000);
        assertThat(changes(insert, true)).isEqualTo("-");
        assertThat(changes(insert + "SET ROLE a", true)).isEqualTo("ROLE");
    }

    /** Each ends where it seems to, in each surrounding. */
    private static final String[] FRAGMENTS = {
        "SET",
        "set",
        "RESET",
        "LOCAL",
        "SESSION",
        "AUTHORIZATION",
        "ROLE",
        "role",
        "\"role\"",
        "TRANSACTION",
        "CONSTRAINTS",
        "CHARACTERISTICS",
        "LISTEN",
        "UNLISTEN",
        "NOTIFY",
        "CREATE",
        "OR",
        "REPLACE",
        "TEMP",
        "TEMPORARY",
        "GLOBAL",
        "UNLOGGED",
        "RECURSIVE",
        "TABLE",
        "VIEW",
        "SELECT",
        "INTO",
        "INSERT",
        "MERGE",
        "PREPARE",
        "EXECUTE",
        "EXPLAIN",
        "ANALYZE",
        "DECLARE",
        "CURSOR",
        "WITH",
        "WITHOUT",
        "HOLD",
        "FOR",
        "LOAD",
        "DO",
        "CALL",
        "call",
        "DISCARD",
        "ALL",
        "COPY",
        "BEGIN",
        "x",
        "größe",
        "set_config",
        "\"set_config\"",
        "pg_temp",
        "\"pg_temp_3\"",
        "\"PG_TEMP\"",
        "pg_advisory_lock",
        "pg_try_advisory_lock_shared",
        "pg_advisory_xact_lock",
        "1",
        "1.5e3",
        "$1",
        "?",
        "'SET x'",
        "''",
        "'it''s; LISTEN a'",
        "'C:\\'",
        "E'\\'; SET x'",
        "E'a'",
        "U&'\\0061'",
        "N'a'",
        "$$; SET x;$$",
        "$a$ ' $$ $a$",
        "\"a\"\"; SET\"",
        "U&\"a\"",
        ";",
        ";",
        ";",
        "(",
        ")",
        "{",
        "}",
        "=",
        ",",
        ".",
        "*",
        "+",
        "->>",
        "::",
        "[",
        "]",
        "%",
        "&",
        "@",
        "u",
        "e"
    };

    private static final String[] BLANKS = {
        " ",
        "\n",
        "\t",
        "\r\n",
        "   ",
        "/**/",
        "/* SET x; ' */",
        "/* /* \" */ $$ */",
        "-- ; SET x '\n",
        "--\r",
        " /*/**/*/ "
    };

    // Any text is read to its end without failing; other blanks and comments between its tokens change nothing, nor
    // does a memory; and a text of several statements leaves behind what these leave behind one by one.
    @Timeout(120)
    @Tag("slow")
    @Test
    void randomTextMustBeJudgedByItsTokensAlone() {
        long seed = Long.getLong("nanopool.seed", System.nanoTime());
        System.out.println("SqlTextTest seed " + seed);
        Random random = new Random(seed);
        SqlText cached = new SqlText(true);
        for (int round = 0; round < 100_000; round++) {
            List<String> tokens = new ArrayList<>();
            for (int i = random.nextInt(12); i >= 0; i--) {
                String token = FRAGMENTS[random.nextInt(FRAGMENTS.length)];
                if (token.equals("'C:\\'")) {
                    tokens.add(","); // after E'...' the backslash would count
                }
                tokens.add(token);
            }
            String plain = String.join(" ", tokens);
            int changes = SqlText.classify(plain, true);
            String message = "seed " + seed + ", round " + round + ": " + plain;
            assertThat(cached.changes(plain)).as(message).isEqualTo(changes);

            StringBuilder other = new StringBuilder();
            for (String token : tokens) {
                for (int blanks = random.nextInt(3); blanks >= 0; blanks--) {
                    other.append(BLANKS[random.nextInt(BLANKS.length)]);
                }
                other.append(token);
            }
            // Behind a comment or an operator, a call in braces may be one for the driver.
            boolean mayHideCall = Escapes.countHiddenCalls(plain) + Escapes.countHiddenCalls(other.toString()) > 0;
            int ignored = mayHideCall ? Change.UNKNOWN.bit() : 0;
            assertThat(SqlText.classify(other.toString(), true) | ignored)
                    .as("%s, written as %s", message, other)
                    .isEqualTo(changes | ignored);

            int one = 0;
            int from = 0;
            for (int i = 0; i <= tokens.size(); i++) {
                if (i == tokens.size() || tokens.get(i).equals(";")) {
                    String statement = String.join(" ", tokens.subList(from, i));
                    one |= SqlText.classify(statement, true);
                    if (Escapes.countHiddenCalls(statement) > 0)
                        ignored |= Change.UNKNOWN.bit(); // it begins the text now
                    from = i + 1;
                }
            }
            assertThat(one | ignored).as(message).isEqualTo(changes | ignored);
        }
    }

    // Any characters in any order are read to the end without failing; without a key word they change nothing, except
    // that U&"..." may be any name, and take nothing away from the statement before them.
    @Timeout(120)
    @Tag("slow")
    @Test
    void randomCharactersMustBeReadToTheEnd() {
        long seed = Long.getLong("nanopool.seed", System.nanoTime());
        System.out.println("SqlTextTest seed " + seed);
        Random random = new Random(seed);
        String characters = "'\"$\\;/*-{}()?=&eEuUa1_é \n\0\ud83d";
        for (int round = 0; round < 100_000; round++) {
            StringBuilder text = new StringBuilder();
            for (int i = random.nextInt(30); i > 0; i--) {
                text.append(characters.charAt(random.nextInt(characters.length())));
            }
            int changes = SqlText.classify("LISTEN a;" + text, false);
            assertThat(changes | Change.UNKNOWN.bit())
                    .as("seed %d: %s", seed, text)
                    .isEqualTo(Change.LISTEN.bit() | Change.UNKNOWN.bit());
        }
    }

    // However many texts there are and however long they are, the memory has at most its size, and a forgotten text
    // gets the same answer again.
    @Tag("slow")
    @Test
    void memoryMustStayBoundedForManyAndLongTexts() {
        for (int length : new int[] {0, 200, SqlText.LONGEST_REMEMBERED - 40}) {
            SqlText sqlText = new SqlText(true);
            String[] statements = {"SET x = ", "LISTEN a", "SELECT pg_advisory_lock", "CREATE TEMP TABLE t", "SELECT "};
            String tail = " ".repeat(length);
            int most = 0;
            for (int i = 0; i < 30_000; i++) {
                String sql = statements[i % statements.length] + i + tail;
                int changes = SqlText.classify(sql, true);
                assertThat(sqlText.changes(sql)).isEqualTo(changes);
                assertThat(sqlText.changes(sql)).isEqualTo(changes);
                if (i % 97 == 0) {
                    assertThat(sqlText.rememberedBytes()).isBetween(1, SqlText.MOST_BYTES);
                    most = Math.max(most, sqlText.rememberedBytes());
                }
            }
            assertThat(most).as("the room is used").isGreaterThan(SqlText.MOST_BYTES / 2);
        }
    }

    // A text too long for the memory is classified each time, with the same result.
    @Test
    void veryLongTextMustNotBeRemembered() {
        SqlText sqlText = new SqlText(true);
        String longest = "SET x = 1" + " ".repeat(SqlText.LONGEST_REMEMBERED - 9);
        assertThat(named(sqlText.changes(longest + " "))).isEqualTo("SETTINGS");
        assertThat(sqlText.remembered()).isZero();
        assertThat(named(sqlText.changes(longest + " "))).isEqualTo("SETTINGS");
        assertThat(named(sqlText.changes(longest))).isEqualTo("SETTINGS");
        assertThat(sqlText.remembered()).isEqualTo(1);
    }

    // Threads that share the memory get the answers that one thread alone gets, and the bound holds.
    @Timeout(60)
    @Test
    void threadsMustGetTheSameAnswersFromOneMemory() throws Exception {
        int threads = 4;
        SqlText sqlText = new SqlText(true);
        CyclicBarrier start = new CyclicBarrier(threads);
        try (ExecutorService executor = Executors.newFixedThreadPool(threads)) {
            List<Future<?>> runs = new ArrayList<>();
            for (int thread = 0; thread < threads; thread++) {
                int offset = thread * 500;
                runs.add(executor.submit(() -> {
                    start.await();
                    for (int i = 0; i < 20_000; i++) {
                        int number = (i + offset) % 5_000;
                        String sql = (number % 2 == 0 ? "LISTEN a" : "SELECT a") + number + " ".repeat(500);
                        assertThat(sqlText.changes(sql)).isEqualTo(number % 2 == 0 ? Change.LISTEN.bit() : 0);
                        if (i % 50 == 0) {
                            assertThat(sqlText.rememberedBytes()).isLessThanOrEqualTo(SqlText.MOST_BYTES);
                        }
                    }
                    return null;
                }));
            }
            for (Future<?> run : runs) {
                run.get();
            }
        }
    }

    // A set of changes is as wide as an int allows, and each has a bit of its own.
    @Test
    void eachChangeMustHaveItsOwnBit() {
        int all = Arrays.stream(Change.values()).mapToInt(Change::bit).reduce(0, (a, b) -> a | b);
        assertThat(Integer.bitCount(all)).isEqualTo(Change.values().length);
    }
}
