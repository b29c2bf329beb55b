package org.tenonmq.official.crash;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;

/**
 * What the applications know, in files: the stand-in for their database. A decision is one file with the transaction's
 * key as its name. It appears whole and synced or not at all, and the first one stays: whoever comes later, in any
 * process, is told that one.
 */
final class Books {
    static final String COMMIT = "commit";
    static final String ROLLBACK = "rollback";

    private final Path decisions;
    private final Path checks;

    Books(Path folder) throws IOException {
        decisions = Files.createDirectories(folder.resolve("decisions"));
        checks = Files.createDirectories(folder.resolve("checks"));
    }

    /** Decides, unless somebody has; the decision that stands. */
    String decide(String key, String decision, String by) throws IOException {
        Path file = decisions.resolve(key);
        Path draft = decisions.resolve(key + "." + by + "." + Thread.currentThread().getId() + ".draft");
        try (FileChannel channel = FileChannel.open(draft, StandardOpenOption.CREATE, StandardOpenOption.WRITE)) {
            channel.write(ByteBuffer.wrap(decision.getBytes(UTF_8)));
            channel.force(true);
        }
        try {
            Files.createLink(file, draft);
        } catch (FileAlreadyExistsException e) {
            // decided meanwhile
        }
        Files.delete(draft);
        return Files.readString(file);
    }

    /** The decision on a transaction; null when there is none. */
    String decision(String key) throws IOException {
        Path file = decisions.resolve(key);
        return Files.exists(file) ? Files.readString(file) : null;
    }

    /** Every decision, by key. */
    Map<String, String> decided() throws IOException {
        Map<String, String> all = new HashMap<>();
        try (Stream<Path> files = Files.list(decisions)) {
            for (Path file : files.filter(file -> !file.toString().endsWith(".draft")).toList()) {
                all.put(file.getFileName().toString(), Files.readString(file));
            }
        }
        return all;
    }

    /** How many decisions there are. */
    long count() throws IOException {
        try (Stream<Path> files = Files.list(decisions)) {
            return files.count();
        }
    }

    /** A check came. One write, so that a kill leaves whole lines. */
    void checked(String by, Check check) throws IOException {
        String line = check.at + " " + check.key + " " + check.halfLogOffset + " " + check.answer + "\n";
        Files.writeString(checks.resolve(by), line, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
    }

    /** Every check that came to any process. */
    List<Check> checks() throws IOException {
        List<Check> all = new ArrayList<>();
        try (Stream<Path> files = Files.list(checks)) {
            for (Path file : files.toList()) {
                for (String line : Files.readAllLines(file)) {
                    String[] words = line.split(" ");
                    all.add(new Check(Long.parseLong(words[0]), words[1], Long.parseLong(words[2]), words[3]));
                }
            }
        }
        return all;
    }

    /**
     * One question of the broker.
     *
     * @param at when it came, in milliseconds
     * @param key the transaction
     * @param halfLogOffset where the half message that was asked about lies in the log
     * @param answer what was answered
     */
    record Check(long at, String key, long halfLogOffset, String answer) {
    }
}
