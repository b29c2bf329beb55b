//! Reading a queue in order: the answer to a pull.
//!
//! Records come back as slices of the log; those that lie next to each other are one slice. Statuses and where to go on
//! are what Apache's broker answers.

use std::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::commit_log::CommitLog;
use crate::consume_queue::Queue;
use crate::consume_queue::entry::Entry;
use crate::consume_queue::lookup::Located;
use crate::light;
use crate::sound::{self, Reads};

/// Bytes of queue entries looked at for one answer at least (`maxFilterMessageSize`).
const SCAN_BYTES: usize = 16_000;
/// Entries looked at for each message asked for, if that is more.
const SCAN_PER_MESSAGE: usize = 20;

/// How much one fetch may return. At least one record always comes, however long it is.
#[derive(Debug, Clone, Copy)]
pub struct FetchLimits {
    /// Messages asked for.
    pub max_count: u32,
    /// Bytes asked for.
    pub max_bytes: u32,
    /// Messages returned at most while they are likely in memory (`maxTransferCountOnMessageInMemory`).
    pub memory_count: u32,
    /// Bytes returned at most while they are likely in memory (`maxTransferBytesOnMessageInMemory`).
    pub memory_bytes: u32,
    /// Tighter limits for old records; `None` to treat all alike.
    pub disk: Option<DiskLimits>,
}

impl FetchLimits {
    /// Up to `max_count` messages and `max_bytes` bytes, with no other limit.
    pub fn new(max_count: u32, max_bytes: u32) -> Self {
        Self { max_count, max_bytes, memory_count: u32::MAX, memory_bytes: u32::MAX, disk: None }
    }
}

/// Limits for records that are likely no longer in memory.
#[derive(Debug, Clone, Copy)]
pub struct DiskLimits {
    /// A record this many bytes behind the end of the log counts as on disk.
    pub behind_bytes: u64,
    /// Messages returned at most (`maxTransferCountOnMessageInDisk`).
    pub count: u32,
    /// Bytes returned at most (`maxTransferBytesOnMessageInDisk`).
    pub bytes: u32,
}

/// What a fetch found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchStatus {
    /// Records.
    Found,
    /// Entries were looked at, and none matched.
    NoMatched,
    /// The records were deleted already.
    Removing,
    /// Exactly the next offset was asked for: nothing there yet.
    OffsetOverflowOne,
    /// An offset beyond that was asked for.
    OffsetOverflowBadly,
    /// An offset before the first one was asked for.
    OffsetTooSmall,
    /// The queue never had a message.
    NoMessage,
    /// A file of the queue is missing.
    FoundNull,
}

/// The answer to a fetch.
#[derive(Debug)]
pub struct Fetched {
    /// What was found.
    pub status: FetchStatus,
    /// Where to go on.
    pub next_begin: i64,
    /// First offset of the queue.
    pub min: i64,
    /// Offset that the next message gets.
    pub max: i64,
    /// Records in order, as they lie in the log; neighbours are joined.
    pub records: SmallVec<[Bytes; 4]>,
    /// Messages among them.
    pub count: u32,
    /// Their bytes.
    pub bytes: u32,
    /// Bytes of log behind the last record returned, up to its end.
    pub lag_bytes: u64,
}

impl CommitLog {
    /// Records of `queue` from the offset `from` on that `matches` accepts. The second test sees the whole record.
    pub(crate) fn fetch(
        &self,
        queue: &Queue,
        from: i64,
        limits: &FetchLimits,
        mut matches: impl FnMut(&Entry) -> bool,
        mut matches_record: impl FnMut(&Entry, &[u8]) -> bool,
    ) -> Fetched {
        let (min, max) = (queue.min_offset(), queue.max_offset());
        let nothing = |status, next_begin| Fetched {
            status,
            next_begin,
            min,
            max,
            records: SmallVec::new(),
            count: 0,
            bytes: 0,
            lag_bytes: 0,
        };
        if max == 0 {
            return nothing(FetchStatus::NoMessage, 0);
        }
        if from < min {
            return nothing(FetchStatus::OffsetTooSmall, min);
        }
        if from == max {
            return nothing(FetchStatus::OffsetOverflowOne, from);
        }
        if from > max {
            return nothing(FetchStatus::OffsetOverflowBadly, max);
        }
        let mut entries = queue.entries(from).peekable();
        if entries.peek().is_none() {
            return nothing(FetchStatus::FoundNull, queue.behind_gap(from).unwrap_or(from));
        }
        let mut batch = Batch::new(self, queue, *limits);
        let scan = (SCAN_BYTES / Entry::LEN).max(limits.max_count as usize * SCAN_PER_MESSAGE);
        let mut status = FetchStatus::NoMatched;
        let mut next = from;
        for at in entries.take(scan) {
            let entry = at.entry;
            if batch.is_full(&entry, u32::from(at.batch_size)) {
                break;
            }
            if entry.end() > batch.visible && entry.end() <= self.progress().end() && !batch.reach(entry.end()) {
                break; // not confirmed yet, or it cannot be written
            }
            next = at.end_offset();
            if entry.is_blank() || !matches(&entry) {
                continue;
            }
            match batch.push(&at, &mut matches_record) {
                Pushed::Gone if batch.count == 0 => status = FetchStatus::Removing,
                Pushed::Gone | Pushed::Unwanted => {}
                Pushed::Taken => status = FetchStatus::Found,
            }
        }
        if next == from {
            return nothing(FetchStatus::OffsetOverflowOne, from);
        }
        batch.finish(status, next, min, max)
    }
}

/// Neighbours not yet made a slice.
#[derive(Clone, Copy)]
struct Run {
    start: u64,
    end: u64,
    last: Located,
}

enum Pushed {
    Taken,
    Unwanted,
    Gone,
}

/// Records collected for one answer.
struct Batch<'a> {
    log: &'a CommitLog,
    queue: &'a Queue,
    /// Records of a light queue hold their offset in another one.
    is_light: bool,
    limits: FetchLimits,
    visible: u64,
    /// The visible part of the segment in use, and the log offset at which it starts. Slices of it cost no allocation.
    segment: Option<(u64, Bytes)>,
    run: Option<Run>,
    records: SmallVec<[Bytes; 4]>,
    count: u32,
    bytes: u32,
    last_end: u64,
}

impl<'a> Batch<'a> {
    fn new(log: &'a CommitLog, queue: &'a Queue, limits: FetchLimits) -> Self {
        let (visible, is_light) = (log.progress().confirmed(), light::is_light(queue.topic()));
        let records = SmallVec::new();
        Self {
            log,
            queue,
            is_light,
            limits,
            visible,
            segment: None,
            run: None,
            records,
            count: 0,
            bytes: 0,
            last_end: 0,
        }
    }

    /// Looks again how far the log may be read.
    #[cold]
    fn reach(&mut self, end: u64) -> bool {
        let reaches = self.log.reach(end);
        self.visible = self.log.progress().confirmed();
        reaches
    }

    /// Whether these bytes are the record that an entry speaks of, as far as its first bytes say.
    fn is_record(&self, bytes: &[u8], at: &Located) -> bool {
        sound::is_record(bytes, (!self.is_light).then_some(at.queue_offset))
    }

    fn is_full(&self, entry: &Entry, messages: u32) -> bool {
        if self.count == 0 {
            return false;
        }
        let behind = self.visible.saturating_sub(entry.physical_offset);
        let (place_count, place_bytes) = match self.limits.disk {
            Some(disk) if behind > disk.behind_bytes => (disk.count, disk.bytes),
            _ => (self.limits.memory_count, self.limits.memory_bytes),
        };
        let bytes = self.bytes.saturating_add(entry.size);
        self.count + messages > self.limits.max_count
            || self.count >= place_count
            || bytes > self.limits.max_bytes
            || bytes > place_bytes
    }

    fn push(&mut self, at: &Located, matches: &mut impl FnMut(&Entry, &[u8]) -> bool) -> Pushed {
        let entry = &at.entry;
        let adjacent = self.run.is_some_and(|run| run.end == entry.physical_offset);
        if !self.find(entry) {
            return Pushed::Gone;
        }
        let Some(record) = self.record(entry) else { return Pushed::Gone };
        if !adjacent && !self.is_record(record, at) {
            return Pushed::Gone;
        }
        if self.log.reads() != Reads::Trusted && !self.is_sound(record, at) {
            return Pushed::Gone;
        }
        if !matches(entry, record) {
            return Pushed::Unwanted;
        }
        let start = match self.run {
            // Neighbours are in one segment: its end is a filler, so no record touches the next one's first.
            Some(run) if adjacent => run.start,
            _ => {
                self.end_run();
                entry.physical_offset
            }
        };
        self.run = Some(Run { start, end: entry.end(), last: *at });
        self.count += u32::from(at.batch_size);
        self.bytes = self.bytes.saturating_add(entry.size);
        self.last_end = entry.end();
        Pushed::Taken
    }

    /// Whether the checksums say that the record is whole, and it says itself that it belongs here.
    #[cold]
    fn is_sound(&self, bytes: &[u8], at: &Located) -> bool {
        let (topic, queue_id) = (self.queue.topic(), self.queue.queue_id());
        let home = (!self.is_light).then_some((topic, queue_id));
        let sound = self.log.reads().accept_bytes(bytes, at.entry.physical_offset, home);
        if !sound {
            tracing::warn!(topic, queue_id, queue_offset = at.queue_offset, "a damaged record is not delivered");
        }
        sound
    }

    /// Moves on to the segment of an entry, which ends the run, unless it is in use already. False when it is gone.
    #[inline]
    fn find(&mut self, entry: &Entry) -> bool {
        self.place(entry).is_some() || self.change_segment(entry).is_some()
    }

    fn change_segment(&mut self, entry: &Entry) -> Option<()> {
        self.end_run();
        let segment = self.log.segment_at(entry.physical_offset)?;
        let len = usize::try_from(self.visible.saturating_sub(segment.base)).unwrap_or(usize::MAX);
        self.segment = Some((segment.base, segment.bytes(segment.base, len.min(segment.log.published()))?));
        Some(())
    }

    /// The bytes that an entry points to, in the segment in use.
    #[inline]
    fn record(&self, entry: &Entry) -> Option<&[u8]> {
        let place = self.place(entry)?;
        self.segment.as_ref()?.1.get(place)
    }

    /// Where the bytes are in the segment in use, if they are in it.
    #[inline]
    fn place(&self, entry: &Entry) -> Option<Range<usize>> {
        let (base, bytes) = self.segment.as_ref()?;
        let start = usize::try_from(entry.physical_offset.checked_sub(*base)?).ok()?;
        let end = start + entry.size as usize;
        (end <= bytes.len()).then_some(start..end)
    }

    /// Makes a slice of the neighbours. All lengths between first and last agree with each other; the last one is checked here, so
    /// that a damaged queue entry never makes an answer that a client cannot read, or that holds another record.
    fn end_run(&mut self) {
        let (Some(run), Some((base, bytes))) = (self.run.take(), &self.segment) else { return };
        let mut range = (run.start - base) as usize..(run.end - base) as usize; // inside: `record` found every part of it
        let last = range.end - run.last.entry.size as usize..range.end;
        if !bytes.get(last.clone()).is_some_and(|bytes| self.is_record(bytes, &run.last)) {
            range.end = last.start;
            self.count -= u32::from(run.last.batch_size);
            self.bytes = self.bytes.saturating_sub(run.last.entry.size);
        }
        if !range.is_empty() {
            self.records.push(bytes.slice(range));
        }
    }

    fn finish(mut self, status: FetchStatus, next_begin: i64, min: i64, max: i64) -> Fetched {
        self.end_run();
        let status = if status == FetchStatus::Found && self.count == 0 { FetchStatus::Removing } else { status };
        let lag_bytes = if self.count == 0 { 0 } else { self.visible.saturating_sub(self.last_end) };
        let Self { records, count, bytes, .. } = self;
        Fetched { status, next_begin, min, max, records, count, bytes, lag_bytes }
    }
}
