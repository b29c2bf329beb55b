//! A file that only grows.
//!
//! Invariant: what was appended lies there whole, one after the other. An append that fails, perhaps in its middle because
//! the disk is full, leaves nothing behind that a later one would be glued to.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{FileSystem, OpenMode};

/// The file, open for appending by one writer.
pub struct AppendFile {
    fs: Arc<dyn FileSystem>,
    path: PathBuf,
    file: File,
    len: u64,
}

impl AppendFile {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// The disk refused.
    pub fn open(fs: &Arc<dyn FileSystem>, path: &Path) -> io::Result<Self> {
        let file = fs.open(path, OpenMode::CreateOrOpen)?;
        let len = file.metadata()?.len();
        Ok(Self { fs: Arc::clone(fs), path: path.to_owned(), file, len })
    }

    /// Adds these bytes.
    ///
    /// # Errors
    /// The disk refused; the file is as it was before, or will be so with the next append.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self.fs.write_at(&self.file, &self.path, bytes, self.len);
        match written {
            Ok(()) => self.len += bytes.len() as u64,
            Err(_) => drop(self.fs.set_len(&self.file, &self.path, self.len)), // if not, the next append lies over it
        }
        written
    }

    /// As [`append`](Self::append), and durable.
    ///
    /// # Errors
    /// The disk refused; the bytes are gone again.
    pub fn append_durably(&mut self, bytes: &[u8]) -> io::Result<()> {
        let before = self.len;
        self.append(bytes)?;
        let synced = self.sync();
        if synced.is_err() {
            self.cut(before)?;
        }
        synced
    }

    /// Takes the file back to a length.
    ///
    /// # Errors
    /// The disk refused; the next append lies over what is behind.
    pub fn cut(&mut self, len: u64) -> io::Result<()> {
        self.len = len;
        self.fs.set_len(&self.file, &self.path, len)
    }

    /// Makes what was appended durable.
    ///
    /// # Errors
    /// The disk refused.
    pub fn sync(&self) -> io::Result<()> {
        self.fs.sync_data(&self.file, &self.path)
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::{Fault, FaultyFs, Op, RealFs};

    #[test]
    fn an_append_that_failed_in_its_middle_leaves_nothing_behind() {
        for fails in [&[Op::Write][..], &[Op::Write, Op::SetLen]] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("lines");
            let faulty = Arc::new(FaultyFs::new());
            let fs: Arc<dyn FileSystem> = faulty.clone();
            let mut file = AppendFile::open(&fs, &path).unwrap();
            file.append(b"one\n").unwrap();
            for op in fails {
                faulty.fail_with(*op, Fault { after: 0, times: 1, kind: io::ErrorKind::StorageFull });
            }
            file.append(b"two, the half of it\n").unwrap_err();
            file.append(b"three, as long as the other\n").unwrap();
            assert_eq!(RealFs.read(&path).unwrap(), b"one\nthree, as long as the other\n");
        }
    }
}
