//! What clients say about themselves, and who is connected (34, 38, 46, 203, 204, 328).

use std::collections::BTreeMap;

use crate::language::Language;

names! {
    /// How a group gets its messages.
    ConsumeType or Passively {
        /// The application pulls.
        Actively = "CONSUME_ACTIVELY",
        /// The client pulls and hands them over.
        Passively = "CONSUME_PASSIVELY",
        /// The broker leases them.
        Pop = "CONSUME_POP",
    }

    /// Whether members share the messages or each gets all.
    MessageModel or Clustering {
        /// Each gets all.
        Broadcasting = "BROADCASTING",
        /// They share.
        Clustering = "CLUSTERING",
    }

    /// Where a new group begins.
    ConsumeFromWhere or LastOffset {
        /// Behind the last message.
        LastOffset = "CONSUME_FROM_LAST_OFFSET",
        /// Legacy, as `LastOffset`.
        LastOffsetAndFromMinWhenBootFirst = "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
        /// Legacy, as `FirstOffset`.
        MinOffset = "CONSUME_FROM_MIN_OFFSET",
        /// Legacy, as `LastOffset`.
        MaxOffset = "CONSUME_FROM_MAX_OFFSET",
        /// At the first message.
        FirstOffset = "CONSUME_FROM_FIRST_OFFSET",
        /// At a time.
        Timestamp = "CONSUME_FROM_TIMESTAMP",
    }
}

bodies! {
    /// A client's heartbeat (34). Upstream: `HeartbeatData`.
    #[derive(Default)]
    HeartbeatData {
        /// The client; `ip@instance`.
        #[serde(rename = "clientID")]
        client_id: String,
        /// Consumer groups that it is in.
        consumer_data_set: Vec<ConsumerData>,
        /// Hash of the rest for the second version of heartbeats; 0 for the first.
        heartbeat_fingerprint: i32,
        /// Producer groups that it is in.
        producer_data_set: Vec<ProducerData>,
        /// The subscriptions were left out because nothing has changed.
        #[serde(alias = "isWithoutSub")]
        without_sub: bool,
    }

    /// A client as a member of a producer group.
    #[derive(Default)]
    ProducerData {
        /// The group.
        group_name: String,
    }

    /// A client as a member of a consumer group.
    #[derive(Default)]
    ConsumerData {
        /// Where a new group begins.
        consume_from_where: ConsumeFromWhere,
        /// How it gets messages.
        consume_type: ConsumeType,
        /// The group.
        group_name: String,
        /// Whether members share the messages.
        message_model: MessageModel,
        /// Topics it reads.
        subscription_data_set: Vec<SubscriptionData>,
        /// Legacy "unit" deployments.
        unit_mode: bool,
    }

    /// One topic that a group reads, and the filter.
    SubscriptionData {
        /// Legacy class filters.
        class_filter_mode: bool,
        /// Java hash of each tag.
        code_set: Vec<i32>,
        /// `TAG` or `SQL92`.
        expression_type: Option<String>,
        /// The expression; `*` for all.
        sub_string: String,
        /// When it was made, in milliseconds; the newer one counts.
        sub_version: i64,
        /// The tags.
        tags_set: Vec<String>,
        /// The topic.
        topic: String,
    }

    /// Members of a group (38).
    #[derive(Default)]
    ConsumerIds {
        /// Their client ids.
        consumer_id_list: Vec<String>,
    }

    /// Asks whether a filter compiles (46).
    #[derive(Default)]
    CheckClientConfig {
        /// The client.
        client_id: String,
        /// The group.
        group: String,
        /// The namespace, if any.
        namespace: Option<String>,
        /// The subscription.
        subscription_data: SubscriptionData,
    }

    /// One client's connection.
    #[derive(Default)]
    Connection {
        /// `ip:port` of the client.
        client_addr: String,
        /// The client.
        client_id: String,
        /// What it is written in.
        language: LanguageName,
        /// Its version.
        version: i32,
    }

    /// Connections of a consumer group and what it reads (203).
    #[derive(Default)]
    ConsumerConnection {
        /// The connections.
        connection_set: Vec<Connection>,
        /// Where a new group begins.
        consume_from_where: ConsumeFromWhere,
        /// How it gets messages.
        consume_type: ConsumeType,
        /// Whether members share the messages.
        message_model: MessageModel,
        /// What it reads, by topic.
        subscription_table: BTreeMap<String, SubscriptionData>,
    }

    /// Connections of a producer group (204).
    #[derive(Default)]
    ProducerConnection {
        /// The connections.
        connection_set: Vec<Connection>,
    }

    /// All producers (328).
    #[derive(Default)]
    ProducerTable {
        /// Clients by group.
        data: BTreeMap<String, Vec<ProducerInfo>>,
    }

    /// One producer of [`ProducerTable`].
    #[derive(Default)]
    ProducerInfo {
        /// The client.
        client_id: String,
        /// What it is written in.
        language: LanguageName,
        /// When it was heard last, in milliseconds.
        last_update_timestamp: i64,
        /// `ip:port` of the client.
        #[serde(rename = "remoteIP")]
        remote_ip: String,
        /// Its version.
        version: i32,
    }
}

impl Default for SubscriptionData {
    /// Everything of no topic.
    fn default() -> Self {
        Self {
            class_filter_mode: false,
            code_set: Vec::new(),
            expression_type: Some("TAG".to_owned()),
            sub_string: "*".to_owned(),
            sub_version: 0,
            tags_set: Vec::new(),
            topic: String::new(),
        }
    }
}

/// A [`Language`] as bodies hold it: by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LanguageName(pub Language);

impl serde::Serialize for LanguageName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name())
    }
}

impl<'de> serde::Deserialize<'de> for LanguageName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|name| Self(Language::from_name(&name)))
    }
}
