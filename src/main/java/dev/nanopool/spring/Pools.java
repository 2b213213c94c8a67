package dev.nanopool.spring;

import dev.nanopool.NanoDataSource;
import dev.nanopool.Pool;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;
import org.springframework.beans.factory.config.BeanPostProcessor;
import org.springframework.boot.context.properties.bind.Bindable;
import org.springframework.boot.context.properties.bind.Binder;
import org.springframework.boot.context.properties.source.ConfigurationProperty;
import org.springframework.boot.context.properties.source.ConfigurationPropertyName;
import org.springframework.boot.context.properties.source.ConfigurationPropertySources;
import org.springframework.core.PriorityOrdered;
import org.springframework.core.env.Environment;

/**
 * The pools among the beans. A {@link NanoDataSource} starts as soon as Spring has made it, so that a bad property or a database
 * that is down stops the start of the application with a message of its own, before a library meets it. The bean {@code
 * dataSource}, which is Spring Boot's own one as a rule, first gets the properties below {@code spring.datasource.nanopool}.
 */
final class Pools implements BeanPostProcessor, PriorityOrdered {
    private static final Logger LOGGER = System.getLogger("dev.nanopool");
    private static final String BOOT = "spring.datasource";
    private static final String OWN = "spring.datasource.nanopool";
    private static final String HIKARI = "spring.datasource.hikari";

    /** Properties below {@link #OWN} that are no settings of the pool. */
    static final List<String> SWITCHES = List.of("take-over-hikari", "hikari-metrics");

    private final Environment environment;
    private final ReentrantLock lock = new ReentrantLock(); // guards both lists
    private final List<Pool> started = new ArrayList<>();
    private final List<Consumer<Pool>> listeners = new ArrayList<>();

    Pools(Environment environment) {
        this.environment = environment;
    }

    /** Calls the listener for each pool that has started or will start. */
    void onStart(Consumer<Pool> listener) {
        lock.lock();
        try {
            listeners.add(listener);
            started().forEach(listener);
        } finally {
            lock.unlock();
        }
    }

    /** The pools that have started and are not closed. */
    List<Pool> started() {
        lock.lock();
        try {
            started.removeIf(Pool::isClosed);
            return List.copyOf(started);
        } finally {
            lock.unlock();
        }
    }

    private void add(Pool pool) {
        lock.lock();
        try {
            started.add(pool);
            listeners.forEach(listener -> listener.accept(pool));
        } finally {
            lock.unlock();
        }
    }

    /** After the properties that the bean's own {@code @ConfigurationProperties} bind. */
    @Override
    public int getOrder() {
        return LOWEST_PRECEDENCE;
    }

    @Override
    public Object postProcessBeforeInitialization(Object bean, String beanName) {
        if (bean instanceof Pool pool) add(pool);
        if (bean instanceof NanoDataSource dataSource) {
            boolean isBoots = beanName.equals("dataSource") || beanName.equals("scopedTarget.dataSource");
            add(start(dataSource, isBoots));
        }
        return bean;
    }

    private Pool start(NanoDataSource dataSource, boolean isBoots) {
        Map<String, String> own = isBoots ? below(OWN) : Map.of();
        Map<String, String> hikari = isBoots && isOn("take-over-hikari", true) ? below(HIKARI) : Map.of();
        try {
            if (!hikari.isEmpty()) takeOver(dataSource, hikari);
            dataSource.configure(own);
            String name = environment.getProperty(BOOT + ".name");
            if (isBoots && name != null && dataSource.getPoolName() == null) dataSource.setPoolName(name);
            return dataSource.unwrap(Pool.class);
        } catch (IllegalArgumentException e) {
            throw new StartFailure(named(String.valueOf(e.getMessage()), own, hikari), e);
        } catch (SQLException e) {
            throw new StartFailure(dataSource.getPoolName(), e);
        }
    }

    private void takeOver(NanoDataSource dataSource, Map<String, String> hikari) {
        var known = new TreeMap<>(hikari);
        var unknown = new TreeSet<>(hikari.keySet());
        unknown.removeIf(NanoDataSource::isProperty);
        known.keySet().removeAll(unknown);
        dataSource.configure(known);
        LOGGER.log(Level.INFO, "nanopool takes over from " + HIKARI + ": " + String.join(", ", known.keySet()));
        if (unknown.isEmpty()) return;
        LOGGER.log(Level.WARNING, "nanopool does not know, below " + HIKARI + ": " + String.join(", ", unknown));
    }

    boolean isOn(String name, boolean byDefault) {
        return Binder.get(environment).bind(OWN + "." + name, Boolean.class).orElse(byDefault);
    }

    /** The properties below a prefix, without the switches. Where an environment variable has an underscore, its name has a dot. */
    private Map<String, String> below(String prefix) {
        Map<String, String> found = new TreeMap<>();
        Binder.get(environment)
                .bind(prefix, Bindable.mapOf(String.class, String.class))
                .orElse(Map.of())
                .forEach((name, value) -> {
                    String dashed = name.replace('.', '-');
                    boolean isVariable = !NanoDataSource.isProperty(name) && NanoDataSource.isProperty(dashed);
                    found.put(isVariable ? dashed : name, value);
                });
        found.keySet()
                .removeIf(name -> SWITCHES.stream().anyMatch(each -> plain(each).equals(plain(name))));
        return found;
    }

    private static String plain(String name) {
        return name.replaceAll("[-_.]", "").toLowerCase(Locale.ROOT);
    }

    /** The message, with the whole name of the property with which it begins, and the place where the property stands. */
    private String named(String message, Map<String, String> own, Map<String, String> hikari) {
        int end = message.indexOf(':');
        String name = message.substring(0, Math.max(0, end)).strip();
        String prefix = own.containsKey(name) ? OWN : hikari.containsKey(name) ? HIKARI : BOOT;
        String whole = prefix + "." + name;
        if (!prefix.equals(BOOT)) return prefix + "." + message + origin(whole);
        boolean isBoots = List.of("url", "username", "password").contains(name);
        return isBoots ? whole + message.substring(end) + origin(whole) : message;
    }

    private String origin(String name) {
        ConfigurationPropertyName key = ConfigurationPropertyName.adapt(name, '.');
        for (var source : ConfigurationPropertySources.get(environment)) {
            ConfigurationProperty property = source.getConfigurationProperty(key);
            if (property != null && property.getOrigin() != null) return " (" + property.getOrigin() + ")";
        }
        return "";
    }
}
