//! Commits of older values, gathered so that a client that keeps committing backward costs no write per message.
//!
//! The first of a queue is written at once; further ones of the same queue are added up until the next gathering, which is
//! the saving of the table. So are first ones, beyond a few, and those beyond a limit are only counted.

use rustc_hash::FxHashMap;
use tenonmq_protocol::body::offset_desk::{OffsetMove, OffsetStep};

/// First ones written at once between two gatherings.
const AT_ONCE: usize = 16;
/// Queues remembered between two gatherings.
const QUEUES: usize = 10_000;

type Key = (Box<str>, Box<str>, i32);

/// One commit of an older value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step<'a> {
    pub(super) group: &'a str,
    pub(super) topic: &'a str,
    pub(super) queue_id: i32,
    pub(super) from: i64,
    pub(super) to: i64,
}

#[derive(Default)]
struct Gathered {
    from: i64,
    to: i64,
    times: u64,
    time: i64,
    by: String,
}

/// What came since the last gathering.
#[derive(Default)]
pub(super) struct Backward {
    queues: FxHashMap<Key, Gathered>,
    at_once: usize,
    beyond: u64,
}

impl Backward {
    /// Notes one; the entry, if it is to be written at once. `by` is asked only for the first of a queue.
    pub(super) fn note(&mut self, step: Step<'_>, time: i64, by: impl FnOnce() -> String) -> Option<OffsetMove> {
        let key = (step.group.into(), step.topic.into(), step.queue_id);
        if let Some(known) = self.queues.get_mut(&key) {
            if known.times == 0 {
                (known.from, known.time) = (step.from, time);
            }
            known.to = step.to;
            known.times += 1;
            return None;
        }
        if self.queues.len() >= QUEUES {
            self.beyond += 1;
            return None;
        }
        let first = Gathered { from: step.from, to: step.to, times: 1, time, by: by() };
        if self.at_once >= AT_ONCE {
            self.queues.insert(key, first);
            return None;
        }
        self.at_once += 1;
        let entry = first.entry(&key);
        self.queues.insert(key, Gathered { times: 0, ..first });
        Some(entry)
    }

    /// What is still to be written; begins anew.
    pub(super) fn gather(&mut self, time: i64) -> Vec<OffsetMove> {
        let Self { queues, beyond, .. } = std::mem::take(self);
        let mut entries: Vec<_> =
            queues.iter().filter(|(_, one)| one.times > 0).map(|(key, one)| one.entry(key)).collect();
        if beyond > 0 {
            let reason = "commits of older values in further queues".to_owned();
            entries.push(OffsetMove { action: "commit".into(), times: beyond, reason, time, ..OffsetMove::default() });
        }
        entries
    }
}

impl Gathered {
    fn entry(&self, (group, topic, queue_id): &Key) -> OffsetMove {
        OffsetMove {
            action: "commit".into(),
            by: self.by.clone(),
            group: group.to_string(),
            topic: topic.to_string(),
            queues: vec![OffsetStep { from: Some(self.from), queue_id: *queue_id, to: Some(self.to) }],
            time: self.time,
            times: self.times,
            ..OffsetMove::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(queue_id: i32, from: i64, to: i64) -> Step<'static> {
        Step { group: "g", topic: "t", queue_id, from, to }
    }

    #[test]
    fn the_first_of_a_queue_is_written_at_once_and_further_ones_are_added_up() {
        let mut backward = Backward::default();
        let first = backward.note(step(0, 9, 5), 1, || "c".into()).unwrap();
        assert_eq!((first.times, first.queues[0].from, first.queues[0].to), (1, Some(9), Some(5)));
        for to in [4, 3, 2] {
            assert_eq!(backward.note(step(0, to + 1, to), 2, || unreachable!()), None);
        }
        let rest = backward.gather(3);
        assert_eq!((rest.len(), rest[0].times), (1, 3));
        assert_eq!((rest[0].queues[0].from, rest[0].queues[0].to), (Some(5), Some(2)));
        assert_eq!(backward.gather(4), []);
    }

    #[test]
    fn many_queues_at_once_are_few_writes_and_bounded_memory() {
        let mut backward = Backward::default();
        let written = (0..20_000).filter(|q| backward.note(step(*q, 2, 1), 1, String::new).is_some()).count();
        assert_eq!((written, backward.queues.len(), backward.beyond), (AT_ONCE, QUEUES, 10_000));
        assert_eq!(backward.gather(2).iter().map(|entry| entry.times).sum::<u64>(), 20_000 - AT_ONCE as u64);
    }
}
