package org.tenonmq.benches;

import java.io.IOException;
import java.util.Locale;
import java.util.concurrent.atomic.LongAdder;

/** Counts what is done between {@link #begin} and {@link #end}, by any thread, and prints it. */
final class Measurement {
    private final String workload;
    private final Server server;
    private final LongAdder failures = new LongAdder();
    private final Histogram latency = new Histogram();
    private volatile boolean measuring;
    private volatile boolean said;
    private long began;
    private long nanos;
    private long cpuMicros;

    Measurement(String workload, Options options) {
        this.workload = workload;
        this.server = new Server(options.number("pid", 0));
    }

    void succeeded(long micros) {
        if (measuring) {
            latency.record(micros);
        }
    }

    /** What fails while it warms up is only said: a cold client may run into its own timeouts. */
    void failed(Throwable why) {
        if (!said) {
            said = true;
            System.err.println(workload + ": " + why.toString().lines().findFirst().orElse(""));
        }
        if (measuring) {
            failures.increment();
        }
    }

    void begin() throws IOException {
        cpuMicros = server.cpuMicros();
        began = System.nanoTime();
        measuring = true;
    }

    void end() throws IOException {
        measuring = false;
        nanos = System.nanoTime() - began;
        cpuMicros = server.cpuMicros() - cpuMicros;
    }

    /** Warms up, then measures while other threads work. */
    void window(Options options) throws IOException, InterruptedException {
        Thread.sleep(options.number("warm-up", 5) * 1000L);
        begin();
        Thread.sleep(options.number("seconds", 10) * 1000L);
        end();
    }

    /** A line for people, then one of JSON; whether anything was done. */
    boolean print() throws IOException {
        long count = latency.count();
        double rate = count * 1e9 / Math.max(nanos, 1);
        System.out.printf(Locale.ROOT, "%s: TPS %.0f, RT average %.3f ms, p50 %.3f, p99 %.3f, p99.9 %.3f, most %.3f; %d failed%n",
            workload, rate, latency.average() / 1e3, latency.quantile(0.5) / 1e3, latency.quantile(0.99) / 1e3,
            latency.quantile(0.999) / 1e3, latency.max() / 1e3, failures.sum());
        System.out.printf(Locale.ROOT, "{\"workload\":\"%s\",\"operations\":%d,\"failures\":%d,\"rate\":%.1f,"
                + "\"cpu_us_each\":%.3f,\"private_bytes\":%d,\"latency_us\":{\"average\":%.1f,\"p50\":%d,\"p99\":%d,"
                + "\"p999\":%d,\"max\":%d}}%n",
            workload, count, failures.sum(), rate, (double) cpuMicros / Math.max(count, 1), server.privateBytes(),
            latency.average(), latency.quantile(0.5), latency.quantile(0.99), latency.quantile(0.999), latency.max());
        return count > 0;
    }
}
