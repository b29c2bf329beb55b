package org.tenonmq.official.crash;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** The broker under test with its embedded name server, on fixed ports, so that it comes back where it was. */
public final class BrokerProcess {
    private final Path binary;
    private final Path folder;
    private final int port;
    private final int namesrvPort;
    private final Path configuration;
    private final String settings;
    private Process process;
    private int starts;

    BrokerProcess(Path folder) throws IOException {
        // Asked soon, and as often as it takes: whoever was asked may be dead by then.
        this(folder, "transactionTimeOut=1000", "transactionCheckInterval=1000", "transactionCheckMax=1000");
    }

    /** With more settings than every suite's, in Apache's keys. */
    public BrokerProcess(Path folder, String... more) throws IOException {
        this.folder = Files.createDirectories(folder);
        binary = Path.of(System.getenv("CRASH_BINARY"));
        port = Integer.parseInt(System.getenv("CRASH_PORT"));
        namesrvPort = Integer.parseInt(System.getenv("CRASH_NAMESRV_PORT"));
        configuration = folder.resolve("broker.conf");
        settings = Files.readString(Path.of(System.getenv("CRASH_SETTINGS"))) + String.join("\n",
            "listenPort=" + port, "bindAddress=127.0.0.1", "brokerIP1=127.0.0.1", "brokerName=broker-a",
            "storePathRootDir=" + folder.resolve("store"), String.join("\n", more), "");
    }

    String namesrv() {
        return "127.0.0.1:" + namesrvPort;
    }

    /** Starts and waits until it serves. With {@code synchronous} flushing replies wait for the disk. */
    public void start(boolean synchronous) throws Exception {
        Files.writeString(configuration, settings + "flushDiskType=" + (synchronous ? "SYNC_FLUSH" : "ASYNC_FLUSH") + "\n");
        Path out = folder.resolve("out-" + ++starts);
        process = new ProcessBuilder(binary.toString(), "--config", configuration.toString(), "--namesrv-port",
            Integer.toString(namesrvPort)).redirectOutput(out.toFile())
            .redirectError(ProcessBuilder.Redirect.appendTo(folder.resolve("err").toFile())).start();
        CrashTest.until("broker to be ready, see " + out, () -> {
            if (!process.isAlive()) {
                throw new AssertionError("the broker ended at its start, see " + folder.resolve("err"));
            }
            return Files.readString(out).contains("\nready");
        });
    }

    /** Stops serving for a while without knowing it, as a machine that is busy with something else does. */
    void pause(long millis) throws Exception {
        signal("STOP");
        Thread.sleep(millis);
        signal("CONT");
    }

    private void signal(String name) throws Exception {
        new ProcessBuilder("kill", "-" + name, Long.toString(process.pid())).start().waitFor();
    }

    /** {@code kill -9}. */
    public void kill() throws Exception {
        if (process != null) {
            process.destroyForcibly().waitFor();
        }
    }

    /** What {@code tenonmq admin …} prints. */
    String admin(String... words) throws Exception {
        List<String> command = new ArrayList<>(List.of(binary.toString(), "admin", "--broker", "127.0.0.1:" + port));
        command.addAll(List.of(words));
        Path out = folder.resolve("admin");
        Process admin = new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(out.toFile()).start();
        if (!admin.waitFor(60, TimeUnit.SECONDS)) {
            admin.destroyForcibly();
            throw new AssertionError("no answer to " + command);
        }
        String text = Files.readString(out);
        if (admin.exitValue() != 0) {
            throw new AssertionError(command + ": " + text);
        }
        Files.writeString(folder.resolve("admin.log"), text, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
        return text;
    }
}
