//! What a broker says about a message that it has stored.

use tenonmq_protocol::message::queue::MessageQueue;

/// How safe a stored message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SendStatus {
    /// As safe as the broker's policy demands.
    Ok,
    /// Stored, but not on disk within the broker's time limit.
    FlushTimeout,
    /// Stored, but on no replica within the broker's time limit.
    ReplicaTimeout,
    /// Stored, but there is no replica.
    NoReplica,
}

/// A stored message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SendReceipt {
    /// How safe it is. Anything but [`SendStatus::Ok`] is a message that consumers get, and that a crash may lose.
    pub status: SendStatus,
    /// The id that the client gave it (`UNIQ_KEY`): the same for all its copies.
    pub message_id: String,
    /// The id that names its place in the broker's log.
    pub offset_message_id: String,
    /// The queue that it went to.
    pub queue: MessageQueue,
    /// Its position there; for a half message its position among the half messages.
    pub queue_offset: i64,
    /// The transaction's id, which is the message's.
    pub transaction_id: Option<String>,
    /// With which a timer message can be recalled.
    pub recall_handle: Option<String>,
}

/// A stored batch.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchReceipt {
    /// How safe it is.
    pub status: SendStatus,
    /// The ids that the client gave the messages, in their order.
    pub message_ids: Vec<String>,
    /// The ids that name their places in the broker's log, in their order.
    pub offset_message_ids: Vec<String>,
    /// The queue that they went to.
    pub queue: MessageQueue,
    /// Position of the first there; the others follow.
    pub first_queue_offset: i64,
}

impl From<SendReceipt> for BatchReceipt {
    fn from(receipt: SendReceipt) -> Self {
        let split = |ids: &str| ids.split(',').filter(|id| !id.is_empty()).map(str::to_owned).collect();
        Self {
            status: receipt.status,
            message_ids: split(&receipt.message_id),
            offset_message_ids: split(&receipt.offset_message_id),
            queue: receipt.queue,
            first_queue_offset: receipt.queue_offset,
        }
    }
}
