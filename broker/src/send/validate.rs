//! Whether a message may be sent to its topic, and the topic it is sent to.
//!
//! The checks, their order and their texts are Apache's; rules: `remoting.md` section 5.1,
//! `transactions-retry-delay.md` section 5.1.

use std::sync::Arc;

use rand::Rng;
use tenonmq_protocol::{body::TopicConfig, code::ResponseCode, header::SendMessage};

use crate::{
    config::Config,
    core::{
        Core, names,
        topics::{Topic, perm, topic},
    },
    error::{Refusal, SEE_FAQ},
};

/// A topic for a send, and whether this send created it.
pub(super) struct Target {
    pub(super) topic: Arc<Topic>,
    pub(super) created: bool,
}

/// Flags of a topic that belongs to a unit, or to subscribers of one (`topicSysFlag`).
const UNIT: i32 = 1;
const UNIT_SUBSCRIPTION: i32 = 2;

/// The topic of a send, created if Apache would create it.
///
/// # Errors
/// 1, 16, 17 and 29 as Apache answers them.
pub(super) fn target(core: &Core, config: &Config, header: &SendMessage<'_>) -> Result<Target, Refusal> {
    let now_ms = core.clock.now_ms();
    if now_ms < config.messages.accept_from_ms {
        let remark = format!("broker unable to service, until {}", config.messages.accept_from_ms);
        return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark));
    }
    let name = header.topic;
    let known = core.topics.get(name);
    if config.identity.permission.cast_signed() & perm::WRITE == 0
        && known.as_ref().is_some_and(|topic| topic.config.order)
    {
        let remark = format!("the broker[{}] sending message is forbidden", core.identity.get().address.ip());
        return Err(Refusal::new(ResponseCode::NO_PERMISSION, remark));
    }
    let topic = match known {
        Some(topic) => Target { topic, created: false },
        None => {
            check_name(name)?;
            create(core, config, header, now_ms)?
        }
    };
    if names::is_closed_to_producers(name) {
        let remark = format!("Sending message to topic[{name}] is forbidden.");
        return Err(Refusal::new(ResponseCode::NO_PERMISSION, remark));
    }
    if header.queue_id >= topic.topic.queue_count() {
        let remark = format!(
            "request queueId[{}] is illegal, topic [{name}] has {} write and {} read queues",
            header.queue_id, topic.topic.config.write_queue_nums, topic.topic.config.read_queue_nums
        );
        return Err(Refusal::invalid(remark));
    }
    Ok(topic)
}

/// The queue that a message goes to: the one asked for, or any writable one.
pub(super) fn queue_id(topic: &Topic, asked: i32) -> Result<i32, Refusal> {
    match topic.config.write_queue_nums {
        _ if asked >= 0 => Ok(asked),
        queues if queues > 0 => Ok(rand::rng().random_range(0..queues)),
        _ => Err(Refusal::invalid(format!("topic [{}] has no write queue", topic.config.topic_name))),
    }
}

fn check_name(name: &str) -> Result<(), Refusal> {
    // Retry topics are as long as their group's name allows.
    let bounded = if name.starts_with(names::RETRY_PREFIX) && name.len() <= names::GROUP_MAX {
        names::illegal_character(name).map(|_| format!("The specified topic[{name}] contains illegal characters"))
    } else {
        names::topic_error(name)
    };
    bounded.map_or(Ok(()), |remark| Err(Refusal::invalid(remark)))
}

fn create(core: &Core, config: &Config, header: &SendMessage<'_>, now_ms: i64) -> Result<Target, Refusal> {
    if names::is_closed_to_producers(header.topic) {
        let remark = format!("Sending message to topic[{}] is forbidden.", header.topic);
        return Err(Refusal::new(ResponseCode::NO_PERMISSION, remark));
    }
    let Some(config) = config_of_new(core, config, header) else {
        let remark = format!("topic[{}] not exist, apply first please!{SEE_FAQ}", header.topic);
        return Err(Refusal::new(ResponseCode::TOPIC_NOT_EXIST, remark));
    };
    let (topic, created) = core.topics.get_or_create(header.topic, now_ms, || config);
    Ok(Target { topic, created })
}

/// What a topic that does not exist yet would look like, or `None` when nobody may create it.
fn config_of_new(core: &Core, settings: &Config, header: &SendMessage<'_>) -> Option<TopicConfig> {
    let is_retry = header.topic.starts_with(names::RETRY_PREFIX);
    let unit = if is_retry { UNIT_SUBSCRIPTION } else { UNIT };
    let topic_sys_flag = if header.unit_mode { unit } else { 0 };
    let template = core.topics.get(header.default_topic).filter(|template| {
        let closed = header.default_topic == names::AUTO_CREATE_TOPIC && !settings.topics.auto_create;
        template.config.perm & perm::INHERIT != 0 && !closed
    });
    if let Some(template) = template {
        let queues = header.default_topic_queue_nums.min(template.config.write_queue_nums).max(0);
        let topic_filter_type = template.config.topic_filter_type;
        let base = topic(header.topic, queues, template.config.perm & !perm::INHERIT);
        return Some(TopicConfig { topic_sys_flag, topic_filter_type, ..base });
    }
    is_retry.then(|| TopicConfig { topic_sys_flag, ..topic(header.topic, 1, perm::READ_WRITE) })
}
