//! Moving groups to other offsets (222, 308, 314).
//!
//! By default the broker itself moves a group: it stores the offset with a reset mark, which the group's next pull takes
//! away. With `useServerSideResetOffset=false` the members are told where to go (220).

use std::collections::BTreeMap;

use tenonmq_protocol::{
    Command, Language,
    body::{
        CorrectionOffsets, QueueOffset, ResetOffsetBody, ResetOffsetList, json,
        offset_desk::{OffsetStep, PreviewReset, ResetGroup, ResetOutcome},
    },
    code::ResponseCode,
    header::{CloneGroupOffset, CorrectionOffset, ResetOffset, group::ResetClientOffset},
    message::MessageQueue,
};
use tenonmq_storage::Boundary;

use super::{client, preview::preview};
use crate::{
    core::{Core, topics::Topic},
    error::Refusal,
    offset::history::Moved,
};

/// Moves a group (222); where each queue went.
///
/// # Errors
/// 17 and 26: topic or group do not exist. 1: the offset lies outside the queue, or there is nothing to move.
/// 206: nobody can be told.
pub fn reset(core: &Core, asked: &ResetOffset<'_>, language: Language, by: &str) -> Result<ResetOffsetBody, Refusal> {
    let server_side = core.config.load().offsets.server_side_reset;
    let Some(topic) = core.topics.get(asked.topic) else {
        let remark = if server_side {
            format!("Topic {} does not exist", asked.topic)
        } else {
            format!("[reset-offset] reset offset failed, no topic in this broker. topic={}", asked.topic)
        };
        return Err(Refusal::new(ResponseCode::TOPIC_NOT_EXIST, remark));
    };
    if server_side { on_server(core, asked, &topic, by) } else { on_clients(core, asked, &topic, language) }
}

fn on_server(core: &Core, asked: &ResetOffset<'_>, topic: &Topic, by: &str) -> Result<ResetOffsetBody, Refusal> {
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
    apply(core, (asked.group, asked.topic), &offsets, (by, ""))?;
    let entry = |(queue_id, offset)| (queue(core, asked.topic, queue_id), offset);
    Ok(ResetOffsetBody { offset_table: offsets.into_iter().map(entry).collect() })
}

/// Records the move of a group, with who asked for it and why, and carries it out; its number in the history.
fn apply(
    core: &Core,
    (group, topic): (&str, &str),
    offsets: &[(i32, i64)],
    (by, reason): (&str, &str),
) -> Result<u64, Refusal> {
    let step = |(queue_id, offset): &(i32, i64)| OffsetStep {
        from: core.offsets.get(group, topic, *queue_id),
        queue_id: *queue_id,
        to: Some(*offset),
    };
    let moved = Moved { action: "reset", by, group, topic, reason, undoes: None };
    let entry = core.offset_history.moved(&moved, offsets.iter().map(step).collect(), core.clock.now_ms());
    for (queue_id, offset) in offsets {
        if !core.offsets.reset(group, topic, *queue_id, *offset) {
            let remark = format!("offset {offset} of queue {queue_id} cannot be stored");
            return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark));
        }
        core.wake_for_reset(group, topic, *queue_id);
        tracing::info!(group, topic, queue_id, offset, by, "an administrator moved a group");
    }
    Ok(entry.id)
}

/// Moves a group with a reason (540,013), as [`preview`](super::preview) says.
///
/// # Errors
/// 29: the target makes no sense. 17 and 26: topic, queue or group do not exist. 1: an offset cannot be stored.
pub fn with_reason(core: &Core, asked: &ResetGroup, by: &str) -> Result<ResetOutcome, Refusal> {
    if !core.groups.contains(&asked.group) {
        let remark = format!("group: {:?} does not exist", asked.group);
        return Err(Refusal::new(ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
    }
    let moved = preview(
        core,
        &PreviewReset {
            group: asked.group.clone(),
            queue_id: asked.queue_id,
            to: asked.to.clone(),
            topic: asked.topic.clone(),
            value: asked.value,
        },
    )?;
    let offsets: Vec<_> = moved.queues.iter().map(|queue| (queue.queue_id, queue.target)).collect();
    let id = apply(core, (&asked.group, &asked.topic), &offsets, (by, &asked.reason))?;
    Ok(ResetOutcome { id, moved })
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
///
/// C++ members get a list, which is all they can read. Apache sends one only when the tool that asks says that it is C++
/// (`mqadmin resetOffsetByTime --cplus`), which still counts for all members here.
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
    let told = Command::with_header(&header).with_body(json::to_vec(&body));
    for member in members {
        let is_listed = [member.language(), language].contains(&Language::Cpp);
        let command = if is_listed { told.clone().with_body(json::to_vec(&listed(&body))) } else { told.clone() };
        if member.connection().send_oneway(command).is_err() {
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
pub fn copy(core: &Core, asked: &CloneGroupOffset<'_>, by: &str) {
    let topics = match asked.topic.filter(|topic| !topic.trim().is_empty()) {
        Some(topic) => vec![topic.to_owned()],
        None => client::topics_with_offsets(core, asked.source_group),
    };
    for topic in topics.iter().filter(|topic| core.topics.get(topic).is_some()) {
        if asked.offline || !client::reads_others_only(core, asked.source_group, topic) {
            let (source, target) = (asked.source_group, asked.target_group);
            let steps = core.offsets.of_topic(source, topic).into_iter().filter(|(_, offset)| *offset >= 0);
            let step =
                |(queue_id, to)| OffsetStep { from: core.offsets.get(target, topic, queue_id), queue_id, to: Some(to) };
            let reason = format!("offsets of {source}");
            let moved = Moved { action: "clone", by, group: target, topic, reason: &reason, undoes: None };
            core.offset_history.moved(&moved, steps.map(step).collect(), core.clock.now_ms());
            core.offsets.copy(source, target, topic);
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
