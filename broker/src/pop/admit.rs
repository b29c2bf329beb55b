//! Whether a group may pop from a topic. The order of the checks is Apache's.

use std::{net::SocketAddr, sync::Arc};

use tenonmq_protocol::{
    code::ResponseCode,
    header::{Notification, PeekMessage, PollingInfo, PopMessage},
};

use crate::{
    config::Config,
    core::{
        Core,
        topics::{Topic, perm},
    },
    error::{Refusal, SEE_FAQ},
};

/// Most messages of one pop.
pub const POP_MAX: i32 = 32;
/// A request that comes later than this after its time was up is not served, in milliseconds.
const TOO_LATE_MS: i64 = 500;
/// Longest attempt id, in bytes.
const ATTEMPT_MAX: usize = 1024;

/// Which queues of a topic a group asks for.
pub struct Target<'a> {
    /// The group.
    pub group: &'a str,
    /// The topic.
    pub topic: &'a str,
    /// Queue; −1: any.
    pub queue_id: i32,
}

impl<'a> From<&PopMessage<'a>> for Target<'a> {
    fn from(asked: &PopMessage<'a>) -> Self {
        Self { group: asked.consumer_group, topic: asked.topic, queue_id: asked.queue_id }
    }
}

impl<'a> From<&PeekMessage<'a>> for Target<'a> {
    fn from(asked: &PeekMessage<'a>) -> Self {
        Self { group: asked.consumer_group, topic: asked.topic, queue_id: asked.queue_id }
    }
}

impl<'a> From<&Notification<'a>> for Target<'a> {
    fn from(asked: &Notification<'a>) -> Self {
        Self { group: asked.consumer_group, topic: asked.topic, queue_id: asked.queue_id }
    }
}

impl<'a> From<&PollingInfo<'a>> for Target<'a> {
    fn from(asked: &PollingInfo<'a>) -> Self {
        Self { group: asked.consumer_group, topic: asked.topic, queue_id: asked.queue_id }
    }
}

/// Checks a pop.
///
/// # Errors
/// With the code that Apache answers: 1, 16, 17, 26, 29 or 210.
pub fn pop(core: &Core, config: &Config, asked: &PopMessage<'_>, peer: SocketAddr) -> Result<Arc<Topic>, Refusal> {
    let address = core.identity.get().address.ip();
    let now = core.clock.now_ms();
    let born = if asked.born_time == 0 { now } else { asked.born_time };
    if born.saturating_sub(now).saturating_add(asked.poll_millis) < -TOO_LATE_MS {
        let remark = format!("the broker[{address}] pop message is timeout too much");
        return Err(Refusal::new(ResponseCode::POLLING_TIMEOUT, remark));
    }
    if config.identity.permission.cast_signed() & perm::READ == 0 {
        let remark = format!("the broker[{address}] pop message is forbidden");
        return Err(Refusal::new(ResponseCode::NO_PERMISSION, remark));
    }
    if asked.max_count > POP_MAX {
        return Err(Refusal::invalid(format!("the broker[{address}] pop message's num is greater than {POP_MAX}")));
    }
    if !config.messages.timers {
        let remark = format!("the broker[{address}] pop message is forbidden because timerWheelEnable is false");
        return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark));
    }
    if asked.attempt_id.is_some_and(|attempt| attempt.len() > ATTEMPT_MAX) {
        return Err(Refusal::invalid(format!("attemptId is longer than {ATTEMPT_MAX} bytes")));
    }
    target(core, &asked.into(), peer)
}

/// Checks what asks without taking: notifications, peeks, and questions for who is held.
///
/// # Errors
/// 16, 17, 26 or 29.
pub fn look(core: &Core, config: &Config, target_of: &Target<'_>, peer: SocketAddr) -> Result<Arc<Topic>, Refusal> {
    if config.identity.permission.cast_signed() & perm::READ == 0 {
        let address = core.identity.get().address.ip();
        let remark = format!("the broker[{address}] peeking message is forbidden");
        return Err(Refusal::new(ResponseCode::NO_PERMISSION, remark));
    }
    target(core, target_of, peer)
}

fn target(core: &Core, asked: &Target<'_>, peer: SocketAddr) -> Result<Arc<Topic>, Refusal> {
    let topic = existing(core, asked.topic)?;
    if !topic.is_readable() {
        let remark = format!("the topic[{}] peeking message is forbidden", asked.topic);
        return Err(Refusal::new(ResponseCode::NO_PERMISSION, remark));
    }
    if asked.queue_id >= topic.config.read_queue_nums {
        return Err(Refusal::invalid(illegal_queue(&topic, asked.queue_id, peer)));
    }
    let Some(group) = core.groups.find_or_create(asked.group) else {
        let remark = format!("subscription group [{}] does not exist, {SEE_FAQ}", asked.group);
        return Err(Refusal::new(ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
    };
    if !group.consume_enable {
        let remark = format!("subscription group no permission, {}", asked.group);
        return Err(Refusal::new(ResponseCode::NO_PERMISSION, remark));
    }
    Ok(topic)
}

/// The topic of a request.
///
/// # Errors
/// 17: there is none.
pub fn existing(core: &Core, topic: &str) -> Result<Arc<Topic>, Refusal> {
    core.topics.get(topic).ok_or_else(|| {
        let remark = format!("topic[{topic}] not exist, apply first please! {SEE_FAQ}");
        Refusal::new(ResponseCode::TOPIC_NOT_EXIST, remark)
    })
}

/// What is wrong with a queue id, in Apache's words.
pub fn illegal_queue(topic: &Topic, queue_id: i32, peer: SocketAddr) -> String {
    let (name, queues) = (&topic.config.topic_name, topic.config.read_queue_nums);
    format!("queueId[{queue_id}] is illegal, topic:[{name}] topicConfig.readQueueNums:[{queues}] consumer:[{peer}]")
}
