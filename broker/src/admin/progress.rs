//! How far groups have come (208, 303, 317).

use std::collections::BTreeMap;

use tenonmq_protocol::{
    body::{ConsumeStats, ConsumeStatsList, ConsumeTimeSpans, OffsetState, QueueTimeSpan},
    code::ResponseCode,
    header::GetConsumeStats,
    message::MessageQueue,
};

use super::client;
use crate::{
    core::{Core, topics::Topic},
    error::Refusal,
};

/// Apache's answer for the time of a message that is not there.
const NO_TIME: i64 = -1;

/// How far one group has come (208): in the topics listed, in one topic, or wherever it has offsets. A connected group
/// is not shown in topics that it no longer reads, unless they are listed.
pub fn of_group(core: &Core, asked: &GetConsumeStats<'_>) -> ConsumeStats {
    let group = asked.consumer_group;
    let listed: Vec<String> = pieces(asked.topics).map(str::to_owned).collect();
    let topics = if listed.is_empty() {
        let mut topics = match asked.topic.filter(|topic| !topic.trim().is_empty()) {
            Some(topic) => vec![topic.to_owned()],
            None => client::topics_with_offsets(core, group),
        };
        topics.retain(|topic| !client::reads_others_only(core, group, topic));
        topics
    } else {
        listed
    };
    let mut stats = ConsumeStats::default();
    for topic in topics.iter().filter_map(|topic| core.topics.get(topic)) {
        let queues = topic.config.read_queue_nums;
        let states = (0..queues).map(|queue_id| (queue(core, &topic, queue_id), state(core, group, &topic, queue_id)));
        stats.offset_table.extend(states);
        stats.consume_tps += core.stats.readers.rate(&topic.config.topic_name, group);
    }
    stats
}

fn pieces(list: Option<&str>) -> impl Iterator<Item = &str> {
    list.unwrap_or_default().split(';').filter(|piece| !piece.trim().is_empty())
}

fn queue(core: &Core, topic: &Topic, queue_id: i32) -> MessageQueue {
    MessageQueue::new(topic.config.topic_name.as_str(), &*core.identity.get().broker, queue_id)
}

fn state(core: &Core, group: &str, topic: &Topic, queue_id: i32) -> OffsetState {
    let name = topic.config.topic_name.as_str();
    let consumer_offset = core.offsets.get(group, name, queue_id).unwrap_or(0);
    let pulled = core.offsets.pulled(group, name, queue_id).unwrap_or(0);
    let Some(queue) = core.store.find_queue(name, queue_id) else {
        return OffsetState { consumer_offset, pull_offset: consumer_offset.max(pulled), ..OffsetState::default() };
    };
    let last = (consumer_offset > 0).then(|| core.store.message_time(&queue, consumer_offset - 1)).flatten();
    OffsetState {
        broker_offset: queue.max_offset(),
        consumer_offset,
        last_timestamp: last.unwrap_or(0),
        pull_offset: consumer_offset.max(pulled),
    }
}

/// How far all groups have come (317); `ordered`: only in ordered topics. Pull offsets are not told, as Apache does not.
pub fn of_all(core: &Core, ordered: bool) -> ConsumeStatsList {
    let mut list =
        ConsumeStatsList { broker_addr: core.identity.get().address.to_string(), ..ConsumeStatsList::default() };
    for group in core.groups.all() {
        let group = group.group_name.as_str();
        let topics = client::topics_with_offsets(core, group).into_iter();
        let stats: Vec<ConsumeStats> = topics
            .filter(|topic| !client::reads_others_only(core, group, topic))
            .filter_map(|topic| core.topics.get(&topic))
            .filter(|topic| topic.config.order || !ordered)
            .map(|topic| of_topic(core, group, &topic))
            .collect();
        for one in &stats {
            list.total_diff += one.total_diff();
            let in_flight = |state: &OffsetState| state.pull_offset - state.consumer_offset;
            list.total_inflight_diff += one.offset_table.values().map(in_flight).sum::<i64>();
        }
        list.consume_stats_list.push(BTreeMap::from([(group.to_owned(), stats)]));
    }
    list
}

fn of_topic(core: &Core, group: &str, topic: &Topic) -> ConsumeStats {
    let states = (0..topic.config.write_queue_nums).map(|queue_id| {
        let state = OffsetState { pull_offset: 0, ..state(core, group, topic, queue_id) };
        (queue(core, topic, queue_id), state)
    });
    let consume_tps = core.stats.readers.rate(&topic.config.topic_name, group);
    ConsumeStats { consume_tps, offset_table: states.collect() }
}

/// Store times of what a group has read and has yet to read (303).
///
/// # Errors
/// 17: the topic does not exist.
pub fn time_spans(core: &Core, topic: &str, group: &str) -> Result<ConsumeTimeSpans, Refusal> {
    let Some(found) = core.topics.get(topic) else {
        return Err(Refusal::new(ResponseCode::TOPIC_NOT_EXIST, format!("topic[{topic}] not exist")));
    };
    let spans = (0..found.config.write_queue_nums).map(|queue_id| time_span(core, &found, group, queue_id));
    Ok(ConsumeTimeSpans { consume_time_span_set: spans.collect() })
}

fn time_span(core: &Core, topic: &Topic, group: &str, queue_id: i32) -> QueueTimeSpan {
    let name = topic.config.topic_name.as_str();
    let stored = core.store.find_queue(name, queue_id);
    let time_of = |offset: i64| {
        let time = stored.as_ref().and_then(|queue| core.store.message_time(queue, offset));
        time.unwrap_or(NO_TIME)
    };
    let (min, max) = stored.as_ref().map_or((0, 0), |queue| (queue.min_offset(), queue.max_offset()));
    let consumer_offset = core.offsets.get(group, name, queue_id).unwrap_or(NO_TIME);
    let (min_time, max_time) = (time_of(min), time_of(max - 1));
    let consume_time = if consumer_offset > 0 { time_of(consumer_offset - 1) } else { min_time };
    let next = consumer_offset.max(min); // a group without an offset has yet to read the first message
    let delay_time = if next < max { core.clock.now_ms() - time_of(next) } else { 0 };
    QueueTimeSpan {
        consume_time_stamp: consume_time,
        consume_time_stamp_str: text(consume_time),
        delay_time,
        max_time_stamp: max_time,
        max_time_stamp_str: text(max_time),
        message_queue: Some(queue(core, topic, queue_id)),
        min_time_stamp: min_time,
        min_time_stamp_str: text(min_time),
    }
}

/// `yyyy-MM-dd#HH:mm:ss:SSS` in the machine's time zone.
fn text(ms: i64) -> Option<String> {
    let zoned = jiff::Timestamp::from_millisecond(ms).ok()?.to_zoned(jiff::tz::TimeZone::system());
    Some(zoned.strftime("%Y-%m-%d#%H:%M:%S:%3f").to_string())
}
