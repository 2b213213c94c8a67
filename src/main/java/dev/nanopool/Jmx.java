package dev.nanopool;

import java.lang.management.ManagementFactory;
import javax.management.JMException;
import javax.management.ObjectName;

/** Shows a pool in the platform's MBean server. */
final class Jmx {
    private static final String ORDINARY = "[\\w. /-]+"; // what needs no quotes in an object name

    private Jmx() {}

    /** The module may be missing. */
    static boolean isPresent() {
        return ModuleLayer.boot()
                .findModule("java.management")
                .filter(Jmx.class.getModule()::canRead)
                .isPresent();
    }

    /** @throws JMException if another pool has the name */
    static void register(String pool, PoolMXBean bean) throws JMException {
        Object unused = ManagementFactory.getPlatformMBeanServer().registerMBean(bean, objectName(pool));
    }

    static void unregister(String pool) throws JMException {
        ManagementFactory.getPlatformMBeanServer().unregisterMBean(objectName(pool));
    }

    private static ObjectName objectName(String pool) throws JMException {
        String name = pool.matches(ORDINARY) ? pool : ObjectName.quote(pool);
        return new ObjectName("dev.nanopool:type=Pool,name=" + name);
    }
}
