//! How an outbox is set up.

use std::sync::Arc;

use sqlx::Pool;

use super::{Outbox, Schema};
use crate::{
    clock::{Clock, SystemClock},
    database::Dialect,
    fault::Faults,
};

/// Settings of an [`Outbox`].
#[derive(Debug)]
pub struct OutboxBuilder<D: Dialect> {
    pub(super) pool: Pool<D>,
    pub(super) schema: Schema,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) faults: Faults,
    pub(super) largest: usize,
    pub(super) notify: bool,
}

impl<D: Dialect> OutboxBuilder<D> {
    pub(super) fn new(pool: Pool<D>) -> Self {
        Self {
            pool,
            schema: Schema::default(),
            clock: Arc::new(SystemClock),
            faults: Faults::default(),
            largest: 4 << 20,
            notify: true,
        }
    }

    /// What the tables are called. Default [`Schema::default`].
    #[must_use]
    pub fn schema(mut self, schema: Schema) -> Self {
        self.schema = schema;
        self
    }

    /// Tells the time. Default the machine's clock.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Fault points to set off; for tests.
    #[must_use]
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
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
