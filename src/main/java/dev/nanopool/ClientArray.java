package dev.nanopool;

import java.sql.Array;
import java.sql.ResultSet;
import java.sql.SQLException;
import org.jspecify.annotations.Nullable;

/** A client's array: the rows it can be read as lead back to the client. */
final class ClientArray extends ForwardingArray {
    private final PhysicalConnection physical;
    private final ClientConnection client;

    ClientArray(PhysicalConnection physical, ClientConnection client, Array array) {
        super(array);
        this.physical = physical;
        this.client = client;
    }

    /** What the driver is to get instead of the client's array. */
    static @Nullable Array unwrap(@Nullable Array array) {
        return array instanceof ClientArray wrapper ? wrapper.array : array;
    }

    /** What the driver is to get instead of the client's value. */
    static @Nullable Object unwrap(@Nullable Object value) {
        return value instanceof ClientArray wrapper ? wrapper.array : value;
    }

    @Override
    void note(Throwable failure) {
        physical.note(failure);
    }

    @Override
    @Nullable
    ResultSet wrap(@Nullable ResultSet rows) throws SQLException {
        return ClientStatement.wrapForeign(physical, client, rows);
    }

    /** The elements, as {@code getArray} has them. */
    @Override
    Object wrap(Object elements) {
        return elements;
    }

    @Override
    public String toString() {
        return array.toString();
    }
}
