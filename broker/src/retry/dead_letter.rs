//! Dead letters: what a group has given up.

use std::sync::Arc;

use tenonmq_protocol::{
    header::SendMessage,
    message::{
        RecordView,
        properties::{find, names as property, tags_code},
    },
};
use tenonmq_storage::{AppendClass, AppendError, Appended};

use super::{
    copy::{Target, copy, text},
    no_such_group,
    policy::max_retries,
    with_name,
};
use crate::{
    core::{
        Core, deliver, names,
        topics::{Topic, perm, topic},
    },
    error::Refusal,
};

/// The only queue of a dead-letter topic.
pub const QUEUE: i32 = 0;

/// The dead-letter topic of a group, created when missing. True with a topic that is new.
pub fn topic_of(core: &Core, group: &str) -> (Arc<Topic>, bool) {
    with_name(names::DLQ_PREFIX, group, |name| {
        core.topics.get_or_create(name, core.clock.now_ms(), || topic(name, 1, perm::READ_WRITE))
    })
}

/// Stores a message of the topic `origin` among the dead letters of `topic`.
///
/// # Errors
/// What the store says; nothing was appended then.
pub fn bury(core: &Core, topic: &Topic, message: &RecordView<'_>, origin: &str) -> Result<Appended, AppendError> {
    let name = &topic.config.topic_name;
    let target = Target { topic: name, queue_id: QUEUE, level: 0, delayed_by: None };
    let mut properties = Vec::with_capacity(message.properties_bytes().len() + 96);
    text(message, origin, &target, None, &mut properties);
    let letter = copy(message, &target, core.identity.get().address, &properties);
    let tags_code = tags_code(find(message.properties_text(), property::TAGS));
    let queue = core.store.queue(name, QUEUE);
    deliver::append(&core.store, &core.waiters, &queue, &letter, tags_code, AppendClass::Send)
}

/// The group to whose dead letters a send goes instead of its retry topic; `None` for every other send.
///
/// That is so when the message was retried more often than allowed, and always while the group holds a queue lock: an
/// ordered consumer sends only what it gives up.
///
/// # Errors
/// 26 for a retry topic whose group does not exist and may not be created.
pub fn given_up_by<'a>(core: &Core, header: &SendMessage<'a>, version: i32) -> Result<Option<&'a str>, Refusal> {
    let Some(rest) = header.topic.strip_prefix(names::RETRY_PREFIX) else { return Ok(None) };
    let group = rest.split_once(POP_SEPARATOR).map_or(rest, |(group, _)| group);
    let config = core.groups.find_or_create(group).ok_or_else(|| no_such_group(group))?;
    let max = max_retries(config.retry_max_times, header.max_reconsume_times, version, header.properties);
    let is_over = header.reconsume_times > max || core.locks.holds_any(group, core.clock.now_ms());
    Ok(is_over.then_some(group))
}

/// Separates group and topic in the retry topics of pop consumers.
const POP_SEPARATOR: char = '+';
