//! Request–reply: the answer of a consumer goes straight back to the producer that asked.
//!
//! The question is an ordinary message that names its sender (`REPLY_TO_CLIENT`). The reply is sent to the broker that
//! holds the question, which pushes it to that client (326), waits for its confirmation, and stores the reply as well
//! when `storeReplyMessageEnable` says so. The replier hears of success only after the requester has the reply; a reply
//! that could not be pushed is refused with the reason and stored all the same, as Apache does. Rules: `remoting.md`
//! section 5.2.

#[cfg(test)]
mod tests;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use tenonmq_protocol::{
    Command,
    code::ResponseCode,
    header::{PushReply, SendMessage},
    message::{
        NewRecord, OffsetMessageId, Properties, SysFlag, body_crc,
        properties::{names as property, tags_code},
    },
};
use tenonmq_storage::AppendClass;
use tracing::warn;

use crate::{
    core::{Core, deliver, topics::Topic},
    error::Refusal,
    remoting::Connection,
    send::{self, Incoming},
};

/// How long the requester may take to confirm a reply.
const PATIENCE: Duration = Duration::from_secs(10);

/// A reply that was checked and is on its way.
pub struct Reply {
    topic: Arc<Topic>,
    created: bool,
    header: Header,
    born_host: SocketAddr,
    properties: Properties<'static>,
    body: Bytes,
    to: Result<Requester, Refusal>,
}

/// What the replier is told, besides success or refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// Where the reply is stored; `None` when replies are not stored, or it could not be.
    pub stored: Option<OffsetMessageId>,
    /// Queue of the reply topic.
    pub queue_id: i32,
    /// Place in that queue; 0 when it is not stored.
    pub queue_offset: i64,
    /// Why the requester does not have the reply.
    pub refusal: Option<Refusal>,
}

struct Requester {
    client_id: String,
    connection: Arc<Connection>,
}

/// What of the send's header the push repeats.
struct Header {
    producer_group: String,
    default_topic: String,
    default_topic_queue_nums: i32,
    asked_queue_id: i32,
    queue_id: i32,
    sys_flag: i32,
    born_timestamp: i64,
    flag: i32,
    reconsume_times: i32,
    unit_mode: bool,
}

impl Header {
    fn of(header: &SendMessage<'_>, queue_id: i32) -> Self {
        Self {
            producer_group: header.producer_group.to_owned(),
            default_topic: header.default_topic.to_owned(),
            default_topic_queue_nums: header.default_topic_queue_nums,
            asked_queue_id: header.queue_id,
            queue_id,
            sys_flag: header.sys_flag,
            born_timestamp: header.born_timestamp,
            flag: header.flag,
            reconsume_times: header.reconsume_times,
            unit_mode: header.unit_mode,
        }
    }
}

impl Reply {
    /// Checks a reply as any send is checked.
    ///
    /// # Errors
    /// With the code that a send would get; nothing is pushed or stored then.
    pub fn take(core: &Core, message: Incoming<'_>) -> Result<Self, Refusal> {
        let checked = send::check(core, message)?;
        let requester = checked.properties.get(property::REPLY_TO_CLIENT).map(str::to_owned);
        Ok(Self {
            created: checked.created,
            topic: checked.topic,
            header: Header::of(message.header, checked.queue_id),
            born_host: message.born_host,
            properties: checked.properties,
            body: Bytes::copy_from_slice(message.body),
            to: find(core, requester),
        })
    }

    /// Pushes the reply to its requester, then stores it.
    pub async fn deliver(mut self, core: &Core) -> Delivered {
        if self.created {
            core.topic_changed(&self.topic.config).await;
        }
        let pushed = match std::mem::replace(&mut self.to, Err(gone(""))) {
            Ok(requester) => self.push(core, &requester).await,
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = &pushed {
            warn!(reason = %refusal.remark, topic = self.topic.config.topic_name, "reply not delivered");
        }
        let is_stored = core.config.load().messages.store_replies;
        let stored = is_stored.then(|| self.store(core)).flatten();
        Delivered {
            stored: stored.map(|(id, _)| id),
            queue_id: self.header.queue_id,
            queue_offset: stored.map_or(0, |(_, offset)| offset),
            refusal: pushed.err(),
        }
    }

    async fn push(&self, core: &Core, requester: &Requester) -> Result<(), Refusal> {
        let answer = requester.connection.request(self.command(core), PATIENCE).await;
        let reason = match answer {
            Ok(answer) if answer.code == ResponseCode::SUCCESS.0 => return Ok(()),
            Ok(answer) => format!("it answered {}: {}", answer.code, answer.remark.unwrap_or_default()),
            Err(error) => error.to_string(),
        };
        let remark = format!("push reply message to {}fail. {reason}", requester.client_id); // Apache's text, then why
        Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark))
    }

    fn command(&self, core: &Core) -> Command {
        let now_ms = core.clock.now_ms();
        let mut properties = self.properties.clone();
        properties.set(property::PUSH_REPLY_TIME, now_ms.to_string());
        let mut text = Vec::new();
        properties.encode_into(&mut text);
        let text = String::from_utf8_lossy(&text);
        let header = &self.header;
        let push = PushReply {
            producer_group: &header.producer_group,
            topic: &self.topic.config.topic_name,
            default_topic: &header.default_topic,
            default_topic_queue_nums: header.default_topic_queue_nums,
            queue_id: header.asked_queue_id,
            sys_flag: header.sys_flag,
            born_timestamp: header.born_timestamp,
            flag: header.flag,
            properties: Some(&text),
            reconsume_times: Some(header.reconsume_times),
            unit_mode: header.unit_mode,
            born_host: &self.born_host.to_string(),
            store_host: &core.identity.get().address.to_string(),
            store_timestamp: now_ms,
        };
        Command { body: self.body.clone(), ..Command::with_header(&push) }
    }

    /// A reply that cannot be stored is only noted: the requester has it, or the replier was told that it has not.
    fn store(&self, core: &Core) -> Option<(OffsetMessageId, i64)> {
        let Self { topic, header, .. } = self;
        let queue = topic.queue(&core.store, header.queue_id)?;
        let mut text = Vec::new();
        self.properties.encode_into(&mut text);
        let host = core.identity.get().address;
        let record = NewRecord {
            topic: &topic.config.topic_name,
            queue_id: header.queue_id,
            flag: header.flag,
            sys_flag: header.sys_flag & (SysFlag::COMPRESSED | SysFlag::COMPRESSION_MASK),
            born_timestamp: header.born_timestamp,
            born_host: self.born_host,
            store_host: host,
            reconsume_times: header.reconsume_times,
            prepared_transaction_offset: 0,
            body: &self.body,
            properties: &text,
            body_crc: body_crc(&self.body),
        };
        let code = tags_code(self.properties.get(property::TAGS));
        let class = AppendClass::Send;
        match deliver::append(&core.store, &core.waiters, queue, &record, code, class) {
            Ok(appended) => {
                let offset = appended.physical_offset.cast_signed();
                Some((OffsetMessageId { host, offset }, appended.queue_offset))
            }
            Err(error) => {
                warn!(%error, topic = topic.config.topic_name, "reply not stored");
                None
            }
        }
    }
}

fn find(core: &Core, client_id: Option<String>) -> Result<Requester, Refusal> {
    let Some(client_id) = client_id else {
        let remark = format!("reply message properties[{}] is null", property::REPLY_TO_CLIENT);
        return Err(Refusal::new(ResponseCode::SYSTEM_ERROR, remark));
    };
    match core.clients.producer_client(&client_id) {
        Some(connection) => Ok(Requester { client_id, connection }),
        None => Err(gone(&client_id)),
    }
}

fn gone(client_id: &str) -> Refusal {
    let remark = format!("push reply message fail, channel of <{client_id}> not found.");
    Refusal::new(ResponseCode::SYSTEM_ERROR, remark)
}
