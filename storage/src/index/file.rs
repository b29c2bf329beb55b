//! One index file: a hash table from keys to log offsets, filled from front to back.
//!
//! ```text
//! header 40 | i32 slot × slots | entry 20 × entries
//! header: i64 begin time, i64 end time, i64 begin offset, i64 end offset, i32 used slots, i32 next entry
//! entry:  i32 key hash, i64 log offset, i32 seconds after begin time, i32 previous entry of the same slot
//! ```
//!
//! Entry 0 is never used: it means "none". One thread writes and any number read: an entry is written before the slot
//! that leads to it. The header in memory is what counts; the one in the file follows it, once for all entries that are
//! added together, and is read at start only.
//!
//! The file is made at full size but sparse. Blocks for header and slots are reserved when it is made and those for
//! entries ahead of the writer, so a full disk is an error and not a signal.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::FileError;
use crate::fs::{FileSystem, OpenMode};
use crate::mmap::{Grain, MappedCells};
use crate::sync::atomic::{AtomicI64, AtomicU32, Ordering, fence};

/// Length of the header in bytes.
pub(crate) const HEADER_LEN: usize = 40;
const SLOT_LEN: usize = 4;
const ENTRY_LEN: usize = 20;
/// Bytes reserved ahead of the entries.
const BLOCKS_AHEAD: usize = 1 << 20;

/// Numbers of slots and entries of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    /// At least 1.
    pub(crate) slots: u32,
    /// At least 2; one stays unused.
    pub(crate) entries: u32,
}

impl Layout {
    /// Length of a file in bytes.
    pub(crate) fn file_len(self) -> u64 {
        HEADER_LEN as u64 + SLOT_LEN as u64 * u64::from(self.slots) + ENTRY_LEN as u64 * u64::from(self.entries)
    }

    fn slot_at(self, hash: u32) -> usize {
        HEADER_LEN + SLOT_LEN * (hash % self.slots) as usize
    }

    fn entry_at(self, number: u32) -> usize {
        HEADER_LEN + SLOT_LEN * self.slots as usize + ENTRY_LEN * number as usize
    }
}

/// The header's fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Header {
    /// Store time of the first entry, in milliseconds since the Unix epoch.
    pub(crate) begin_timestamp: i64,
    /// Store time of the last entry.
    pub(crate) end_timestamp: i64,
    /// Log offset of the first entry.
    pub(crate) begin_physical: i64,
    /// Log offset of the last entry.
    pub(crate) end_physical: i64,
    /// Slots that are not empty.
    pub(crate) used_slots: u32,
    /// Number of the next entry, starting at 1; a file is full when it equals the number of entries.
    pub(crate) next_entry: u32,
}

impl Header {
    /// Reads the bytes of the file. A next entry of 0, as in a file that was just made, is 1.
    pub(crate) fn from_bytes(bytes: &[u8; HEADER_LEN]) -> Self {
        let long = |n: usize| bytes.as_chunks().0.get(n).map_or(0, |field| i64::from_be_bytes(*field));
        let short = |n: usize| bytes.as_chunks().0.get(n).map_or(0, |field| u32::from_be_bytes(*field));
        Self {
            begin_timestamp: long(0),
            end_timestamp: long(1),
            begin_physical: long(2),
            end_physical: long(3),
            used_slots: short(8),
            next_entry: short(9).max(1),
        }
    }

    fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let longs = [self.begin_timestamp, self.end_timestamp, self.begin_physical, self.end_physical];
        for (field, value) in bytes.as_chunks_mut().0.iter_mut().zip(longs) {
            *field = value.to_be_bytes();
        }
        for (field, value) in bytes.as_chunks_mut().0.iter_mut().skip(8).zip([self.used_slots, self.next_entry]) {
            *field = value.to_be_bytes();
        }
        bytes
    }
}

/// A key of a record, to be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    /// Hash of topic and key.
    pub(crate) hash: u32,
    /// Log offset of the record.
    pub(crate) physical: i64,
    /// When it was stored, in milliseconds since the Unix epoch.
    pub(crate) timestamp: i64,
}

/// What a query looks for in a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Hash of topic and key.
    pub(crate) hash: u32,
    /// Milliseconds since the Unix epoch, inclusive.
    pub(crate) begin_ms: i64,
    /// Milliseconds since the Unix epoch, inclusive.
    pub(crate) end_ms: i64,
}

/// One file, mapped.
pub(crate) struct IndexFile {
    cells: MappedCells,
    layout: Layout,
    begin_timestamp: AtomicI64,
    end_timestamp: AtomicI64,
    begin_physical: AtomicI64,
    end_physical: AtomicI64,
    used_slots: AtomicU32,
    next_entry: AtomicU32,
}

impl IndexFile {
    /// Makes a file that continues after `previous`, the full file before it. Nothing stays behind when that fails.
    pub(crate) fn create(
        fs: &dyn FileSystem,
        path: &Path,
        layout: Layout,
        previous: Option<Header>,
    ) -> Result<Self, FileError> {
        let file = fs.open(path, OpenMode::CreateNew).map_err(FileError::of("create", path))?;
        let header = previous.map_or(Header { next_entry: 1, ..Header::default() }, |previous| Header {
            begin_timestamp: previous.end_timestamp,
            end_timestamp: previous.end_timestamp,
            begin_physical: previous.end_physical,
            end_physical: previous.end_physical,
            used_slots: 0,
            next_entry: 1,
        });
        let made = || -> io::Result<Self> {
            fs.set_len(&file, path, layout.file_len())?;
            let made = Self::map(file, path.to_owned(), layout, header)?;
            made.cells.reserve(fs, layout.entry_at(1), BLOCKS_AHEAD)?;
            made.write_header(header);
            Ok(made)
        };
        made().map_err(|error| {
            if let Err(left) = fs.remove_file(path) {
                tracing::warn!(file = %path.display(), error = %left, "unfinished index file stays");
            }
            FileError::of("make the index file", path)(error)
        })
    }

    /// Opens an existing file, which must have the layout's length.
    pub(crate) fn open(fs: &dyn FileSystem, path: &Path, layout: Layout) -> Result<Self, FileError> {
        let file = fs.open(path, OpenMode::ReadWrite).map_err(FileError::of("open", path))?;
        let mut bytes = [0; HEADER_LEN];
        file.read_exact_at(&mut bytes, 0).map_err(FileError::of("read", path))?;
        let mut header = Header::from_bytes(&bytes);
        header.next_entry = header.next_entry.min(layout.entries);
        Self::map(file, path.to_owned(), layout, header).map_err(FileError::of("map", path))
    }

    fn map(file: File, path: PathBuf, layout: Layout, header: Header) -> io::Result<Self> {
        let len = usize::try_from(layout.file_len()).map_err(io::Error::other)?;
        Ok(Self {
            cells: MappedCells::map(file, path, len, Grain::Word)?,
            layout,
            begin_timestamp: AtomicI64::new(header.begin_timestamp),
            end_timestamp: AtomicI64::new(header.end_timestamp),
            begin_physical: AtomicI64::new(header.begin_physical),
            end_physical: AtomicI64::new(header.end_physical),
            used_slots: AtomicU32::new(header.used_slots),
            next_entry: AtomicU32::new(header.next_entry),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.cells.path()
    }

    /// The header as it stands. Fields may be of neighbouring entries while the file is written.
    pub(crate) fn header(&self) -> Header {
        Header {
            next_entry: self.next_entry.load(Ordering::Acquire),
            begin_timestamp: self.begin_timestamp.load(Ordering::Relaxed),
            end_timestamp: self.end_timestamp.load(Ordering::Relaxed),
            begin_physical: self.begin_physical.load(Ordering::Relaxed),
            end_physical: self.end_physical.load(Ordering::Relaxed),
            used_slots: self.used_slots.load(Ordering::Relaxed),
        }
    }

    /// Adds entries, as many as there is room for, and returns how many. One thread at a time.
    ///
    /// The file's header follows when all are in: a process that is killed before leaves a file that is not full, which
    /// the next start removes.
    pub(crate) fn put(&self, fs: &dyn FileSystem, keys: &[Key]) -> io::Result<usize> {
        let mut header = self.header();
        let room = self.layout.entries.saturating_sub(header.next_entry) as usize;
        let keys = keys.get(..room).unwrap_or(keys);
        let Some(last) = keys.last() else { return Ok(0) };
        self.cells.reserve(fs, self.layout.entry_at(header.next_entry) + ENTRY_LEN * keys.len(), BLOCKS_AHEAD)?;
        for key in keys {
            let number = header.next_entry;
            let previous = self.slot(key.hash).filter(|&previous| previous < number).unwrap_or(0);
            let after = seconds_after(header.begin_timestamp, key.timestamp);
            if number == 1 {
                header.begin_timestamp = key.timestamp;
                header.begin_physical = key.physical;
                self.begin_timestamp.store(key.timestamp, Ordering::Relaxed);
                self.begin_physical.store(key.physical, Ordering::Relaxed);
            }
            header.used_slots += u32::from(previous == 0);
            header.next_entry = number + 1;
            let entry = IndexEntry { hash: key.hash, physical: key.physical, seconds: after, previous };
            self.write(self.layout.entry_at(number), &entry.to_bytes())?;
            fence(Ordering::Release); // pairs with the fence in `newest_in_slot`
            self.write(self.layout.slot_at(key.hash), &number.to_be_bytes())?;
            // Pairs with the load in `header`: who sees the number sees entry and slot.
            self.next_entry.store(header.next_entry, Ordering::Release);
        }
        header.end_timestamp = last.timestamp;
        header.end_physical = last.physical;
        self.end_timestamp.store(header.end_timestamp, Ordering::Relaxed);
        self.end_physical.store(header.end_physical, Ordering::Relaxed);
        self.used_slots.store(header.used_slots, Ordering::Relaxed);
        self.write_header(header);
        Ok(keys.len())
    }

    #[inline]
    fn write(&self, at: usize, bytes: &[u8]) -> io::Result<()> {
        if self.cells.write(at, bytes) { Ok(()) } else { Err(io::Error::other("reserved space is not writable")) }
    }

    /// Key hash and log offset of the last entry.
    pub(crate) fn last(&self) -> Option<(u32, i64)> {
        let last = self.next_entry.load(Ordering::Acquire) - 1;
        let entry = self.entry(last).filter(|_| last > 0)?;
        Some((entry.hash, entry.physical))
    }

    /// Whether any entry can be from the time asked for.
    pub(crate) fn overlaps(&self, begin_ms: i64, end_ms: i64) -> bool {
        let header = self.header();
        begin_ms <= header.end_timestamp && end_ms >= header.begin_timestamp
    }

    /// Hands the log offsets with the wanted hash and time to `found`, newest first, until it says stop (false).
    ///
    /// Entries know their time in whole seconds, so one is taken if any part of its second is in the wanted range.
    pub(crate) fn query(&self, wanted: Wanted, mut found: impl FnMut(i64) -> bool) {
        let header = self.header();
        let mut number = self.newest_in_slot(wanted.hash);
        while number > 0 {
            let Some(entry) = self.entry(number) else { return };
            if entry.seconds < 0 {
                return;
            }
            let after_ms = i64::from(entry.seconds) * 1000;
            // The first entry is the begin of the file, to the millisecond. (What is stored for it in a file that follows
            // another counts from the end of that other file.)
            let (after_ms, exact) = if number == 1 { (0, 0) } else { (after_ms, 999) };
            let first_ms = header.begin_timestamp.saturating_add(after_ms);
            let last_ms = first_ms.saturating_add(exact);
            let in_time = last_ms >= wanted.begin_ms && first_ms <= wanted.end_ms;
            if entry.hash == wanted.hash && in_time && !found(entry.physical) {
                return;
            }
            // Chains lead to older entries only; anything else is damage and would not end.
            if entry.previous >= number || last_ms < wanted.begin_ms {
                return;
            }
            number = entry.previous;
        }
    }

    /// Makes all entries so far durable.
    pub(crate) fn sync(&self, fs: &dyn FileSystem) -> Result<(), FileError> {
        self.cells.sync(fs).map_err(FileError::of("sync", self.path()))
    }

    /// Number of the newest entry in the slot of `hash`, 0 for none. Numbers behind the last entry are damage.
    fn newest_in_slot(&self, hash: u32) -> u32 {
        let slot = self.slot(hash);
        fence(Ordering::Acquire); // pairs with the fence in `put`
        // Who sees a number in a slot sees its entry, and that the one before it was added.
        slot.filter(|&slot| slot <= self.next_entry.load(Ordering::Relaxed) && slot < self.layout.entries).unwrap_or(0)
    }

    /// What the slot of `hash` holds.
    #[inline]
    fn slot(&self, hash: u32) -> Option<u32> {
        self.cells.read(self.layout.slot_at(hash)).map(u32::from_be_bytes)
    }

    fn entry(&self, number: u32) -> Option<IndexEntry> {
        let bytes: [u8; ENTRY_LEN] = self.cells.read(self.layout.entry_at(number))?;
        let (hash, rest) = bytes.split_first_chunk()?;
        let (physical, rest) = rest.split_first_chunk()?;
        let (seconds, rest) = rest.split_first_chunk()?;
        let (previous, _) = rest.split_first_chunk()?;
        Some(IndexEntry {
            hash: u32::from_be_bytes(*hash),
            physical: i64::from_be_bytes(*physical),
            seconds: i32::from_be_bytes(*seconds),
            previous: u32::from_be_bytes(*previous),
        })
    }

    fn write_header(&self, header: Header) {
        // The header is part of what `create` and `put` reserve first.
        let _ = self.cells.write(0, &header.to_bytes());
    }
}

/// An entry as it lies in the file.
struct IndexEntry {
    hash: u32,
    physical: i64,
    seconds: i32,
    previous: u32,
}

impl IndexEntry {
    fn to_bytes(&self) -> [u8; ENTRY_LEN] {
        let mut bytes = [0; ENTRY_LEN];
        bytes[..4].copy_from_slice(&self.hash.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.physical.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.seconds.to_be_bytes());
        bytes[16..].copy_from_slice(&self.previous.to_be_bytes());
        bytes
    }
}

/// Whole seconds from the begin of a file to `timestamp`, as an entry stores them. A file without begin gives 0.
fn seconds_after(begin: i64, timestamp: i64) -> i32 {
    if begin <= 0 {
        return 0;
    }
    let seconds = timestamp.saturating_sub(begin) / 1000;
    i32::try_from(seconds.max(0)).unwrap_or(i32::MAX)
}
