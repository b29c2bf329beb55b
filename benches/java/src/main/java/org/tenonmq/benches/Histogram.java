package org.tenonmq.benches;

import java.util.concurrent.atomic.AtomicLongArray;
import java.util.concurrent.atomic.LongAccumulator;
import java.util.concurrent.atomic.LongAdder;

/** Counts durations in microseconds, each to within a part of 64 of itself. Any thread may record. */
final class Histogram {
    private static final int PARTS = 64;

    private final AtomicLongArray counts = new AtomicLongArray(PARTS * 60);
    private final LongAdder sum = new LongAdder();
    private final LongAdder number = new LongAdder();
    private final LongAccumulator most = new LongAccumulator(Math::max, 0);

    void record(long micros) {
        long value = Math.max(micros, 0);
        counts.incrementAndGet(bucket(value));
        sum.add(value);
        number.increment();
        most.accumulate(value);
    }

    long count() {
        return number.sum();
    }

    double average() {
        return count() == 0 ? 0 : (double) sum.sum() / count();
    }

    long max() {
        return most.get();
    }

    long quantile(double share) {
        long wanted = (long) Math.ceil(share * count());
        long passed = 0;
        for (int bucket = 0; bucket < counts.length(); bucket++) {
            passed += counts.get(bucket);
            if (passed >= wanted && passed > 0) {
                return Math.min(lowest(bucket), max());
            }
        }
        return max();
    }

    /** Values below 64 have buckets of their own; from there each doubling is cut into 64 parts. */
    private static int bucket(long value) {
        if (value < PARTS) {
            return (int) value;
        }
        int doublings = Long.numberOfTrailingZeros(Long.highestOneBit(value)) - 6;
        return PARTS * (doublings + 1) + (int) ((value >> doublings) - PARTS);
    }

    private static long lowest(int bucket) {
        int doublings = bucket / PARTS - 1;
        return doublings < 0 ? bucket : (long) (bucket % PARTS + PARTS) << doublings;
    }
}
