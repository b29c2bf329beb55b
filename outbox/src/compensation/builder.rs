//! How a compensation is set up.

use std::{fmt, sync::Arc, time::Duration};

use sqlx::Pool;

use super::{Compensation, Gap};
use crate::{
    builder::{Base, base_setters},
    database::Dialect,
    schedule::Schedule,
};

/// Told of each gap that will not be repaired again.
pub(super) type Alert = Arc<dyn Fn(&Gap) + Send + Sync>;

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) schedule: Schedule,
    pub(super) age: Duration,
    pub(super) period: Duration,
    pub(super) time_limit: Duration,
    pub(super) batch: u32,
    pub(super) most_open: u32,
    pub(super) most_repairs: u32,
    pub(super) at_once: usize,
    pub(super) on_exhausted: Option<Alert>,
}

/// Settings of a [`Compensation`].
pub struct CompensationBuilder<D: Dialect> {
    pub(super) base: Base<D>,
    pub(super) name: String,
    pub(super) settings: Settings,
}

base_setters!(CompensationBuilder);

impl<D: Dialect> CompensationBuilder<D> {
    pub(super) fn new(pool: Pool<D>, name: String) -> Self {
        let settings = Settings {
            schedule: Schedule::doubling_minutes(),
            age: Duration::from_secs(300),
            period: Duration::from_secs(60),
            time_limit: Duration::from_secs(10),
            batch: 200,
            most_open: 10_000,
            most_repairs: 100,
            at_once: 4,
            on_exhausted: None,
        };
        Self { base: Base::new(pool), name, settings }
    }

    /// How long a counterpart may take: what is younger is not looked at, and after the last repair as much is waited.
    /// Longer than the longest transaction that makes what is scanned, or the scan may pass by a row that commits late.
    /// Default 5 min.
    #[must_use]
    pub fn age(mut self, age: Duration) -> Self {
        self.settings.age = age;
        self
    }

    /// How often it is looked for what lacks its counterpart. Default 1 min.
    #[must_use]
    pub fn period(mut self, period: Duration) -> Self {
        self.settings.period = period.max(Duration::from_millis(1));
        self
    }

    /// Things of a page of the scan. Default 200, at most 1000.
    #[must_use]
    pub fn batch(mut self, things: u32) -> Self {
        self.settings.batch = things.clamp(1, 1_000);
        self
    }

    /// The pauses between the repairs of one gap, and how many repairs there are. Default
    /// [`Schedule::doubling_minutes`]: 1, 2, 4 and 8 minutes between 5 repairs.
    #[must_use]
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.settings.schedule = schedule;
        self
    }

    /// Repairs of one pass, of which there is one each period. Default 100.
    #[must_use]
    pub fn most_repairs(mut self, repairs: u32) -> Self {
        self.settings.most_repairs = repairs.max(1);
        self
    }

    /// Repairs that are made side by side. Default 4.
    #[must_use]
    pub fn at_once(mut self, repairs: usize) -> Self {
        self.settings.at_once = repairs.max(1);
        self
    }

    /// While so many gaps are open the scan goes no further: whatever is wrong then is wrong with everything. Default 10,000.
    #[must_use]
    pub fn most_open(mut self, gaps: u32) -> Self {
        self.settings.most_open = gaps.max(1);
        self
    }

    /// Longest time for a query, and for a repair. Default 10 s.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.settings.time_limit = limit;
        self
    }

    /// Calls `alert` for each gap that will not be repaired again. It must not block.
    #[must_use]
    pub fn on_exhausted(mut self, alert: impl Fn(&Gap) + Send + Sync + 'static) -> Self {
        self.settings.on_exhausted = Some(Arc::new(alert));
        self
    }

    /// The compensation.
    pub fn build(self) -> Compensation<D> {
        Compensation::new(self)
    }
}

impl<D: Dialect> fmt::Debug for CompensationBuilder<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompensationBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}
