//! Sending messages (10, 310, 320), replies (324, 325, 326), and their receipts.

use std::str::FromStr;

use super::RequestHeader;
use crate::code::RequestCode;
use crate::error::HeaderError;
use crate::fields::{Fields, parse};
use crate::writer::FieldSink;

/// A message to store; the body is the frame's. Codes 10 and 324 spell its fields out, 310, 320 and 325 have one-letter
/// names; both decode to this, and it encodes to the short ones unless told otherwise.
///
/// Upstream: `SendMessageRequestHeader`, `SendMessageRequestHeaderV2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SendMessage<'a> {
    /// The sender's group.
    pub producer_group: &'a str,
    /// Where the message goes.
    pub topic: &'a str,
    /// Template for a topic that is created by the send, normally `TBW102`.
    pub default_topic: &'a str,
    /// Queues of a topic that is created by the send.
    pub default_topic_queue_nums: i32,
    /// Queue; negative: the broker chooses.
    pub queue_id: i32,
    /// See [`SysFlag`](crate::message::SysFlag).
    pub sys_flag: i32,
    /// When the producer made the message, in milliseconds.
    pub born_timestamp: i64,
    /// The application's flag.
    pub flag: i32,
    /// Property text; empty when there is none. For a batch: what is added to every message.
    pub properties: &'a str,
    /// How often the message was consumed in vain.
    pub reconsume_times: i32,
    /// Legacy "unit" deployments.
    pub unit_mode: bool,
    /// Limit of retries; only looked at for retry topics.
    pub max_reconsume_times: Option<i32>,
    /// The body is a batch.
    pub batch: bool,
    /// Broker group that the sender means.
    pub broker_name: Option<&'a str>,
}

/// Names of the fields, in the order of [`SendMessage`]'s.
type Names = [&'static str; 14];

const LONG: Names = [
    "producerGroup",
    "topic",
    "defaultTopic",
    "defaultTopicQueueNums",
    "queueId",
    "sysFlag",
    "bornTimestamp",
    "flag",
    "properties",
    "reconsumeTimes",
    "unitMode",
    "maxReconsumeTimes",
    "batch",
    "bname",
];

/// The letters from `a` on.
const SHORT: Names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n"];

/// A field that may be there.
#[derive(Clone, Copy)]
struct Field<'a> {
    name: &'static str,
    value: Option<&'a str>,
}

impl<'a> Field<'a> {
    fn text(self) -> Result<&'a str, HeaderError> {
        self.value.ok_or(HeaderError::missing(self.name))
    }

    fn number<T: FromStr>(self) -> Result<T, HeaderError> {
        parse(self.name, self.text()?)
    }

    fn optional_number<T: FromStr>(self) -> Result<Option<T>, HeaderError> {
        self.value.map(|value| parse(self.name, value)).transpose()
    }

    fn is_true(self) -> bool {
        self.value.is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }
}

impl<'a> SendMessage<'a> {
    /// Writes the long names, as codes 10 and 324 want.
    pub fn encode_long(&self, out: &mut impl FieldSink) {
        self.write(LONG, out);
    }

    fn read(names: Names, values: [Option<&'a str>; 14]) -> Result<Self, HeaderError> {
        let mut values = values.into_iter();
        let fields = names.map(|name| Field { name, value: values.next().flatten() });
        let [group, topic, default_topic, default_queues, queue_id, sys_flag, born, flag, ..] = fields;
        let [.., properties, reconsumed, unit_mode, max_reconsume_times, batch, broker_name] = fields;
        Ok(Self {
            producer_group: group.text()?,
            topic: topic.text()?,
            default_topic: default_topic.value.unwrap_or_default(),
            default_topic_queue_nums: default_queues.optional_number()?.unwrap_or_default(),
            queue_id: queue_id.number()?,
            sys_flag: sys_flag.number()?,
            born_timestamp: born.number()?,
            flag: flag.optional_number()?.unwrap_or_default(),
            properties: properties.value.unwrap_or_default(),
            reconsume_times: reconsumed.optional_number()?.unwrap_or_default(),
            unit_mode: unit_mode.is_true(),
            max_reconsume_times: max_reconsume_times.optional_number()?,
            batch: batch.is_true(),
            broker_name: broker_name.value,
        })
    }

    fn write(&self, names: Names, out: &mut impl FieldSink) {
        let [group, topic, default_topic, default_queues, queue_id, sys_flag, born, flag, ..] = names;
        let [.., properties, reconsumed, unit_mode, max_reconsume_times, batch, broker_name] = names;
        out.put(group, self.producer_group);
        out.put(topic, self.topic);
        out.put(default_topic, self.default_topic);
        out.put(default_queues, self.default_topic_queue_nums);
        out.put(queue_id, self.queue_id);
        out.put(sys_flag, self.sys_flag);
        out.put(born, self.born_timestamp);
        out.put(flag, self.flag);
        out.put(properties, Some(self.properties).filter(|text| !text.is_empty()));
        out.put(reconsumed, self.reconsume_times);
        out.put(unit_mode, self.unit_mode);
        out.put(max_reconsume_times, self.max_reconsume_times);
        out.put(batch, self.batch);
        out.put(broker_name, self.broker_name);
    }
}

impl<'a> RequestHeader<'a> for SendMessage<'a> {
    const CODE: RequestCode = RequestCode::SEND_MESSAGE_V2;

    fn decode(fields: &Fields<'a>) -> Result<Self, HeaderError> {
        let [_, topic, ..] = LONG;
        match fields.get(topic) {
            Some(_) => Self::read(LONG, LONG.map(|name| fields.get(name))),
            None => Self::read(SHORT, fields.letters()),
        }
    }

    fn encode(&self, out: &mut impl FieldSink) {
        self.write(SHORT, out);
    }
}

responses! {
    /// A message was stored. Upstream: `SendMessageResponseHeader`; sent with codes 0, 10, 11 and 12.
    SendReceipt<'a> {
        /// Offset message id; for a batch one for each message, joined by commas.
        message_id: &'a str = "msgId",
        /// Queue that the message went to.
        queue_id: i32 = "queueId",
        /// Its place there, the first of a batch; for a half message the place in the half queue.
        queue_offset: i64 = "queueOffset",
        /// `UNIQ_KEY` of the message.
        transaction_id: Option<&'a str> = "transactionId",
        /// Only for batches of BatchCQ topics.
        batch_unique_id: Option<&'a str> = "batchUniqId",
        /// Takes a timer message back, see [`RecallHandle`](super::RecallHandle).
        recall_handle: Option<&'a str> = "recallHandle",
        /// The broker's region.
        region: Option<&'a str> = "MSG_REGION",
        /// Whether clients should trace, `true` or `false`.
        trace_on: Option<&'a str> = "TRACE_ON",
    }
}

requests! {
    /// A reply on its way to the requester. Upstream: `ReplyMessageRequestHeader`; broker to client.
    PushReply<'a> = PUSH_REPLY_MESSAGE_TO_CLIENT {
        /// Group of the replier.
        producer_group: &'a str = "producerGroup",
        /// Topic of the reply.
        topic: &'a str = "topic",
        /// As in the send.
        default_topic: &'a str = "defaultTopic",
        /// As in the send.
        default_topic_queue_nums: i32 = "defaultTopicQueueNums",
        /// Queue that the replier named.
        queue_id: i32 = "queueId",
        /// As in the send.
        sys_flag: i32 = "sysFlag",
        /// When the replier made the reply, in milliseconds.
        born_timestamp: i64 = "bornTimestamp",
        /// The application's flag.
        flag: i32 = "flag",
        /// Property text.
        properties: Option<&'a str> = "properties",
        /// As in the send.
        reconsume_times: Option<i32> = "reconsumeTimes",
        /// As in the send.
        unit_mode: bool = "unitMode",
        /// `ip:port` of the replier.
        born_host: &'a str = "bornHost",
        /// `ip:port` of the broker.
        store_host: &'a str = "storeHost",
        /// When the broker took the reply, in milliseconds.
        store_timestamp: i64 = "storeTimestamp",
    }
}
