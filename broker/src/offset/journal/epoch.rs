//! One generation of the journal: slots with values, and the list that says whose they are.
//!
//! The list begins with a header: who this epoch is, and the stamps of the last few contents of `consumerOffset.json`
//! that its values come after. Slots are handed out at the first commit of a queue and recycled when it is forgotten.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;
use tenonmq_storage::fs::FileSystem;

use super::{
    area::{Area, FILES, Left, file_name},
    fuse::Fuse,
    record::{Kind, Record},
    slot::{self, SLOT, Slot},
};

const MAGIC: u64 = 0x5445_4e4f_4e4f_4646; // "TENONOFF"
/// Bytes before the first record.
const HEADER: u64 = 128;
const RING: u64 = 32;
const STAMPS: usize = 4;
const STAMP: u64 = 16;
type Ring = [Option<u64>; STAMPS];
/// Length of the first files, in bytes.
const FIRST_NAMES: u64 = 128 << 10;
const FIRST_SLOTS: u64 = 128 << 10;

/// What a content of `consumerOffset.json` is known by: its length and its CRC. 0: there is no file.
pub(in crate::offset) fn stamp_of(content: &[u8]) -> u64 {
    (content.len() as u64) << 32 | u64::from(crc32fast::hash(content))
}

/// Where an epoch's files are.
#[derive(Debug, Clone)]
pub(in crate::offset) struct Place {
    pub(super) number: u64,
    names: PathBuf,
    slots: PathBuf,
}

impl Place {
    pub(super) fn new(folder: &Path, number: u64) -> Self {
        let stem = |kind: &str| folder.join(format!("{number:08}.{kind}"));
        Self { number, names: stem("names"), slots: stem("slots") }
    }

    /// Removes the files; the header first, so that what a crash leaves is no epoch.
    pub(super) fn remove(&self, fs: &dyn FileSystem) -> io::Result<()> {
        let files =
            [&self.names, &self.slots].into_iter().flat_map(|stem| (0..FILES).map(|index| file_name(stem, index)));
        files.filter(|path| fs.exists(path)).try_for_each(|path| fs.remove_file(&path))
    }
}

/// The epoch that takes commits.
pub(crate) struct Epoch {
    pub(super) place: Place,
    nonce: u64,
    names: Area,
    slots: Area,
    list: Mutex<List>,
    /// No room on disk: what has no slot yet gets none in this epoch.
    broken: AtomicBool,
}

#[derive(Default)]
struct List {
    end: u64,
    records: u64,
    next_slot: u32,
    free: Vec<u32>,
    ring: Ring,
    scratch: Vec<u8>,
}

/// Whose offset is stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Name<'a> {
    pub(in crate::offset) group: &'a str,
    pub(in crate::offset) topic: &'a str,
    pub(in crate::offset) queue_id: i32,
}

impl Epoch {
    /// A new epoch. It does not count before [`publish`](Self::publish).
    pub(super) fn create(fs: &Arc<dyn FileSystem>, place: Place, nonce: u64, fuse: &Fuse) -> io::Result<Self> {
        place.remove(&**fs)?; // leftovers of a run that died while making it
        let names = Area::new(Arc::clone(fs), place.names.clone(), FIRST_NAMES, fuse.clone());
        let slots = Area::new(Arc::clone(fs), place.slots.clone(), FIRST_SLOTS, fuse.clone());
        names.ensure(0)?;
        let list = Mutex::new(List { end: HEADER, ..List::default() });
        Ok(Self { place, nonce, names, slots, list, broken: AtomicBool::new(false) })
    }

    /// Makes the epoch count, as a successor of these contents of `consumerOffset.json`.
    pub(super) fn publish(&self, stamps: [u64; 2]) {
        stamps.into_iter().for_each(|stamp| self.stamp(stamp, stamps));
        let header = header(self.place.number, self.nonce);
        let (magic, rest) = header.split_at(8);
        self.names.write(8, rest);
        self.names.write(0, magic);
    }

    /// Notes what `consumerOffset.json` is about to hold. What it may hold now, `keep`, stays noted.
    pub(super) fn stamp(&self, stamp: u64, keep: [u64; 2]) {
        let mut list = self.list.lock();
        if list.ring.contains(&Some(stamp)) {
            return;
        }
        let superfluous = |noted: &Option<u64>| noted.is_none_or(|noted| !keep.contains(&noted));
        if let Some(index) = list.ring.iter().position(superfluous) {
            self.write_stamp(&mut list, index, Some(stamp)); // there are four places, and two to keep
        }
    }

    /// That content is no predecessor any more.
    pub(super) fn unstamp(&self, stamp: u64) {
        let mut list = self.list.lock();
        if let Some(index) = list.ring.iter().position(|noted| *noted == Some(stamp)) {
            self.write_stamp(&mut list, index, None);
        }
    }

    fn write_stamp(&self, list: &mut List, index: usize, stamp: Option<u64>) {
        let mut bytes = [0; STAMP as usize];
        if let Some(stamp) = stamp {
            let (number, check) = bytes.split_at_mut(8);
            number.copy_from_slice(&stamp.to_le_bytes());
            check.copy_from_slice(&stamp_check(self.nonce, stamp).to_le_bytes());
        }
        if let Some(place) = list.ring.get_mut(index) {
            *place = stamp;
        }
        self.names.write(RING + index as u64 * STAMP, &bytes);
    }

    /// Keeps an offset. The caller holds the slot's cell, so that values get here in the order in which they count.
    #[inline]
    pub(in crate::offset) fn store(&self, slot: &mut Slot, name: &Name<'_>, offset: i64) {
        if slot.index().is_none() {
            match self.assign(name) {
                Some(assigned) => *slot = assigned,
                None => return,
            }
        }
        let (place, bytes) = slot.next(offset);
        self.slots.write(place, &bytes);
    }

    #[cold]
    fn assign(&self, name: &Name<'_>) -> Option<Slot> {
        if self.broken.load(Ordering::Relaxed) {
            return None;
        }
        let mut list = self.list.lock();
        let recycled = list.free.pop();
        let index = recycled.unwrap_or(list.next_slot);
        let key = slot::mix(self.nonce ^ list.records.rotate_left(32));
        let record =
            Record { slot: index, number: key, ..Record::new(Kind::Assign, name.group, name.topic, name.queue_id) };
        let done = self.slots.ensure(u64::from(index) * SLOT).and_then(|()| self.append(&mut list, &record));
        if let Err(error) = done {
            list.free.extend(recycled);
            self.fails(&error);
            return None;
        }
        if recycled.is_none() {
            list.next_slot += 1;
        }
        Some(Slot::new(index, key))
    }

    /// Notes that a group has nothing in a topic any more; its slots may go to others.
    pub(in crate::offset) fn forget(&self, group: &str, topic: &str, slots: impl Iterator<Item = u32>) {
        let mut list = self.list.lock();
        match self.append(&mut list, &Record::new(Kind::Forget, group, topic, 0)) {
            Ok(()) => list.free.extend(slots),
            Err(error) => self.fails(&error),
        }
    }

    /// Notes a reset mark (`Some`), or that it was taken.
    pub(in crate::offset) fn mark(&self, name: &Name<'_>, mark: Option<i64>) {
        let kind = if mark.is_some() { Kind::Mark } else { Kind::Unmark };
        let number = mark.unwrap_or_default().cast_unsigned();
        let record = Record { number, ..Record::new(kind, name.group, name.topic, name.queue_id) };
        if let Err(error) = self.append(&mut self.list.lock(), &record) {
            self.fails(&error);
        }
    }

    /// Whether a fresh epoch would be much shorter, or this one found no room.
    pub(super) fn is_worn(&self) -> bool {
        let list = self.list.lock();
        let live = u64::from(list.next_slot) - list.free.len() as u64;
        self.broken.load(Ordering::Relaxed) || list.records > WORN_RECORDS + 2 * live
    }

    fn append(&self, list: &mut List, record: &Record<'_>) -> io::Result<()> {
        let mut bytes = std::mem::take(&mut list.scratch);
        let encoded = record.encode(self.nonce, &mut bytes);
        let done = match encoded {
            Some(()) => self.append_bytes(list, &bytes),
            None => Err(io::Error::new(io::ErrorKind::InvalidInput, "the names are too long")),
        };
        list.scratch = bytes;
        done
    }

    fn append_bytes(&self, list: &mut List, bytes: &[u8]) -> io::Result<()> {
        self.names.ensure(list.end)?;
        let file_end = self.names.end_of_file(list.end);
        if list.end + bytes.len() as u64 > file_end {
            self.names.ensure(file_end)?;
            if file_end - list.end >= Record::SHORTEST as u64 {
                let mut skip = Vec::with_capacity(Record::SHORTEST);
                let _ = Record::new(Kind::Skip, "", "", 0).encode(self.nonce, &mut skip); // has no names
                self.names.write(list.end, &skip);
            }
            list.end = file_end;
        }
        self.names.write(list.end, bytes);
        list.end += bytes.len() as u64;
        list.records += 1;
        Ok(())
    }

    fn fails(&self, error: &io::Error) {
        if error.kind() == io::ErrorKind::InvalidInput {
            tracing::debug!(%error, "an offset is not journalled");
        } else if !self.broken.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, "no room for the offset journal; new queues are safe only once the table is saved");
        }
    }
}

/// Records that an epoch may hold beyond two for each queue before it is replaced.
#[cfg(not(test))]
const WORN_RECORDS: u64 = 50_000;
#[cfg(test)]
const WORN_RECORDS: u64 = 8;

fn header(number: u64, nonce: u64) -> [u8; RING as usize] {
    let mut bytes = [0; RING as usize];
    let (words, rest) = bytes.split_at_mut(24);
    for (word, value) in words.as_chunks_mut::<8>().0.iter_mut().zip([MAGIC, number, nonce]) {
        *word = value.to_le_bytes();
    }
    let crc = u64::from(crc32fast::hash(words)) | 1 << 32;
    rest.copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn stamp_check(nonce: u64, stamp: u64) -> u64 {
    slot::mix(nonce ^ slot::mix(stamp)) | 1
}

/// An epoch that an earlier run left.
pub(super) struct Past {
    pub(super) place: Place,
    nonce: u64,
    names: Left,
    slots: Left,
}

impl Past {
    /// `None` when there is no valid epoch at that place.
    pub(super) fn read(fs: &dyn FileSystem, place: Place) -> io::Result<Option<Self>> {
        let names = Left::read(fs, &place.names, FIRST_NAMES)?;
        let Some(found) = names.bytes(0, RING as usize) else { return Ok(None) };
        let Some(nonce) = found.get(16..24).and_then(|bytes| bytes.first_chunk().copied()) else { return Ok(None) };
        let nonce = u64::from_le_bytes(nonce);
        if found != header(place.number, nonce) {
            return Ok(None);
        }
        let slots = Left::read(fs, &place.slots, FIRST_SLOTS)?;
        Ok(Some(Self { place, nonce, names, slots }))
    }

    /// Whether its values come after that content of `consumerOffset.json`.
    pub(super) fn follows(&self, stamp: u64) -> bool {
        (0..STAMPS as u64).any(|index| {
            let bytes = self.names.bytes(RING + index * STAMP, STAMP as usize).unwrap_or_default();
            let (Some(found), Some(check)) = (bytes.first_chunk(), bytes.get(8..).and_then(|rest| rest.first_chunk()))
            else {
                return false;
            };
            let found = u64::from_le_bytes(*found);
            found == stamp && u64::from_le_bytes(*check) == stamp_check(self.nonce, found)
        })
    }

    /// Every record in order, up to the first that is not whole.
    pub(super) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let mut at = HEADER;
        std::iter::from_fn(move || {
            loop {
                let file_end = self.names.end_of_file(at);
                if at + Record::SHORTEST as u64 > file_end {
                    at = file_end;
                    continue;
                }
                let len = Record::len(self.names.bytes(at, Record::SHORTEST)?)?;
                let record = Record::decode(self.names.bytes(at, len)?, self.nonce)?;
                if record.kind == Kind::Skip {
                    at = file_end;
                    continue;
                }
                at += len as u64;
                return Some(record);
            }
        })
    }

    /// The newest whole value of a slot.
    pub(super) fn value(&self, slot: u32, key: u64) -> Option<i64> {
        slot::value(self.slots.bytes(u64::from(slot) * SLOT, SLOT as usize)?, key)
    }
}
