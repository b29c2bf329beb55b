//! Taking messages from producers.
//!
//! A send is checked ([`validate`]), its properties get what the broker adds ([`properties`]), and it is appended under
//! the log's one lock. Half messages take the same way with another target (`transaction::half`), the messages of a
//! batch share one append ([`batch`]). Rules: `remoting.md` section 5.1.

mod batch;
#[cfg(test)]
mod batch_tests;
#[cfg(test)]
mod light_tests;
mod properties;
mod validate;

use std::{cell::RefCell, net::SocketAddr, sync::Arc};

use smallvec::SmallVec;
use tenonmq_protocol::{
    code::ResponseCode,
    header::SendMessage,
    message::{
        NewRecord, OffsetMessageId, Properties, SysFlag, TransactionType, body_crc,
        properties::{names as property, tags_code},
        record::MAX_PROPERTIES,
    },
};
use tenonmq_storage::{AppendClass, AppendError, Appended, Ticket};

pub use batch::send_batch;
pub use properties::MessageKey;

use crate::{
    config::Config,
    core::{Core, deliver, identity::Who, topics::Topic},
    delay::{self, Waiting, Wish},
    error::Refusal,
    retry::dead_letter,
    timer::{self, Timer},
    transaction::half,
};

/// A message as it came in.
#[derive(Clone, Copy)]
pub struct Incoming<'a> {
    /// The header, long or short form.
    pub header: &'a SendMessage<'a>,
    /// The body as it is stored.
    pub body: &'a [u8],
    /// Who sent it.
    pub born_host: SocketAddr,
    /// Version of the sender; some fields count only from certain versions on.
    pub version: i32,
}

/// What a producer is told about a stored message or batch.
#[derive(Debug)]
pub struct Receipt<'a> {
    /// Where each message lies; more than one only for a batch.
    pub message_ids: SmallVec<[OffsetMessageId; 1]>,
    /// The queue it was sent to. For a half message the queue of its real topic.
    pub queue_id: i32,
    /// Place of the (first) message in that queue. For a half message its place in the half queue.
    pub queue_offset: i64,
    /// UNIQ_KEY of the message.
    pub key: MessageKey<'a>,
    /// Key of a batch that was stored as one record.
    pub inner_batch: Option<&'a str>,
    /// Durability that the producer waits for, unless it said `WAIT=false`.
    pub ticket: Option<Ticket>,
    /// With which a message that waits for a time of its own can be recalled.
    pub recall_handle: Option<String>,
    /// The topic that this send created; it is registered before the producer is answered.
    pub created: Option<Arc<Topic>>,
    /// The topic is not in its file yet, whoever created it; the producer is answered when it is.
    pub unsaved: bool,
}

thread_local! {
    /// Property text of the message at hand; reused so that a send does not allocate.
    static TEXT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What one send needs of the shared state.
struct Sending<'a> {
    core: &'a Core,
    config: &'a Config,
    who: &'a Who,
    message: Incoming<'a>,
}

/// Stores one message.
///
/// # Errors
/// With the code that Apache answers; nothing is stored then.
pub fn send<'a>(core: &Core, message: Incoming<'a>) -> Result<Receipt<'a>, Refusal> {
    let config = core.config.load();
    let who = core.identity.get();
    let sending = Sending { core, config: &config, who: &who, message };
    let header = message.header;
    check_sizes(&config, header, message.body)?;
    let target = validate::target(core, &config, header)?;
    let queue_id = validate::queue_id(&target.topic, header.queue_id)?;
    let text = header.properties;
    let parsed = Properties::parse(text);
    let key = MessageKey::of(text, &parsed, || core.clock.now_ms());
    let mut properties = parsed;
    properties::complete(&mut properties, &config, &who, Some(&key));
    let waits = waits_for_durability(&properties);
    let given_up = dead_letter::given_up_by(core, header, message.version)?;
    let mut created = target.created.then(|| Arc::clone(&target.topic));
    let mut unsaved = !core.topics.is_saved(&target.topic);
    let (stored, timer) = if let Some(group) = given_up {
        let (topic, is_new) = dead_letter::topic_of(core, group);
        created = is_new.then(|| Arc::clone(&topic)).or(created);
        unsaved |= !core.topics.is_saved(&topic);
        properties.set(property::DELAY, "-1");
        let stored = sending.plain(&topic, dead_letter::QUEUE, &properties)?;
        core.stats.buried(properties.get(property::RETRY_TOPIC).unwrap_or(header.topic), group);
        (stored, None)
    } else {
        sending.stored(&target.topic, queue_id, &mut properties)?
    };
    drop(properties); // they borrow the key
    let recall_handle = timer.and_then(|timer| timer::recall::handle(&who, header.topic, &timer, key.as_str()));
    Ok(Receipt {
        message_ids: SmallVec::from_buf([message_id(&who, &stored)]),
        queue_id,
        queue_offset: stored.queue_offset,
        key,
        inner_batch: None,
        ticket: waits.then_some(stored.ticket),
        recall_handle,
        created,
        unsaved,
    })
}

/// A message that may be sent, for those who store it themselves.
pub(crate) struct Checked {
    pub(crate) topic: Arc<Topic>,
    /// The topic is new.
    pub(crate) created: bool,
    pub(crate) queue_id: i32,
    /// Its properties with region and trace switch; no unique key is made.
    pub(crate) properties: Properties<'static>,
}

/// Checks a message as a send is checked, and stores nothing.
///
/// # Errors
/// With the code that Apache answers.
pub(crate) fn check(core: &Core, message: Incoming<'_>) -> Result<Checked, Refusal> {
    let config = core.config.load();
    check_sizes(&config, message.header, message.body)?;
    let target = validate::target(core, &config, message.header)?;
    let queue_id = validate::queue_id(&target.topic, message.header.queue_id)?;
    let mut properties = Properties::parse(message.header.properties);
    properties::trace(&mut properties, &config);
    Ok(Checked { topic: target.topic, created: target.created, queue_id, properties: properties.into_owned() })
}

impl<'a> Sending<'a> {
    /// Stores the message in the way that its properties ask for. With its time, if it waits for one of its own.
    fn stored(
        &self,
        topic: &'a Topic,
        queue_id: i32,
        properties: &mut Properties<'a>,
    ) -> Result<(Appended, Option<Timer>), Refusal> {
        let wish = delay::wished(properties, &self.config.messages, &self.core.clock)?;
        if half::is_half(properties, self.message.header.reconsume_times) {
            return Ok((self.half(queue_id, properties)?, None)); // a delay begins when it is committed
        }
        if self.is_inner_batch(topic, queue_id, properties)? {
            return Ok((self.inner_batch(topic, queue_id, properties)?, None));
        }
        let stored = match wish.filter(|_| self.may_be_delayed()) {
            Some(Wish::At(timer)) => {
                return Ok((self.timed(&timer, topic, queue_id, properties)?, Some(timer)));
            }
            Some(Wish::Level(level)) => match self.core.delays.waiting(level) {
                Some(waiting) => self.delayed(&waiting, topic, queue_id, properties)?,
                None => self.plain(topic, queue_id, properties)?,
            },
            None => self.plain(topic, queue_id, properties)?,
        };
        Ok((stored, None))
    }

    /// A record that says of itself that it is prepared or rolled back is in no queue, so it cannot wait in one.
    fn may_be_delayed(&self) -> bool {
        let kind = SysFlag(self.message.header.sys_flag).transaction();
        matches!(kind, TransactionType::None | TransactionType::Commit)
    }

    fn delayed(
        &self,
        waiting: &Waiting<'_>,
        topic: &'a Topic,
        queue_id: i32,
        properties: &mut Properties<'a>,
    ) -> Result<Appended, Refusal> {
        let core = self.core;
        delay::note_target(properties, waiting.level(), &topic.config.topic_name, queue_id);
        let sys_flag = self.message.header.sys_flag | properties::topic_flag(topic);
        let place = Place { topic: Waiting::TOPIC, queue_id: waiting.queue().queue_id(), sys_flag };
        self.put(&place, properties, |record| core.delays.append(&core.store, &core.waiters, waiting, record))
    }

    fn timed(
        &self,
        timer: &Timer,
        topic: &'a Topic,
        queue_id: i32,
        properties: &mut Properties<'a>,
    ) -> Result<Appended, Refusal> {
        let core = self.core;
        let takes_back = properties.contains(property::TIMER_DEL_UNIQKEY);
        core.timers.admit(self.config.messages.timers_max, takes_back)?;
        timer.note_target(properties, &topic.config.topic_name, queue_id);
        let sys_flag = self.message.header.sys_flag | properties::topic_flag(topic);
        let place = Place { topic: Timer::TOPIC, queue_id: Timer::QUEUE, sys_flag };
        let tags_code = tags_code(properties.get(property::TAGS));
        self.put(&place, properties, |record| core.timers.append(&core.store, record, tags_code, timer))
    }

    fn plain(&self, topic: &Topic, queue_id: i32, properties: &Properties<'_>) -> Result<Appended, Refusal> {
        let core = self.core;
        let queue = self.queue(topic, queue_id)?;
        let tags_code = tags_code(properties.get(property::TAGS));
        let sys_flag = self.message.header.sys_flag | properties::topic_flag(topic);
        let place = Place { topic: &topic.config.topic_name, queue_id, sys_flag };
        self.put(&place, properties, |record| {
            deliver::append(&core.store, &core.waiters, queue, record, tags_code, AppendClass::Send)
        })
    }

    fn half(&self, queue_id: i32, properties: &mut Properties<'_>) -> Result<Appended, Refusal> {
        let core = self.core;
        if self.config.messages.reject_transactions {
            let remark = format!("the broker[{}] sending transaction message is forbidden", self.who.address.ip());
            return Err(Refusal::new(ResponseCode::NO_PERMISSION, remark));
        }
        let header = self.message.header;
        let half = half::convert(properties, header.topic, queue_id, header.sys_flag);
        let place = Place { topic: half.topic, queue_id: half.queue_id, sys_flag: half.sys_flag };
        let tags_code = tags_code(properties.get(property::TAGS));
        let appended = self.put(&place, properties, |record| {
            core.store.append(core.transactions.half_queue(), record, tags_code, AppendClass::Send)
        })?;
        core.transactions.half_stored(&appended, properties, header.producer_group);
        Ok(appended)
    }

    fn put(
        &self,
        place: &Place<'_>,
        properties: &Properties<'_>,
        append: impl FnOnce(&NewRecord<'_>) -> Result<Appended, AppendError>,
    ) -> Result<Appended, Refusal> {
        TEXT.with_borrow_mut(|text| {
            text.clear();
            properties.encode_into(text);
            let header = self.message.header;
            let record = NewRecord {
                topic: place.topic,
                queue_id: place.queue_id,
                flag: header.flag,
                sys_flag: place.sys_flag,
                born_timestamp: header.born_timestamp,
                born_host: self.message.born_host,
                store_host: self.who.address,
                reconsume_times: header.reconsume_times,
                prepared_transaction_offset: 0,
                body: self.message.body,
                properties: text,
                body_crc: body_crc(self.message.body),
            };
            Ok(self.core.stats.put_times.timed(|| append(&record))?)
        })
    }
}

/// Where a record goes and under which flags.
pub struct Place<'a> {
    /// Topic it is stored under.
    pub topic: &'a str,
    /// Queue of that topic.
    pub queue_id: i32,
    /// See `SysFlag`.
    pub sys_flag: i32,
}

fn message_id(who: &Who, stored: &Appended) -> OffsetMessageId {
    OffsetMessageId { host: who.address, offset: stored.physical_offset.cast_signed() }
}

fn waits_for_durability(properties: &Properties<'_>) -> bool {
    !properties.get(property::WAIT).is_some_and(|wait| wait.eq_ignore_ascii_case("false"))
}

/// Limits that hold for every send, whatever its topic.
fn check_sizes(config: &Config, header: &SendMessage<'_>, body: &[u8]) -> Result<(), Refusal> {
    let illegal =
        |what: String| Err(Refusal::new(ResponseCode::MESSAGE_ILLEGAL, format!("the message is illegal: {what}")));
    let limit = config.messages.max_body as usize;
    if body.is_empty() {
        return illegal("its body is empty".into());
    }
    if body.len() > limit {
        return illegal(format!("msg body of {} bytes exceeds the limit of {limit} bytes", body.len()));
    }
    let properties = header.properties.len();
    if properties > MAX_PROPERTIES {
        return illegal(format!("properties of {properties} bytes exceed the limit of {MAX_PROPERTIES} bytes"));
    }
    Ok(())
}
