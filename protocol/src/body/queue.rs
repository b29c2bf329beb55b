//! Locking queues (41, 42) and dividing them (400 to 402).

use std::collections::BTreeMap;

use super::heartbeat::MessageModel;
use crate::message::MessageQueue;

names! {
    /// How a member gets the messages of a queue.
    MessageRequestMode or Pull {
        /// By pulling.
        Pull = "PULL",
        /// By popping.
        Pop = "POP",
    }
}

bodies! {
    /// Queues that a member wants for itself, or gives back. Upstream: `LockBatchRequestBody`, `UnlockBatchRequestBody`.
    #[derive(Default)]
    LockRequest {
        /// The member.
        client_id: String,
        /// Its group.
        consumer_group: String,
        /// The queues.
        mq_set: Vec<MessageQueue>,
        /// Whether replicas are left out.
        only_this_broker: bool,
    }

    /// Queues that it got.
    #[derive(Default)]
    LockResponse {
        /// The queues.
        #[serde(rename = "lockOKMQSet")]
        locked: Vec<MessageQueue>,
    }

    /// Which queues a member shall read (400).
    #[derive(Default)]
    QueryAssignment {
        /// The member.
        client_id: String,
        /// Its group.
        consumer_group: String,
        /// Whether members share the messages.
        message_model: MessageModel,
        /// How queues are divided: `AVG`, `AVG_BY_CIRCLE`.
        strategy_name: String,
        /// The topic.
        topic: String,
    }

    /// The answer to [`QueryAssignment`].
    #[derive(Default)]
    Assignments {
        /// The queues; absent when group or topic is unknown.
        message_queue_assignments: Option<Vec<Assignment>>,
    }

    /// One queue that a member shall read.
    #[derive(Default)]
    Assignment {
        /// More to know about it.
        attachments: Option<BTreeMap<String, String>>,
        /// The queue; id −1 stands for all of the broker.
        message_queue: Option<MessageQueue>,
        /// How to read it.
        mode: MessageRequestMode,
    }

    /// How a group shall read a topic (401).
    #[derive(Default)]
    SetMessageRequestMode {
        /// The group.
        consumer_group: String,
        /// How.
        mode: MessageRequestMode,
        /// Members that share a queue when popping; 0 or less: all.
        pop_share_queue_num: i32,
        /// The topic.
        topic: String,
    }

    /// All of these (402), as in `messageRequestMode.json`.
    #[derive(Default)]
    MessageRequestModes {
        /// By topic and group.
        message_request_mode_map: BTreeMap<String, BTreeMap<String, SetMessageRequestMode>>,
    }
}
