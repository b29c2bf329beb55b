//! Who sends.

use std::future::Future;

use tenonmq_client::{Error, Producer, ResponseCode, SendStatus};

use crate::message::Outgoing;

/// Sends one message and waits until it is stored. A producer is one; tests bring their own.
pub trait Publisher: Send + Sync + 'static {
    /// Whether it commits half messages; one that does not is never given a row that has one.
    #[doc(hidden)]
    const KNOWS_HALF_MESSAGES: bool = false;

    /// Sends it; returns the broker's id of it. May be called for one message several times.
    fn publish(&self, message: &Outgoing) -> impl Future<Output = Result<String, PublishError>> + Send;
}

/// Why a message was not sent, or may not have been.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct PublishError {
    /// In words, for whoever looks at the row.
    pub cause: String,
    /// Whether trying again cannot help.
    pub is_final: bool,
}

impl PublishError {
    /// A failure that may pass.
    pub fn passing(cause: impl Into<String>) -> Self {
        Self { cause: cause.into(), is_final: false }
    }

    /// A failure that will be the same each time.
    pub fn lasting(cause: impl Into<String>) -> Self {
        Self { cause: cause.into(), is_final: true }
    }
}

impl Publisher for Producer {
    /// A message that a crash of the broker may still lose (not flushed, not replicated in time) counts as not sent: it is
    /// sent again, and receivers recognise the copy. One without any replica is as safe as it will be.
    async fn publish(&self, message: &Outgoing) -> Result<String, PublishError> {
        let sent = match message.order_key() {
            Some(key) => self.send_by_key(key, message.to_message()).await,
            None => self.send(message.to_message()).await,
        };
        let receipt = sent.map_err(|error| PublishError { is_final: is_final(&error), cause: told(&error) })?;
        match receipt.status {
            SendStatus::Ok | SendStatus::NoReplica => Ok(receipt.message_id),
            status => Err(PublishError::passing(format!("stored, but not safely: {status:?}"))),
        }
    }
}

/// What is wrong with the message itself stays wrong; all else may pass, a refused right too.
fn is_final(error: &Error) -> bool {
    match error {
        Error::InvalidMessage { .. } | Error::MessageTooLarge { .. } => true,
        error => error.code() == Some(ResponseCode::MESSAGE_ILLEGAL),
    }
}

/// The error with its sources.
fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text.push_str(&format!(": {inner}"));
        source = inner.source();
    }
    text
}
