//! How an outbox is set up.

use sqlx::Pool;

use super::Outbox;
use crate::{
    builder::{Base, base_setters},
    database::Dialect,
};

/// Settings of an [`Outbox`].
#[derive(Debug)]
pub struct OutboxBuilder<D: Dialect> {
    pub(super) base: Base<D>,
    pub(super) largest: usize,
    pub(super) notify: bool,
}

base_setters!(OutboxBuilder);

impl<D: Dialect> OutboxBuilder<D> {
    pub(super) fn new(pool: Pool<D>) -> Self {
        Self { base: Base::new(pool), largest: 4 << 20, notify: true }
    }

    /// Largest content in bytes that is published; the broker's `maxMessageSize`, and no more than the producer's limit.
    /// Default 4 MiB, as theirs.
    #[must_use]
    pub fn largest_content(mut self, bytes: usize) -> Self {
        self.largest = bytes;
        self
    }

    /// Whether PostgreSQL tells the relays of other processes of each commit (NOTIFY within the transaction). Default
    /// true; turn it off where so many transactions commit at once that the server's queue of notices holds them up.
    #[must_use]
    pub fn notify(mut self, notify: bool) -> Self {
        self.notify = notify;
        self
    }

    /// The outbox.
    pub fn build(self) -> Outbox<D> {
        Outbox::new(self)
    }
}
