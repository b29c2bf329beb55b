//! The broker's question about one half message.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tenonmq_protocol::message::{properties::names, record::RecordView};

use super::several::{ID_PROPERTY, PART_PROPERTY};
use crate::{error::Error, message::Message, received::plain_body, session::now_ms};

/// Why a check could not find the outcome out. Whatever it is, the answer is [`LocalState::Unknown`](super::LocalState).
pub type CheckError = Box<dyn std::error::Error + Send + Sync>;

/// A broker asks what became of the local transaction behind a half message.
#[derive(Debug, Clone)]
pub struct Check {
    message: Message,
    born_ms: i64,
    stored_ms: i64,
    age: Duration,
    earlier_checks: u32,
}

impl Check {
    /// Reads the record that a broker sent with its question.
    pub(super) fn read(record: &Bytes) -> Result<Self, Error> {
        let view = RecordView::parse(record).map_err(|error| malformed(error.to_string()))?;
        let message = Message::from_half(view.topic(), plain_body(&view, record)?, view.flag(), view.properties_text());
        let with_this_one: u32 =
            message.get(names::TRANSACTION_CHECK_TIMES).and_then(|times| times.trim().parse().ok()).unwrap_or(1);
        Ok(Self {
            born_ms: view.born_timestamp(),
            stored_ms: view.store_timestamp(),
            age: millis(now_ms().saturating_sub(view.born_timestamp())),
            earlier_checks: with_this_one.saturating_sub(1),
            message,
        })
    }

    /// The message as it was sent: its own topic, its body decompressed, and the properties that broker and client added.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// The message, without its question.
    pub fn into_message(self) -> Message {
        self.message
    }

    /// The first business key of the message.
    pub fn key(&self) -> Option<&str> {
        self.message.keys().next()
    }

    /// How long ago the producer made the message, as this machine's clock says when the question arrives. Zero if the
    /// producer's clock is ahead of it.
    pub fn age(&self) -> Duration {
        self.age
    }

    /// When the producer made the message, by its own clock.
    pub fn born_at(&self) -> SystemTime {
        UNIX_EPOCH + millis(self.born_ms)
    }

    /// When the broker stored it, by the broker's clock. Apache's broker copies a half message with every check, and tells
    /// when the copy before was made.
    pub fn stored_at(&self) -> SystemTime {
        UNIX_EPOCH + millis(self.stored_ms)
    }

    /// How often the broker asked before. Apache's broker also counts the rounds in which it did not ask because the
    /// message was immune ([`Message::check_immunity`]).
    pub fn earlier_checks(&self) -> u32 {
        self.earlier_checks
    }

    /// The transaction that the message shares with others ([`Transaction::id`](super::Transaction::id)). The outcome
    /// belongs to it, not to the message: all its messages must get the same answer, so look it up by this alone.
    pub fn transaction_id(&self) -> Option<&str> {
        self.message.get(ID_PROPERTY)
    }

    /// Which of its transaction's messages this is, in the order of their sending, from 0. How many there are is known
    /// to whoever committed it, not to a half message: others may have followed.
    pub fn part(&self) -> Option<u32> {
        self.message.get(PART_PROPERTY).and_then(|part| part.parse().ok())
    }
}

pub(super) fn malformed(reason: String) -> Error {
    Error::Protocol { operation: "CHECK_TRANSACTION_STATE", reason }
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}
