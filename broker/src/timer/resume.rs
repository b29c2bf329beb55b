//! Where a start goes on: what the last run, ours or Apache's, has delivered already.
//!
//! | journal counts | `timercheck` is ours | then |
//! | --- | --- | --- |
//! | yes | yes, or there is none | the journal's mark; deliveries behind it are looked for in the log |
//! | yes | no | Apache was here since: what its `timercheck` says, from the journal's floor on \* |
//! | no | yes, or there is none | deliveries are looked for in the log, from the first timer message on |
//! | no | no | what Apache's `timercheck` says, from the start of the queue \* |
//!
//! \* Apache saves its check every second or so: after a kill, what it delivered since is looked for in the log.
//!
//! Apache's wheel and log are not read: they follow from the queue. A message that Apache put back into the queue
//! (`TIMER_ROLL_TIMES`) is told from the copy that it replaces by what both have in common.

use rustc_hash::FxHashMap;
use tenonmq_protocol::message::{LogItem, RecordView, properties::names as property};
use tenonmq_storage::{FileError, Queue, Store};

use super::{
    check::CheckFile,
    index::{Key, Mark},
    journal::Journal,
    state::first_from,
    timed::Timed,
};
use crate::core::names::TIMER_TOPIC;

/// Bytes of the log that are looked at in one piece.
const CHUNK: usize = 64 << 20;

/// What was done before this run.
pub(super) struct Resume {
    pub(super) mark: Mark,
    /// Everything before this place is done.
    pub(super) floor: i64,
    /// End of the queue at the start: what comes behind is new.
    pub(super) until: i64,
    /// Messages delivered behind the mark, by identity.
    delivered: FxHashMap<u64, u32>,
    /// Messages of which there is a later copy in the queue, by identity.
    pub(super) put_back: FxHashMap<u64, u32>,
}

impl Resume {
    /// Looks at the files and at the end of the log.
    pub(super) fn find(store: &Store, queue: &Queue) -> Result<(Self, Journal), FileError> {
        let (until, min) = (queue.max_offset(), queue.min_offset());
        let log_end = store.watermarks().appended;
        let (journal, line) = Journal::open(store, log_end)?;
        let found = CheckFile::new(store).read()?;
        let mut resume = Self {
            mark: Mark::NONE,
            floor: min,
            until,
            delivered: FxHashMap::default(),
            put_back: FxHashMap::default(),
        };
        if let Some(line) = line {
            resume.floor = line.floor.clamp(min, until.max(min));
        }
        match (line, found) {
            (Some(line), found) if found.is_none_or(|found| found.is_ours) => {
                resume.mark = line.mark;
                resume.look_for_deliveries(store, line.log_end);
            }
            (None, found) if found.is_none_or(|found| found.is_ours) => {
                if let Some(first) = first_from(queue, min) {
                    resume.look_for_deliveries(store, first);
                }
            }
            (_, Some(found)) => {
                let check = found.check;
                resume.mark = Mark { through: Key::all_until(check.read_ms), frontier: check.queue_offset };
                if !store.recovery().clean {
                    resume.look_for_deliveries(store, file_of(store, check.read_ms));
                }
            }
            (_, None) => {} // does not happen: both cases are above
        }
        Ok((resume, journal))
    }

    /// Whether the message was delivered behind the mark. Its copy then stands for no other message.
    pub(super) fn take_delivered(&mut self, timed: &Timed<'_>) -> bool {
        !self.delivered.is_empty() && take(&mut self.delivered, timed.identity(timed.rolls))
    }

    /// Deliveries in the log from `offset` on.
    fn look_for_deliveries(&mut self, store: &Store, offset: u64) {
        let mut reader = store.log_reader(offset);
        let mut found = 0usize;
        while let Some(chunk) = reader.peek(CHUNK) {
            let read = self.note_deliveries(&chunk, &mut found);
            if read == 0 {
                break;
            }
            reader.seek(reader.position() + read as u64);
        }
        if found > 0 {
            tracing::info!(found, from = offset, "timer messages were delivered before the crash");
        }
    }

    /// Reads records from the start of `bytes`; how far it came.
    fn note_deliveries(&mut self, bytes: &[u8], found: &mut usize) -> usize {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            match LogItem::parse(rest) {
                Ok(LogItem::Record(record)) => {
                    if let Some(identity) = delivered(record) {
                        *self.delivered.entry(identity).or_default() += 1;
                        *found += 1;
                    }
                    at += record.len();
                }
                Ok(LogItem::Blank { .. }) => return bytes.len(), // a chunk never crosses the end of a file
                Ok(LogItem::End) | Err(_) => break,
            }
        }
        at
    }
}

/// Begin of the newest log file whose first record was stored before `ms`, or of the oldest file.
fn file_of(store: &Store, ms: i64) -> u64 {
    let (len, end) = (store.config().segment_size, store.watermarks().appended);
    let mut begin = end - end % len;
    let mut found = begin;
    loop {
        let record = store.read(begin);
        let stored = record.and_then(|record| Some(RecordView::parse(&record).ok()?.store_timestamp()));
        if stored.is_none() && begin < end {
            return found; // removed, and with it what came before
        }
        found = begin;
        if begin == 0 || stored.is_some_and(|stored| stored < ms) {
            return found;
        }
        begin -= len;
    }
}

/// The identity of the timer message whose visible copy this is.
fn delivered(record: RecordView<'_>) -> Option<u64> {
    if record.topic() == TIMER_TOPIC {
        return None;
    }
    let text = record.properties_text();
    if !text.contains(property::TIMER_DEQUEUE_MS) {
        return None;
    }
    let timed = Timed::of(record).ok()?;
    (timed.real_topic == record.topic() && timed.real_queue_id == record.queue_id())
        .then(|| timed.identity(timed.rolls))
}

/// Takes one of those with this identity, if there is one.
pub(super) fn take(counts: &mut FxHashMap<u64, u32>, identity: u64) -> bool {
    match counts.get_mut(&identity) {
        Some(count) if *count > 0 => {
            *count -= 1;
            true
        }
        _ => false,
    }
}
