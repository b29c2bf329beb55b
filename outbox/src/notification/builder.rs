//! How a notifier is set up.

use std::{sync::Arc, time::Duration};

use sqlx::Pool;

use super::{Keys, Notifier, address::Reach};
use crate::{
    clock::{Clock, SystemClock},
    database::Dialect,
    fault::Faults,
    schema::Schema,
};

/// Settings of a [`Notifier`].
pub struct NotifierBuilder<D: Dialect> {
    pub(super) pool: Pool<D>,
    pub(super) keys: Arc<dyn Keys>,
    pub(super) schema: Schema,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) faults: Faults,
    pub(super) reach: Reach,
    pub(super) largest: usize,
    pub(super) settling: Duration,
    pub(super) tolerance: Duration,
}

impl<D: Dialect> NotifierBuilder<D> {
    pub(super) fn new(pool: Pool<D>, keys: impl Keys) -> Self {
        Self {
            pool,
            keys: Arc::new(keys),
            schema: Schema::default(),
            clock: Arc::new(SystemClock),
            faults: Faults::default(),
            reach: Reach::public(),
            largest: 1 << 20,
            settling: Duration::from_secs(30),
            tolerance: Duration::from_secs(300),
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

    /// Which addresses are called. Default [`Reach::public`].
    #[must_use]
    pub fn reach(mut self, reach: Reach) -> Self {
        self.reach = reach;
        self
    }

    /// Largest body in bytes that is written. Default 1 MiB.
    #[must_use]
    pub fn largest_content(mut self, bytes: usize) -> Self {
        self.largest = bytes;
        self
    }

    /// Receivers are shown what is at least that old. Default 30 s; no shorter than the longest transaction that notifies,
    /// whose row would otherwise appear behind a cursor that has passed it.
    #[must_use]
    pub fn settling(mut self, age: Duration) -> Self {
        self.settling = age;
        self
    }

    /// How far the time of a query's signature may be from ours. Default 5 min.
    #[must_use]
    pub fn tolerance(mut self, tolerance: Duration) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// The notifier.
    pub fn build(self) -> Notifier<D> {
        Notifier::new(self)
    }
}
