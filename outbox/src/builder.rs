//! What every builder over our tables is told, written once.

use std::sync::Arc;

use sqlx::Pool;

use crate::{
    clock::{Clock, SystemClock},
    database::Dialect,
    fault::Faults,
    schema::Schema,
};

/// Where the tables are, and what moves time and breaks things. A builder has it in a field `base`, and its setters by
/// [`base_setters`].
#[derive(Debug)]
pub(crate) struct Base<D: Dialect> {
    pub(crate) pool: Pool<D>,
    pub(crate) schema: Schema,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) faults: Faults,
}

impl<D: Dialect> Base<D> {
    pub(crate) fn new(pool: Pool<D>) -> Self {
        Self { pool, schema: Schema::default(), clock: Arc::new(SystemClock), faults: Faults::default() }
    }
}

/// The setters of a builder's `base`.
macro_rules! base_setters {
    ($builder:ident) => {
        impl<D: $crate::database::Dialect> $builder<D> {
            /// What the tables are called. Default [`Schema::default`](crate::Schema::default).
            #[must_use]
            pub fn schema(mut self, schema: $crate::schema::Schema) -> Self {
                self.base.schema = schema;
                self
            }

            /// Tells the time. Default the machine's clock.
            #[must_use]
            pub fn clock(mut self, clock: impl $crate::clock::Clock) -> Self {
                self.base.clock = std::sync::Arc::new(clock);
                self
            }

            /// Fault points to set off; for tests.
            #[must_use]
            pub fn faults(mut self, faults: $crate::fault::Faults) -> Self {
                self.base.faults = faults;
                self
            }
        }
    };
}

pub(crate) use base_setters;
