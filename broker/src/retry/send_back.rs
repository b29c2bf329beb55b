//! A consumer gives a message back: CONSUMER_SEND_MSG_BACK.

use std::{cell::RefCell, sync::Arc};

use rand::Rng;
use smallvec::SmallVec;
use tenonmq_protocol::{
    body::SubscriptionGroupConfig,
    code::ResponseCode,
    header::SendBack,
    message::{
        FailureCause, NewRecord, RecordView,
        properties::{find, names as property, tags_code},
    },
};
use tenonmq_storage::{AppendClass, AppendError, Appended, Ticket};

use super::{
    copy::{Target, copy, text},
    dead_letter, no_such_group,
    policy::{Pause, max_retries},
    repeats::SentBefore,
    with_name,
};
use crate::{
    core::{
        Core, deliver, names,
        topics::{MAX_QUEUES, Topic, perm, topic},
    },
    delay::Waiting,
    error::Refusal,
};

/// Flag of a topic that belongs to the subscribers of a unit (`topicSysFlag`).
const UNIT_SUBSCRIPTION: i32 = 2;

/// Topics that a request created, or found before they were saved; they are saved and registered before the consumer is answered.
pub type Created = SmallVec<[Arc<Topic>; 2]>;

/// What became of a message that was sent back.
#[derive(Debug, Default)]
pub struct SentBack {
    /// Topics that it created.
    pub created: Created,
    /// Durability of the copy. The consumer lets go of the message when it is answered, so the answer has to wait for it.
    /// `None` when nothing was stored: the group wants no retries.
    pub ticket: Option<Ticket>,
}

/// Stores a copy of the message for another try, or among the dead letters.
///
/// # Errors
/// With the code that Apache answers; nothing is stored then.
pub fn send_back(core: &Core, asked: &SendBack<'_>, version: i32) -> Result<SentBack, Refusal> {
    let config = core.config.load();
    let mut done = SentBack::default();
    let group = core.groups.find_or_create(asked.group).ok_or_else(|| no_such_group(asked.group))?;
    if config.identity.permission.cast_signed() & perm::WRITE == 0 {
        let remark = format!("the broker[{}] sending message is forbidden", core.identity.get().address.ip());
        return Err(Refusal::new(ResponseCode::NO_PERMISSION, remark));
    }
    if group.retry_queue_nums <= 0 {
        return Ok(done); // the group wants no retries: the message is dropped
    }
    let retry_topic = retry_topic(core, asked, &group, &mut done.created)?;
    let failed = || look_failed(asked.commit_log_offset);
    let bytes = u64::try_from(asked.commit_log_offset).ok().and_then(|at| core.store.read(at)).ok_or_else(failed)?;
    let message = RecordView::parse(&bytes).map_err(|_| failed())?;
    if message.physical_offset() != asked.commit_log_offset {
        return Err(failed());
    }
    check_visible(&message)?;
    let retries = message.reconsume_times();
    let max = max_retries(group.retry_max_times, asked.max_reconsume_times, version, message.properties_text());
    let (topic, queue_id, pause) = if retries >= max || asked.delay_level < 0 {
        let (topic, is_new) = dead_letter::topic_of(core, asked.group);
        done.created.extend((is_new || !core.topics.is_saved(&topic)).then(|| Arc::clone(&topic)));
        (topic, dead_letter::QUEUE, None)
    } else {
        let queue_id = any_queue(&retry_topic, &group);
        (retry_topic, queue_id, Some(Pause::of(&group, asked.delay_level, retries)))
    };
    let place = Place { topic: &topic, queue_id, pause };
    done.ticket = Some(put_once(core, asked, &message, &place)?);
    let origin = find(message.properties_text(), property::RETRY_TOPIC).unwrap_or_else(|| message.topic());
    core.stats.sent_back(origin, asked.group);
    if pause.is_none() {
        core.stats.buried(origin, asked.group);
    }
    Ok(done)
}

/// A repeat of a send-back whose copy stands for both stores nothing; its durability is that of all that is stored.
fn put_once(core: &Core, asked: &SendBack<'_>, message: &RecordView<'_>, to: &Place<'_>) -> Result<Ticket, Refusal> {
    if !core.repeats.is_on() {
        return put(core, asked, message, to).map(|stored| stored.ticket);
    }
    let sent = SentBefore {
        group: asked.group,
        log_offset: asked.commit_log_offset,
        topic: message.topic(),
        queue_id: message.queue_id(),
        queue_offset: message.queue_offset(),
        is_dead_letter: to.pause.is_none(),
    };
    if core.repeats.is_repeat(core, &sent) {
        return Ok(Ticket { end: core.store.watermarks().appended, epoch: core.store.permit().epoch });
    }
    let stored = put(core, asked, message, to)?;
    let delay_ms = to.pause.and_then(|pause| pause.waiting(&core.delays)).map_or(0, |waiting| waiting.delay_ms());
    core.repeats.note(core, &sent, delay_ms);
    Ok(stored.ticket)
}

fn look_failed(offset: i64) -> Refusal {
    Refusal::new(ResponseCode::SYSTEM_ERROR, format!("look message by offset failed, {offset}"))
}

/// Records that no consumer was given must not become visible by an offset that a client made up. Apache copies them.
fn check_visible(message: &RecordView<'_>) -> Result<(), Refusal> {
    let topic = message.topic();
    if !matches!(topic, names::HALF_TOPIC | names::OP_TOPIC | names::SCHEDULE_TOPIC | names::TIMER_TOPIC) {
        return Ok(());
    }
    let offset = message.physical_offset();
    let remark = format!("look message by offset failed, {offset}: the offset is that of a record of topic[{topic}]");
    Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark))
}

/// A queue of the retry topic, among those that consumers read: the topic may have fewer than the group's configuration
/// says by now.
fn any_queue(topic: &Topic, group: &SubscriptionGroupConfig) -> i32 {
    match group.retry_queue_nums.min(topic.config.read_queue_nums) {
        ..=1 => 0,
        queues => rand::rng().random_range(0..queues),
    }
}

/// The group's retry topic, created when missing.
fn retry_topic(
    core: &Core,
    asked: &SendBack<'_>,
    group: &SubscriptionGroupConfig,
    created: &mut Created,
) -> Result<Arc<Topic>, Refusal> {
    let (found, is_new) = with_name(names::RETRY_PREFIX, asked.group, |name| {
        core.topics.get_or_create(name, core.clock.now_ms(), || {
            let mut config = topic(name, group.retry_queue_nums.min(MAX_QUEUES), perm::READ_WRITE);
            config.topic_sys_flag = if asked.unit_mode { UNIT_SUBSCRIPTION } else { 0 };
            config
        })
    });
    created.extend((is_new || !core.topics.is_saved(&found)).then(|| Arc::clone(&found)));
    if !found.is_writable() {
        let remark = format!("the topic[{}] sending message is forbidden", found.config.topic_name);
        return Err(Refusal::new(ResponseCode::NO_PERMISSION, remark));
    }
    Ok(found)
}

/// Where the copy goes, and when.
struct Place<'a> {
    topic: &'a Topic,
    queue_id: i32,
    /// `None`: to the dead letters, at once.
    pause: Option<Pause>,
}

fn put(core: &Core, asked: &SendBack<'_>, message: &RecordView<'_>, to: &Place<'_>) -> Result<Appended, Refusal> {
    thread_local! {
        /// Property text of the message at hand; reused so that a send-back does not allocate.
        static TEXT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    let waiting = to.pause.and_then(|pause| pause.waiting(&core.delays));
    let delayed_by = waiting.as_ref().map(Waiting::level);
    let level = match to.pause {
        Some(Pause::Level(level)) => level,
        _ => delayed_by.unwrap_or(0),
    };
    let target = Target { topic: &to.topic.config.topic_name, queue_id: to.queue_id, level, delayed_by };
    let cause = cause(core, asked, message);
    let stored = TEXT.with_borrow_mut(|properties| {
        properties.clear();
        text(message, message.topic(), &target, cause.as_ref(), properties);
        let copy = copy(message, &target, core.identity.get().address, properties);
        append(core, to.topic, waiting.as_ref(), &copy, message)
    });
    stored.map_err(|error| Refusal::new(ResponseCode::SYSTEM_ERROR, put_status(&error)))
}

fn append(
    core: &Core,
    topic: &Topic,
    waiting: Option<&Waiting<'_>>,
    copy: &NewRecord<'_>,
    message: &RecordView<'_>,
) -> Result<Appended, AppendError> {
    if let Some(waiting) = waiting {
        let record = NewRecord { topic: Waiting::TOPIC, queue_id: waiting.queue().queue_id(), ..*copy };
        return core.delays.append(&core.store, &core.waiters, waiting, &record);
    }
    let tags_code = tags_code(find(message.properties_text(), property::TAGS));
    let append = |queue| deliver::append(&core.store, &core.waiters, queue, copy, tags_code, AppendClass::Send);
    match topic.queue(&core.store, copy.queue_id) {
        Some(queue) => append(queue),
        None => append(&core.store.queue(copy.topic, copy.queue_id)), // a topic that was left without queues
    }
}

/// Why the message could not be processed, when the consumer says so.
fn cause<'a>(core: &Core, asked: &SendBack<'a>, message: &RecordView<'_>) -> Option<FailureCause<'a>> {
    if asked.cause_class.is_none() && asked.cause_digest.is_none() {
        return None;
    }
    let text = |text: Option<&'a str>| text.unwrap_or_default().into();
    Some(FailureCause {
        class: text(asked.cause_class),
        digest: text(asked.cause_digest),
        host: text(asked.cause_host),
        attempt: message.reconsume_times().saturating_add(1),
        at: core.clock.now_ms(),
    })
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
