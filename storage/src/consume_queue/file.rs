//! The files below one queue: `<folder>/<topic>/<queueId>/<20 digits>`, each of one fixed size.
//!
//! A file is made when the first entry that belongs there is about to be written, and mapped when it is first used:
//! a store with 100,000 quiet queues maps nothing. Disk blocks are reserved ahead of the writer, in steps that grow
//! with the queue, so a full disk is an error before anything is written. Mappings can be closed at any time; whoever
//! holds one keeps it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::{ArcSwapOption, Guard};

use super::entry::{BatchEntry, Entry};
use super::ext::ExtSettings;
use crate::error::FileError;
use crate::fs::{FileSystem, OpenMode};
use crate::mmap::{Grain, MappedCells};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};

/// Smallest number of bytes reserved ahead of the writer of a queue.
const MIN_STEP: usize = 4 << 10;
/// Largest number of bytes reserved ahead of the writer of a queue.
const MAX_STEP: usize = 64 << 10;

/// What the entries of a queue look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QueueKind {
    /// One entry of 20 bytes for each message; the entry's number is the queue offset.
    Simple,
    /// One entry of 46 bytes for each batch (`queue.type=BatchCQ`).
    Batch,
}

impl QueueKind {
    /// Directory below the root that holds the queues of this kind.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Simple => "consumequeue",
            Self::Batch => "batchconsumequeue",
        }
    }

    /// Length of an entry in bytes.
    pub fn entry_len(self) -> u64 {
        match self {
            Self::Simple => Entry::LEN as u64,
            Self::Batch => BatchEntry::LEN as u64,
        }
    }

    fn grain(self) -> Grain {
        match self {
            Self::Simple => Grain::Word,
            Self::Batch => Grain::Half,
        }
    }
}

/// Where the files of a queue are and how long they get.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) fs: Arc<dyn FileSystem>,
    /// The data directory.
    pub(crate) root: Arc<Path>,
    pub(crate) topic: Arc<str>,
    pub(crate) queue_id: i32,
    pub(crate) kind: QueueKind,
    /// Length of each file in bytes, a multiple of the entry's.
    pub(crate) file_size: u64,
    pub(crate) ext: ExtSettings,
}

impl Place {
    /// The directory of the queue. Refuses a topic that would lead out of the data directory.
    pub(crate) fn directory(&self) -> Result<PathBuf, FileError> {
        let folder = self.root.join(self.kind.folder());
        if !is_file_name(&self.topic) {
            let source = std::io::Error::new(std::io::ErrorKind::InvalidInput, "the topic is no file name");
            return Err(FileError::of("make a directory for a topic in", &folder)(source));
        }
        Ok(folder.join(&*self.topic).join(self.queue_id.to_string()))
    }

    pub(crate) fn file_path(&self, start: u64) -> Result<PathBuf, FileError> {
        Ok(self.directory()?.join(file_name(start)))
    }
}

/// Name of the file whose first byte has this number.
pub(crate) fn file_name(start: u64) -> String {
    format!("{start:020}")
}

/// True when `topic` names one entry of a directory.
pub(crate) fn is_file_name(topic: &str) -> bool {
    !topic.is_empty() && topic != "." && topic != ".." && !topic.contains(['/', '\0'])
}

/// One file, mapped or not.
pub(crate) struct QueueFile {
    /// Position of its first byte in the queue.
    start: u64,
    cells: ArcSwapOption<MappedCells>,
}

/// A mapped file and where it begins. Keeps the mapping alive.
#[derive(Clone)]
pub(crate) struct OpenFile {
    pub(crate) start: u64,
    pub(crate) cells: Arc<MappedCells>,
}

impl OpenFile {
    /// True when all of `len` bytes at `position` lie in this file.
    pub(crate) fn holds(&self, position: u64, len: u64) -> bool {
        position >= self.start && position + len <= self.start + self.cells.len() as u64
    }

    /// Offset in the file of a position that it [holds](Self::holds).
    pub(crate) fn offset_of(&self, position: u64) -> usize {
        (position - self.start) as usize
    }
}

/// What was removed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Removed {
    pub(crate) files: usize,
    /// How many of these were mapped.
    pub(crate) mapped: usize,
}

type FileList = Vec<Arc<QueueFile>>;

/// The files of one queue, in order and without gaps.
pub(crate) struct QueueFiles {
    place: Place,
    list: ArcSwapOption<FileList>,
    /// Held to change the list or to map a file, never to read or write entries.
    change: Mutex<()>,
    /// Set when a file was made whose name may not be on disk yet.
    names_dirty: AtomicBool,
}

impl QueueFiles {
    /// The files beginning at `starts` (ascending), which exist with the right length.
    pub(crate) fn new(place: Place, starts: &[u64]) -> Self {
        let list: FileList = starts.iter().map(|&start| QueueFile::closed(start)).collect();
        let list = (!list.is_empty()).then(|| Arc::new(list));
        Self { place, list: ArcSwapOption::new(list), change: Mutex::new(()), names_dirty: AtomicBool::new(false) }
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Positions at which the files begin, ascending.
    pub(crate) fn starts(&self) -> Vec<u64> {
        self.list().iter().flat_map(|list| list.iter().map(|file| file.start)).collect()
    }

    /// Position of the first byte of the first file.
    pub(crate) fn first_start(&self) -> Option<u64> {
        self.list().as_ref()?.first().map(|file| file.start)
    }

    /// Position of the first byte of the file that holds `position`.
    pub(crate) fn start_of(&self, position: u64) -> u64 {
        position - position % self.place.file_size
    }

    /// The mapped file that holds `position`, if it is mapped. The second value says that it was mapped just now.
    pub(crate) fn open(&self, position: u64) -> Result<Option<(OpenFile, bool)>, FileError> {
        let list = self.list();
        let Some(file) = list.as_ref().and_then(|list| find(list, position, self.place.file_size)) else {
            return Ok(None);
        };
        if let Some(cells) = file.cells.load_full() {
            return Ok(Some((OpenFile { start: file.start, cells }, false)));
        }
        let _changing = self.change.lock();
        let (cells, fresh) = self.map(file)?;
        Ok(Some((OpenFile { start: file.start, cells }, fresh)))
    }

    /// The mapped file that holds `position`, made if it does not exist. The second value says that it was mapped just now.
    pub(crate) fn open_or_create(&self, position: u64) -> Result<(OpenFile, bool), FileError> {
        if let Some(found) = self.open(position)? {
            return Ok(found);
        }
        let _changing = self.change.lock();
        let start = self.start_of(position);
        let mut list = self.list.load_full().map_or_else(Vec::new, |list| list.to_vec());
        if !list.iter().any(|file| file.start == start) {
            self.create(start)?;
            list.push(QueueFile::closed(start));
            list.sort_by_key(|file| file.start);
        }
        // Just put there, so always found; the error is for the compiler.
        let file = list.iter().find(|file| file.start == start).map(Arc::clone);
        let file = file.ok_or_else(|| FileError::of("find", &self.place.root)(std::io::ErrorKind::NotFound.into()))?;
        self.list.store(Some(Arc::new(list)));
        let (cells, fresh) = self.map(&file)?;
        Ok((OpenFile { start, cells }, fresh))
    }

    /// Whether the file that holds `position` is there and mapped.
    #[inline]
    pub(crate) fn is_mapped(&self, position: u64) -> bool {
        let list = self.list();
        let file = list.as_ref().and_then(|list| find(list, position, self.place.file_size));
        file.is_some_and(|file| file.cells.load().is_some())
    }

    /// Reserves blocks for `len` bytes at `position` in `file`, and some more for what comes next.
    #[inline]
    pub(crate) fn reserve(&self, file: &OpenFile, position: u64, len: u64) -> Result<(), FileError> {
        let end = file.offset_of(position) + len as usize;
        if end <= file.cells.reserved() {
            return Ok(());
        }
        // A queue that has little gets little: 100,000 queues of one message each take 4 KiB each.
        let step = end.next_power_of_two().clamp(MIN_STEP, MAX_STEP);
        let fs = &*self.place.fs;
        file.cells.reserve(fs, end, step).map_err(FileError::of("reserve space for", file.cells.path()))?;
        if step == MAX_STEP {
            // A busy queue: bring the pages in at once instead of one fault for every 204 entries. A hint only.
            let _ = file.cells.populate(end..file.cells.reserved());
        }
        Ok(())
    }

    /// Forgets and removes the files whose last byte is before `position`.
    /// The file that holds `position`, and the last one, stay.
    pub(crate) fn remove_before(&self, position: u64) -> Result<Removed, FileError> {
        let size = self.place.file_size;
        let last = self.starts().last().copied();
        self.remove_if(|start| start + size <= position && Some(start) != last)
    }

    /// Forgets and removes the files that begin at `position` or behind it.
    pub(crate) fn remove_from(&self, position: u64) -> Result<Removed, FileError> {
        self.remove_if(|start| start >= position)
    }

    /// Closes all mappings that nobody else holds, and returns how many were open.
    pub(crate) fn close(&self) -> usize {
        let list = self.list();
        let Some(list) = list.as_ref() else { return 0 };
        list.iter().filter(|file| file.cells.swap(None).is_some()).count()
    }

    /// Makes everything written to `from..to` durable, and the names of new files with it.
    pub(crate) fn sync(&self, from: u64, to: u64) -> Result<(), FileError> {
        let fs = &*self.place.fs;
        for start in self.starts() {
            if start >= to || start + self.place.file_size <= from {
                continue;
            }
            let path = self.place.file_path(start)?;
            let file = match fs.open(&path, OpenMode::ReadWrite) {
                Ok(file) => file,
                // Removed in the meantime: nothing left to keep.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(FileError::of("open", &path)(error)),
            };
            fs.sync_data(&file, &path).map_err(FileError::of("sync", &path))?;
        }
        if self.names_dirty.swap(false, Ordering::AcqRel) {
            let result = self.sync_names();
            if result.is_err() {
                self.names_dirty.store(true, Ordering::Release);
            }
            return result;
        }
        Ok(())
    }

    fn sync_names(&self) -> Result<(), FileError> {
        let directory = self.place.directory()?;
        for directory in directory.ancestors().take(4).take_while(|at| at.starts_with(&self.place.root)) {
            match self.place.fs.sync_dir(directory) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(FileError::of("sync", directory)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn list(&self) -> Guard<Option<Arc<FileList>>> {
        self.list.load()
    }

    fn remove_if(&self, gone: impl Fn(u64) -> bool) -> Result<Removed, FileError> {
        let _changing = self.change.lock();
        let Some(list) = self.list.load_full() else { return Ok(Removed::default()) };
        let (removed, kept): (FileList, FileList) = list.iter().cloned().partition(|file| gone(file.start));
        if removed.is_empty() {
            return Ok(Removed::default());
        }
        let mapped = removed.iter().filter(|file| file.cells.swap(None).is_some()).count();
        self.list.store((!kept.is_empty()).then(|| Arc::new(kept.clone())));
        for (n, file) in removed.iter().enumerate() {
            let path = self.place.file_path(file.start)?;
            match self.place.fs.remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    // Forgotten but there, it would lie before a hole when those behind it go: the next start ends the queue at one.
                    let mut left: FileList = removed.iter().skip(n).cloned().chain(kept).collect();
                    left.sort_unstable_by_key(|file| file.start);
                    self.list.store(Some(Arc::new(left)));
                    return Err(FileError::of("remove", &path)(error));
                }
                _ => {}
            }
        }
        Ok(Removed { files: removed.len(), mapped })
    }

    fn create(&self, start: u64) -> Result<(), FileError> {
        let fs = &*self.place.fs;
        let directory = self.place.directory()?;
        fs.create_dir_all(&directory).map_err(FileError::of("create", &directory))?;
        let path = directory.join(file_name(start));
        let file = fs.open(&path, OpenMode::CreateOrOpen).map_err(FileError::of("create", &path))?;
        fs.set_len(&file, &path, self.place.file_size).map_err(FileError::of("set the length of", &path))?;
        self.names_dirty.store(true, Ordering::Release);
        Ok(())
    }

    /// Maps `file` unless somebody did. Call with `change` held.
    fn map(&self, file: &QueueFile) -> Result<(Arc<MappedCells>, bool), FileError> {
        if let Some(cells) = file.cells.load_full() {
            return Ok((cells, false));
        }
        let path = self.place.file_path(file.start)?;
        let handle = self.place.fs.open(&path, OpenMode::ReadWrite).map_err(FileError::of("open", &path))?;
        let len = self.place.file_size as usize;
        let cells = MappedCells::map(handle, path.clone(), len, self.place.kind.grain());
        let cells = Arc::new(cells.map_err(FileError::of("map", &path))?.detach());
        file.cells.store(Some(Arc::clone(&cells)));
        Ok((cells, true))
    }
}

impl QueueFile {
    fn closed(start: u64) -> Arc<Self> {
        Arc::new(Self { start, cells: ArcSwapOption::empty() })
    }
}

/// The file that holds `position`: nearly always the last one, else by binary search.
fn find(list: &FileList, position: u64, file_size: u64) -> Option<&Arc<QueueFile>> {
    let holds = |file: &&Arc<QueueFile>| position >= file.start && position < file.start + file_size;
    list.last().filter(holds).or_else(|| {
        let after = list.partition_point(|file| file.start <= position);
        list.get(after.checked_sub(1)?).filter(holds)
    })
}
