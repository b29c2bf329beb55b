//! Sending messages (10, 310, 320), replies (324, 325, 326), and their receipts.

use super::RequestHeader;
use crate::code::RequestCode;
use crate::error::HeaderError;
use crate::fields::Fields;
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

struct Names {
    producer_group: &'static str,
    topic: &'static str,
    default_topic: &'static str,
    default_topic_queue_nums: &'static str,
    queue_id: &'static str,
    sys_flag: &'static str,
    born_timestamp: &'static str,
    flag: &'static str,
    properties: &'static str,
    reconsume_times: &'static str,
    unit_mode: &'static str,
    max_reconsume_times: &'static str,
    batch: &'static str,
    broker_name: &'static str,
}

const LONG: Names = Names {
    producer_group: "producerGroup",
    topic: "topic",
    default_topic: "defaultTopic",
    default_topic_queue_nums: "defaultTopicQueueNums",
    queue_id: "queueId",
    sys_flag: "sysFlag",
    born_timestamp: "bornTimestamp",
    flag: "flag",
    properties: "properties",
    reconsume_times: "reconsumeTimes",
    unit_mode: "unitMode",
    max_reconsume_times: "maxReconsumeTimes",
    batch: "batch",
    broker_name: "bname",
};

const SHORT: Names = Names {
    producer_group: "a",
    topic: "b",
    default_topic: "c",
    default_topic_queue_nums: "d",
    queue_id: "e",
    sys_flag: "f",
    born_timestamp: "g",
    flag: "h",
    properties: "i",
    reconsume_times: "j",
    unit_mode: "k",
    max_reconsume_times: "l",
    batch: "m",
    broker_name: "n",
};

impl<'a> SendMessage<'a> {
    /// Writes the long names, as codes 10 and 324 want.
    pub fn encode_long(&self, out: &mut impl FieldSink) {
        self.write(&LONG, out);
    }

    fn read(fields: &Fields<'a>, names: &Names) -> Result<Self, HeaderError> {
        Ok(Self {
            producer_group: fields.text(names.producer_group)?,
            topic: fields.text(names.topic)?,
            default_topic: fields.text_or_empty(names.default_topic),
            default_topic_queue_nums: fields.number_or(names.default_topic_queue_nums, 0)?,
            queue_id: fields.number(names.queue_id)?,
            sys_flag: fields.number(names.sys_flag)?,
            born_timestamp: fields.number(names.born_timestamp)?,
            flag: fields.number_or(names.flag, 0)?,
            properties: fields.text_or_empty(names.properties),
            reconsume_times: fields.number_or(names.reconsume_times, 0)?,
            unit_mode: fields.flag(names.unit_mode),
            max_reconsume_times: fields.optional_number(names.max_reconsume_times)?,
            batch: fields.flag(names.batch),
            broker_name: fields.get(names.broker_name),
        })
    }

    fn write(&self, names: &Names, out: &mut impl FieldSink) {
        out.put(names.producer_group, self.producer_group);
        out.put(names.topic, self.topic);
        out.put(names.default_topic, self.default_topic);
        out.put(names.default_topic_queue_nums, self.default_topic_queue_nums);
        out.put(names.queue_id, self.queue_id);
        out.put(names.sys_flag, self.sys_flag);
        out.put(names.born_timestamp, self.born_timestamp);
        out.put(names.flag, self.flag);
        out.put(names.properties, Some(self.properties).filter(|text| !text.is_empty()));
        out.put(names.reconsume_times, self.reconsume_times);
        out.put(names.unit_mode, self.unit_mode);
        out.put(names.max_reconsume_times, self.max_reconsume_times);
        out.put(names.batch, self.batch);
        out.put(names.broker_name, self.broker_name);
    }
}

impl<'a> RequestHeader<'a> for SendMessage<'a> {
    const CODE: RequestCode = RequestCode::SEND_MESSAGE_V2;

    fn decode(fields: &Fields<'a>) -> Result<Self, HeaderError> {
        Self::read(fields, if fields.get(LONG.topic).is_some() { &LONG } else { &SHORT })
    }

    fn encode(&self, out: &mut impl FieldSink) {
        self.write(&SHORT, out);
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
