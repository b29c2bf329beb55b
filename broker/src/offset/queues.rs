//! The offsets of one group in one topic: a cell for each queue.

use std::sync::atomic::{AtomicI64, Ordering};

/// A cell's value before anything was stored in it. No offset that a client may send.
pub(super) const NONE: i64 = i64::MIN;

/// What is known of one queue. Each value is on its own; none guards another.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) queue_id: i32,
    committed: AtomicI64,
    pulled: AtomicI64,
    reset: AtomicI64,
}

fn known(value: i64) -> Option<i64> {
    (value != NONE).then_some(value)
}

impl Cell {
    fn new(queue_id: i32) -> Self {
        let none = || AtomicI64::new(NONE);
        Self { queue_id, committed: none(), pulled: none(), reset: none() }
    }

    pub(super) fn committed(&self) -> Option<i64> {
        known(self.committed.load(Ordering::Acquire))
    }

    /// Stores an offset; the one before it.
    pub(super) fn commit(&self, offset: i64) -> Option<i64> {
        known(self.committed.swap(offset, Ordering::AcqRel))
    }

    pub(super) fn pulled(&self) -> Option<i64> {
        known(self.pulled.load(Ordering::Relaxed))
    }

    pub(super) fn set_pulled(&self, offset: i64) {
        self.pulled.store(offset, Ordering::Relaxed);
    }

    pub(super) fn pending_reset(&self) -> Option<i64> {
        known(self.reset.load(Ordering::Acquire))
    }

    pub(super) fn mark_reset(&self, offset: i64) {
        self.reset.store(offset, Ordering::Release);
    }

    /// Takes the mark away; only one caller gets it.
    pub(super) fn take_reset(&self) -> Option<i64> {
        known(self.reset.swap(NONE, Ordering::AcqRel))
    }
}

/// Cells ordered by queue id. Ids are dense in practice, so the cell of queue `n` is nearly always the `n`th.
#[derive(Debug, Default)]
pub(super) struct Queues(Vec<Cell>);

impl Queues {
    pub(super) fn get(&self, queue_id: i32) -> Option<&Cell> {
        let dense = usize::try_from(queue_id).ok().and_then(|index| self.0.get(index));
        match dense {
            Some(cell) if cell.queue_id == queue_id => Some(cell),
            _ => self.position(queue_id).ok().and_then(|index| self.0.get(index)),
        }
    }

    /// The cell of a queue, added when it is missing. True with one that is new.
    pub(super) fn get_or_add(&mut self, queue_id: i32) -> (&Cell, bool) {
        let (index, added) = match self.position(queue_id) {
            Ok(index) => (index, false),
            Err(index) => {
                self.0.insert(index, Cell::new(queue_id));
                (index, true)
            }
        };
        (&self.0[index], added) // found or inserted just now
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Cell> {
        self.0.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn position(&self, queue_id: i32) -> Result<usize, usize> {
        self.0.binary_search_by_key(&queue_id, |cell| cell.queue_id)
    }
}
