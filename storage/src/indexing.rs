//! The thread that indexes keys behind the log.
//!
//! It walks the log from where the index ends to what readers may see, and looks again after a [`PAUSE`]: what was sent
//! meanwhile is indexed in one go, and its senders wake nobody. Only when it has looked in vain for a while it sleeps until
//! the next record wakes it. Who asks for what was just sent has it indexed at once ([`Indexer::catch_up`]). It holds
//! nothing back: if files are removed before it comes to them, it goes on at the first one left.
//!
//! Where it was is kept in `tenonmq/indexed` (log offset and number of index files), so that a start does not walk records
//! without keys again. The note is an aid: without it the walk begins at the last indexed record.

use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use tenonmq_protocol::message::{LogItem, RawRecord};

use crate::commit_log::CommitLog;
use crate::error::FileError;
use crate::fs::FileSystem;
use crate::index::Index;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex};
use crate::watermark::Mark;

/// Time between two looks for new records.
const PAUSE: Duration = Duration::from_millis(10);
/// Looks in vain after which it waits to be woken: a store that does nothing wakes nobody either.
const LOOKS: u32 = 20;
/// Time after which a failed step is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Records indexed in one step, in which a cut has to wait.
const STEP: usize = 512;

/// Where indexing begins after opening.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opening {
    /// Whether all that the last run wrote is still there.
    pub(crate) complete: bool,
    /// First and last offset of the log.
    pub(crate) min: u64,
    pub(crate) end: u64,
}

pub(crate) struct Indexer {
    index: Arc<Index>,
    log: Arc<CommitLog>,
    note: Note,
    /// Log offset up to which everything is indexed. Held during a step.
    position: Mutex<u64>,
    /// The same, for whoever only wants to know.
    indexed: AtomicU64,
    enabled: bool,
    stop: AtomicBool,
    stopping: (Mutex<()>, Condvar),
}

impl Indexer {
    pub(crate) fn new(index: Arc<Index>, log: Arc<CommitLog>, note: Note, opening: Opening, enabled: bool) -> Self {
        let position = start(&index, note.load(), opening);
        Self {
            index,
            log,
            note,
            position: Mutex::new(position),
            indexed: AtomicU64::new(position),
            enabled,
            stop: AtomicBool::new(false),
            stopping: Default::default(),
        }
    }

    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    /// Log offset up to which keys are indexed.
    pub(crate) fn indexed(&self) -> u64 {
        self.indexed.load(Ordering::Acquire)
    }

    /// Ends [`run`](Self::run).
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.log.progress().give_up();
        let _held = self.stopping.0.lock();
        self.stopping.1.notify_all();
    }

    /// The index thread.
    pub(crate) fn run(&self) {
        if !self.enabled {
            return;
        }
        let stopped = || self.stop.load(Ordering::SeqCst);
        let mut looks = 0;
        while !stopped() {
            match self.step() {
                Ok(0) => {
                    looks += 1;
                    if looks > LOOKS {
                        let more = self.log.reached(Mark::Confirmed, self.indexed() + 1, stopped);
                        block_on(more);
                    }
                    self.pause(PAUSE);
                }
                Ok(_) => looks = 0,
                Err(error) => {
                    tracing::error!(%error, cause = %error.source, "keys are not indexed for now");
                    self.pause(RETRY);
                }
            }
        }
    }

    /// Indexes everything that is visible now.
    pub(crate) fn catch_up(&self) -> Result<(), FileError> {
        while self.enabled && self.step()? > 0 {}
        Ok(())
    }

    /// Takes the index back with the log, and starts again where it ends now.
    pub(crate) fn cut(&self, offset: u64) -> Result<(), FileError> {
        let mut position = self.position.lock();
        self.index.truncate(offset)?;
        *position = self.index.last_offset().unwrap_or(0).max(self.log.min()).min(offset);
        self.indexed.store(*position, Ordering::Release);
        Ok(())
    }

    /// Notes where indexing is.
    pub(crate) fn save_note(&self) -> Result<(), FileError> {
        self.note.save(Noted { offset: self.indexed(), files: self.index.file_count() })
    }

    /// Indexes some records. Returns how many bytes it got further.
    fn step(&self) -> Result<u64, FileError> {
        let mut position = self.position.lock();
        let from = (*position).max(self.log.min());
        let visible = self.log.progress().confirmed();
        let mut at = from;
        if let Some(segment) = self.log.segment_at(from).filter(|_| from < visible) {
            let mut builder = self.index.build();
            let bytes = segment.read_until(from, visible.min(segment.end())).unwrap_or_default();
            for _ in 0..STEP {
                let rest = bytes.get((at - from) as usize..).unwrap_or_default();
                if rest.is_empty() {
                    break;
                }
                if let Ok(record) = RawRecord::parse(rest) {
                    builder.add(&record, at)?;
                    at += record.len() as u64;
                } else {
                    if let Err(error) = LogItem::parse(rest) {
                        // The log was checked when it was opened, and nothing below the visible end changes.
                        tracing::error!(offset = at, %error, "the rest of a commit-log file cannot be indexed");
                    }
                    at = segment.end().min(visible);
                }
            }
            builder.finish()?;
        }
        *position = at;
        self.indexed.store(at, Ordering::Release);
        Ok(at - from)
    }

    fn pause(&self, time: Duration) {
        let mut held = self.stopping.0.lock();
        if !self.stop.load(Ordering::SeqCst) {
            self.stopping.1.wait_for(&mut held, time);
        }
    }
}

/// Where to begin.
fn start(index: &Index, noted: Option<Noted>, opening: Opening) -> u64 {
    let last = index.last_offset();
    let begin = match noted {
        // Files that were there are gone: all over again.
        Some(noted) if opening.complete && (noted.files == 0 || index.file_count() > 0) => {
            noted.offset.max(last.unwrap_or(0))
        }
        _ => last.unwrap_or(opening.min),
    };
    begin.clamp(opening.min, opening.end.max(opening.min))
}

/// What `tenonmq/indexed` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Noted {
    offset: u64,
    files: usize,
}

/// The file `tenonmq/indexed`.
pub(crate) struct Note {
    fs: Arc<dyn FileSystem>,
    path: PathBuf,
    /// What this process has written last.
    saved: Mutex<Option<Noted>>,
}

impl Note {
    pub(crate) fn new(fs: Arc<dyn FileSystem>, path: PathBuf) -> Self {
        Self { fs, path, saved: Mutex::new(None) }
    }

    fn load(&self) -> Option<Noted> {
        let text = String::from_utf8(self.fs.read(&self.path).ok()?).ok()?;
        let (offset, files) = text.trim().split_once(' ')?;
        Some(Noted { offset: offset.parse().ok()?, files: files.parse().ok()? })
    }

    /// Writes the file, unless it says so already.
    fn save(&self, noted: Noted) -> Result<(), FileError> {
        let mut saved = self.saved.lock();
        if saved.replace(noted) == Some(noted) {
            return Ok(());
        }
        let text = format!("{} {}\n", noted.offset, noted.files);
        self.fs.write(&self.path, text.as_bytes()).map_err(|error| {
            *saved = None;
            FileError::of("write", &self.path)(error)
        })
    }
}

/// Runs a future to its end on this thread.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}
