//! What became of transactions since this broker started, counted for metrics.
//!
//! Counting is a relaxed addition; by topic it is one more for the time that the decision took. Nothing allocates but the
//! first decision on a topic. What the state counts under its own lock is not counted here again.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{Verdict, state::ParkReason, trail::Said};
use crate::core::snapshot_map::SnapshotMap;

/// Seconds up to which finished transactions are counted together, as in Apache: 5 s, 1 min, 10 min, 1 h, 12 h, 1 day.
pub const LATENCY_BOUNDS: [u64; 6] = [5, 60, 600, 3_600, 43_200, 86_400];

/// What is counted of the broker as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// Questions that a producer took.
    ChecksSent,
    /// Answers to questions: commit.
    AnsweredCommit,
    /// Answers to questions: rollback.
    AnsweredRollback,
    /// Answers to questions: the producer does not know yet.
    AnsweredUnknown,
    /// Answers to questions that could not be carried out.
    AnsweredFailed,
    /// Messages parked because they were checked as often as allowed.
    Exhausted,
    /// Messages parked because they were older than operators want them to become.
    Expired,
    /// Messages parked because their log file was to go and a copy would have been too large.
    Uncarried,
    /// Messages carried forward because their log file was to go.
    Carried,
    /// Undecided messages whose records are gone.
    Lost,
    /// Decisions that repeated the first one.
    Repeats,
    /// Decisions that were refused because of another one.
    Contradictions,
}

const COUNTS: usize = 12;

/// Decisions on the messages of one topic.
#[derive(Debug, Default)]
pub struct OfTopic {
    took: [AtomicU64; LATENCY_BOUNDS.len() + 1],
    took_seconds: AtomicU64,
    rolled_back: AtomicU64,
}

/// The decisions on one topic's messages, to be shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Decisions {
    /// Commits by the seconds they took since the half message was stored: up to each of [`LATENCY_BOUNDS`], and longer.
    pub took: [u64; LATENCY_BOUNDS.len() + 1],
    /// The sum of these seconds.
    pub took_seconds: u64,
    /// Rollbacks.
    pub rolled_back: u64,
}

/// The counters.
#[derive(Debug)]
pub struct Tally {
    topics: SnapshotMap<OfTopic>,
    counts: [AtomicU64; COUNTS],
}

impl Tally {
    /// Nothing was counted yet; `max_topics` are counted by themselves.
    pub(super) fn with_limit(max_topics: usize) -> Self {
        Self { topics: SnapshotMap::with_limit(max_topics), counts: Default::default() }
    }

    pub(super) fn count(&self, what: Count) {
        if let Some(counter) = self.counts.get(what as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn answered(&self, said: Said) {
        self.count(match said {
            Said::Commit => Count::AnsweredCommit,
            Said::Rollback => Count::AnsweredRollback,
            Said::Unknown => Count::AnsweredUnknown,
            Said::Failed => Count::AnsweredFailed,
        });
    }

    pub(super) fn parked(&self, reason: ParkReason) {
        self.count(match reason {
            ParkReason::Exhausted => Count::Exhausted,
            ParkReason::Expired => Count::Expired,
            ParkReason::Uncarried => Count::Uncarried,
        });
    }

    /// A message of `topic` was decided, `took_ms` after it was stored.
    pub(super) fn decided(&self, topic: &str, verdict: Verdict, took_ms: i64) {
        let note = |of: &OfTopic| of.note(verdict, took_ms);
        if self.topics.with(topic, note).is_none()
            && let Some((of, _)) = self.topics.get_or_insert(topic, OfTopic::default)
        {
            note(&of);
        }
    }

    /// What was counted.
    pub fn total(&self, what: Count) -> u64 {
        self.counts.get(what as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// Decisions by topic, in no order. Topics that do not `exist` any more are forgotten.
    pub fn topics(&self, exists: impl Fn(&str) -> bool) -> Vec<(Arc<str>, Decisions)> {
        let (kept, gone): (Vec<_>, Vec<_>) = self.topics.all().into_iter().partition(|(topic, _)| exists(topic));
        for (topic, _) in gone {
            self.topics.remove(&topic);
        }
        kept.into_iter().map(|(topic, of)| (topic, of.decisions())).collect()
    }
}

impl OfTopic {
    fn note(&self, verdict: Verdict, took_ms: i64) {
        match verdict {
            Verdict::Committed => {
                let seconds = u64::try_from(took_ms / 1000).unwrap_or(0);
                let class = LATENCY_BOUNDS.iter().position(|end| seconds <= *end).unwrap_or(LATENCY_BOUNDS.len());
                if let Some(count) = self.took.get(class) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                if seconds > 0 {
                    self.took_seconds.fetch_add(seconds, Ordering::Relaxed);
                }
            }
            Verdict::RolledBack => {
                self.rolled_back.fetch_add(1, Ordering::Relaxed);
            }
            Verdict::Parked => {}
        }
    }

    fn decisions(&self) -> Decisions {
        Decisions {
            took: self.took.each_ref().map(|count| count.load(Ordering::Relaxed)),
            took_seconds: self.took_seconds.load(Ordering::Relaxed),
            rolled_back: self.rolled_back.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_counted_by_how_long_it_took() {
        let tally = Tally::with_limit(10);
        for took_ms in [-5, 4_999, 5_000, 5_999, 6_000, 86_400_000, 90_000_000] {
            tally.decided("orders", Verdict::Committed, took_ms);
        }
        tally.decided("orders", Verdict::RolledBack, 1);
        let [(_, decisions)] = tally.topics(|_| true).try_into().unwrap();
        assert_eq!(decisions.took, [4, 1, 0, 0, 0, 1, 1]);
        assert_eq!(decisions.took_seconds, 4 + 5 + 5 + 6 + 86_400 + 90_000);
        assert_eq!(decisions.rolled_back, 1);
    }

    #[test]
    fn topics_beyond_the_limit_are_not_counted_until_others_are_gone() {
        let tally = Tally::with_limit(1);
        tally.decided("one", Verdict::RolledBack, 0);
        tally.decided("two", Verdict::RolledBack, 0);
        assert_eq!(tally.topics(|topic| topic != "one"), []);
        tally.decided("two", Verdict::RolledBack, 0);
        assert_eq!(tally.topics(|_| true).len(), 1);
    }
}
