//! A message made ready to be sent: checked, named, compressed. Attempts only differ in queue and broker.

use bytes::Bytes;
use tenonmq_protocol::message::{
    flags::{SysFlag, TransactionType},
    properties::names,
};

use super::Settings;
use crate::{
    error::Error,
    message::Message,
    session::{Session, now_ms},
};

/// Apache's level for every kind of compression.
const COMPRESSION_LEVEL: u32 = 5;

/// Which request carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendKind {
    /// One message.
    One,
    /// Several messages in one body.
    Batch,
    /// The answer to another client's request.
    Reply,
}

/// What all attempts of one send share.
pub(crate) struct Outbound {
    pub(crate) topic: String,
    pub(crate) body: Bytes,
    pub(crate) properties: String,
    pub(crate) flag: i32,
    pub(crate) sys_flag: SysFlag,
    pub(crate) born_timestamp: i64,
    pub(crate) reconsume_times: i32,
    pub(crate) max_reconsume_times: Option<i32>,
    pub(crate) kind: SendKind,
    /// The client's id; of a batch the ids of all, joined by commas.
    pub(crate) message_id: String,
}

impl Outbound {
    /// Checks the message, gives it an id unless it has one, and compresses a large body.
    pub(crate) fn from_message(mut message: Message, settings: &Settings, session: &Session) -> Result<Self, Error> {
        message.validate()?;
        check_size(message.body().len(), settings)?;
        let message_id = assign_id(&mut message, session);
        let kind = if message.get(names::MSG_TYPE) == Some("reply") { SendKind::Reply } else { SendKind::One };
        let flag = message.flag_value();
        let (topic, body, properties) = message.into_parts();
        let (body, sys_flag) = compress(body, settings)?;
        Ok(Self {
            topic,
            body,
            properties,
            flag,
            sys_flag,
            born_timestamp: now_ms(),
            reconsume_times: 0,
            max_reconsume_times: None,
            kind,
            message_id,
        })
    }

    /// As [`from_message`](Self::from_message), for a half message of `group`.
    pub(crate) fn half(message: &mut Message, settings: &Settings, session: &Session) -> Result<Self, Error> {
        message.put(names::TRAN_MSG, "true");
        message.put(names::PGROUP, &settings.group);
        if !settings.delayed_halves {
            refuse_delay(message)?;
        }
        assign_id(message, session);
        let mut outbound = Self::from_message(message.clone(), settings, session)?;
        outbound.sys_flag = outbound.sys_flag.with_transaction(TransactionType::Prepared);
        Ok(outbound)
    }
}

/// Apache's own client takes a delay level out without a word, and its broker makes a mess of a timer.
fn refuse_delay(message: &Message) -> Result<(), Error> {
    let delays = [names::DELAY, names::TIMER_DELAY_SEC, names::TIMER_DELAY_MS, names::TIMER_DELIVER_MS];
    match delays.into_iter().find(|name| message.get(name).is_some_and(|value| value != "0")) {
        None => Ok(()),
        Some(name) => Err(Error::InvalidMessage {
            reason: format!("a half message with a delay ({name}) needs TenonMQ brokers: say delays_begin_at_commit()"),
        }),
    }
}

/// Gives the message an id, keeping one that it has.
pub(super) fn assign_id(message: &mut Message, session: &Session) -> String {
    if let Some(id) = message.id() {
        return id.to_owned();
    }
    let id = session.next_key();
    message.put(names::UNIQ_KEY, id.as_str());
    id.as_str().to_owned()
}

pub(super) fn check_size(len: usize, settings: &Settings) -> Result<(), Error> {
    let limit = settings.max_message_size;
    if len > limit { Err(Error::MessageTooLarge { len, limit }) } else { Ok(()) }
}

fn compress(body: Bytes, settings: &Settings) -> Result<(Bytes, SysFlag), Error> {
    if body.len() <= settings.compress_over {
        return Ok((body, SysFlag::default()));
    }
    let kind = settings.compression;
    let packed = kind
        .compress(&body, COMPRESSION_LEVEL)
        .map_err(|error| Error::InvalidMessage { reason: format!("the body cannot be compressed: {error}") })?;
    Ok((packed.into(), SysFlag::default().with_compression(kind)))
}
