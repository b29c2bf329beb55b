//! Moving groups to other offsets (222, 308, 314).
//!
//! By default the broker itself moves a group: it stores the offset with a reset mark, which the group's next pull takes
//! away. With `useServerSideResetOffset=false` the members are told where to go (220).

use std::collections::BTreeMap;

use tenonmq_protocol::{
    Command, Language,
    body::{CorrectionOffsets, QueueOffset, ResetOffsetBody, ResetOffsetList, json},
    code::ResponseCode,
    header::{CloneGroupOffset, CorrectionOffset, ResetOffset, group::ResetClientOffset},
    message::MessageQueue,
};
use tenonmq_storage::Boundary;

use super::client;
use crate::{
    core::{Core, topics::Topic},
    error::Refusal,
};

/// Moves a group (222); where each queue went.
///
/// # Errors
/// 17 and 26: topic or group do not exist. 1: the offset lies outside the queue, or there is nothing to move.
/// 206: nobody can be told.
pub fn reset(core: &Core, asked: &ResetOffset<'_>, language: Language) -> Result<ResetOffsetBody, Refusal> {
    let server_side = core.config.load().offsets.server_side_reset;
    let Some(topic) = core.topics.get(asked.topic) else {
        let remark = if server_side {
            format!("Topic {} does not exist", asked.topic)
        } else {
            format!("[reset-offset] reset offset failed, no topic in this broker. topic={}", asked.topic)
        };
        return Err(Refusal::new(ResponseCode::TOPIC_NOT_EXIST, remark));
    };
    if server_side { on_server(core, asked, &topic) } else { on_clients(core, asked, &topic, language) }
}

fn on_server(core: &Core, asked: &ResetOffset<'_>, topic: &Topic) -> Result<ResetOffsetBody, Refusal> {
    if core.identity.get().broker_id != 0 {
        return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, "Can not reset offset in slave broker"));
    }
    if !core.groups.contains(asked.group) {
        let remark = format!("Group {} does not exist", asked.group);
        return Err(Refusal::new(ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
    }
    let by_time = |queue_id| (queue_id, at(core, asked.topic, queue_id, asked.timestamp));
    let offsets: Vec<(i32, i64)> = match asked.offset.filter(|offset| *offset != -1) {
        Some(offset) if asked.queue_id >= 0 => vec![(asked.queue_id, within(core, asked, offset)?)],
        _ if asked.queue_id >= 0 => vec![by_time(asked.queue_id)],
        _ => (0..topic.config.read_queue_nums).map(by_time).collect(),
    };
    if offsets.is_empty() {
        return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, "No queues to reset."));
    }
    let mut body = ResetOffsetBody::default();
    for (queue_id, offset) in offsets {
        if !core.offsets.reset(asked.group, asked.topic, queue_id, offset) {
            let remark = format!("offset {offset} of queue {queue_id} cannot be stored");
            return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark));
        }
        tracing::info!(group = asked.group, topic = asked.topic, queue_id, offset, "an administrator moved a group");
        body.offset_table.insert(queue(core, asked.topic, queue_id), offset);
    }
    Ok(body)
}

fn queue(core: &Core, topic: &str, queue_id: i32) -> MessageQueue {
    MessageQueue::new(topic, &*core.identity.get().broker, queue_id)
}

/// The offset of a time in milliseconds; negative: the end.
fn at(core: &Core, topic: &str, queue_id: i32, ms: i64) -> i64 {
    let Some(queue) = core.store.find_queue(topic, queue_id) else { return 0 };
    if ms < 0 {
        return queue.max_offset();
    }
    let found = core.store.offset_by_time(&queue, ms, Boundary::Lower);
    found.max(queue.min_offset()).min(queue.max_offset())
}

fn within(core: &Core, asked: &ResetOffset<'_>, offset: i64) -> Result<i64, Refusal> {
    let stored = core.store.find_queue(asked.topic, asked.queue_id);
    let (min, max) = stored.map_or((0, 0), |queue| (queue.min_offset(), queue.max_offset()));
    if offset < min || offset > max + 1 {
        let remark = format!("Target offset {offset} not in consume queue range [{min}-{max}]");
        return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark));
    }
    Ok(offset)
}

/// Tells every member where to go. A group goes back only, unless it is forced.
fn on_clients(
    core: &Core,
    asked: &ResetOffset<'_>,
    topic: &Topic,
    language: Language,
) -> Result<ResetOffsetBody, Refusal> {
    let mut body = ResetOffsetBody::default();
    for queue_id in 0..topic.config.write_queue_nums {
        let Some(stands) = core.offsets.get(asked.group, asked.topic, queue_id) else {
            let remark = format!("THe consumer group <{}> not exist", asked.group);
            return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark));
        };
        let wanted = at(core, asked.topic, queue_id, asked.timestamp);
        let offset = if asked.force { wanted } else { wanted.min(stands) };
        body.offset_table.insert(queue(core, asked.topic, queue_id), offset);
    }
    let members = core.clients.consumer_group(asked.group).map(|group| group.members()).unwrap_or_default();
    if members.is_empty() {
        let (group, topic, ms) = (asked.group, asked.topic, asked.timestamp);
        let remark =
            format!("Consumer not online, so can not reset offset, Group: {group} Topic: {topic} Timestamp: {ms}");
        return Err(Refusal::new(ResponseCode::CONSUMER_NOT_ONLINE, remark));
    }
    let header =
        ResetClientOffset { topic: asked.topic, group: asked.group, timestamp: asked.timestamp, force: asked.force };
    let content = if language == Language::Cpp { json::to_vec(&listed(&body)) } else { json::to_vec(&body) };
    let command = Command::with_header(&header).with_body(content);
    for member in members {
        if member.connection().send_oneway(command.clone()).is_err() {
            tracing::warn!(group = asked.group, client_id = %member.client_id(), "a member was not told its new offsets");
        }
    }
    Ok(body)
}

fn listed(body: &ResetOffsetBody) -> ResetOffsetList {
    let one = |(queue, offset): (&MessageQueue, &i64)| QueueOffset {
        broker_name: queue.broker_name.clone(),
        offset: *offset,
        queue_id: queue.queue_id,
        topic: queue.topic.clone(),
    };
    ResetOffsetList { offset_table: body.offset_table.iter().map(one).collect() }
}

/// Gives one group the offsets of another (314), in one topic or in all. A connected source that no longer reads a topic
/// does not pass it on, unless `offline` says to.
pub fn copy(core: &Core, asked: &CloneGroupOffset<'_>) {
    let topics = match asked.topic.filter(|topic| !topic.trim().is_empty()) {
        Some(topic) => vec![topic.to_owned()],
        None => client::topics_with_offsets(core, asked.source_group),
    };
    for topic in topics.iter().filter(|topic| core.topics.get(topic).is_some()) {
        if asked.offline || !client::reads_others_only(core, asked.source_group, topic) {
            core.offsets.copy(asked.source_group, asked.target_group, topic);
        }
    }
}

/// Smallest offsets that groups have in a topic, by queue (308); the largest number where the compared group is behind
/// all others. Apache also deletes the offsets of groups that are left out; asking changes nothing here.
pub fn correction(core: &Core, asked: &CorrectionOffset<'_>) -> CorrectionOffsets {
    let left_out: Vec<&str> = asked.filter_groups.unwrap_or_default().split(',').collect();
    let mut smallest: BTreeMap<i32, i64> = BTreeMap::new();
    for group in core.offsets.groups_of(asked.topic) {
        if left_out.contains(&group.as_str()) {
            continue;
        }
        for (queue_id, offset) in core.offsets.of_topic(&group, asked.topic) {
            let min = core.store.find_queue(asked.topic, queue_id).map_or(-1, |queue| queue.min_offset());
            if offset >= min {
                smallest.entry(queue_id).and_modify(|found| *found = offset.min(*found)).or_insert(offset);
            }
        }
    }
    for (queue_id, offset) in core.offsets.of_topic(asked.compare_group, asked.topic) {
        if let Some(found) = smallest.get_mut(&queue_id).filter(|found| **found > offset) {
            *found = i64::MAX;
        }
    }
    CorrectionOffsets { correction_offsets: smallest }
}
