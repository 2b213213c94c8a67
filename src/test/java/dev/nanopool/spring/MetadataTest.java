package dev.nanopool.spring;

import static org.assertj.core.api.Assertions.assertThat;

import dev.nanopool.NanoDataSource;
import java.beans.Introspector;
import java.beans.PropertyDescriptor;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.springframework.boot.json.JsonParserFactory;

/** What an editor offers below {@code spring.datasource.nanopool} is what the bean has. */
class MetadataTest {
    private static final String PREFIX = "spring.datasource.nanopool.";

    /** What text cannot give, or what is another name. */
    private static final List<String> HIDDEN = List.of("credentials", "listener", "url", "loginTimeout", "logWriter");

    private static final Map<Class<?>, String> TYPES = Map.of(
            int.class, Integer.class.getName(),
            boolean.class, Boolean.class.getName(),
            long.class, Duration.class.getName(),
            java.util.Properties.class, "java.util.Map<java.lang.String,java.lang.String>",
            Map.class, "java.util.Map<java.lang.String,java.lang.String>");

    private static Map<String, Map<?, ?>> offered() throws Exception {
        try (InputStream file =
                NanoDataSource.class.getResourceAsStream("/META-INF/spring-configuration-metadata.json")) {
            String text = new String(Objects.requireNonNull(file).readAllBytes(), StandardCharsets.UTF_8);
            var all = (List<?>) JsonParserFactory.getJsonParser().parseMap(text).get("properties");
            Map<String, Map<?, ?>> offered = new HashMap<>();
            for (Object each : Objects.requireNonNull(all)) {
                var property = (Map<?, ?>) each;
                assertThat(String.valueOf(property.get("description"))).endsWith(".");
                assertThat(offered.put(String.valueOf(property.get("name")), property))
                        .isNull();
            }
            return offered;
        }
    }

    private static String dashed(String name) {
        return name.replaceAll("(\\p{Upper})", "-$1").toLowerCase(java.util.Locale.ROOT);
    }

    @Test
    void metadataMustHaveTheBeansProperties() throws Exception {
        Map<String, Map<?, ?>> offered = offered();
        Map<String, PropertyDescriptor> properties = Arrays.stream(
                        Introspector.getBeanInfo(NanoDataSource.class).getPropertyDescriptors())
                .filter(property -> property.getWriteMethod() != null && !HIDDEN.contains(property.getName()))
                .collect(Collectors.toMap(property -> PREFIX + dashed(property.getName()), property -> property));
        assertThat(properties).hasSizeGreaterThan(20);
        for (String each : Pools.SWITCHES) {
            assertThat(Objects.requireNonNull(offered.remove(PREFIX + each)).get("type"))
                    .isEqualTo(Boolean.class.getName());
        }
        assertThat(offered.keySet()).containsExactlyInAnyOrderElementsOf(properties.keySet());
        for (var entry : properties.entrySet()) {
            Map<?, ?> property = Objects.requireNonNull(offered.get(entry.getKey()));
            Class<?> type = entry.getValue().getPropertyType();
            assertThat(property.get("type")).as(entry.getKey()).isEqualTo(TYPES.getOrDefault(type, type.getName()));
            var getter = entry.getValue().getReadMethod();
            var bean = new NanoDataSource();
            Object before = getter.invoke(bean);
            Object byDefault = property.get("defaultValue");
            if (byDefault == null) {
                assertThat(before).as(entry.getKey()).isIn(null, Map.of());
                continue;
            }
            String name = entry.getKey().substring(PREFIX.length());
            bean.configure(Map.of(name, byDefault instanceof Number n ? "" + n.longValue() : byDefault.toString()));
            assertThat(getter.invoke(bean)).as(entry.getKey()).isEqualTo(before);
        }
    }
}
