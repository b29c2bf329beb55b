//! How a coordinator is set up.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    coordinator::Coordinator,
    ending::{AnyEnding, Ending},
};
use crate::{database::Dialect, outbox::Outbox, relay::Alert, schedule::Schedule, work::Tried};

/// Settings of a [`Coordinator`].
pub struct CoordinatorBuilder<D: Dialect> {
    pub(super) outbox: Outbox<D>,
    pub(super) answers: String,
    pub(super) schedule: Schedule,
    pub(super) period: Duration,
    pub(super) on_exhausted: Option<Alert>,
    pub(super) ending: Option<Arc<dyn AnyEnding<D>>>,
}

impl<D: Dialect> CoordinatorBuilder<D> {
    pub(super) fn new(outbox: Outbox<D>, answers: String) -> Self {
        let schedule = Schedule::exponential(Duration::from_secs(5), Duration::from_secs(600));
        Self { outbox, answers, schedule, period: Duration::from_millis(500), on_exhausted: None, ending: None }
    }

    /// When confirm or cancel is repeated that is not answered, and how often: pauses are counted from each command, the
    /// last command is waited for as long as the one before. Default: 5 s, doubled up to 10 min, 50 times. An answer that is merely slow
    /// costs a command more, so the first pause should be longer than the work.
    #[must_use]
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedule = schedule;
        self
    }

    /// What is written when a transaction ends, in the transaction that writes the end. All instances must have the same.
    #[must_use]
    pub fn ending(mut self, ending: impl Ending<D>) -> Self {
        self.ending = Some(Arc::new(ending));
        self
    }

    /// How often the table is looked at when nothing is known to be due. Default 500 ms.
    #[must_use]
    pub fn period(mut self, period: Duration) -> Self {
        self.period = period.max(Duration::from_millis(1));
        self
    }

    /// Calls `alert` for each global transaction that waits for people from then on. It must not block.
    #[must_use]
    pub fn on_exhausted(mut self, alert: impl Fn(&Tried) + Send + Sync + 'static) -> Self {
        self.on_exhausted = Some(Arc::new(alert));
        self
    }

    /// The coordinator.
    pub fn build(self) -> Coordinator<D> {
        Coordinator::new(self)
    }
}

impl<D: Dialect> fmt::Debug for CoordinatorBuilder<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoordinatorBuilder")
            .field("answers", &self.answers)
            .field("schedule", &self.schedule)
            .finish_non_exhaustive()
    }
}
