//! Pulling messages (11, 361).

requests! {
    /// Messages of one queue from an offset on. Upstream: `PullMessageRequestHeader`; code 361 has the same fields.
    PullMessage<'a> = PULL_MESSAGE {
        /// Who reads.
        consumer_group: &'a str = "consumerGroup",
        /// What is read.
        topic: &'a str = "topic",
        /// Queue of the topic.
        queue_id: i32 = "queueId",
        /// Next offset wanted.
        queue_offset: i64 = "queueOffset",
        /// Most messages wanted.
        max_count: i32 = "maxMsgNums",
        /// See [`PullFlags`].
        sys_flag: i32 = "sysFlag",
        /// Offset to commit when the flag says so.
        commit_offset: i64 = "commitOffset" or 0,
        /// How long to wait for messages when the flag says so, in milliseconds.
        suspend_timeout_millis: i64 = "suspendTimeoutMillis" or 0,
        /// Filter expression when the flag says so.
        subscription: Option<&'a str> = "subscription",
        /// Version of the reader's subscription.
        sub_version: i64 = "subVersion" or 0,
        /// `TAG` or `SQL92`; `TAG` when absent.
        expression_type: Option<&'a str> = "expressionType",
        /// Most bytes wanted; a hint.
        max_bytes: Option<i32> = "maxMsgBytes",
        /// −1 client, 0 to 2 kinds of proxies.
        request_source: Option<i32> = "requestSource",
        /// Client behind a proxy; upstream's spelling.
        proxy_client_id: Option<&'a str> = "proxyFrowardClientId",
        /// Broker group that the reader means.
        broker_name: Option<&'a str> = "bname",
    }
}

/// The bits of [`PullMessage::sys_flag`]. Origin: `PullSysFlag`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PullFlags(pub i32);

impl PullFlags {
    /// Commit [`PullMessage::commit_offset`].
    pub const COMMIT: i32 = 1;
    /// Wait when there is nothing.
    pub const SUSPEND: i32 = 2;
    /// The request carries its filter.
    pub const SUBSCRIPTION: i32 = 4;
    /// The filter is a class (not supported by anybody any more).
    pub const CLASS_FILTER: i32 = 8;
    /// A lite pull consumer asks.
    pub const LITE_PULL: i32 = 16;

    /// Whether all of `bits` are set.
    pub const fn has(self, bits: i32) -> bool {
        self.0 & bits == bits
    }
}

responses! {
    /// Where to go on. Upstream: `PullMessageResponseHeader`.
    PullResult {
        /// Broker id to pull from next.
        suggest_broker_id: i64 = "suggestWhichBrokerId",
        /// Offset to ask for next.
        next_begin_offset: i64 = "nextBeginOffset",
        /// First offset of the queue.
        min_offset: i64 = "minOffset",
        /// Offset behind the last one of the queue.
        max_offset: i64 = "maxOffset",
        /// Static topics only.
        offset_delta: Option<i64> = "offsetDelta",
        /// Flag of the topic.
        topic_sys_flag: Option<i32> = "topicSysFlag",
        /// Flag of the group.
        group_sys_flag: Option<i32> = "groupSysFlag",
        /// Who forbids reading: 1 broker, 2 group, 3 topic, 4 broadcast, 5 subscription.
        forbidden_type: Option<i32> = "forbiddenType",
    }
}
