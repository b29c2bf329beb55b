//! How a notifier is set up.

use std::{sync::Arc, time::Duration};

use sqlx::Pool;

use super::{Keys, Notifier, address::Reach};
use crate::{
    builder::{Base, base_setters},
    database::Dialect,
};

/// Settings of a [`Notifier`].
pub struct NotifierBuilder<D: Dialect> {
    pub(super) base: Base<D>,
    pub(super) keys: Arc<dyn Keys>,
    pub(super) reach: Reach,
    pub(super) largest: usize,
    pub(super) settling: Duration,
    pub(super) tolerance: Duration,
}

base_setters!(NotifierBuilder);

impl<D: Dialect> NotifierBuilder<D> {
    pub(super) fn new(pool: Pool<D>, keys: impl Keys) -> Self {
        Self {
            base: Base::new(pool),
            keys: Arc::new(keys),
            reach: Reach::public(),
            largest: 1 << 20,
            settling: Duration::from_secs(30),
            tolerance: Duration::from_secs(300),
        }
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
