package dev.nanopool.testkit;

import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.GeneralSecurityException;
import java.security.Key;
import java.security.KeyStore;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;

/** An authority of its own that signs certificates, made with the JDK's keytool. */
public final class Certificates {
    /** Of all files that hold keys made here; not worth hiding. */
    public static final String PASSWORD = "changeit";

    private final Path directory;
    private final Path keys;

    /** Makes the authority; its files go into the directory. */
    public Certificates(Path directory) {
        this.directory = directory;
        this.keys = directory.resolve("keys.p12");
        keytool("-alias", "root", "-dname", "CN=root of " + directory.getFileName(), "-ext", "bc:c");
        writePem("root");
    }

    /** The authority's certificate, for {@code sslrootcert}. */
    public Path root() {
        return directory.resolve("root.crt");
    }

    /** Signs a server's certificate for {@code localhost}, by that name only. */
    public void signServer(String alias) {
        sign(alias, alias, "-ext", "san=dns:localhost");
    }

    /** Signs a server's certificate for {@code localhost} that was valid until yesterday. */
    public void signExpiredServer(String alias) {
        sign(alias, alias, "-ext", "san=dns:localhost", "-startdate", "-2d", "-validity", "1");
    }

    /** Signs a client's certificate for a role. */
    public void signClient(String role) {
        sign(role, role);
    }

    private void sign(String alias, String name, String... options) {
        List<String> all = new ArrayList<>(List.of("-alias", alias, "-dname", "CN=" + name, "-signer", "root"));
        all.addAll(List.of(options));
        keytool(all.toArray(String[]::new));
        writePem(alias);
    }

    /**
     * Puts what PostgreSQL reads into its data directory, namely the server's key and certificate, and the root for
     * clients'.
     */
    public void install(String alias, Path dataDirectory) {
        try {
            Files.copy(directory.resolve(alias + ".crt"), dataDirectory.resolve("server.crt"));
            Files.copy(directory.resolve(alias + ".pem"), dataDirectory.resolve("server.key"));
            onlyOwner(dataDirectory.resolve("server.key"));
            Files.copy(root(), dataDirectory.resolve("root.crt"));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** A client's certificate as a PEM file. */
    public Path clientCertificate(String role) {
        return directory.resolve(role + ".crt");
    }

    /** Its key as a PEM file. */
    public Path clientKey(String role) {
        return directory.resolve(role + ".pem");
    }

    /** A client's certificate and key as one PKCS #12 file, under the alias that the driver looks for. */
    public Path clientPkcs12(String role) {
        Path file = directory.resolve(role + ".p12");
        try (OutputStream out = Files.newOutputStream(file)) {
            KeyStore from = KeyStore.getInstance(keys.toFile(), PASSWORD.toCharArray());
            KeyStore to = KeyStore.getInstance("PKCS12");
            to.load(null, null);
            Key key = from.getKey(role, PASSWORD.toCharArray());
            to.setKeyEntry("user", key, PASSWORD.toCharArray(), from.getCertificateChain(role));
            to.store(out, PASSWORD.toCharArray());
            onlyOwner(file);
            return file;
        } catch (IOException | GeneralSecurityException e) {
            throw new IllegalStateException(e);
        }
    }

    /** What a server of that certificate needs to speak TLS. */
    public SSLContext context(String alias) {
        try {
            KeyStore from = KeyStore.getInstance(keys.toFile(), PASSWORD.toCharArray());
            KeyStore one = KeyStore.getInstance("PKCS12");
            one.load(null, null);
            Key key = from.getKey(alias, PASSWORD.toCharArray());
            one.setKeyEntry(alias, key, PASSWORD.toCharArray(), from.getCertificateChain(alias));
            var managers = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
            managers.init(one, PASSWORD.toCharArray());
            SSLContext context = SSLContext.getInstance("TLS");
            context.init(managers.getKeyManagers(), null, null);
            return context;
        } catch (IOException | GeneralSecurityException e) {
            throw new IllegalStateException(e);
        }
    }

    // At once, and not when they are asked for, because keytool may then be writing the next one into the same store.
    private void writePem(String alias) {
        try {
            KeyStore from = KeyStore.getInstance(keys.toFile(), PASSWORD.toCharArray());
            Path keyFile = directory.resolve(alias + ".pem");
            Files.writeString(
                    directory.resolve(alias + ".crt"),
                    pem("CERTIFICATE", from.getCertificate(alias).getEncoded()));
            Files.writeString(
                    keyFile,
                    pem(
                            "PRIVATE KEY",
                            from.getKey(alias, PASSWORD.toCharArray()).getEncoded()));
            onlyOwner(keyFile);
        } catch (IOException | GeneralSecurityException e) {
            throw new IllegalStateException(e);
        }
    }

    private static String pem(String type, byte[] der) {
        String base64 = Base64.getMimeEncoder(64, new byte[] {'\n'}).encodeToString(der);
        return "-----BEGIN " + type + "-----\n" + base64 + "\n-----END " + type + "-----\n";
    }

    /** Server and driver refuse keys that others may read, where the file system knows of others. */
    private static void onlyOwner(Path file) throws IOException {
        if (FileSystems.getDefault().supportedFileAttributeViews().contains("posix")) {
            Files.setPosixFilePermissions(file, PosixFilePermissions.fromString("rw-------"));
        }
    }

    private void keytool(String... options) {
        List<String> command = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "keytool").toString(), "-J-XX:TieredStopAtLevel=1"));
        command.addAll(List.of("-genkeypair", "-keyalg", "EC", "-groupname", "secp256r1", "-storetype", "PKCS12"));
        command.addAll(List.of("-keystore", keys.toString(), "-storepass", PASSWORD));
        command.addAll(List.of(options));
        try {
            Process process = new ProcessBuilder(command)
                    .redirectErrorStream(true)
                    .redirectOutput(ProcessBuilder.Redirect.to(
                            directory.resolve("keytool.log").toFile()))
                    .start();
            if (process.waitFor() != 0) {
                throw new IllegalStateException(Files.readString(directory.resolve("keytool.log")));
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException(e);
        }
    }
}
