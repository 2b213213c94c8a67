package dev.nanopool.examples;

import dev.nanopool.NanoDataSource;
import org.springframework.boot.context.properties.ConfigurationProperties;
import org.springframework.boot.jdbc.autoconfigure.DataSourceProperties;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;

/** A bean for Spring Boot, as README shows it. */
@Configuration
class SpringBootExample {
    // @start region="spring-boot"
    @Bean
    @ConfigurationProperties("nanopool")
    NanoDataSource dataSource(DataSourceProperties properties) {
        return properties
                .initializeDataSourceBuilder()
                .type(NanoDataSource.class)
                .build();
    }
    // @end
}
