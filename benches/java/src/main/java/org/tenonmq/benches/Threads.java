package org.tenonmq.benches;

import java.util.ArrayList;
import java.util.List;

/** Threads that do the same again and again until they are stopped. */
final class Threads {
    private final List<Thread> threads = new ArrayList<>();
    private volatile boolean stopped;

    Threads(int count, Runnable work) {
        for (int index = 0; index < count; index++) {
            Thread thread = new Thread(() -> {
                while (!stopped) {
                    work.run();
                }
            }, "load-" + index);
            thread.setDaemon(true);
            thread.start();
            threads.add(thread);
        }
    }

    void stop() throws InterruptedException {
        stopped = true;
        for (Thread thread : threads) {
            thread.join(10_000);
        }
    }
}
