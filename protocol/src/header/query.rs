//! Looking messages up (12, 33) and taking timer messages back (370).

requests! {
    /// Messages by key. Upstream: `QueryMessageRequestHeader`.
    QueryMessage<'a> = QUERY_MESSAGE {
        /// The topic.
        topic: &'a str = "topic",
        /// The key, or the unique key.
        key: &'a str = "key",
        /// Most messages wanted; a unique-key query gets the broker's default instead.
        max_count: i32 = "maxNum",
        /// Earliest store time, in milliseconds.
        begin_timestamp: i64 = "beginTimestamp",
        /// Latest store time, in milliseconds; often [`i64::MAX`].
        end_timestamp: i64 = "endTimestamp",
        /// Whether `key` is a unique key.
        unique_key: bool = "_UNIQUE_KEY_QUERY",
    }

    /// One message by its commit log offset. Upstream: `ViewMessageRequestHeader`.
    ViewMessage<'a> = VIEW_MESSAGE_BY_ID {
        /// The topic, if the asker knows it.
        topic: Option<&'a str> = "topic",
        /// Where its record starts.
        commit_log_offset: i64 = "offset",
    }

    /// Takes a timer message back before it is due. Upstream: `RecallMessageRequestHeader`.
    RecallMessage<'a> = RECALL_MESSAGE {
        /// Who asks.
        producer_group: Option<&'a str> = "producerGroup",
        /// The message's topic.
        topic: &'a str = "topic",
        /// What the send gave, see [`RecallHandle`](super::RecallHandle).
        recall_handle: &'a str = "recallHandle",
        /// Broker group that is meant.
        broker_name: Option<&'a str> = "bname",
    }
}

responses! {
    /// How far the index has come. Upstream: `QueryMessageResponseHeader`.
    QueryMessageResult {
        /// Store time of the newest message in the index.
        index_last_update_timestamp: i64 = "indexLastUpdateTimestamp",
        /// Its commit log offset.
        index_last_update_offset: i64 = "indexLastUpdatePhyoffset",
    }

    /// A message was taken back. Upstream: `RecallMessageResponseHeader`.
    RecallResult<'a> {
        /// Its unique key.
        message_id: &'a str = "msgId",
        /// The broker's region.
        region: Option<&'a str> = "MSG_REGION",
    }
}
