//! Light queues (LMQ): a record may be in queues besides its own, which its property `INNER_MULTI_DISPATCH` names.
//!
//! A light queue is a topic with the prefix `%LMQ%`, one queue, 0, and no records of its own. A record's offset in each is
//! assigned when it is appended and kept in `INNER_MULTI_QUEUE_OFFSET`, so recovery enters it where it was. Apache's rules,
//! `LmqDispatch` and `MultiDispatchUtils`, with three differences: what a client claims about offsets is not believed,
//! dead letters are not in the light queues a second time, and names that are none of light queues are left out of the
//! list. Apache keeps them without an offset, and its dispatch never gets past such a record.

use std::fmt::Write;
use std::sync::Arc;

use smallvec::SmallVec;
use tenonmq_protocol::message::properties::{find, names};
use tenonmq_protocol::message::{NewRecord, Properties};

use crate::consume_queue::Queue;
use crate::consume_queue::file::is_file_name;
use crate::consume_queue::table::QueueTable;
use crate::dispatch::SCHEDULE_TOPIC;
use crate::error::AppendError;

/// What the names of light queues begin with.
pub const PREFIX: &str = "%LMQ%";
/// The only queue of each.
pub const QUEUE_ID: i32 = 0;
/// Longest name, in bytes: that of a directory.
const NAME_MAX: usize = 255;
const SEPARATOR: &str = ",";
/// Topics whose records wait, or were given up: they are in no light queue.
const LEFT_OUT: [&str; 4] = ["%RETRY%", "%DLQ%", "TRANS_CHECK_MAX_TIME_TOPIC", PREFIX];
const SYSTEM_PREFIX: &str = "rmq_sys_";

/// The light queues that a record is in, with its offset in each.
pub(crate) type Places = SmallVec<[(Arc<Queue>, i64); 2]>;

/// Whether a topic, or group, is a light one.
pub fn is_light(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// Whether a name is one that a light queue can have.
pub(crate) fn is_legal(name: &str) -> bool {
    is_light(name) && name.len() <= NAME_MAX && is_file_name(name)
}

/// Whether records of `topic` may be in light queues.
pub(crate) fn may_hold(topic: &str) -> bool {
    let system = topic.get(..SYSTEM_PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(SYSTEM_PREFIX));
    !system && topic != SCHEDULE_TOPIC && !LEFT_OUT.iter().any(|prefix| topic.starts_with(prefix))
}

/// Whether a record asks to be in light queues, and may be.
pub(crate) fn wanted(record: &NewRecord<'_>) -> bool {
    text(record).contains(names::INNER_MULTI_DISPATCH) && may_hold(record.topic)
}

/// The light queues that the properties of a stored record name, with its offset in each.
pub(crate) fn stored(properties: &str) -> impl Iterator<Item = (&str, i64)> {
    let list = |name| find(properties, name).unwrap_or_default().split(SEPARATOR);
    let queues = list(names::INNER_MULTI_DISPATCH).zip(list(names::INNER_MULTI_QUEUE_OFFSET));
    queues.filter_map(|(queue, offset)| Some((queue, offset.parse().ok()?)).filter(|_| is_legal(queue)))
}

/// Assigns offsets to the records of one append. Nobody else may append to light queues from its making until they are in.
pub(crate) struct Assigner<'a> {
    table: &'a QueueTable,
    /// Light queues that may exist.
    limit: usize,
    /// Offset that the next record of this append gets.
    next: Places,
}

impl<'a> Assigner<'a> {
    pub(crate) fn new(table: &'a QueueTable, limit: usize) -> Self {
        Self { table, limit, next: Places::new() }
    }

    /// The light queues of one record, and its properties with the offsets in them.
    pub(crate) fn assign(&mut self, record: &NewRecord<'_>) -> Result<(Vec<u8>, Places), AppendError> {
        let mut properties = Properties::parse(text(record));
        let asked = properties.get(names::INNER_MULTI_DISPATCH).unwrap_or_default().to_owned();
        properties.remove(names::INNER_MULTI_QUEUE_OFFSET);
        let mut places = Places::new();
        for name in asked.split(SEPARATOR).filter(|name| is_legal(name)) {
            self.place(name, &mut places)?;
        }
        if !places.is_empty() {
            let (mut queues, mut offsets) = (String::new(), String::new());
            for (queue, offset) in &places {
                let separator = if queues.is_empty() { "" } else { SEPARATOR };
                let _ = write!(queues, "{separator}{}", queue.topic()); // a String takes everything
                let _ = write!(offsets, "{separator}{offset}");
            }
            properties.set(names::INNER_MULTI_DISPATCH, queues);
            properties.set(names::INNER_MULTI_QUEUE_OFFSET, offsets);
        }
        let mut encoded = Vec::with_capacity(record.properties.len() + 64);
        properties.encode_into(&mut encoded);
        Ok((encoded, places))
    }

    /// Puts the record into the queue of that name, unless it is there already.
    fn place(&mut self, name: &str, places: &mut Places) -> Result<(), AppendError> {
        let queue = self.table.light(name, self.limit).ok_or(AppendError::LightQueues { limit: self.limit })?;
        if places.iter().any(|(known, _)| Arc::ptr_eq(known, &queue)) {
            return Ok(());
        }
        let offset = match self.next.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &queue)) {
            Some((_, next)) => std::mem::replace(next, *next + 1),
            None => {
                let offset = queue.max_offset();
                self.next.push((Arc::clone(&queue), offset + 1));
                offset
            }
        };
        places.push((queue, offset));
        Ok(())
    }
}

fn text<'a>(record: &NewRecord<'a>) -> &'a str {
    std::str::from_utf8(record.properties).unwrap_or_default()
}
