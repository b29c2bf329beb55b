//! What the lease log tells: the states that were there when it ended.

use rustc_hash::FxHashMap;

use super::{
    lease::{Change, Lease, LeaseKey, Leases},
    order::Order,
    record::{self, Event},
};

/// One group's state of one queue, as it was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Whose it is.
    pub group: String,
    /// Topic.
    pub topic: String,
    /// Queue of the topic.
    pub queue_id: i32,
    /// What was leased.
    pub leases: Leases,
    /// What an ordered group held.
    pub order: Option<Order>,
}

/// Reads records and keeps the states that they lead to.
#[derive(Debug, Default)]
pub struct Replay {
    states: FxHashMap<u32, Kept>,
    /// States that are being told: the lease records that are still to come.
    told: FxHashMap<u32, (Kept, u32)>,
    /// Where the commit log ends: copies behind are lost.
    log_end: u64,
}

impl Replay {
    /// Nothing read yet. `log_end`: where the commit log ends.
    pub fn new(log_end: u64) -> Self {
        Self { log_end, ..Self::default() }
    }

    /// Reads the records of one file up to its end, or to the first that is damaged. Returns how far.
    pub fn read(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Some((id, event, len)) = bytes.get(at..).and_then(record::decode) {
            self.apply(id, event);
            at += len;
        }
        at
    }

    /// The states, by number.
    pub fn finish(self) -> FxHashMap<u32, Kept> {
        self.states
    }

    /// Takes one record in.
    pub fn apply(&mut self, id: u32, event: Event) {
        match event {
            Event::Queue { group, topic, queue_id, next, leases, order } => {
                let kept = Kept { group, topic, queue_id, leases: Leases::starting_at(next), order };
                self.tell(id, kept, leases);
            }
            Event::Kept(key, lease) => self.keep(id, key, lease),
            Event::Dropped => {
                self.states.remove(&id);
            }
            Event::Continues { .. } => {} // the file's own business
            Event::Change(Change::Returned { copy_end, .. }) if copy_end > self.log_end => {}
            Event::Change(change) => self.with(id, |kept| kept.leases.apply(change)),
            Event::Ordered(order) => self.with(id, |kept| kept.order = order),
            Event::OrderAcked { pop_time, bits } => self.with(id, |kept| {
                if let Some(order) = kept.order.as_mut().filter(|order| order.pop_time == pop_time) {
                    order.acked = bits;
                }
            }),
        }
    }

    fn tell(&mut self, id: u32, kept: Kept, leases: u32) {
        if leases == 0 {
            self.states.insert(id, kept);
        } else {
            self.told.insert(id, (kept, leases));
        }
    }

    fn keep(&mut self, id: u32, key: LeaseKey, lease: Lease) {
        let Some((mut kept, left)) = self.told.remove(&id) else { return };
        kept.leases.insert(key, lease);
        self.tell(id, kept, left - 1);
    }

    fn with(&mut self, id: u32, change: impl FnOnce(&mut Kept)) {
        if let Some(kept) = self.states.get_mut(&id) {
            change(kept);
        }
    }
}
