//! What each group got of each topic.

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

use super::{
    Span,
    history::{Due, History, Summary},
};
use crate::core::snapshot_map::SnapshotMap;

/// What is counted of a group's reading of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Pulls and pops that found messages.
    Requests,
    /// Messages given to the group.
    Messages,
    /// Their bytes as stored.
    Bytes,
    /// Messages that it sent back.
    SentBack,
    /// Messages that it acknowledged one by one.
    Acknowledged,
    /// Leases that were opened or extended for it.
    Leases,
    /// Messages that it gave up.
    DeadLetters,
}

const KINDS: usize = 7;

/// Counters of one group in one topic. Counting is a relaxed addition.
#[derive(Debug, Default)]
pub struct Reader {
    counts: [AtomicU64; KINDS],
    history: Mutex<Option<Box<History<KINDS>>>>,
}

impl Reader {
    /// Counts `count` more.
    pub fn add(&self, what: Reading, count: u64) {
        if let Some(counter) = self.counts.get(what as usize) {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// What was counted since the start.
    pub fn total(&self, what: Reading) -> u64 {
        self.counts.get(what as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    fn counts(&self) -> [u64; KINDS] {
        std::array::from_fn(|at| self.counts.get(at).map_or(0, |counter| counter.load(Ordering::Relaxed)))
    }

    fn sample(&self, now_ms: i64, due: Due) {
        self.history.lock().get_or_insert_default().sample(now_ms, due, self.counts());
    }

    /// What was counted within a span; `None` when it was never counted.
    pub fn summary(&self, what: Reading, span: Span) -> Option<Summary> {
        let counted = self.counts.get(what as usize).is_some_and(|counter| counter.load(Ordering::Relaxed) > 0);
        let history = self.history.lock();
        counted.then(|| history.as_ref().map_or_else(Summary::default, |history| history.summary(span, what as usize)))
    }

    fn is_idle(&self) -> bool {
        self.history.lock().as_ref().is_some_and(|history| history.is_idle())
    }
}

thread_local! {
    /// `topic@group` of the request at hand, so that finding its counters does not allocate.
    static KEY: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Counters by topic and group. A pair without traffic for a day is forgotten; beyond the limit a new pair is not
/// counted by itself.
#[derive(Debug)]
pub struct Readers(SnapshotMap<Reader>);

impl Readers {
    /// Room for `limit` pairs.
    pub fn with_limit(limit: usize) -> Self {
        Self(SnapshotMap::with_limit(limit))
    }

    /// Lets `count` work on the counters of a group in a topic.
    pub fn count(&self, topic: &str, group: &str, count: impl Fn(&Reader)) {
        with_key(topic, group, |key| {
            if self.0.with(key, &count).is_none()
                && let Some((reader, _)) = self.0.get_or_insert(key, Reader::default)
            {
                count(&reader);
            }
        });
    }

    /// The counters of a group in a topic, to be kept over a wait. `None` beyond the limit.
    pub fn get_or_create(&self, topic: &str, group: &str) -> Option<Arc<Reader>> {
        with_key(topic, group, |key| self.0.get_or_insert(key, Reader::default).map(|(reader, _)| reader))
    }

    /// The counters under `topic@group`.
    pub fn find(&self, key: &str) -> Option<Arc<Reader>> {
        self.0.get(key)
    }

    /// Every topic and group with its counters, in no order.
    pub fn for_each(&self, mut look: impl FnMut(&str, &str, &Reader)) {
        for (key, reader) in self.0.all() {
            if let Some((topic, group)) = key.split_once('@') {
                look(topic, group, &reader);
            }
        }
    }

    /// Messages a second that a group got of a topic in the last minute.
    pub fn rate(&self, topic: &str, group: &str) -> f64 {
        let reader = with_key(topic, group, |key| self.0.get(key));
        let minute = reader.and_then(|reader| reader.summary(Reading::Messages, Span::Minute));
        minute.map_or(0.0, |minute| minute.per_second)
    }

    /// Samples every pair of a topic and a group that `exist`, and forgets the others and the idle ones.
    pub(super) fn sample(&self, now_ms: i64, due: Due, exist: impl Fn(&str, &str) -> bool) {
        for (key, reader) in self.0.all() {
            let known = key.split_once('@').is_some_and(|(topic, group)| exist(topic, group));
            if known && !reader.is_idle() {
                reader.sample(now_ms, due);
            } else {
                self.0.remove(&key);
            }
        }
    }
}

fn with_key<T>(topic: &str, group: &str, look: impl FnOnce(&str) -> T) -> T {
    KEY.with_borrow_mut(|key| {
        key.clear();
        key.push_str(topic);
        key.push('@');
        key.push_str(group);
        look(key)
    })
}
