//! What was asked for, and what was acknowledged.

use std::collections::{BTreeMap, BTreeSet};

/// A message that was acknowledged, and where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) topic: String,
    pub(super) queue_id: i32,
    pub(super) offset: i64,
    pub(super) log_offset: u64,
    pub(super) body: String,
}

/// What a body may come to in the topic that its readers look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Visible {
    /// It was acknowledged: once.
    Once,
    /// It was refused, or the answer to its transaction was: once, or not at all.
    Perhaps,
    /// It was rolled back, or nothing was said yet.
    Never,
}

/// What was said about one offset.
#[derive(Debug, Default)]
pub(super) struct Committed {
    /// What may be stored: the last one that was acknowledged, and those that were refused since.
    pub(super) allowed: Vec<i64>,
    /// Those before.
    pub(super) before: Vec<i64>,
    pub(super) is_acknowledged: bool,
}

/// The ledger of one run.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) stored: Vec<Stored>,
    /// By topic and body: what becomes visible later, in whatever place.
    pub(super) later: BTreeMap<(String, String), Visible>,
    /// By the same: queues and offsets where it was seen.
    pub(super) seen: BTreeMap<(String, String), BTreeSet<(i32, i64)>>,
    /// Undecided half messages, by body.
    pub(super) undecided: BTreeSet<String>,
    /// By group, topic and queue.
    pub(super) offsets: BTreeMap<(String, String, i32), Committed>,
    pub(super) topics: BTreeSet<String>,
    pub(super) groups: BTreeSet<String>,
    /// The region that the configuration may have: the last one that was acknowledged, and those that were refused since.
    pub(super) regions: Vec<String>,
    /// Keys of the name server.
    pub(super) keys: BTreeSet<String>,
    /// Offsets of messages that were popped and acknowledged.
    pub(super) acked: BTreeSet<i64>,
    /// Offsets of messages whose acknowledgement was refused.
    pub(super) perhaps_acked: BTreeSet<i64>,
    /// What was refused, with the reason.
    pub(super) refusals: Vec<String>,
    pub(super) acknowledged: usize,
}

impl Ledger {
    /// An offset was committed, or tried to be.
    pub(super) fn committed(&mut self, group: &str, topic: &str, queue_id: i32, offset: i64, is_acknowledged: bool) {
        let known = self.offsets.entry((group.to_owned(), topic.to_owned(), queue_id)).or_default();
        if is_acknowledged {
            known.before.append(&mut known.allowed);
            known.is_acknowledged = true;
        }
        known.allowed.push(offset);
    }
}
