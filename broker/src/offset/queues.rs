//! The offsets of one group in one topic: a cell for each queue.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::journal::{Epoch, Name, Slot};

/// A cell's value before anything was stored in it. No offset that a client may send.
pub(super) const NONE: i64 = i64::MIN;

/// Who pulled a queue last, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Puller {
    /// The connection that it came over.
    pub connection: u64,
    /// In milliseconds.
    pub at_ms: i64,
}

/// What is known of one queue.
///
/// Reading takes no lock. Whoever changes the committed offset or the reset mark holds `turn`, so that the journal gets
/// values in the order in which they count here, and no commit slips past a mark.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) queue_id: i32,
    committed: AtomicI64,
    pulled: AtomicI64,
    pulled_at: AtomicI64,
    pulled_by: AtomicU64,
    reset: AtomicI64,
    turn: Mutex<Slot>,
}

/// Where a cell's changes are kept besides: the journal's epoch, and what the cell is called there.
pub(super) type Kept<'a> = Option<(&'a Epoch, Name<'a>)>;

fn known(value: i64) -> Option<i64> {
    (value != NONE).then_some(value)
}

impl Cell {
    fn new(queue_id: i32) -> Self {
        let none = || AtomicI64::new(NONE);
        Self {
            queue_id,
            committed: none(),
            pulled: none(),
            pulled_at: none(),
            pulled_by: AtomicU64::default(),
            reset: none(),
            turn: Mutex::default(),
        }
    }

    pub(super) fn committed(&self) -> Option<i64> {
        known(self.committed.load(Ordering::Acquire))
    }

    /// Stores an offset; the one before it. `Err` when a reset mark forbids it.
    pub(super) fn commit(&self, offset: i64, kept: Kept<'_>) -> Result<Option<i64>, ()> {
        let mut slot = self.turn.lock();
        if self.pending_reset().is_some() { Err(()) } else { Ok(self.store(&mut slot, offset, kept)) }
    }

    /// Stores an offset whatever marks there are; the one before it.
    pub(super) fn set(&self, offset: i64, kept: Kept<'_>) -> Option<i64> {
        self.store(&mut self.turn.lock(), offset, kept)
    }

    /// Leaves a reset mark and stores its offset; the offset before it.
    pub(super) fn reset(&self, offset: i64, kept: Kept<'_>) -> Option<i64> {
        let mut slot = self.turn.lock();
        self.mark(Some(offset), kept);
        self.store(&mut slot, offset, kept)
    }

    pub(super) fn pending_reset(&self) -> Option<i64> {
        known(self.reset.load(Ordering::Acquire))
    }

    /// Takes the mark away, and stores its offset; only one caller gets it.
    pub(super) fn take_reset(&self, kept: Kept<'_>) -> Option<i64> {
        self.pending_reset()?;
        let mut slot = self.turn.lock();
        let offset = self.pending_reset()?;
        self.store(&mut slot, offset, kept); // before the mark goes: it stands for this offset until then
        self.mark(None, kept);
        Some(offset)
    }

    /// Sets or removes the mark as an earlier run left it.
    pub(super) fn mark(&self, mark: Option<i64>, kept: Kept<'_>) {
        if let Some((epoch, name)) = &kept {
            epoch.mark(name, mark);
        }
        self.reset.store(mark.unwrap_or(NONE), Ordering::Release);
    }

    fn store(&self, slot: &mut Slot, offset: i64, kept: Kept<'_>) -> Option<i64> {
        let before = self.committed.load(Ordering::Relaxed);
        self.committed.store(offset, Ordering::Release);
        if let Some((epoch, name)) = kept {
            epoch.store(slot, &name, offset);
        }
        known(before)
    }

    /// Its slot in the journal, for whoever forgets the cell.
    pub(super) fn slot(&self) -> Option<u32> {
        self.turn.lock().index()
    }

    /// Has no slot any more: another epoch begins.
    pub(super) fn unslot(&mut self) {
        *self.turn.get_mut() = Slot::default();
    }

    pub(super) fn pulled(&self) -> Option<i64> {
        known(self.pulled.load(Ordering::Relaxed))
    }

    pub(super) fn puller(&self) -> Option<Puller> {
        let at_ms = known(self.pulled_at.load(Ordering::Relaxed))?;
        Some(Puller { connection: self.pulled_by.load(Ordering::Relaxed), at_ms })
    }

    pub(super) fn set_puller(&self, puller: Puller) {
        self.pulled_by.store(puller.connection, Ordering::Relaxed);
        self.pulled_at.store(puller.at_ms, Ordering::Relaxed);
    }

    pub(super) fn set_pulled(&self, offset: i64) {
        self.pulled.store(offset, Ordering::Relaxed);
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

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Cell> {
        self.0.iter_mut()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn position(&self, queue_id: i32) -> Result<usize, usize> {
        self.0.binary_search_by_key(&queue_id, |cell| cell.queue_id)
    }
}
