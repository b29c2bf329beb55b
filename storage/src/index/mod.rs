//! The key index: which records carry a key, for queries by key and by unique key.
//!
//! It is a function of the log, built behind it ([`builder`]), so it may lag and may be thrown away. Nothing that
//! happens here stops a send: an error is the builder's, which tries again later.
//!
//! Files are filled one after the other; their names are local times of creation, so their order by name is their
//! order in time. Queries take no lock and see files that are being written.

pub mod builder;
pub(crate) mod file;
#[cfg(test)]
mod tests;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tenonmq_protocol::message::properties::java_hash_behind;

use self::file::{HEADER_LEN, Header, IndexFile, Layout, Wanted};
use crate::checkpoint::Checkpoint;
use crate::clock::Clock;
use crate::config::StoreConfig;
use crate::error::FileError;
use crate::fs::{FileSystem, OpenMode};
use crate::sync::Mutex;

/// Answer to a query by key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexHits {
    /// Log offsets of records that may carry the key, newest first, each once. Different keys can share a hash: who needs
    /// to be sure looks at the record.
    pub offsets: Vec<u64>,
    /// Store time of the last indexed record in milliseconds since the Unix epoch; 0 for an empty index.
    pub last_timestamp: i64,
    /// Log offset of the last indexed record; 0 for an empty index.
    pub last_offset: u64,
}

/// The index of a store.
pub struct Index {
    fs: Arc<dyn FileSystem>,
    clock: Arc<dyn Clock>,
    checkpoint: Arc<Checkpoint>,
    directory: PathBuf,
    layout: Layout,
    /// Oldest first.
    files: ArcSwap<Vec<Arc<IndexFile>>>,
    /// Held by whoever changes the list or adds entries.
    writing: Mutex<()>,
}

impl Index {
    /// Opens the files below `index/`. After an unclean end (`clean` is false) files that may not be wholly on disk are
    /// removed: those that end after the checkpoint's index time, and those that are not full. Files of another size are
    /// left alone and not used.
    pub fn open(
        config: &StoreConfig,
        fs: &Arc<dyn FileSystem>,
        clock: &Arc<dyn Clock>,
        checkpoint: &Arc<Checkpoint>,
        clean: bool,
    ) -> Result<Self, FileError> {
        let directory = config.root.join("index");
        let layout = Layout { slots: config.index_slots.max(1), entries: config.index_entries.max(2) };
        let mut files = Vec::new();
        for entry in fs.list(&directory).map_err(FileError::of("list", &directory))? {
            let path = directory.join(&entry.name);
            if entry.is_dir || !is_file_name(&entry.name) {
                continue;
            }
            if entry.len != layout.file_len() {
                tracing::warn!(file = %path.display(), len = entry.len, expected = layout.file_len(),
                    "index file of another size is not used (maxHashSlotNum, maxIndexNum)");
                continue;
            }
            if !clean && !is_on_disk(&read_header(&**fs, &path)?, layout, checkpoint) {
                fs.remove_file(&path).map_err(FileError::of("remove", &path))?;
                continue;
            }
            files.push(Arc::new(IndexFile::open(&**fs, &path, layout)?));
        }
        Ok(Self {
            fs: Arc::clone(fs),
            clock: Arc::clone(clock),
            checkpoint: Arc::clone(checkpoint),
            directory,
            layout,
            files: ArcSwap::from_pointee(files),
            writing: Mutex::new(()),
        })
    }

    /// Log offset of the last indexed record, where building goes on; `None` for an empty index.
    pub fn last_offset(&self) -> Option<u64> {
        let files = self.files.load();
        let newest = files.last()?.header();
        u64::try_from(newest.end_physical).ok().filter(|_| files.len() > 1 || newest.next_entry > 1)
    }

    /// Up to `max` records of `topic` that carry `key` and were stored between `begin_ms` and `end_ms` (milliseconds since
    /// the Unix epoch, inclusive, exact to the second), newest first.
    pub fn query(&self, topic: &str, key: &str, max: usize, begin_ms: i64, end_ms: i64) -> IndexHits {
        let files = self.files.load();
        let mut hits = IndexHits::default();
        if let Some(newest) = files.last().map(|file| file.header()) {
            hits.last_timestamp = newest.end_timestamp;
            hits.last_offset = u64::try_from(newest.end_physical).unwrap_or(0);
        }
        let wanted = Wanted { hash: key_hash(topic, key), begin_ms, end_ms };
        for file in files.iter().rev() {
            if hits.offsets.len() >= max {
                break;
            }
            if file.overlaps(begin_ms, end_ms) {
                file.query(wanted, |physical| {
                    if let Ok(physical) = u64::try_from(physical)
                        && !hits.offsets.contains(&physical)
                    {
                        hits.offsets.push(physical);
                    }
                    hits.offsets.len() < max
                });
            }
            if file.header().begin_timestamp < begin_ms {
                break;
            }
        }
        hits
    }

    /// Removes the files whose records all lie before `physical`, the first byte that the log still has. The newest
    /// file stays. Returns how many were removed.
    pub fn delete_before(&self, physical: u64) -> Result<usize, FileError> {
        let _writing = self.writing.lock();
        let files = self.files.load_full();
        let old = |file: &Arc<IndexFile>| u64::try_from(file.header().end_physical).is_ok_and(|end| end < physical);
        let count = files.iter().take(files.len().saturating_sub(1)).take_while(|file| old(file)).count();
        if count > 0 {
            self.files.store(Arc::new(files.iter().skip(count).cloned().collect()));
        }
        for file in files.iter().take(count) {
            self.fs.remove_file(file.path()).map_err(FileError::of("remove", file.path()))?;
        }
        Ok(count)
    }

    /// Removes all files: the log they point into is gone, or was cut before their end. Building starts anew.
    pub fn clear(&self) -> Result<(), FileError> {
        let _writing = self.writing.lock();
        let files = self.files.swap(Arc::default());
        for file in files.iter() {
            self.fs.remove_file(file.path()).map_err(FileError::of("remove", file.path()))?;
        }
        Ok(())
    }

    /// Takes the index back to a point of the log: files with records at `physical` or behind it are removed. The records
    /// before it that were only there are lost to the index unless they are added again.
    pub fn truncate(&self, physical: u64) -> Result<(), FileError> {
        let _writing = self.writing.lock();
        let beyond = |file: &Arc<IndexFile>| {
            let header = file.header();
            header.next_entry > 1 && u64::try_from(header.end_physical).is_ok_and(|end| end >= physical)
        };
        let (gone, kept): (Vec<_>, Vec<_>) = self.files.load().iter().cloned().partition(beyond);
        self.files.store(Arc::new(kept));
        for file in gone {
            self.fs.remove_file(file.path()).map_err(FileError::of("remove", file.path()))?;
        }
        Ok(())
    }

    /// Makes the newest file durable; the others were when they became full. For an ordered stop.
    pub fn flush(&self) -> Result<(), FileError> {
        match self.files.load().last() {
            Some(file) => file.sync(&*self.fs),
            None => Ok(()),
        }
    }

    /// Number of files.
    pub fn file_count(&self) -> usize {
        self.files.load().len()
    }

    /// Makes the next file, after the full one is on disk and the checkpoint says so. By whoever holds `writing`.
    fn start_file(&self, full: Option<&IndexFile>) -> Result<Arc<IndexFile>, FileError> {
        if let Some(full) = full {
            full.sync(&*self.fs)?;
            self.checkpoint.set_index_timestamp(full.header().end_timestamp);
        }
        self.fs.create_dir_all(&self.directory).map_err(FileError::of("create", &self.directory))?;
        let path = self.next_name(full);
        let file = Arc::new(IndexFile::create(&*self.fs, &path, self.layout, full.map(IndexFile::header))?);
        self.fs.sync_dir(&self.directory).map_err(FileError::of("sync", &self.directory))?;
        let mut files = self.files.load().to_vec();
        files.push(Arc::clone(&file));
        self.files.store(Arc::new(files));
        Ok(file)
    }

    /// The local time as `yyyyMMddHHmmssSSS`, or one more than the newest name when clocks went back.
    fn next_name(&self, newest: Option<&IndexFile>) -> PathBuf {
        let newest = newest.and_then(|file| file.path().file_name()?.to_str()?.parse::<u64>().ok());
        let mut name = local_time(self.clock.now_ms()).max(newest.map_or(0, |newest| newest + 1));
        loop {
            let path = self.directory.join(format!("{name:017}"));
            if !self.fs.exists(&path) {
                return path;
            }
            name += 1;
        }
    }
}

/// Milliseconds since the Unix epoch as a local time, written as the number `yyyyMMddHHmmssSSS`.
fn local_time(ms: i64) -> u64 {
    let at = Timestamp::from_millisecond(ms).unwrap_or_default().to_zoned(TimeZone::system());
    at.strftime("%Y%m%d%H%M%S%3f").to_string().parse().unwrap_or(0)
}

/// Whether all of a file was on disk before the last run ended: it was full, and the checkpoint says so. (What is not full may
/// hold more than its header knows.)
fn is_on_disk(header: &Header, layout: Layout, checkpoint: &Checkpoint) -> bool {
    header.next_entry >= layout.entries && header.end_timestamp <= checkpoint.index_timestamp()
}

fn is_file_name(name: &str) -> bool {
    name.len() == 17 && name.bytes().all(|byte| byte.is_ascii_digit())
}

fn read_header(fs: &dyn FileSystem, path: &Path) -> Result<Header, FileError> {
    let file = fs.open(path, OpenMode::Read).map_err(FileError::of("open", path))?;
    let mut bytes = [0; HEADER_LEN];
    file.read_exact_at(&mut bytes, 0).map_err(FileError::of("read", path))?;
    Ok(Header::from_bytes(&bytes))
}

/// Absolute value of Java's hash of `topic#key`; 0 for the one number that has none.
fn key_hash(topic: &str, key: &str) -> u32 {
    topic_hash(topic.as_bytes()).and_then(|topic| hash_behind(topic, key.as_bytes())).unwrap_or(0)
}

/// Java's hash of `topic#`; `None` when it is not UTF-8.
#[inline]
fn topic_hash(topic: &[u8]) -> Option<i32> {
    java_hash_behind(java_hash_behind(0, topic)?, b"#")
}

/// The hash of a key behind that of its topic; `None` when it is not UTF-8.
#[inline]
fn hash_behind(topic: i32, key: &[u8]) -> Option<u32> {
    let hash = java_hash_behind(topic, key)?;
    Some(hash.checked_abs().unwrap_or(0).cast_unsigned())
}
