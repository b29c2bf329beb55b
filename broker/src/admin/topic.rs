//! Creating, changing, deleting and describing topics (17, 18, 21, 202, 215, 305, 351).

use std::collections::BTreeMap;

use tenonmq_protocol::{
    body::{TopicConfig, TopicFilterType, TopicOffset, TopicStatsTable},
    code::ResponseCode,
    header::CreateTopic,
    message::MessageQueue,
};
use tenonmq_storage::Boundary;

use super::attributes;
use crate::{
    core::{
        Core, names,
        topics::{Change, MAX_QUEUES},
    },
    error::{Refusal, SEE_FAQ},
    offset::history::{Moved, taken_away},
};

/// Creates or changes a topic. `None` when it is like that already, else what to announce.
///
/// # Errors
/// 29 for the name, 1 for the attributes.
pub fn put(core: &Core, header: &CreateTopic<'_>) -> Result<Option<TopicConfig>, Refusal> {
    let changes = attributes::parse(header.attributes.unwrap_or_default())?;
    let filter_type = header.filter_type.and_then(TopicFilterType::from_name).unwrap_or_default();
    let config = TopicConfig {
        topic_name: header.topic.to_owned(),
        read_queue_nums: header.read_queue_nums,
        write_queue_nums: header.write_queue_nums,
        perm: header.perm,
        topic_filter_type: filter_type,
        topic_sys_flag: header.topic_sys_flag.unwrap_or(0),
        order: header.order,
        attributes: BTreeMap::new(),
    };
    put_with(core, config, &changes)
}

/// The same for a configuration whose attributes carry their signs (18).
///
/// # Errors
/// As [`put`].
pub fn put_config(core: &Core, mut config: TopicConfig) -> Result<Option<TopicConfig>, Refusal> {
    let text: Vec<String> = std::mem::take(&mut config.attributes)
        .into_iter()
        .map(|(key, value)| if key.starts_with('-') { key } else { format!("{key}={value}") })
        .collect();
    let text = text.join(",");
    let changes = attributes::parse(&text)?;
    put_with(core, config, &changes)
}

fn put_with(
    core: &Core,
    config: TopicConfig,
    changes: &attributes::Changes<'_>,
) -> Result<Option<TopicConfig>, Refusal> {
    check_name(core, &config.topic_name)?;
    check_queues(&config)?;
    if changes.get(attributes::MESSAGE_TYPE) == Some(&Some("MIXED")) {
        return Err(Refusal::invalid("MIXED message type is not supported."));
    }
    let old = core.topics.get(&config.topic_name);
    let attributes = attributes::apply(old.as_ref().map(|topic| &topic.config.attributes), changes)?;
    let batch = attributes.get(attributes::QUEUE_TYPE).is_some_and(|kind| kind == "BatchCQ");
    let config = TopicConfig { attributes, ..config };
    core.store.declare_batch_topic(&config.topic_name, batch);
    let change = core.topics.put(config.clone(), core.clock.now_ms());
    Ok((change != Change::Unchanged).then_some(config))
}

fn check_queues(config: &TopicConfig) -> Result<(), Refusal> {
    for (field, queues) in [("readQueueNums", config.read_queue_nums), ("writeQueueNums", config.write_queue_nums)] {
        if !(0..=MAX_QUEUES).contains(&queues) {
            return Err(Refusal::invalid(format!("{field} is {queues}; 0 to {MAX_QUEUES} are allowed")));
        }
    }
    Ok(())
}

fn check_name(core: &Core, topic: &str) -> Result<(), Refusal> {
    if let Some(remark) = names::topic_error(topic) {
        return Err(Refusal::invalid(remark));
    }
    check_not_system(core, topic)
}

fn check_not_system(core: &Core, topic: &str) -> Result<(), Refusal> {
    let who = core.identity.get();
    let named = names::is_system_topic(topic) || topic == who.cluster || topic == who.broker;
    if core.config.load().topics.protect_system_topics && named {
        return Err(Refusal::invalid(format!("The topic[{topic}] is conflict with system topic.")));
    }
    Ok(())
}

/// Deletes a topic with its queues and offsets, and the pop retry topics made for it. Those that the transactions live in
/// cannot be deleted, whatever `validateSystemTopicWhenUpdateTopic` says: all would be forgotten, or asked about again.
///
/// # Errors
/// 29 for a blank or system topic, 1 when the disk refuses.
pub fn delete(core: &Core, topic: &str, by: &str) -> Result<(), Refusal> {
    if topic.trim().is_empty() {
        return Err(Refusal::invalid("The specified topic is blank."));
    }
    check_not_system(core, topic)?;
    if [names::HALF_TOPIC, names::OP_TOPIC].contains(&topic) {
        return Err(Refusal::invalid(format!("The topic[{topic}] holds the transactions and cannot be deleted.")));
    }
    let mut doomed = vec![topic.to_owned()];
    if core.config.load().topics.delete_retry_topics {
        for group in core.offsets.groups_of(topic) {
            let retry = names::retry_topic(&group);
            let of_pop = [format!("{retry}+{topic}"), format!("{retry}_{topic}")];
            doomed.extend(of_pop.into_iter().filter(|name| core.topics.get(name).is_some()));
        }
    }
    for name in &doomed {
        core.topics.remove(name, core.clock.now_ms());
        for group in core.offsets.groups_of(name) {
            let steps = taken_away(&core.offsets, &group, name);
            if !steps.is_empty() {
                let (group, topic, reason) = (&*group, &**name, "the topic was deleted");
                let moved = Moved { action: "delete-topic", by, group, topic, reason, undoes: None };
                core.offset_history.moved(&moved, steps, core.clock.now_ms());
            }
        }
        core.pops.remove_topic(name);
        core.offsets.remove_topic(name);
        core.store.delete_topic(name).map_err(|error| Refusal::new(ResponseCode::SYSTEM_ERROR, error.to_string()))?;
    }
    Ok(())
}

/// Ends of all queues of a topic, and when each was last written.
///
/// # Errors
/// 17 for a topic that does not exist.
pub fn stats(core: &Core, topic: &str) -> Result<TopicStatsTable, Refusal> {
    let Some(found) = core.topics.get(topic) else {
        return Err(Refusal::new(ResponseCode::TOPIC_NOT_EXIST, format!("topic[{topic}] not exist")));
    };
    let broker = core.identity.get().broker.clone();
    let offset_table = (0..found.queue_count())
        .map(|queue_id| (MessageQueue::new(topic, &*broker, queue_id), ends(core, topic, queue_id)))
        .collect();
    Ok(TopicStatsTable { offset_table, topic_put_tps: core.stats.writers.rate(topic) })
}

fn ends(core: &Core, topic: &str, queue_id: i32) -> TopicOffset {
    let Some(queue) = core.store.find_queue(topic, queue_id) else { return TopicOffset::default() };
    let (min_offset, max_offset) = (queue.min_offset(), queue.max_offset());
    let last = (max_offset > min_offset).then(|| core.store.message_time(&queue, max_offset - 1)).flatten();
    TopicOffset { last_update_timestamp: last.unwrap_or(0), max_offset, min_offset }
}

/// One topic's configuration.
///
/// # Errors
/// 17 for a topic that does not exist.
pub fn config(core: &Core, topic: &str) -> Result<TopicConfig, Refusal> {
    core.topics.get(topic).map(|found| found.config.clone()).ok_or_else(|| {
        Refusal::new(ResponseCode::TOPIC_NOT_EXIST, format!("No topic in this broker. topic: {topic}{SEE_FAQ}"))
    })
}

/// Topics that belong to the broker.
pub fn system_topics(core: &Core) -> Vec<String> {
    let who = core.identity.get();
    let is_system = |name: &str| names::is_system_topic(name) || name == who.cluster || name == who.broker;
    let mut names: Vec<String> =
        core.topics.all().iter().map(|topic| topic.config.topic_name.clone()).filter(|name| is_system(name)).collect();
    names.sort_unstable();
    names
}

/// Offset of the first message that was stored at `ms` or later, or of the last before it.
pub fn offset_by_time(core: &Core, topic: &str, queue_id: i32, ms: i64, boundary: Boundary) -> i64 {
    core.store.find_queue(topic, queue_id).map_or(0, |queue| core.store.offset_by_time(&queue, ms, boundary))
}
