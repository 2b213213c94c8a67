package dev.nanopool;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.postgresql.util.DriverInfo;

class DriverVersionTest {
    @ParameterizedTest
    @CsvSource({
        "9.4.1212, true",
        "42.2.29.jre7, true",
        "42.7.1, true",
        "42.7.2, false",
        "42.7.14-SNAPSHOT, false",
        "42.10.0, false",
        "43.0.0, false",
        "our-own, false",
    })
    void onlyVersionsBelowTheOldestMustBeRefused(String version, boolean isRefused) {
        assertThat(DriverVersion.refusal(version) != null).isEqualTo(isRefused);
    }

    @ParameterizedTest
    @CsvSource({
        "42.7.2, 21, 'a COPY whose connection breaks can hang; channelBinding does not always protect (CVE-2026-54291)'",
        "42.7.5, 25, 'setNetworkTimeout fails with a SecurityException; a COPY whose connection breaks can hang;"
                + " channelBinding does not always protect (CVE-2026-54291)'",
        "42.7.8, 21, 'preparing a statement can pin a virtual thread to its carrier;"
                + " a COPY whose connection breaks can hang;"
                + " channelBinding does not always protect (CVE-2026-54291); each BEGIN is sent by itself'",
        "42.7.12, 25, each BEGIN is sent by itself",
    })
    void warningMustNameThePromisesThatDoNotHold(String version, int java, String promises) {
        assertThat(DriverVersion.warning(version, java))
                .isEqualTo("the class path has pgJDBC " + version + ", with which " + promises
                        + "; use 42.7.13 or newer (in Spring Boot, the property postgresql.version names it)");
    }

    @Test
    void newDriverMustLackNothing() {
        assertThat(DriverVersion.warning("42.7.13", 21)).isNull();
        assertThat(DriverVersion.warning(DriverInfo.DRIVER_VERSION, 25)).isNull();
    }
}
