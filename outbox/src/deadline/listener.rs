//! Deadlines behind a push consumer.

use std::sync::Arc;

use tenonmq_client::{ConsumeOutcome, Failure, MessageListener, ReceivedMessage};

use super::{Deadlines, Expiry};
use crate::{database::Dialect, error::Error, message::Incoming};

/// Lets the deadlines pass whose messages a push consumer brings.
///
/// A message is acknowledged once its deadline has passed, is put back, or its failure is recorded: from then on the
/// [keeper](Deadlines::keeper) sees to it. A message that is no deadline's goes to the dead letters.
pub struct DeadlineListener<D: Dialect, E> {
    deadlines: Deadlines<D>,
    expiry: Arc<E>,
}

impl<D: Dialect, E: Expiry<D>> DeadlineListener<D, E> {
    pub(super) fn new(deadlines: Deadlines<D>, expiry: E) -> Self {
        Self { deadlines, expiry: Arc::new(expiry) }
    }
}

impl<D: Dialect, E: Expiry<D>> MessageListener for DeadlineListener<D, E> {
    async fn consume(&self, message: ReceivedMessage) -> ConsumeOutcome {
        match self.deadlines.receive(&Incoming::from(&message), &*self.expiry).await {
            Ok(_) => ConsumeOutcome::Done,
            Err(error @ Error::Message { .. }) => {
                tracing::error!(%error, id = message.id(), "to the dead letters");
                ConsumeOutcome::Failed(Failure::of(&error).dead_letter())
            }
            Err(error) => ConsumeOutcome::Failed(Failure::of(&error)),
        }
    }
}
