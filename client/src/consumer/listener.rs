//! What the application does with a message that a push consumer brings.

use std::{fmt::Display, future::Future};

use super::Failure;
use crate::received::ReceivedMessage;

/// What became of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsumeOutcome {
    /// It is done; the group's offset may pass it.
    Done,
    /// It could not be handled now: deliver it again later (10 s, 30 s, 1 m, … by the number of tries), and to the
    /// dead-letter topic after the last try. An ordered consumer tries it again in its place.
    Retry,
    /// As [`Retry`](Self::Retry), but after the given delay level of the broker, 1 to 18.
    RetryAtLevel(u8),
    /// It can never be handled: to the dead-letter topic at once.
    DeadLetter,
    /// As one of the three above, with a cause that travels with the message to whoever looks at its retries or at its
    /// dead letter.
    Failed(Failure),
}

impl<E: Display> From<Result<(), E>> for ConsumeOutcome {
    /// `Ok` is done; an error asks for a retry, and is its cause.
    fn from(result: Result<(), E>) -> Self {
        match result {
            Ok(()) => Self::Done,
            Err(error) => Self::Failed(Failure::of(&error)),
        }
    }
}

impl ConsumeOutcome {
    /// `None` when it is done.
    pub(super) fn into_failure(self) -> Option<Failure> {
        match self {
            Self::Done => None,
            Self::Retry => Some(Failure::default()),
            Self::RetryAtLevel(level) => Some(Failure::default().retry_at_level(level)),
            Self::DeadLetter => Some(Failure::default().dead_letter()),
            Self::Failed(failure) => Some(failure),
        }
    }
}

/// Handles messages. Any `Fn(ReceivedMessage) -> impl Future<Output = ConsumeOutcome>` is one.
///
/// A message comes at least once: handlers make their effect idempotent (dedupe by [`ReceivedMessage::id`]).
/// A handler that panics, or runs longer than the consumer's timeout, counts as [`ConsumeOutcome::Retry`].
pub trait MessageListener: Send + Sync + 'static {
    /// Handles one message. Called concurrently, also for messages of one queue, unless the consumer is
    /// [ordered](crate::PushConsumerBuilder::ordered).
    fn consume(&self, message: ReceivedMessage) -> impl Future<Output = ConsumeOutcome> + Send;
}

impl<F, Fut> MessageListener for F
where
    F: Fn(ReceivedMessage) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ConsumeOutcome> + Send,
{
    fn consume(&self, message: ReceivedMessage) -> impl Future<Output = ConsumeOutcome> + Send {
        self(message)
    }
}
