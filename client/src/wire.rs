//! Headers and bodies that this client writes and reads.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tenonmq_protocol::{FieldSink, Fields, HeaderError, RequestCode, message::flags::SysFlag};

/// The header of one kind of request.
pub(crate) trait RequestHeader<'a> {
    const CODE: RequestCode;
    fn encode(&self, out: &mut impl FieldSink);
}

/// The header of one kind of answer.
pub(crate) trait ResponseHeader<'a>: Sized {
    fn decode(fields: &Fields<'a>) -> Result<Self, HeaderError>;
}

macro_rules! request {
    ($(#[$doc:meta])* $name:ident[$($lt:lifetime)?] = $code:ident { $($field:ident : $ty:ty = $wire:literal),* $(,)? }) => {
        $(#[$doc])*
        pub(crate) struct $name$(<$lt>)? { $(pub(crate) $field: $ty,)* }
        impl<'h $(, $lt)?> RequestHeader<'h> for $name$(<$lt>)? {
            const CODE: RequestCode = RequestCode::$code;
            fn encode(&self, out: &mut impl FieldSink) {
                let _ = &out;
                $(out.put($wire, &self.$field);)*
            }
        }
    };
}

request!(GetRoute['a] = GET_ROUTEINFO_BY_TOPIC {
    topic: &'a str = "topic", accept_standard_json_only: Option<bool> = "acceptStandardJsonOnly",
});
request!(UnregisterClient['a] = UNREGISTER_CLIENT {
    client_id: &'a str = "clientID",
    producer_group: Option<&'a str> = "producerGroup",
    consumer_group: Option<&'a str> = "consumerGroup",
});
request!(QueryConsumerOffset['a] = QUERY_CONSUMER_OFFSET {
    consumer_group: &'a str = "consumerGroup", topic: &'a str = "topic", queue_id: i32 = "queueId",
    set_zero_if_not_found: Option<bool> = "setZeroIfNotFound", broker_name: Option<&'a str> = "bname",
});
request!(UpdateConsumerOffset['a] = UPDATE_CONSUMER_OFFSET {
    consumer_group: &'a str = "consumerGroup", topic: &'a str = "topic", queue_id: i32 = "queueId",
    commit_offset: i64 = "commitOffset", broker_name: Option<&'a str> = "bname",
});
request!(MaxOffset['a] = GET_MAX_OFFSET {
    topic: &'a str = "topic", queue_id: i32 = "queueId", committed: bool = "committed",
    broker_name: Option<&'a str> = "bname",
});
request!(MinOffset['a] = GET_MIN_OFFSET {
    topic: &'a str = "topic", queue_id: i32 = "queueId", broker_name: Option<&'a str> = "bname",
});
request!(OffsetByTimestamp['a] = SEARCH_OFFSET_BY_TIMESTAMP {
    topic: &'a str = "topic", queue_id: i32 = "queueId", timestamp: i64 = "timestamp",
    boundary: Option<&'static str> = "boundaryType", broker_name: Option<&'a str> = "bname",
});
request!(ConsumerList['a] = GET_CONSUMER_LIST_BY_GROUP { consumer_group: &'a str = "consumerGroup" });
request!(ConsumerSendBack['a] = CONSUMER_SEND_MSG_BACK {
    offset: i64 = "offset", group: &'a str = "group", delay_level: i32 = "delayLevel",
    origin_message_id: Option<&'a str> = "originMsgId", origin_topic: Option<&'a str> = "originTopic",
    unit_mode: bool = "unitMode", max_reconsume_times: Option<i32> = "maxReconsumeTimes",
});
request!(PullMessage['a] = PULL_MESSAGE {
    consumer_group: &'a str = "consumerGroup", topic: &'a str = "topic", queue_id: i32 = "queueId",
    queue_offset: i64 = "queueOffset", max_messages: i32 = "maxMsgNums", sys_flag: i32 = "sysFlag",
    commit_offset: i64 = "commitOffset", suspend_timeout_ms: i64 = "suspendTimeoutMillis",
    subscription: Option<&'a str> = "subscription", subscription_version: i64 = "subVersion",
    expression_type: Option<&'a str> = "expressionType", max_bytes: Option<i32> = "maxMsgBytes",
    broker_name: Option<&'a str> = "bname",
});
request!(CreateTopic['a] = UPDATE_AND_CREATE_TOPIC {
    topic: &'a str = "topic", default_topic: &'a str = "defaultTopic",
    read_queues: i32 = "readQueueNums", write_queues: i32 = "writeQueueNums", perm: i32 = "perm",
    filter_type: &'a str = "topicFilterType", topic_sys_flag: i32 = "topicSysFlag", order: bool = "order",
    attributes: &'a str = "attributes", force: bool = "force",
});
request!(DeleteTopicInBroker['a] = DELETE_TOPIC_IN_BROKER { topic: &'a str = "topic" });
request!(DeleteTopicInNameServer['a] = DELETE_TOPIC_IN_NAMESRV { topic: &'a str = "topic" });
request!(ViewMessage['a] = VIEW_MESSAGE_BY_ID { topic: Option<&'a str> = "topic", offset: i64 = "offset" });
request!(GetClusterInfo[] = GET_BROKER_CLUSTER_INFO {});
request!(Heartbeat[] = HEART_BEAT {});

/// A send in the short form.
pub(crate) struct SendMessage<'a> {
    pub(crate) producer_group: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) default_topic: &'a str,
    pub(crate) default_topic_queue_nums: i32,
    pub(crate) queue_id: i32,
    pub(crate) sys_flag: SysFlag,
    pub(crate) born_timestamp: i64,
    pub(crate) flag: i32,
    pub(crate) properties: Option<&'a str>,
    pub(crate) reconsume_times: Option<i32>,
    pub(crate) unit_mode: bool,
    pub(crate) max_reconsume_times: Option<i32>,
    pub(crate) broker_name: Option<&'a str>,
}

impl SendMessage<'_> {
    fn write(&self, out: &mut impl FieldSink, batch: bool) {
        out.put("a", self.producer_group);
        out.put("b", self.topic);
        out.put("c", self.default_topic);
        out.put("d", self.default_topic_queue_nums);
        out.put("e", self.queue_id);
        out.put("f", self.sys_flag.0);
        out.put("g", self.born_timestamp);
        out.put("h", self.flag);
        out.put("i", self.properties);
        out.put("j", self.reconsume_times);
        out.put("k", self.unit_mode);
        out.put("l", self.max_reconsume_times);
        out.put("m", batch);
        out.put("n", self.broker_name);
    }
}

impl<'a> RequestHeader<'a> for SendMessage<'a> {
    const CODE: RequestCode = RequestCode::SEND_MESSAGE_V2;
    fn encode(&self, out: &mut impl FieldSink) {
        self.write(out, false);
    }
}

/// The same for a batch.
pub(crate) struct SendBatch<'a>(pub(crate) SendMessage<'a>);

impl<'a> RequestHeader<'a> for SendBatch<'a> {
    const CODE: RequestCode = RequestCode::SEND_BATCH_MESSAGE;
    fn encode(&self, out: &mut impl FieldSink) {
        self.0.write(out, true);
    }
}

/// A producer's verdict on a half message.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Verdict {
    Unknown,
    Commit,
    Rollback,
}

pub(crate) struct EndTransaction<'a> {
    pub(crate) topic: Option<&'a str>,
    pub(crate) producer_group: &'a str,
    pub(crate) half_queue_offset: i64,
    pub(crate) commit_log_offset: i64,
    pub(crate) verdict: Verdict,
    pub(crate) from_check: bool,
    pub(crate) message_id: &'a str,
    pub(crate) transaction_id: Option<&'a str>,
}

impl<'a> RequestHeader<'a> for EndTransaction<'a> {
    const CODE: RequestCode = RequestCode::END_TRANSACTION;
    fn encode(&self, out: &mut impl FieldSink) {
        out.put("topic", self.topic);
        out.put("producerGroup", self.producer_group);
        out.put("tranStateTableOffset", self.half_queue_offset);
        out.put("commitLogOffset", self.commit_log_offset);
        let verdict = match self.verdict {
            Verdict::Unknown => 0,
            Verdict::Commit => 8,
            Verdict::Rollback => 12,
        };
        out.put("commitOrRollback", verdict);
        out.put("fromTransactionCheck", self.from_check);
        out.put("msgId", self.message_id);
        out.put("transactionId", self.transaction_id);
    }
}

/// A broker's question about a half message.
pub(crate) struct CheckTransaction<'a> {
    pub(crate) topic: Option<&'a str>,
    pub(crate) half_queue_offset: i64,
    pub(crate) commit_log_offset: i64,
    pub(crate) message_id: Option<&'a str>,
    pub(crate) transaction_id: Option<&'a str>,
}

impl<'a> ResponseHeader<'a> for CheckTransaction<'a> {
    fn decode(fields: &Fields<'a>) -> Result<Self, HeaderError> {
        Ok(Self {
            topic: fields.get("topic"),
            half_queue_offset: fields.number("tranStateTableOffset")?,
            commit_log_offset: fields.number("commitLogOffset")?,
            message_id: fields.get("msgId"),
            transaction_id: fields.get("transactionId"),
        })
    }
}

pub(crate) struct SendMessageAnswer<'a> {
    pub(crate) message_id: &'a str,
    pub(crate) queue_id: i32,
    pub(crate) queue_offset: i64,
    pub(crate) transaction_id: Option<&'a str>,
    pub(crate) recall_handle: Option<&'a str>,
}

impl<'a> ResponseHeader<'a> for SendMessageAnswer<'a> {
    fn decode(fields: &Fields<'a>) -> Result<Self, HeaderError> {
        Ok(Self {
            message_id: fields.text("msgId")?,
            queue_id: fields.number("queueId")?,
            queue_offset: fields.number("queueOffset")?,
            transaction_id: fields.get("transactionId"),
            recall_handle: fields.get("recallHandle"),
        })
    }
}

pub(crate) struct PullMessageAnswer {
    pub(crate) suggest_which_broker_id: i64,
    pub(crate) next_begin_offset: i64,
    pub(crate) min_offset: i64,
    pub(crate) max_offset: i64,
}

impl<'a> ResponseHeader<'a> for PullMessageAnswer {
    fn decode(fields: &Fields<'a>) -> Result<Self, HeaderError> {
        Ok(Self {
            suggest_which_broker_id: fields.number_or("suggestWhichBrokerId", 0)?,
            next_begin_offset: fields.number("nextBeginOffset")?,
            min_offset: fields.number("minOffset")?,
            max_offset: fields.number("maxOffset")?,
        })
    }
}

pub(crate) struct OffsetAnswer {
    pub(crate) offset: i64,
}

impl<'a> ResponseHeader<'a> for OffsetAnswer {
    fn decode(fields: &Fields<'a>) -> Result<Self, HeaderError> {
        Ok(Self { offset: fields.number("offset")? })
    }
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HeartbeatData {
    #[serde(rename = "clientID")]
    pub(crate) client_id: String,
    pub(crate) consumer_data_set: Vec<ConsumerData>,
    pub(crate) heartbeat_fingerprint: i32,
    pub(crate) producer_data_set: Vec<ProducerData>,
    pub(crate) without_sub: bool,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProducerData {
    pub(crate) group_name: String,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConsumerData {
    pub(crate) consume_from_where: String,
    pub(crate) consume_type: String,
    pub(crate) group_name: String,
    pub(crate) message_model: String,
    pub(crate) subscription_data_set: Vec<SubscriptionData>,
    pub(crate) unit_mode: bool,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SubscriptionData {
    pub(crate) class_filter_mode: bool,
    pub(crate) code_set: Vec<i32>,
    pub(crate) expression_type: String,
    pub(crate) sub_string: String,
    pub(crate) sub_version: i64,
    pub(crate) tags_set: Vec<String>,
    pub(crate) topic: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct TopicRouteData {
    pub(crate) broker_datas: Vec<BrokerData>,
    pub(crate) queue_datas: Vec<QueueData>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct BrokerData {
    pub(crate) broker_name: String,
    pub(crate) broker_addrs: BTreeMap<i64, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct QueueData {
    pub(crate) broker_name: String,
    pub(crate) perm: i32,
    pub(crate) read_queue_nums: i32,
    pub(crate) write_queue_nums: i32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ClusterInfo {
    pub(crate) broker_addr_table: BTreeMap<String, BrokerData>,
}
