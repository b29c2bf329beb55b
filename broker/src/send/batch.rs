//! A batch: several messages of one topic and queue, appended in one step, each stored as a message of its own, or all
//! as one record where the topic's queues hold batches (`queue.type=BatchCQ`).
//!
//! Rules: `store.md` section 2.6.

use std::sync::Arc;

use smallvec::{SmallVec, smallvec};
use tenonmq_protocol::{
    code::ResponseCode,
    message::{
        BatchElement, NewRecord, Properties, SysFlag, batch, body_crc,
        properties::{find_each, names as property, tags_code},
        record::MAX_PROPERTIES,
    },
};
use tenonmq_storage::{AppendClass, Appended, Queue, QueueKind};

use super::{
    Incoming, MessageKey, Place, Receipt, Sending, check_sizes, message_id, properties, validate, waits_for_durability,
};
use crate::{
    core::{Core, deliver, names, topics::Topic},
    delay,
    error::Refusal,
};

/// Messages in one inner batch at most: the queue entry counts them in 16 bits with a sign.
const INNER_MAX: u16 = i16::MAX as u16;

/// Stores the messages of a batch, all or none.
///
/// # Errors
/// With the code that Apache answers; nothing is stored then.
pub fn send_batch<'a>(core: &Core, message: Incoming<'a>) -> Result<Receipt<'a>, Refusal> {
    let config = core.config.load();
    let who = core.identity.get();
    let sending = Sending { core, config: &config, who: &who, message };
    let header = message.header;
    let target = validate::target(core, &config, header)?;
    let queue_id = validate::queue_id(&target.topic, header.queue_id)?;
    check_topic(header.topic)?;
    check_sizes(&config, header, message.body)?;
    let text = header.properties;
    let parsed = Properties::parse(text);
    let key = MessageKey::of(text, &parsed, || core.clock.now_ms());
    let given = parsed.value_in(text, property::UNIQ_KEY);
    let mut properties = parsed;
    check_properties(&properties)?;
    if delay::wished(&properties, &config.messages, &core.clock)?.is_some() {
        return Err(illegal("a batch cannot have a time of delivery".into()));
    }
    let waits = waits_for_durability(&properties);
    properties::complete(&mut properties, &config, &who, None);
    let is_inner = given.is_some() && sending.queue(&target.topic, queue_id)?.kind() == QueueKind::Batch;
    let stored = if is_inner {
        smallvec![sending.inner_batch(&target.topic, queue_id, &properties)?]
    } else {
        sending.batch(&target.topic, queue_id, &elements(message.body)?, &properties)?
    };
    let (Some(first), Some(last)) = (stored.first(), stored.last()) else {
        return Err(illegal("the batch holds no message".into()));
    };
    Ok(Receipt {
        message_ids: stored.iter().map(|stored| message_id(&who, stored)).collect(),
        queue_id,
        queue_offset: first.queue_offset,
        key,
        inner_batch: given.filter(|_| is_inner),
        ticket: waits.then_some(last.ticket),
        recall_handle: None,
        unsaved: !core.topics.is_saved(&target.topic),
        created: target.created.then_some(target.topic),
    })
}

impl Sending<'_> {
    fn batch(
        &self,
        topic: &Topic,
        queue_id: i32,
        elements: &[BatchElement<'_>],
        of_batch: &Properties<'_>,
    ) -> Result<SmallVec<[Appended; 2]>, Refusal> {
        let core = self.core;
        let queue = self.queue(topic, queue_id)?;
        let mut suffix = Vec::new();
        of_batch.encode_into(&mut suffix);
        let texts = Texts::of(elements, &suffix)?;
        let header = self.message.header;
        let sys_flag = header.sys_flag | properties::topic_flag(topic);
        let records = elements.iter().zip(texts.iter()).map(|(element, text)| NewRecord {
            topic: &topic.config.topic_name,
            queue_id,
            flag: element.flag,
            sys_flag,
            born_timestamp: header.born_timestamp,
            born_host: self.message.born_host,
            store_host: self.who.address,
            reconsume_times: header.reconsume_times,
            prepared_transaction_offset: 0,
            body: element.body,
            properties: text,
            body_crc: body_crc(element.body),
        });
        let queue: &Queue = queue;
        let items: Vec<_> = records.map(|record| (queue, record, tags_code_of(record.properties))).collect();
        let put = || deliver::append_all(&core.store, &core.waiters, &items, AppendClass::Send);
        Ok(core.stats.put_times.timed(put)?)
    }
}

impl<'a> Sending<'a> {
    /// Stores the whole batch as one record, as a topic of the queue type BatchCQ keeps it. Consumers take it apart.
    pub(super) fn inner_batch(
        &self,
        topic: &'a Topic,
        queue_id: i32,
        properties: &Properties<'_>,
    ) -> Result<Appended, Refusal> {
        let core = self.core;
        let queue = self.queue(topic, queue_id)?;
        let messages = elements(self.message.body)?.len();
        let Some(count) = u16::try_from(messages).ok().filter(|count| (1..=INNER_MAX).contains(count)) else {
            return Err(illegal(format!("a batch holds 1 to {INNER_MAX} messages, not {messages}")));
        };
        let sys_flag = self.message.header.sys_flag | properties::topic_flag(topic);
        let place = Place { topic: &topic.config.topic_name, queue_id, sys_flag };
        self.put(&place, properties, |record| {
            deliver::append_inner_batch(&core.store, &core.waiters, queue, record, count, AppendClass::Send)
        })
    }

    /// A single message that says of itself that it is a batch; `None` for every other.
    ///
    /// # Errors
    /// 13 as Apache answers: only one of the two signs is there, or the topic keeps no batches.
    pub(super) fn is_inner_batch(
        &self,
        topic: &Topic,
        queue_id: i32,
        properties: &Properties<'_>,
    ) -> Result<bool, Refusal> {
        let flagged = SysFlag(self.message.header.sys_flag).has(SysFlag::INNER_BATCH);
        if !flagged && !properties.contains(property::INNER_NUM) {
            return Ok(false);
        }
        if !flagged {
            return Err(illegal(format!("the property {} comes without its system flag", property::INNER_NUM)));
        }
        if self.queue(topic, queue_id)?.kind() != QueueKind::Batch {
            return Err(illegal(format!("topic [{}] keeps no inner batches", topic.config.topic_name)));
        }
        Ok(true)
    }

    pub(super) fn queue<'t>(&self, topic: &'t Topic, queue_id: i32) -> Result<&'t Arc<Queue>, Refusal> {
        let queue = topic.queue(&self.core.store, queue_id);
        queue.ok_or_else(|| Refusal::invalid(format!("request queueId[{queue_id}] is illegal")))
    }
}

fn illegal(what: String) -> Refusal {
    Refusal::new(ResponseCode::MESSAGE_ILLEGAL, what)
}

fn check_topic(topic: &str) -> Result<(), Refusal> {
    if topic.len() > names::TOPIC_MAX {
        return Err(illegal(format!("message topic length too long {}", topic.len())));
    }
    if topic.starts_with(names::RETRY_PREFIX) {
        return Err(illegal(format!("batch request does not support retry group {topic}")));
    }
    Ok(())
}

fn check_properties(properties: &Properties<'_>) -> Result<(), Refusal> {
    if properties.is_true(property::TRAN_MSG) {
        return Err(illegal("a batch cannot be transactional".into()));
    }
    if properties.number::<i32>(property::DELAY).is_some_and(|level| level > 0) {
        return Err(illegal("a batch cannot be delayed".into()));
    }
    Ok(())
}

fn elements(body: &[u8]) -> Result<Vec<BatchElement<'_>>, Refusal> {
    let elements: Result<Vec<_>, _> = batch::elements(body).collect();
    elements.map_err(|error| illegal(format!("the message is illegal: {error}")))
}

/// The property texts of all messages as they are stored, in one piece of memory.
struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Texts {
    fn of(elements: &[BatchElement<'_>], of_batch: &[u8]) -> Result<Self, Refusal> {
        let own: usize = elements.iter().map(|element| element.properties.len()).sum();
        let mut bytes = Vec::with_capacity(own + elements.len() * (of_batch.len() + 1));
        let mut ends = Vec::with_capacity(elements.len());
        for element in elements {
            let properties = element.properties;
            if !properties.is_ascii() && std::str::from_utf8(properties).is_err() {
                return Err(illegal("the message is illegal: properties in a batch are not UTF-8".into()));
            }
            let start = bytes.len();
            element.stored_properties(of_batch, &mut bytes);
            let len = bytes.len() - start;
            if len > MAX_PROPERTIES {
                return Err(illegal(format!(
                    "the message is illegal: properties of {len} bytes exceed the limit of {MAX_PROPERTIES} bytes"
                )));
            }
            ends.push(bytes.len());
        }
        Ok(Self { bytes, ends })
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let text = self.bytes.get(start..end).unwrap_or_default();
            start = end;
            text
        })
    }
}

fn tags_code_of(text: &[u8]) -> i64 {
    let [tags] = find_each(text, [property::TAGS]);
    tags_code(tags.and_then(|tags| std::str::from_utf8(tags).ok()))
}
