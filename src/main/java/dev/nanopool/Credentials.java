package dev.nanopool;

import java.util.Objects;

/**
 * A user and its password, in one value, so that both change together. Immutable.
 *
 * @param user the role to log in as
 * @param password the password, possibly empty; never printed
 */
public record Credentials(String user, String password) {
    /**
     * Checks that neither of them is null.
     */
    public Credentials {
        Objects.requireNonNull(user, "user");
        Objects.requireNonNull(password, "password");
    }

    /** Names the user, and hides the password. */
    @Override
    public String toString() {
        return "Credentials[user=" + user + ", password=***]";
    }
}
