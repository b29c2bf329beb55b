//! The file system as the store uses it, behind a trait so that tests can break it.
//!
//! [`RealFs`] is the operating system. [`FaultyFs`] is the same with faults switched on by a test: a full
//! disk, a failing `fsync`, the n-th create that fails, or the n-th call of any kind. Files themselves are plain [`File`]s,
//! because they are mapped; whatever is a system call on them goes through the trait.

mod append;
mod faulty;
mod gate;
mod reader;
mod real;
mod strike;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::SystemTime;

pub use append::AppendFile;
pub use faulty::{Fault, FaultyFs, Op};
pub use gate::Gate;
pub use reader::FileReader;
pub use real::RealFs;
pub use strike::{Strike, Trouble};

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// Existing file, for reading only.
    Read,
    /// Existing file, for reading and writing.
    ReadWrite,
    /// New file, for reading and writing; fails when it exists.
    CreateNew,
    /// Existing or new file, for reading and writing; content is kept.
    CreateOrOpen,
}

/// One entry of a directory.
#[derive(Debug, Clone)]
pub struct DirEntry {
    /// Last component of the path. Names that are not UTF-8 are left out of listings.
    pub name: String,
    /// True for a directory.
    pub is_dir: bool,
    /// Length in bytes.
    pub len: u64,
    /// Time of the last modification.
    pub modified: SystemTime,
}

/// Space of one partition, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// What is used and what an unprivileged process may still take: the partition without what is reserved for others.
    pub total: u64,
    /// What an unprivileged process may still take.
    pub available: u64,
}

impl Space {
    /// Used share of the partition in percent, 0 to 100, rounded up: as `df` and Apache tell it.
    pub fn used_percent(&self) -> u8 {
        let used = self.total.saturating_sub(self.available);
        let percent = (u128::from(used) * 100).div_ceil(u128::from(self.total.max(1)));
        u8::try_from(percent).unwrap_or(100)
    }
}

/// Operations on files and directories. All are blocking.
pub trait FileSystem: Send + Sync + 'static {
    /// Opens or creates a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<File>;
    /// Reserves blocks for `offset..offset + len`, growing the file if it ends before. Existing bytes stay, new ones read as zero.
    /// After success a write to that range, mapped or not, cannot fail for want of space.
    fn preallocate(&self, file: &File, path: &Path, offset: u64, len: u64) -> io::Result<()>;
    /// Makes `offset..offset + len` read as zero and reserves its blocks; the length of the file stays.
    fn zero_range(&self, file: &File, path: &Path, offset: u64, len: u64) -> io::Result<()>;
    /// Sets the length without reserving blocks.
    fn set_len(&self, file: &File, path: &Path, len: u64) -> io::Result<()>;
    /// Bytes at a place in a file: fewer than asked for before its end, none at it.
    fn read_at(&self, file: &File, _path: &Path, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        file.read_at(bytes, offset)
    }
    /// Writes at a place in a file. After an error some of the bytes may be there.
    fn write_at(&self, file: &File, _path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }
    /// Writes to a range whose blocks are reserved: cannot fail for want of space. After an error some of the bytes may be there.
    fn write_reserved(&self, file: &File, _path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }
    /// Makes the content of a file durable (`fdatasync`), mapped writes included.
    fn sync_data(&self, file: &File, path: &Path) -> io::Result<()>;
    /// Runs `flush`, which makes a range of a mapped file durable (`msync`), unless a test wants it to fail.
    fn sync_mapped(&self, path: &Path, flush: &dyn Fn() -> io::Result<()>) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Whole content of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Replaces the content of a file in place, creating it if needed. Not synced.
    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()>;
    /// Renames within one file system, replacing the target.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. Its mapping, if any, stays readable.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory and all below it.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Creates a directory and its parents; an existing one is fine.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Entries of a directory, sorted by name. A missing directory is an empty one.
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>>;
    /// Whether a file or directory exists.
    fn exists(&self, path: &Path) -> bool;
    /// Space of the partition that holds `path`.
    fn space(&self, path: &Path) -> io::Result<Space>;
}

/// Fills `bytes` from a place in a file.
///
/// # Errors
/// The disk refused, or the file ends before (`UnexpectedEof`).
pub fn read_exact_at(
    fs: &dyn FileSystem,
    file: &File,
    path: &Path,
    mut bytes: &mut [u8],
    mut offset: u64,
) -> io::Result<()> {
    while !bytes.is_empty() {
        match fs.read_at(file, path, bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                bytes = bytes.get_mut(count..).unwrap_or_default();
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The content of a file, if there is one.
///
/// # Errors
/// It is there and cannot be read.
pub fn read_if_there(fs: &dyn FileSystem, path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs.read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces the content of a file, or makes it, durably: at any moment it is the old content or the new one, whole. Uses a
/// file beside it whose name ends in `tmp`.
///
/// # Errors
/// The disk refused; the content is the old one, or the new one whose name is not on the disk yet.
pub fn replace(fs: &dyn FileSystem, path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("tmp");
    fs.write(&beside, content)?;
    let file = fs.open(&beside, OpenMode::ReadWrite)?;
    fs.sync_data(&file, &beside)?;
    fs.rename(&beside, path)?;
    path.parent().map_or(Ok(()), |folder| fs.sync_dir(folder))
}

/// Removes a file; one that is not there is fine.
///
/// # Errors
/// It is there and cannot be removed.
pub fn remove_if_there(fs: &dyn FileSystem, path: &Path) -> io::Result<()> {
    match fs.remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// True when an error says that the disk (or the quota) is full.
pub fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
