//! The undecided at one moment, so that a start reads only what came after it.
//!
//! Without it a start reads both system queues from the oldest undecided message on, which may be days of traffic behind.
//! `<root>/tenonmq/transaction-pending` names places in half and op queue and every message undecided there. It counts only
//! if the records at these places are the same ones; anything else, and everything is read as Apache would. The file may
//! be removed at any time.

use std::path::PathBuf;

use tenonmq_storage::{FileError, Queue, Store, fs::remove_if_there};

use super::{
    SafeOffsets,
    check_log::folder,
    records::{HALF_TOPIC, HalfRecord},
};

const MAGIC: u64 = 0x5445_4e4f_4e54_5801;
const HEADER: usize = 48;
const ENTRY: usize = 36;

/// One undecided message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Remembered {
    /// Half-queue offset.
    pub(super) offset: i64,
    pub(super) log_offset: u64,
    /// When its first copy was stored. In milliseconds.
    pub(super) stored_at: i64,
    /// When it was asked about last; 0 if never. In milliseconds.
    pub(super) asked_at: i64,
    pub(super) checks: u16,
}

impl Remembered {
    /// Whether `half` is the record of this message.
    pub(super) fn is(&self, half: &HalfRecord<'_>) -> bool {
        let record = &half.record;
        record.topic() == HALF_TOPIC
            && record.queue_offset() == self.offset
            && record.physical_offset().cast_unsigned() == self.log_offset
    }
}

/// What the file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// Half messages below `half` that are not listed are decided, by op records below `op` and those behind.
    pub(super) next: SafeOffsets,
    /// Log offsets of the records before `next`: half and op queue.
    marks: (u64, u64),
    /// Undecided messages in queue order.
    pub(super) pending: Vec<Remembered>,
}

impl Snapshot {
    /// A snapshot of what was undecided at `next`. `None` when the queues do not reach that far.
    pub(super) fn new(half: &Queue, op: &Queue, next: SafeOffsets, pending: Vec<Remembered>) -> Option<Self> {
        Some(Self { next, marks: (mark(half, next.half)?, mark(op, next.op)?), pending })
    }

    /// The snapshot in the data directory, if there is one and it belongs to these queues.
    pub(super) fn load(store: &Store, half: &Queue, op: &Queue) -> Option<Self> {
        let snapshot = Self::decode(&store.fs().read(&path(store)).ok()?)?;
        let marks = (mark(half, snapshot.next.half), mark(op, snapshot.next.op));
        let fits = marks == (Some(snapshot.marks.0), Some(snapshot.marks.1));
        if !fits {
            tracing::warn!("the list of undecided half messages does not fit the log; reading the log instead");
        }
        fits.then_some(snapshot)
    }

    /// Replaces the file.
    pub(super) fn save(&self, store: &Store) -> Result<(), FileError> {
        let path = path(store);
        let fresh = path.with_extension("tmp");
        store.fs().write(&fresh, &self.encode()).map_err(FileError::of("write", &fresh))?;
        store.fs().rename(&fresh, &path).map_err(FileError::of("rename", &fresh))
    }

    /// Removes the file, if it is there.
    pub(super) fn remove(store: &Store) -> Result<(), FileError> {
        let path = path(store);
        remove_if_there(&**store.fs(), &path).map_err(FileError::of("remove", &path))
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + self.pending.len() * ENTRY + 4);
        let SafeOffsets { half, op } = self.next;
        for number in [MAGIC, half.cast_unsigned(), op.cast_unsigned(), self.marks.0, self.marks.1] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(&(self.pending.len() as u64).to_be_bytes());
        for entry in &self.pending {
            bytes.extend_from_slice(&entry.offset.to_be_bytes());
            bytes.extend_from_slice(&entry.log_offset.to_be_bytes());
            bytes.extend_from_slice(&entry.stored_at.to_be_bytes());
            bytes.extend_from_slice(&entry.asked_at.to_be_bytes());
            bytes.extend_from_slice(&u32::from(entry.checks).to_be_bytes());
        }
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (bytes, crc) = bytes.split_last_chunk::<4>()?;
        if crc32fast::hash(bytes) != u32::from_be_bytes(*crc) {
            return None;
        }
        let mut rest = bytes;
        let mut number = || {
            let (number, tail) = rest.split_first_chunk::<8>()?;
            rest = tail;
            Some(u64::from_be_bytes(*number))
        };
        if number()? != MAGIC {
            return None;
        }
        let next = SafeOffsets { half: number()?.cast_signed(), op: number()?.cast_signed() };
        let marks = (number()?, number()?);
        let count = number()?;
        let pending: Vec<_> = rest.chunks_exact(ENTRY).map_while(decode_entry).collect();
        (pending.len() as u64 == count).then_some(Self { next, marks, pending })
    }
}

fn decode_entry(entry: &[u8]) -> Option<Remembered> {
    let (offset, rest) = entry.split_first_chunk::<8>()?;
    let (log_offset, rest) = rest.split_first_chunk::<8>()?;
    let (stored_at, rest) = rest.split_first_chunk::<8>()?;
    let (asked_at, rest) = rest.split_first_chunk::<8>()?;
    let checks = u32::from_be_bytes(*rest.first_chunk::<4>()?);
    Some(Remembered {
        offset: i64::from_be_bytes(*offset),
        log_offset: u64::from_be_bytes(*log_offset),
        stored_at: i64::from_be_bytes(*stored_at),
        asked_at: i64::from_be_bytes(*asked_at),
        checks: u16::try_from(checks).unwrap_or(u16::MAX),
    })
}

fn path(store: &Store) -> PathBuf {
    folder(store).join("transaction-pending")
}

/// Log offset of the record before a place in a queue; 0 before the first one. `None` when it is not there.
fn mark(queue: &Queue, next: i64) -> Option<u64> {
    match next {
        0 => Some(0),
        next => queue.entry(next - 1).map(|entry| entry.physical_offset),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        let entry = |offset| Remembered { offset, log_offset: 300, stored_at: 1, asked_at: 2, checks: 3 };
        Snapshot { next: SafeOffsets { half: 10, op: 7 }, marks: (1, 2), pending: vec![entry(4), entry(9)] }
    }

    #[test]
    fn a_snapshot_is_read_as_it_was_written() {
        assert_eq!(Snapshot::decode(&snapshot().encode()), Some(snapshot()));
    }

    #[test]
    fn a_damaged_snapshot_is_no_snapshot() {
        let whole = snapshot().encode();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert_eq!(Snapshot::decode(&damaged), None);
            assert_eq!(Snapshot::decode(&whole[..at]), None);
        }
    }
}
