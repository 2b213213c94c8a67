package dev.nanopool.postgres;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.nanopool.Pool;
import dev.nanopool.testkit.Links;
import dev.nanopool.testkit.OwnLoader;
import dev.nanopool.testkit.TestServer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.SQLException;
import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.jar.JarEntry;
import java.util.jar.JarFile;
import java.util.jar.JarOutputStream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.objectweb.asm.ClassReader;
import org.objectweb.asm.ClassVisitor;
import org.objectweb.asm.ClassWriter;
import org.objectweb.asm.MethodVisitor;
import org.objectweb.asm.Opcodes;

/** The versions of the driver that frameworks bring. The build copies them to {@code target/drivers}. */
@Tag("server")
@Timeout(120)
class DriversTest {
    /** Methods that older drivers lack. No caller can name a method of the client that the driver's type has not. */
    private static final Set<String> GUARDED = Set.of(
            "dev/nanopool/DriverVersion.queryTimeout: org/postgresql/PGConnection.getQueryTimeout()I",
            "dev/nanopool/DriverVersion.setQueryTimeout: org/postgresql/PGConnection.setQueryTimeout(I)V",
            "dev/nanopool/ForwardingConnection.getQueryTimeout: org/postgresql/core/BaseConnection.getQueryTimeout()I",
            "dev/nanopool/ForwardingConnection.setQueryTimeout: org/postgresql/core/BaseConnection.setQueryTimeout(I)V",
            "dev/nanopool/ClientFastpath.getServerVersionNum: org/postgresql/fastpath/Fastpath.getServerVersionNum()I");

    private static OwnLoader loader(String version) {
        return OwnLoader.of(Path.of("target", "drivers", "postgresql-" + version + ".jar"));
    }

    @ParameterizedTest
    @CsvSource({
        "42.7.2, channelBinding",
        "42.7.5, a COPY whose connection breaks can hang",
        "42.7.8, each BEGIN is sent by itself",
        "42.7.11, CVE-2026-54291",
        "42.7.13, "
    })
    void poolMustWorkWithTheDriverAndNameWhatItLacks(String version, String lack) throws Exception {
        try (OwnLoader loader = loader(version)) {
            // All references, not only those that the trial comes by.
            assertThat(GUARDED).containsAll(Links.broken(loader, Links.classFiles(Pool.class)));
            Callable<List<String>> trial = loader.make(DriverTrial.class, TestServer.url(), "driver-" + version, true);
            List<String> warnings = trial.call();
            if (lack == null) {
                assertThat(warnings).isEmpty();
                return;
            }
            assertThat(warnings).hasSize(1);
            assertThat(warnings.get(0)).contains("pgJDBC " + version, lack, "42.7.13 or newer", "postgresql.version");
        }
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void driverThatIsTooOldMustBeRefusedByName(boolean isBean) throws Exception {
        try (OwnLoader loader = loader("42.6.2")) {
            Callable<List<String>> trial = loader.make(DriverTrial.class, TestServer.url(), "driver-old", isBean);
            assertThatThrownBy(trial::call)
                    .isInstanceOf(SQLException.class)
                    .hasMessage(
                            "driver-old: the class path has pgJDBC 42.6.2, which is too old: 42.7.2 or newer is needed"
                                    + " (in Spring Boot, the property postgresql.version names it)");
        }
    }

    @Test
    void referenceThatIsNotInTheDriverMustBeFound() throws Exception {
        try (OwnLoader loader = loader("42.6.2")) {
            assertThat(Links.broken(loader, Links.classFiles(Pool.class)))
                    .anyMatch(line -> line.contains("alterUserPassword"));
        }
        try (OwnLoader loader = OwnLoader.of(OwnLoader.usual())) {
            assertThat(Links.broken(loader, Links.classFiles(Pool.class))).isEmpty();
        }
    }

    @Test
    void methodThatOnlyANewerDriverHasMustBeUnsupported(@TempDir Path folder) throws Exception {
        Path later = folder.resolve("later.jar");
        copyWithOneMethodMore(OwnLoader.usual(), later);
        try (OwnLoader loader = OwnLoader.of(later)) {
            // So a build with such a driver fails, unless the generator has written the method.
            assertThat(Links.broken(loader, Links.classFiles(Pool.class)))
                    .anyMatch(line -> line.startsWith("dev/nanopool/ClientConnection lacks"))
                    .anyMatch(line -> line.startsWith("dev/nanopool/ClientStatement lacks"))
                    .allMatch(line -> line.contains(".later("));
            Callable<Void> trial = loader.make(NewMethodsTrial.class, TestServer.url());
            trial.call();
        }
    }

    /** The driver of tomorrow: some interfaces have a method more, and the version is higher. */
    private static void copyWithOneMethodMore(Path driver, Path copy) throws Exception {
        Set<String> interfaces = Set.of(
                "org/postgresql/PGConnection.class",
                "org/postgresql/PGStatement.class",
                "org/postgresql/PGResultSetMetaData.class");
        try (var from = new JarFile(driver.toFile());
                var to = new JarOutputStream(Files.newOutputStream(copy))) {
            for (JarEntry entry : Collections.list(from.entries())) {
                byte[] bytes = from.getInputStream(entry).readAllBytes();
                String name = entry.getName();
                boolean isExtended = interfaces.contains(name);
                to.putNextEntry(new JarEntry(name));
                to.write(
                        isExtended || name.equals("org/postgresql/Driver.class")
                                ? ofTomorrow(bytes, isExtended)
                                : bytes);
            }
        }
    }

    private static byte[] ofTomorrow(byte[] bytes, boolean isExtended) {
        var writer = new ClassWriter(0);
        new ClassReader(bytes)
                .accept(
                        new ClassVisitor(Opcodes.ASM9, writer) {
                            @Override
                            public MethodVisitor visitMethod(
                                    int access, String name, String descriptor, String signature, String[] thrown) {
                                MethodVisitor next = super.visitMethod(access, name, descriptor, signature, thrown);
                                if (!name.equals("getVersion")) return next;
                                return new MethodVisitor(Opcodes.ASM9, next) {
                                    @Override
                                    public void visitLdcInsn(Object value) {
                                        super.visitLdcInsn("PostgreSQL JDBC Driver 42.99.0");
                                    }
                                };
                            }
                        },
                        0);
        if (isExtended) {
            int access = Opcodes.ACC_PUBLIC | Opcodes.ACC_ABSTRACT;
            writer.visitMethod(access, "later", "(Ljava/lang/String;J[D)I", null, null);
        }
        return writer.toByteArray();
    }
}
