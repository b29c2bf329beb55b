//! How many timers wait, by real topic: `config/timermetrics` and GET_TIMER_METRICS (61).

use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tenonmq_protocol::body::{DataVersion, TimerCount, TimerMetrics, json};
use tenonmq_storage::{ConfigFile, FileError, Store};

use super::check::Check;

/// Name of the file below `config/`.
const FILE_NAME: &str = "timermetrics";
/// Topics without a waiting timer are forgotten beyond this number.
const TOPICS: usize = 10_000;

/// Numbers that others read while the scheduler works.
pub(super) struct Metrics {
    file: ConfigFile,
    counts: Mutex<Counts>,
    /// What `timercheck` says.
    pub(super) check: Mutex<Check>,
    /// Timers that wait.
    pub(super) pending: AtomicUsize,
    /// Next place of the queue to take in.
    pub(super) frontier: AtomicI64,
    /// When the next one is due, in milliseconds; `i64::MAX` for none.
    pub(super) next_due: AtomicI64,
    /// Timers taken in, and delivered, since the start.
    pub(super) taken_in: AtomicU64,
    pub(super) delivered: AtomicU64,
    rates: Mutex<Rates>,
}

#[derive(Default)]
struct Counts {
    topics: FxHashMap<Box<str>, TimerCount>,
    version: DataVersion,
    changed: bool,
}

#[derive(Default)]
struct Rates {
    at_ms: i64,
    taken_in: u64,
    delivered: u64,
    per_second: (f32, f32),
}

impl Metrics {
    pub(super) fn new(store: &Store) -> Self {
        Self {
            file: store.config_file(FILE_NAME),
            counts: Mutex::default(),
            check: Mutex::default(),
            pending: AtomicUsize::new(0),
            frontier: AtomicI64::new(0),
            next_due: AtomicI64::new(i64::MAX),
            taken_in: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            rates: Mutex::default(),
        }
    }

    /// Timers of a real topic came or went.
    pub(super) fn count(&self, topic: &str, change: i64, now_ms: i64) {
        let mut counts = self.counts.lock();
        let counts = &mut *counts;
        counts.changed = true;
        counts.version.counter += 1;
        counts.version.timestamp = now_ms;
        if let Some(count) = counts.topics.get_mut(topic) {
            count.count += change;
            count.time_stamp = now_ms;
            return;
        }
        if counts.topics.len() >= TOPICS {
            counts.topics.retain(|_, count| count.count != 0);
        }
        counts.topics.insert(topic.into(), TimerCount { count: change, time_stamp: now_ms });
    }

    /// Everything is taken in anew.
    pub(super) fn forget(&self) {
        self.counts.lock().topics.clear();
    }

    /// What 61 answers.
    pub(super) fn body(&self) -> TimerMetrics {
        let counts = self.counts.lock();
        let topics = counts.topics.iter().map(|(topic, count)| (topic.to_string(), count.clone()));
        TimerMetrics { data_version: counts.version, timing_count: topics.collect() }
    }

    /// Writes the file if something changed.
    ///
    /// # Errors
    /// It cannot be written; the next call tries again.
    pub(super) fn save(&self) -> Result<(), FileError> {
        if !std::mem::take(&mut self.counts.lock().changed) {
            return Ok(());
        }
        self.file.save(&json::to_vec(&self.body())).inspect_err(|_| self.counts.lock().changed = true)
    }

    /// Looks how much was done since the last look.
    pub(super) fn sample(&self, now_ms: i64) {
        let mut rates = self.rates.lock();
        let (taken_in, delivered) = (self.taken_in.load(Ordering::Relaxed), self.delivered.load(Ordering::Relaxed));
        let seconds = (now_ms - rates.at_ms).max(1) as f32 / 1000.0;
        if rates.at_ms > 0 {
            let rate = |now: u64, before: u64| (now - before) as f32 / seconds;
            rates.per_second = (rate(taken_in, rates.taken_in), rate(delivered, rates.delivered));
        }
        (rates.at_ms, rates.taken_in, rates.delivered) = (now_ms, taken_in, delivered);
    }

    /// Timers taken in and delivered per second, as of the last two looks.
    pub(super) fn rates(&self) -> (f32, f32) {
        self.rates.lock().per_second
    }
}
