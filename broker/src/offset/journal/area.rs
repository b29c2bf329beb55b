//! Bytes that grow: mapped files of doubling size, made when they are first needed.
//!
//! What was written stays where it is, so a place is found by arithmetic and read or written without a lock.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use parking_lot::Mutex;
use tenonmq_storage::{
    fs::{FileSystem, OpenMode},
    mmap::{Grain, MappedCells},
};

use super::fuse::Fuse;

/// The last file of an area is 2³¹ times as long as its first.
pub(super) const FILES: usize = 32;

/// One area of one epoch.
pub(super) struct Area {
    fs: Arc<dyn FileSystem>,
    stem: PathBuf,
    /// Length of the first file in bytes; a power of two.
    first: u64,
    files: [OnceLock<MappedCells>; FILES],
    growing: Mutex<()>,
    fuse: Fuse,
}

/// Which file holds a place, and where it begins and ends.
fn file_of(place: u64, first: u64) -> (usize, u64, u64) {
    let index = (place / first + 1).ilog2();
    let begin = first.saturating_mul((1u64 << index) - 1);
    (index as usize, begin, begin.saturating_add(first << index))
}

/// The name of one file of an area.
pub(super) fn file_name(stem: &Path, index: usize) -> PathBuf {
    let mut name = stem.as_os_str().to_owned();
    name.push(format!(".{index}"));
    name.into()
}

impl Area {
    /// An area whose files are called `<stem>.0`, `<stem>.1`, … None is made yet.
    pub(super) fn new(fs: Arc<dyn FileSystem>, stem: PathBuf, first: u64, fuse: Fuse) -> Self {
        Self { fs, stem, first, files: [const { OnceLock::new() }; FILES], growing: Mutex::default(), fuse }
    }

    /// Where the file that holds `place` ends.
    pub(super) fn end_of_file(&self, place: u64) -> u64 {
        file_of(place, self.first).2
    }

    /// Makes the file that holds `place`, if it is not there. Blocks are reserved: a later write cannot fail.
    pub(super) fn ensure(&self, place: u64) -> io::Result<()> {
        let (index, begin, end) = file_of(place, self.first);
        let Some(cell) = self.files.get(index) else { return Err(io::ErrorKind::StorageFull.into()) };
        if cell.get().is_some() {
            return Ok(());
        }
        let _one_at_a_time = self.growing.lock();
        if cell.get().is_some() {
            return Ok(());
        }
        let path = file_name(&self.stem, index);
        let len = end - begin;
        let made = self.make(&path, len);
        if made.is_err() {
            let _ = self.fs.remove_file(&path); // half made, and in the way of the next attempt
        }
        let _ = cell.set(made?);
        Ok(())
    }

    fn make(&self, path: &Path, len: u64) -> io::Result<MappedCells> {
        let file = self.fs.open(path, OpenMode::CreateNew)?;
        self.fs.preallocate(&file, path, 0, len)?;
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let cells = MappedCells::map(file, path.to_owned(), len, Grain::Word)?;
        cells.assume_reserved(len);
        Ok(cells.detach())
    }

    /// Writes whole words within one file. False when the file is not there.
    pub(super) fn write(&self, place: u64, bytes: &[u8]) -> bool {
        let (index, begin, _) = file_of(place, self.first);
        let Some(cells) = self.files.get(index).and_then(OnceLock::get) else { return false };
        let allowed = self.fuse.burn(bytes.len() / 4) * 4;
        let Ok(at) = usize::try_from(place - begin) else { return false };
        cells.write(at, bytes.get(..allowed).unwrap_or(bytes))
    }
}

/// What an earlier run left of an area.
pub(super) struct Left {
    files: Vec<Vec<u8>>,
    first: u64,
}

impl Left {
    /// Reads the files that are there.
    pub(super) fn read(fs: &dyn FileSystem, stem: &Path, first: u64) -> io::Result<Self> {
        let mut files = Vec::new();
        for index in 0..FILES {
            let path = file_name(stem, index);
            if !fs.exists(&path) {
                break;
            }
            files.push(fs.read(&path)?);
        }
        Ok(Self { files, first })
    }

    /// Bytes at a place; `None` where nothing was left.
    pub(super) fn bytes(&self, place: u64, len: usize) -> Option<&[u8]> {
        let (index, begin, _) = file_of(place, self.first);
        let at = usize::try_from(place - begin).ok()?;
        self.files.get(index)?.get(at..at.checked_add(len)?)
    }

    /// Where the file that holds `place` ends.
    pub(super) fn end_of_file(&self, place: u64) -> u64 {
        file_of(place, self.first).2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_is_twice_as_long_as_the_one_before() {
        assert_eq!(file_of(0, 64), (0, 0, 64));
        assert_eq!(file_of(63, 64), (0, 0, 64));
        assert_eq!(file_of(64, 64), (1, 64, 192));
        assert_eq!(file_of(191, 64), (1, 64, 192));
        assert_eq!(file_of(192, 64), (2, 192, 448));
    }
}
