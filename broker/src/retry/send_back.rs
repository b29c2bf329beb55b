//! A consumer gives a message back: CONSUMER_SEND_MSG_BACK.

use std::sync::Arc;

use rand::Rng;
use smallvec::SmallVec;
use tenonmq_protocol::{
    body::SubscriptionGroupConfig,
    code::ResponseCode,
    header::SendBack,
    message::{
        NewRecord, RecordView,
        properties::{find, names as property, tags_code},
    },
};
use tenonmq_storage::{AppendClass, AppendError};

use super::{dead_letter, max_retries, no_such_group};
use crate::{
    core::{
        Core, deliver, names,
        topics::{Topic, perm, topic},
    },
    delay::{Waiting, note_target},
    error::Refusal,
};

/// Flag of a topic that belongs to the subscribers of a unit (`topicSysFlag`).
const UNIT_SUBSCRIPTION: i32 = 2;
/// The level of the first retry when the consumer leaves it to the broker.
const FIRST_LEVEL: i32 = 3;

/// Topics that a request created; they are registered before the consumer is answered.
pub type Created = SmallVec<[Arc<Topic>; 2]>;

/// Stores a copy of the message for another try, or among the dead letters.
///
/// # Errors
/// With the code that Apache answers; nothing is stored then.
pub fn send_back(core: &Core, asked: &SendBack<'_>, version: i32) -> Result<Created, Refusal> {
    let config = core.config.load();
    let mut created = Created::new();
    let group = core.groups.find_or_create(asked.group).ok_or_else(|| no_such_group(asked.group))?;
    if config.identity.permission.cast_signed() & perm::WRITE == 0 {
        let remark = format!("the broker[{}] sending message is forbidden", core.identity.get().address.ip());
        return Err(Refusal::new(ResponseCode::NO_PERMISSION, remark));
    }
    if group.retry_queue_nums <= 0 {
        return Ok(created); // the group wants no retries: the message is dropped
    }
    let retry_topic = retry_topic(core, asked, &group, &mut created)?;
    let failed = || {
        let remark = format!("look message by offset failed, {}", asked.commit_log_offset);
        Refusal::new(ResponseCode::SYSTEM_ERROR, remark)
    };
    let bytes = u64::try_from(asked.commit_log_offset).ok().and_then(|at| core.store.read(at)).ok_or_else(failed)?;
    let message = RecordView::parse(&bytes).map_err(|_| failed())?;
    if message.physical_offset() != asked.commit_log_offset {
        return Err(failed());
    }
    let max = max_retries(group.retry_max_times, asked.max_reconsume_times, version);
    if message.reconsume_times() >= max || asked.delay_level < 0 {
        let (topic, is_new) = dead_letter::topic_of(core, asked.group);
        created.extend(is_new.then(|| Arc::clone(&topic)));
        let target = Target { topic: &topic.config.topic_name, queue_id: dead_letter::QUEUE, level: 0 };
        put(core, &message, &target)?;
    } else {
        let chosen = FIRST_LEVEL.saturating_add(message.reconsume_times());
        let level = if asked.delay_level == 0 { chosen } else { asked.delay_level };
        let queue_id = rand::rng().random_range(0..group.retry_queue_nums);
        put(core, &message, &Target { topic: &retry_topic.config.topic_name, queue_id, level })?;
    }
    Ok(created)
}

/// The group's retry topic, created when missing.
fn retry_topic(
    core: &Core,
    asked: &SendBack<'_>,
    group: &SubscriptionGroupConfig,
    created: &mut Created,
) -> Result<Arc<Topic>, Refusal> {
    let name = names::retry_topic(asked.group);
    let (found, is_new) = core.topics.get_or_create(&name, core.clock.now_ms(), || {
        let mut config = topic(name.as_str(), group.retry_queue_nums, perm::READ_WRITE);
        config.topic_sys_flag = if asked.unit_mode { UNIT_SUBSCRIPTION } else { 0 };
        config
    });
    created.extend(is_new.then(|| Arc::clone(&found)));
    if !found.is_writable() {
        let remark = format!("the topic[{name}] sending message is forbidden");
        return Err(Refusal::new(ResponseCode::NO_PERMISSION, remark));
    }
    Ok(found)
}

/// Where the copy goes.
pub(super) struct Target<'a> {
    pub(super) topic: &'a str,
    pub(super) queue_id: i32,
    /// Delay level; 0 for at once.
    pub(super) level: i32,
}

fn put(core: &Core, message: &RecordView<'_>, target: &Target<'_>) -> Result<(), Refusal> {
    let tags_code = tags_code(find(message.properties_text(), property::TAGS));
    let waiting = core.delays.waiting(target.level);
    let text = text(message, target, waiting.as_ref().map(Waiting::level));
    let copy = copy(message, target, core.identity.get().address, &text);
    let stored = match &waiting {
        Some(waiting) => {
            let record = NewRecord { topic: Waiting::TOPIC, queue_id: waiting.queue().queue_id(), ..copy };
            core.delays.append(&core.store, &core.waiters, waiting, &record)
        }
        None => {
            let queue = core.store.queue(target.topic, target.queue_id);
            deliver::append(&core.store, &core.waiters, &queue, &copy, tags_code, AppendClass::Send)
        }
    };
    stored.map(|_| ()).map_err(|error| Refusal::new(ResponseCode::SYSTEM_ERROR, put_status(&error)))
}

/// The copy's property text: with the topic and the id that the message had at first, and with the real target and level
/// when it is delayed.
pub(super) fn text(message: &RecordView<'_>, target: &Target<'_>, delayed_by: Option<i32>) -> Vec<u8> {
    let mut properties = message.properties();
    properties.remove(property::CRC32); // that of the record it is copied from
    if !properties.contains(property::RETRY_TOPIC) {
        properties.set(property::RETRY_TOPIC, message.topic());
    }
    properties.set(property::WAIT, "false");
    properties.set(property::DELAY, target.level.to_string());
    if properties.get(property::ORIGIN_MESSAGE_ID).is_none_or(|id| id.trim().is_empty()) {
        properties.set(property::ORIGIN_MESSAGE_ID, message.message_id().to_string());
    }
    if let Some(level) = delayed_by {
        note_target(&mut properties, level, target.topic, target.queue_id);
    }
    let mut text = Vec::with_capacity(message.properties_bytes().len() + 256);
    properties.encode_into(&mut text);
    text
}

/// The message as it is stored again.
pub(super) fn copy<'a>(
    message: &RecordView<'a>,
    target: &Target<'a>,
    broker: std::net::SocketAddr,
    properties: &'a [u8],
) -> NewRecord<'a> {
    NewRecord {
        topic: target.topic,
        queue_id: target.queue_id,
        flag: message.flag(),
        sys_flag: message.sys_flag().0,
        born_timestamp: message.born_timestamp(),
        born_host: message.born_host(),
        store_host: broker,
        reconsume_times: message.reconsume_times().saturating_add(1),
        prepared_transaction_offset: 0,
        body: message.body(),
        properties,
        body_crc: message.body_crc(),
    }
}

/// Apache's remark is the name of its store's status.
fn put_status(error: &AppendError) -> &'static str {
    match error {
        AppendError::TooLarge { .. } | AppendError::Topic { .. } | AppendError::Empty => "MESSAGE_ILLEGAL",
        AppendError::PropertiesTooLarge { .. } => "PROPERTIES_SIZE_EXCEEDED",
        AppendError::Unwritable(_) => "SERVICE_NOT_AVAILABLE",
        _ => "UNKNOWN_ERROR",
    }
}
