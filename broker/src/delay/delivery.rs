//! The copy of a delayed message that becomes visible.

use std::sync::Arc;

use tenonmq_protocol::message::{
    NewRecord, RecordView,
    properties::{names as property, pairs, tags_code},
};
use tenonmq_storage::{Queue, Store};

use crate::{core::names::HALF_TOPIC, transaction::without_checksum};

/// A delayed message as it lies in the log, with what its delivery needs.
pub(super) struct Delayed<'a> {
    record: RecordView<'a>,
    text: &'a str,
    topic: &'a str,
    queue_id: i32,
    tags_code: i64,
}

impl<'a> Delayed<'a> {
    /// Looks at a record of the schedule topic.
    ///
    /// # Errors
    /// Why it can be delivered nowhere.
    pub(super) fn of(record: RecordView<'a>) -> Result<Self, &'static str> {
        let text = without_checksum(record.properties_text());
        let (mut topic, mut queue_id, mut tags) = ("", None, None);
        for (name, value) in pairs(text) {
            match name {
                property::REAL_TOPIC => topic = value,
                property::REAL_QID => queue_id = value.parse().ok().filter(|id| *id >= 0),
                property::TAGS => tags = Some(value),
                _ => {}
            }
        }
        match queue_id {
            _ if topic.is_empty() => Err("it has no real topic"),
            _ if topic == HALF_TOPIC => Err("its real topic is that of half messages"),
            None => Err("it has no real queue"),
            Some(queue_id) => Ok(Self { record, text, topic, queue_id, tags_code: tags_code(tags) }),
        }
    }

    /// Where it is delivered.
    pub(super) fn queue(&self, store: &Store) -> Arc<Queue> {
        store.queue(self.topic, self.queue_id)
    }

    pub(super) fn tags_code(&self) -> i64 {
        self.tags_code
    }

    /// The visible message. Its property text is the stored one, so DELAY, REAL_TOPIC and REAL_QID stay readable.
    pub(super) fn record(&self) -> NewRecord<'a> {
        let text = self.text.as_bytes();
        NewRecord { topic: self.topic, queue_id: self.queue_id, ..NewRecord::copy_of(&self.record, text) }
    }
}
