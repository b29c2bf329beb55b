//! How often each undecided message was checked, kept across restarts.
//!
//! `<root>/tenonmq/transaction-checks` holds fixed-size entries, the last one for a message counts. It is written without
//! syncing: what a crash of the machine loses is at worst a few checks asked once more. Without the file every count
//! starts at what the records themselves say.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tenonmq_storage::{FileError, Store};

use super::state::State;

const ENTRY: usize = 32;
/// The file is rewritten when it holds this many entries more than twice those that count.
const SLACK: u64 = 4096;

/// Folder for what Apache has no file for.
pub(super) fn folder(store: &Store) -> PathBuf {
    store.root().join("tenonmq")
}

/// One line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Checked {
    pub(super) log_offset: u64,
    pub(super) asked_at: i64,
    pub(super) checks: u16,
}

/// The log of checks.
pub(super) struct CheckLog {
    path: PathBuf,
    file: Mutex<Option<File>>,
    /// What was read at the start: by half-queue offset.
    read: FxHashMap<i64, Checked>,
    entries: Mutex<u64>,
}

impl CheckLog {
    /// Reads what a former run left. A damaged end is ignored.
    pub(super) fn open(store: &Store) -> Result<Self, FileError> {
        Self::at(&folder(store).join("transaction-checks"))
    }

    fn at(path: &Path) -> Result<Self, FileError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(FileError::of("create", folder))?;
        }
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(FileError::of("read", path)(error)),
        };
        let read: FxHashMap<_, _> = bytes.chunks_exact(ENTRY).map_while(decode).collect();
        let entries = (bytes.len() / ENTRY) as u64;
        Ok(Self { path: path.to_owned(), file: Mutex::new(None), read, entries: Mutex::new(entries) })
    }

    /// What a former run knew about the message at a half-queue offset; only if it is the same message.
    pub(super) fn find(&self, offset: i64, log_offset: u64) -> Option<Checked> {
        self.read.get(&offset).copied().filter(|checked| checked.log_offset == log_offset)
    }

    /// Adds entries: half-queue offset and what is known of it.
    pub(super) fn append(&self, checked: &[(i64, Checked)]) -> Result<(), FileError> {
        if checked.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(checked.len() * ENTRY);
        checked.iter().for_each(|(offset, checked)| encode(*offset, checked, &mut bytes));
        let mut file = self.file.lock();
        if file.is_none() {
            let opened = OpenOptions::new().create(true).append(true).open(&self.path);
            *file = Some(opened.map_err(FileError::of("open", &self.path))?);
        }
        if let Some(file) = file.as_mut() {
            file.write_all(&bytes).map_err(FileError::of("append to", &self.path))?;
        }
        *self.entries.lock() += checked.len() as u64;
        Ok(())
    }

    /// Whether most entries are about messages that are decided.
    pub(super) fn is_mostly_old(&self, counting: usize) -> bool {
        *self.entries.lock() > SLACK + 2 * counting as u64
    }

    /// Rewrites the file with the entries that still count.
    pub(super) fn compact(&self, state: &State) -> Result<(), FileError> {
        let mut bytes = Vec::new();
        for found in state.unresolved(None).filter(|found| found.checks > 0) {
            let asked_at = found.asked_at.or_else(|| self.read.get(&found.offset).map(|checked| checked.asked_at));
            let checked =
                Checked { log_offset: found.log_offset, asked_at: asked_at.unwrap_or(0), checks: found.checks };
            encode(found.offset, &checked, &mut bytes);
        }
        let mut file = self.file.lock();
        if *self.entries.lock() == 0 && bytes.is_empty() {
            return Ok(());
        }
        let fresh = self.path.with_extension("tmp");
        std::fs::write(&fresh, &bytes).map_err(FileError::of("write", &fresh))?;
        std::fs::rename(&fresh, &self.path).map_err(FileError::of("rename", &fresh))?;
        *file = None; // the next append opens the new file
        *self.entries.lock() = (bytes.len() / ENTRY) as u64;
        Ok(())
    }
}

fn encode(offset: i64, checked: &Checked, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&offset.to_be_bytes());
    out.extend_from_slice(&checked.log_offset.to_be_bytes());
    out.extend_from_slice(&checked.asked_at.to_be_bytes());
    out.extend_from_slice(&u32::from(checked.checks).to_be_bytes());
    let crc = crc32fast::hash(&out[start..]);
    out.extend_from_slice(&crc.to_be_bytes());
}

fn decode(entry: &[u8]) -> Option<(i64, Checked)> {
    let (content, crc) = entry.split_last_chunk::<4>()?;
    if crc32fast::hash(content) != u32::from_be_bytes(*crc) {
        return None;
    }
    let (offset, content) = content.split_first_chunk::<8>()?;
    let (log_offset, content) = content.split_first_chunk::<8>()?;
    let (asked_at, content) = content.split_first_chunk::<8>()?;
    let checks = u32::from_be_bytes(*content.first_chunk::<4>()?);
    let checked = Checked {
        log_offset: u64::from_be_bytes(*log_offset),
        asked_at: i64::from_be_bytes(*asked_at),
        checks: u16::try_from(checks).unwrap_or(u16::MAX),
    };
    Some((i64::from_be_bytes(*offset), checked))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(checks: u16) -> Checked {
        Checked { log_offset: 4711, asked_at: 1_000, checks }
    }

    #[test]
    fn the_last_entry_of_a_message_counts_and_a_torn_end_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tenonmq").join("transaction-checks");
        let log = CheckLog::at(&path).unwrap();
        log.append(&[(7, checked(1)), (8, checked(1))]).unwrap();
        log.append(&[(7, checked(2))]).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(&[1; 40]);
        std::fs::write(&path, bytes).unwrap();
        let log = CheckLog::at(&path).unwrap();
        assert_eq!(log.find(7, 4711), Some(checked(2)));
        assert_eq!(log.find(8, 4711), Some(checked(1)));
        assert_eq!(log.find(8, 9999), None, "another message at the same offset");
        assert_eq!(log.find(0, 0), None);
    }
}
