//! The records that a transaction leaves in the log, byte for byte as Apache writes them.
//!
//! The half message in the log is the source of all of them: bodies and property texts are borrowed from it, nothing is
//! copied besides into the log. Contents: `store.md` section 12.

use std::{borrow::Cow, net::SocketAddr};

use smallvec::SmallVec;
use tenonmq_protocol::message::{
    Assigned, NewRecord, Properties, RecordView, SysFlag, body_crc,
    properties::{names as property, pairs, tags_code},
    record::PROPERTIES_CRC_LEN,
};

use super::{
    carried::{CARRIED, Carried, add_place},
    half::CHECK_BACK_OFF,
};
use crate::{core::names::SCHEDULE_TOPIC, delay::note_target, timer::Timer};

pub(super) use crate::core::names::{
    CHECK_MAX_TIME_TOPIC as PARKED_TOPIC, HALF_TOPIC, OP_TOPIC, TRANSACTION_GROUP as GROUP,
};

/// The only queue of the half topic, and of the op topic.
pub(super) const QUEUE: i32 = 0;

/// Property text of an op record; its tag is `d`.
const OP_PROPERTIES: &[u8] = b"WAIT\x01true\x02TAGS\x01d\x02";
/// Java hash of `d`.
pub(super) const OP_TAGS_CODE: i64 = 100;

/// A half message as it lies in the log, with the properties that decisions need.
#[derive(Clone, Copy)]
pub(super) struct HalfRecord<'a> {
    pub(super) record: RecordView<'a>,
    /// Property text without the whole-record checksum.
    pub(super) text: &'a str,
    pub(super) real_topic: &'a str,
    pub(super) real_queue_id: i32,
    pub(super) group: &'a str,
    pub(super) unique_key: Option<&'a str>,
    pub(super) keys: Option<&'a str>,
    pub(super) tags: Option<&'a str>,
    pub(super) immunity: Option<&'a str>,
    pub(super) check_times: Option<&'a str>,
    pub(super) first_copy: Option<&'a str>,
    pub(super) delay: Option<&'a str>,
    /// `TENON_CHECK_BACK_OFF`.
    pub(super) back_off: Option<&'a str>,
    /// `TENON_CARRIED`.
    carried: Option<&'a str>,
    /// Whether it asks for a time of delivery.
    pub(super) is_timed: bool,
}

impl<'a> HalfRecord<'a> {
    /// Reads the record at the start of `bytes`. `None` when that is no record.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        RecordView::parse(bytes).ok().map(Self::of)
    }

    /// Looks at `record` as a half message; what it lacks is empty.
    pub(super) fn of(record: RecordView<'a>) -> Self {
        let text = without_checksum(record.properties_text());
        let mut half = Self {
            record,
            text,
            real_topic: "",
            real_queue_id: -1,
            group: "",
            unique_key: None,
            keys: None,
            tags: None,
            immunity: None,
            check_times: None,
            first_copy: None,
            delay: None,
            back_off: None,
            carried: None,
            is_timed: false,
        };
        for (name, value) in pairs(text) {
            match name {
                property::REAL_TOPIC => half.real_topic = value,
                property::REAL_QID => half.real_queue_id = value.parse().unwrap_or(-1),
                property::PGROUP => half.group = value,
                property::UNIQ_KEY => half.unique_key = Some(value),
                property::KEYS => half.keys = Some(value),
                property::TAGS => half.tags = Some(value),
                property::CHECK_IMMUNITY_TIME_IN_SECONDS => half.immunity = Some(value),
                property::TRANSACTION_CHECK_TIMES => half.check_times = Some(value),
                property::TRAN_PREPARED_QUEUE_OFFSET => half.first_copy = Some(value),
                property::DELAY => half.delay = Some(value),
                CHECK_BACK_OFF => half.back_off = Some(value),
                CARRIED => half.carried = Some(value),
                property::TIMER_DELAY_SEC | property::TIMER_DELAY_MS | property::TIMER_DELIVER_MS => {
                    half.is_timed = true;
                }
                _ => {}
            }
        }
        half
    }

    /// Whether this is the visible copy of a committed message.
    pub(super) fn is_commit(&self) -> bool {
        self.record.sys_flag().0 & SysFlag::TRANSACTION_MASK == COMMIT
    }

    /// Copies that Apache's checker made before this one; 0 for an original, and for one whose checks were resumed.
    pub(super) fn copies_before(&self) -> u32 {
        self.check_times.and_then(|times| times.parse().ok()).unwrap_or(0)
    }

    /// What it takes along, if it is a message that was carried forward, and no copy that Apache's checker made of one.
    pub(super) fn carried(&self) -> Option<Carried> {
        let carried = Carried::parse(self.carried?)?;
        (u32::from(carried.checks) == self.copies_before()).then_some(carried)
    }

    /// When the message was stored first. In milliseconds.
    pub(super) fn first_stored(&self) -> i64 {
        let carried = self.carried.and_then(Carried::parse);
        carried.map_or_else(|| self.record.store_timestamp(), |carried| carried.stored_at)
    }

    /// Tags code of the queue entry of the real message.
    pub(super) fn tags_code(&self) -> i64 {
        tags_code(self.tags)
    }

    /// The visible message. Its property text is the half message's, so REAL_TOPIC and the like stay readable; one that
    /// was carried forward needs [`HalfRecord::text_committed`].
    pub(super) fn committed(&self) -> NewRecord<'a> {
        NewRecord {
            topic: self.real_topic,
            queue_id: self.real_queue_id,
            sys_flag: self.record.sys_flag().0 & !SysFlag::TRANSACTION_MASK | COMMIT,
            prepared_transaction_offset: self.record.physical_offset(),
            ..self.copy(self.text.as_bytes())
        }
    }

    /// The property text of the visible message.
    pub(super) fn text_committed(&self) -> Cow<'a, [u8]> {
        if self.carried.is_none() {
            return self.text.as_bytes().into();
        }
        let mut properties = Properties::parse(self.text);
        properties.remove(CARRIED);
        text_of(&properties, self.text.len()).into()
    }

    /// The delay level that begins with the commit; 0 for a message that is visible at once.
    pub(super) fn delay_level(&self) -> i32 {
        self.delay.and_then(|level| level.parse().ok()).unwrap_or(0)
    }

    /// The committed message as it waits for its delay in the queue `queue_id`; `text` is from
    /// [`HalfRecord::text_delayed`].
    pub(super) fn committed_delayed<'t>(&self, queue_id: i32, text: &'t [u8]) -> NewRecord<'t>
    where
        'a: 't,
    {
        NewRecord { topic: SCHEDULE_TOPIC, queue_id, properties: text, ..self.committed() }
    }

    /// The property text of a committed message that is delayed: it is no half message any more.
    pub(super) fn text_delayed(&self, level: i32) -> Vec<u8> {
        let mut properties = Properties::parse(self.text);
        for name in [property::REAL_TOPIC, property::REAL_QID, property::TRAN_MSG, CARRIED] {
            properties.remove(name);
        }
        note_target(&mut properties, level, self.real_topic, self.real_queue_id);
        let mut text = Vec::with_capacity(self.text.len());
        properties.encode_into(&mut text);
        text
    }

    /// The committed message as it waits for its time; `text` is from [`HalfRecord::text_timed`].
    pub(super) fn committed_timed<'t>(&self, text: &'t [u8]) -> NewRecord<'t>
    where
        'a: 't,
    {
        NewRecord { topic: Timer::TOPIC, queue_id: Timer::QUEUE, properties: text, ..self.committed() }
    }

    /// The property text of a committed message that waits for its time.
    pub(super) fn text_timed(&self, timer: &Timer) -> Vec<u8> {
        let mut properties = Properties::parse(self.text);
        for name in [property::REAL_TOPIC, property::REAL_QID, property::TRAN_MSG, CARRIED] {
            properties.remove(name);
        }
        timer.note_target(&mut properties, self.real_topic, self.real_queue_id);
        let mut text = Vec::with_capacity(self.text.len() + 32);
        properties.encode_into(&mut text);
        text
    }

    /// The copy for `TRANS_CHECK_MAX_TIME_TOPIC`; `text` is from [`HalfRecord::text_with_checks`].
    pub(super) fn parked<'t>(&self, text: &'t [u8]) -> NewRecord<'t>
    where
        'a: 't,
    {
        NewRecord { topic: PARKED_TOPIC, queue_id: QUEUE, ..self.copy(text) }
    }

    /// The copy that goes back into the half topic; `text` is from [`HalfRecord::text_resumed`] or
    /// [`HalfRecord::text_carried`].
    pub(super) fn resumed<'t>(&self, text: &'t [u8]) -> NewRecord<'t>
    where
        'a: 't,
    {
        NewRecord { topic: HALF_TOPIC, queue_id: QUEUE, ..self.copy(text) }
    }

    /// The body of a check: the half message as a record of its real topic, at the half message's own place.
    pub(super) fn question(&self, attempt: u32) -> Vec<u8> {
        let mut properties = self.with_checks(attempt);
        properties.set(property::WAIT, "false"); // [golden]: what Apache asks about is the copy that waited for no flush
        let mut text = Vec::with_capacity(self.text.len() + 32);
        properties.encode_into(&mut text);
        let record = NewRecord { topic: self.real_topic, queue_id: self.real_queue_id, ..self.copy(&text) };
        let at = Assigned {
            queue_offset: self.record.queue_offset(),
            physical_offset: self.record.physical_offset(),
            store_timestamp: self.record.store_timestamp(),
        };
        let mut bytes = vec![0; record.encoded_len()];
        record.encode(&mut bytes, at);
        bytes
    }

    /// The property text with `TRANSACTION_CHECK_TIMES` set.
    pub(super) fn text_with_checks(&self, checks: u32) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.text.len() + 32);
        self.with_checks(checks).encode_into(&mut text);
        text
    }

    /// The property text of a message that is taken up again: as if it had never been checked.
    pub(super) fn text_resumed(&self) -> Vec<u8> {
        let mut properties = self.with_checks(0);
        properties.remove(property::TRAN_PREPARED_QUEUE_OFFSET);
        text_of(&properties, self.text.len())
    }

    /// The property text of the copy that stands for this message when its log file goes. It is linked to the first one
    /// as Apache links its copies.
    pub(super) fn text_carried(&self, stored_at: i64, checks: u16, asked_at: i64, of_copy: bool) -> Vec<u8> {
        let (offset, log_offset) = (self.record.queue_offset(), self.record.physical_offset().unsigned_abs());
        let mut places = self.carried().map(|carried| carried.places).unwrap_or_default();
        add_place(&mut places, (offset, log_offset));
        let first = places.first().map_or(offset, |(first, _)| *first);
        let carried = Carried { stored_at, checks, asked_at, of_copy, places };
        let mut properties = Properties::parse(self.text);
        properties.set(CARRIED, carried.encode());
        properties.remove(property::TRANSACTION_CHECK_TIMES);
        if checks > 0 {
            properties.set(property::TRANSACTION_CHECK_TIMES, checks.to_string());
        }
        if self.first_copy.is_none() {
            properties.set(property::TRAN_PREPARED_QUEUE_OFFSET, first.to_string());
        }
        text_of(&properties, self.text.len() + 128)
    }

    fn with_checks(&self, checks: u32) -> Properties<'a> {
        let mut properties = Properties::parse(self.text);
        properties.remove(CARRIED);
        properties.set(property::TRANSACTION_CHECK_TIMES, checks.to_string());
        properties
    }

    fn copy<'t>(&self, properties: &'t [u8]) -> NewRecord<'t>
    where
        'a: 't,
    {
        let sys_flag = self.record.sys_flag().0 & !SysFlag::TRANSACTION_MASK;
        NewRecord { sys_flag, ..NewRecord::copy_of(&self.record, properties) }
    }
}

const COMMIT: i32 = 8;

fn text_of(properties: &Properties<'_>, about: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(about);
    properties.encode_into(&mut text);
    text
}

/// A copied text must not carry the checksum of the record it came from.
pub(crate) fn without_checksum(text: &str) -> &str {
    let Some(at) = text.len().checked_sub(PROPERTIES_CRC_LEN) else { return text };
    match text.get(at..) {
        Some(tail) if tail.starts_with("__CRC32#\x01") => &text[..at],
        _ => text,
    }
}

/// Body of an op record: half-queue offsets as text, each followed by a comma.
pub(super) struct OpBody(SmallVec<[u8; 48]>);

impl OpBody {
    /// The body that names `offsets`.
    pub(super) fn of(offsets: &[i64]) -> Self {
        use std::io::Write;
        let mut text = SmallVec::new();
        for offset in offsets {
            let mut digits = [0; 24];
            let mut rest = &mut digits[..];
            let _ = write!(rest, "{offset},"); // the longest number takes 20 bytes
            let left = rest.len();
            text.extend_from_slice(&digits[..digits.len() - left]);
        }
        Self(text)
    }

    /// The op record.
    pub(super) fn record(&self, broker: SocketAddr, now_ms: i64) -> NewRecord<'_> {
        NewRecord {
            topic: OP_TOPIC,
            queue_id: QUEUE,
            flag: 0,
            sys_flag: 0,
            born_timestamp: now_ms,
            born_host: broker,
            store_host: broker,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: &self.0,
            properties: OP_PROPERTIES,
            body_crc: body_crc(&self.0),
        }
    }
}

/// Half-queue offsets that an op record names. Old brokers wrote one without a comma.
pub(super) fn op_offsets(body: &[u8]) -> impl Iterator<Item = i64> {
    let text = std::str::from_utf8(body).unwrap_or_default();
    text.split(',').filter_map(|offset| offset.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn golden(path: &str) -> Vec<u8> {
        fs::read(format!("{}/../golden/{path}", env!("CARGO_MANIFEST_DIR")))
            .expect("golden data is part of the project")
    }

    /// The record that Apache wrote at a log offset of the `clean` directory.
    fn clean(offset: usize) -> Vec<u8> {
        let file = golden(&format!("store/clean/data/commitlog/{:020}", offset / 131_072 * 131_072));
        let bytes = &file[offset % 131_072..];
        RecordView::parse(bytes).expect("a record").bytes().to_vec()
    }

    fn encoded(record: &NewRecord<'_>, like: &[u8]) -> Vec<u8> {
        let like = RecordView::parse(like).expect("a record");
        let at = Assigned {
            queue_offset: like.queue_offset(),
            physical_offset: like.physical_offset(),
            store_timestamp: like.store_timestamp(),
        };
        let mut bytes = vec![0; record.encoded_len()];
        record.encode(&mut bytes, at);
        bytes
    }

    #[test]
    fn a_committed_message_is_byte_for_byte_what_apache_writes() {
        for (half, committed) in [(268_264, 269_096), (282_035, 282_999)] {
            let (half, committed) = (clean(half), clean(committed));
            let parsed = HalfRecord::parse(&half).expect("a half message");
            assert_eq!(encoded(&parsed.committed(), &committed), committed);
        }
    }

    #[test]
    fn an_op_record_is_byte_for_byte_what_apache_writes() {
        for (offsets, op) in [(&[0, 1][..], 278_731), (&[6], 283_435)] {
            let op = clean(op);
            let like = RecordView::parse(&op).expect("a record");
            let body = OpBody::of(offsets);
            let record = body.record(like.store_host(), like.born_timestamp());
            assert_eq!(encoded(&record, &op), op);
            assert_eq!(op_offsets(like.body()).collect::<Vec<_>>(), offsets);
        }
        assert_eq!(tags_code(Some("d")), OP_TAGS_CODE);
    }

    #[test]
    fn an_op_record_of_an_old_broker_has_no_comma() {
        assert_eq!(op_offsets(b"17").collect::<Vec<_>>(), [17]);
        assert_eq!(op_offsets(b"").count(), 0);
    }

    #[test]
    fn a_question_is_byte_for_byte_what_apache_asks() {
        let frames = golden("wire/json-transaction-unknown-then-check.bin");
        // frame 83 of the capture: 834 bytes at 2894, the last 418 of them the body
        let asked = &frames[2894 + 834 - 418..2894 + 834];
        let asked_view = RecordView::parse(asked).expect("a record");
        let mut properties = asked_view.properties();
        properties.remove(property::TRANSACTION_CHECK_TIMES);
        properties.set(property::WAIT, "true");
        let mut text = Vec::new();
        properties.encode_into(&mut text);
        let asked_half = HalfRecord::of(asked_view);
        let half = encoded(&asked_half.resumed(&text), asked);
        let half = HalfRecord::parse(&half).expect("a half message");
        assert_eq!((half.record.topic(), half.record.queue_id()), (HALF_TOPIC, 0));
        assert_eq!(half.question(1), asked);
    }

    #[test]
    fn a_copy_does_not_take_over_the_checksum_of_the_whole_record() {
        let text = "TAGS\x01a\x02__CRC32#\x010123456789\x02";
        assert_eq!(without_checksum(text), "TAGS\x01a\x02");
        assert_eq!(without_checksum("TAGS\x01a\x02"), "TAGS\x01a\x02");
    }
}
