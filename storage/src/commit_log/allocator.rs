//! The helper that keeps slow work away from the append lock: it makes the next segment before it is needed.
//!
//! When a segment cannot be made it says so at the gate, gives up the reserve file, and tries again on a period:
//! a disk that has room again is noticed without a restart.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::segment::SegmentFiles;
use crate::error::{FileError, Unwritable};
use crate::fs::{OpenMode, is_disk_full};
use crate::mmap::LogWriter;
use crate::poison::Gate;
use crate::sync::{Condvar, Mutex, MutexGuard};

/// Time between two attempts to make a segment that could not be made.
const RETRY: Duration = Duration::from_millis(500);
/// How long an append waits for a segment that is being made.
const PATIENCE: Duration = Duration::from_secs(10);
#[derive(Default)]
struct State {
    wanted: Option<u64>,
    prepared: Option<(u64, LogWriter)>,
    failed: Option<Unwritable>,
    /// The reserve was spent on something else than a segment; it is set aside again when there is room.
    reserve_spent: bool,
    /// There is no helper thread: whoever waits does its work.
    in_place: bool,
    stop: bool,
}

pub(crate) struct Allocator {
    files: Arc<SegmentFiles>,
    gate: Arc<Gate>,
    reserve: ReserveFile,
    state: Mutex<State>,
    changed: Condvar,
    work: Condvar,
}

impl Allocator {
    pub(crate) fn new(files: Arc<SegmentFiles>, gate: Arc<Gate>, reserve: ReserveFile) -> Self {
        Self { files, gate, reserve, state: Mutex::default(), changed: Condvar::new(), work: Condvar::new() }
    }

    /// Asks for the segment at `base`, to be had from [`take`](Self::take) later. Returns at once.
    pub(crate) fn want(&self, base: u64) {
        let mut state = self.state.lock();
        if state.prepared.as_ref().is_none_or(|(ready, _)| *ready != base) && state.wanted != Some(base) {
            state.wanted = Some(base);
            state.failed = None;
            self.work.notify_one();
        }
    }

    /// The segment at `base`, when it is ready.
    pub(crate) fn take(&self, base: u64) -> Option<LogWriter> {
        self.state.lock().prepared.take_if(|(ready, _)| *ready == base).map(|(_, writer)| writer)
    }

    /// Whether [`take`](Self::take) would succeed.
    pub(crate) fn is_ready(&self, base: u64) -> bool {
        self.state.lock().prepared.as_ref().is_some_and(|(ready, _)| *ready == base)
    }

    /// No thread calls [`run`](Self::run): who waits for a segment makes it.
    pub(crate) fn work_in_place(&self) {
        self.reserve.take();
        self.state.lock().in_place = true;
    }

    /// What the thread does on its period, if there is none.
    pub(crate) fn tick_in_place(&self) {
        let mut state = self.state.lock();
        if state.in_place {
            state.failed = None;
            self.restock(&mut state);
            self.make_wanted(&mut state);
        }
    }

    fn make_wanted(&self, state: &mut MutexGuard<'_, State>) {
        if let Some(base) = state.wanted.filter(|_| state.failed.is_none()) {
            let made = MutexGuard::unlocked(state, || self.make(base));
            self.keep(state, base, made);
        }
    }

    /// Waits until the segment at `base` is ready, or says why it will not be. Must not be called under the append lock, under which
    /// it was [wanted](Self::want): when that lock is given back somebody else may take it, and then it is not to be made again.
    pub(crate) fn wait_for(&self, base: u64) -> Result<(), Unwritable> {
        let mut state = self.state.lock();
        if state.in_place {
            self.make_wanted(&mut state);
        }
        loop {
            if state.stop {
                return Err(Unwritable::Closed);
            }
            // Somebody else may have taken it since, or it is already in use: the caller looks again.
            if state.wanted != Some(base) {
                return Ok(());
            }
            if let Some(why) = &state.failed {
                return Err(why.clone());
            }
            if self.changed.wait_for(&mut state, PATIENCE).timed_out() {
                return Err(Unwritable::Io(format!("no new commit-log file within {PATIENCE:?}")));
            }
        }
    }

    /// The disk is too full for a file at `path` that takes `needed` more bytes: sends are refused from now on, and the reserve
    /// is given up for what settles open work. Returns the reason.
    pub(crate) fn report_full(&self, path: PathBuf, needed: u64) -> Unwritable {
        let why = self.full(path, needed);
        self.gate.set_disk_full(Some(why.clone()));
        self.gate.refuse_sends();
        self.reserve.give_up();
        self.state.lock().reserve_spent = true;
        self.work.notify_one();
        why
    }

    /// Ends [`run`](Self::run) and everybody's waiting.
    pub(crate) fn stop(&self) {
        self.state.lock().stop = true;
        self.work.notify_all();
        self.changed.notify_all();
    }

    /// Removes a segment that was prepared and never used, and forgets what was wanted.
    pub(crate) fn discard(&self) -> Result<(), FileError> {
        let prepared = {
            let mut state = self.state.lock();
            state.wanted = None;
            state.prepared.take()
        };
        prepared.map_or(Ok(()), |(_, writer)| self.files.remove(writer.log().path()))
    }

    /// The helper thread.
    pub(crate) fn run(&self) {
        self.reserve.take();
        let mut state = self.state.lock();
        while !state.stop {
            match state.wanted {
                Some(_) if state.failed.is_none() => self.make_wanted(&mut state),
                None if !state.reserve_spent => self.work.wait(&mut state),
                _ => {
                    if self.work.wait_for(&mut state, RETRY).timed_out() {
                        state.failed = None;
                        self.restock(&mut state);
                    }
                }
            }
        }
    }

    /// Sets the reserve aside again, if it was spent and there is room.
    fn restock(&self, state: &mut MutexGuard<'_, State>) {
        if !state.reserve_spent {
            return;
        }
        let restocked = MutexGuard::unlocked(state, || self.reserve.take());
        if restocked {
            state.reserve_spent = false;
            self.gate.set_disk_full(None);
        }
    }

    fn keep(&self, state: &mut State, base: u64, made: Result<LogWriter, Unwritable>) {
        if state.wanted != Some(base) {
            // The log was cut meanwhile, or closed.
            if let Ok(writer) = made {
                let _ = self.files.remove(writer.log().path());
            }
            return;
        }
        match made {
            Ok(writer) => {
                if let Some((_, unused)) = state.prepared.replace((base, writer)) {
                    let _ = self.files.remove(unused.log().path());
                }
                state.wanted = None;
            }
            Err(why) => state.failed = Some(why),
        }
        self.changed.notify_all();
    }

    fn make(&self, base: u64) -> Result<LogWriter, Unwritable> {
        match self.files.create(base) {
            Ok(writer) => {
                self.gate.set_disk_full(None);
                self.reserve.take();
                Ok(writer)
            }
            Err(error) => {
                let why = self.why(error);
                self.gate.set_disk_full(Some(why.clone()));
                self.reserve.give_up();
                Err(why)
            }
        }
    }

    fn why(&self, error: FileError) -> Unwritable {
        if !is_disk_full(&error.source) {
            return Unwritable::Io(format!("{error}: {}", error.source));
        }
        self.full(error.path, self.files.size())
    }

    fn full(&self, path: PathBuf, needed: u64) -> Unwritable {
        // The file does not exist, perhaps its directory neither.
        let available = path.ancestors().skip(1).find_map(|dir| self.files.fs().space(dir).ok());
        Unwritable::DiskFull { path, needed, available: available.map_or(0, |space| space.available) }
    }
}

/// Disk blocks kept aside, given up when the disk is full so that queue files, offsets and settings can still grow.
pub(crate) struct ReserveFile {
    path: PathBuf,
    len: u64,
    files: Arc<SegmentFiles>,
}

impl ReserveFile {
    pub(crate) fn new(path: PathBuf, len: u64, files: Arc<SegmentFiles>) -> Self {
        Self { path, len, files }
    }

    /// Sets the blocks aside, if there is room. Without it the store works, only with no margin. False when there is no room.
    fn take(&self) -> bool {
        let fs = self.files.fs();
        if self.len == 0 || fs.exists(&self.path) {
            return true;
        }
        let taken = self.path.parent().map_or(Ok(()), |dir| fs.create_dir_all(dir)).and_then(|()| {
            let file = fs.open(&self.path, OpenMode::CreateOrOpen)?;
            fs.preallocate(&file, &self.path, 0, self.len)
        });
        if let Err(error) = &taken {
            tracing::debug!(path = %self.path.display(), %error, "no disk space is set aside for a full disk");
            self.give_up();
        }
        taken.is_ok()
    }

    fn give_up(&self) {
        if let Err(error) = self.files.remove(&self.path) {
            tracing::warn!(%error, "the space set aside cannot be given up");
        }
    }
}
