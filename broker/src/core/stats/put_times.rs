//! How long storing a message takes, as `brokerStatus` and the exporter show it.
//!
//! Of the messages that a thread stores one in sixteen is timed, from the first on; the others pay for a counter of the
//! thread. Distribution and percentiles are those of the last whole minute.

use std::{
    cell::Cell,
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// One message in so many is timed.
const TIMED_OF: u32 = 16;
/// Names of the ranges that Apache shows, and the milliseconds at which each ends.
const RANGES: [(&str, u64); 13] = [
    ("<=0ms", 1),
    ("0~10ms", 10),
    ("10~50ms", 50),
    ("50~100ms", 100),
    ("100~200ms", 200),
    ("200~500ms", 500),
    ("500ms~1s", 1_000),
    ("1~2s", 2_000),
    ("2~3s", 3_000),
    ("3~4s", 4_000),
    ("4~5s", 5_000),
    ("5~10s", 10_000),
    ("10s~", u64::MAX),
];
/// Steps in which microseconds double; the last one holds all that is longer.
const STEPS: usize = 32;

/// How often a message took how long.
#[derive(Debug, Clone, Copy, Default)]
struct Minute {
    ranges: [u64; RANGES.len()],
    steps: [u64; STEPS],
}

/// What was timed.
#[derive(Default)]
pub struct PutTimes {
    ranges: [AtomicU64; RANGES.len()],
    steps: [AtomicU64; STEPS],
    max_ms: AtomicU64,
    last: Mutex<Minute>,
}

thread_local! {
    static STORED: Cell<u32> = const { Cell::new(0) };
}

impl PutTimes {
    /// Runs `put`, and times it if its turn has come.
    #[inline]
    pub fn timed<T>(&self, put: impl FnOnce() -> T) -> T {
        let turn = STORED.replace(STORED.get().wrapping_add(1));
        if !turn.is_multiple_of(TIMED_OF) {
            return put();
        }
        let began = Instant::now();
        let result = put();
        self.note(began.elapsed());
        result
    }

    fn note(&self, took: Duration) {
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let range = RANGES.iter().position(|(_, end)| ms < *end).unwrap_or(RANGES.len() - 1);
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let step = (u64::BITS - us.leading_zeros()) as usize;
        for count in [self.ranges.get(range), self.steps.get(step.min(STEPS - 1))].into_iter().flatten() {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.max_ms.fetch_max(ms, Ordering::Relaxed);
    }

    /// A minute is over.
    pub fn end_minute(&self) {
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        *self.last.lock() = Minute { ranges: self.ranges.each_ref().map(take), steps: self.steps.each_ref().map(take) };
    }

    /// The longest since the start, in milliseconds.
    pub fn max_ms(&self) -> u64 {
        self.max_ms.load(Ordering::Relaxed)
    }

    /// How many of the last minute's took how long: `[<=0ms]:4 [0~10ms]:3 …`.
    pub fn distribution(&self) -> String {
        let last = *self.last.lock();
        let mut text = String::new();
        for ((name, _), count) in RANGES.iter().zip(last.ranges) {
            let _ = write!(text, "[{name}]:{count} "); // writing to a String cannot fail
        }
        text
    }

    /// Milliseconds below which that share of the last minute's took: `0.86`.
    pub fn percentile(&self, share: f64) -> String {
        let steps = self.last.lock().steps;
        let wanted = (steps.iter().sum::<u64>() as f64 * share).floor();
        let mut passed = 0.0;
        let mut us = 0.0;
        for (step, count) in (0_u32..).zip(steps.map(|count| count as f64)) {
            let (start, end) = (if step == 0 { 0.0 } else { 2_f64.powi(step as i32 - 1) }, 2_f64.powi(step as i32));
            if count > 0.0 {
                us = start + (end - start) * ((wanted - passed) / count).clamp(0.0, 1.0);
            }
            passed += count;
            if passed > wanted {
                break;
            }
        }
        format!("{:.2}", us / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_whole_minute_is_shown_in_apaches_ranges() {
        let times = PutTimes::default();
        assert!(times.distribution().starts_with("[<=0ms]:0 [0~10ms]:0 "));
        assert_eq!(times.percentile(0.99), "0.00");
        for (count, us) in [(98, 3), (1, 1_000), (1, 10_001_000)] {
            (0..count).for_each(|_| times.note(Duration::from_micros(us)));
        }
        assert!(times.distribution().starts_with("[<=0ms]:0"), "the minute is not over");
        times.end_minute();
        assert!(times.distribution().starts_with("[<=0ms]:98 [0~10ms]:1 [10~50ms]:0 "));
        assert!(times.distribution().ends_with("[5~10s]:0 [10s~]:1 "));
        assert_eq!(times.max_ms(), 10_001);
        assert_eq!(times.percentile(0.5), "0.00");
        assert!(times.percentile(0.999).parse::<f64>().unwrap() > 8_000.0);
        times.end_minute();
        assert_eq!((times.percentile(0.999), times.max_ms()), ("0.00".to_owned(), 10_001));
    }

    #[test]
    fn the_first_message_of_a_thread_is_timed() {
        let times = PutTimes::default();
        assert_eq!(std::thread::scope(|scope| scope.spawn(|| times.timed(|| 5)).join()).unwrap(), 5);
        times.end_minute();
        assert!(times.distribution().contains(":1 "));
    }
}
