//! Offsets by queue (43, 45, 61, 220, 221, 222, 223, 308).

use std::collections::BTreeMap;

use super::topic::DataVersion;
use crate::message::MessageQueue;

bodies! {
    /// How far groups have read, as in `consumerOffset.json` (43).
    #[derive(Default)]
    ConsumerOffsets {
        /// Version of the table.
        data_version: DataVersion,
        /// Topics by group; can be told from the other table.
        group_topic_map: BTreeMap<String, Vec<String>>,
        /// Offset by `topic@group` for groups of light queues; only in `lmqConsumerOffset.json`.
        #[serde(skip_serializing_if = "Option::is_none")]
        lmq_offset_table: Option<BTreeMap<String, i64>>,
        /// Offset by queue by `topic@group`.
        offset_table: BTreeMap<String, BTreeMap<i32, i64>>,
    }

    /// How far delay levels have been delivered, as in `delayOffset.json` (45).
    #[derive(Default)]
    DelayOffsets {
        /// Version of the table.
        data_version: DataVersion,
        /// Offset by level.
        offset_table: BTreeMap<i32, i64>,
    }

    /// Timer messages that wait (61).
    #[derive(Default)]
    TimerMetrics {
        /// Version of the table.
        data_version: DataVersion,
        /// Counts by real topic.
        timing_count: BTreeMap<String, TimerCount>,
    }

    /// Timer messages of one topic.
    #[derive(Default)]
    TimerCount {
        /// How many.
        count: i64,
        /// When the count changed, in milliseconds.
        time_stamp: i64,
    }

    /// Offsets to go to (220, 222).
    #[derive(Default)]
    ResetOffsetBody {
        /// By queue.
        offset_table: BTreeMap<MessageQueue, i64>,
    }

    /// The same for C++ clients.
    #[derive(Default)]
    ResetOffsetList {
        /// One by one.
        offset_table: Vec<QueueOffset>,
    }

    /// One offset of [`ResetOffsetList`].
    #[derive(Default)]
    QueueOffset {
        /// Broker group.
        broker_name: String,
        /// The offset.
        offset: i64,
        /// Queue of the topic.
        queue_id: i32,
        /// The topic.
        topic: String,
    }

    /// Offsets as members of a group know them; of both tables one is empty (221, 223).
    #[derive(Default)]
    ConsumerStatus {
        /// By client and queue.
        consumer_table: BTreeMap<String, BTreeMap<MessageQueue, i64>>,
        /// By queue.
        message_queue_table: BTreeMap<MessageQueue, i64>,
    }

    /// Smallest offsets of several groups (308).
    #[derive(Default)]
    CorrectionOffsets {
        /// By queue.
        correction_offsets: BTreeMap<i32, i64>,
    }
}
