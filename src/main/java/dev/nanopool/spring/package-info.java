/**
 * Spring Boot 3.5 and 4 by configuration alone. Spring Boot finds these classes by the files in {@code META-INF}, so no program
 * names them. Only this package needs Spring.
 */
@NullMarked
package dev.nanopool.spring;

import org.jspecify.annotations.NullMarked;
