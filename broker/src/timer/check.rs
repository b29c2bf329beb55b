//! `config/timercheck`: how far Apache's timer would be, 56 bytes, and a note of ours behind them.
//!
//! What Apache finds there must never promise more than is done: it reads the timer topic again from `queue_offset` on,
//! and its wheel from `read_ms` on. The note tells whether the file is as we left it: Apache changes the first 56 bytes
//! and leaves the rest as it is. Layout: `store.md` section 10.4.

use std::{io, path::PathBuf, sync::Arc};

use tenonmq_storage::{
    FileError, Store,
    fs::{FileSystem, OpenMode, read_if_there},
};

/// Bytes that Apache knows, on disk and on the wire.
pub(super) const LEN: usize = 56;
/// Length of the file.
const FILE: usize = 4096;
const NOTE: &[u8; 8] = b"TENONMQ1";

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Check {
    /// The next second of the wheel to deliver, in milliseconds.
    pub(super) read_ms: i64,
    /// End of the timer log.
    pub(super) log_position: i64,
    /// The next message of the timer topic to put on the wheel.
    pub(super) queue_offset: i64,
    /// When it changed last.
    pub(super) changed_ms: i64,
    /// How often it changed.
    pub(super) counter: i64,
}

impl Check {
    /// Whether Apache would go on at the same place.
    pub(super) fn says_the_same_as(&self, other: &Self) -> bool {
        let place = |check: &Self| (check.read_ms, check.log_position, check.queue_offset);
        place(self) == place(other)
    }

    /// The 56 bytes.
    pub(super) fn encode(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        let fields = [
            self.read_ms,
            self.log_position,
            self.queue_offset,
            self.queue_offset, // what the master has done: that is us
            0,
            self.changed_ms,
            self.counter,
        ];
        for (place, field) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(fields) {
            *place = field.to_be_bytes();
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (words, _) = bytes.get(..LEN)?.as_chunks::<8>();
        let [read_ms, log_position, queue_offset, master_offset, _, changed_ms, counter] = words else { return None };
        let number = |word: &[u8; 8]| i64::from_be_bytes(*word);
        let queue_offset = number(queue_offset).min(number(master_offset));
        Some(Self {
            read_ms: number(read_ms),
            log_position: number(log_position),
            queue_offset,
            changed_ms: number(changed_ms),
            counter: number(counter),
        })
    }
}

/// What was found at the start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) check: Check,
    /// We wrote it, and nobody since.
    pub(super) is_ours: bool,
}

/// The file.
pub(super) struct CheckFile {
    fs: Arc<dyn FileSystem>,
    path: PathBuf,
}

impl CheckFile {
    pub(super) fn new(store: &Store) -> Self {
        Self { fs: Arc::clone(store.fs()), path: store.root().join("config").join("timercheck") }
    }

    /// What the file says; `None` when there is none, or nothing in it.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn read(&self) -> Result<Option<Found>, FileError> {
        let bytes = read_if_there(&*self.fs, &self.path).map_err(FileError::of("read", &self.path))?;
        let Some(bytes) = bytes else { return Ok(None) };
        let Some(check) = Check::decode(&bytes).filter(|check| *check != Check::default()) else { return Ok(None) };
        let is_ours = bytes.get(LEN + 8..LEN + 20).is_some_and(|note| *note == note_of(&check.encode()));
        Ok(Some(Found { check, is_ours }))
    }

    /// Writes the file in place, as Apache does: it is shorter than a page.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn write(&self, check: &Check, durable: bool) -> Result<(), FileError> {
        let first = check.encode();
        let mut bytes = [0; FILE];
        bytes[..LEN].copy_from_slice(&first);
        bytes[LEN + 8..LEN + 20].copy_from_slice(&note_of(&first));
        self.put(&bytes, durable).map_err(FileError::of("write", &self.path))
    }

    fn put(&self, bytes: &[u8], durable: bool) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            self.fs.create_dir_all(folder)?;
        }
        let file = self.fs.open(&self.path, OpenMode::CreateOrOpen)?;
        self.fs.write_at(&file, &self.path, bytes, 0)?;
        if durable { self.fs.sync_data(&file, &self.path) } else { Ok(()) }
    }
}

fn note_of(first: &[u8; LEN]) -> [u8; 12] {
    let mut note = [0; 12];
    note[..8].copy_from_slice(NOTE);
    note[8..].copy_from_slice(&crc32fast::hash(first).to_be_bytes());
    note
}

#[cfg(test)]
mod tests {
    use tenonmq_storage::fs::RealFs;

    use super::*;

    #[test]
    fn the_file_of_apache_reads_and_is_not_ours_until_we_write_it() {
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/store/clean/data/config/timercheck");
        let folder = tempfile::tempdir().unwrap();
        let file = CheckFile { fs: Arc::new(RealFs), path: folder.path().join("config").join("timercheck") };
        assert!(file.read().unwrap().is_none());
        std::fs::create_dir_all(folder.path().join("config")).unwrap();
        std::fs::copy(golden, &file.path).unwrap();
        let mut permissions = std::fs::metadata(&file.path).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
        std::fs::set_permissions(&file.path, permissions).unwrap();
        let found = file.read().unwrap().unwrap();
        assert!(!found.is_ours);
        let expected = (1_795_247_772_000, 1_596, 30, 1_795_247_772_608, 100);
        let Check { read_ms, log_position, queue_offset, changed_ms, counter } = found.check;
        assert_eq!((read_ms, log_position, queue_offset, changed_ms, counter), expected);
        assert_eq!(found.check.encode()[..], std::fs::read(golden).unwrap()[..LEN]);
        file.write(&found.check, false).unwrap();
        assert!(file.read().unwrap().unwrap().is_ours);
        assert_eq!(std::fs::metadata(&file.path).unwrap().len(), 4096);
        let mut bytes = std::fs::read(&file.path).unwrap();
        bytes[7] ^= 1; // Apache has moved on
        std::fs::write(&file.path, bytes).unwrap();
        assert!(!file.read().unwrap().unwrap().is_ours);
    }
}
