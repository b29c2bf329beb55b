//! A message that is leased, and the handle by which it is settled.

use std::ops::Deref;

use tenonmq_protocol::{
    header::receipt::{PopTopic, ReceiptHandle},
    message::properties::names,
};

use crate::{error::Error, received::ReceivedMessage};

/// A message that nobody else gets until its lease ends. It is a [`ReceivedMessage`] with a receipt handle.
#[derive(Debug, Clone)]
pub struct PoppedMessage {
    message: ReceivedMessage,
    pub(super) handle: String,
}

impl PoppedMessage {
    /// The receipt handle. It changes when the lease is changed.
    pub fn handle(&self) -> &str {
        &self.handle
    }

    /// The message without its lease.
    pub fn into_message(self) -> ReceivedMessage {
        self.message
    }

    pub(super) fn receipt(&self) -> Result<ReceiptHandle<'_>, Error> {
        ReceiptHandle::parse(&self.handle).map_err(|error| Error::InvalidMessage { reason: error.to_string() })
    }
}

impl Deref for PoppedMessage {
    type Target = ReceivedMessage;

    fn deref(&self) -> &ReceivedMessage {
        &self.message
    }
}

/// What a pop's answer says of all its messages.
#[derive(Debug, Clone, Default)]
pub(super) struct Lease {
    pub(super) broker_name: String,
    pub(super) pop_time: i64,
    pub(super) invisible_millis: i64,
    pub(super) revive_queue_id: i32,
    /// `kind queueId startOffset` joined by `;`.
    pub(super) start_offsets: String,
}

impl Lease {
    /// Gives a message its handle: the one that the broker wrote into it, or one made of the answer's fields.
    pub(super) fn of(&self, message: ReceivedMessage) -> PoppedMessage {
        let handle = match message.get(names::POP_CK) {
            Some(handle) => handle.to_owned(),
            None => self.handle(&message),
        };
        PoppedMessage { message, handle }
    }

    fn handle(&self, message: &ReceivedMessage) -> String {
        let queue = message.queue();
        let kind = match queue.topic.strip_prefix("%RETRY%") {
            None => PopTopic::Normal,
            Some(rest) if rest.contains('+') => PopTopic::RetryV2,
            Some(_) => PopTopic::RetryV1,
        };
        let offset = message.queue_offset();
        let handle = ReceiptHandle {
            start_offset: self.start_offset(kind, queue.queue_id).unwrap_or(offset),
            pop_time: self.pop_time,
            invisible_millis: self.invisible_millis,
            revive_queue_id: self.revive_queue_id,
            kind,
            broker_name: &self.broker_name,
            queue_id: queue.queue_id,
            offset: Some(offset),
        };
        handle.to_string()
    }

    fn start_offset(&self, kind: PopTopic, queue_id: i32) -> Option<i64> {
        self.start_offsets.split(';').find_map(|entry| {
            let mut words = entry.split(' ');
            let is_it = words.next()? == kind.as_str() && words.next()?.parse() == Ok(queue_id);
            is_it.then(|| words.next()?.parse().ok()).flatten()
        })
    }
}

/// The topic that a handle's message was read from, as acknowledgements name it.
pub(super) fn settled_topic(group: &str, topic: &str, kind: PopTopic) -> String {
    match kind {
        PopTopic::Normal => topic.to_owned(),
        PopTopic::RetryV1 => format!("%RETRY%{group}_{topic}"),
        PopTopic::RetryV2 => format!("%RETRY%{group}+{topic}"),
    }
}
