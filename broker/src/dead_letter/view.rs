//! Listing groups with dead letters, and showing the letters of one.

use std::sync::Arc;

use tenonmq_protocol::{
    body::dead_letter_desk::{DeadLetterGroup, DeadLetterGroups, DeadLetterPage, ListDeadLetters, ShowDeadLetters},
    code::ResponseCode,
    message::RecordView,
};
use tenonmq_storage::Queue;

use super::letter::Letter;
use crate::{
    core::{Core, names, topics::Topic},
    error::Refusal,
    retry::dead_letter::QUEUE,
};

/// Groups and letters of one answer at most.
const PAGE: usize = 1000;
/// Dead letters that one answer looks at.
const LOOKED_AT: usize = 20_000;
/// Bytes of bodies that one answer holds, but for its first letter.
const BODIES: usize = 4 << 20;

/// Groups that have a dead-letter topic, by name.
///
/// # Errors
/// 17: the group that is asked for has none.
pub fn list(core: &Core, asked: &ListDeadLetters) -> Result<DeadLetterGroups, Refusal> {
    if let Some(group) = &asked.group {
        let topic = topic_of(core, group)?;
        return Ok(DeadLetterGroups { groups: vec![described(core, group, &topic)], next: None });
    }
    let mut topics = core.topics.all();
    let group_of = |topic: &Topic| topic.config.topic_name.strip_prefix(names::DLQ_PREFIX).map(str::to_owned);
    topics.retain(|topic| group_of(topic).is_some_and(|group| asked.after.as_ref().is_none_or(|after| group > *after)));
    topics.sort_unstable_by(|a, b| a.config.topic_name.cmp(&b.config.topic_name));
    let count = page(asked.count);
    let more = topics.len() > count;
    topics.truncate(count);
    let groups: Vec<_> = topics.iter().filter_map(|topic| Some(described(core, &group_of(topic)?, topic))).collect();
    let next = if more { groups.last().map(|last| last.group.clone()) } else { None };
    Ok(DeadLetterGroups { groups, next })
}

/// The letters of one group that match, oldest first.
///
/// # Errors
/// 17: the group has no dead-letter topic.
pub fn show(core: &Core, asked: &ShowDeadLetters) -> Result<DeadLetterPage, Refusal> {
    topic_of(core, &asked.group)?;
    let mut answer = DeadLetterPage::default();
    let Some(queue) = queue_of(core, &asked.group) else { return Ok(answer) };
    let count = page(asked.count);
    let (mut looked_at, mut bytes) = (0, 0);
    for at in queue.entries(asked.from.unwrap_or(0).max(queue.min_offset())) {
        if answer.letters.len() >= count || looked_at >= LOOKED_AT || bytes > BODIES {
            answer.next = Some(at.queue_offset);
            break;
        }
        looked_at += 1;
        let Some(record) = core.store.read_entry(&at.entry) else { continue };
        let Ok(record) = RecordView::parse(&record) else { continue };
        let letter = Letter::of(record);
        if letter.matches(&asked.filter) {
            let sent_again = core.dead_letters.is_sent(&asked.group, letter.log_offset());
            bytes += if asked.whole { letter.record.len() } else { 0 };
            answer.letters.push(letter.shown(asked.whole, sent_again));
        }
    }
    Ok(answer)
}

/// The dead-letter topic of a group.
///
/// # Errors
/// 17: there is none, because the group has given up nothing.
pub(super) fn topic_of(core: &Core, group: &str) -> Result<Arc<Topic>, Refusal> {
    let name = names::dlq_topic(group);
    core.topics.get(&name).ok_or_else(|| {
        Refusal::new(ResponseCode::TOPIC_NOT_EXIST, format!("group: {group:?} has no dead letters, no topic {name}"))
    })
}

/// Where the dead letters of a group lie.
pub(super) fn queue_of(core: &Core, group: &str) -> Option<Arc<Queue>> {
    core.store.find_queue(&names::dlq_topic(group), QUEUE)
}

fn described(core: &Core, group: &str, topic: &Topic) -> DeadLetterGroup {
    let mut described = DeadLetterGroup {
        group: group.to_owned(),
        topic: topic.config.topic_name.clone(),
        readable: topic.is_readable(),
        ..DeadLetterGroup::default()
    };
    let Some(queue) = queue_of(core, group) else { return described };
    let (begins, ends) = (queue.min_offset(), queue.max_offset());
    let oldest_log_offset = queue.entry(begins).map_or(u64::MAX, |entry| entry.physical_offset);
    let sent_again = core.dead_letters.sent.lock().count(group, oldest_log_offset);
    described.begins = begins;
    described.ends = ends;
    described.messages = ends - begins;
    described.oldest = core.store.message_time(&queue, begins);
    described.newest = core.store.message_time(&queue, ends - 1);
    described.sent_again = i64::try_from(sent_again).unwrap_or(i64::MAX);
    described
}

/// Entries of one answer, as asked, within bounds.
pub(super) fn page(asked: i32) -> usize {
    match usize::try_from(asked) {
        Ok(count @ 1..) => count.min(PAGE),
        _ => PAGE,
    }
}
