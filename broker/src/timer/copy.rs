//! The records that come out of a timer: the visible copy, and the one that goes back into the timer topic because its
//! log file is about to be removed. Contents: `store.md` section 10.3.

use tenonmq_protocol::message::{
    NewRecord, Properties,
    properties::{names as property, tags_code},
    record::MAX_PROPERTIES,
};

use super::timed::Timed;
use crate::core::names::TIMER_TOPIC;

/// Only queue of the timer topic.
pub(super) const QUEUE: i32 = 0;

impl<'a> Timed<'a> {
    /// The property text of the visible copy. What stood there stays readable, REAL_TOPIC and REAL_QID included.
    pub(super) fn visible_text(&self, now_ms: i64, precision_ms: i64, out: &mut Vec<u8>) {
        let mut properties = Properties::parse(self.text);
        if self.rolls > 0 && is_relative(&properties) {
            properties.remove(property::TIMER_DELIVER_MS); // see `rolled_text`
        }
        self.stamp(&mut properties, now_ms, precision_ms);
        properties.encode_into(out);
        if out.len() > MAX_PROPERTIES {
            // rather without the stamps than not at all
            out.clear();
            out.extend_from_slice(self.text.as_bytes());
        }
    }

    /// The property text of a copy that waits on. A delay counts from storing, so the time that it was reckoned to goes
    /// with the copy.
    pub(super) fn rolled_text(&self, now_ms: i64, precision_ms: i64, out: &mut Vec<u8>) {
        let mut properties = Properties::parse(self.text);
        if is_relative(&properties) && self.deletes.is_none() {
            properties.set(property::TIMER_DELIVER_MS, self.due_ms.to_string());
        }
        properties.set(property::TIMER_ROLL_TIMES, self.rolls.saturating_add(1).to_string());
        self.stamp(&mut properties, now_ms, precision_ms);
        properties.encode_into(out);
    }

    fn stamp(&self, properties: &mut Properties<'_>, now_ms: i64, precision_ms: i64) {
        let stored = self.record.store_timestamp();
        let enqueued = stored - stored.rem_euclid(precision_ms.max(1));
        properties.set(property::TIMER_ENQUEUE_MS, enqueued.to_string());
        properties.set(property::TIMER_DEQUEUE_MS, now_ms.to_string());
    }

    /// The visible message with that text.
    pub(super) fn visible<'t>(&self, text: &'t [u8]) -> NewRecord<'t>
    where
        'a: 't,
    {
        NewRecord { topic: self.real_topic, queue_id: self.real_queue_id, ..self.rolled(text) }
    }

    /// The same message once more in the timer topic.
    pub(super) fn rolled<'t>(&self, text: &'t [u8]) -> NewRecord<'t>
    where
        'a: 't,
    {
        NewRecord { topic: TIMER_TOPIC, queue_id: QUEUE, ..NewRecord::copy_of(&self.record, text) }
    }

    /// What the queue entry of either copy holds.
    pub(super) fn tags_code(&self) -> i64 {
        tags_code(self.tags)
    }
}

fn is_relative(properties: &Properties<'_>) -> bool {
    properties.contains(property::TIMER_DELAY_SEC) || properties.contains(property::TIMER_DELAY_MS)
}

#[cfg(test)]
mod tests {
    use tenonmq_protocol::message::{Assigned, RecordView};

    use super::*;

    /// The record that Apache wrote at a log offset of the `clean` directory.
    fn golden(offset: usize) -> Vec<u8> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/store/clean/data/commitlog");
        let file = std::fs::read(format!("{folder}/{:020}", offset / 131_072 * 131_072)).unwrap();
        RecordView::parse(&file[offset % 131_072..]).unwrap().bytes().to_vec()
    }

    fn number(record: &RecordView<'_>, name: &str) -> i64 {
        record.properties().number(name).unwrap()
    }

    #[test]
    fn a_delivered_record_is_byte_for_byte_what_apache_writes() {
        for (waiting, delivered) in [(257_734, 278_324), (257_382, 278_870), (276_144, 280_056), (276_571, 280_558)] {
            let (waiting, delivered) = (golden(waiting), golden(delivered));
            let like = RecordView::parse(&delivered).unwrap();
            let timed = Timed::of(RecordView::parse(&waiting).unwrap()).unwrap();
            let mut text = Vec::new();
            timed.visible_text(number(&like, "TIMER_DEQUEUE_MS"), 1_000, &mut text);
            let record = timed.visible(&text);
            let at = Assigned {
                queue_offset: like.queue_offset(),
                physical_offset: like.physical_offset(),
                store_timestamp: like.store_timestamp(),
            };
            let mut bytes = vec![0; record.encoded_len()];
            record.encode(&mut bytes, at);
            assert_eq!(bytes, delivered);
            let late = like.store_timestamp() - timed.due_ms;
            assert!((0..1_300).contains(&late), "{late} ms after the millisecond that was wished for");
        }
    }

    #[test]
    fn a_delay_that_was_put_back_keeps_its_millisecond_and_the_copy_does_not_show_it() {
        let waiting = golden(257_734); // 2,500 ms
        let timed = Timed::of(RecordView::parse(&waiting).unwrap()).unwrap();
        let mut text = Vec::new();
        timed.rolled_text(timed.due_ms - 100, 1_000, &mut text);
        let record = timed.rolled(&text);
        let mut bytes = vec![0; record.encoded_len()];
        let store_timestamp = timed.record.store_timestamp() + 900;
        record.encode(&mut bytes, Assigned { queue_offset: 9, physical_offset: 9, store_timestamp });
        let again = Timed::of(RecordView::parse(&bytes).unwrap()).unwrap();
        assert_eq!((again.due_ms, again.rolls), (timed.due_ms, 1));
        assert_eq!(again.identity(0), timed.identity(0));
        assert_ne!(again.identity(1), timed.identity(0));
        let mut text = Vec::new();
        again.visible_text(0, 1_000, &mut text);
        assert!(!String::from_utf8(text).unwrap().contains("TIMER_DELIVER_MS"));
    }
}
