//! Extension files of consume queues (`consumequeue_ext`), as Apache writes them with `enableConsumeQueueExt`.
//!
//! An entry then holds, instead of the tags code, the address of a unit in these files:
//!
//! ```text
//! i16 size | i64 tags code | i64 store time | i16 length of the filter bits | the bits
//! ```
//!
//! A size of 0 ends the data of a file, -1 closes the file. Files of Apache are read whatever the setting, so that a
//! directory from such a broker keeps filtering rightly. Units that we write have no filter bits, which Apache takes
//! for "look at the record".
//!
//! Invariant: a unit is written before the entry that holds its address, and no unit is ever written where an entry may
//! point. A unit that cannot be written costs nothing but itself: the entry then holds the tags code, which Apache
//! understands too.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use smallvec::SmallVec;

use super::Queue;
use super::entry::Entry;
use super::file::{Place, QueueKind, file_name, is_file_name};
use crate::error::FileError;
use crate::fs::{OpenMode, read_exact_at};
use crate::light::is_light;
use crate::sync::Mutex;
use crate::sync::atomic::Ordering;

/// Directory below the root that holds the extension files.
pub const FOLDER: &str = "consumequeue_ext";
/// Length of a unit without filter bits.
const HEADER_LEN: usize = 20;
/// Bytes that a file keeps free behind its last unit, so that there is room for the mark that closes it.
const CLOSING_LEN: u64 = 4;
/// What closes a file, in the place of a unit's size.
const CLOSED: i16 = -1;
/// First address that an entry cannot hold: from there on it would look like a tags code.
const ADDRESS_END: u64 = i64::MAX.cast_unsigned() - (1 << 31);
/// Entries looked at, from the end of a queue, for the last address: as many as three files of Apache's size hold.
const LOOK_BACK: u64 = 900_000;

/// What an operator can set about extension files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ExtSettings {
    /// Length of a file in bytes (`mappedFileSizeConsumeQueueExt`).
    pub(crate) file_size: u64,
    /// Whether units are written (`enableConsumeQueueExt`).
    pub(crate) write: bool,
}

/// One unit, without its filter bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtUnit {
    /// Java hash of the message's tags; the time of delivery for `SCHEDULE_TOPIC_XXXX`.
    pub tags_code: i64,
    /// Store time of the record in milliseconds since the Unix epoch.
    pub store_timestamp: i64,
    /// Length of the unit in bytes, 20 or more: the next unit comes so much further.
    pub len: u16,
}

impl ExtUnit {
    /// A unit without filter bits.
    pub fn new(tags_code: i64, store_timestamp: i64) -> Self {
        Self { tags_code, store_timestamp, len: HEADER_LEN as u16 }
    }

    /// Decodes the first 20 bytes of a unit; `None` when there is no unit.
    pub fn from_bytes(bytes: &[u8; HEADER_LEN]) -> Option<Self> {
        let (size, rest) = bytes.split_first_chunk()?;
        let (tags_code, rest) = rest.split_first_chunk()?;
        let (time, _) = rest.split_first_chunk()?;
        let len = u16::try_from(i16::from_be_bytes(*size)).ok().filter(|&len| usize::from(len) >= HEADER_LEN)?;
        Some(Self { tags_code: i64::from_be_bytes(*tags_code), store_timestamp: i64::from_be_bytes(*time), len })
    }

    /// Encodes the unit, without filter bits.
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..2].copy_from_slice(&(HEADER_LEN as i16).to_be_bytes());
        bytes[2..10].copy_from_slice(&self.tags_code.to_be_bytes());
        bytes[10..18].copy_from_slice(&self.store_timestamp.to_be_bytes());
        bytes
    }
}

/// The extension files of one queue.
pub(super) struct ExtFiles {
    place: Place,
    /// The file that was read last.
    read: ArcSwapOption<Held>,
    /// Used by one thread at a time, under the append lock, and by the one that flushes.
    tail: Mutex<Tail>,
}

/// An open file and the address at which it begins.
struct Held {
    start: u64,
    file: File,
}

#[derive(Default)]
struct Tail {
    /// Address that the next unit gets; `None` until it is known.
    end: Option<u64>,
    held: Option<Held>,
    /// Files written since the last sync.
    unsynced: SmallVec<[u64; 2]>,
    names_unsynced: bool,
}

impl ExtFiles {
    /// The files of the queue at `place`. They need not exist.
    pub(super) fn new(place: Place) -> Self {
        Self { place, read: ArcSwapOption::empty(), tail: Mutex::default() }
    }

    /// The unit at an address taken from an entry; `Ok(None)` when there is none there.
    pub(super) fn unit(&self, address: u64) -> io::Result<Option<ExtUnit>> {
        let start = self.start_of(address);
        let held = match self.read.load_full().filter(|held| held.start == start) {
            Some(held) => held,
            None => match self.open(start, OpenMode::Read) {
                Ok(file) => {
                    let held = Arc::new(Held { start, file });
                    self.read.store(Some(Arc::clone(&held)));
                    held
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            },
        };
        let mut bytes = [0; HEADER_LEN];
        let path = self.directory()?.join(file_name(start));
        match read_exact_at(&*self.place.fs, &held.file, &path, &mut bytes, address - start) {
            Ok(()) => Ok(ExtUnit::from_bytes(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a unit behind the last one of `queue`, and returns its address.
    fn put(&self, queue: &Queue, unit: ExtUnit) -> io::Result<u64> {
        let size = self.place.ext.file_size;
        let known = self.tail.lock().end;
        // Without the lock: looking for the end opens files of the queue, which may close those of others.
        let mut address = known.map_or_else(|| self.find_end(queue), Ok)?;
        let mut tail = self.tail.lock();
        let left = size - address % size;
        if left < HEADER_LEN as u64 + CLOSING_LEN {
            if left >= CLOSED.to_be_bytes().len() as u64 {
                self.write(&mut tail, address, &CLOSED.to_be_bytes())?;
            }
            address += left;
        }
        if address + HEADER_LEN as u64 >= ADDRESS_END {
            return Err(io::Error::other("no addresses are left in the extension files"));
        }
        self.write(&mut tail, address, &unit.to_bytes())?;
        tail.end = Some(address + HEADER_LEN as u64);
        Ok(address)
    }

    fn write(&self, tail: &mut Tail, address: u64, bytes: &[u8]) -> io::Result<()> {
        let start = self.start_of(address);
        let held = match tail.held.take().filter(|held| held.start == start) {
            Some(held) => held,
            None => Held { start, file: self.create(tail, start)? },
        };
        if !tail.unsynced.contains(&start) {
            tail.unsynced.push(start);
        }
        let path = self.directory()?.join(file_name(start));
        let written = self.place.fs.write_at(&held.file, &path, bytes, address - start);
        tail.held = Some(held);
        written
    }

    /// Where the next unit goes: behind the one that the queue's last address points to. When that one is lost, or no entry has
    /// an address, a new file begins, for nothing may be written where an older entry points.
    fn find_end(&self, queue: &Queue) -> io::Result<u64> {
        let size = self.place.ext.file_size;
        let end = queue.end_entry.load(Ordering::Acquire);
        let numbers = end.saturating_sub(LOOK_BACK)..end;
        let last = numbers.rev().map_while(|number| queue.read_entry(number)).find_map(|at| at.entry.ext_address());
        if let Some(last) = last {
            let unit = self.unit(last)?;
            return Ok(unit.map_or_else(|| self.start_of(last) + size, |unit| last + u64::from(unit.len)));
        }
        let files = self.place.fs.list(&self.directory()?)?;
        let starts = files.iter().filter_map(|file| file.name.parse::<u64>().ok());
        Ok(starts.max().map_or(0, |start| self.start_of(start) + size))
    }

    /// Forgets where the end is: entries were cut off the queue.
    pub(super) fn forget_end(&self) {
        *self.tail.lock() = Tail::default();
        self.read.store(None);
    }

    /// Closes files that stay open for the next unit.
    pub(super) fn close(&self) {
        self.tail.lock().held = None;
        self.read.store(None);
    }

    /// Makes all units durable. To be called before the entries that point to them are made durable.
    pub(super) fn sync(&self) -> Result<(), FileError> {
        let failed = FileError::of("sync the extension files of a queue in", &self.place.root);
        let (starts, names) = {
            let mut tail = self.tail.lock();
            (std::mem::take(&mut tail.unsynced), std::mem::take(&mut tail.names_unsynced))
        };
        let synced = self.sync_files(&starts, names);
        if synced.is_err() {
            let mut tail = self.tail.lock();
            tail.unsynced.extend(starts);
            tail.names_unsynced |= names;
        }
        synced.map_err(failed)
    }

    fn sync_files(&self, starts: &[u64], names: bool) -> io::Result<()> {
        let directory = self.directory()?;
        for &start in starts {
            let path = directory.join(file_name(start));
            match self.place.fs.open(&path, OpenMode::ReadWrite) {
                Ok(file) => self.place.fs.sync_data(&file, &path)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if names {
            for directory in directory.ancestors().take(4).take_while(|at| at.starts_with(&self.place.root)) {
                self.place.fs.sync_dir(directory)?;
            }
        }
        Ok(())
    }

    /// Removes files that end before an address.
    pub(super) fn remove_before(&self, address: u64) -> Result<(), FileError> {
        let failed = FileError::of("remove extension files of a queue in", &self.place.root);
        let remove = || -> io::Result<()> {
            let directory = self.directory()?;
            for file in self.place.fs.list(&directory)? {
                if file.name.parse::<u64>().is_ok_and(|start| start + self.place.ext.file_size <= address) {
                    self.place.fs.remove_file(&directory.join(&file.name))?;
                }
            }
            Ok(())
        };
        remove().map_err(failed)
    }

    fn create(&self, tail: &mut Tail, start: u64) -> io::Result<File> {
        let (fs, directory) = (&*self.place.fs, self.directory()?);
        let path = directory.join(file_name(start));
        match fs.open(&path, OpenMode::ReadWrite) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
        fs.create_dir_all(&directory)?;
        let file = fs.open(&path, OpenMode::CreateOrOpen)?;
        fs.set_len(&file, &path, self.place.ext.file_size)?;
        tail.names_unsynced = true;
        Ok(file)
    }

    fn open(&self, start: u64, mode: OpenMode) -> io::Result<File> {
        self.place.fs.open(&self.directory()?.join(file_name(start)), mode)
    }

    fn start_of(&self, address: u64) -> u64 {
        address - address % self.place.ext.file_size
    }

    fn directory(&self) -> io::Result<PathBuf> {
        if !is_file_name(&self.place.topic) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the topic is no file name"));
        }
        Ok(self.place.root.join(FOLDER).join(&*self.place.topic).join(self.place.queue_id.to_string()))
    }
}

impl Place {
    /// Whether units are written for the entries of this queue. Light queues have none.
    pub(super) fn writes_ext(&self) -> bool {
        self.ext.write && self.kind == QueueKind::Simple && !is_light(&self.topic)
    }
}

impl Queue {
    /// The tags code of an entry of this queue, read from the extension files when the entry holds an address.
    ///
    /// `None` when the unit is missing or unreadable: the entry then matches any tag, as at Apache, and the client filters.
    pub fn tags_code(&self, entry: &Entry) -> Option<i64> {
        let Some(address) = entry.ext_address() else { return Some(entry.tags_code) };
        match self.ext().unit(address) {
            Ok(unit) => unit.map(|unit| unit.tags_code),
            Err(error) => {
                tracing::warn!(topic = self.topic(), queue_id = self.queue_id(), %error, "extension file unreadable");
                None
            }
        }
    }

    /// The entry as it is stored: with the address of a unit just written, if units are written.
    pub(super) fn extended(&self, entry: Entry, store_timestamp: i64) -> Entry {
        if !self.place().writes_ext() {
            return entry;
        }
        match self.ext().put(self, ExtUnit::new(entry.tags_code, store_timestamp)) {
            Ok(address) => Entry { tags_code: address.cast_signed().wrapping_add(i64::MIN), ..entry },
            Err(error) => {
                let (topic, queue_id) = (self.topic(), self.queue_id());
                tracing::warn!(topic, queue_id, %error, "no extension unit; the entry holds the tags code itself");
                entry
            }
        }
    }

    /// Its extension files, where it is known to have some.
    pub(super) fn ext(&self) -> &ExtFiles {
        self.ext.get_or_init(|| Box::new(ExtFiles::new(self.place().clone())))
    }
}
