//! What metrics tell of the state.

use std::{ops::Bound, sync::Arc};

use rustc_hash::FxHashMap;

use super::{super::names::NameId, Claim, State};

/// Entries that are looked at under one hold of the lock.
const PER_LOOK: usize = 512;

/// One producer group with undecided messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupCount {
    /// Its name.
    pub group: Arc<str>,
    /// Its undecided messages.
    pub pending: u64,
    /// It has messages to be asked about, and nobody who can be asked.
    pub paused: bool,
}

impl State {
    /// Questions that got no answer in time, since the state was made.
    pub fn unanswered(&self) -> u64 {
        self.unanswered
    }

    /// Groups with undecided messages, in no order.
    pub fn groups_pending(&self) -> Vec<GroupCount> {
        let pending = self.groups.iter().filter(|named| named.pending > 0);
        pending
            .map(|named| GroupCount {
                group: Arc::clone(&named.name),
                pending: named.pending,
                paused: named.state.offline && !named.state.ready.is_empty(),
            })
            .collect()
    }

    /// Notes in `oldest` the least store time of each group among the next few entries after the half-queue offset `after`,
    /// and returns where to go on; `None` at the end. For the whole truth call it until then.
    pub fn note_oldest(&self, after: Option<i64>, oldest: &mut FxHashMap<Arc<str>, i64>) -> Option<i64> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut seen = FxHashMap::<NameId, i64>::default();
        let mut last = None;
        for (offset, entry) in self.pending.range((from, Bound::Unbounded)).take(PER_LOOK) {
            seen.entry(entry.group).and_modify(|least| *least = entry.stored_at.min(*least)).or_insert(entry.stored_at);
            last = Some(*offset);
        }
        for (id, stored_at) in seen {
            let Some(named) = self.groups.get(id) else { continue };
            oldest
                .entry(Arc::clone(&named.name))
                .and_modify(|least| *least = stored_at.min(*least))
                .or_insert(stored_at);
        }
        last
    }
}

impl Claim {
    /// When this broker stored the message, or the first of its copies. In milliseconds.
    pub fn stored_at(&self) -> i64 {
        self.entry.stored_at
    }
}
