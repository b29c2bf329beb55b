//! The `checkpoint` file: up to which moment the parts of the store are known to be on disk.
//!
//! Recovery after a crash starts at the newest log file that is older than [`Checkpoint::min_timestamp`]. Each value
//! is therefore raised only *after* the data it speaks of has been flushed; the file itself is 4096 bytes, five i64
//! and zeros.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::FileError;
use crate::fs::{FileSystem, OpenMode};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicI64, Ordering};

/// Length of the file in bytes.
const FILE_LEN: usize = 4096;
/// How far the two flush times are moved back when recovery looks for its starting point, in milliseconds.
const SAFETY_MS: i64 = 3000;

/// The five values, loaded once and written back by [`Checkpoint::save`].
pub struct Checkpoint {
    fs: Arc<dyn FileSystem>,
    path: PathBuf,
    log_timestamp: AtomicI64,
    queues_timestamp: AtomicI64,
    index_timestamp: AtomicI64,
    master_flushed_offset: AtomicI64,
    confirm_offset: AtomicI64,
    /// What this process has written last.
    saved: Mutex<Option<[u8; FILE_LEN]>>,
}

impl Checkpoint {
    /// Reads `<root>/checkpoint`. A missing, empty or short file counts as zeros: recovery then starts at the first log file.
    pub fn load(fs: Arc<dyn FileSystem>, root: &Path) -> Result<Self, FileError> {
        let path = root.join("checkpoint");
        let bytes = if fs.exists(&path) { fs.read(&path).map_err(FileError::of("read", &path))? } else { Vec::new() };
        let value = |n: usize| {
            let field = bytes.get(n * 8..).and_then(|rest| rest.first_chunk());
            AtomicI64::new(field.map_or(0, |field| i64::from_be_bytes(*field)))
        };
        Ok(Self {
            log_timestamp: value(0),
            queues_timestamp: value(1),
            index_timestamp: value(2),
            master_flushed_offset: value(3),
            confirm_offset: value(4),
            saved: Mutex::new(None),
            fs,
            path,
        })
    }

    /// Store time of the last commit log record that is on disk, in milliseconds (`physicMsgTimestamp`).
    pub fn log_timestamp(&self) -> i64 {
        self.log_timestamp.load(Ordering::Acquire)
    }

    /// Sets [`log_timestamp`](Self::log_timestamp); call after the flush of the log.
    pub fn set_log_timestamp(&self, ms: i64) {
        self.log_timestamp.store(ms, Ordering::Release);
    }

    /// Store time of the last record whose consume queue entry is on disk, in milliseconds (`logicsMsgTimestamp`).
    pub fn queues_timestamp(&self) -> i64 {
        self.queues_timestamp.load(Ordering::Acquire)
    }

    /// Sets [`queues_timestamp`](Self::queues_timestamp); take the time before the queues are flushed, set it after.
    pub fn set_queues_timestamp(&self, ms: i64) {
        self.queues_timestamp.store(ms, Ordering::Release);
    }

    /// End time of the newest full index file, in milliseconds (`indexMsgTimestamp`).
    pub fn index_timestamp(&self) -> i64 {
        self.index_timestamp.load(Ordering::Acquire)
    }

    /// Sets [`index_timestamp`](Self::index_timestamp); call after the full file has been flushed.
    pub fn set_index_timestamp(&self, ms: i64) {
        self.index_timestamp.store(ms, Ordering::Release);
    }

    /// Log offset up to which the master had flushed, as a slave knows it (`masterFlushedOffset`); 0 on a master.
    pub fn master_flushed_offset(&self) -> i64 {
        self.master_flushed_offset.load(Ordering::Acquire)
    }

    /// Sets [`master_flushed_offset`](Self::master_flushed_offset).
    pub fn set_master_flushed_offset(&self, offset: i64) {
        self.master_flushed_offset.store(offset, Ordering::Release);
    }

    /// Start of the last valid record at the last recovery (`confirmPhyOffset`); not the running watermark.
    pub fn confirm_offset(&self) -> i64 {
        self.confirm_offset.load(Ordering::Acquire)
    }

    /// Sets [`confirm_offset`](Self::confirm_offset).
    pub fn set_confirm_offset(&self, offset: i64) {
        self.confirm_offset.store(offset, Ordering::Release);
    }

    /// Everything stored at or before this time is in the log and in the consume queues, in milliseconds; at least 0.
    pub fn min_timestamp(&self) -> i64 {
        self.log_timestamp().min(self.queues_timestamp()).saturating_sub(SAFETY_MS).max(0)
    }

    /// [`min_timestamp`](Self::min_timestamp) that also vouches for the index.
    pub fn min_timestamp_with_index(&self) -> i64 {
        self.min_timestamp().min(self.index_timestamp())
    }

    /// The file's content as it stands in memory.
    pub fn to_bytes(&self) -> [u8; FILE_LEN] {
        let mut bytes = [0; FILE_LEN];
        let values = [
            self.log_timestamp(),
            self.queues_timestamp(),
            self.index_timestamp(),
            self.master_flushed_offset(),
            self.confirm_offset(),
        ];
        for (field, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
            *field = value.to_be_bytes();
        }
        bytes
    }

    /// As [`save`](Self::save), unless the file says so already.
    pub fn save_if_changed(&self) -> Result<(), FileError> {
        if *self.saved.lock() == Some(self.to_bytes()) { Ok(()) } else { self.save() }
    }

    /// Writes the file and waits until it is on disk. All values lie in one sector, so a crash leaves the old or the new ones.
    pub fn save(&self) -> Result<(), FileError> {
        let bytes = self.to_bytes();
        let mut saved = self.saved.lock();
        *saved = None;
        self.fs.write(&self.path, &bytes).map_err(FileError::of("write", &self.path))?;
        let file = self.fs.open(&self.path, OpenMode::ReadWrite).map_err(FileError::of("open", &self.path))?;
        self.fs.sync_data(&file, &self.path).map_err(FileError::of("sync", &self.path))?;
        *saved = Some(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::RealFs;

    fn golden(variant: &str) -> Checkpoint {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/store")).join(variant).join("data");
        Checkpoint::load(Arc::new(RealFs), &root).unwrap()
    }

    #[test]
    fn the_five_values_of_a_killed_broker_are_read_and_give_the_minimum_of_the_worked_example() {
        let checkpoint = golden("killed");
        assert_eq!(checkpoint.log_timestamp(), 1_795_247_758_534);
        assert_eq!(checkpoint.queues_timestamp(), 1_795_247_803_491);
        assert_eq!(checkpoint.index_timestamp(), 1_795_247_697_536);
        assert_eq!(checkpoint.master_flushed_offset(), 0);
        assert_eq!(checkpoint.confirm_offset(), 285_918);
        assert_eq!(checkpoint.min_timestamp(), 1_795_247_755_534);
        assert_eq!(checkpoint.min_timestamp_with_index(), 1_795_247_697_536);
    }

    #[test]
    fn a_checkpoint_is_written_back_byte_for_byte() {
        for variant in ["clean", "ext", "killed"] {
            let checkpoint = golden(variant);
            assert_eq!(RealFs.read(&checkpoint.path).unwrap(), checkpoint.to_bytes(), "{variant}");
        }
    }

    #[test]
    fn a_missing_checkpoint_is_all_zeros_and_a_saved_one_is_read_again() {
        let root = tempfile::tempdir().unwrap();
        let checkpoint = Checkpoint::load(Arc::new(RealFs), root.path()).unwrap();
        assert_eq!(checkpoint.min_timestamp(), 0);
        checkpoint.set_log_timestamp(10_000);
        checkpoint.set_queues_timestamp(9_000);
        checkpoint.save().unwrap();
        let again = Checkpoint::load(Arc::new(RealFs), root.path()).unwrap();
        assert_eq!(again.min_timestamp(), 6_000);
        assert_eq!(again.to_bytes(), checkpoint.to_bytes());
    }

    #[test]
    fn a_damaged_time_before_all_times_vouches_for_nothing() {
        let root = tempfile::tempdir().unwrap();
        let checkpoint = Checkpoint::load(Arc::new(RealFs), root.path()).unwrap();
        checkpoint.set_log_timestamp(10_000);
        checkpoint.set_queues_timestamp(i64::MIN + 1);
        assert_eq!((checkpoint.min_timestamp(), checkpoint.min_timestamp_with_index()), (0, 0));
    }
}
