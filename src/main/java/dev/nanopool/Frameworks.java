package dev.nanopool;

import java.util.Arrays;
import java.util.List;

/**
 * The packages that stand between the user's code and a pool. A message that names a place in the user's code skips them. The
 * system property {@value #PROPERTY} adds packages, with commas between them.
 */
final class Frameworks {
    static final String PROPERTY = "nanopool.frameworks";

    static final List<String> JDK = List.of("java.", "javax.", "jdk.", "sun.", "com.sun.");

    private static final List<String> KNOWN = List.of(
            "kotlin.",
            "kotlinx.",
            "scala.",
            "groovy.",
            "org.codehaus.groovy.",
            "org.apache.groovy.",
            "clojure.",
            "jakarta.",
            "org.postgresql.",
            "org.springframework.",
            "org.hibernate.",
            "org.eclipse.persistence.",
            "org.apache.openjpa.",
            "io.ebean.",
            "org.jooq.",
            "org.apache.ibatis.",
            "org.mybatis.",
            "com.baomidou.mybatisplus.",
            "org.jdbi.",
            "com.querydsl.",
            "org.jetbrains.exposed.",
            "org.ktorm.",
            "app.cash.sqldelight.",
            "slick.",
            "doobie.",
            "org.flywaydb.",
            "liquibase.",
            "org.quartz.",
            "org.jobrunr.",
            "com.github.kagkarlsson.scheduler.",
            "net.javacrumbs.shedlock.",
            "org.axonframework.",
            "org.apache.camel.",
            "org.apache.commons.dbutils.",
            "net.ttddyy.",
            "com.p6spy.",
            "io.micrometer.",
            "io.opentelemetry.",
            "io.quarkus.",
            "io.agroal.",
            "com.arjuna.",
            "io.micronaut.",
            "io.helidon.",
            "org.jboss.",
            "org.wildfly.",
            "io.vertx.",
            "io.netty.",
            "io.undertow.",
            "org.eclipse.jetty.",
            "org.apache.catalina.",
            "org.apache.tomcat.",
            "org.apache.coyote.",
            "reactor.",
            "net.bytebuddy.");

    private static final List<String> ADDED = packages(System.getProperty(PROPERTY, ""));

    private Frameworks() {}

    /** Whether a class is of the JDK, the driver or a framework. */
    static boolean include(String className) {
        return JDK.stream().anyMatch(className::startsWith)
                || KNOWN.stream().anyMatch(className::startsWith)
                || ADDED.stream().anyMatch(className::startsWith);
    }

    /** The packages of that list, each with a dot at its end. */
    static List<String> packages(String list) {
        return Arrays.stream(list.split(","))
                .map(String::strip)
                .filter(name -> !name.isEmpty())
                .map(name -> name.endsWith(".") ? name : name + ".")
                .toList();
    }
}
