//! What clients ask about offsets: a group's own, and where a queue begins and ends.

use tenonmq_protocol::{code::ResponseCode, header::offset as wire};
use tenonmq_storage::{Boundary, Queue};

use super::Commit;
use crate::{core::Core, error::Refusal, remoting::Connection};

/// The time of a message that is not there.
const UNKNOWN: i64 = -1;

/// The offset from which a group goes on (14).
///
/// A group without one starts at 0 while the queue's first message is still among the recent ones, so that a new group
/// misses nothing of a young topic. Otherwise it decides by itself.
///
/// # Errors
/// 22: there is none.
pub fn next_to_consume(core: &Core, request: &wire::QueryOffset<'_>) -> Result<i64, Refusal> {
    let (topic, queue_id) = (request.topic, request.queue_id);
    if let Some(offset) = core.offsets.get(request.consumer_group, topic, queue_id) {
        return Ok(offset);
    }
    if request.set_zero_if_not_found == Some(false) {
        let remark = "Not found, do not set to zero, maybe this group boot first";
        return Err(Refusal::new(ResponseCode::QUERY_NOT_FOUND, remark));
    }
    if core.store.find_queue(topic, queue_id).is_some_and(|queue| first_is_recent(core, &queue)) {
        return Ok(0);
    }
    let remark = "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first";
    Err(Refusal::new(ResponseCode::QUERY_NOT_FOUND, remark))
}

/// Whether the queue still has its message 0, and that one lies within the part of the log that fits into memory.
fn first_is_recent(core: &Core, queue: &Queue) -> bool {
    if queue.min_offset() > 0 {
        return false;
    }
    let Some(first) = queue.entry(0) else { return false };
    let marks = core.store.watermarks();
    first.physical_offset >= marks.min && marks.appended.saturating_sub(first.physical_offset) <= core.memory_hint_bytes
}

/// A consumer's commit (15).
///
/// # Errors
/// 26 and 17: group or topic do not exist; 2: no room for a new queue.
pub fn commit(core: &Core, request: &wire::UpdateOffset<'_>, connection: &Connection) -> Result<Commit, Refusal> {
    let (group, topic, queue_id) = (request.consumer_group, request.topic, request.queue_id);
    if !core.groups.contains(group) {
        return Err(Refusal::new(ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST, format!("Group {group} not exist!")));
    }
    if core.topics.get(topic).is_none() {
        return Err(Refusal::new(ResponseCode::TOPIC_NOT_EXIST, format!("Topic {topic} not exist!")));
    }
    match super::commit(core, (group, topic, queue_id), request.commit_offset, connection) {
        Commit::Full => Err(Refusal::new(ResponseCode::SYSTEM_BUSY, "the table of consumer offsets is full")),
        commit => Ok(commit),
    }
}

/// The offset that belongs to a time (29); 0 in a queue that does not exist.
pub fn by_time(core: &Core, request: &wire::SearchOffset<'_>) -> i64 {
    let Some(queue) = core.store.find_queue(request.topic, request.queue_id) else { return 0 };
    let boundary = match request.boundary {
        wire::Boundary::Lower => Boundary::Lower,
        wire::Boundary::Upper => Boundary::Upper,
    };
    let found = core.store.offset_by_time(&queue, request.timestamp, boundary);
    found.max(queue.min_offset()).min(queue.max_offset())
}

/// The offset of the message to come next (30); 0 in a queue that does not exist.
pub fn max(core: &Core, topic: &str, queue_id: i32) -> i64 {
    core.store.find_queue(topic, queue_id).map_or(0, |queue| queue.max_offset())
}

/// The offset of the first message (31); 0 in a queue that does not exist: Apache creates it when it is asked.
pub fn min(core: &Core, topic: &str, queue_id: i32) -> i64 {
    core.store.find_queue(topic, queue_id).map_or(0, |queue| queue.min_offset())
}

/// When the first message was stored, in milliseconds (32); −1 when there is none.
pub fn earliest_store_time(core: &Core, topic: &str, queue_id: i32) -> i64 {
    let queue = core.store.find_queue(topic, queue_id);
    queue.and_then(|queue| core.store.earliest_message_time(&queue)).unwrap_or(UNKNOWN)
}
