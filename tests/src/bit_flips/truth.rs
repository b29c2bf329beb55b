//! What a broker delivers of a whole directory, and the comparison with what it delivers of a damaged one.

use std::collections::{BTreeMap, BTreeSet};

use tenonmq_broker::core::Core;
use tenonmq_protocol::message::RecordView;
use tenonmq_storage::{FetchLimits, light::is_light};

use super::{Finding, fields};

/// A place that a consumer reads: topic, queue, offset.
type Place = (String, i32, i64);

/// What a broker knows.
pub struct Truth {
    /// Every message by its place, as the bytes of its record.
    messages: BTreeMap<Place, Vec<u8>>,
    /// Offset by group, topic and queue.
    offsets: BTreeSet<(String, String, i32, i64)>,
    /// Transactions that are open.
    pending: usize,
    /// Messages that a group holds.
    leases: i64,
    /// Timers that wait.
    timers: usize,
}

impl Truth {
    /// What this broker delivers.
    pub fn of(core: &Core) -> Self {
        let mut messages = BTreeMap::new();
        deliver(core, |topic, queue_id, bytes| {
            let offset = RecordView::parse(bytes).map_or(-1, |record| number(topic, &record));
            messages.insert((topic.to_owned(), queue_id, offset), bytes.to_vec());
        });
        let (leases, timers) = (core.pops.open_leases(), timers(core));
        Self { messages, offsets: offsets(core), pending: core.transactions.pending(), leases, timers }
    }

    /// What is delivered for this record.
    pub fn delivered(&self, topic: &str, queue_id: i32, record: &RecordView<'_>) -> Option<&[u8]> {
        self.messages.get(&(topic.to_owned(), queue_id, number(topic, record))).map(Vec::as_slice)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// What this broker delivers, compared. The worst counts.
    pub fn compare(&self, core: &Core) -> Finding {
        let mut seen = BTreeSet::new();
        let mut wrong = None;
        deliver(core, |topic, queue_id, bytes| {
            let Ok(record) = RecordView::parse(bytes) else {
                wrong.get_or_insert("no record");
                return;
            };
            let place = (topic.to_owned(), queue_id, number(topic, &record));
            match self.messages.get(&place) {
                None => drop(wrong.get_or_insert("place")),
                Some(stored) => {
                    if let Some(field) = difference(stored, &record) {
                        wrong.get_or_insert(field);
                    }
                }
            }
            if !seen.insert(place) {
                wrong.get_or_insert("delivered twice");
            }
        });
        match (wrong, self.messages.len() - seen.len().min(self.messages.len())) {
            (Some(field), _) => Finding::Wrong(field),
            (None, 0) => self.compare_state(core),
            (None, missing) => Finding::Withheld(missing),
        }
    }
}

impl Truth {
    fn compare_state(&self, core: &Core) -> Finding {
        if core.transactions.pending() != self.pending {
            Finding::Changed("open transactions")
        } else if offsets(core) != self.offsets {
            Finding::Changed("consumer offsets")
        } else if core.pops.open_leases() != self.leases {
            Finding::Changed("open leases")
        } else if timers(core) != self.timers {
            Finding::Changed("timers")
        } else {
            Finding::Harmless
        }
    }
}

/// Tells the messages of a queue apart: the queue offset, but in a light queue, whose records name their offset in another one,
/// the place in the log.
fn number(topic: &str, record: &RecordView<'_>) -> i64 {
    if is_light(topic) { record.physical_offset() } else { record.queue_offset() }
}

fn timers(core: &Core) -> usize {
    core.timers.progress(core.clock.now_ms()).pending
}

fn offsets(core: &Core) -> BTreeSet<(String, String, i32, i64)> {
    let all = core.offsets.snapshot().into_iter();
    all.map(|stored| (stored.group, stored.topic, stored.queue_id, stored.offset)).collect()
}

fn difference(stored: &[u8], delivered: &RecordView<'_>) -> Option<&'static str> {
    let bytes = delivered.bytes();
    if stored.len() != bytes.len() {
        return Some("length");
    }
    let at = stored.iter().zip(bytes).position(|(one, other)| one != other)?;
    let stored = RecordView::parse(stored).ok()?;
    Some(fields::field(&stored, at))
}

/// Every record that a consumer of any queue gets.
///
/// # Panics
/// A queue cannot be read to its end.
fn deliver(core: &Core, mut message: impl FnMut(&str, i32, &[u8])) {
    let store = &core.store;
    for (topic, ids) in store.topics_with_queues() {
        for id in ids {
            let queue = store.queue(&topic, id);
            let mut from = queue.min_offset();
            while from < queue.max_offset() {
                let fetched = store.fetch(&queue, from, FetchLimits::new(32, 1 << 20), |_| true);
                assert!(fetched.next_begin > from, "{:?} at {from} of {topic} {id}", fetched.status);
                for bytes in &fetched.records {
                    for record in RecordView::iter_all(bytes) {
                        message(&topic, id, record.map_or(&bytes[..], |record| record.bytes()));
                    }
                }
                from = fetched.next_begin;
            }
        }
    }
}
