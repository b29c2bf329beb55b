//! Apache's timer log and wheel, written at a clean stop so that Apache goes on with every pending timer, once each.
//!
//! While we run there are none: Apache would read the timer topic again from the floor in `timercheck` on, and deliver
//! what was delivered since then a second time. They are written whole, and removed when the next run has taken over.
//! Layout: `store.md` sections 10.2 and 10.3.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use tenonmq_storage::{
    FileError, Store,
    fs::{FileSystem, OpenMode, remove_if_there},
};

const UNIT: u64 = 52;
/// Room that must be left behind a unit for the end mark.
const MARK: u64 = 16;
const MARK_MAGIC: i32 = 0xCBD4_3194_u32.cast_signed();
const SLOT: u64 = 32;
const SLOTS: i64 = 7 * 24 * 3600 * 2;
const DEFAULT: i32 = 1;
const ROLL: i32 = 1 << 1;
const DELETE: i32 = 1 << 2;
/// Seconds that a slot may lie behind: Apache looks back seven days, less a minute.
const BEHIND: i64 = 7 * 24 * 3600 - 120;

/// One pending timer for Apache.
pub(super) struct Unit {
    pub(super) out_ms: i64,
    pub(super) stored_ms: i64,
    pub(super) log_offset: u64,
    pub(super) size: u32,
    pub(super) topic_hash: i32,
    pub(super) is_deletion: bool,
}

/// How Apache's timer is configured.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// `timerPrecisionMs`.
    pub(super) precision_ms: i64,
    /// `timerRollWindowSlot`, in slots.
    pub(super) window: i64,
    /// `mappedFileSizeTimerLog`, in bytes.
    pub(super) file_size: u64,
}

/// Where Apache goes on.
pub(super) struct Written {
    /// End of the timer log.
    pub(super) log_position: i64,
    /// The first slot, in milliseconds.
    pub(super) first_ms: i64,
}

#[derive(Clone, Copy)]
struct Slot {
    first: i64,
    last: i64,
    count: i32,
}

/// Removes what Apache, or an earlier stop, has left.
///
/// # Errors
/// A file cannot be removed.
pub(super) fn remove(store: &Store) -> Result<(), FileError> {
    let (fs, folder) = (store.fs(), folder(store));
    if fs.exists(&folder) {
        fs.remove_dir_all(&folder).map_err(FileError::of("remove", &folder))?;
    }
    let wheel = wheel(store);
    remove_if_there(&**fs, &wheel).map_err(FileError::of("remove", &wheel))
}

/// Writes log and wheel for `units`.
///
/// # Errors
/// A file cannot be written. What is there then must be removed.
pub(super) fn write(
    store: &Store,
    shape: Shape,
    now_ms: i64,
    units: impl Iterator<Item = Unit>,
) -> Result<Written, FileError> {
    let folder = folder(store);
    let fs = store.fs();
    let (size, unwritten) = (shape.file_size.max(UNIT + MARK), Vec::new());
    let mut log = UnitLog { fs: Arc::clone(fs), folder: folder.clone(), size, end: 0, file: None, unwritten };
    let precision = shape.precision_ms.max(1);
    let now_slot = now_ms.div_euclid(precision);
    let mut slots: BTreeMap<i64, Slot> = BTreeMap::new();
    let append = |log: &mut UnitLog, slots: &mut BTreeMap<i64, Slot>| {
        for unit in units {
            let (slot_number, rolls) = place(&unit, shape, now_slot);
            let slot = slots.entry(slot_number).or_insert(Slot { first: -1, last: -1, count: 0 });
            let magic = DEFAULT | if rolls { ROLL } else { 0 } | if unit.is_deletion { DELETE } else { 0 };
            let delay = (slot_number - now_slot) * precision;
            let at = log.append(&encode(&unit, slot.last, magic, now_slot * precision, delay))?;
            slot.first = if slot.first < 0 { at } else { slot.first };
            slot.last = at;
            slot.count += if unit.is_deletion { -1 } else { 1 };
        }
        log.finish()
    };
    fs.create_dir_all(&folder).and_then(|()| append(&mut log, &mut slots)).map_err(FileError::of("write", &folder))?;
    let path = wheel(store);
    write_wheel(&**fs, &path, &slots).map_err(FileError::of("write", &path))?;
    let first = slots.first_key_value().map_or(now_slot, |(slot, _)| (*slot).min(now_slot));
    Ok(Written { log_position: log.end.cast_signed(), first_ms: first * precision })
}

/// In which slot, and whether it is put back into the queue from there: no message may stay longer in its log file
/// than the window says.
fn place(unit: &Unit, shape: Shape, now_slot: i64) -> (i64, bool) {
    let precision = shape.precision_ms.max(1);
    let out = unit.out_ms.div_euclid(precision);
    let latest = (unit.stored_ms.div_euclid(precision) + shape.window).max(now_slot + 1);
    if out > latest {
        return (latest, true);
    }
    (out.max(now_slot - BEHIND.min(SLOTS / 2)), false)
}

fn encode(unit: &Unit, previous: i64, magic: i32, enqueued_ms: i64, delay_ms: i64) -> [u8; UNIT as usize] {
    let mut bytes = [0; UNIT as usize];
    let mut rest = &mut bytes[..];
    let mut put = |field: &[u8]| {
        let _ = rest.write(field); // the fields are 52 bytes together
    };
    put(&(UNIT as i32).to_be_bytes());
    put(&previous.to_be_bytes());
    put(&magic.to_be_bytes());
    put(&enqueued_ms.to_be_bytes());
    put(&i32::try_from(delay_ms).unwrap_or(if delay_ms < 0 { i32::MIN } else { i32::MAX }).to_be_bytes());
    put(&unit.log_offset.to_be_bytes());
    put(&unit.size.to_be_bytes());
    put(&unit.topic_hash.to_be_bytes());
    bytes
}

/// The timer log's files, one after the other.
struct UnitLog {
    fs: Arc<dyn FileSystem>,
    folder: PathBuf,
    size: u64,
    end: u64,
    file: Option<(File, PathBuf)>,
    /// What is to be written at the end of the file as far as it is written.
    unwritten: Vec<u8>,
}

/// Bytes of the timer log that are written at once.
const AT_ONCE: usize = 1 << 20;

impl UnitLog {
    fn append(&mut self, unit: &[u8; UNIT as usize]) -> io::Result<i64> {
        let left = self.size - self.end % self.size;
        if !self.end.is_multiple_of(self.size) && left < UNIT + MARK {
            self.unwritten.extend_from_slice(&i32::try_from(left).unwrap_or(i32::MAX).to_be_bytes());
            self.unwritten.extend_from_slice(&0_i64.to_be_bytes());
            self.unwritten.extend_from_slice(&MARK_MAGIC.to_be_bytes());
            self.end += MARK;
            self.finish()?;
            self.end += left - MARK;
        }
        if self.end.is_multiple_of(self.size) {
            let path = self.folder.join(format!("{:020}", self.end));
            let file = empty_file(&*self.fs, &path, self.size)?; // Apache takes files of this length only
            self.file = Some((file, path));
        }
        let at = self.end.cast_signed();
        self.unwritten.extend_from_slice(unit);
        self.end += UNIT;
        if self.unwritten.len() >= AT_ONCE {
            self.write()?;
        }
        Ok(at)
    }

    fn write(&mut self) -> io::Result<()> {
        let Some((file, path)) = &self.file else { return Ok(()) };
        let begin = self.end - self.unwritten.len() as u64;
        self.fs.write_at(file, path, &self.unwritten, begin % self.size)?;
        self.unwritten.clear();
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.write()?;
        self.file.take().map_or(Ok(()), |(file, path)| self.fs.sync_data(&file, &path))
    }
}

/// A new file of this length that reads as zero.
fn empty_file(fs: &dyn FileSystem, path: &Path, len: u64) -> io::Result<File> {
    let file = fs.open(path, OpenMode::CreateOrOpen)?;
    fs.set_len(&file, path, 0)?;
    fs.set_len(&file, path, len)?;
    Ok(file)
}

fn write_wheel(fs: &dyn FileSystem, path: &Path, slots: &BTreeMap<i64, Slot>) -> io::Result<()> {
    let file = empty_file(fs, path, SLOTS as u64 * SLOT)?;
    for (number, slot) in slots {
        let mut bytes = [0; SLOT as usize];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        bytes[8..16].copy_from_slice(&slot.first.to_be_bytes());
        bytes[16..24].copy_from_slice(&slot.last.to_be_bytes());
        bytes[24..28].copy_from_slice(&slot.count.to_be_bytes());
        fs.write_at(&file, path, &bytes, number.rem_euclid(SLOTS).unsigned_abs() * SLOT)?;
    }
    fs.sync_data(&file, path)
}

fn folder(store: &Store) -> PathBuf {
    store.root().join("timerlog")
}

fn wheel(store: &Store) -> PathBuf {
    store.root().join("timerwheel")
}
