//! The inbox behind a push consumer.

use std::sync::Arc;

use tenonmq_client::{ConsumeOutcome, Failure, MessageListener, ReceivedMessage};

use super::{Effects, Inbox};
use crate::{database::Dialect, error::Error, message::Incoming};

/// Handles what a push consumer brings, each message once.
///
/// A message is acknowledged once its effects are committed, or its failure is recorded: from then on the inbox's schedule
/// decides, so a [retrier](Inbox::retrier) must run somewhere. What cannot be recorded is left to the broker: sent again when the
/// database is away, dead-lettered with the cause when the message has no key, or another's.
pub struct InboxListener<D: Dialect, E> {
    inbox: Inbox<D>,
    effects: Arc<E>,
    key: Option<Key>,
}

type Key = Box<dyn Fn(&ReceivedMessage) -> String + Send + Sync>;

impl<D: Dialect, E: Effects<D>> InboxListener<D, E> {
    pub(super) fn new(inbox: Inbox<D>, effects: E) -> Self {
        Self { inbox, effects: Arc::new(effects), key: None }
    }

    /// Recognises copies by what `key` makes of a message, instead of its first key. Never by the broker's id: a producer
    /// that sends again makes another.
    #[must_use]
    pub fn keyed_by(mut self, key: impl Fn(&ReceivedMessage) -> String + Send + Sync + 'static) -> Self {
        self.key = Some(Box::new(key));
        self
    }
}

impl<D: Dialect, E: Effects<D>> MessageListener for InboxListener<D, E> {
    async fn consume(&self, message: ReceivedMessage) -> ConsumeOutcome {
        let mut incoming = Incoming::from(&message);
        if let Some(key) = &self.key {
            incoming = incoming.keyed_by(key(&message));
        }
        match self.inbox.receive(&incoming, &*self.effects).await {
            Ok(_) => ConsumeOutcome::Done,
            Err(error @ (Error::Collision { .. } | Error::Message { .. })) => {
                tracing::error!(%error, id = message.id(), "to the dead letters");
                ConsumeOutcome::Failed(Failure::of(&error).dead_letter())
            }
            Err(error) => ConsumeOutcome::Failed(Failure::of(&error)),
        }
    }
}
