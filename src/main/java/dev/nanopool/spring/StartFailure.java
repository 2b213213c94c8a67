package dev.nanopool.spring;

import java.sql.SQLException;
import org.jspecify.annotations.Nullable;
import org.springframework.boot.diagnostics.AbstractFailureAnalyzer;
import org.springframework.boot.diagnostics.FailureAnalysis;

/** Thrown when the pool of a bean cannot start. The message says why, and {@link Analyzer} tells it to the user. */
final class StartFailure extends IllegalStateException {
    private static final long serialVersionUID = 1;

    private final String remedy;

    /** A property has a bad name or value. */
    StartFailure(String message, IllegalArgumentException cause) {
        super(message, cause);
        remedy = "Correct the property. The page \"Spring Boot\" of nanopool's documentation lists all of them.";
    }

    /** The server lets no connection in. */
    StartFailure(@Nullable String pool, SQLException cause) {
        super(
                "The pool %s cannot connect to its database: %s (SQLState %s)"
                        .formatted(
                                pool != null ? "'" + pool + "'" : "of Spring Boot", reason(cause), cause.getSQLState()),
                cause);
        String state = String.valueOf(cause.getSQLState());
        if (state.startsWith("28")) {
            remedy = "Correct spring.datasource.username and spring.datasource.password, or the server's pg_hba.conf.";
        } else if (state.startsWith("3D")) {
            remedy = "Create the database, or correct its name in spring.datasource.url.";
        } else if (state.startsWith("08") || state.startsWith("57")) {
            remedy = "Start the server, or correct host and port in spring.datasource.url.";
        } else {
            remedy = "Look for the SQLState in PostgreSQL's documentation, and into the server's log.";
        }
    }

    /** The driver's message, and the message of the last cause if it says more. */
    private static String reason(SQLException failure) {
        Throwable root = failure;
        while (root.getCause() != null) root = root.getCause();
        String outer = String.valueOf(failure.getMessage());
        String inner = String.valueOf(root.getMessage());
        return outer.contains(inner) ? outer : outer + " " + root.getClass().getSimpleName() + ": " + inner;
    }

    /** Makes Spring Boot print the message and the remedy instead of a stack trace. */
    static final class Analyzer extends AbstractFailureAnalyzer<StartFailure> {
        @Override
        protected FailureAnalysis analyze(Throwable rootFailure, StartFailure cause) {
            return new FailureAnalysis(String.valueOf(cause.getMessage()), cause.remedy, cause);
        }
    }
}
