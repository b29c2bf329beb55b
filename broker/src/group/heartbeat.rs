//! What clients say about themselves: heartbeats, farewells, and the silence that counts as one.
//!
//! A heartbeat makes its sender a member of its groups, creates what a consumer group needs (its configuration and its
//! retry topic), and tells the members to divide the queues anew when somebody came or a topic came or went.
//! Rules: `remoting.md` section 8.1.

use std::{sync::Arc, time::Duration};

use tenonmq_protocol::{
    Command, Language,
    body::{ConsumeType, ConsumerData, HeartbeatData, TopicConfig},
    code::ResponseCode,
    header::group::NotifyConsumerIdsChanged,
};

use crate::{
    core::{
        Core,
        clients::{ClientInfo, ConsumerGroup, Left},
        names::retry_topic,
        topics::{self, Topic, perm},
    },
    error::Refusal,
    remoting::Connection,
};

/// Time between two looks for silent clients.
pub const SCAN_INTERVAL: Duration = Duration::from_secs(10);

/// Flag of retry topics of groups in legacy "unit" deployments.
const UNIT_SUBSCRIPTION: i32 = 2;

/// Who sends a heartbeat.
#[derive(Debug, Clone, Copy)]
pub struct Sender<'a> {
    /// Where it came from.
    pub connection: &'a Arc<Connection>,
    /// What the client is written in.
    pub language: Language,
    /// Its version, as an ordinal.
    pub version: i32,
}

/// What came of a heartbeat.
#[derive(Debug, Default)]
pub struct Beat {
    /// The client should send its subscriptions in full next time.
    pub wants_subscriptions: bool,
    /// Retry topics that are new: they are announced before the client is answered.
    pub created: Vec<Arc<Topic>>,
}

/// Takes in a heartbeat (34). Groups that may not be created are passed over, as Apache does.
///
/// # Errors
/// 2: the client asks for more than the limits allow. 16: it wants something else than the other members of its group,
/// and that is refused. The rest of the heartbeat counts.
pub fn heartbeat(core: &Core, sender: Sender<'_>, data: &HeartbeatData) -> Result<Beat, Refusal> {
    let info = ClientInfo {
        connection: sender.connection,
        client_id: &data.client_id,
        language: sender.language,
        version: sender.version,
    };
    let mut beat = Beat { wants_subscriptions: data.heartbeat_fingerprint == 0, created: Vec::new() };
    let mut refusal = None;
    for consumer in &data.consumer_data_set {
        if let Err(error) = consumer_heard(core, &info, consumer, data, &mut beat) {
            refusal = Some(error);
        }
    }
    let now_ms = core.clock.now_ms();
    for producer in &data.producer_data_set {
        match core.clients.producer_heard(&info, &producer.group_name, now_ms) {
            Ok(true) => core.transactions.producer_online(&producer.group_name),
            Ok(false) => {}
            Err(error) => refusal = Some(Refusal::new(ResponseCode::SYSTEM_BUSY, error.to_string())),
        }
    }
    match refusal {
        None => Ok(beat),
        Some(refusal) => {
            tracing::warn!(client_id = data.client_id, reason = %refusal.remark, "part of a heartbeat refused");
            Err(refusal)
        }
    }
}

fn consumer_heard(
    core: &Core,
    info: &ClientInfo<'_>,
    consumer: &ConsumerData,
    data: &HeartbeatData,
    beat: &mut Beat,
) -> Result<(), Refusal> {
    if core.config.load().clients.reject_pull_consumers && consumer.consume_type == ConsumeType::Actively {
        return Ok(());
    }
    let Some(config) = core.groups.find_or_create(&consumer.group_name) else { return Ok(()) };
    beat.created.extend(retry_topic_for(core, consumer, config.retry_queue_nums));
    let subscriptions =
        (!data.without_sub || data.heartbeat_fingerprint == 0).then_some(&*consumer.subscription_data_set);
    if let Some(subscriptions) = subscriptions
        && core.config.load().filters.refuse_conflicts
        && let Some(reason) = core.clients.disagreement(info, &consumer.group_name, subscriptions)
    {
        return Err(Refusal::new(ResponseCode::NO_PERMISSION, reason));
    }
    let now_ms = core.clock.now_ms();
    let (group, heard) = core
        .clients
        .consumer_heard(info, consumer, subscriptions, data.heartbeat_fingerprint, now_ms)
        .map_err(|error| Refusal::new(ResponseCode::SYSTEM_BUSY, error.to_string()))?;
    if let Some(subscriptions) = subscriptions {
        core.filters.heard(&consumer.group_name, subscriptions, &core.expressions, now_ms);
    }
    beat.wants_subscriptions |= heard.wants_subscriptions;
    if heard.rebalances() {
        notify_members(core, &group);
    }
    Ok(())
}

/// Sees to it that the group's retry topic is there, and ordered if the group reads an ordered topic. The topic if it
/// is new.
fn retry_topic_for(core: &Core, consumer: &ConsumerData, queues: i32) -> Option<Arc<Topic>> {
    let reads_ordered = |topic: &str| core.topics.get(topic).is_some_and(|topic| topic.config.order);
    let order = consumer.subscription_data_set.iter().any(|data| reads_ordered(&data.topic));
    let name = retry_topic(&consumer.group_name);
    let now_ms = core.clock.now_ms();
    let (topic, is_new) = core.topics.get_or_create(&name, now_ms, || TopicConfig {
        order,
        topic_sys_flag: if consumer.unit_mode { UNIT_SUBSCRIPTION } else { 0 },
        ..topics::topic(name.as_str(), queues, perm::READ_WRITE)
    });
    if !is_new && topic.config.order != order && !consumer.subscription_data_set.is_empty() {
        core.topics.put(TopicConfig { order, ..topic.config.clone() }, now_ms);
    }
    is_new.then_some(topic)
}

/// A client leaves groups (35). Groups that it is not in are no error.
pub fn unregister(
    core: &Core,
    connection: &Arc<Connection>,
    producer_group: Option<&str>,
    consumer_group: Option<&str>,
) {
    if let Some(group) = producer_group {
        core.clients.producer_left(connection, group);
    }
    if let Some(left) = consumer_group.and_then(|group| core.clients.consumer_left(connection, group)) {
        left_behind(core, &left);
    }
}

/// A connection has ended.
pub fn closed(core: &Core, connection: &Arc<Connection>) {
    for left in core.clients.connection_closed(connection) {
        left_behind(core, &left);
    }
}

/// Removes clients that sent no heartbeat for `channelExpiredTimeout`, and closes their connections.
pub fn drop_silent(core: &Core) {
    let expiry = i64::try_from(core.config.load().clients.expiry.as_millis()).unwrap_or(i64::MAX);
    let (left, closing) = core.clients.expire(core.clock.now_ms().saturating_sub(expiry));
    for connection in closing {
        tracing::warn!(peer = %connection.peer(), "closing the connection of a client that sends no heartbeat");
        connection.close();
    }
    for left in left {
        left_behind(core, &left);
    }
}

fn left_behind(core: &Core, left: &Left) {
    if left.last {
        core.filters.left(left.group.name(), core.clock.now_ms());
    }
    if !left.gone.is_empty() && !left.last {
        notify_members(core, &left.group);
    }
}

/// Tells every member to divide the queues anew (40), unless the group broadcasts or wants no such news.
pub fn notify_members(core: &Core, group: &ConsumerGroup) {
    let wanted = core.groups.get(group.name()).is_none_or(|config| config.notify_consumer_ids_changed_enable);
    if !wanted || group.is_broadcasting() || !core.config.load().clients.notify_changes {
        return;
    }
    let command = Command::with_header(&NotifyConsumerIdsChanged { consumer_group: group.name() });
    for member in group.members() {
        if member.connection().send_oneway(command.clone()).is_err() {
            tracing::debug!(group = %group.name(), client_id = %member.client_id(), "a member was not told of a change");
        }
    }
}
