//! Requests that have no header type of their own: their code and body say all.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tenonmq_protocol::{
    FieldSink, Fields, HeaderError, RequestCode,
    header::{RequestHeader, SendMessage},
};

/// Declares a request without fields.
macro_rules! bare_requests {
    ($($(#[$doc:meta])* $name:ident = $code:ident;)*) => {$(
        $(#[$doc])*
        pub(crate) struct $name;

        impl<'a> RequestHeader<'a> for $name {
            const CODE: RequestCode = RequestCode::$code;

            fn decode(_: &Fields<'a>) -> Result<Self, HeaderError> {
                Ok(Self)
            }

            fn encode(&self, _: &mut impl FieldSink) {}
        }
    )*};
}

bare_requests! {
    /// This client lives; the body says what it is.
    Heartbeat = HEART_BEAT;
    /// All brokers that the name server knows.
    GetClusterInfo = GET_BROKER_CLUSTER_INFO;
}

/// A send whose body is a batch: the same fields under another code.
pub(crate) struct SendBatch<'a>(pub(crate) SendMessage<'a>);

impl<'a> RequestHeader<'a> for SendBatch<'a> {
    const CODE: RequestCode = RequestCode::SEND_BATCH_MESSAGE;

    fn decode(fields: &Fields<'a>) -> Result<Self, HeaderError> {
        SendMessage::decode(fields).map(Self)
    }

    fn encode(&self, out: &mut impl FieldSink) {
        self.0.encode(out);
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
