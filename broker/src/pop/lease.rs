//! The open leases of one group in one queue. No I/O, no clock: what happens is a [`Change`], decided elsewhere, kept in
//! the log, and applied here, while running and when the log is read again.
//!
//! A message that was popped is *leased*: nobody else gets it before the lease's deadline. It leaves its lease once:
//!
//! ```text
//! leased ──acknowledged──────────► done
//!    ├────time changed───────────► a lease of its own, with another deadline
//!    └────deadline passed────────► returned: a copy is in the retry topic
//! ```
//!
//! Invariant: [`Leases::floor`] is never above a message that is leased; it is what the group's offset may be.

use std::collections::{BTreeMap, BTreeSet};

/// Most messages of one lease: they are bits of a word.
pub const LEASE_MAX: usize = 32;

/// Which lease of a queue, as handles name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseKey {
    /// Where the pop began to read.
    pub start: i64,
    /// When it was popped, in milliseconds.
    pub pop_time: i64,
}

/// Messages that were popped together from one queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// How long they stay invisible from the pop on, in milliseconds.
    pub invisible: i64,
    /// Revive queue id that handles carry. Means nothing here.
    pub revive_queue: i32,
    /// Log offset of the first message: tells whether the queue is still the one that was popped.
    pub physical: u64,
    /// Messages, at most [`LEASE_MAX`].
    pub count: u8,
    /// Distances of the messages from the start, ascending; `None`: 0, 1, 2, …
    pub deltas: Option<Box<[u32]>>,
    /// Messages that have not left, a bit each.
    pub pending: u32,
}

impl Lease {
    /// A lease of messages that follow each other, or do not: `offsets` ascend from `start`.
    pub fn of(start: i64, offsets: &[i64], invisible: i64, revive_queue: i32, physical: u64) -> Self {
        let count = offsets.len().min(LEASE_MAX);
        let offsets = offsets.get(..count).unwrap_or_default();
        let delta = |offset: &i64| u32::try_from(offset - start).unwrap_or(u32::MAX);
        let adjacent = offsets.iter().zip(0u32..).all(|(offset, at)| delta(offset) == at);
        let deltas = (!adjacent).then(|| offsets.iter().map(delta).collect());
        Self { invisible, revive_queue, physical, count: count as u8, deltas, pending: mask(count) }
    }

    /// Queue offset of a message.
    pub fn offset(&self, start: i64, index: u32) -> i64 {
        let delta = match &self.deltas {
            None => index,
            Some(deltas) => deltas.get(index as usize).copied().unwrap_or(index),
        };
        start.saturating_add(i64::from(delta))
    }

    /// The message at a queue offset, whether it has left or not.
    pub fn index(&self, start: i64, offset: i64) -> Option<u32> {
        let delta = u32::try_from(offset.checked_sub(start)?).ok()?;
        match &self.deltas {
            None => (delta < u32::from(self.count)).then_some(delta),
            Some(deltas) => deltas.binary_search(&delta).ok().and_then(|at| u32::try_from(at).ok()),
        }
    }

    /// Queue offsets of the messages that have not left, ascending.
    pub fn pending_offsets(&self, start: i64) -> impl Iterator<Item = i64> + '_ {
        let bits = self.pending;
        (0..u32::from(self.count)).filter(move |at| bits >> at & 1 == 1).map(move |at| self.offset(start, at))
    }

    /// Messages that have not left.
    pub fn pending_count(&self) -> u32 {
        self.pending.count_ones()
    }

    /// The messages at and above an offset leave.
    pub fn end_from(&mut self, start: i64, from: i64) {
        for index in 0..u32::from(self.count) {
            if self.offset(start, index) >= from {
                self.pending &= !1u32.checked_shl(index).unwrap_or(0);
            }
        }
    }

    fn lowest(&self, start: i64) -> Option<i64> {
        (self.pending != 0).then(|| self.offset(start, self.pending.trailing_zeros()))
    }
}

fn mask(count: usize) -> u32 {
    u32::MAX.checked_shr(32 - count.min(32) as u32).unwrap_or(0)
}

/// The deadline of a lease, in milliseconds.
pub fn deadline(key: LeaseKey, lease: &Lease) -> i64 {
    key.pop_time.saturating_add(lease.invisible)
}

/// One thing that happened to the leases of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Messages were popped; the next pop goes on at `next`.
    Leased {
        /// The new lease. One of the same name is over.
        key: LeaseKey,
        /// What it holds.
        lease: Lease,
        /// Where the next pop begins.
        next: i64,
    },
    /// Messages are done.
    Acked {
        /// Their lease.
        key: LeaseKey,
        /// Which, a bit each.
        bits: u32,
    },
    /// One message has a lease of its own now.
    Moved {
        /// The lease that it leaves.
        key: LeaseKey,
        /// Which one.
        index: u32,
        /// When its new lease began.
        pop_time: i64,
        /// How long that lasts.
        invisible: i64,
        /// Log offset of the message; 0: not known.
        physical: u64,
    },
    /// A copy of an expired message is in the retry topic, or there is nothing left to copy.
    Returned {
        /// Its lease.
        key: LeaseKey,
        /// Which one.
        index: u32,
        /// Log offset behind the copy; 0 when there is none. A log that ends before it has lost the copy.
        copy_end: u64,
    },
    /// The group goes on elsewhere: leases from there on are over, for these messages are popped again.
    Reset {
        /// Where the next pop begins.
        next: i64,
    },
}

/// All leases of one group in one queue.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leases {
    next: i64,
    open: BTreeMap<LeaseKey, Lease>,
    /// Deadlines in order.
    due: BTreeSet<(i64, LeaseKey)>,
    pending: usize,
}

impl Leases {
    /// No leases; the first pop begins at `next`.
    pub fn starting_at(next: i64) -> Self {
        Self { next, ..Self::default() }
    }

    /// Where the next pop begins.
    pub fn next(&self) -> i64 {
        self.next
    }

    /// The lowest message that is leased, or else where the next pop begins: no offset above it is safe to promise.
    pub fn floor(&self) -> i64 {
        let mut floor = self.next;
        for (key, lease) in &self.open {
            if key.start >= floor {
                break;
            }
            if let Some(lowest) = lease.lowest(key.start) {
                floor = floor.min(lowest);
            }
        }
        floor
    }

    /// Messages that are leased.
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// Leases that are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether nothing is leased.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// An open lease.
    pub fn get(&self, key: LeaseKey) -> Option<&Lease> {
        self.open.get(&key)
    }

    /// The open leases, by start.
    pub fn iter(&self) -> impl Iterator<Item = (LeaseKey, &Lease)> {
        self.open.iter().map(|(key, lease)| (*key, lease))
    }

    /// The earliest deadline.
    pub fn earliest(&self) -> Option<i64> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The first lease whose deadline is at `now` or before.
    pub fn first_due(&self, now: i64) -> Option<LeaseKey> {
        self.due.first().filter(|(at, _)| *at <= now).map(|(_, key)| *key)
    }

    /// Where a message sits that has not left its lease.
    pub fn pending_index(&self, key: LeaseKey, offset: i64) -> Option<u32> {
        let lease = self.open.get(&key)?;
        lease.index(key.start, offset).filter(|index| lease.pending >> index & 1 == 1)
    }

    /// A pop time, at `wanted` or soon after, for a lease of its own that begins at `offset`.
    pub fn free_pop_time(&self, offset: i64, wanted: i64) -> i64 {
        let mut pop_time = wanted;
        while self.open.contains_key(&LeaseKey { start: offset, pop_time }) {
            pop_time += 1;
        }
        pop_time
    }

    /// Puts a lease off: it could not be returned now. Not kept: a restart tries at once.
    pub fn postpone(&mut self, key: LeaseKey, until: i64) {
        if let Some(lease) = self.open.get(&key) {
            self.due.remove(&(deadline(key, lease), key));
            self.due.retain(|(_, other)| *other != key); // it may have been put off before
            self.due.insert((until, key));
        }
    }

    /// The next pop begins at `next`: what lies between concerns nobody. Not kept: a restart looks at it again.
    pub fn advance(&mut self, next: i64) {
        self.next = next;
    }

    /// Makes `change` true. Changes that name what is not there do nothing.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Leased { key, lease, next } => {
                self.next = next;
                self.insert(key, lease);
            }
            Change::Acked { key, bits } => self.leave(key, bits),
            Change::Returned { key, index, .. } => self.leave(key, bit(index)),
            Change::Moved { key, index, pop_time, invisible, physical } => {
                let Some(lease) = self.open.get(&key).filter(|lease| lease.pending & bit(index) != 0) else { return };
                let moved = LeaseKey { start: lease.offset(key.start, index), pop_time };
                let revive_queue = lease.revive_queue;
                self.leave(key, bit(index));
                self.insert(moved, Lease { invisible, revive_queue, physical, count: 1, deltas: None, pending: 1 });
            }
            Change::Reset { next } => self.reset(next),
        }
    }

    /// Adds a lease as it is, for a state that is put together from its parts.
    pub fn insert(&mut self, key: LeaseKey, lease: Lease) {
        self.remove(key);
        if lease.pending == 0 {
            return;
        }
        self.pending += lease.pending_count() as usize;
        self.due.insert((deadline(key, &lease), key));
        self.open.insert(key, lease);
    }

    /// Forgets a lease.
    pub fn remove(&mut self, key: LeaseKey) {
        if let Some(lease) = self.open.remove(&key) {
            self.pending -= lease.pending_count() as usize;
            if !self.due.remove(&(deadline(key, &lease), key)) {
                self.due.retain(|(_, other)| *other != key);
            }
        }
    }

    fn leave(&mut self, key: LeaseKey, bits: u32) {
        let Some(lease) = self.open.get_mut(&key) else { return };
        self.pending -= (lease.pending & bits).count_ones() as usize;
        lease.pending &= !bits;
        if lease.pending == 0 {
            self.remove(key);
        }
    }

    /// A lease that reaches beyond `next` keeps what lies before it.
    fn reset(&mut self, next: i64) {
        self.next = next;
        let behind: Vec<LeaseKey> =
            self.open.iter().filter(|(key, lease)| key.reaches(lease, next)).map(|(key, _)| *key).collect();
        for key in behind {
            let Some(lease) = self.open.get(&key) else { continue };
            let indices = 0..u32::from(lease.count);
            let bits = indices.filter(|at| lease.offset(key.start, *at) >= next).fold(0, |bits, at| bits | bit(at));
            self.leave(key, bits);
        }
    }
}

impl LeaseKey {
    fn reaches(&self, lease: &Lease, next: i64) -> bool {
        let last = u32::from(lease.count).saturating_sub(1);
        lease.offset(self.start, last) >= next
    }
}

fn bit(index: u32) -> u32 {
    1u32.checked_shl(index).unwrap_or(0)
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
