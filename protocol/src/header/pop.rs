//! Popping, acknowledging and extending (200050 to 200055).

requests! {
    /// Messages of a topic that nobody else gets for a while. Upstream: `PopMessageRequestHeader`.
    PopMessage<'a> = POP_MESSAGE {
        /// Who reads.
        consumer_group: &'a str = "consumerGroup",
        /// What is read.
        topic: &'a str = "topic",
        /// Queue; −1: any.
        queue_id: i32 = "queueId",
        /// Most messages wanted, at most 32.
        max_count: i32 = "maxMsgNums",
        /// How long they stay invisible to others, in milliseconds.
        invisible_millis: i64 = "invisibleTime",
        /// How long to wait for messages, in milliseconds; 0: not at all.
        poll_millis: i64 = "pollTime",
        /// When the client asked, in milliseconds; 0: now.
        born_time: i64 = "bornTime" or 0,
        /// Where a new group begins: 0 at the first message, 1 behind the last.
        init_mode: i32 = "initMode" or 0,
        /// `TAG` or `SQL92`.
        expression_type: Option<&'a str> = "expType",
        /// Filter expression.
        expression: Option<&'a str> = "exp",
        /// Whether order within a queue is kept.
        order: bool = "order",
        /// Names the attempt, so that an ordered pop can be repeated.
        attempt_id: Option<&'a str> = "attemptId",
        /// Broker group that is meant.
        broker_name: Option<&'a str> = "bname",
    }

    /// A popped message is done. Upstream: `AckMessageRequestHeader`.
    AckMessage<'a> = ACK_MESSAGE {
        /// Who has read.
        consumer_group: &'a str = "consumerGroup",
        /// The topic that it was read from, perhaps the retry topic.
        topic: &'a str = "topic",
        /// Queue of that topic.
        queue_id: i32 = "queueId",
        /// See [`ReceiptHandle`](super::ReceiptHandle).
        extra_info: &'a str = "extraInfo",
        /// Queue offset of the message.
        offset: i64 = "offset",
        /// Broker group that is meant.
        broker_name: Option<&'a str> = "bname",
    }

    /// A popped message shall stay invisible for another time. Upstream: `ChangeInvisibleTimeRequestHeader`.
    ChangeInvisibleTime<'a> = CHANGE_MESSAGE_INVISIBLETIME {
        /// Who has read.
        consumer_group: &'a str = "consumerGroup",
        /// The topic that it was read from, perhaps the retry topic.
        topic: &'a str = "topic",
        /// Queue of that topic.
        queue_id: i32 = "queueId",
        /// See [`ReceiptHandle`](super::ReceiptHandle).
        extra_info: &'a str = "extraInfo",
        /// Queue offset of the message.
        offset: i64 = "offset",
        /// From now, in milliseconds.
        invisible_millis: i64 = "invisibleTime",
        /// Broker group that is meant.
        broker_name: Option<&'a str> = "bname",
    }

    /// Messages that stay where they are. Upstream: `PeekMessageRequestHeader`.
    PeekMessage<'a> = PEEK_MESSAGE {
        /// Who reads.
        consumer_group: &'a str = "consumerGroup",
        /// What is read.
        topic: &'a str = "topic",
        /// Queue; −1: any.
        queue_id: i32 = "queueId",
        /// Most messages wanted.
        max_count: i32 = "maxMsgNums",
    }

    /// Waits until there is something to pop. Upstream: `NotificationRequestHeader`.
    Notification<'a> = NOTIFICATION {
        /// Who would read.
        consumer_group: &'a str = "consumerGroup",
        /// What would be read.
        topic: &'a str = "topic",
        /// Queue; −1: any.
        queue_id: i32 = "queueId",
        /// How long to wait, in milliseconds.
        poll_millis: i64 = "pollTime",
        /// When the client asked, in milliseconds.
        born_time: i64 = "bornTime",
        /// Whether order within a queue is kept.
        order: bool = "order",
        /// Names the attempt.
        attempt_id: Option<&'a str> = "attemptId",
    }

    /// How many pops are waiting. Upstream: `PollingInfoRequestHeader`.
    PollingInfo<'a> = POLLING_INFO {
        /// Who reads.
        consumer_group: &'a str = "consumerGroup",
        /// What is read.
        topic: &'a str = "topic",
        /// Queue; −1: any.
        queue_id: i32 = "queueId",
    }
}

responses! {
    /// How to make handles for the popped messages. Upstream: `PopMessageResponseHeader`.
    PopResult<'a> {
        /// When they were popped, in milliseconds.
        pop_time: i64 = "popTime" or 0,
        /// How long they stay invisible, in milliseconds.
        invisible_millis: i64 = "invisibleTime" or 0,
        /// Revive queue; 999 for ordered pops.
        revive_queue_id: i32 = "reviveQid" or 0,
        /// Messages left behind these.
        rest_count: i64 = "restNum" or 0,
        /// `kind queueId startOffset` joined by `;`.
        start_offsets: Option<&'a str> = "startOffsetInfo",
        /// `kind queueId offset,offset…` joined by `;`.
        message_offsets: Option<&'a str> = "msgOffsetInfo",
        /// `kind queueId count` or `kind qo<queueId>%<offset> count` joined by `;`.
        order_counts: Option<&'a str> = "orderCountInfo",
    }

    /// What the new handle consists of. Upstream: `ChangeInvisibleTimeResponseHeader`.
    ChangeInvisibleTimeResult {
        /// When the time was changed, in milliseconds.
        pop_time: i64 = "popTime",
        /// The new time, in milliseconds.
        invisible_millis: i64 = "invisibleTime",
        /// Revive queue.
        revive_queue_id: i32 = "reviveQid",
    }

    /// Answers a [`Notification`]. Upstream: `NotificationResponseHeader`.
    NotificationResult {
        /// Whether there is something to pop.
        has_message: bool = "hasMsg",
        /// Whether too many wait already.
        polling_full: bool = "pollingFull",
    }

    /// Answers [`PollingInfo`]. Upstream: `PollingInfoResponseHeader`.
    PollingInfoResult {
        /// Pops that wait.
        polling_count: i32 = "pollingNum",
    }
}
