//! How an inbox is set up.

use std::{fmt, sync::Arc, time::Duration};

use sqlx::Pool;

use super::{Inbox, acknowledge::Acknowledge};
use crate::{
    builder::{Base, base_setters},
    database::Dialect,
    outbox::Outbox,
    relay::Alert,
    schedule::Schedule,
    work::Tried,
};

/// Settings of an [`Inbox`].
pub struct InboxBuilder<D: Dialect> {
    pub(super) base: Base<D>,
    pub(super) group: String,
    pub(super) schedule: Schedule,
    pub(super) time_limit: Duration,
    pub(super) on_exhausted: Option<Alert>,
    pub(super) trusts_keys: bool,
    pub(super) acknowledge: Option<Acknowledge<D>>,
}

base_setters!(InboxBuilder);

impl<D: Dialect> InboxBuilder<D> {
    pub(super) fn new(pool: Pool<D>, group: String) -> Self {
        Self {
            base: Base::new(pool),
            group,
            schedule: Schedule::default(),
            time_limit: Duration::from_secs(30),
            on_exhausted: None,
            trusts_keys: false,
            acknowledge: None,
        }
    }

    /// When a message whose handling failed is handled again. Default [`Schedule::default`].
    #[must_use]
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedule = schedule;
        self
    }

    /// Longest time for the effects of one message; what takes longer is rolled back and counts as failed. Default 30 s. Holds
    /// for the [listener](Inbox::listener) and the [retrier](Inbox::retrier).
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// Calls `alert` for each message that will not be handled again. It must not block.
    #[must_use]
    pub fn on_exhausted(mut self, alert: impl Fn(&Tried) + Send + Sync + 'static) -> Self {
        self.on_exhausted = Some(Arc::new(alert));
        self
    }

    /// Takes every message with a known key for a copy, whatever is in it: for producers that write a copy's content anew.
    /// By default a message with a known key and another content is [refused](crate::Error::Collision), because to
    /// acknowledge it would lose it.
    #[must_use]
    pub fn trust_keys(mut self) -> Self {
        self.trusts_keys = true;
        self
    }

    /// Publishes a receipt for each message in the transaction of its effects, through `outbox`, which is of the same
    /// database; and once more when a copy of the message comes. The sender collects them with
    /// [`Acknowledgements`](crate::compensation::Acknowledgements), and so knows what was not handled.
    #[must_use]
    pub fn acknowledge_to(mut self, outbox: &Outbox<D>, topic: impl Into<String>) -> Self {
        self.acknowledge = Some(Acknowledge { outbox: outbox.clone(), topic: topic.into() });
        self
    }

    /// The inbox.
    pub fn build(self) -> Inbox<D> {
        Inbox::new(self)
    }
}

impl<D: Dialect> fmt::Debug for InboxBuilder<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboxBuilder")
            .field("group", &self.group)
            .field("schedule", &self.schedule)
            .finish_non_exhaustive()
    }
}
