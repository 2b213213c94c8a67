package dev.nanopool.demo;

import dev.nanopool.Pool;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;

/** A bank in a schema of its own: 1,000 accounts with 1,000 each, and a row for each transfer. Dropped by closing. */
final class Bank implements AutoCloseable {
    static final int ACCOUNTS = 1_000;

    /** Money from one account to another; the id is the caller's, and done once only. */
    record Transfer(int id, int payer, int payee, int amount) {}

    private final Pool admin;
    private final String schema;

    Bank(Pool admin, String schema) throws SQLException {
        this.admin = admin;
        this.schema = schema;
        execute("""
                CREATE SCHEMA %1$s;
                CREATE TABLE %1$s.account (id int PRIMARY KEY, balance bigint NOT NULL);
                CREATE TABLE %1$s.transfer (id int PRIMARY KEY, payer int, payee int, amount int);
                INSERT INTO %1$s.account SELECT id, 1000 FROM generate_series(1, %2$d) AS id
                """.formatted(schema, ACCOUNTS));
    }

    /**
     * One transaction. The two rows are locked in the order of their ids, so no two transfers wait for each other. If a
     * connection broke during COMMIT, its outcome is unknown; the transfer's own row tells it to the caller that tries
     * again.
     */
    static void transfer(Connection client, Transfer transfer) throws SQLException {
        client.setAutoCommit(false);
        try (PreparedStatement insert =
                client.prepareStatement("INSERT INTO transfer VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING")) {
            insert.setInt(1, transfer.id);
            insert.setInt(2, transfer.payer);
            insert.setInt(3, transfer.payee);
            insert.setInt(4, transfer.amount);
            if (insert.executeUpdate() == 0) return; // an earlier attempt was committed after all
        }
        try (PreparedStatement update =
                client.prepareStatement("UPDATE account SET balance = balance + ? WHERE id = ?")) {
            boolean payerFirst = transfer.payer < transfer.payee;
            add(update, payerFirst ? transfer.payer : transfer.payee, payerFirst ? -transfer.amount : transfer.amount);
            add(update, payerFirst ? transfer.payee : transfer.payer, payerFirst ? transfer.amount : -transfer.amount);
        }
        client.commit();
    }

    private static void add(PreparedStatement update, int account, int amount) throws SQLException {
        update.setInt(1, amount);
        update.setInt(2, account);
        update.executeUpdate();
    }

    long total() throws SQLException {
        return number("SELECT sum(balance) FROM " + schema + ".account");
    }

    long transfers() throws SQLException {
        return number("SELECT count(*) FROM " + schema + ".transfer");
    }

    /** Ends one server process of that application, best one within a transaction; returns its id, 0 if there is none. */
    long killOne(String application) throws SQLException {
        return number("""
                SELECT coalesce((SELECT pid FROM (
                    SELECT pid FROM pg_stat_activity WHERE application_name = '%s'
                    ORDER BY xact_start DESC NULLS LAST LIMIT 1) AS victim
                WHERE pg_terminate_backend(pid)), 0)
                """.formatted(application));
    }

    private long number(String sql) throws SQLException {
        try (Connection client = admin.client();
                Statement statement = client.createStatement();
                ResultSet row = statement.executeQuery(sql)) {
            row.next();
            return row.getLong(1);
        }
    }

    private void execute(String sql) throws SQLException {
        try (Connection client = admin.client();
                Statement statement = client.createStatement()) {
            statement.execute(sql);
        }
    }

    @Override
    public void close() throws SQLException {
        execute("DROP SCHEMA " + schema + " CASCADE");
    }
}
