package dev.nanopool.testkit;

import java.net.InetAddress;
import java.net.Socket;
import java.util.concurrent.Executor;
import javax.net.ssl.HostnameVerifier;
import javax.net.ssl.SSLSession;
import javax.net.ssl.SSLSocketFactory;
import javax.security.auth.callback.Callback;
import javax.security.auth.callback.CallbackHandler;
import org.postgresql.plugin.AuthenticationPlugin;
import org.postgresql.plugin.AuthenticationRequestType;

/**
 * A class that a property of the driver may name. The driver must initialise none of the wrong kind, so it must never
 * touch this class except by name. {@link #SIGN} says that it did.
 */
public final class Canary extends SSLSocketFactory
        implements HostnameVerifier, CallbackHandler, AuthenticationPlugin, Executor {
    /** The system property that is set once the class is initialised. */
    public static final String SIGN = "nanopool.canary"; // a constant, so that a read does not initialise the class

    /** The class's name, which does not initialise it either. */
    public static final String NAME = "dev.nanopool.testkit.Canary";

    static {
        System.setProperty(SIGN, "dead");
    }

    @Override
    public boolean verify(String host, SSLSession session) {
        throw new UnsupportedOperationException();
    }

    @Override
    public void handle(Callback[] callbacks) {
        throw new UnsupportedOperationException();
    }

    @Override
    public char[] getPassword(AuthenticationRequestType type) {
        throw new UnsupportedOperationException();
    }

    @Override
    public void execute(Runnable command) {
        throw new UnsupportedOperationException();
    }

    @Override
    public String[] getDefaultCipherSuites() {
        throw new UnsupportedOperationException();
    }

    @Override
    public String[] getSupportedCipherSuites() {
        throw new UnsupportedOperationException();
    }

    @Override
    public Socket createSocket(Socket socket, String host, int port, boolean autoClose) {
        throw new UnsupportedOperationException();
    }

    @Override
    public Socket createSocket(String host, int port) {
        throw new UnsupportedOperationException();
    }

    @Override
    public Socket createSocket(String host, int port, InetAddress localHost, int localPort) {
        throw new UnsupportedOperationException();
    }

    @Override
    public Socket createSocket(InetAddress host, int port) {
        throw new UnsupportedOperationException();
    }

    @Override
    public Socket createSocket(InetAddress address, int port, InetAddress localAddress, int localPort) {
        throw new UnsupportedOperationException();
    }
}
