//! From what people know of a transaction to its records: its place in the half queue, its unique key, or the id of a
//! record.
//!
//! Keys are looked up in the index. Because that is built behind the log, and can be switched off, the newest records of a
//! queue are looked through as well: a bounded number of them.

use bytes::Bytes;
use rustc_hash::{FxHashMap, FxHashSet};
use tenonmq_protocol::message::OffsetMessageId;
use tenonmq_storage::Queue;

use super::{
    Transactions, Verdict,
    records::{HALF_TOPIC, HalfRecord, PARKED_TOPIC, QUEUE},
};

/// Newest records of a queue that are looked through for keys.
const LOOK_BACK: i64 = 8192;
/// Undecided messages, oldest first, that are looked through for a key that is not among the newest.
const LOOK_AT: usize = 20_000;

/// Records by unique key: place in the queue and in the log, newest first.
pub(super) type Places = FxHashMap<String, Vec<(i64, u64)>>;

/// What an id stands for.
pub(super) enum Found {
    /// A record of the half topic.
    Half(Bytes),
    /// A record of `TRANS_CHECK_MAX_TIME_TOPIC` whose half message is gone, or has no key.
    Parked(Bytes),
}

/// Why an id stands for nothing.
#[derive(Debug, thiserror::Error)]
pub enum NotFound {
    /// There is no such place in the half queue.
    #[error("there is no half message at offset {offset}: the half queue holds {min} to {}", .max - 1)]
    Offset {
        /// The place.
        offset: i64,
        /// Where the half queue begins.
        min: i64,
        /// Where it ends.
        max: i64,
    },
    /// There is no such record.
    #[error("the log has no transaction with the id {0}")]
    Id(String),
    /// A producer has sent several half messages with the same unique key.
    #[error("there are several undecided half messages with the id {id}: name one by its offset: {offsets:?}")]
    Several {
        /// The key.
        id: String,
        /// Their places in the half queue.
        offsets: Vec<i64>,
    },
}

impl Transactions {
    /// The record that `id` stands for.
    pub(super) fn locate(&self, id: &str) -> Result<Found, NotFound> {
        if let Ok(offset) = id.parse::<i64>() {
            let (min, max) = (self.half.min_offset(), self.half.max_offset());
            let offset = self.state.lock().place_of(offset);
            let entry = self.half.entry(offset).and_then(|entry| self.store.read(entry.physical_offset));
            return entry.map(Found::Half).ok_or(NotFound::Offset { offset, min, max });
        }
        if let Some(half) = self.half_with_key(id)? {
            return Ok(Found::Half(half));
        }
        let record = id.parse::<OffsetMessageId>().ok().and_then(|id| self.record_at(id));
        let parked = match record {
            Some((true, bytes)) => return Ok(Found::Half(bytes)),
            Some((false, bytes)) => Some(bytes),
            None => self.parked_with_key(id),
        };
        let bytes = parked.ok_or_else(|| NotFound::Id(id.to_owned()))?;
        let key = HalfRecord::parse(&bytes).and_then(|parked| parked.unique_key);
        match key.map(|key| self.half_with_key(key)).transpose()?.flatten() {
            Some(half) => Ok(Found::Half(half)),
            None => Ok(Found::Parked(bytes)),
        }
    }

    /// Half-queue offsets of what is undecided and has this unique key, newest first.
    pub(super) fn undecided_of(&self, key: &str) -> Vec<i64> {
        let mut places = self.halves_of([key].into_iter().collect());
        let places = places.remove(key).unwrap_or_default();
        let state = self.state.lock();
        places.into_iter().map(|(offset, _)| offset).filter(|offset| state.find(*offset).is_some()).collect()
    }

    /// Half messages with these unique keys.
    pub(super) fn halves_of(&self, keys: FxHashSet<&str>) -> Places {
        self.with_keys(&self.half, HALF_TOPIC, &keys)
    }

    /// The newest record of `TRANS_CHECK_MAX_TIME_TOPIC` with this unique key.
    pub(super) fn parked_with_key(&self, key: &str) -> Option<Bytes> {
        let queue = self.store.find_queue(PARKED_TOPIC, QUEUE)?;
        let places = self.with_keys(&queue, PARKED_TOPIC, &[key].into_iter().collect());
        self.store.read(places.get(key)?.first()?.1)
    }

    /// How the half message `half` ended; `None` when it is undecided, at the offset given.
    pub(super) fn fate(&self, half: &HalfRecord<'_>) -> Result<i64, Verdict> {
        let offset = half.record.queue_offset();
        self.learn(half);
        let known = {
            let state = self.state.lock();
            if let Some(undecided) = state.undecided(offset, half.unique_key) {
                return Ok(undecided);
            }
            state.verdict(offset)
        };
        Err(known.unwrap_or_else(|| self.verdict_in_log(half)))
    }

    /// The undecided half message with this key, or else the newest one.
    fn half_with_key(&self, key: &str) -> Result<Option<Bytes>, NotFound> {
        let places = self.halves_of([key].into_iter().collect()).remove(key).unwrap_or_default();
        let undecided: Vec<_> = {
            let state = self.state.lock();
            places.iter().filter(|(offset, _)| state.find(*offset).is_some()).copied().collect()
        };
        let log_offset = match undecided[..] {
            [] => places.first().map(|(_, log_offset)| *log_offset),
            [(_, log_offset)] => Some(log_offset),
            _ => {
                let offsets = undecided.iter().map(|(offset, _)| *offset).collect();
                return Err(NotFound::Several { id: key.to_owned(), offsets });
            }
        };
        Ok(log_offset.and_then(|at| self.store.read(at)).or_else(|| self.among_undecided(key)))
    }

    /// The first undecided message with this key among the oldest ones.
    fn among_undecided(&self, key: &str) -> Option<Bytes> {
        let log_offsets: Vec<u64> =
            self.state.lock().unresolved(None).take(LOOK_AT).map(|undecided| undecided.log_offset).collect();
        log_offsets.into_iter().filter_map(|at| self.store.read(at)).find(|bytes| {
            let half = HalfRecord::parse(bytes);
            half.is_some_and(|half| half.unique_key == Some(key))
        })
    }

    /// The record with this id, and whether it is of the half topic rather than of `TRANS_CHECK_MAX_TIME_TOPIC`.
    fn record_at(&self, id: OffsetMessageId) -> Option<(bool, Bytes)> {
        let bytes = self.store.read(u64::try_from(id.offset).ok()?)?;
        let half = HalfRecord::parse(&bytes).filter(|half| half.record.physical_offset() == id.offset)?;
        let is_half = half.record.topic() == HALF_TOPIC;
        let is_known = is_half || half.record.topic() == PARKED_TOPIC;
        is_known.then(|| (is_half, bytes.clone()))
    }

    fn with_keys(&self, queue: &Queue, topic: &str, keys: &FxHashSet<&str>) -> Places {
        let mut places = Places::default();
        let mut add = |half: &HalfRecord<'_>| {
            if let Some(key) = half.unique_key.filter(|key| keys.contains(key) && half.record.topic() == topic) {
                let place = (half.record.queue_offset(), half.record.physical_offset().unsigned_abs());
                places.entry(key.to_owned()).or_default().push(place);
            }
        };
        for key in keys {
            let found = self.store.query_by_key(topic, key, 32, 0, i64::MAX).records;
            found.iter().filter_map(|bytes| HalfRecord::parse(bytes)).for_each(|half| add(&half));
        }
        let end = queue.max_offset();
        for offset in (end - LOOK_BACK).max(queue.min_offset())..end {
            if let Some(entry) = queue.entry(offset) {
                self.store.peek(&entry, |record| add(&HalfRecord::of(*record)));
            }
        }
        for list in places.values_mut() {
            list.sort_unstable_by(|one, other| other.cmp(one));
            list.dedup();
        }
        places
    }
}
