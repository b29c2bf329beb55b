//! A record of the timer topic: when it is due, and for whom.
//!
//! Apache keeps the second (`TIMER_OUT_MS`, rounded down, or one step down when there is nothing to round) and delivers
//! at its end. Together with the wish, which stays in the properties, the millisecond can be told from the record: a
//! time as it is, a delay from the time of storing.

use std::hash::{DefaultHasher, Hash, Hasher};

use rustc_hash::FxHasher;
use tenonmq_protocol::message::{
    RecordView,
    properties::{names as property, pairs},
};

use super::index::Key;
use crate::{core::names::HALF_TOPIC, transaction::without_checksum};

/// What a second is rounded to, at least; upstream's `timerPrecisionMs` may be finer.
const SECOND_MS: i64 = 1000;
/// A message that deletes another stays one step longer than any that is due in the same second.
const AFTER_ALL_MS: i64 = SECOND_MS + 1;

/// See the module.
pub(super) struct Timed<'a> {
    pub(super) record: RecordView<'a>,
    /// Property text without the whole-record checksum.
    pub(super) text: &'a str,
    /// `TIMER_OUT_MS`.
    pub(super) out_ms: i64,
    /// When it may be seen.
    pub(super) due_ms: i64,
    pub(super) real_topic: &'a str,
    pub(super) real_queue_id: i32,
    pub(super) unique_key: Option<&'a str>,
    pub(super) keys: Option<&'a str>,
    pub(super) tags: Option<&'a str>,
    /// What it deletes: `realTopic+uniqKey`.
    pub(super) deletes: Option<&'a str>,
    /// How often it was put back.
    pub(super) rolls: u32,
}

impl<'a> Timed<'a> {
    /// Looks at a record of the timer topic.
    ///
    /// # Errors
    /// Why it can be delivered nowhere.
    pub(super) fn of(record: RecordView<'a>) -> Result<Self, &'static str> {
        let text = without_checksum(record.properties_text());
        let mut timed = Self {
            record,
            text,
            out_ms: -1,
            due_ms: 0,
            real_topic: "",
            real_queue_id: -1,
            unique_key: None,
            keys: None,
            tags: None,
            deletes: None,
            rolls: 0,
        };
        let (mut seconds, mut millis, mut deliver) = (None, None, None);
        for (name, value) in pairs(text) {
            match name {
                property::TIMER_OUT_MS => timed.out_ms = value.parse().unwrap_or(-1),
                property::TIMER_DELAY_SEC => seconds = value.parse::<i64>().ok(),
                property::TIMER_DELAY_MS => millis = value.parse::<i64>().ok(),
                property::TIMER_DELIVER_MS => deliver = value.parse::<i64>().ok(),
                property::TIMER_ROLL_TIMES => timed.rolls = value.parse().unwrap_or(0),
                property::TIMER_DEL_UNIQKEY => timed.deletes = Some(value),
                property::REAL_TOPIC => timed.real_topic = value,
                property::REAL_QID => timed.real_queue_id = value.parse().unwrap_or(-1),
                property::UNIQ_KEY => timed.unique_key = Some(value),
                property::KEYS => timed.keys = Some(value),
                property::TAGS => timed.tags = Some(value),
                _ => {}
            }
        }
        if timed.out_ms < 0 {
            return Err("it has no time of delivery");
        }
        if timed.real_topic.is_empty() || timed.real_queue_id < 0 {
            return Err("it has no real topic and queue");
        }
        if timed.real_topic == HALF_TOPIC {
            return Err("its real topic is that of half messages");
        }
        let delay = seconds.map(|seconds| seconds.saturating_mul(1000)).or(millis);
        let wished = match delay {
            // put back, so it was stored a second time: the time that was reckoned first is with it, see `copy`
            Some(_) if timed.rolls > 0 => deliver,
            Some(delay) => Some(record.store_timestamp().saturating_add(delay)),
            None => deliver,
        };
        timed.due_ms = due(timed.out_ms, wished, timed.deletes.is_some());
        Ok(timed)
    }

    /// Its place in the index, for a place in the queue.
    pub(super) fn key(&self, at: i64) -> Key {
        Key { due_ms: self.due_ms, at }
    }

    /// What tells this message from others, and one that was put back from what it was before.
    pub(super) fn identity(&self, rolls: u32) -> u64 {
        let mut hash = DefaultHasher::new();
        (self.out_ms, self.real_topic, self.real_queue_id, self.unique_key, self.deletes, rolls).hash(&mut hash);
        (self.record.born_timestamp(), self.record.body_crc(), self.record.flag()).hash(&mut hash);
        hash.finish()
    }

    /// The hash of `realTopic+uniqKey` and the second, which a message that deletes it has as well.
    pub(super) fn deletion_hash(&self) -> u64 {
        match self.deletes {
            Some(target) => deletion_hash(self.out_ms, &[target]),
            None => deletion_hash(self.out_ms, &[self.real_topic, "+", self.unique_key.unwrap_or_default()]),
        }
    }

    /// Whether `other` deletes this message.
    pub(super) fn is_deleted_by(&self, other: &Timed<'_>) -> bool {
        let parts = other.deletes.and_then(|target| target.strip_prefix(self.real_topic)?.strip_prefix('+'));
        self.deletes.is_none() && other.out_ms == self.out_ms && parts.is_some() && parts == self.unique_key
    }
}

fn deletion_hash(out_ms: i64, parts: &[&str]) -> u64 {
    let mut hash = FxHasher::default();
    out_ms.hash(&mut hash);
    let mut text = smallvec::SmallVec::<[u8; 128]>::new();
    parts.iter().for_each(|part| text.extend_from_slice(part.as_bytes()));
    hash.write(&text);
    hash.finish()
}

/// The millisecond, from the second and the wish. A wish that does not fit the second does not count: then it is the end
/// of the second, as for Apache.
fn due(out_ms: i64, wished: Option<i64>, is_deletion: bool) -> i64 {
    if is_deletion {
        return out_ms.saturating_add(AFTER_ALL_MS);
    }
    let latest = out_ms.saturating_add(SECOND_MS);
    match wished {
        Some(wished) if wished > out_ms => wished.min(latest),
        _ => latest,
    }
}

/// `TIMER_OUT_MS` for a time of delivery, as Apache rounds it.
pub(crate) fn out_ms(deliver_ms: i64, precision_ms: i64) -> i64 {
    let precision = precision_ms.max(1);
    if deliver_ms % precision == 0 { deliver_ms - precision } else { deliver_ms - deliver_ms % precision }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_rounded_as_apache_rounds_it() {
        assert_eq!([1, 999, 1_000, 1_001, 2_500].map(|deliver| out_ms(deliver, 1_000)), [0, 0, 0, 1_000, 2_000]);
        assert_eq!([1_100, 1_150].map(|deliver| out_ms(deliver, 100)), [1_000, 1_100]);
    }

    #[test]
    fn the_millisecond_is_that_of_the_wish_within_its_second() {
        assert_eq!(due(2_000, Some(2_500), false), 2_500);
        assert_eq!(due(2_000, Some(3_000), false), 3_000);
        assert_eq!(due(2_000, Some(3_004), false), 3_000, "a delay counts from storing, but the second is the limit");
        assert_eq!(due(2_000, Some(1_999), false), 3_000);
        assert_eq!(due(2_000, None, false), 3_000);
    }

    #[test]
    fn mxsm_9154_whatever_the_time_of_delivery_it_is_never_early() {
        for deliver in 1_000..4_100 {
            let out = out_ms(deliver, 1_000);
            assert_eq!(due(out, Some(deliver), false), deliver);
            assert!(due(out, None, false) >= deliver);
        }
    }
}
