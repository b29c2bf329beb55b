//! Reading a queue in order: the answer to a pull.
//!
//! Records come back as slices of the log; those that lie next to each other are one slice. Statuses and where to go on
//! are what Apache's broker answers.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::commit_log::CommitLog;
use crate::consume_queue::Queue;
use crate::consume_queue::entry::Entry;

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
            return nothing(FetchStatus::FoundNull, queue.next_file_offset(from));
        }
        let mut batch = Batch::new(self, *limits);
        let scan = (SCAN_BYTES / Entry::LEN).max(limits.max_count as usize * SCAN_PER_MESSAGE);
        let mut status = FetchStatus::NoMatched;
        let mut next = from;
        for at in entries.take(scan) {
            let entry = at.entry;
            if entry.end() > batch.visible {
                break; // appended, not confirmed yet
            }
            if batch.is_full(&entry, u32::from(at.batch_size)) {
                break;
            }
            next = at.end_offset();
            if entry.is_blank() || !matches(&entry) {
                continue;
            }
            match batch.push(&entry, u32::from(at.batch_size), &mut matches_record) {
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

enum Pushed {
    Taken,
    Unwanted,
    Gone,
}

/// Records collected for one answer.
struct Batch<'a> {
    log: &'a CommitLog,
    limits: FetchLimits,
    visible: u64,
    /// Neighbours not yet made a slice.
    run: Option<(u64, u32)>,
    records: SmallVec<[Bytes; 4]>,
    count: u32,
    bytes: u32,
    last_end: u64,
}

impl<'a> Batch<'a> {
    fn new(log: &'a CommitLog, limits: FetchLimits) -> Self {
        let visible = log.progress().confirmed();
        Self { log, limits, visible, run: None, records: SmallVec::new(), count: 0, bytes: 0, last_end: 0 }
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

    fn push(&mut self, entry: &Entry, messages: u32, matches: &mut impl FnMut(&Entry, &[u8]) -> bool) -> Pushed {
        let Some(segment) = self.log.segment_at(entry.physical_offset) else { return Pushed::Gone };
        let Some(record) = segment.read(entry.physical_offset, entry.size as usize) else { return Pushed::Gone };
        if !matches(entry, record) {
            return Pushed::Unwanted;
        }
        self.run = match self.run {
            Some((start, len))
                if start + u64::from(len) == entry.physical_offset && entry.physical_offset != segment.base =>
            {
                Some((start, len + entry.size))
            }
            _ => {
                self.end_run();
                Some((entry.physical_offset, entry.size))
            }
        };
        self.count += messages;
        self.bytes = self.bytes.saturating_add(entry.size);
        self.last_end = entry.end();
        Pushed::Taken
    }

    fn end_run(&mut self) {
        if let Some((start, len)) = self.run.take() {
            // A segment removed since `push` looked at it leaves a hole: the client sees fewer records, as for any deleted one.
            self.records.extend(self.log.bytes(start, len));
        }
    }

    fn finish(mut self, status: FetchStatus, next_begin: i64, min: i64, max: i64) -> Fetched {
        self.end_run();
        let lag_bytes = if self.count == 0 { 0 } else { self.visible.saturating_sub(self.last_end) };
        let Self { records, count, bytes, .. } = self;
        Fetched { status, next_begin, min, max, records, count, bytes, lag_bytes }
    }
}
