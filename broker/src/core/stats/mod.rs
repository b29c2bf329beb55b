//! Counters of the broker and their rates, as `brokerStatus` shows them.
//!
//! Counting is one relaxed addition. A sample a second turns counts into rates over 10, 60 and 600 seconds, and notes
//! the totals at midnight.
//!
//! What is stored in each topic is counted by the store under its lock; what each group gets of each topic in
//! [`readers`]. A sample every ten seconds turns both into histories of a minute, an hour and a day ([`history`]). Rules:
//! `remoting.md` section 9, code 315.

pub mod history;
pub mod put_times;
pub mod readers;
pub mod topics;

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

use self::{
    history::{Due, History as Windows, Summary},
    put_times::PutTimes,
    readers::{Readers, Reading},
    topics::Writers,
};
use super::{Core, names};
use crate::group::stopped;

const WINDOWS_MS: [i64; 3] = [10_000, 60_000, 600_000];
const SAMPLES: usize = 601;
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
const DAY_MS: i64 = 86_400_000;
/// Samples of a second between two samples of all topics and groups.
const SECONDS_PER_TICK: u64 = 10;

/// A span of time that is looked back upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// The last minute, known in steps of ten seconds.
    Minute,
    /// The last hour, known in steps of ten minutes.
    Hour,
    /// The last day, known in steps of an hour.
    Day,
}

impl Span {
    const fn interval_ms(self) -> i64 {
        match self {
            Self::Minute => 10_000,
            Self::Hour => 600_000,
            Self::Day => 3_600_000,
        }
    }

    const fn samples(self) -> usize {
        match self {
            Self::Minute | Self::Hour => 7,
            Self::Day => 25,
        }
    }
}

/// What is counted of the broker as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overall {
    /// Messages stored.
    Put,
    /// The same without the broker's own topics.
    PutByUsers,
    /// Messages given to consumers.
    Got,
    /// The same without the broker's own topics.
    GotByUsers,
    /// Messages acknowledged one by one.
    Acknowledged,
    /// Leases opened or extended.
    Leases,
}

const OVERALL: usize = 6;

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
pub struct Stats {
    found: AtomicU64,
    missed: AtomicU64,
    transferred: AtomicU64,
    transferred_to_users: AtomicU64,
    put_by_users: AtomicU64,
    acknowledged: AtomicU64,
    leases: AtomicU64,
    history: Mutex<History>,
    overall: Mutex<Windows<OVERALL>>,
    /// By topic and group.
    pub readers: Readers,
    /// By topic.
    pub writers: Writers,
    /// How long storing takes.
    pub put_times: PutTimes,
    /// Topics with a history at most.
    max_items: usize,
}

impl Default for Stats {
    fn default() -> Self {
        Self::with_limit(10_000)
    }
}

impl Stats {
    /// Nothing was counted yet. `max_items`: topics, and pairs of a topic and a group, with a history of their own.
    pub fn with_limit(max_items: usize) -> Self {
        Self {
            found: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            transferred: AtomicU64::new(0),
            transferred_to_users: AtomicU64::new(0),
            put_by_users: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            leases: AtomicU64::new(0),
            history: Mutex::default(),
            overall: Mutex::default(),
            readers: Readers::with_limit(max_items),
            writers: Writers::default(),
            put_times: PutTimes::default(),
            max_items,
        }
    }

    /// Counts a pull or pop of a group that returned `messages` of a topic, `bytes` long as stored.
    pub fn given(&self, topic: &str, group: &str, messages: u32, bytes: usize) {
        if messages == 0 {
            self.missed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let (messages, bytes) = (u64::from(messages), bytes as u64);
        self.found.fetch_add(1, Ordering::Relaxed);
        self.transferred.fetch_add(messages, Ordering::Relaxed);
        if !names::is_system_topic(topic) {
            self.transferred_to_users.fetch_add(messages, Ordering::Relaxed);
        }
        self.readers.count(topic, group, |reader| {
            reader.add(Reading::Requests, 1);
            reader.add(Reading::Messages, messages);
            reader.add(Reading::Bytes, bytes);
        });
    }

    /// Counts a message that a group sent back; `topic` is where it first came from.
    pub fn sent_back(&self, topic: &str, group: &str) {
        self.readers.count(topic, group, |reader| reader.add(Reading::SentBack, 1));
    }

    /// Counts a message that a group gave up; `topic` is where it first came from.
    pub fn buried(&self, topic: &str, group: &str) {
        self.readers.count(topic, group, |reader| reader.add(Reading::DeadLetters, 1));
    }

    /// Counts messages that a group acknowledged one by one.
    pub fn acknowledged(&self, topic: &str, group: &str, messages: u64) {
        self.acknowledged.fetch_add(messages, Ordering::Relaxed);
        self.readers.count(topic, group, |reader| reader.add(Reading::Acknowledged, messages));
    }

    /// Counts a lease that was opened or extended for a group.
    pub fn leased(&self, topic: &str, group: &str) {
        self.leases.fetch_add(1, Ordering::Relaxed);
        self.readers.count(topic, group, |reader| reader.add(Reading::Leases, 1));
    }

    /// What the broker as a whole did within a span.
    pub fn overall(&self, what: Overall, span: Span) -> Summary {
        self.overall.lock().summary(span, what as usize)
    }

    /// Whether that was ever counted; `put` is what the store counted.
    pub fn counted(&self, what: Overall, put: u64) -> bool {
        self.totals(put).get(what as usize).is_some_and(|&count| count > 0)
    }

    fn totals(&self, put: u64) -> [u64; OVERALL] {
        let counters =
            [&self.put_by_users, &self.transferred, &self.transferred_to_users, &self.acknowledged, &self.leases];
        let mut totals = [put; OVERALL];
        for (total, counter) in totals.iter_mut().skip(1).zip(counters) {
            *total = counter.load(Ordering::Relaxed);
        }
        totals
    }

    /// Takes the sample of tick number `tick` of all topics and groups.
    pub(crate) fn sample_all(&self, core: &Core, now_ms: i64, tick: u64) {
        let due = Due::at(tick);
        let mut totals = core.store.traffic();
        totals.retain(|(topic, _)| core.topics.get(topic).is_some());
        if totals.len() > self.max_items {
            totals.sort_unstable(); // so that it is the same ones each time
            totals.truncate(self.max_items);
        }
        let grown = self.writers.sample(now_ms, due, &totals);
        self.put_by_users.fetch_add(grown, Ordering::Relaxed);
        self.readers
            .sample(now_ms, due, |topic, group| core.topics.get(topic).is_some() && core.groups.get(group).is_some());
        self.overall.lock().sample(now_ms, due, self.totals(core.store.stats().appended_records));
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

/// Takes a sample every second, and one of all topics and groups every ten.
pub async fn keep_sampling(core: Arc<Core>, mut stop: watch::Receiver<bool>) {
    for second in 0_u64.. {
        tokio::select! {
            () = core.clock.sleep(SAMPLE_INTERVAL) => {}
            () = stopped(&mut stop) => return,
        }
        let now_ms = core.clock.now_ms();
        let now = jiff::Timestamp::from_millisecond(now_ms).unwrap_or_default();
        let utc_offset_ms = i64::from(jiff::tz::TimeZone::system().to_offset(now).seconds()) * 1000;
        core.stats.sample(now_ms, utc_offset_ms, core.store.stats().appended_records);
        if second % 60 == 59 {
            core.stats.put_times.end_minute();
        }
        if second.is_multiple_of(SECONDS_PER_TICK) {
            core.stats.sample_all(&core, now_ms, second / SECONDS_PER_TICK);
        }
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
