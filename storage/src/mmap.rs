//! Mapped files, and all the unsafe code of the store.
//!
//! Two kinds, because two arguments make them sound:
//!
//! * [`MappedLog`] is extended by one [`LogWriter`] while readers follow. Invariant: bytes below `published`
//!   never change while anybody else holds the log; only the writer touches the rest. So readers get plain
//!   slices, and [`Bytes`] that own a reference to the mapping.
//! * [`MappedCells`] is read and written anywhere by anybody, in atomic cells of a fixed size. Invariant: a
//!   file has one cell size and is touched through its cells only. So there are no slices, only copies.
//!
//! Three things the operating system cannot promise are kept true elsewhere: nobody else truncates the files
//! (the directory lock), blocks are reserved before a byte is written (`preallocate`, [`MappedCells::reserve`]),
//! and an unlinked file stays mapped until its last reader is gone (the `Arc`).
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use bytes::Bytes;
use memmap2::{Advice, MmapOptions, MmapRaw};

use crate::fs::{FileSystem, OpenMode};
use crate::sync::atomic::AtomicUsize;

const PAGE: usize = 4096;

/// A preallocated file that one [`LogWriter`] extends while readers follow.
#[derive(Debug)]
pub struct MappedLog {
    map: MmapRaw,
    file: File,
    path: PathBuf,
    published: AtomicUsize,
    #[cfg(feature = "loom")]
    witness: crate::sync::Witness,
}

/// The one handle that may change a [`MappedLog`]. Not `Clone`; every change takes `&mut self`.
#[derive(Debug)]
pub struct LogWriter(Arc<MappedLog>);

impl LogWriter {
    /// Maps the first `len` bytes of `file`, which must be that long. Nothing is published yet.
    pub fn map(file: File, path: PathBuf, len: usize) -> io::Result<Self> {
        let map = map_whole(&file, len)?;
        let log = MappedLog {
            map,
            file,
            path,
            published: AtomicUsize::new(0),
            #[cfg(feature = "loom")]
            witness: crate::sync::Witness::default(),
        };
        Ok(Self(Arc::new(log)))
    }

    /// Takes the writer's place again, when nobody else holds the log. Gives it back otherwise.
    pub fn reclaim(mut log: Arc<MappedLog>) -> Result<Self, Arc<MappedLog>> {
        if Arc::get_mut(&mut log).is_some() { Ok(Self(log)) } else { Err(log) }
    }

    /// The log, for readers.
    pub fn log(&self) -> &Arc<MappedLog> {
        &self.0
    }

    /// Gives up the right to write.
    pub fn seal(self) -> Arc<MappedLog> {
        self.0
    }

    /// Every byte of the file, published or not.
    pub fn all(&self) -> &[u8] {
        // SAFETY: the mapping is `len` bytes long and lives as long as `self`. Bytes change only through
        // `&mut self` of this only writer, so not while this borrow lives.
        unsafe { slice::from_raw_parts(self.0.map.as_ptr(), self.0.map.len()) }
    }

    /// The next `len` bytes after the published ones, to be filled; `None` when they do not fit.
    pub fn room(&mut self, len: usize) -> Option<&mut [u8]> {
        let start = self.0.published.load(Ordering::Relaxed);
        start.checked_add(len).filter(|&end| end <= self.0.map.len())?;
        #[cfg(feature = "loom")]
        self.0.witness.written(start..start + len);
        // SAFETY: `start..start + len` is inside the mapping (checked above). This is the only reference to
        // it: readers stop at `published`, and `&mut self` rules out a second borrow from the only writer.
        Some(unsafe { slice::from_raw_parts_mut(self.0.map.as_mut_ptr().add(start), len) })
    }

    /// Writes `bytes` behind the published ones, where blocks must be reserved. Nothing is published; after an error some of them
    /// may be there, and the next write goes over them.
    ///
    /// Bytes go through the file and not through the mapping: a page that the mapping has not seen yet costs a page fault and is
    /// filled with zeros first, several times as much as the copy.
    pub fn write(&mut self, fs: &dyn FileSystem, bytes: &[u8]) -> io::Result<()> {
        let start = self.0.published.load(Ordering::Relaxed);
        if bytes.len() > self.0.map.len() - start {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the file has no room for that"));
        }
        #[cfg(feature = "loom")]
        self.0.witness.written(start..start + bytes.len());
        fs.write_reserved(&self.0.file, &self.0.path, bytes, start as u64)?;
        #[cfg(feature = "sanitizer")]
        if let Some(room) = self.room(bytes.len()) {
            room.copy_from_slice(bytes); // the same once more: the sanitizer does not see what the kernel writes
        }
        Ok(())
    }

    /// Lets readers see `len` more bytes. Never goes past the end of the file.
    pub fn publish(&mut self, len: usize) {
        let end = self.0.published.load(Ordering::Relaxed).saturating_add(len).min(self.0.map.len());
        self.0.published.store(end, Ordering::Release); // pairs with the load in `MappedLog::published`
    }

    /// Takes the published end back to `end`, when nobody else holds the log. Returns false, and does nothing, when
    /// somebody does. The bytes stay; see [`clear_rest`](Self::clear_rest).
    #[must_use]
    pub fn retract(&mut self, end: usize) -> bool {
        let Some(log) = Arc::get_mut(&mut self.0) else { return false };
        let end = end.min(log.map.len());
        log.published.store(end, Ordering::Relaxed); // nobody else can look
        true
    }

    /// Zeroes every byte behind the published ones, on disk too, and reserves their blocks.
    pub fn clear_rest(&mut self, fs: &dyn FileSystem) -> io::Result<()> {
        let (start, end) = (self.0.published.load(Ordering::Relaxed), self.0.map.len());
        fs.zero_range(&self.0.file, &self.0.path, start as u64, (end - start) as u64)?;
        fs.sync_data(&self.0.file, &self.0.path)
    }

    /// Reserves the blocks behind the published bytes: a file of another origin may have holes there.
    pub fn reserve_rest(&mut self, fs: &dyn FileSystem) -> io::Result<()> {
        let (start, end) = (self.0.published.load(Ordering::Relaxed), self.0.map.len());
        if start == end {
            Ok(())
        } else {
            fs.preallocate(&self.0.file, &self.0.path, start as u64, (end - start) as u64)
        }
    }
}

impl MappedLog {
    /// Length of the file.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// True for a file of no bytes (which cannot be mapped, so never).
    pub fn is_empty(&self) -> bool {
        self.map.len() == 0
    }

    /// Where the file is, or was before it was removed.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// End of the bytes that readers may see.
    pub fn published(&self) -> usize {
        self.published.load(Ordering::Acquire)
    }

    /// Bytes in `range`, or `None` when any of them is not published.
    pub fn read(&self, range: Range<usize>) -> Option<&[u8]> {
        if range.start > range.end || range.end > self.published() {
            return None;
        }
        #[cfg(feature = "loom")]
        self.witness.read(range.clone());
        // SAFETY: the range is inside the mapping and below `published`: written before the store that we just
        // observed, and not changed while this log is shared (`retract` needs the only reference, and this
        // slice borrows one). The mapping lives as long as `self`.
        Some(unsafe { slice::from_raw_parts(self.map.as_ptr().add(range.start), range.len()) })
    }

    /// Bytes in `range` by reference: the result keeps the mapping alive, also after the file is removed.
    pub fn bytes(self: &Arc<Self>, range: Range<usize>) -> Option<Bytes> {
        self.read(range.clone())?;
        Some(Bytes::from_owner(LogSlice { log: Arc::clone(self), range }))
    }

    /// Makes all writes so far durable.
    pub fn sync(&self, fs: &dyn FileSystem) -> io::Result<()> {
        fs.sync_data(&self.file, &self.path)
    }

    /// Whether `bytes` are those of this mapping that start at `position`.
    fn is_at(&self, position: usize, bytes: &[u8]) -> bool {
        let end = position.checked_add(bytes.len());
        end.is_some_and(|end| end <= self.map.len()) && self.map.as_ptr().addr() + position == bytes.as_ptr().addr()
    }

    /// Makes the writes to `range` durable (`msync`), and leaves the rest, such as pages brought in ahead, alone.
    pub fn sync_range(&self, fs: &dyn FileSystem, range: Range<usize>) -> io::Result<()> {
        let end = range.end.min(self.map.len());
        if range.start >= end {
            return Ok(());
        }
        fs.sync_mapped(&self.path, &|| self.map.flush_range(range.start, end - range.start))
    }
}

/// Where in a file of the log some bytes are, for who sends them without touching them.
#[derive(Debug, Clone)]
pub struct FilePlace {
    log: Arc<MappedLog>,
    /// In the file.
    offset: u64,
}

impl FilePlace {
    /// The place of `bytes` in `log`, when they are a slice of it that starts at `position`.
    pub(crate) fn of(log: &Arc<MappedLog>, position: usize, bytes: &[u8]) -> Option<Self> {
        log.is_at(position, bytes).then(|| Self { log: Arc::clone(log), offset: position as u64 })
    }

    /// The file. It may have been removed meanwhile; its bytes are there as long as this is.
    pub fn file(&self) -> &File {
        &self.log.file
    }

    /// Where the bytes start.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Moves the start.
    pub fn advance(&mut self, len: usize) {
        self.offset += len as u64;
    }
}

/// What a [`Bytes`] from the log owns.
struct LogSlice {
    log: Arc<MappedLog>,
    range: Range<usize>,
}

impl AsRef<[u8]> for LogSlice {
    fn as_ref(&self) -> &[u8] {
        // Published when the slice was made, and never retracted while it lives: always `Some`.
        self.log.read(self.range.clone()).unwrap_or_default()
    }
}

/// Size of the cells in which a [`MappedCells`] is read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grain {
    /// 2 bytes, for entries of 46 bytes.
    Half,
    /// 4 bytes, for everything else.
    Word,
}

impl Grain {
    fn size(self) -> usize {
        match self {
            Self::Half => 2,
            Self::Word => 4,
        }
    }
}

/// A mapped file that is read and written anywhere, in atomic cells.
///
/// One cell is never seen half written; more than one may be. Who needs several cells to agree publishes
/// them by an atomic of its own: write, store with `Release`; load with `Acquire`, read.
#[derive(Debug)]
pub struct MappedCells {
    map: MmapRaw,
    /// `None` after [`MappedCells::detach`]: opened again by path for the few things that need it.
    file: Option<File>,
    path: PathBuf,
    grain: Grain,
    reserved: AtomicUsize,
    #[cfg(feature = "loom")]
    cells: crate::sync::Cells,
}

impl MappedCells {
    /// Maps the first `len` bytes of `file`, which must be that long. Nothing is reserved yet.
    pub fn map(file: File, path: PathBuf, len: usize, grain: Grain) -> io::Result<Self> {
        let map = map_whole(&file, len)?;
        // Without this the first touch of a new file makes the kernel bring all of it into the page cache: 6 MB and
        // milliseconds for an entry of 20 bytes. A hint, so a refusal does not matter.
        let _ = map.advise(Advice::Random);
        Ok(Self {
            #[cfg(feature = "loom")]
            cells: crate::sync::Cells::new(&std::fs::read(&path)?[..len], grain.size()),
            map,
            file: Some(file),
            path,
            grain,
            reserved: AtomicUsize::new(0),
        })
    }

    /// Closes the file and keeps the mapping: for stores with more mapped files than a process may have open.
    #[must_use]
    pub fn detach(self) -> Self {
        Self { file: None, ..self }
    }

    /// End of the part whose blocks are known to be reserved.
    pub fn reserved(&self) -> usize {
        self.reserved.load(Ordering::Acquire)
    }

    /// Length of the file.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// True for a file of no bytes (which cannot be mapped, so never).
    pub fn is_empty(&self) -> bool {
        self.map.len() == 0
    }

    /// Where the file is, or was before it was removed.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reserves disk blocks up to `end`, in steps of `step` bytes. Must come before a write there: a write into
    /// a hole of a full disk would kill the process. Cheap when they are reserved already.
    pub fn reserve(&self, fs: &dyn FileSystem, end: usize, step: usize) -> io::Result<()> {
        let done = self.reserved.load(Ordering::Acquire);
        if end <= done {
            return Ok(());
        }
        let end = end.next_multiple_of(step.max(1)).min(self.map.len());
        if end > done {
            self.with_file(fs, |file| fs.preallocate(file, &self.path, done as u64, (end - done) as u64))?;
            self.reserved.fetch_max(end, Ordering::AcqRel);
        }
        Ok(())
    }

    /// Says that blocks below `end` are known to be reserved (by an earlier run, or one preallocation of all).
    pub fn assume_reserved(&self, end: usize) {
        self.reserved.fetch_max(end.min(self.map.len()), Ordering::AcqRel);
    }

    /// Copies `N` bytes from `offset`; `None` outside the file or off the cell grid.
    #[inline]
    pub fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let mut out = [0; N];
        self.read_into(offset, &mut out).then_some(out)
    }

    /// Fills `out` from `offset`; false outside the file or off the cell grid.
    #[inline]
    pub fn read_into(&self, offset: usize, out: &mut [u8]) -> bool {
        if !self.on_grid(offset, out.len()) {
            return false;
        }
        match self.grain {
            Grain::Word => {
                for (i, cell) in out.chunks_exact_mut(4).enumerate() {
                    // SAFETY: `on_grid` checked that the whole of `out.len()` bytes from `offset` is inside the
                    // mapping and aligned to 4 (the mapping itself is page aligned). Cells of this file are only
                    // ever touched as `AtomicU32`, and the mapping outlives this use.
                    let word = unsafe { &*self.map.as_ptr().add(offset + i * 4).cast::<AtomicU32>() };
                    cell.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
                }
            }
            Grain::Half => {
                for (i, cell) in out.chunks_exact_mut(2).enumerate() {
                    // SAFETY: as above, with cells of 2 bytes that are only ever touched as `AtomicU16`.
                    let half = unsafe { &*self.map.as_ptr().add(offset + i * 2).cast::<AtomicU16>() };
                    cell.copy_from_slice(&half.load(Ordering::Relaxed).to_ne_bytes());
                }
            }
        }
        #[cfg(feature = "loom")]
        self.cells.read(offset / self.grain.size(), out, self.grain.size());
        true
    }

    /// Writes `data` at `offset`; false, and nothing written, outside the reserved part of the file or off the grid.
    #[inline]
    #[must_use]
    pub fn write(&self, offset: usize, data: &[u8]) -> bool {
        if !self.on_grid(offset, data.len()) || offset + data.len() > self.reserved.load(Ordering::Acquire) {
            return false;
        }
        match self.grain {
            Grain::Word => {
                for (i, cell) in data.as_chunks::<4>().0.iter().enumerate() {
                    // SAFETY: as in `read_into`; the mapping is writable (`map_whole`).
                    let word = unsafe { &*self.map.as_mut_ptr().add(offset + i * 4).cast::<AtomicU32>() };
                    word.store(u32::from_ne_bytes(*cell), Ordering::Relaxed);
                }
            }
            Grain::Half => {
                for (i, cell) in data.as_chunks::<2>().0.iter().enumerate() {
                    // SAFETY: as in `read_into`; the mapping is writable (`map_whole`).
                    let half = unsafe { &*self.map.as_mut_ptr().add(offset + i * 2).cast::<AtomicU16>() };
                    half.store(u16::from_ne_bytes(*cell), Ordering::Relaxed);
                }
            }
        }
        #[cfg(feature = "loom")]
        self.cells.write(offset / self.grain.size(), data, self.grain.size());
        true
    }

    /// Makes all writes so far durable.
    pub fn sync(&self, fs: &dyn FileSystem) -> io::Result<()> {
        self.with_file(fs, |file| fs.sync_data(file, &self.path))
    }

    fn with_file(&self, fs: &dyn FileSystem, work: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
        match &self.file {
            Some(file) => work(file),
            None => work(&fs.open(&self.path, OpenMode::ReadWrite)?),
        }
    }

    /// Brings the pages of `range` into memory, writable. A hint.
    pub fn populate(&self, range: Range<usize>) -> io::Result<()> {
        let start = range.start / PAGE * PAGE;
        let end = range.end.min(self.map.len()).min(self.reserved.load(Ordering::Acquire));
        if start >= end { Ok(()) } else { self.map.advise_range(Advice::PopulateWrite, start, end - start) }
    }

    #[inline]
    fn on_grid(&self, offset: usize, len: usize) -> bool {
        let inside = offset.checked_add(len).is_some_and(|end| end <= self.map.len());
        inside && offset.is_multiple_of(self.grain.size()) && len.is_multiple_of(self.grain.size())
    }
}

/// Maps `file` readable and writable, shared. Checks the length, so that no access can run past the end of the file.
fn map_whole(file: &File, len: usize) -> io::Result<MmapRaw> {
    let found = file.metadata()?.len();
    if len == 0 || found < len as u64 {
        let message = format!("cannot map {len} bytes of a file of {found}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    MmapOptions::new().len(len).map_raw(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::RealFs;

    fn file_of(len: u64) -> (tempfile::TempDir, File, PathBuf) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("file");
        let file = File::options().read(true).write(true).create_new(true).open(&path).expect("a new file");
        file.set_len(len).expect("its length");
        (dir, file, path)
    }

    #[test]
    fn a_reader_never_sees_beyond_what_is_published() {
        let (_dir, file, path) = file_of(8192);
        let mut writer = LogWriter::map(file, path, 8192).expect("a mapping");
        writer.room(5).expect("room").copy_from_slice(b"hello");
        assert_eq!(writer.log().read(0..5), None);
        writer.publish(5);
        assert_eq!(writer.log().read(0..5), Some(&b"hello"[..]));
        assert_eq!(writer.log().read(0..6), None);
        assert!(writer.room(8188).is_none());
    }

    #[test]
    fn bytes_outlive_the_file_and_hold_back_a_retraction() {
        let (dir, file, path) = file_of(4096);
        let mut writer = LogWriter::map(file, path.clone(), 4096).expect("a mapping");
        writer.room(3).expect("room").copy_from_slice(b"abc");
        writer.publish(3);
        let bytes = writer.log().bytes(0..3).expect("published bytes");
        assert!(!writer.retract(0));
        std::fs::remove_file(&path).expect("removal");
        assert_eq!(bytes, &b"abc"[..]);
        drop(bytes);
        assert!(writer.retract(1));
        writer.clear_rest(&RealFs).expect("zeroed");
        assert_eq!(writer.all()[..3], *b"a\0\0");
        drop(dir);
    }

    #[test]
    fn cells_are_written_only_where_blocks_are_reserved() {
        for grain in [Grain::Half, Grain::Word] {
            let (_dir, file, path) = file_of(1000);
            let cells = MappedCells::map(file, path, 1000, grain).expect("a mapping");
            assert!(!cells.write(0, &[1; 20]));
            cells.reserve(&RealFs, 20, 64).expect("reserved");
            assert!(cells.write(20, &[7; 20]));
            assert_eq!(cells.read::<20>(20), Some([7; 20]));
            assert!(!cells.write(60, &[7; 20]));
            assert!(!cells.write(21, &[7; 20]));
            assert_eq!(cells.read::<20>(984), None);
        }
    }
}
