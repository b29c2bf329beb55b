//! What can go wrong, and whether trying again can help.

use std::{io, time::Duration};

use tenonmq_protocol::code::ResponseCode;

/// Every way a client operation can fail. Each variant asks for a different reaction; [`is_retryable`](Self::is_retryable)
/// answers the commonest question.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The peer received the request and refused it.
    #[error("{operation}: the peer answered {} ({}): {remark}", .code.0, .code.name().unwrap_or("unknown"))]
    Refused {
        /// What was asked, e.g. `SEND_MESSAGE_V2`.
        operation: &'static str,
        /// The response code.
        code: ResponseCode,
        /// The peer's own words; may be empty.
        remark: String,
    },
    /// No name server knows a broker that serves the topic (for reading or for writing, as asked).
    #[error("no broker serves the topic {topic:?}")]
    NoRoute {
        /// The topic.
        topic: String,
    },
    /// The name server's route does not name a reachable (master) address for the broker.
    #[error("the route has no address for broker {broker:?}")]
    NoBroker {
        /// The broker's name.
        broker: String,
    },
    /// The message is wrong in itself: nothing was sent, and sending it again cannot help.
    #[error("invalid message: {reason}")]
    InvalidMessage {
        /// What is wrong with which part.
        reason: String,
    },
    /// The body is larger than the client is set to send; nothing was sent.
    #[error("the body takes {len} bytes; the limit is {limit}")]
    MessageTooLarge {
        /// Bytes of the body before compression.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The broker stored a half message but not as durably as asked; the local transaction was not run and the
    /// message was rolled back.
    #[error("the half message was not safe ({status:?}); it was rolled back and the local transaction not run")]
    HalfNotSafe {
        /// What the broker said.
        status: crate::SendStatus,
    },
    /// A topic has no queue at the broker that holds the transaction's first message; nothing was sent. Messages that
    /// are decided together lie at one broker.
    #[error("the topic {topic:?} has no queue at the broker {broker:?}, which holds the transaction")]
    NotOnBroker {
        /// The topic.
        topic: String,
        /// The name of the transaction's broker.
        broker: String,
    },
    /// The transaction holds as many messages as the producer allows; nothing was sent.
    #[error("the transaction holds {limit} messages already, which is the limit")]
    TransactionFull {
        /// The limit, a count of messages.
        limit: usize,
    },
    /// A message of the transaction may not be stored, so it cannot be committed: roll it back and begin a new one.
    #[error("the transaction {id} can only be rolled back: {reason}")]
    TransactionBroken {
        /// The transaction.
        id: String,
        /// What went wrong before.
        reason: String,
    },
    /// No answer in time. The request may have been carried out.
    #[error("{operation}: no answer within {after:?}")]
    Timeout {
        /// What was asked.
        operation: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// No connection could be made, so the request was not sent.
    #[error("cannot connect to {address}")]
    Connect {
        /// The peer's address.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The connection was lost before the answer came. The request may have been carried out.
    #[error("the connection to {address} was lost")]
    Disconnected {
        /// The peer's address.
        address: String,
    },
    /// The peer sent something that is not the protocol, or lacks a field that it must have.
    #[error("{operation}: {reason}")]
    Protocol {
        /// What was asked.
        operation: &'static str,
        /// What did not make sense.
        reason: String,
    },
    /// The client was configured in a way that cannot work.
    #[error("configuration: {0}")]
    Config(String),
    /// A local file (broadcast offsets) could not be read or written.
    #[error("{op} {path}")]
    File {
        /// What was tried.
        op: &'static str,
        /// On which file.
        path: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The client has been shut down.
    #[error("the client is shut down")]
    Closed,
}

impl Error {
    /// Whether the same call may succeed later, or at another broker. After [`Timeout`](Self::Timeout) and
    /// [`Disconnected`](Self::Disconnected) it may also happen twice, as with any retry of an unanswered request.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused { code, .. } => is_retryable_code(*code),
            Self::Timeout { .. }
            | Self::Connect { .. }
            | Self::Disconnected { .. }
            | Self::HalfNotSafe { .. }
            | Self::NoBroker { .. }
            | Self::NoRoute { .. } => true,
            Self::InvalidMessage { .. }
            | Self::MessageTooLarge { .. }
            | Self::NotOnBroker { .. }
            | Self::TransactionFull { .. }
            | Self::TransactionBroken { .. }
            | Self::Protocol { .. }
            | Self::Config(_)
            | Self::File { .. }
            | Self::Closed => false,
        }
    }

    /// The peer's response code, when the peer answered.
    pub fn code(&self) -> Option<ResponseCode> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// The peer's own words, when the peer answered.
    pub fn remark(&self) -> Option<&str> {
        match self {
            Self::Refused { remark, .. } => Some(remark),
            _ => None,
        }
    }
}

/// The codes after which upstream's producer tries another broker.
fn is_retryable_code(code: ResponseCode) -> bool {
    [
        ResponseCode::TOPIC_NOT_EXIST,
        ResponseCode::SERVICE_NOT_AVAILABLE,
        ResponseCode::SYSTEM_ERROR,
        ResponseCode::SYSTEM_BUSY,
        ResponseCode::NO_PERMISSION,
        ResponseCode::NO_BUYER_ID,
        ResponseCode::NOT_IN_CURRENT_UNIT,
        ResponseCode::GO_AWAY,
    ]
    .contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_that_another_broker_may_not_give_are_retryable() {
        let refused = |code| Error::Refused { operation: "SEND", code, remark: String::new() };
        assert!(refused(ResponseCode::SYSTEM_BUSY).is_retryable());
        assert!(refused(ResponseCode::TOPIC_NOT_EXIST).is_retryable());
        assert!(!refused(ResponseCode::MESSAGE_ILLEGAL).is_retryable());
        assert!(!Error::MessageTooLarge { len: 2, limit: 1 }.is_retryable());
    }
}
