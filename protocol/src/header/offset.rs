//! Consumer offsets and the ends of queues (14, 15, 29 to 32).

use super::HeaderField;
use crate::error::HeaderError;
use crate::writer::FieldSink;

/// Which of several messages of one time a search finds. Origin: `BoundaryType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Boundary {
    /// The first.
    #[default]
    Lower,
    /// The last.
    Upper,
}

/// Anything but `upper`, in any case, is `Lower`.
impl<'a> HeaderField<'a> for Boundary {
    fn read(_: &'static str, text: Option<&'a str>) -> Result<Self, HeaderError> {
        let upper = text.is_some_and(|text| text.eq_ignore_ascii_case("upper"));
        Ok(if upper { Self::Upper } else { Self::Lower })
    }

    fn write(&self, name: &'static str, out: &mut impl FieldSink) {
        out.put(name, if *self == Self::Upper { "UPPER" } else { "LOWER" });
    }
}

requests! {
    /// How far a group has read a queue. Answer: [`OffsetAnswer`]. Upstream: `QueryConsumerOffsetRequestHeader`.
    QueryOffset<'a> = QUERY_CONSUMER_OFFSET {
        /// The group.
        consumer_group: &'a str = "consumerGroup",
        /// The topic.
        topic: &'a str = "topic",
        /// Queue of the topic.
        queue_id: i32 = "queueId",
        /// `false`: answer "not found" rather than 0. Absent means true.
        set_zero_if_not_found: Option<bool> = "setZeroIfNotFound",
        /// Broker group that is meant.
        broker_name: Option<&'a str> = "bname",
    }

    /// A group has read a queue up to an offset. Upstream: `UpdateConsumerOffsetRequestHeader`.
    UpdateOffset<'a> = UPDATE_CONSUMER_OFFSET {
        /// The group.
        consumer_group: &'a str = "consumerGroup",
        /// The topic.
        topic: &'a str = "topic",
        /// Queue of the topic.
        queue_id: i32 = "queueId",
        /// Next offset to read.
        commit_offset: i64 = "commitOffset",
        /// Broker group that is meant.
        broker_name: Option<&'a str> = "bname",
    }

    /// The offset of a time. Answer: [`OffsetAnswer`]. Upstream: `SearchOffsetRequestHeader`.
    SearchOffset<'a> = SEARCH_OFFSET_BY_TIMESTAMP {
        /// The topic.
        topic: &'a str = "topic",
        /// Queue of the topic.
        queue_id: i32 = "queueId",
        /// The time in milliseconds.
        timestamp: i64 = "timestamp",
        /// Which of several messages of that time.
        boundary: Boundary = "boundaryType",
        /// Broker group that is meant.
        broker_name: Option<&'a str> = "bname",
    }

    /// The offset behind a queue's last message. Answer: [`OffsetAnswer`]. Upstream: `GetMaxOffsetRequestHeader`.
    GetMaxOffset<'a> = GET_MAX_OFFSET {
        /// The topic.
        topic: &'a str = "topic",
        /// Queue of the topic.
        queue_id: i32 = "queueId",
        /// Whether only what readers see counts.
        committed: bool = "committed" or true,
        /// Broker group that is meant.
        broker_name: Option<&'a str> = "bname",
    }

    /// The offset of a queue's first message. Answer: [`OffsetAnswer`]. Upstream: `GetMinOffsetRequestHeader`.
    GetMinOffset<'a> = GET_MIN_OFFSET {
        /// The topic.
        topic: &'a str = "topic",
        /// Queue of the topic.
        queue_id: i32 = "queueId",
        /// Broker group that is meant.
        broker_name: Option<&'a str> = "bname",
    }

    /// When a queue's first message was stored. Answer: [`StoreTimeAnswer`].
    /// Upstream: `GetEarliestMsgStoretimeRequestHeader`.
    GetEarliestStoreTime<'a> = GET_EARLIEST_MSG_STORETIME {
        /// The topic.
        topic: &'a str = "topic",
        /// Queue of the topic.
        queue_id: i32 = "queueId",
        /// Broker group that is meant.
        broker_name: Option<&'a str> = "bname",
    }
}

responses! {
    /// An offset. Answers codes 14, 29, 30 and 31.
    OffsetAnswer {
        /// The offset; −1 stands for an unknown queue's minimum.
        offset: i64 = "offset",
    }

    /// A time. Answers code 32.
    StoreTimeAnswer {
        /// Milliseconds; −1 when there is no message.
        timestamp: i64 = "timestamp",
    }
}
