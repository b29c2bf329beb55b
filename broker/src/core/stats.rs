//! Counters of the broker and their rates, as `brokerStatus` shows them.
//!
//! Counting is one relaxed addition. A sample a second turns counts into rates over 10, 60 and 600 seconds, and notes
//! the totals at midnight.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::Core;
use crate::group::stopped;

const WINDOWS_MS: [i64; 3] = [10_000, 60_000, 600_000];
const SAMPLES: usize = 601;
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
const DAY_MS: i64 = 86_400_000;

/// What is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages stored.
    pub put: u64,
    /// Pulls that found messages.
    pub found: u64,
    /// Pulls that found none.
    pub missed: u64,
    /// Messages given to consumers.
    pub transferred: u64,
}

/// Totals at the start of days, as Apache reports them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mornings {
    /// At the start of yesterday.
    pub yesterday: Counts,
    /// At the start of today.
    pub today: Counts,
}

#[derive(Default)]
struct History {
    samples: VecDeque<(i64, Counts)>,
    mornings: Mornings,
    day: i64,
}

/// The broker's counters.
#[derive(Default)]
pub struct Stats {
    found: AtomicU64,
    missed: AtomicU64,
    transferred: AtomicU64,
    history: Mutex<History>,
}

impl Stats {
    /// Counts a pull that returned `messages`.
    pub fn pulled(&self, messages: u32) {
        if messages == 0 {
            self.missed.fetch_add(1, Ordering::Relaxed);
        } else {
            self.found.fetch_add(1, Ordering::Relaxed);
            self.transferred.fetch_add(u64::from(messages), Ordering::Relaxed);
        }
    }

    /// Counts so far; `put` is what the store counted.
    pub fn counts(&self, put: u64) -> Counts {
        Counts {
            put,
            found: self.found.load(Ordering::Relaxed),
            missed: self.missed.load(Ordering::Relaxed),
            transferred: self.transferred.load(Ordering::Relaxed),
        }
    }

    /// Takes the sample of this second. `utc_offset_ms` says where midnight is.
    pub fn sample(&self, now_ms: i64, utc_offset_ms: i64, put: u64) {
        let counts = self.counts(put);
        let mut history = self.history.lock();
        let day = (now_ms + utc_offset_ms).div_euclid(DAY_MS);
        if day != history.day {
            let yesterday = if history.day == 0 { counts } else { history.mornings.today };
            history.mornings = Mornings { yesterday, today: counts };
            history.day = day;
        }
        history.samples.push_back((now_ms, counts));
        if history.samples.len() > SAMPLES {
            history.samples.pop_front();
        }
    }

    /// Totals at the start of today and yesterday.
    pub fn mornings(&self) -> Mornings {
        self.history.lock().mornings
    }

    /// Rates over 10, 60 and 600 seconds, separated by blanks; empty where the broker has not run that long.
    pub fn rates(&self, of: impl Fn(&Counts) -> u64) -> String {
        let history = self.history.lock();
        let Some((now, last)) = history.samples.back() else { return String::from("  ") };
        let mut text = String::new();
        for (at, window) in WINDOWS_MS.iter().enumerate() {
            if at > 0 {
                text.push(' ');
            }
            let start = history.samples.iter().rev().find(|(time, _)| now - time >= *window);
            if let Some((time, counts)) = start {
                let rate = of(last).saturating_sub(of(counts)) as f64 * 1000.0 / (now - time) as f64;
                let _ = write!(text, "{rate:?}"); // writing to a String cannot fail
            }
        }
        text
    }
}

/// Takes a sample every second.
pub async fn keep_sampling(core: Arc<Core>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = core.clock.sleep(SAMPLE_INTERVAL) => {}
            () = stopped(&mut stop) => return,
        }
        let now_ms = core.clock.now_ms();
        let now = jiff::Timestamp::from_millisecond(now_ms).unwrap_or_default();
        let utc_offset_ms = i64::from(jiff::tz::TimeZone::system().to_offset(now).seconds()) * 1000;
        core.stats.sample(now_ms, utc_offset_ms, core.store.stats().appended_records);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_shown_once_its_window_has_passed() {
        let stats = Stats::default();
        for second in 0..=60_u64 {
            stats.sample(second as i64 * 1000, 0, second * 5);
        }
        assert_eq!(stats.rates(|counts| counts.put), "5.0 5.0 ");
    }

    #[test]
    fn totals_of_the_morning_move_on_at_midnight() {
        let stats = Stats::default();
        stats.sample(DAY_MS, 0, 10);
        stats.sample(2 * DAY_MS, 0, 30);
        stats.sample(2 * DAY_MS + 1, 0, 50);
        let mornings = stats.mornings();
        assert_eq!((mornings.yesterday.put, mornings.today.put), (10, 30));
    }
}
