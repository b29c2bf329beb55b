package org.tenonmq.official;

import java.io.BufferedWriter;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;

/**
 * What a broker has acknowledged, kept by those who asked: in memory for the comparison, and line by line in a file for whoever
 * looks into a failure. Keys name their kind, a number, and where needed what is to become of the message.
 */
final class KilledLedger implements AutoCloseable {
    /**
     * An acknowledged send.
     *
     * @param topic where it lies at once; null when it first waits somewhere else
     * @param uniqueKey the client's id of the message; empty when it is not known
     * @param sentAt before it was sent, in milliseconds
     * @param delay after which it is due, in milliseconds
     */
    record Sent(String topic, int queue, long offset, String uniqueKey, long sentAt, long delay) {
    }

    final Map<String, Sent> sent = new ConcurrentHashMap<>();
    /** How often each message was consumed by the push group. */
    final Map<String, AtomicInteger> consumed = new ConcurrentHashMap<>();
    /** Of popped messages, those whose acknowledgement was taken. */
    final Set<String> popAcknowledged = ConcurrentHashMap.newKeySet();
    /** When the last lease of a popped message ends that was not acknowledged, in milliseconds. */
    final Map<String, Long> leases = new ConcurrentHashMap<>();
    /** By queue, the highest offset that was to be committed, and the highest that was. */
    final Map<Integer, Long> offsetsAsked = new ConcurrentHashMap<>();
    final Map<Integer, Long> offsetsKept = new ConcurrentHashMap<>();
    final Map<String, AtomicInteger> checks = new ConcurrentHashMap<>();
    final AtomicLong lastCheck = new AtomicLong();
    private final BufferedWriter file;

    KilledLedger(Path file) throws IOException {
        this.file = Files.newBufferedWriter(file);
    }

    void sent(String key, Sent what) {
        sent.put(key, what);
        note("sent " + key + " " + what);
    }

    void consumed(String key) {
        count(consumed, key);
        note("consumed " + key);
    }

    void popped(String key, long leaseEnds) {
        leases.put(key, leaseEnds);
        note("popped " + key + " until " + leaseEnds);
    }

    void popAcknowledged(String key) {
        popAcknowledged.add(key);
        leases.remove(key);
        note("acknowledged " + key);
    }

    void checked(String key) {
        count(checks, key);
        lastCheck.set(System.currentTimeMillis());
        note("checked " + key);
    }

    /** One line; whole on disk before the next thing is done. */
    synchronized void note(String line) {
        try {
            file.write(System.currentTimeMillis() + " " + line + "\n");
            file.flush();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** How many messages of each kind were acknowledged. */
    Map<String, Integer> kinds() {
        Map<String, Integer> kinds = new TreeMap<>();
        sent.keySet().forEach(key -> kinds.merge(kind(key), 1, Integer::sum));
        return kinds;
    }

    static String kind(String key) {
        return key.substring(0, key.indexOf('-'));
    }

    static int number(String key) {
        return Integer.parseInt(key.split("-")[1]);
    }

    static Map<String, Integer> counts(Map<String, AtomicInteger> counters) {
        Map<String, Integer> counts = new HashMap<>();
        counters.forEach((key, count) -> counts.put(key, count.get()));
        return counts;
    }

    private static void count(Map<String, AtomicInteger> counters, String key) {
        counters.computeIfAbsent(key, k -> new AtomicInteger()).incrementAndGet();
    }

    @Override
    public void close() throws IOException {
        file.close();
    }
}
