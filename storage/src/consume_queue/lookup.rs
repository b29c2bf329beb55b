//! Reading a queue: one entry, a range, or the offset that belongs to a time.
//!
//! Nothing here takes a lock or copies more than the entries asked for. A file that is deleted meanwhile simply ends
//! the range, as does a range that is cut.

use std::sync::atomic::Ordering;

use super::Queue;
use super::entry::{BatchEntry, Entry};
use super::file::{OpenFile, QueueKind};
use crate::error::FileError;

/// An entry and the messages it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Located {
    /// Queue offset of the first message.
    pub queue_offset: i64,
    /// Number of messages: 1, except in a queue of kind [`QueueKind::Batch`].
    pub batch_size: u16,
    /// Where the record is.
    pub entry: Entry,
}

impl Located {
    /// Queue offset behind the last message.
    pub fn end_offset(&self) -> i64 {
        self.queue_offset + i64::from(self.batch_size)
    }
}

/// Which message is meant when none, or several, were stored at exactly the time asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundary {
    /// The first one stored at that time or later.
    Lower,
    /// The last one stored at that time or earlier.
    Upper,
}

impl Queue {
    /// The entry that holds the message at `offset`, or `None` when it is outside the queue or its file is gone.
    pub fn entry(&self, offset: i64) -> Option<Entry> {
        let first = self.entries(offset).next()?;
        (first.queue_offset <= offset).then_some(first.entry)
    }

    /// The entries from the one that holds `offset` up to what is readable now.
    ///
    /// An offset below the queue's files yields nothing: compare with [`min_offset`](Self::min_offset) first. Where a
    /// file is missing the entries end early; [`behind_gap`](Self::behind_gap) says where to go on.
    pub fn entries(&self, offset: i64) -> Entries<'_> {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        let readable = offset >= 0 && offset < self.max_offset(); // the acquire load pairs with `publish`
        let end = self.end_entry.load(Ordering::Acquire);
        let mut entries = Entries { queue: self, next: end, end, file: None };
        if readable {
            entries.next = match self.kind() {
                QueueKind::Simple => offset.unsigned_abs(),
                QueueKind::Batch => self.batch_of(&mut entries, offset),
            };
        }
        entries
    }

    /// Offset of the first entry in the file behind the one that holds `offset`. For queues of kind [`QueueKind::Simple`].
    pub fn next_file_offset(&self, offset: i64) -> i64 {
        let in_file = (self.place().file_size / self.kind().entry_len()) as i64;
        offset - offset.rem_euclid(in_file) + in_file
    }

    /// Where to go on when there is no entry at `offset` of a queue of kind [`QueueKind::Simple`]: behind the file that is missing.
    /// `None` when the file is there and could not be read: what is in it is not gone, and nobody may go past it.
    pub fn behind_gap(&self, offset: i64) -> Option<i64> {
        match self.judge_gap(offset) {
            Ok(next) => (next > offset).then_some(next),
            Err(error) => {
                tracing::error!(%error, cause = %error.source, offset, "a consume queue cannot be read");
                None
            }
        }
    }

    /// As [`behind_gap`](Self::behind_gap), with what keeps the file from being read. `offset` itself when the entry can be
    /// read now, though it could not a moment ago.
    ///
    /// # Errors
    /// The file is there and the disk does not give it.
    pub fn judge_gap(&self, offset: i64) -> Result<i64, FileError> {
        let position = offset.max(0).unsigned_abs() * self.kind().entry_len();
        let is_there = self.files.open(position)?.is_some() && self.entry(offset).is_some();
        Ok(if is_there { offset } else { self.next_file_offset(offset) })
    }

    /// The offset that belongs to a store time, in milliseconds since the Unix epoch, by binary search.
    ///
    /// `store_time` reads the store time of the record at a log offset, `None` when the record is gone: it counts as older.
    /// With [`Boundary::Lower`] a time after the last message gives the maximum offset; with [`Boundary::Upper`]
    /// a time before the first gives 0, as Apache answers.
    pub fn offset_by_time(&self, ms: i64, boundary: Boundary, store_time: impl Fn(&Entry) -> Option<i64>) -> i64 {
        let mut entries = self.entries(self.min_offset());
        let (first, end) = (self.first_entry.load(Ordering::Acquire), entries.end);
        // The first entry with a time >= ms, or > ms for the upper boundary.
        let found = partition_point(first, end, |number| {
            let time = entries.read(number).and_then(|at| store_time(&at.entry));
            time.is_none_or(|time| if boundary == Boundary::Lower { time < ms } else { time <= ms })
        });
        match boundary {
            Boundary::Lower => entries.read(found).map_or_else(|| self.max_offset(), |at| at.queue_offset),
            Boundary::Upper if found == first => 0,
            Boundary::Upper => entries.read(found - 1).map_or(0, |at| at.end_offset() - 1),
        }
    }

    /// Number of the first entry, from `first` on, that points to `physical` or behind it.
    pub(super) fn first_entry_at(&self, first: u64, physical: u64) -> u64 {
        let end = self.end_entry.load(Ordering::Acquire);
        let mut entries = Entries { queue: self, next: end, end, file: None };
        partition_point(first, end, |number| {
            entries.read(number).is_none_or(|at| at.entry.is_blank() || at.entry.physical_offset < physical)
        })
    }

    /// Reads one entry by its number, whatever its offset.
    pub(super) fn read_entry(&self, number: u64) -> Option<Located> {
        Entries { queue: self, next: number, end: number + 1, file: None }.read(number)
    }

    /// Number of the batch that holds `offset`.
    fn batch_of(&self, entries: &mut Entries<'_>, offset: i64) -> u64 {
        let first = self.first_entry.load(Ordering::Acquire);
        let end = entries.end;
        partition_point(first, end, |number| entries.read(number).is_none_or(|at| at.end_offset() <= offset))
    }
}

/// Entries of a queue in order. Holds the mapping it reads from.
pub struct Entries<'q> {
    queue: &'q Queue,
    next: u64,
    end: u64,
    file: Option<OpenFile>,
}

impl Entries<'_> {
    fn read(&mut self, number: u64) -> Option<Located> {
        let len = self.queue.kind().entry_len();
        let position = number.checked_mul(len)?;
        if !self.file.as_ref().is_some_and(|file| file.holds(position, len)) {
            self.file = Some(self.open(position)?);
        }
        let file = self.file.as_ref()?;
        let offset = file.offset_of(position);
        match self.queue.kind() {
            QueueKind::Simple => {
                let entry = Entry::from_bytes(&file.cells.read(offset)?)?;
                Some(Located { queue_offset: number as i64, batch_size: 1, entry })
            }
            QueueKind::Batch => {
                let batch = BatchEntry::from_bytes(&file.cells.read(offset)?)?;
                Some(Located { queue_offset: batch.base_offset, batch_size: batch.batch_size, entry: batch.entry })
            }
        }
    }

    fn open(&self, position: u64) -> Option<OpenFile> {
        match self.queue.files.open(position) {
            Ok(Some((file, fresh))) => {
                if fresh {
                    self.queue.shared.opened(self.queue);
                }
                Some(file)
            }
            Ok(None) => None,
            Err(error) => {
                tracing::error!(%error, cause = %error.source, "a consume queue cannot be read");
                None
            }
        }
    }
}

impl Iterator for Entries<'_> {
    type Item = Located;

    #[inline]
    fn next(&mut self) -> Option<Located> {
        if self.next >= self.end {
            return None;
        }
        let found = self.read(self.next);
        // What cannot be read ends the range for good.
        self.next = if found.is_some() { self.next + 1 } else { self.end };
        found
    }
}

/// The first number in `low..high` for which `before` is false, or `high`.
fn partition_point(mut low: u64, mut high: u64, mut before: impl FnMut(u64) -> bool) -> u64 {
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}
