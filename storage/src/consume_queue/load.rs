//! Start-up: from the files of a queue to its state, reading as little as possible and mapping nothing.
//!
//! As Apache does, the end is found by walking the entries from the third file from the end; what is before is taken
//! as complete. A queue with one file of few entries costs one directory listing and one read of a page.

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustix::fs::SeekFrom;

use super::Queue;
use super::entry::{BatchEntry, Entry};
use super::file::{Place, QueueFiles, QueueKind};
use super::lookup::Located;
use super::open_files::Shared;
use crate::error::{FileError, OpenError};
use crate::fs::{OpenMode, read_exact_at};
use crate::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};

/// Files at the end of a queue whose entries are walked.
const WALKED_FILES: usize = 3;
/// First read of a file, in bytes; enough for most queues.
const SMALL_READ: usize = 4 << 10;
/// Reads after the first, in bytes.
const LARGE_READ: usize = 256 << 10;

/// How the last run ended: what may be wrong with its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastRun {
    /// In order: nothing.
    Stopped,
    /// The process died: what it wrote last may be missing or half there, and in memory only.
    Killed,
    /// The machine died: of what was not synced any part may be missing.
    Crashed,
}

/// What the files of a queue say.
#[derive(Debug, Default, Clone, Copy)]
struct State {
    first_entry: u64,
    end_entry: u64,
    first: Option<Located>,
    last: Option<Located>,
}

impl Queue {
    /// A queue without files. None are made before the first entry.
    pub(super) fn new(place: Place, shared: Arc<Shared>) -> Arc<Self> {
        Self::with(QueueFiles::new(place, &[]), shared, State::default())
    }

    /// Reads the state of an existing queue. Unless the last run was stopped in order, what lies behind the first invalid
    /// entry is zeroed, durably, because it would be taken for valid once the entries before it are written again.
    pub(super) fn load(place: Place, shared: Arc<Shared>, last: LastRun) -> Result<Arc<Self>, OpenError> {
        let starts = list_files(&place)?;
        let state = walk(&place, &starts, last)?;
        let queue = Self::with(QueueFiles::new(place, &starts), shared, state);
        // Files behind the end are left over from a run that made them and wrote nothing there.
        let len = queue.kind().entry_len();
        let end = state.end_entry * len;
        let last_needed = starts.iter().rev().find(|&&start| start <= end).copied().unwrap_or(0);
        if starts.last().is_some_and(|&last| last > last_needed) {
            queue.files.remove_from(last_needed + 1)?;
        }
        if last != LastRun::Stopped
            && let Some(&first) = starts.iter().rev().nth(1).or(starts.last())
        {
            // what a killed process wrote last may be in memory only
            queue.flushed_entry.store((first / len).min(state.end_entry), Ordering::Release);
            queue.note_dirty();
        }
        Ok(queue)
    }

    fn with(files: QueueFiles, shared: Arc<Shared>, state: State) -> Arc<Self> {
        let end_offset = match files.place().kind {
            QueueKind::Simple => state.end_entry as i64,
            QueueKind::Batch => state.last.map_or(0, |at| at.end_offset()),
        };
        let first = state.first.filter(|at| !at.entry.is_blank());
        let last = state.last.filter(|at| !at.entry.is_blank());
        let min_offset = match files.place().kind {
            QueueKind::Simple => state.first_entry as i64,
            QueueKind::Batch => state.first.map_or(0, |at| at.queue_offset),
        };
        let queue = Arc::new_cyclic(|this| Self {
            files,
            ext: OnceLock::new(),
            shared,
            this: this.clone(),
            min_offset: AtomicI64::new(min_offset),
            max_offset: AtomicI64::new(end_offset),
            end_entry: AtomicU64::new(state.end_entry),
            first_entry: AtomicU64::new(state.first_entry),
            first_physical: AtomicU64::new(first.map_or(0, |at| at.entry.physical_offset)),
            max_physical: AtomicU64::new(last.map_or(0, |at| at.entry.end())),
            flushed_entry: AtomicU64::new(state.end_entry),
            waiters: AtomicU32::new(0),
            appended: [AtomicU64::new(0), AtomicU64::new(0)],
            sizes: Default::default(),
            used: AtomicBool::new(false),
            dirty: AtomicBool::new(false),
            deleted: AtomicBool::new(false),
        });
        if state.first.is_some_and(|at| at.entry.is_blank()) {
            // A queue that began in the middle of a file: its first message comes behind the blanks.
            queue.skip_blanks();
        }
        queue
    }
}

/// Positions of the files of a queue. Refuses a file of another length than configured; an empty last file is removed.
fn list_files(place: &Place) -> Result<Vec<u64>, OpenError> {
    let directory = place.directory()?;
    let entries = place.fs.list(&directory).map_err(FileError::of("list", &directory))?;
    let mut starts = Vec::with_capacity(entries.len());
    let files = entries.iter().filter(|entry| !entry.is_dir);
    let count = files.clone().count();
    for (n, file) in files.enumerate() {
        let path = directory.join(&file.name);
        if file.len == 0 && n + 1 == count {
            place.fs.remove_file(&path).map_err(FileError::of("remove", &path))?;
            continue;
        }
        let Ok(start) = file.name.parse::<u64>() else {
            tracing::warn!(file = %path.display(), "no consume queue file, left alone");
            continue;
        };
        if file.len != place.file_size || start % place.file_size != 0 {
            let key = match place.kind {
                QueueKind::Simple => "mappedFileSizeConsumeQueue",
                QueueKind::Batch => "mapperFileSizeBatchConsumeQueue",
            };
            return Err(OpenError::WrongSize { path, expected: place.file_size, found: file.len, key });
        }
        starts.push(start);
    }
    Ok(starts)
}

/// Finds first and last entry.
fn walk(place: &Place, starts: &[u64], last_run: LastRun) -> Result<State, FileError> {
    let len = place.kind.entry_len();
    let Some(&first_start) = starts.first() else { return Ok(State::default()) };
    let mut state = State { first_entry: first_start / len, end_entry: first_start / len, ..State::default() };
    let walked = starts.get(starts.len().saturating_sub(WALKED_FILES)..).unwrap_or_default();
    for (n, &start) in walked.iter().enumerate() {
        if n > 0 && start != state.end_entry * len {
            break; // the file before it ended early, or a file is missing
        }
        let path = place.file_path(start)?;
        let file = open(place, &path, OpenMode::Read)?;
        let walked = walk_file(place, &file, &path, start, last_run == LastRun::Crashed);
        let (first, last, count) = walked.map_err(FileError::of("read", &path))?;
        if start == first_start {
            state.first = first;
        }
        state.last = last.or(state.last);
        state.end_entry = start / len + count;
        if last_run != LastRun::Stopped && count * len < place.file_size {
            clear_rest(place, start, count * len)?;
        }
    }
    if walked.first() != Some(&first_start) && !starts.is_empty() {
        state.first = read_first(place, first_start)?;
    }
    if state.last.is_none()
        && let Some(&before) = starts.iter().rev().find(|&&start| start < state.end_entry * len)
    {
        // The walked files hold nothing: the last entry is that of the file before them.
        let path = place.file_path(before)?;
        let file = open(place, &path, OpenMode::Read)?;
        let (_, last, count) = walk_file(place, &file, &path, before, false).map_err(FileError::of("read", &path))?;
        state.last = last;
        state.end_entry = before / len + count;
    }
    Ok(state)
}

/// First entry, last entry and number of entries before the first invalid one. If the file may be `torn`, an entry of which
/// half was lost can point anywhere: one that points before the entry before it is invalid, too.
fn walk_file(
    place: &Place,
    file: &File,
    path: &Path,
    start: u64,
    torn: bool,
) -> std::io::Result<(Option<Located>, Option<Located>, u64)> {
    let len = place.kind.entry_len() as usize;
    let (mut first, mut last, mut count) = (None, None, 0u64);
    let mut buffer = vec![0; SMALL_READ / len * len];
    let mut offset = 0;
    while offset < place.file_size {
        let want = buffer.len().min((place.file_size - offset) as usize);
        let chunk = &mut buffer[..want];
        read_exact_at(&*place.fs, file, path, chunk, offset)?;
        for bytes in chunk.chunks_exact(len) {
            let in_order = |found: &Located| !torn || last.is_none_or(|before: Located| follows(&before, found));
            let decoded = decode(place.kind, start / len as u64 + count, bytes);
            let Some(found) = decoded.filter(in_order) else { return Ok((first, last, count)) };
            first.get_or_insert(found);
            last = Some(found);
            count += 1;
        }
        offset += want as u64;
        buffer.resize(LARGE_READ / len * len, 0);
    }
    Ok((first, last, count))
}

fn follows(before: &Located, found: &Located) -> bool {
    before.entry.is_blank() || found.entry.is_blank() || found.entry.physical_offset >= before.entry.end()
}

/// Opens a file for reading a little of it: the kernel shall not read ahead, which can be all of it.
fn open(place: &Place, path: &Path, mode: OpenMode) -> Result<File, FileError> {
    let file = place.fs.open(path, mode).map_err(FileError::of("open", path))?;
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random); // a hint
    Ok(file)
}

fn read_first(place: &Place, start: u64) -> Result<Option<Located>, FileError> {
    let path = place.file_path(start)?;
    let file = open(place, &path, OpenMode::Read)?;
    let mut bytes = vec![0; place.kind.entry_len() as usize];
    read_exact_at(&*place.fs, &file, &path, &mut bytes, 0).map_err(FileError::of("read", &path))?;
    Ok(decode(place.kind, start / place.kind.entry_len(), &bytes))
}

fn decode(kind: QueueKind, number: u64, bytes: &[u8]) -> Option<Located> {
    match kind {
        QueueKind::Simple => {
            let entry = Entry::from_bytes(bytes.first_chunk()?)?;
            Some(Located { queue_offset: number as i64, batch_size: 1, entry })
        }
        QueueKind::Batch => {
            let batch = BatchEntry::from_bytes(bytes.first_chunk()?)?;
            Some(Located { queue_offset: batch.base_offset, batch_size: batch.batch_size, entry: batch.entry })
        }
    }
}

/// Zeroes what is not zero behind `from` in the file at `start`, on the disk too: else a crash of the machine could bring it
/// back behind entries that are written meanwhile. Skips holes, so an untouched rest costs one system call.
fn clear_rest(place: &Place, start: u64, from: u64) -> Result<(), FileError> {
    let path = place.file_path(start)?;
    let file = open(place, &path, OpenMode::ReadWrite)?;
    let failed = FileError::of("clear the rest of", &path);
    let clear = || -> std::io::Result<()> {
        let mut at = from;
        let mut buffer = vec![0; LARGE_READ];
        let mut is_changed = false;
        while at < place.file_size {
            at = match rustix::fs::seek(&file, SeekFrom::Data(at)) {
                Ok(data) => data,
                Err(rustix::io::Errno::NXIO) => break,
                Err(errno) => return Err(errno.into()),
            };
            let hole = rustix::fs::seek(&file, SeekFrom::Hole(at))?.clamp(at + 1, place.file_size);
            let want = buffer.len().min((hole - at) as usize);
            let chunk = &mut buffer[..want];
            read_exact_at(&*place.fs, &file, &path, chunk, at)?;
            if chunk.iter().any(|&byte| byte != 0) {
                chunk.fill(0);
                place.fs.write_at(&file, &path, chunk, at)?;
                is_changed = true;
            }
            at += want as u64;
        }
        if is_changed { place.fs.sync_data(&file, &path) } else { Ok(()) }
    };
    clear().map_err(failed)
}
