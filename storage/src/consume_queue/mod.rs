//! Consume queues: for each (topic, queue id), where its messages lie in the commit log.
//!
//! A [`Queue`] is a function of the log: every entry can be made again from the record it points to. One path writes
//! it, [`Queue::dispatch`], whether the record was just appended, is met again by recovery, or came from another broker;
//! a record that is already there is ignored. [`Queue::reserve`] takes the disk space before the record goes to the
//! log, so that after it nothing can fail.
//!
//! Readers take no lock. Invariant: an entry is written before `max_offset` is raised past it (release), and readers
//! load `max_offset` (acquire) before they read entries.
//!
//! [`entry`] is the layout, [`mod@file`] the files below, [`lookup`] finding by offset and by time, [`upkeep`] flushing,
//! cutting and deleting, [`load`] start-up, [`table`] all queues, [`ext`] the extension files.

pub mod entry;
pub mod ext;
pub mod file;
pub mod load;
pub mod lookup;
mod open_files;
pub mod table;
pub mod upkeep;

#[cfg(test)]
mod ext_tests;
#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock, Weak};

use smallvec::SmallVec;

use self::entry::{BatchEntry, Entry};
use self::ext::ExtFiles;
use self::file::{OpenFile, Place, QueueFiles, QueueKind};
use self::open_files::Shared;
use crate::error::FileError;
use crate::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};

/// Sizes in bytes, as stored, up to which appended records are counted together. Those of Apache's metrics.
pub const SIZE_CLASSES: [u32; 6] = [1 << 10, 4 << 10, 512 << 10, 1 << 20, 2 << 20, 4 << 20];

/// Highest queue offset that can be meant: entries up to it have positions that are numbers.
const MOST_OFFSET: i64 = i64::MAX / 128;

/// One record as a queue sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dispatch {
    /// Where the record lies in the log, and its tags code.
    pub entry: Entry,
    /// Queue offset of the record's first message.
    pub queue_offset: i64,
    /// Number of messages in the record: 1, except for an inner batch. Matters only to a queue of kind [`QueueKind::Batch`].
    pub batch_size: u16,
    /// Store time of the record in milliseconds since the Unix epoch.
    pub store_timestamp: i64,
}

/// What became of a dispatched record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dispatched {
    /// Its entry is in the queue now.
    Stored,
    /// Its entry was there already.
    Repeated,
}

/// One consume queue. Keep the `Arc`: appending then needs no lookup.
///
/// Everything that writes ([`reserve`](Self::reserve), [`dispatch`](Self::dispatch), [`truncate`](Self::truncate)) is
/// called by one thread at a time, which the append lock sees to. Everything else may be called at any time.
pub struct Queue {
    files: QueueFiles,
    /// Opened when an entry holds an address there, or is about to.
    ext: OnceLock<Box<ExtFiles>>,
    shared: Arc<Shared>,
    this: Weak<Queue>,
    min_offset: AtomicI64,
    max_offset: AtomicI64,
    /// Number of the entry that comes next; equals `max_offset` unless the queue holds batches.
    end_entry: AtomicU64,
    /// Number of the first entry that is not deleted.
    first_entry: AtomicU64,
    /// Log offset of that entry, so that most looks at retention need no file.
    first_physical: AtomicU64,
    max_physical: AtomicU64,
    /// Number of the first entry that may not be on disk.
    flushed_entry: AtomicU64,
    waiters: AtomicU32,
    /// Messages and bytes of records appended here since the store was opened. Written under the append lock.
    appended: [AtomicU64; 2],
    /// How many of these records were of each class of [`SIZE_CLASSES`]. Written under the append lock.
    sizes: [AtomicU64; SIZE_CLASSES.len() + 1],
    used: AtomicBool,
    dirty: AtomicBool,
    deleted: AtomicBool,
}

impl Queue {
    /// Topic of the queue.
    pub fn topic(&self) -> &str {
        &self.place().topic
    }

    /// Number of the queue within the topic.
    pub fn queue_id(&self) -> i32 {
        self.place().queue_id
    }

    /// What its entries look like.
    pub fn kind(&self) -> QueueKind {
        self.place().kind
    }

    /// Offset of the first message whose record is still in the log; equals [`max_offset`](Self::max_offset) when there is none.
    pub fn min_offset(&self) -> i64 {
        self.min_offset.load(Ordering::Acquire)
    }

    /// Offset that the next message gets. Everything below is readable.
    #[inline]
    pub fn max_offset(&self) -> i64 {
        self.max_offset.load(Ordering::Acquire)
    }

    /// End of the last indexed record in the log; 0 for a queue that never had one. Records that end here or before are repeats.
    pub fn max_physical_offset(&self) -> u64 {
        self.max_physical.load(Ordering::Acquire)
    }

    /// How many readers wait for this queue to grow. Raised by a waiter before it looks at
    /// [`max_offset`](Self::max_offset) a last time; a sender that finds 0 after its append has nobody to wake.
    pub fn waiters(&self) -> &AtomicU32 {
        &self.waiters
    }

    /// Messages appended since the store was opened, and the bytes of their records. What recovery finds or another
    /// broker sends does not count.
    pub fn appended(&self) -> [u64; 2] {
        let [messages, bytes] = &self.appended;
        [messages.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed)]
    }

    /// How many records of each size were appended since the store was opened: up to each of [`SIZE_CLASSES`], and longer
    /// ones. A batch counts once, with the mean of its messages.
    pub fn sizes(&self) -> [u64; SIZE_CLASSES.len() + 1] {
        self.sizes.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// Counts one record. Called with the append lock held, so that nobody else adds.
    #[inline]
    pub(crate) fn note_appended(&self, messages: u16, size: u32) {
        let [all, bytes] = &self.appended;
        all.store(all.load(Ordering::Relaxed) + u64::from(messages), Ordering::Relaxed);
        bytes.store(bytes.load(Ordering::Relaxed) + u64::from(size), Ordering::Relaxed);
        let each = size / u32::from(messages.max(1));
        let class = SIZE_CLASSES.iter().position(|end| each <= *end).unwrap_or(SIZE_CLASSES.len());
        if let Some(count) = self.sizes.get(class) {
            count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    /// Whether the topic was deleted. A handle to a deleted queue takes no more entries: look the queue up again.
    pub fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    /// Makes and maps the file of the next entry, so that [`reserve`](Self::reserve), which runs under the append lock, finds
    /// it there. May be called by anybody at any time; what fails here fails again there, with the reason.
    #[inline]
    pub(crate) fn prepare(&self) {
        let position = self.end_entry.load(Ordering::Relaxed) * self.kind().entry_len();
        if !self.files.is_mapped(position) && !self.is_deleted() {
            let _ = self.open_or_create(position);
        }
    }

    /// Takes disk space and memory for the next `count` entries, so that dispatching as many cannot fail.
    ///
    /// Nothing is written. An error (disk full, too many files, a deleted topic) leaves the queue as it was and later
    /// calls try again. In the usual case this is two atomic loads and a comparison.
    #[inline]
    pub fn reserve(&self, count: usize) -> Result<Reservation, FileError> {
        if self.is_deleted() {
            return Err(self.deleted_error());
        }
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        let len = self.kind().entry_len();
        let first = self.end_entry.load(Ordering::Relaxed) * len;
        let end = first + len * count.max(1) as u64;
        let mut files = SmallVec::new();
        let mut position = first;
        while position < end {
            let file = self.open_or_create(position)?;
            let part_end = end.min(file.start + file.cells.len() as u64);
            self.files.reserve(&file, position, part_end - position)?;
            position = part_end;
            files.push(file);
        }
        Ok(Reservation { files })
    }

    /// Writes the entry of one record, with the space that [`reserve`](Self::reserve) took for it.
    ///
    /// Fails only if more entries are dispatched than were reserved, or `record.queue_offset` is not the next offset.
    #[inline]
    pub fn dispatch_reserved(&self, room: &Reservation, record: &Dispatch) -> Result<Dispatched, FileError> {
        let position = self.end_entry.load(Ordering::Relaxed) * self.kind().entry_len();
        let file = room.files.iter().find(|file| file.holds(position, self.kind().entry_len()));
        if let Some(file) = file
            && record.queue_offset == self.max_offset.load(Ordering::Relaxed)
            && record.entry.end() > self.max_physical.load(Ordering::Relaxed)
            && self.write(file, position, record)
        {
            self.publish(record);
            return Ok(Dispatched::Stored);
        }
        self.dispatch(record)
    }

    /// Writes the entry of one record, wherever the record comes from. A record that is there already is ignored.
    ///
    /// A queue without entries starts at the record's offset, whatever it is. An offset ahead of a queue that has
    /// entries is a hole that a crash left: up to one file's worth is filled with blanks, so that offsets stay true;
    /// more cannot be believed, and the entry goes to the end. So does that of a damaged record whose offset no queue can have.
    pub fn dispatch(&self, record: &Dispatch) -> Result<Dispatched, FileError> {
        if self.is_bare() && record.queue_offset < self.max_offset.load(Ordering::Relaxed) {
            self.begin_anew();
        }
        let next = self.max_offset.load(Ordering::Relaxed);
        let started = self.end_entry.load(Ordering::Relaxed) > 0;
        if started && (record.entry.end() <= self.max_physical_offset() || record.queue_offset < next) {
            return Ok(Dispatched::Repeated);
        }
        if self.is_deleted() {
            return Err(self.deleted_error());
        }
        let mut record = *record;
        if !(0..=MOST_OFFSET).contains(&record.queue_offset) {
            let (topic, queue_id, offset) = (self.topic(), self.queue_id(), record.queue_offset);
            tracing::warn!(topic, queue_id, next, offset, "record with an impossible queue offset goes to the end");
            record.queue_offset = next;
        }
        let record = &record;
        if self.kind() == QueueKind::Simple && record.queue_offset > next {
            self.leave_blank(next, record.queue_offset, started)?;
        }
        let room = self.reserve(1)?;
        let position = self.end_entry.load(Ordering::Relaxed) * self.kind().entry_len();
        if !room.files.first().is_some_and(|file| self.write(file, position, record)) {
            let source = std::io::Error::other("reserved space is not writable");
            return Err(FileError::of("write an entry to a queue in", &self.place().root)(source));
        }
        if !started {
            self.first_entry.store(self.end_entry.load(Ordering::Relaxed), Ordering::Relaxed);
            self.first_physical.store(record.entry.physical_offset, Ordering::Relaxed);
            self.min_offset.store(record.queue_offset, Ordering::Release);
        }
        self.publish(record);
        Ok(Dispatched::Stored)
    }

    /// Whether there are files, and nothing in them: a later offset than 0 is known by their names alone.
    fn is_bare(&self) -> bool {
        let end = self.end_entry.load(Ordering::Relaxed);
        end > 0 && self.first_entry.load(Ordering::Relaxed) >= end && self.max_physical.load(Ordering::Relaxed) == 0
    }

    /// Makes it a queue that never had an entry: a crash of the machine took the files before those that are there, and their
    /// records are in the log.
    fn begin_anew(&self) {
        for number in [&self.end_entry, &self.first_entry, &self.first_physical, &self.flushed_entry] {
            number.store(0, Ordering::Relaxed);
        }
        self.min_offset.store(0, Ordering::Release);
        self.max_offset.store(0, Ordering::Release);
    }

    /// Moves the end to the entry of `offset`, filling what is skipped with blanks.
    fn leave_blank(&self, next: i64, offset: i64, started: bool) -> Result<(), FileError> {
        let (len, file_size) = (self.kind().entry_len(), self.place().file_size);
        let target = offset.unsigned_abs();
        let end = self.end_entry.load(Ordering::Relaxed);
        let (from, to) = if started {
            if target - end > file_size / len {
                let (topic, queue_id) = (self.topic(), self.queue_id());
                tracing::warn!(topic, queue_id, next, offset, "record with an unlikely queue offset goes to the end");
                return Ok(());
            }
            tracing::warn!(topic = self.topic(), queue_id = self.queue_id(), next, offset, "hole in a consume queue");
            (end, target)
        } else {
            (self.files.start_of(target * len) / len, target)
        };
        // The last round only takes the space of the entry itself, so that nothing shows if the disk is full.
        for entry in from..=to {
            let file = self.open_or_create(entry * len)?;
            self.files.reserve(&file, entry * len, len)?;
            if entry < to {
                // Reserved just now, so written.
                let _ = file.cells.write(file.offset_of(entry * len), &Entry::BLANK.to_bytes());
            }
        }
        self.end_entry.store(to, Ordering::Release);
        if started {
            self.max_offset.store(offset, Ordering::Release);
        }
        Ok(())
    }

    #[inline]
    fn write(&self, file: &OpenFile, position: u64, record: &Dispatch) -> bool {
        let offset = file.offset_of(position);
        match self.kind() {
            QueueKind::Simple => {
                let entry = self.extended(record.entry, record.store_timestamp);
                file.cells.write(offset, &entry.to_bytes())
            }
            QueueKind::Batch => {
                let batch = BatchEntry {
                    entry: record.entry,
                    store_timestamp: record.store_timestamp,
                    base_offset: record.queue_offset,
                    batch_size: record.batch_size.clamp(1, i16::MAX as u16),
                };
                file.cells.write(offset, &batch.to_bytes())
            }
        }
    }

    /// Lets readers see the entry that was just written.
    #[inline]
    fn publish(&self, record: &Dispatch) {
        let entry = self.end_entry.load(Ordering::Relaxed) + 1;
        self.end_entry.store(entry, Ordering::Release);
        self.max_physical.store(record.entry.end(), Ordering::Release);
        let max_offset = match self.kind() {
            QueueKind::Simple => entry as i64,
            QueueKind::Batch => record.queue_offset + i64::from(record.batch_size.clamp(1, i16::MAX as u16)),
        };
        if entry == 1 {
            self.first_physical.store(record.entry.physical_offset, Ordering::Relaxed);
        }
        self.max_offset.store(max_offset, Ordering::Release); // pairs with the load in `max_offset`
        if !self.dirty.load(Ordering::Relaxed) {
            self.note_dirty();
        }
    }

    fn place(&self) -> &Place {
        self.files.place()
    }

    #[inline]
    fn open_or_create(&self, position: u64) -> Result<OpenFile, FileError> {
        let (file, fresh) = self.files.open_or_create(position)?;
        if fresh {
            self.shared.opened(self);
        }
        Ok(file)
    }

    #[cold]
    fn deleted_error(&self) -> FileError {
        let source = std::io::Error::new(std::io::ErrorKind::NotFound, "the topic was deleted");
        let path = self.place().directory().unwrap_or_else(|_| self.place().root.to_path_buf());
        FileError::of("write to", &path)(source)
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{} [{}, {})", self.topic(), self.queue_id(), self.min_offset(), self.max_offset())
    }
}

/// Space for entries that are about to be written. Holds the mapping, so nobody can close it in between.
pub struct Reservation {
    files: SmallVec<[OpenFile; 1]>,
}
