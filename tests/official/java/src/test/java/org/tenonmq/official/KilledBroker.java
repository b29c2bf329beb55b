package org.tenonmq.official;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.tenonmq.official.crash.BrokerProcess;

/** A broker of either make over a folder's {@code store}, always at the same address, that ends by {@code kill -9} only. */
final class KilledBroker {
    /** Beside the settings of every suite: several log files within a run, and nothing undecided is ever given up. */
    private static final List<String> SETTINGS = List.of("mappedFileSizeCommitLog=8388608", "transactionCheckMax=1000",
        "flushConsumerOffsetInterval=1000");
    private static final long START_LIMIT_S = 180;

    /** Who made the broker. */
    enum Make {
        OURS, APACHE;

        @Override
        public String toString() {
            return name().toLowerCase();
        }
    }

    private final Make make;
    private final Path folder;
    private final BrokerProcess ours;

    private KilledBroker(Make make, Path folder) throws IOException {
        this.make = make;
        this.folder = Files.createDirectories(folder);
        ours = make == Make.OURS ? new BrokerProcess(folder, SETTINGS.toArray(new String[0])) : null;
    }

    static KilledBroker start(Make make, Path folder) throws Exception {
        KilledBroker broker = new KilledBroker(make, folder);
        Runtime.getRuntime().addShutdownHook(new Thread(broker::killQuietly)); // when the run is stopped
        try {
            if (make == Make.OURS) {
                broker.ours.start(false);
            } else {
                broker.startApache();
            }
            Await.within(START_LIMIT_S * 1_000, () -> "answer of " + make, () -> Cluster.brokerNameOrNull() != null);
        } catch (Exception | Error e) {
            broker.kill();
            throw e;
        }
        return broker;
    }

    Path store() {
        return folder.resolve("store");
    }

    /** Everything it has written, in another folder, with holes left as holes. */
    void copyTo(Path other) throws Exception {
        Files.createDirectories(other);
        run(START_LIMIT_S, List.of("cp", "-a", "--sparse=always", store().toString(), other.toString()));
    }

    void kill() throws Exception {
        if (make == Make.OURS) {
            ours.kill();
            return;
        }
        for (String name : List.of("broker", "namesrv")) {
            Path pid = folder.resolve(name + ".pid");
            if (Files.exists(pid)) {
                var process = ProcessHandle.of(Long.parseLong(Files.readString(pid).trim()));
                if (process.isPresent()) {
                    process.get().destroyForcibly();
                    process.get().onExit().get(60, TimeUnit.SECONDS);
                }
                Files.delete(pid);
            }
        }
    }

    private void killQuietly() {
        try {
            kill();
        } catch (Exception e) {
            System.err.println("a broker may be left in " + folder + ": " + e);
        }
    }

    private void startApache() throws Exception {
        List<String> command = new ArrayList<>(List.of(System.getenv("KILLED_APACHE"), folder.toString(), "--namesrv-port",
            System.getenv("CRASH_NAMESRV_PORT"), "--broker-port", System.getenv("CRASH_PORT")));
        try (Stream<String> lines = Files.lines(Path.of(System.getenv("CRASH_SETTINGS")))) {
            lines.filter(line -> line.contains("=") && !line.startsWith("#")).forEach(command::add);
        }
        command.addAll(SETTINGS);
        run(START_LIMIT_S, command);
    }

    private void run(long seconds, List<String> command) throws Exception {
        Path out = folder.resolve("started");
        ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(out.toFile());
        builder.environment().put("APACHE_JAVA_OPTS", "-XX:TieredStopAtLevel=1"); // most of its time is its start
        builder.environment().put("APACHE_BROKER_HEAP", "256m");
        Process process = builder.start();
        if (!process.waitFor(seconds, TimeUnit.SECONDS) || process.exitValue() != 0) {
            process.destroyForcibly();
            throw new AssertionError(command + ": " + Files.readString(out));
        }
    }
}
