//! After a crash: which of the messages that were due had been delivered already.
//!
//! A delivered copy has the property text, the times and the body of the message that waited. So what was due when the
//! process died is looked for in the real queues, from the time on at which the first of it was due. Within a level
//! deliveries follow the order of the queue: the first one that is not found ends the search.
//!
//! A message that was sent back twice is there twice, alike in everything. So only copies count that lie behind the end that
//! the log had when it was saved how far the levels are ([`super::ends`]). Where that is not known, what was delivered before takes
//! its copies first: backward from where the level stands, until one is not found. That may take a copy of a message that comes
//! later, which is delivered again then.

use std::{
    collections::hash_map::{DefaultHasher, Entry as Slot},
    hash::{Hash, Hasher},
    sync::{Arc, atomic::Ordering},
};

use rustc_hash::FxHashMap;
use tenonmq_protocol::message::{RecordView, SysFlag};
use tenonmq_storage::{Boundary, Entry, Queue, Store};

use super::{delivery::Delayed, levels::Level};
use crate::transaction::without_checksum;

/// Messages looked at in real queues, all together: beyond them a copy is not found, and its message delivered again.
const LOOK_AHEAD: usize = 200_000;

/// Copies in one real queue, each by a hash of what makes it one, with their number.
type Copies = FxHashMap<u64, u32>;

struct Search<'a> {
    store: &'a Store,
    since_ms: i64,
    /// Copies before this place in the log count for nothing.
    since: u64,
    left: usize,
    queues: FxHashMap<*const Queue, Copies>,
    /// Keeps the addresses that are keys of `queues` alive.
    held: Vec<Arc<Queue>>,
}

/// Takes every level past the messages whose copies are in their real queues; behind `log_end`, if it is known where the log
/// ended when the levels stood where they stand.
pub(super) fn skip_delivered(store: &Store, levels: &[Level], log_end: Option<u64>) {
    let now_ms = store.environment().clock.now_ms();
    let due = |level: &Level, entry: &Entry| store.tags_code(&level.queue, entry).unwrap_or(now_ms);
    let first_due =
        |level: &Level| level.queue.entry(level.next.load(Ordering::Relaxed)).map(|entry| due(level, &entry));
    let Some(since_ms) = levels.iter().filter_map(first_due).min().filter(|since_ms| *since_ms <= now_ms) else {
        return;
    };
    let (since, left) = (log_end.unwrap_or(0), LOOK_AHEAD);
    let mut search = Search { store, since_ms, since, left, queues: FxHashMap::default(), held: Vec::new() };
    for (level, n) in levels.iter().zip(1..) {
        let start = level.next.load(Ordering::Relaxed);
        let mut is_found = |entry: Entry| store.peek(&entry, |record| search.takes(record)).unwrap_or(false);
        let mut before = start;
        while log_end.is_none() && level.queue.entry(before - 1).is_some_and(&mut is_found) {
            before -= 1;
        }
        let mut next = start;
        while level.queue.entry(next).is_some_and(|entry| due(level, &entry) <= now_ms && is_found(entry)) {
            next += 1;
        }
        if next > start {
            tracing::info!(level = n, from = start, to = next, "delayed messages were delivered before the crash");
            level.next.store(next, Ordering::Relaxed);
        }
    }
}

impl Search<'_> {
    /// Whether the message was delivered. Its copy then stands for no other message.
    fn takes(&mut self, record: &RecordView<'_>) -> bool {
        let Ok(delayed) = Delayed::of(*record) else { return false };
        let queue = delayed.queue(self.store);
        let copies = match self.queues.entry(Arc::as_ptr(&queue)) {
            Slot::Occupied(found) => found.into_mut(),
            Slot::Vacant(slot) => {
                let copies = copies(self.store, &queue, (self.since_ms, self.since), &mut self.left);
                self.held.push(queue);
                slot.insert(copies)
            }
        };
        match copies.get_mut(&identity(record)) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            _ => false,
        }
    }
}

fn copies(store: &Store, queue: &Queue, (since_ms, since): (i64, u64), left: &mut usize) -> Copies {
    let mut copies = Copies::default();
    let from = store.offset_by_time(queue, since_ms, Boundary::Lower).max(queue.min_offset());
    for at in queue.entries(from).take(*left) {
        *left -= 1;
        if at.entry.physical_offset < since {
            continue;
        }
        if let Some(copy) = store.peek(&at.entry, identity) {
            *copies.entry(copy).or_default() += 1;
        }
    }
    copies
}

/// What a delayed message and its copy have in common.
fn identity(record: &RecordView<'_>) -> u64 {
    let mut hash = DefaultHasher::new();
    without_checksum(record.properties_text()).hash(&mut hash);
    record.born_timestamp().hash(&mut hash);
    record.reconsume_times().hash(&mut hash);
    (record.flag(), record.sys_flag().0 & !SysFlag::STORE_HOST_V6).hash(&mut hash);
    record.body_crc().hash(&mut hash);
    hash.finish()
}
