package org.tenonmq.benches;

import java.util.HashMap;
import java.util.Map;

/** Arguments in pairs, such as {@code --threads 64}. */
final class Options {
    private final Map<String, String> given = new HashMap<>();

    Options(String[] arguments) {
        for (int at = 0; at < arguments.length; at += 2) {
            if (!arguments[at].startsWith("--") || at + 1 == arguments.length) {
                throw new IllegalArgumentException("not understood: " + arguments[at]);
            }
            given.put(arguments[at].substring(2), arguments[at + 1]);
        }
    }

    String text(String name, String otherwise) {
        return given.getOrDefault(name, otherwise);
    }

    int number(String name, int otherwise) {
        return Integer.parseInt(text(name, Integer.toString(otherwise)));
    }
}
