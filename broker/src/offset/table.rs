//! Consumer offsets in memory: (group, topic, queue) → the next offset to consume.
//!
//! A commit is two lookups by borrowed names under a read lock and a store in memory and in the journal's mapping, under
//! the queue's own lock; it allocates only the first time that a queue is seen. The last commit wins, backward ones too, as clients expect; a backward one is reported to the
//! caller, so that it is never silent.
//!
//! A *reset mark* stands for an offset that an operator set. While it is there, it is the answer to queries, and what
//! clients commit is ignored; the next pull of that queue takes it away and starts from there.
//!
//! Invariant: every stored offset and every mark passes through [`Cell`], which tells the [journal](super::journal).
//! Rules: `transactions-retry-delay.md` section 6.

use std::{
    hash::{BuildHasher, BuildHasherDefault},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::{RwLock, RwLockReadGuard};
use rustc_hash::{FxHashMap, FxHasher};

use super::{
    journal::{Epoch, Name},
    queues::{Cell, Kept, Puller, Queues},
    save::OffsetFile,
};

/// Queues with an offset, over all groups, unless told otherwise.
pub const DEFAULT_OFFSET_LIMIT: usize = 2_000_000;

const SHARDS: usize = 32;

type Topics = FxHashMap<Box<str>, Queues>;

#[derive(Default)]
struct Shard {
    groups: FxHashMap<Box<str>, Topics>,
    /// Where commits are kept between two savings; the same in all shards.
    epoch: Option<Arc<Epoch>>,
}

/// What became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// The offset is stored.
    Stored,
    /// The offset is stored although it lies before the one that was there.
    Backward {
        /// What was stored before.
        from: i64,
    },
    /// A reset mark is there; the commit was ignored.
    ResetPending,
    /// The queue is new and the table is full; nothing was stored.
    Full,
}

/// One stored offset.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredOffset {
    /// Consumer group.
    pub group: String,
    /// Topic.
    pub topic: String,
    /// Queue of the topic on this broker.
    pub queue_id: i32,
    /// Next offset to consume.
    pub offset: i64,
}

/// The offsets of all groups.
pub struct Offsets {
    shards: Box<[RwLock<Shard>]>,
    cells: AtomicUsize,
    limit: usize,
    changes: AtomicU64,
    /// Absent in tests of the table alone.
    pub(super) file: Option<OffsetFile>,
}

impl Default for Offsets {
    fn default() -> Self {
        Self::with_limit(DEFAULT_OFFSET_LIMIT)
    }
}

impl Offsets {
    /// An empty table with room for `limit` queues, counted for each group that has offsets in them.
    pub fn with_limit(limit: usize) -> Self {
        let shards = (0..SHARDS).map(|_| RwLock::default()).collect();
        Self { shards, cells: AtomicUsize::new(0), limit, changes: AtomicU64::new(0), file: None }
    }

    /// A consumer's commit. Ignored while a reset mark is there.
    pub fn commit(&self, group: &str, topic: &str, queue_id: i32, offset: i64) -> Commit {
        let stored = self.with_cell(group, topic, queue_id, |cell, kept| match cell.commit(offset, kept) {
            Ok(before) => self.stored(before, offset),
            Err(()) => Commit::ResetPending,
        });
        stored.unwrap_or(Commit::Full)
    }

    /// Stores an offset that the broker itself decided on: pop, transactions, administration. Ignores reset marks.
    pub fn set(&self, group: &str, topic: &str, queue_id: i32, offset: i64) -> Commit {
        let stored = self.with_cell(group, topic, queue_id, |cell, kept| self.stored(cell.set(offset, kept), offset));
        stored.unwrap_or(Commit::Full)
    }

    /// The stored offset, or that of a reset mark. `None` when neither is there, or when a client stored a negative one.
    pub fn get(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        self.find(group, topic, queue_id, |cell, _| cell.pending_reset().or(cell.committed()))
            .filter(|offset| *offset >= 0)
    }

    /// What is stored, whatever marks there are and whatever it is.
    pub(super) fn stored_at(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        self.find(group, topic, queue_id, |cell, _| cell.committed())
    }

    /// Remembers how far a group has pulled, for consume statistics. Not saved.
    pub fn note_pull(&self, group: &str, topic: &str, queue_id: i32, next: i64) {
        self.with_cell(group, topic, queue_id, |cell, _| cell.set_pulled(next));
    }

    /// A pull of a queue begins: who it is, and the reset mark that it takes away, where it has to start. The caller must
    /// not commit what its request carried.
    pub fn begin_pull(&self, group: &str, topic: &str, queue_id: i32, puller: Puller) -> Option<i64> {
        let mark = self.with_cell(group, topic, queue_id, |cell, kept| {
            cell.set_puller(puller);
            let offset = cell.take_reset(kept)?;
            self.stored(None, offset);
            Some(offset)
        });
        mark.flatten()
    }

    /// Who pulled the queue last since this process started.
    pub fn puller(&self, group: &str, topic: &str, queue_id: i32) -> Option<Puller> {
        self.find(group, topic, queue_id, |cell, _| cell.puller())
    }

    /// How far a group has pulled since this process started.
    pub fn pulled(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        self.find(group, topic, queue_id, |cell, _| cell.pulled())
    }

    /// Moves a group to `offset` and leaves a reset mark for its next pull. False when the offset or queue is negative,
    /// or when the table is full.
    pub fn reset(&self, group: &str, topic: &str, queue_id: i32, offset: i64) -> bool {
        if queue_id < 0 || offset < 0 || topic.is_empty() || group.is_empty() {
            return false;
        }
        let done = self.with_cell(group, topic, queue_id, |cell, kept| {
            self.stored(cell.reset(offset, kept), offset);
        });
        done.is_some()
    }

    /// Whether a reset mark waits for the next pull of this queue.
    pub fn has_reset(&self, group: &str, topic: &str, queue_id: i32) -> bool {
        self.find(group, topic, queue_id, |cell, _| cell.pending_reset()).is_some()
    }

    /// Takes the reset mark away: where the pull that calls this has to start. The caller must not commit what its
    /// request carried.
    pub fn take_reset(&self, group: &str, topic: &str, queue_id: i32) -> Option<i64> {
        self.find(group, topic, queue_id, |cell, kept| {
            let offset = cell.take_reset(kept)?;
            self.stored(None, offset);
            Some(offset)
        })
    }

    /// Sets or removes a reset mark as an earlier run left it, without touching the offset.
    pub(super) fn restore_mark(&self, name: &Name<'_>, mark: Option<i64>) {
        let Name { group, topic, queue_id } = *name;
        if mark.is_some() {
            self.with_cell(group, topic, queue_id, |cell, kept| cell.mark(mark, kept));
        } else {
            self.find(group, topic, queue_id, |cell, kept| {
                cell.mark(None, kept);
                Some(())
            });
        }
    }

    /// Topics in which a group has offsets or has pulled, in no order.
    pub fn topics_of(&self, group: &str) -> Vec<String> {
        let shard = self.shard(group).read();
        shard.groups.get(group).map(|topics| topics.keys().map(|topic| topic.to_string()).collect()).unwrap_or_default()
    }

    /// Groups that have offsets in a topic or have pulled it, in no order. Walks the whole table.
    pub fn groups_of(&self, topic: &str) -> Vec<String> {
        let in_shard = |shard: &RwLock<Shard>| {
            let shard = shard.read();
            let groups = shard.groups.iter().filter(|(_, topics)| topics.contains_key(topic));
            groups.map(|(group, _)| group.to_string()).collect::<Vec<_>>()
        };
        self.shards.iter().flat_map(in_shard).collect()
    }

    /// A group's offsets in a topic: (queue, offset), ordered by queue.
    pub fn of_topic(&self, group: &str, topic: &str) -> Vec<(i32, i64)> {
        let shard = self.shard(group).read();
        let Some(queues) = shard.groups.get(group).and_then(|topics| topics.get(topic)) else { return Vec::new() };
        queues.iter().filter_map(|cell| Some((cell.queue_id, cell.committed()?))).collect()
    }

    /// Every stored offset, ordered by group, topic and queue. Groups that change meanwhile are seen before or after the
    /// change.
    pub fn snapshot(&self) -> Vec<StoredOffset> {
        let mut all = Vec::with_capacity(self.len());
        for shard in &self.shards {
            visit(&shard.read(), |group, topic, cell| {
                if let Some(offset) = cell.committed() {
                    let (group, topic) = (group.to_owned(), topic.to_owned());
                    all.push(StoredOffset { group, topic, queue_id: cell.queue_id, offset });
                }
            });
        }
        all.sort_unstable();
        all
    }

    /// Stored offsets beyond what `end` says of their queues, in no order.
    pub(super) fn beyond(&self, end: &impl Fn(&str, i32) -> i64) -> Vec<StoredOffset> {
        let mut found = Vec::new();
        for shard in &self.shards {
            visit(&shard.read(), |group, topic, cell| {
                if let Some(offset) = cell.committed().filter(|offset| *offset > end(topic, cell.queue_id)) {
                    let (group, topic) = (group.to_owned(), topic.to_owned());
                    found.push(StoredOffset { group, topic, queue_id: cell.queue_id, offset });
                }
            });
        }
        found
    }

    /// Gives `to` the offsets that `from` has in a topic. Negative ones stand for none, and are left out.
    pub fn copy(&self, from: &str, to: &str, topic: &str) {
        for (queue_id, offset) in self.of_topic(from, topic).into_iter().filter(|(_, offset)| *offset >= 0) {
            self.set(to, topic, queue_id, offset);
        }
    }

    /// Forgets everything about a group.
    pub fn remove_group(&self, group: &str) {
        let mut shard = self.shard(group).write();
        if let Some(topics) = shard.groups.remove(group) {
            topics.iter().for_each(|(topic, queues)| self.dropped(&shard.epoch, group, topic, queues));
        }
    }

    /// Forgets everything about a topic, in all groups.
    pub fn remove_topic(&self, topic: &str) {
        for shard in &self.shards {
            let shard = &mut *shard.write();
            shard.groups.retain(|group, topics| {
                if let Some(queues) = topics.remove(topic) {
                    self.dropped(&shard.epoch, group, topic, &queues);
                }
                !topics.is_empty()
            });
        }
    }

    /// Forgets what one group has in one topic.
    pub fn remove(&self, group: &str, topic: &str) {
        let shard = &mut *self.shard(group).write();
        let Some(topics) = shard.groups.get_mut(group) else { return };
        if let Some(queues) = topics.remove(topic) {
            self.dropped(&shard.epoch, group, topic, &queues);
        }
        if topics.is_empty() {
            shard.groups.remove(group);
        }
    }

    /// Queues in the table, counted for each group.
    pub fn len(&self) -> usize {
        self.cells.load(Ordering::Relaxed)
    }

    /// Whether the table knows no queue.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Stores and removals since the start. Two equal counts mean that nothing changed in between.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    fn stored(&self, before: Option<i64>, offset: i64) -> Commit {
        self.changes.fetch_add(1, Ordering::AcqRel);
        match before {
            Some(from) if offset < from => Commit::Backward { from },
            _ => Commit::Stored,
        }
    }

    /// From now on `epoch` keeps what is committed. Nobody commits meanwhile: `begin` runs when every cell has forgotten
    /// its slot of the epoch before, and `epoch` knows the reset marks.
    pub(super) fn switch_to(&self, epoch: &Arc<Epoch>, begin: &dyn Fn()) {
        let mut shards: Vec<_> = self.shards.iter().map(RwLock::write).collect(); // the only place that holds two
        for shard in &mut shards {
            for (group, topics) in &mut shard.groups {
                for (topic, queues) in topics {
                    for cell in queues.iter_mut() {
                        cell.unslot();
                        if let Some(mark) = cell.pending_reset() {
                            epoch.mark(&Name { group, topic, queue_id: cell.queue_id }, Some(mark));
                        }
                    }
                }
            }
        }
        begin();
        shards.iter_mut().for_each(|shard| shard.epoch = Some(Arc::clone(epoch)));
    }

    /// What was stored so far is what the file holds.
    pub(super) fn forget_changes(&mut self) {
        *self.changes.get_mut() = 0;
    }

    /// A group's queues in a topic were taken out of the table. Under the shard's lock: what comes after is another life.
    fn dropped(&self, epoch: &Option<Arc<Epoch>>, group: &str, topic: &str, queues: &Queues) {
        if let Some(epoch) = epoch {
            epoch.forget(group, topic, queues.iter().filter_map(Cell::slot));
        }
        self.cells.fetch_sub(queues.len(), Ordering::Relaxed);
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    fn find<T>(
        &self,
        group: &str,
        topic: &str,
        queue_id: i32,
        look: impl FnOnce(&Cell, Kept<'_>) -> Option<T>,
    ) -> Option<T> {
        let shard = self.shard(group).read();
        let kept = shard.epoch.as_deref().map(|epoch| (epoch, Name { group, topic, queue_id }));
        cell_in(&shard, group, topic, queue_id).and_then(|cell| look(cell, kept))
    }

    /// Works on the cell of a queue, which is added when it is missing; `None` when there is no room for it.
    fn with_cell<T>(
        &self,
        group: &str,
        topic: &str,
        queue_id: i32,
        work: impl FnOnce(&Cell, Kept<'_>) -> T,
    ) -> Option<T> {
        let name = Name { group, topic, queue_id };
        let shard = self.shard(group);
        {
            let shard: RwLockReadGuard<'_, Shard> = shard.read();
            if let Some(cell) = cell_in(&shard, group, topic, queue_id) {
                return Some(work(cell, shard.epoch.as_deref().map(|epoch| (epoch, name))));
            }
        }
        let shard = &mut *shard.write();
        if self.len() >= self.limit && cell_in(shard, group, topic, queue_id).is_none() {
            return None;
        }
        let topics = shard.groups.entry(group.into()).or_default();
        let (cell, added) = topics.entry(topic.into()).or_default().get_or_add(queue_id);
        if added {
            self.cells.fetch_add(1, Ordering::Relaxed);
        }
        Some(work(cell, shard.epoch.as_deref().map(|epoch| (epoch, name))))
    }

    fn shard(&self, group: &str) -> &RwLock<Shard> {
        let hash = BuildHasherDefault::<FxHasher>::default().hash_one(group);
        let middle_bits = usize::from((hash >> 32) as u16); // the map inside uses the lowest and the highest ones
        &self.shards[middle_bits % SHARDS]
    }
}

fn cell_in<'a>(shard: &'a Shard, group: &str, topic: &str, queue_id: i32) -> Option<&'a Cell> {
    shard.groups.get(group)?.get(topic)?.get(queue_id)
}

fn visit(shard: &Shard, mut look: impl FnMut(&str, &str, &Cell)) {
    for (group, topics) in &shard.groups {
        for (topic, queues) in topics {
            queues.iter().for_each(|cell| look(group, topic, cell));
        }
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
