package dev.nanopool.testkit;

import java.io.File;
import java.net.MalformedURLException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;

/** Loads everything once more, the pool, the tests and their libraries, with a driver of its own. Only the JDK is shared. */
public final class OwnLoader extends URLClassLoader {
    private OwnLoader(URL[] urls) {
        super(urls, ClassLoader.getPlatformClassLoader());
    }

    public static OwnLoader of(Path driver) {
        List<URL> urls = new ArrayList<>();
        try {
            urls.add(driver.toUri().toURL());
            for (String element : System.getProperty("java.class.path").split(File.pathSeparator)) {
                Path path = Path.of(element).toAbsolutePath();
                if (!path.equals(usual())) urls.add(path.toUri().toURL());
            }
        } catch (MalformedURLException e) {
            throw new IllegalStateException(e);
        }
        return new OwnLoader(urls.toArray(URL[]::new));
    }

    /** The driver of the class path. */
    public static Path usual() {
        return Links.place(org.postgresql.Driver.class);
    }

    /** The same task in this loader, made with these arguments. */
    @SuppressWarnings("unchecked")
    public <T> Callable<T> make(Class<? extends Callable<T>> task, Object... arguments)
            throws ReflectiveOperationException {
        var constructor = Class.forName(task.getName(), true, this).getDeclaredConstructors()[0];
        constructor.setAccessible(true);
        return (Callable<T>) constructor.newInstance(arguments);
    }
}
