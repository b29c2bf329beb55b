//! What was stored in each topic. The store counts under its lock, queue by queue; here the counts become histories.

use std::sync::Arc;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::{
    Span,
    history::{Due, History, Summary},
};
use crate::core::names;

/// What is counted of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writing {
    /// Messages stored.
    Messages,
    /// Their bytes as stored.
    Bytes,
}

type Histories = FxHashMap<Arc<str>, Box<History<2>>>;

/// Histories of topics that had traffic within a day.
#[derive(Default)]
pub struct Writers(Mutex<Histories>);

impl Writers {
    /// Takes a sample of all topics: messages and bytes stored since the start of the broker. Topics that are not listed
    /// are forgotten. The number of messages since the last sample in the topics that are not the broker's own.
    pub(super) fn sample(&self, now_ms: i64, due: Due, totals: &[(Arc<str>, [u64; 2])]) -> u64 {
        let mut histories = self.0.lock();
        let mut next = Histories::default();
        let mut grown = 0;
        for (topic, counts) in totals {
            let mut history = histories.remove(topic).unwrap_or_default();
            if !names::is_system_topic(topic) {
                let ([before, _], [now, _]) = (history.last(), *counts);
                grown += now.checked_sub(before).unwrap_or(now); // fewer: deleted and made again
            }
            history.sample(now_ms, due, *counts);
            next.insert(Arc::clone(topic), history);
        }
        *histories = next;
        grown
    }

    /// What was counted within a span; `None` when the topic was not sampled with any traffic yet.
    pub fn summary(&self, topic: &str, what: Writing, span: Span) -> Option<Summary> {
        self.0.lock().get(topic).map(|history| history.summary(span, what as usize))
    }

    /// Messages a second in the last minute.
    pub fn rate(&self, topic: &str) -> f64 {
        self.summary(topic, Writing::Messages, Span::Minute).map_or(0.0, |minute| minute.per_second)
    }
}
