//! What a consumer is doing (307), and what it made of one message (309).

use std::collections::BTreeMap;

use super::heartbeat::SubscriptionData;
use crate::message::MessageQueue;

names! {
    /// What became of a message handed to a consumer.
    ConsumeResult or Success {
        /// Processed.
        Success = "CR_SUCCESS",
        /// To be processed later.
        Later = "CR_LATER",
        /// Ordered consumption: to be rolled back.
        Rollback = "CR_ROLLBACK",
        /// Ordered consumption: to be committed.
        Commit = "CR_COMMIT",
        /// The listener threw.
        ThrowException = "CR_THROW_EXCEPTION",
        /// The listener returned nothing.
        ReturnNull = "CR_RETURN_NULL",
    }
}

bodies! {
    /// What a consumer is doing (307).
    #[derive(Default)]
    ConsumerRunningInfo {
        /// Stacks of all threads.
        jstack: Option<String>,
        /// Queues that it pops.
        mq_pop_table: BTreeMap<MessageQueue, PopProcessQueueInfo>,
        /// Queues that it pulls.
        mq_table: BTreeMap<MessageQueue, ProcessQueueInfo>,
        /// Its settings.
        properties: BTreeMap<String, String>,
        /// Rates by topic.
        status_table: BTreeMap<String, ConsumeRates>,
        /// Topics it reads.
        subscription_set: Vec<SubscriptionData>,
        /// What the application adds.
        user_consumer_info: BTreeMap<String, String>,
    }

    /// One queue that is pulled.
    #[derive(Default, Eq)]
    ProcessQueueInfo {
        /// Messages in memory.
        cached_msg_count: i32,
        /// Last of them.
        cached_msg_max_offset: i64,
        /// First of them.
        cached_msg_min_offset: i64,
        /// Their size, in MiB.
        cached_msg_size_in_mi_b: i32,
        /// Offset to commit.
        commit_offset: i64,
        /// Whether the queue was taken away; upstream's spelling.
        droped: bool,
        /// When a message was processed last, in milliseconds.
        last_consume_timestamp: i64,
        /// When the queue was locked last, in milliseconds.
        last_lock_timestamp: i64,
        /// When it was pulled last, in milliseconds.
        last_pull_timestamp: i64,
        /// Whether it is locked.
        locked: bool,
        /// Ordered consumption: messages being processed.
        transaction_msg_count: i32,
        /// Last of them.
        transaction_msg_max_offset: i64,
        /// First of them.
        transaction_msg_min_offset: i64,
        /// Attempts to unlock.
        try_unlock_times: i64,
    }

    /// One queue that is popped.
    #[derive(Default, Eq)]
    PopProcessQueueInfo {
        /// Whether the queue was taken away; upstream's spelling.
        droped: bool,
        /// When it was popped last, in milliseconds.
        last_pop_timestamp: i64,
        /// Messages not yet acknowledged.
        wait_ack_count: i32,
    }

    /// Rates of one topic. Upstream: `ConsumeStatus`.
    #[derive(Default)]
    ConsumeRates {
        /// Failures of the last hour.
        consume_failed_msgs: i64,
        /// Failures a second.
        #[serde(rename = "consumeFailedTPS")]
        consume_failed_tps: f64,
        /// Successes a second.
        #[serde(rename = "consumeOKTPS")]
        consume_ok_tps: f64,
        /// Time to process, in milliseconds.
        #[serde(rename = "consumeRT")]
        consume_rt: f64,
        /// Time to pull, in milliseconds.
        #[serde(rename = "pullRT")]
        pull_rt: f64,
        /// Messages pulled a second.
        #[serde(rename = "pullTPS")]
        pull_tps: f64,
    }

    /// What a consumer made of one message (309).
    ConsumeDirectlyResult {
        /// Whether it commits by itself.
        auto_commit: bool,
        /// What became of the message.
        consume_result: ConsumeResult,
        /// Whether it reads in order.
        order: bool,
        /// Text for people.
        remark: Option<String>,
        /// How long it took, in milliseconds.
        spent_time_mills: i64,
    }
}

impl Default for ConsumeDirectlyResult {
    fn default() -> Self {
        Self {
            auto_commit: true,
            consume_result: ConsumeResult::default(),
            order: false,
            remark: None,
            spent_time_mills: 0,
        }
    }
}
