//! What the application does with a message that a push consumer brings.

use std::future::Future;

use crate::received::ReceivedMessage;

/// What became of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsumeOutcome {
    /// It is done; the group's offset may pass it.
    Done,
    /// It could not be handled now: deliver it again later (10 s, 30 s, 1 m, … by the number of tries), and to the
    /// dead-letter topic after the last try.
    Retry,
    /// As [`Retry`](Self::Retry), but after the given delay level of the broker, 1 to 18.
    RetryAtLevel(u8),
    /// It can never be handled: to the dead-letter topic at once.
    DeadLetter,
}

impl<E> From<Result<(), E>> for ConsumeOutcome {
    /// `Ok` is done, any error asks for a retry.
    fn from(result: Result<(), E>) -> Self {
        if result.is_ok() { Self::Done } else { Self::Retry }
    }
}

/// Handles messages. Any `Fn(ReceivedMessage) -> impl Future<Output = ConsumeOutcome>` is one.
///
/// A message comes at least once: handlers make their effect idempotent (dedupe by [`ReceivedMessage::id`]).
/// A handler that panics, or runs longer than the consumer's timeout, counts as [`ConsumeOutcome::Retry`].
pub trait MessageListener: Send + Sync + 'static {
    /// Handles one message. Called concurrently, also for messages of one queue.
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
