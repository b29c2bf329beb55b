//! The one path from a record of the log to everything that is a function of the log.
//!
//! Appending, recovery and following another broker all end here, so a consume queue that is rebuilt has the entries it
//! had before. The index is fed from the same view of a record, by the thread that builds it behind the log.

use std::sync::Arc;

use tenonmq_protocol::message::properties::names;
use tenonmq_protocol::message::{RecordView, SysFlag, TransactionType, properties, tags_code};

use crate::consume_queue::Dispatch;
use crate::consume_queue::entry::Entry;
use crate::consume_queue::table::QueueTable;
use crate::error::FileError;
use crate::light;

/// Messages that wait for their delay level. Their entries hold the time of delivery instead of a tags code.
pub const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";
/// What Apache adds to the store time for a level that does not exist, in milliseconds.
const UNKNOWN_LEVEL_DELAY_MS: i64 = 1000;

/// What an entry holds for `tags_code`: for the schedule topic that is a delay in milliseconds, and the entry holds the time.
#[inline]
pub(crate) fn stored_tags_code(topic: &str, tags_code: i64, store_timestamp: i64) -> i64 {
    if topic == SCHEDULE_TOPIC { store_timestamp.saturating_add(tags_code) } else { tags_code }
}

/// Puts records where they belong.
pub(crate) struct Dispatcher {
    queues: Arc<QueueTable>,
    delay_levels_ms: Vec<i64>,
    /// Whether records may be in light queues.
    light: bool,
}

impl Dispatcher {
    pub(crate) fn new(queues: Arc<QueueTable>, delay_levels_ms: Vec<i64>, light: bool) -> Self {
        Self { queues, delay_levels_ms, light }
    }

    /// Enters a record that starts at `physical_offset` into its queue. One that is there already is ignored; prepared and
    /// rollback records are in no queue.
    pub(crate) fn dispatch(&self, record: &RecordView<'_>, physical_offset: u64) -> Result<(), FileError> {
        if !matches!(record.sys_flag().transaction(), TransactionType::None | TransactionType::Commit) {
            return Ok(());
        }
        let inner_batch = record.sys_flag().has(SysFlag::INNER_BATCH);
        let text = record.properties_text();
        let number = |name| properties::find(text, name).and_then(|value| value.parse::<i64>().ok());
        let (queue_offset, batch_size) = if inner_batch {
            let base = number(names::INNER_BASE).unwrap_or_else(|| record.queue_offset());
            let count = number(names::INNER_NUM).and_then(|count| u16::try_from(count).ok()).unwrap_or(1);
            (base, count.max(1))
        } else {
            (record.queue_offset(), 1)
        };
        let tags = if inner_batch { 0 } else { self.tags_code(record.topic(), text, record.store_timestamp()) };
        let entry = Entry { physical_offset, size: record.len() as u32, tags_code: tags };
        let store_timestamp = record.store_timestamp();
        let dispatch = Dispatch { entry, queue_offset, batch_size, store_timestamp };
        self.queues.dispatch(record.topic(), record.queue_id(), &dispatch)?;
        if self.light && light::may_hold(record.topic()) {
            for (queue, queue_offset) in light::stored(text) {
                self.queues.dispatch(queue, light::QUEUE_ID, &Dispatch { queue_offset, batch_size: 1, ..dispatch })?;
            }
        }
        Ok(())
    }

    fn tags_code(&self, topic: &str, properties_text: &str, store_timestamp: i64) -> i64 {
        let level = properties::find(properties_text, names::DELAY).and_then(|level| level.parse::<i64>().ok());
        match level {
            Some(level) if topic == SCHEDULE_TOPIC && level > 0 => store_timestamp.saturating_add(self.delay_of(level)),
            _ => tags_code(properties::find(properties_text, names::TAGS)),
        }
    }

    fn delay_of(&self, level: i64) -> i64 {
        let level = usize::try_from(level).unwrap_or(usize::MAX).min(self.delay_levels_ms.len());
        level.checked_sub(1).and_then(|n| self.delay_levels_ms.get(n)).copied().unwrap_or(UNKNOWN_LEVEL_DELAY_MS)
    }
}
