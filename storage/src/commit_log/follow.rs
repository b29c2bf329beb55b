//! Taking over another broker's log, byte for byte.
//!
//! What arrives are pieces of the master's files; a piece may end in the middle of a record. Bytes are appended as they come,
//! and each record is entered into its queue, through the same dispatch path as everywhere, when its last byte is there. Readers
//! see whole records only: *confirmed* follows what is dispatched.

use tenonmq_protocol::message::{LogItem, RecordError};

use super::{CommitLog, Role, Tail};
use crate::dispatch::Dispatcher;
use crate::error::{FollowError, Unwritable};
use crate::poison::AppendClass;
use crate::sync::MutexGuard;

impl CommitLog {
    /// Appends `bytes`, which start at `offset` of the master's log and do not cross the end of a file. Returns the new end.
    pub(crate) fn follow(&self, offset: u64, bytes: &[u8], dispatcher: &Dispatcher) -> Result<u64, FollowError> {
        let mut tail = self.lock_to_follow(offset, bytes.len())?;
        if tail.end != offset {
            return Err(FollowError::Gap { offset, end: tail.end });
        }
        let left = tail.left();
        let crosses = FollowError::CrossesFile { len: bytes.len(), left };
        if bytes.len() as u64 > left {
            return Err(crosses);
        }
        self.write(&mut tail, bytes)?;
        let dispatched = self.dispatch_new(&mut tail, dispatcher);
        self.progress.advance(tail.end, tail.dispatched);
        dispatched.map(|()| tail.end)
    }

    /// Appends what is of another broker, for readers to see when it is dispatched.
    fn write(&self, tail: &mut Tail, bytes: &[u8]) -> Result<(), Unwritable> {
        let Some(writer) = tail.writer.as_mut() else {
            return Err(Unwritable::Io("there is no commit-log file yet".to_owned()));
        };
        writer
            .write(self.files.fs(), bytes)
            .map_err(|error| Unwritable::Io(format!("cannot write to {}: {error}", writer.log().path().display())))?;
        writer.publish(bytes.len());
        self.grow(tail, bytes.len());
        Ok(())
    }

    /// Enters the records that are whole now.
    fn dispatch_new(&self, tail: &mut Tail, dispatcher: &Dispatcher) -> Result<(), FollowError> {
        while tail.dispatched < tail.end {
            let Some(segment) = self.segment_at(tail.dispatched) else { break };
            let bytes = segment.read_until(tail.dispatched, tail.end.min(segment.end())).unwrap_or_default();
            let record = match LogItem::parse(bytes) {
                Ok(LogItem::Record(record)) => record,
                Ok(LogItem::Blank { .. }) if tail.end == segment.end() => {
                    tail.dispatched = segment.end();
                    continue;
                }
                Ok(LogItem::Blank { .. } | LogItem::End) | Err(RecordError::Truncated { .. }) => break,
                Err(source) => return Err(FollowError::Corrupt { offset: tail.dispatched, source }),
            };
            dispatcher.dispatch(&record, tail.dispatched).map_err(|error| {
                let why = format!("{error}: {}", error.source);
                FollowError::Unwritable(Unwritable::Io(why))
            })?;
            tail.last_timestamp = tail.last_timestamp.max(record.store_timestamp());
            tail.records += 1;
            tail.dispatched += record.len() as u64;
        }
        Ok(())
    }

    /// The append lock, with a segment that has room, unless `len` bytes cross its end.
    fn lock_to_follow(&self, offset: u64, len: usize) -> Result<MutexGuard<'_, Tail>, FollowError> {
        loop {
            let mut tail = self.tail.lock();
            self.gate.check(AppendClass::Settle, || false)?;
            if tail.permit.role != Role::Slave {
                return Err(FollowError::NotSlave);
            }
            if tail.writer.is_none() && offset.is_multiple_of(self.files.size()) {
                // An empty log starts wherever the master lets it.
                tail.end = offset;
                tail.dispatched = offset;
            }
            if tail.left() > 0 || len == 0 {
                return Ok(tail);
            }
            let base = tail.segment_end();
            if let Some(writer) = self.allocator.take(base) {
                self.roll(&mut tail, base, writer);
                return Ok(tail);
            }
            tail.next_wanted = true;
            self.allocator.want(base);
            drop(tail);
            self.allocator.wait_for(base)?;
        }
    }
}
