//! The pending timers in memory: sixteen bytes each, the earliest first.
//!
//! It is a function of the records of the timer topic, in the order of their queue, and of what was delivered. Pure: no
//! clock, no log. What was done is told by one [`Mark`]: everything enrolled before `frontier` that is due at `through`
//! or earlier. Deliveries follow the order of the index, so that one mark is enough; while something overdue was
//! enrolled late and is still here, there is no mark that tells the truth, and [`Index::mark`] gives none.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

/// Places in the queue that are counted together, to know the oldest that is pending.
const BLOCK: i64 = 1024;

/// One pending timer: when it is due in milliseconds, and its place in the queue of the timer topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) due_ms: i64,
    pub(super) at: i64,
}

impl Key {
    /// Everything that is due at this time or earlier.
    pub(super) fn all_until(due_ms: i64) -> Self {
        Self { due_ms, at: i64::MAX }
    }
}

/// What is done: all places before `frontier` whose keys are not behind `through`, and no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) through: Key,
    pub(super) frontier: i64,
}

impl Mark {
    /// Nothing is done.
    pub(super) const NONE: Self = Self { through: Key { due_ms: i64::MIN, at: 0 }, frontier: 0 };

    pub(super) fn is_done(&self, key: Key) -> bool {
        key.at < self.frontier && key <= self.through
    }
}

/// See the module.
pub(super) struct Index {
    heap: BinaryHeap<Reverse<Key>>,
    /// Pending timers by block of places.
    blocks: BTreeMap<i64, u32>,
    mark: Mark,
}

impl Index {
    /// An empty index. What is enrolled next is at `from`; up to `through` deliveries had come before.
    pub(super) fn new(through: Key, from: i64) -> Self {
        Self { heap: BinaryHeap::new(), blocks: BTreeMap::new(), mark: Mark { through, frontier: from } }
    }

    /// Enrols the timer at the frontier.
    pub(super) fn add(&mut self, key: Key) {
        self.mark.frontier = self.mark.frontier.max(key.at + 1);
        self.put_back(key);
    }

    /// What is at the frontier needs nothing, up to the place `to`.
    pub(super) fn pass(&mut self, to: i64) {
        self.mark.frontier = self.mark.frontier.max(to);
    }

    /// Takes the earliest timer out if it is due. It ends with [`done`](Self::done) or [`put_back`](Self::put_back).
    pub(super) fn take_due(&mut self, now_ms: i64) -> Option<Key> {
        let Reverse(first) = self.heap.peek()?;
        if first.due_ms > now_ms {
            return None;
        }
        let Reverse(key) = self.heap.pop()?;
        self.uncount(key.at);
        Some(key)
    }

    /// A timer that was taken out is still pending.
    pub(super) fn put_back(&mut self, key: Key) {
        *self.blocks.entry(key.at.div_euclid(BLOCK)).or_default() += 1;
        self.heap.push(Reverse(key));
    }

    /// A timer that was taken out as due is delivered.
    pub(super) fn done(&mut self, key: Key) {
        self.mark.through = self.mark.through.max(key);
    }

    /// Nothing that is due at `now_ms` or earlier is left.
    pub(super) fn drained(&mut self, now_ms: i64) {
        self.done(Key::all_until(now_ms));
    }

    /// When the next one is due.
    pub(super) fn next_due(&self) -> Option<i64> {
        self.heap.peek().map(|Reverse(key)| key.due_ms)
    }

    /// What is done, if one mark can tell it now.
    pub(super) fn mark(&self) -> Option<Mark> {
        let overdue = self.heap.peek().is_some_and(|Reverse(first)| *first <= self.mark.through);
        (!overdue).then_some(self.mark)
    }

    /// The next place to enrol.
    pub(super) fn frontier(&self) -> i64 {
        self.mark.frontier
    }

    /// Everything before this place is done. A little low: places are counted in blocks.
    pub(super) fn floor(&self) -> i64 {
        self.blocks.first_key_value().map_or(self.mark.frontier, |(block, _)| block * BLOCK)
    }

    /// The oldest place that is pending. Looks at all of them.
    pub(super) fn oldest(&self) -> i64 {
        self.pending().map(|key| key.at).min().unwrap_or(self.mark.frontier)
    }

    /// Number of pending timers.
    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Bytes that the pending timers take.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.heap.capacity() * size_of::<Key>() + self.blocks.len() * 32
    }

    /// All pending timers, in no order.
    pub(super) fn pending(&self) -> impl Iterator<Item = Key> {
        self.heap.iter().map(|Reverse(key)| *key)
    }

    /// Keeps what `wanted` says.
    pub(super) fn retain(&mut self, mut wanted: impl FnMut(Key) -> bool) {
        let mut gone = Vec::new();
        self.heap.retain(|Reverse(key)| {
            let stays = wanted(*key);
            if !stays {
                gone.push(key.at);
            }
            stays
        });
        gone.into_iter().for_each(|at| self.uncount(at));
    }

    /// Takes the oldest block of places out, in the order of the places.
    pub(super) fn take_oldest_block(&mut self) -> Vec<Key> {
        let Some((&block, _)) = self.blocks.first_key_value() else { return Vec::new() };
        let mut taken = Vec::new();
        self.retain(|key| {
            let stays = key.at.div_euclid(BLOCK) != block;
            if !stays {
                taken.push(key);
            }
            stays
        });
        taken.sort_unstable_by_key(|key| key.at);
        taken
    }

    fn uncount(&mut self, at: i64) {
        let block = at.div_euclid(BLOCK);
        if let Some(count) = self.blocks.get_mut(&block) {
            *count -= 1;
            if *count == 0 {
                self.blocks.remove(&block);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(due_ms: i64, at: i64) -> Key {
        Key { due_ms, at }
    }

    fn index(dues: &[i64]) -> Index {
        let mut index = Index::new(Mark::NONE.through, 0);
        dues.iter().zip(0..).for_each(|(due_ms, at)| index.add(key(*due_ms, at)));
        index
    }

    #[test]
    fn timers_leave_in_the_order_of_their_times_and_none_before_its_time() {
        let mut index = index(&[30, 10, 20, 10]);
        assert_eq!(index.take_due(9), None);
        let taken: Vec<_> = std::iter::from_fn(|| index.take_due(20)).collect();
        assert_eq!(taken, [key(10, 1), key(10, 3), key(20, 2)]);
        assert_eq!((index.len(), index.next_due()), (1, Some(30)));
    }

    #[test]
    fn a_mark_tells_exactly_what_is_done() {
        let mut index = index(&[30, 10, 20]);
        let taken = index.take_due(15).unwrap();
        index.done(taken);
        index.drained(15);
        let mark = index.mark().unwrap();
        assert_eq!(
            [30, 10, 20].iter().zip(0..).map(|(due, at)| mark.is_done(key(*due, at))).collect::<Vec<_>>(),
            [false, true, false]
        );
        assert!(!mark.is_done(key(5, 3)), "what comes later is not done, however early it is due");
    }

    #[test]
    fn there_is_no_mark_while_an_overdue_timer_that_came_late_is_pending() {
        let mut index = index(&[10]);
        index.take_due(20);
        index.drained(20);
        index.add(key(15, 1));
        assert_eq!(index.mark(), None);
        let late = index.take_due(20).unwrap();
        index.done(late);
        assert_eq!(index.mark(), Some(Mark { through: Key::all_until(20), frontier: 2 }));
    }

    #[test]
    fn the_floor_is_never_above_the_oldest_pending_timer() {
        let mut index = Index::new(Mark::NONE.through, 0);
        (0..3 * BLOCK).for_each(|at| index.add(key(at, at)));
        assert_eq!(index.floor(), 0);
        while index.take_due(BLOCK - 1).is_some() {}
        assert_eq!(index.floor(), BLOCK);
        assert_eq!(index.take_oldest_block().len() as i64, BLOCK);
        assert_eq!(index.floor(), 2 * BLOCK);
        index.take_oldest_block();
        assert_eq!((index.floor(), index.len()), (3 * BLOCK, 0));
    }

    #[test]
    fn a_million_pending_timers_take_less_than_forty_megabytes() {
        let mut index = Index::new(Mark::NONE.through, 0);
        (0..1_000_000).for_each(|at| index.add(key(at * 7_919 % 1_000_003, at)));
        assert!(index.bytes() < 40 << 20, "{} bytes", index.bytes());
    }
}
