//! Taking pending timer messages back: by the handle that the send gave (RECALL_MESSAGE, 370), or by business key.
//!
//! A recall is a message in the timer topic: it names `realTopic+uniqKey` and has the same second, so that it counts
//! for Apache too, and after a restart. Rules: `transactions-retry-delay.md` section 4.

use std::net::SocketAddr;

use tenonmq_protocol::{
    code::ResponseCode,
    header::{RecallHandle, RecallMessage},
    message::{
        NewRecord, Properties, body_crc,
        properties::{Table, names as property, tags_code},
    },
};
use tenonmq_storage::{Appended, Role};

use super::{Timer, out_ms};
use crate::{
    core::{Core, identity::Who, names::RETRY_PREFIX, topics::perm},
    error::Refusal,
};

const TAG: &str = "_RECALL_TAG_";
const BODY: &[u8] = b"0";

/// The handle for a message that was stored with this time; `None` for retries.
pub(crate) fn handle(who: &Who, topic: &str, timer: &Timer, unique_key: &str) -> Option<String> {
    let handle = || RecallHandle {
        topic: topic.to_owned(),
        broker_name: who.broker.clone(),
        deliver_timestamp: timer.out_ms + 1, // rounds to the same second
        unique_key: unique_key.to_owned(),
    };
    (!topic.starts_with(RETRY_PREFIX)).then(|| handle().to_string())
}

/// Takes a message back by its handle. Whether it is still pending is not asked: one that is gone already stays so.
///
/// # Errors
/// With the code that Apache answers.
pub fn by_handle(core: &Core, asked: &RecallMessage<'_>, from: SocketAddr) -> Result<(String, Appended), Refusal> {
    let config = core.config.load();
    let rules = &config.messages;
    let refused = |code, why: &'static str| Err(Refusal::new(code, why));
    if !rules.recall {
        return refused(ResponseCode::NO_PERMISSION, "recall failed, operation is forbidden");
    }
    let unavailable = "recall failed, broker service not available";
    if core.store.permit().role != Role::Master {
        return refused(ResponseCode::SLAVE_NOT_AVAILABLE, unavailable);
    }
    let now_ms = core.clock.now_ms();
    let is_writable = config.identity.permission.cast_signed() & perm::WRITE != 0;
    if now_ms < rules.accept_from_ms || !(is_writable || rules.recall_when_not_writable) {
        return refused(ResponseCode::SERVICE_NOT_AVAILABLE, unavailable);
    }
    if core.topics.get(asked.topic).is_none() {
        let remark = format!("recall failed, the topic[{}] not exist", asked.topic);
        return Err(Refusal::new(ResponseCode::TOPIC_NOT_EXIST, remark));
    }
    let handle = RecallHandle::parse(asked.recall_handle)
        .map_err(|_| Refusal::new(ResponseCode::ILLEGAL_OPERATION, "recall handle is invalid"))?;
    if handle.topic != asked.topic {
        return refused(ResponseCode::ILLEGAL_OPERATION, "recall failed, topic not match");
    }
    if handle.broker_name != core.identity.get().broker {
        return refused(ResponseCode::ILLEGAL_OPERATION, unavailable);
    }
    let left_ms = handle.deliver_timestamp.saturating_sub(now_ms);
    let limit_ms = i64::try_from(rules.max_timer_delay.as_millis()).unwrap_or(i64::MAX);
    if left_ms <= 0 || left_ms >= limit_ms {
        return refused(ResponseCode::ILLEGAL_OPERATION, "recall failed, timestamp invalid");
    }
    if !rules.timers {
        return refused(ResponseCode::SYSTEM_ERROR, "recall failed, execute error");
    }
    let deliver_ms = handle.deliver_timestamp;
    let timer = Timer { due_ms: deliver_ms, out_ms: out_ms(deliver_ms, rules.timer_precision_ms) };
    let target = Target { topic: &handle.topic, unique_key: &handle.unique_key, timer };
    let appended = target.recall(core, asked.producer_group, from)?;
    if core.clock.now_ms() >= deliver_ms {
        // its time came while this was written: it may have been delivered before
        return refused(ResponseCode::ILLEGAL_OPERATION, "recall failed, timestamp invalid");
    }
    Ok((handle.unique_key, appended))
}

/// A pending message that is to be taken back.
pub(super) struct Target<'a> {
    pub(super) topic: &'a str,
    pub(super) unique_key: &'a str,
    /// Its second.
    pub(super) timer: Timer,
}

impl Target<'_> {
    /// Appends the message that deletes it.
    ///
    /// It counts for sure when the time of the message has not come afterwards: the scheduler looks at the clock, then
    /// takes in what was appended until then, and then delivers.
    pub(super) fn recall(&self, core: &Core, group: Option<&str>, from: SocketAddr) -> Result<Appended, Refusal> {
        core.timers.admit(core.config.load().messages.timers_max, true)?;
        let now_ms = core.clock.now_ms();
        let mut properties = Properties::new();
        properties.set(property::TAGS, TAG);
        properties.set(property::TIMER_DEL_UNIQKEY, format!("{}+{}", self.topic, self.unique_key));
        properties.set(property::UNIQ_KEY, self.unique_key);
        properties.set(property::TIMER_DELIVER_MS, self.timer.due_ms.to_string());
        properties.set(property::BORN_TIMESTAMP, now_ms.to_string());
        properties.set(property::TRACE_CONTEXT, "");
        if let Some(group) = group {
            properties.set(property::PGROUP, group);
        }
        self.timer.note_target(&mut properties, self.topic, 0);
        let mut text = Vec::with_capacity(256);
        properties.encode_as(Table::Fresh, &mut text);
        let record = NewRecord {
            topic: Timer::TOPIC,
            queue_id: Timer::QUEUE,
            flag: 0,
            sys_flag: 0,
            born_timestamp: now_ms,
            born_host: from,
            store_host: core.identity.get().address,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: BODY,
            properties: &text,
            body_crc: body_crc(BODY),
        };
        Ok(core.timers.append(&core.store, &record, tags_code(Some(TAG)), &self.timer)?)
    }
}
