//! The lease log: `<root>/tenonmq/pop-leases/NNNNNNNNNN.log`, files of records that are mapped and written in place.
//!
//! What is written is with the kernel when the write returns, so it outlives the process; nothing is synced for an
//! acknowledgement. A crash of the machine may lose the end of the log. Each file says how long the one before it was, so
//! that a hole between two files ends the reading, and what is read is always a state that once was: that gives messages
//! again and loses none.
//!
//! From time to time every state is told anew in fresh files, and the older ones are removed ([`LeaseLog::renew`]).

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use tenonmq_storage::{
    FileError,
    fs::{FileSystem, OpenMode},
    mmap::LogWriter,
};

use super::{
    lease::Change,
    record::{self, Event},
    replay::Replay,
};

const SUFFIX: &str = ".log";

/// The log, open for appending.
pub struct LeaseLog {
    folder: PathBuf,
    fs: Arc<dyn FileSystem>,
    file_len: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    writer: Option<LogWriter>,
    /// Number of the newest file.
    generation: u64,
    /// Numbers of the files that hold records, the newest included.
    files: Vec<u64>,
    /// Length of the newest file of the last run, for the first one of this run.
    last_end: u64,
    /// Made ready before it is needed.
    spare: Option<LogWriter>,
    /// Bytes since the states were last told anew.
    since_renewal: u64,
    renewal_bytes: u64,
    scratch: Vec<u8>,
}

impl LeaseLog {
    /// Opens the log in `folder` and reads what former runs left into `replay`.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn open(
        folder: &Path,
        fs: Arc<dyn FileSystem>,
        file_len: usize,
        replay: &mut Replay,
    ) -> Result<Self, FileError> {
        let mut open = Open::default();
        let mut hole = false;
        for generation in generations(folder, &*fs)? {
            let path = path_of(folder, generation);
            let bytes = fs.read(&path).map_err(FileError::of("read", &path))?;
            hole = hole || !follows(&bytes, open.last_end, open.files.is_empty());
            if hole {
                tracing::warn!(path = %path.display(), "the lease log has a hole; what was popped behind it is given again");
                fs.remove_file(&path).map_err(FileError::of("remove", &path))?;
                continue;
            }
            if !is_unwritten(&bytes) {
                open.last_end = replay.read(&bytes) as u64;
            }
            open.generation = generation;
            open.files.push(generation);
        }
        open.since_renewal = open.last_end;
        Ok(Self { folder: folder.to_owned(), fs, file_len, open: Mutex::new(open) })
    }

    /// Writes one record about the state `id`.
    ///
    /// # Errors
    /// There is no room for another file; nothing is written then.
    pub fn append(&self, id: u32, event: &Event) -> Result<(), FileError> {
        self.write(|out| record::encode(id, event, out))
    }

    /// Writes that something happened to the leases of `id`.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn change(&self, id: u32, change: &Change) -> Result<(), FileError> {
        self.write(|out| record::encode_change(id, change, out))
    }

    /// Whether the states should be told anew: the log has grown well beyond what they take.
    pub fn is_long(&self) -> bool {
        let open = self.open.lock();
        open.since_renewal > (self.file_len as u64).max(2 * open.renewal_bytes)
    }

    /// Whether there is anything in it.
    pub fn is_used(&self) -> bool {
        self.open.lock().since_renewal > 0
    }

    /// Makes the next file, so that no pop waits for it. Blocking.
    ///
    /// # Errors
    /// It cannot be made; the next append that needs it tries again.
    pub fn prepare(&self) -> Result<(), FileError> {
        let next = {
            let open = self.open.lock();
            let half_used = open.writer.as_ref().is_some_and(|writer| writer.log().published() * 2 > self.file_len);
            if open.spare.is_some() || !half_used {
                return Ok(());
            }
            open.generation + 1
        };
        let made = self.create(next)?;
        let mut open = self.open.lock();
        if open.generation + 1 == next && open.spare.is_none() {
            open.spare = Some(made);
        }
        Ok(())
    }

    /// Begins a new file, lets `tell` write every state, and removes the files before it. `before_removal` runs when all
    /// is told: what the older files alone knew must not be needed any more after it. Blocking.
    ///
    /// # Errors
    /// A file cannot be made, synced or removed. The older ones stay then.
    pub fn renew(
        &self,
        tell: impl FnOnce() -> Result<(), FileError>,
        before_removal: impl FnOnce() -> Result<(), FileError>,
    ) -> Result<(), FileError> {
        let (first, started_at) = {
            let mut open = self.open.lock();
            self.next_file(&mut open)?;
            open.since_renewal = 0;
            (open.generation, open.since_renewal)
        };
        tell()?;
        before_removal()?;
        let (newer, older) = {
            let mut open = self.open.lock();
            open.renewal_bytes = open.since_renewal - started_at;
            open.since_renewal = 0;
            (
                open.files.iter().copied().filter(|file| *file >= first).collect::<Vec<_>>(),
                open.files.iter().copied().filter(|file| *file < first).collect::<Vec<_>>(),
            )
        };
        for generation in newer {
            let path = path_of(&self.folder, generation);
            let file = self.fs.open(&path, OpenMode::ReadWrite).map_err(FileError::of("open", &path))?;
            self.fs.sync_data(&file, &path).map_err(FileError::of("sync", &path))?;
        }
        for generation in &older {
            let path = path_of(&self.folder, *generation);
            self.fs.remove_file(&path).map_err(FileError::of("remove", &path))?;
        }
        self.open.lock().files.retain(|file| *file >= first);
        Ok(())
    }

    fn write(&self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<(), FileError> {
        let mut open = self.open.lock();
        let mut scratch = std::mem::take(&mut open.scratch);
        scratch.clear();
        encode(&mut scratch);
        let written = self.put(&mut open, &scratch);
        open.scratch = scratch;
        written
    }

    fn put(&self, open: &mut Open, record: &[u8]) -> Result<(), FileError> {
        if !open.writer.as_mut().is_some_and(|writer| put(writer, record)) {
            self.next_file(open)?;
            if !open.writer.as_mut().is_some_and(|writer| put(writer, record)) {
                let full = std::io::Error::other("a record is longer than a file");
                return Err(FileError::of("append to", &self.folder)(full));
            }
        }
        open.since_renewal += record.len() as u64;
        Ok(())
    }

    /// Goes on in a new file.
    fn next_file(&self, open: &mut Open) -> Result<(), FileError> {
        let mut writer = match open.spare.take() {
            Some(spare) => spare,
            None => self.create(open.generation + 1)?,
        };
        let end = open.writer.as_ref().map_or(open.last_end, |writer| writer.log().published() as u64);
        let mut first = Vec::with_capacity(32);
        record::encode(0, &Event::Continues { end }, &mut first);
        put(&mut writer, &first);
        open.generation += 1;
        let generation = open.generation;
        open.files.push(generation);
        open.writer = Some(writer);
        Ok(())
    }

    fn create(&self, generation: u64) -> Result<LogWriter, FileError> {
        self.fs.create_dir_all(&self.folder).map_err(FileError::of("create", &self.folder))?;
        let path = path_of(&self.folder, generation);
        if self.fs.exists(&path) {
            self.fs.remove_file(&path).map_err(FileError::of("remove", &path))?; // a spare that was never used
        }
        let file = self.fs.open(&path, OpenMode::CreateNew).map_err(FileError::of("create", &path))?;
        let reserved = self.fs.preallocate(&file, &path, 0, self.file_len as u64);
        reserved.map_err(FileError::of("reserve blocks of", &path))?;
        LogWriter::map(file, path.clone(), self.file_len).map_err(FileError::of("map", &path))
    }
}

fn put(writer: &mut LogWriter, record: &[u8]) -> bool {
    let Some(room) = writer.room(record.len()) else { return false };
    room.copy_from_slice(record);
    writer.publish(record.len());
    true
}

/// Whether the file goes on where the one before it was read to.
fn follows(bytes: &[u8], end: u64, is_first: bool) -> bool {
    match record::decode(bytes) {
        Some((_, Event::Continues { end: told }, _)) => is_first || told == end,
        Some(_) => false,
        None => is_unwritten(bytes),
    }
}

fn is_unwritten(bytes: &[u8]) -> bool {
    bytes.iter().take(8).all(|byte| *byte == 0)
}

fn path_of(folder: &Path, generation: u64) -> PathBuf {
    folder.join(format!("{generation:010}{SUFFIX}"))
}

fn generations(folder: &Path, fs: &dyn FileSystem) -> Result<Vec<u64>, FileError> {
    let entries = fs.list(folder).map_err(FileError::of("list", folder))?;
    let mut found: Vec<u64> =
        entries.iter().filter_map(|entry| entry.name.strip_suffix(SUFFIX)?.parse().ok()).collect();
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
