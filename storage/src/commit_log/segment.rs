//! The files of the log: names, loading, making the next one ready, removing the oldest.
//!
//! A file is named by the log offset of its first byte, 20 digits, and has its full length from the moment it has
//! any: blocks are reserved before the length is set, so a crash in between leaves a file of length 0.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use crate::error::{FileError, OpenError};
use crate::fs::{FileSystem, OpenMode};
use crate::mmap::{LogWriter, MappedLog};

/// One file of the log, for readers.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Log offset of its first byte.
    pub(crate) base: u64,
    pub(crate) log: Arc<MappedLog>,
}

impl Segment {
    /// Log offset behind its last byte.
    pub(crate) fn end(&self) -> u64 {
        self.base + self.log.len() as u64
    }

    /// Published bytes at a log offset, by reference.
    pub(crate) fn bytes(&self, offset: u64, len: usize) -> Option<Bytes> {
        let start = self.position(offset)?;
        self.log.bytes(start..start.checked_add(len)?)
    }

    /// Published bytes from a log offset to the published end or `until`, borrowed.
    pub(crate) fn read_until(&self, offset: u64, until: u64) -> Option<&[u8]> {
        let start = self.position(offset)?;
        let end = usize::try_from(until.checked_sub(self.base)?).ok()?.min(self.log.published());
        self.log.read(start..end)
    }

    /// Published bytes at a log offset, borrowed.
    pub(crate) fn read(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let start = self.position(offset)?;
        self.log.read(start..start.checked_add(len)?)
    }

    fn position(&self, offset: u64) -> Option<usize> {
        usize::try_from(offset.checked_sub(self.base)?).ok()
    }
}

/// Where segments live and how they are made.
pub(crate) struct SegmentFiles {
    fs: Arc<dyn FileSystem>,
    dirs: Vec<PathBuf>,
    size: u64,
}

impl SegmentFiles {
    pub(crate) fn new(fs: Arc<dyn FileSystem>, dirs: Vec<PathBuf>, size: u64) -> Self {
        Self { fs, dirs, size }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn fs(&self) -> &dyn FileSystem {
        &*self.fs
    }

    pub(crate) fn dirs(&self) -> &[PathBuf] {
        &self.dirs
    }

    /// Path of the file that starts at `base`: number n lives in directory n modulo count.
    pub(crate) fn path(&self, base: u64) -> PathBuf {
        let number = usize::try_from(base / self.size).unwrap_or(0);
        let dir = self.dirs.get(number % self.dirs.len().max(1)).map_or_else(|| Path::new("."), PathBuf::as_path);
        dir.join(format!("{base:020}"))
    }

    /// Maps every file, in order of their offsets. The last ones that have no length yet are removed.
    pub(crate) fn load(&self) -> Result<Vec<(u64, LogWriter)>, OpenError> {
        let mut found = Vec::new();
        for dir in &self.dirs {
            self.fs.create_dir_all(dir).map_err(FileError::of("create", dir))?;
            for entry in self.fs.list(dir).map_err(FileError::of("list", dir))? {
                let path = dir.join(&entry.name);
                if entry.is_dir {
                    continue;
                }
                let Some(base) = base_of(&entry.name) else {
                    tracing::warn!(path = %path.display(), "not a commit-log file, ignored");
                    continue;
                };
                found.push((base, path, entry.len));
            }
        }
        found.sort();
        while let Some((_, path, 0)) = found.last() {
            self.fs.remove_file(path).map_err(FileError::of("remove", path))?;
            found.pop();
        }
        let mut segments: Vec<(u64, LogWriter)> = Vec::with_capacity(found.len());
        for (base, path, len) in found {
            if len != self.size {
                return Err(OpenError::WrongSize {
                    path,
                    expected: self.size,
                    found: len,
                    key: "mappedFileSizeCommitLog",
                });
            }
            let expected = segments.last().map_or(base, |(before, _)| before + self.size);
            if base != expected || !base.is_multiple_of(self.size) {
                let reason = format!("the log has a gap: the file before ends at {expected}");
                return Err(OpenError::Invalid { path, reason });
            }
            segments.push((base, self.map(path)?));
        }
        Ok(segments)
    }

    fn map(&self, path: PathBuf) -> Result<LogWriter, FileError> {
        let file = self.fs.open(&path, OpenMode::ReadWrite).map_err(FileError::of("open", &path))?;
        LogWriter::map(file, path.clone(), self.len()).map_err(FileError::of("map", &path))
    }

    /// Makes the file that starts at `base`: blocks reserved, length set, name durable, mapped. What cannot be finished is
    /// removed again.
    pub(crate) fn create(&self, base: u64) -> Result<LogWriter, FileError> {
        let path = self.path(base);
        let file = self.fs.open(&path, OpenMode::CreateNew).map_err(FileError::of("create", &path))?;
        let made =
            self.fs.preallocate(&file, &path, 0, self.size).map_err(FileError::of("preallocate", &path)).and_then(
                |()| {
                    if let Some(dir) = path.parent() {
                        self.fs.sync_dir(dir).map_err(FileError::of("sync", dir))?;
                    }
                    LogWriter::map(file, path.clone(), self.len()).map_err(FileError::of("map", &path))
                },
            );
        if made.is_err() {
            let _ = self.fs.remove_file(&path);
        }
        made
    }

    /// Removes the file that starts at `base`, wherever it is; one that is gone is fine. Readers keep their mapping.
    pub(crate) fn remove(&self, path: &Path) -> Result<(), FileError> {
        match self.fs.remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::of("remove", path)(error)),
            _ => Ok(()),
        }
    }

    /// Time of the last write to a file, `None` when it cannot be told.
    pub(crate) fn modified(&self, path: &Path) -> Option<SystemTime> {
        let name = path.file_name()?.to_str()?;
        let entries = self.fs.list(path.parent()?).ok()?;
        entries.into_iter().find(|entry| entry.name == name).map(|entry| entry.modified)
    }

    fn len(&self) -> usize {
        // `StoreConfig::check` keeps the size below 2 GiB.
        usize::try_from(self.size).unwrap_or(usize::MAX)
    }
}

fn base_of(name: &str) -> Option<u64> {
    (name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit())).then(|| name.parse().ok())?
}
