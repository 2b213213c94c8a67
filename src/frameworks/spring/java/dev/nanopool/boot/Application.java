package dev.nanopool.boot;

import java.util.concurrent.atomic.AtomicInteger;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.jdbc.core.JdbcTemplate;
import org.springframework.stereotype.Service;
import org.springframework.transaction.annotation.Propagation;
import org.springframework.transaction.annotation.Transactional;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RequestParam;
import org.springframework.web.bind.annotation.RestController;

/** An application as users write it. It does not name the pool. */
@SpringBootApplication
@RestController
class Application {
    /** How many requests have slept without an error. */
    final AtomicInteger slept = new AtomicInteger();

    private final JdbcTemplate jdbc;
    private final Outer outer;

    Application(JdbcTemplate jdbc, Outer outer) {
        this.jdbc = jdbc;
        this.outer = outer;
    }

    @GetMapping("/show")
    String show(@RequestParam String parameter) {
        return jdbc.queryForObject("SELECT current_setting(?)", String.class, parameter);
    }

    @GetMapping("/sleep")
    String sleep(@RequestParam double seconds) {
        jdbc.queryForObject("SELECT pg_sleep(?)::text", String.class, seconds);
        slept.incrementAndGet();
        return Thread.currentThread().isVirtual() ? "virtual" : "platform";
    }

    @GetMapping("/transaction")
    String transaction(@RequestParam Propagation propagation, @RequestParam boolean within) {
        try {
            return within ? outer.call(propagation) : outer.callWithout(propagation);
        } catch (org.springframework.transaction.IllegalTransactionStateException e) {
            return "refused";
        }
    }

    @Service
    static class Outer {
        private final JdbcTemplate jdbc;
        private final Inner inner;

        Outer(JdbcTemplate jdbc, Inner inner) {
            this.jdbc = jdbc;
            this.inner = inner;
        }

        @Transactional
        public String call(Propagation propagation) {
            return inner.call(propagation).equals(Inner.id(jdbc)) ? "same" : "other";
        }

        public String callWithout(Propagation propagation) {
            return inner.call(propagation).equals(Inner.id(jdbc)) ? "same" : "other";
        }
    }

    @Service
    static class Inner {
        private final JdbcTemplate jdbc;
        private final Methods methods;

        Inner(JdbcTemplate jdbc, Methods methods) {
            this.jdbc = jdbc;
            this.methods = methods;
        }

        static String id(JdbcTemplate jdbc) {
            return jdbc.queryForObject("SELECT pg_current_xact_id()::text", String.class);
        }

        String call(Propagation propagation) {
            return switch (propagation) {
                case REQUIRED -> methods.required(jdbc);
                case SUPPORTS -> methods.supports(jdbc);
                case MANDATORY -> methods.mandatory(jdbc);
                case REQUIRES_NEW -> methods.requiresNew(jdbc);
                case NOT_SUPPORTED -> methods.notSupported(jdbc);
                case NEVER -> methods.never(jdbc);
                case NESTED -> methods.nested(jdbc);
            };
        }
    }

    @Service
    static class Methods {
        @Transactional(propagation = Propagation.REQUIRED)
        public String required(JdbcTemplate jdbc) {
            return Inner.id(jdbc);
        }

        @Transactional(propagation = Propagation.SUPPORTS)
        public String supports(JdbcTemplate jdbc) {
            return Inner.id(jdbc);
        }

        @Transactional(propagation = Propagation.MANDATORY)
        public String mandatory(JdbcTemplate jdbc) {
            return Inner.id(jdbc);
        }

        @Transactional(propagation = Propagation.REQUIRES_NEW)
        public String requiresNew(JdbcTemplate jdbc) {
            return Inner.id(jdbc);
        }

        @Transactional(propagation = Propagation.NOT_SUPPORTED)
        public String notSupported(JdbcTemplate jdbc) {
            return Inner.id(jdbc);
        }

        @Transactional(propagation = Propagation.NEVER)
        public String never(JdbcTemplate jdbc) {
            return Inner.id(jdbc);
        }

        @Transactional(propagation = Propagation.NESTED)
        public String nested(JdbcTemplate jdbc) {
            return Inner.id(jdbc);
        }
    }
}
