//! How often each undecided message was checked, kept across restarts.
//!
//! `<root>/tenonmq/transaction-checks` holds fixed-size entries, the last one for a message counts; a snapshot of what is
//! undecided begins it anew. It is written without syncing: what a crash of the machine loses is at worst a few checks
//! asked once more. Without the file every count starts at what the records themselves say.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tenonmq_storage::{
    FileError, Store,
    fs::{AppendFile, FileSystem, read_if_there, remove_if_there},
};

const ENTRY: usize = 32;

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

/// What former runs knew, by half-queue offset.
pub(super) type Counts = FxHashMap<i64, Checked>;

/// The log of checks since the last snapshot.
pub(super) struct CheckLog {
    fs: Arc<dyn FileSystem>,
    path: PathBuf,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    file: Option<AppendFile>,
    entries: u64,
}

impl CheckLog {
    /// Opens the log, and reads what former runs left. A damaged end is ignored.
    pub(super) fn open(store: &Store) -> Result<(Self, Counts), FileError> {
        Self::at(store.fs(), &folder(store).join("transaction-checks"))
    }

    fn at(fs: &Arc<dyn FileSystem>, path: &Path) -> Result<(Self, Counts), FileError> {
        if let Some(folder) = path.parent() {
            fs.create_dir_all(folder).map_err(FileError::of("create", folder))?;
        }
        let log = Self { fs: Arc::clone(fs), path: path.to_owned(), open: Mutex::default() };
        let mut counts = Counts::default();
        for path in [&log.old(), &log.path] {
            counts.extend(log.read(path)?.chunks_exact(ENTRY).map_while(decode));
        }
        Ok((log, counts))
    }

    /// Adds entries: half-queue offset and what is known of it.
    pub(super) fn append(&self, checked: &[(i64, Checked)]) -> Result<(), FileError> {
        if checked.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(checked.len() * ENTRY);
        checked.iter().for_each(|(offset, checked)| encode(*offset, checked, &mut bytes));
        let mut open = self.open.lock();
        let file = match &mut open.file {
            Some(file) => file,
            none => none.insert(self.open_file().map_err(FileError::of("open", &self.path))?),
        };
        file.append(&bytes).map_err(FileError::of("append to", &self.path))?;
        open.entries += checked.len() as u64;
        Ok(())
    }

    /// Entries written since the last [`CheckLog::rotate`].
    pub(super) fn entries(&self) -> u64 {
        self.open.lock().entries
    }

    /// Sets the entries so far aside; a snapshot that is begun now makes them superfluous.
    pub(super) fn rotate(&self) -> Result<(), FileError> {
        let mut open = self.open.lock();
        *open = Open::default();
        let old = self.old();
        let mut kept = self.read(&old)?; // there only if the last snapshot failed
        kept.truncate(kept.len() / ENTRY * ENTRY);
        kept.extend(self.read(&self.path)?);
        if !kept.is_empty() {
            self.fs.write(&old, &kept).map_err(FileError::of("write", &old))?;
            self.remove(&self.path)?;
        }
        Ok(())
    }

    /// The snapshot is written: forgets what was set aside.
    pub(super) fn forget_old(&self) -> Result<(), FileError> {
        self.remove(&self.old())
    }

    fn old(&self) -> PathBuf {
        self.path.with_extension("old")
    }

    /// The file without a torn entry at its end.
    fn open_file(&self) -> std::io::Result<AppendFile> {
        let mut file = AppendFile::open(&self.fs, &self.path)?;
        let torn = file.len() % ENTRY as u64;
        if torn > 0 {
            file.cut(file.len() - torn)?;
        }
        Ok(file)
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, FileError> {
        Ok(read_if_there(&*self.fs, path).map_err(FileError::of("read", path))?.unwrap_or_default())
    }

    fn remove(&self, path: &Path) -> Result<(), FileError> {
        remove_if_there(&*self.fs, path).map_err(FileError::of("remove", path))
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
    use tenonmq_storage::fs::{Fault, FaultyFs, Op, RealFs};

    use super::*;

    fn real() -> Arc<dyn FileSystem> {
        Arc::new(RealFs)
    }

    fn checked(checks: u16) -> Checked {
        Checked { log_offset: 4711, asked_at: 1_000, checks }
    }

    #[test]
    fn the_last_entry_of_a_message_counts_and_a_torn_end_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tenonmq").join("transaction-checks");
        let (log, _) = CheckLog::at(&real(), &path).unwrap();
        log.append(&[(7, checked(1)), (8, checked(1))]).unwrap();
        log.append(&[(7, checked(2))]).unwrap();
        assert_eq!(log.entries(), 3);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(&[1; 40]);
        std::fs::write(&path, bytes).unwrap();
        let (_, counts) = CheckLog::at(&real(), &path).unwrap();
        assert_eq!(counts, Counts::from_iter([(7, checked(2)), (8, checked(1))]));
    }

    #[test]
    fn entries_behind_one_that_did_not_fit_on_the_disk_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("transaction-checks");
        let faulty = Arc::new(FaultyFs::new());
        let fs: Arc<dyn FileSystem> = faulty.clone();
        let (log, _) = CheckLog::at(&fs, &path).unwrap();
        log.append(&[(1, checked(1))]).unwrap();
        faulty.fail_with(Op::Write, Fault { after: 0, times: 1, kind: std::io::ErrorKind::StorageFull });
        log.append(&[(2, checked(1))]).unwrap_err();
        log.append(&[(3, checked(1))]).unwrap();
        let (_, counts) = CheckLog::at(&fs, &path).unwrap();
        assert_eq!(counts, Counts::from_iter([(1, checked(1)), (3, checked(1))]));
    }

    #[test]
    fn what_is_set_aside_counts_until_it_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("transaction-checks");
        let (log, _) = CheckLog::at(&real(), &path).unwrap();
        log.append(&[(1, checked(1))]).unwrap();
        log.rotate().unwrap();
        log.append(&[(2, checked(1))]).unwrap();
        log.rotate().unwrap();
        log.append(&[(1, checked(9))]).unwrap();
        let (_, counts) = CheckLog::at(&real(), &path).unwrap();
        assert_eq!(counts, Counts::from_iter([(1, checked(9)), (2, checked(1))]));
        log.forget_old().unwrap();
        let (_, counts) = CheckLog::at(&real(), &path).unwrap();
        assert_eq!(counts, Counts::from_iter([(1, checked(9))]));
    }
}
