package org.tenonmq.benches;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/** What the broker's process uses, from {@code /proc}; process 0 uses nothing. */
record Server(int pid) {
    /** Linux counts the CPU time of processes in these. */
    private static final long TICKS_PER_SECOND = 100;

    /** User and system time of all threads. */
    long cpuMicros() throws IOException {
        if (pid == 0) {
            return 0;
        }
        String stat = Files.readString(Path.of("/proc/" + pid + "/stat"));
        // The command's name may hold anything, so count from its end.
        String[] fields = stat.substring(stat.lastIndexOf(')') + 2).split(" ");
        return (Long.parseLong(fields[11]) + Long.parseLong(fields[12])) * 1_000_000 / TICKS_PER_SECOND;
    }

    /** Memory that belongs to no file. */
    long privateBytes() throws IOException {
        if (pid == 0) {
            return 0;
        }
        for (String line : Files.readAllLines(Path.of("/proc/" + pid + "/smaps_rollup"))) {
            if (line.startsWith("Anonymous:")) {
                return Long.parseLong(line.replaceAll("\\D", "")) * 1024;
            }
        }
        throw new IOException("smaps_rollup has no line of anonymous memory");
    }
}
