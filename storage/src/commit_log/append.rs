//! Appending: the one short lock.
//!
//! Under it a record gets its physical offset, its queue offset and its store time, is encoded, written to the page cache unless
//! it is [gathered], gets its consume-queue entry, and is published. Nothing else happens there: sizes and
//! checksums are computed before, files are made by the [`allocator`](super::allocator), and who waits for messages is woken
//! after.

use std::sync::Arc;

use smallvec::SmallVec;
use tenonmq_protocol::message::record::{BLANK_LEN, MAX_PROPERTIES, encode_blank, fill_properties_crc};
use tenonmq_protocol::message::{Assigned, NewRecord, SysFlag, TransactionType};

use super::{CommitLog, Segment, gathered};
use crate::consume_queue::entry::Entry;
use crate::consume_queue::{Dispatch, Queue, Reservation};
use crate::dispatch;
use crate::error::{AppendError, FileError, Unwritable};
use crate::fs::is_disk_full;
use crate::light::Places;
use crate::mmap::LogWriter;
use crate::poison::AppendClass;
use crate::sync::MutexGuard;
use crate::watermark::Ticket;

/// What is said to be missing when a queue finds no room: the most it takes at once, in bytes.
const QUEUE_SPACE: u64 = 64 << 10;
/// Longest topic, in bytes.
const MAX_TOPIC: usize = 255;

/// Where a record went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Log offset of its first byte.
    pub physical_offset: u64,
    /// Its length in bytes.
    pub size: u32,
    /// Its place in the consume queue; 0 when it has none (prepared and rollback records).
    pub queue_offset: i64,
    /// When it was stored, in milliseconds since the Unix epoch.
    pub store_timestamp: i64,
    /// What to wait for until it is durable.
    pub ticket: Ticket,
}

/// Whether this broker writes by itself, or follows another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Appends are accepted.
    Master,
    /// Only what the master wrote is taken over.
    Slave,
}

/// The right to write, checked under the append lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit {
    /// What this broker may do.
    pub role: Role,
    /// Counts the changes of master; tickets carry it.
    pub epoch: u32,
}

/// One record to append, its queue and its tags code.
pub(crate) type Item<'a> = (&'a Queue, NewRecord<'a>, i64);

/// Space in one queue for its records of this append.
type Rooms<'a> = SmallVec<[(&'a Queue, Reservation); 1]>;

/// The end of the log, owned by whoever holds the append lock.
pub(crate) struct Tail {
    /// `None` until the first append into an empty directory.
    pub(super) writer: Option<LogWriter>,
    pub(super) end: u64,
    /// End of the last whole record: behind [`end`](Self::end) only while another broker's log is followed.
    pub(super) dispatched: u64,
    pub(super) last_timestamp: i64,
    pub(super) permit: Permit,
    /// Whether the next segment was asked for already.
    pub(super) next_wanted: bool,
    /// Whether it was seen to be ready.
    next_ready: bool,
    /// Encoded records before [`end`](Self::end) that are not written yet.
    pub(super) gathered: Vec<u8>,
    /// They could not be written.
    pub(super) is_stuck: bool,
    /// Bytes and records appended since the store was opened.
    pub(super) written: u64,
    pub(super) records: u64,
}

impl Tail {
    pub(crate) fn new(writer: Option<LogWriter>, end: u64, last_timestamp: i64) -> Self {
        let permit = Permit { role: Role::Master, epoch: 0 };
        Self {
            writer,
            end,
            dispatched: end,
            last_timestamp,
            permit,
            next_wanted: false,
            next_ready: false,
            gathered: Vec::new(),
            is_stuck: false,
            written: 0,
            records: 0,
        }
    }

    /// Asks for the next segment again: the log was cut.
    pub(super) fn forget_next(&mut self) {
        self.next_wanted = false;
        self.next_ready = false;
    }

    /// Bytes left in the current segment.
    pub(super) fn left(&self) -> u64 {
        let room = |writer: &LogWriter| writer.log().len() - writer.log().published();
        self.writer.as_ref().map_or(0, |writer| room(writer).saturating_sub(self.gathered.len()) as u64)
    }

    /// Log offset behind the current segment.
    pub(super) fn segment_end(&self) -> u64 {
        self.end + self.left()
    }
}

impl CommitLog {
    /// Appends all `items` next to each other, or none. `batch` is the number of messages that each record holds (1 unless
    /// it is an inner batch). `light` holds the light queues of each, or nothing. `place` is told where each one went.
    pub(crate) fn append(
        &self,
        items: &[Item<'_>],
        light: &[Places],
        batch: u16,
        class: AppendClass,
        mut place: impl FnMut(Appended),
    ) -> Result<(), AppendError> {
        let total = self.check(items)?;
        let mut tail = self.lock_with_room(total as u64, class)?;
        if tail.permit.role != Role::Master {
            return Err(Unwritable::NotMaster.into());
        }
        let gathers = gathered::gathers();
        if !gathers || tail.is_full_with(total) {
            self.write_gathered(&mut tail)?;
        }
        let rooms = self.reserve(items, light, class)?;
        let now = self.clock.now_ms().max(tail.last_timestamp);
        let (base, epoch) = (tail.end, tail.permit.epoch);
        let mut room = tail.room(total);
        let mut placed: SmallVec<[Appended; 2]> = SmallVec::with_capacity(items.len());
        let mut physical_offset = base;
        for (i, (queue, record, _)) in items.iter().enumerate() {
            let size = record.encoded_len();
            let Some((buf, rest)) = room.split_at_mut_checked(size) else { break };
            room = rest;
            let queue_offset = next_queue_offset(items, &placed, i, queue, record);
            record
                .encode(buf, Assigned { queue_offset, physical_offset: physical_offset as i64, store_timestamp: now });
            if self.limits.record_crc {
                fill_properties_crc(buf);
            }
            let size = size as u32; // `check` keeps it below the segment size
            let ticket = Ticket { end: physical_offset + u64::from(size), epoch };
            placed.push(Appended { physical_offset, size, queue_offset, store_timestamp: now, ticket });
            physical_offset = ticket.end;
        }
        // Readers who see an entry find its record: so the log grows first.
        if gathers {
            self.gather(&mut tail, total);
        } else {
            self.write_and_publish(&mut tail, total)?;
        }
        tail.last_timestamp = now;
        tail.records += items.len() as u64;
        for (i, ((queue, record, tags_code), at)) in items.iter().zip(&placed).enumerate() {
            if has_entry(record) {
                let tags_code = dispatch::stored_tags_code(queue.topic(), *tags_code, now);
                let entry = Entry { physical_offset: at.physical_offset, size: at.size, tags_code };
                let (queue_offset, store_timestamp) = (at.queue_offset, now);
                self.enter(&rooms, queue, &Dispatch { entry, queue_offset, batch_size: batch, store_timestamp })?;
                queue.note_appended(batch, at.size);
                for (queue, queue_offset) in light.get(i).into_iter().flatten() {
                    let dispatch = Dispatch { entry, queue_offset: *queue_offset, batch_size: 1, store_timestamp: now };
                    self.enter(&rooms, queue, &dispatch)?;
                }
            }
            place(*at);
        }
        Ok(())
    }

    /// Space for the entries of all items. When the disk is full for them, the reserve is given up, and what settles open
    /// work tries once more.
    fn reserve<'a>(
        &self,
        items: &[Item<'a>],
        light: &'a [Places],
        class: AppendClass,
    ) -> Result<Rooms<'a>, Unwritable> {
        let error = match reserve(items, light) {
            Ok(rooms) => return Ok(rooms),
            Err(error) => error,
        };
        if !is_disk_full(&error.source) {
            return Err(Unwritable::Io(format!("{error}: {}", error.source)));
        }
        let why = self.allocator.report_full(error.path, QUEUE_SPACE);
        if class == AppendClass::Settle { reserve(items, light).map_err(|_| why) } else { Err(why) }
    }

    /// Writes one entry into space that [`reserve`] took, which cannot fail. If it does all the same, queue and log no longer
    /// agree, and only recovery can tell.
    fn enter(&self, rooms: &Rooms<'_>, queue: &Queue, dispatch: &Dispatch) -> Result<(), Unwritable> {
        let room = rooms.iter().find(|(owner, _)| std::ptr::eq(*owner, queue)).map(|(_, room)| room);
        let entered = match room {
            Some(room) => queue.dispatch_reserved(room, dispatch),
            None => queue.dispatch(dispatch),
        };
        entered.map(|_| ()).map_err(|error| {
            let why = format!("a reserved queue entry cannot be written: {error}");
            self.gate.poison(&why);
            Unwritable::Poisoned(why)
        })
    }

    /// Takes `len` bytes into the log, and looks ahead for more room.
    pub(super) fn grow(&self, tail: &mut Tail, len: usize) {
        tail.end += len as u64;
        tail.written += len as u64;
        if !tail.next_wanted && tail.left() < self.files.size() / 2 {
            tail.next_wanted = true;
            self.allocator.want(tail.segment_end());
        }
    }

    /// Checks what does not depend on the state of the log. Returns the encoded length of all.
    fn check(&self, items: &[Item<'_>]) -> Result<usize, AppendError> {
        let mut total = 0_usize;
        for (_, record, _) in items {
            if record.properties.len() > MAX_PROPERTIES {
                return Err(AppendError::PropertiesTooLarge { len: record.properties.len() });
            }
            if record.topic.is_empty() || record.topic.len() > MAX_TOPIC {
                return Err(AppendError::Topic { len: record.topic.len() });
            }
            let len = record.encoded_len();
            if len > self.limits.max_record {
                return Err(AppendError::TooLarge { len, limit: self.limits.max_record });
            }
            total = total.saturating_add(len);
        }
        let limit = (self.files.size() as usize).saturating_sub(BLANK_LEN);
        match total {
            0 => Err(AppendError::Empty),
            len if len > limit => Err(AppendError::TooLarge { len, limit }),
            len => Ok(len),
        }
    }

    /// The append lock, with room for `len` bytes and the filler behind them in the current segment. Moves on to the next
    /// segment if need be, and waits for it outside the lock if it is not ready.
    pub(super) fn lock_with_room(&self, len: u64, class: AppendClass) -> Result<MutexGuard<'_, Tail>, Unwritable> {
        let needed = len + BLANK_LEN as u64;
        loop {
            let mut tail = self.tail.lock();
            self.gate.check(class, || tail.left() < needed + self.limits.reserve)?;
            let base = tail.segment_end();
            if needed <= tail.left() {
                // A send does not eat into the reserve before it is known that there is a next file.
                let spare = class == AppendClass::Settle || tail.left() >= needed + self.limits.reserve;
                tail.next_ready = tail.next_ready || (!spare && self.allocator.is_ready(base));
                if spare || tail.next_ready {
                    return Ok(tail);
                }
            } else if let Some(writer) = self.take_next(&mut tail, base)? {
                self.roll(&mut tail, base, writer);
                return Ok(tail);
            }
            tail.next_wanted = true;
            self.allocator.want(base);
            drop(tail);
            if let Err(why) = self.allocator.wait_for(base) {
                if class == AppendClass::Send {
                    self.gate.refuse_sends();
                }
                return Err(why);
            }
        }
    }

    /// The segment at `base`, when it is ready and everything before it is written.
    fn take_next(&self, tail: &mut Tail, base: u64) -> Result<Option<LogWriter>, Unwritable> {
        self.write_gathered(tail)?;
        Ok(self.allocator.take(base))
    }

    /// Closes the current segment, in which nothing is gathered, with the filler and goes on in `writer`, which starts at `base`.
    pub(super) fn roll(&self, tail: &mut Tail, base: u64, writer: LogWriter) {
        let filled = tail.end;
        if let Some(mut full) = tail.writer.take() {
            let left = full.log().len() - full.log().published();
            if let Some(rest) = full.room(left).filter(|rest| rest.len() >= BLANK_LEN) {
                encode_blank(rest, left as u32); // below 2 GiB, as the segment is
            }
            full.publish(left);
        }
        let segment = Arc::new(Segment { base, log: Arc::clone(writer.log()) });
        self.segments.rcu(|segments| {
            let mut segments = Vec::clone(segments);
            segments.push(Arc::clone(&segment));
            segments
        });
        tail.writer = Some(writer);
        tail.end = base;
        tail.next_wanted = false;
        tail.next_ready = false;
        if tail.dispatched == filled {
            tail.dispatched = base;
        }
        self.progress.advance(tail.end, tail.dispatched);
    }
}

/// Takes space for the entries of all items, queue by queue, so that nothing can fail once the log is touched.
fn reserve<'a>(items: &[Item<'a>], light: &'a [Places]) -> Result<Rooms<'a>, FileError> {
    let mut rooms = Rooms::new();
    for (i, (queue, record, _)) in items.iter().enumerate() {
        // A batch is one run of the same queue: reserved at its first item.
        if !has_entry(record) || rooms.iter().any(|(owner, _)| std::ptr::eq(*owner, *queue)) {
            continue;
        }
        let rest = items.iter().skip(i);
        let count = rest.filter(|(other, record, _)| std::ptr::eq(*other, *queue) && has_entry(record)).count();
        rooms.push((*queue, queue.reserve(count)?));
    }
    for (queue, _) in light.iter().flatten() {
        if !rooms.iter().any(|(owner, _)| std::ptr::eq(*owner, &**queue)) {
            let all = light.iter().flatten();
            rooms.push((&**queue, queue.reserve(all.filter(|(other, _)| Arc::ptr_eq(other, queue)).count())?));
        }
    }
    Ok(rooms)
}

/// Offset of item `i` in its queue: behind the items before it that go to the same one.
#[inline]
fn next_queue_offset(items: &[Item<'_>], placed: &[Appended], i: usize, queue: &Queue, record: &NewRecord<'_>) -> i64 {
    if !has_entry(record) {
        return 0;
    }
    let before = items.iter().zip(placed).take(i).rev();
    let last =
        before.filter(|((other, _, _), _)| std::ptr::eq(*other, queue)).find(|((_, other, _), _)| has_entry(other));
    last.map_or_else(|| queue.max_offset(), |(_, at)| at.queue_offset + 1)
}

/// Prepared and rollback records are in no queue.
fn has_entry(record: &NewRecord<'_>) -> bool {
    matches!(SysFlag(record.sys_flag).transaction(), TransactionType::None | TransactionType::Commit)
}
