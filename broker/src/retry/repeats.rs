//! Which messages were sent back a moment ago, so that a repeat makes no second copy.
//!
//! A consumer may send one message back twice: its client when the handler takes longer than `consumeTimeout`, and the
//! handler when it ends at last; or two clients that share one id, and so the same queues. Apache stores a copy each time,
//! and each copy may double again.
//!
//! A send-back is a repeat when the same group sent back the very same record before, to the same end (another try, or the
//! dead letters), and either the copy is not given to the group yet, or the group's offset has passed the record, so that
//! the record was not given to it again since. In both cases the first copy stands for both.
//!
//! The memory is a table of fixed size in which a new entry takes the place of an older one: what is forgotten makes a
//! second copy, as without it. Off by default (`sendBacksRememberedMax`), as Apache's clients may rely on each copy.

use std::hash::BuildHasher;

use parking_lot::Mutex;

use crate::core::Core;

/// A copy among the dead letters is taken for one of the same try for so long, in milliseconds: clients commit every 5 s.
const DEAD_LETTER_MS: i64 = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    /// The group, by a hash of 64 bits with a secret seed.
    group: u64,
    /// Log offset of the record that was sent back.
    log_offset: i64,
    is_dead_letter: bool,
    /// When the copy is given to the group, in milliseconds.
    due_ms: i64,
}

/// Send-backs of late.
pub struct Repeats {
    entries: Mutex<Box<[Option<Entry>]>>,
    slots: usize,
    seed: std::hash::RandomState,
}

/// One send-back, as it is compared.
#[derive(Clone, Copy)]
pub(super) struct SentBefore<'a> {
    pub(super) group: &'a str,
    pub(super) log_offset: i64,
    /// The record's place in its queue.
    pub(super) topic: &'a str,
    pub(super) queue_id: i32,
    pub(super) queue_offset: i64,
    pub(super) is_dead_letter: bool,
}

impl Repeats {
    /// A memory of `max` send-backs; 0: none.
    pub fn with_limit(max: usize) -> Self {
        let entries = Mutex::new(vec![None; max].into_boxed_slice());
        Self { entries, slots: max, seed: std::hash::RandomState::new() }
    }

    /// Whether the send-back is a repeat of one whose copy stands for both.
    pub(super) fn is_repeat(&self, core: &Core, sent: &SentBefore<'_>) -> bool {
        let (at, group) = self.place(sent);
        let found = self.entries.lock().get(at).copied().flatten();
        let same = |entry: &Entry| {
            (entry.group, entry.log_offset, entry.is_dead_letter) == (group, sent.log_offset, sent.is_dead_letter)
        };
        found.filter(same).is_some_and(|entry| {
            let passed =
                || core.offsets.get(sent.group, sent.topic, sent.queue_id).is_some_and(|at| at > sent.queue_offset);
            core.clock.now_ms() < entry.due_ms || passed()
        })
    }

    /// The copy was stored, and is given to the group after `delay_ms`.
    pub(super) fn note(&self, core: &Core, sent: &SentBefore<'_>, delay_ms: i64) {
        let (at, group) = self.place(sent);
        let wait = if sent.is_dead_letter { DEAD_LETTER_MS } else { delay_ms };
        let due_ms = core.clock.now_ms().saturating_add(wait);
        let SentBefore { log_offset, is_dead_letter, .. } = *sent;
        if let Some(entry) = self.entries.lock().get_mut(at) {
            *entry = Some(Entry { group, log_offset, is_dead_letter, due_ms });
        }
    }

    /// Whether there is a memory at all.
    pub(super) fn is_on(&self) -> bool {
        self.slots > 0
    }

    fn place(&self, sent: &SentBefore<'_>) -> (usize, u64) {
        let group = self.seed.hash_one(sent.group);
        let slot = self.seed.hash_one((group, sent.log_offset));
        (usize::try_from(slot % self.slots.max(1) as u64).unwrap_or(0), group)
    }
}
