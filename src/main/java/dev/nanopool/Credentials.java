package dev.nanopool;

import java.util.Objects;

/**
 * A user and its password, as one value, so that both change together.
 *
 * @param user the role to log in as
 * @param password the password, possibly empty; never printed
 */
public record Credentials(String user, String password) {
    /**
     * Checks that neither is null.
     */
    public Credentials {
        Objects.requireNonNull(user, "user");
        Objects.requireNonNull(password, "password");
    }

    /** Names the user only. */
    @Override
    public String toString() {
        return "Credentials[user=" + user + ", password=***]";
    }
}
