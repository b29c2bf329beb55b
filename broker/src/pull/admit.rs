//! Whether a consumer may pull from a queue, and through which filter. The order of the checks is Apache's.

use std::sync::Arc;

use tenonmq_protocol::{
    body::ConsumeType,
    code::ResponseCode,
    header::{PullFlags, PullMessage},
};

use super::Read;
use crate::{
    config::Config,
    core::{
        Core,
        clients::{ConsumerGroup, Subscription},
        groups::BUILT_IN_GROUPS,
        names::{RETRY_PREFIX, SYSTEM_GROUP_PREFIX},
        topics::perm,
    },
    error::{Refusal, SEE_FAQ},
    filter::{self, Filter},
    remoting::Connection,
};

/// Groups that may pull without a heartbeat whatever is configured, besides those that every broker has.
const PULLING_GROUPS: [&str; 3] = ["DEFAULT_CONSUMER", "SCHEDULE_CONSUMER", "__MONITOR_CONSUMER"];

/// Who forbids, as `forbiddenType` tells clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forbidden {
    /// The broker is not readable.
    Broker = 1,
    /// The group may not consume.
    Group = 2,
    /// The topic is not readable.
    Topic = 3,
    /// The group may not broadcast.
    Broadcast = 4,
    /// The group may not read this topic.
    Subscription = 5,
}

/// A refused pull.
pub struct Refused {
    /// Code and reason.
    pub refusal: Refusal,
    /// Set with code 16.
    pub forbidden: Option<Forbidden>,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, forbidden: None }
    }
}

fn forbidden(by: Forbidden, remark: String) -> Refused {
    Refused { refusal: Refusal::new(ResponseCode::NO_PERMISSION, remark), forbidden: Some(by) }
}

/// Checks a pull request.
///
/// # Errors
/// With the code that Apache answers: 1, 16, 17, 23, 24, 25, 26 or 29.
pub fn admit(
    core: &Core,
    config: &Config,
    request: &PullMessage<'_>,
    puller: &Connection,
    is_lite: bool,
) -> Result<Read, Refused> {
    let address = core.identity.get().address.ip();
    if config.identity.permission.cast_signed() & perm::READ == 0 {
        return Err(forbidden(Forbidden::Broker, format!("the broker[{address}] pulling message is forbidden")));
    }
    if is_lite && !config.pull.lite {
        return Err(forbidden(Forbidden::Broker, format!("the broker[{address}] for lite pull consumer is forbidden")));
    }
    let group_name = request.consumer_group;
    let Some(group) = core.groups.find_or_create(group_name) else {
        let remark = format!("subscription group [{group_name}] does not exist, {SEE_FAQ}");
        return Err(Refusal::new(ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST, remark).into());
    };
    if !group.consume_enable {
        return Err(forbidden(Forbidden::Group, format!("subscription group no permission, {group_name}")));
    }
    let Some(topic) = core.topics.get(request.topic) else {
        let remark = format!("topic[{}] not exist, apply first please! {SEE_FAQ}", request.topic);
        return Err(Refusal::new(ResponseCode::TOPIC_NOT_EXIST, remark).into());
    };
    if !topic.is_readable() {
        return Err(forbidden(Forbidden::Topic, format!("the topic[{}] pulling message is forbidden", request.topic)));
    }
    let readable = 0..topic.config.read_queue_nums;
    let Some(queue) = topic.queue(&core.store, request.queue_id).filter(|_| readable.contains(&request.queue_id))
    else {
        let remark = format!(
            "queueId[{}] is illegal, topic:[{}] topicConfig.readQueueNums:[{}] consumer:[{}]",
            request.queue_id,
            request.topic,
            topic.config.read_queue_nums,
            puller.peer()
        );
        return Err(Refusal::invalid(remark).into());
    };
    let is_registered = !PullFlags(request.sys_flag).has(PullFlags::SUBSCRIPTION);
    let filter = if is_registered {
        registered_filter(core, config, request, group.consume_broadcast_enable, puller)?
    } else {
        filter::carried(core, request.expression_type, request.subscription)?
    };
    if config.clients.reject_pull_consumers {
        reject_pull_consumer(core, group_name, puller)?;
    }
    Ok(Read {
        queue: queue.clone(),
        from: request.queue_offset,
        max_count: request.max_count,
        max_bytes: request.max_bytes.unwrap_or(0),
        filter,
        is_registered,
        topic_sys_flag: topic.config.topic_sys_flag,
        group_sys_flag: group.group_sys_flag,
    })
}

/// The filter that the group's members registered in their heartbeats.
fn registered_filter(
    core: &Core,
    config: &Config,
    request: &PullMessage<'_>,
    may_broadcast: bool,
    puller: &Connection,
) -> Result<Filter, Refused> {
    let group_name = request.consumer_group;
    let not_there = |what: &str| -> Refused {
        Refusal::new(ResponseCode::SUBSCRIPTION_NOT_EXIST, format!("the consumer's {what} not exist{SEE_FAQ}")).into()
    };
    let Some(group) = core.clients.consumer_group(group_name) else { return Err(not_there("group info")) };
    if config.filters.refuse_conflicts && !group.has(puller) {
        let remark = format!("the consumer is no member of group[{group_name}]: no heartbeat of it was accepted");
        return Err(Refusal::new(ResponseCode::SUBSCRIPTION_NOT_EXIST, remark).into());
    }
    if !may_broadcast && group.is_broadcasting() {
        let remark = format!("the consumer group[{group_name}] can not consume by broadcast way");
        return Err(forbidden(Forbidden::Broadcast, remark));
    }
    if core.groups.is_forbidden(group_name, request.topic) {
        let remark = format!("the consumer group[{group_name}] is forbidden for topic[{}]", request.topic);
        return Err(forbidden(Forbidden::Subscription, remark));
    }
    let Some(subscription) = group.subscription(request.topic) else { return Err(not_there("subscription")) };
    if subscription.data.sub_version < request.sub_version {
        let remark = "the consumer's subscription not latest";
        return Err(Refusal::new(ResponseCode::SUBSCRIPTION_NOT_LATEST, remark).into());
    }
    filter_of(config, &group, &subscription, request.topic)
}

/// The filter that counts for the group's pulls of a topic now; `None` when there is none to go by.
pub(super) fn current_filter(core: &Core, group_name: &str, topic: &str) -> Option<Filter> {
    let group = core.clients.consumer_group(group_name)?;
    let subscription = group.subscription(topic)?;
    filter_of(&core.config.load(), &group, &subscription, topic).ok()
}

fn filter_of(
    config: &Config,
    group: &Arc<ConsumerGroup>,
    subscription: &Subscription,
    topic: &str,
) -> Result<Filter, Refused> {
    if subscription.data.class_filter_mode {
        // There are no filter servers since 4.3; Apache's broker hands out everything.
        return Err(filter::not_supported("class").into());
    }
    if subscription.is_tag_type() {
        return Ok(subscription.filter.clone());
    }
    if subscription.filter == Filter::NOTHING {
        let remark = "The broker's consumer filter data is not exist!Your expression may be wrong!";
        return Err(Refusal::new(ResponseCode::FILTER_DATA_NOT_EXIST, remark).into());
    }
    if !config.filters.sql {
        let kind = subscription.data.expression_type.as_deref().unwrap_or_default();
        return Err(filter::not_supported(kind).into());
    }
    if config.filters.retry_topics && topic.starts_with(RETRY_PREFIX) {
        return Ok(Filter::retried(Arc::clone(group)));
    }
    Ok(subscription.filter.clone())
}

/// Refuses clients that pull by themselves, under `rejectPullConsumerEnable`.
fn reject_pull_consumer(core: &Core, group_name: &str, puller: &Connection) -> Result<(), Refusal> {
    let group = core.clients.consumer_group(group_name);
    let pulls = group.as_ref().is_none_or(|group| group.view().consume_type == ConsumeType::Actively);
    let is_member = group.is_some_and(|group| group.has(puller));
    let is_system = group_name.starts_with(SYSTEM_GROUP_PREFIX)
        || BUILT_IN_GROUPS.contains(&group_name)
        || PULLING_GROUPS.contains(&group_name);
    if !pulls || is_member || is_system {
        return Ok(());
    }
    let remark = format!("the consumer's group info not exist, or the pull consumer is rejected by server.{SEE_FAQ}");
    Err(Refusal::new(ResponseCode::SUBSCRIPTION_NOT_EXIST, remark))
}
