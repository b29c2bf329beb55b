package org.tenonmq.official;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.function.Supplier;

/** Waiting for what a broker does in its own time. */
final class Await {
    /** Longest wait for anything; above every period of client and broker that a test depends on. */
    static final long LIMIT_MS = 40_000;

    private Await() {
    }

    interface Condition {
        boolean holds() throws Exception;
    }

    static void until(String what, Condition condition) throws Exception {
        until(() -> what, condition);
    }

    static void until(Supplier<String> what, Condition condition) throws Exception {
        within(LIMIT_MS, what, condition);
    }

    static void within(long millis, Supplier<String> what, Condition condition) throws Exception {
        long end = System.nanoTime() + millis * 1_000_000;
        while (!condition.holds()) {
            if (System.nanoTime() > end) {
                throw new AssertionError("still waiting for " + what.get());
            }
            Thread.sleep(20);
        }
    }

    /** Waits for an answer other than null. */
    static <T> T answer(String what, Callable<T> ask) throws Exception {
        List<T> answer = new ArrayList<>();
        until(what, () -> {
            T given = ask.call();
            return given != null && answer.add(given);
        });
        return answer.get(0);
    }

    /** Fails if the condition stops holding within the time: for what must not happen. */
    static void stays(String what, long millis, Condition condition) throws Exception {
        long end = System.nanoTime() + millis * 1_000_000;
        while (System.nanoTime() < end) {
            if (!condition.holds()) {
                throw new AssertionError("no longer: " + what);
            }
            Thread.sleep(20);
        }
    }
}
