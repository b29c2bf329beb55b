//! The log: every record, in the order of appending, in files of one size.
//!
//! `append` is the one short lock under which a record gets its place. `segment` are the files, `allocator` the
//! helper that makes them ahead of time, `gathered` are records on their way to the file, `reader` reads by offset and follows the log, `recovery` finds its end
//! again after a stop.
//!
//! Invariant: bytes before the published end of a segment never change, and a record never spans two segments.

mod allocator;
mod append;
mod cut;
mod follow;
mod gathered;
mod reader;
mod recovery;
mod segment;

use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use bytes::Bytes;
use tenonmq_protocol::message::RecordView;

pub(crate) use self::allocator::{Allocator, ReserveFile};
pub(crate) use self::append::Tail;
pub use self::append::{Appended, Permit, Role};
pub use self::gathered::Gathering;
pub use self::reader::LogReader;
pub(crate) use self::recovery::{Checks, Start, recover};
pub use self::recovery::{CommitSeen, RecoveryReport};
pub(crate) use self::segment::{Segment, SegmentFiles};
use crate::clock::Clock;
use crate::config::StoreConfig;
use crate::error::{FileError, Unwritable};
use crate::poison::{AppendClass, Gate};
use crate::sound::Reads;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::watermark::{Mark, Progress, Watermarks};

/// The log and its tail.
pub(crate) struct CommitLog {
    files: Arc<SegmentFiles>,
    segments: ArcSwap<Vec<Arc<Segment>>>,
    tail: Mutex<Tail>,
    allocator: Arc<Allocator>,
    gate: Arc<Gate>,
    progress: Arc<Progress>,
    clock: Arc<dyn Clock>,
    holds: Mutex<Vec<Weak<AtomicU64>>>,
    held_up: AtomicU64,
    limits: Limits,
}

/// The tail at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TailState {
    pub(crate) permit: Permit,
    pub(crate) last_timestamp: i64,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

/// What the append path checks against.
#[derive(Debug, Clone, Copy)]
struct Limits {
    max_record: usize,
    /// Bytes at the end of a segment that only settling work may use when no next segment can be made.
    reserve: u64,
    /// Whether records have room for a checksum over all of them.
    record_crc: bool,
    reads: Reads,
}

impl CommitLog {
    pub(crate) fn new(
        config: &StoreConfig,
        files: Arc<SegmentFiles>,
        allocator: Arc<Allocator>,
        gate: Arc<Gate>,
        clock: Arc<dyn Clock>,
        recovered: recovery::RecoveredLog,
    ) -> Self {
        let limits = Limits {
            max_record: config.max_record(),
            reserve: config.reserve_bytes.min(config.segment_size / 8),
            record_crc: config.record_crc,
            reads: Reads::of(config),
        };
        let progress = Arc::new(Progress::default());
        progress.reset(recovered.end);
        progress.flushed_only_to(recovered.durable);
        Self {
            files,
            segments: ArcSwap::from_pointee(recovered.segments),
            tail: Mutex::new(Tail::new(recovered.tail, recovered.end, recovered.last_timestamp)),
            allocator,
            gate,
            progress,
            clock,
            holds: Mutex::default(),
            held_up: AtomicU64::new(0),
            limits,
        }
    }

    pub(crate) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    pub(crate) fn files(&self) -> &SegmentFiles {
        &self.files
    }

    /// First offset that is still there; the end of the log when it has no file.
    pub(crate) fn min(&self) -> u64 {
        self.segments.load().first().map_or_else(|| self.progress.appended(), |first| first.base)
    }

    pub(crate) fn watermarks(&self) -> Watermarks {
        let (confirmed, flushed) = (self.progress.confirmed(), self.progress.flushed());
        Watermarks { min: self.min(), appended: self.progress.end(), flushed, confirmed }
    }

    /// The segment that holds `offset`.
    pub(crate) fn segment_at(&self, offset: u64) -> Option<Arc<Segment>> {
        let segments = self.segments.load();
        let first = segments.first()?;
        let n = usize::try_from(offset.checked_sub(first.base)? / self.files.size()).ok()?;
        segments.get(n).cloned()
    }

    pub(crate) fn segments(&self) -> Arc<Vec<Arc<Segment>>> {
        self.segments.load_full()
    }

    /// `len` bytes at `offset` by reference, when readers may see all of them.
    pub(crate) fn bytes(&self, offset: u64, len: u32) -> Option<Bytes> {
        if !self.reach(offset.checked_add(u64::from(len))?) {
            return self.copy_of_gathered(offset, len as usize);
        }
        self.segment_at(offset)?.bytes(offset, len as usize)
    }

    /// The whole record that starts at `offset`.
    pub(crate) fn record(&self, offset: u64) -> Option<Bytes> {
        if !self.reach(offset.checked_add(1)?) {
            let rest = self.rest_of_gathered(offset)?;
            let len = RecordView::parse(&rest).ok()?.len();
            return Some(rest.slice(..len));
        }
        let segment = self.segment_at(offset)?;
        let record = RecordView::parse(segment.read_until(offset, self.progress.confirmed())?).ok()?;
        self.limits.reads.accept(&record, offset).then(|| segment.bytes(offset, record.len()))?
    }

    /// How much what is read is checked.
    pub(crate) fn reads(&self) -> Reads {
        self.limits.reads
    }

    /// Resolves to true when `mark` reaches `offset`, to false when `hopeless` says so.
    pub(crate) async fn reached(&self, mark: Mark, offset: u64, hopeless: impl Fn() -> bool) -> bool {
        self.progress.reached(mark, offset, hopeless, || drop(self.tail.lock())).await
    }

    /// Whether nothing more will come: poisoned, or shut down.
    pub(crate) fn is_shut(&self) -> bool {
        self.gate.is_shut()
    }

    /// Looks at the record of `len` bytes at `offset`; `None` when it is gone, not visible, or no record.
    pub(crate) fn peek<T>(&self, offset: u64, len: u32, look: impl FnOnce(&RecordView<'_>) -> T) -> Option<T> {
        if !self.reach(offset.checked_add(u64::from(len))?) {
            return Some(look(&RecordView::parse(&self.copy_of_gathered(offset, len as usize)?).ok()?));
        }
        let segment = self.segment_at(offset)?;
        let record = RecordView::parse(segment.read(offset, len as usize)?).ok()?;
        self.limits.reads.accept(&record, offset).then(|| look(&record))
    }

    /// Makes everything appended so far durable, one `msync` for each segment that has something new. Returns the offset up
    /// to which the log is on disk, and the store time of the last record before it. A failure poisons the store, unless it
    /// is one to write what was gathered.
    pub(crate) fn flush(&self) -> Result<(u64, i64), FileError> {
        let (target, timestamp) = {
            let mut tail = self.tail.lock();
            self.try_to_write_gathered(&mut tail)?;
            (self.progress.appended(), tail.last_timestamp)
        };
        let from = self.progress.flushed();
        for segment in self.segments().iter().filter(|segment| segment.end() > from && segment.base < target) {
            let start = usize::try_from(from.saturating_sub(segment.base)).unwrap_or(0);
            let end = usize::try_from(target - segment.base).unwrap_or(usize::MAX);
            if let Err(error) = segment.log.sync_range(self.files.fs(), start..end) {
                let error = FileError::of("sync", segment.log.path())(error);
                self.gate.poison(&format!("{error}: {}", error.source));
                self.progress.give_up();
                return Err(error);
            }
        }
        self.progress.flushed_to(target);
        Ok((target, timestamp))
    }

    /// Removes the oldest segment when `may_go` agrees: never the last one, and none that a reader holds. Returns whether one went.
    pub(crate) fn remove_oldest(&self, may_go: impl FnOnce(&Segment) -> bool) -> Result<bool, FileError> {
        let segments = self.segments();
        let Some(first) = segments.first().filter(|_| segments.len() > 1) else { return Ok(false) };
        if first.end() > self.progress.flushed().min(self.progress.confirmed()) || !may_go(first) {
            return Ok(false);
        }
        if first.end() > self.held_from() {
            self.held_up.fetch_max(first.end(), Ordering::AcqRel);
            return Ok(false);
        }
        let base = first.base;
        self.files.remove(first.log.path())?;
        self.segments
            .rcu(|segments| segments.iter().filter(|segment| segment.base != base).cloned().collect::<Vec<_>>());
        tracing::info!(path = %first.log.path().display(), "removed an expired commit-log file");
        Ok(true)
    }

    /// End of the last file that should have been removed and was held by a reader; 0 for none so far.
    pub(crate) fn held_up(&self) -> u64 {
        self.held_up.load(Ordering::Acquire)
    }

    /// Keeps what is behind `position` from being removed, as long as it lives.
    fn hold(&self, position: &Arc<AtomicU64>) {
        self.holds.lock().push(Arc::downgrade(position));
    }

    /// Lets this broker write, or not.
    pub(crate) fn set_permit(&self, permit: Permit) {
        let mut tail = self.tail.lock();
        if let Err(error) = self.try_to_write_gathered(&mut tail) {
            tracing::error!(%error, "the write permit changes hands with records that are not written");
        }
        tail.permit = permit;
        drop(tail);
        self.progress.set_epoch(permit.epoch);
    }

    /// Permit, store time of the last record, records and bytes appended since the store was opened.
    pub(crate) fn tail_state(&self) -> TailState {
        let tail = self.tail.lock();
        TailState {
            permit: tail.permit,
            last_timestamp: tail.last_timestamp,
            records: tail.records,
            bytes: tail.written,
        }
    }

    /// Asks for the first file of an empty log.
    pub(crate) fn prepare(&self) {
        let mut tail = self.tail.lock();
        if tail.writer.is_none() {
            tail.next_wanted = true;
            self.allocator.want(tail.end);
        }
    }

    /// Whether ordinary sends are taken now.
    pub(crate) fn writable(&self) -> Result<(), Unwritable> {
        let tail = self.tail.lock();
        if tail.permit.role != Role::Master {
            return Err(Unwritable::NotMaster);
        }
        self.gate.check(AppendClass::Send, || tail.left() < self.limits.reserve)
    }

    /// Returns when appends that began before the gate was closed are done.
    pub(crate) fn wait_for_appends(&self) {
        drop(self.tail.lock());
    }

    /// Lowest offset that a [`LogReader`] still needs.
    fn held_from(&self) -> u64 {
        let mut holds = self.holds.lock();
        holds.retain(|hold| hold.strong_count() > 0);
        let held = holds.iter().filter_map(Weak::upgrade).map(|hold| hold.load(Ordering::Acquire));
        held.min().unwrap_or(u64::MAX)
    }
}
